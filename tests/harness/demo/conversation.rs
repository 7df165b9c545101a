//! A session: prompts of a person or a program, and the work of the agent on each.

use serde_json::{Value, json};

use super::agents::{self, Dispatch};
use super::calendar::seconds;
use super::damage;
use super::incidents;
use super::models::{self};
use super::plan::Setting;
use super::prose;
use super::random::Spread;
use super::recorder::{Ending, Recorder, Recording};
use super::steps;
use crate::session::Transcript;

/// The seconds until the next prompt: reading, a review, a meeting, lunch.
const PAUSE: Spread = [4, 20, 45, 110, 290, 1_200, 5_400, 16_000];
/// The longest step takes less than this. The longest is a check that is repeated several times.
const STEP_SECONDS_MAX: u64 = 4_500;
/// The responses of a turn.
const TURN: Spread = [1, 2, 3, 6, 10, 15, 22, 34];
/// The tokens of a prompt with the files that it mentions.
const PROMPT_TOKENS: Spread = [20, 40, 70, 140, 400, 1_500, 5_000, 12_000];

/// Skills, and the plugins that they come from.
const SKILLS: [(&str, Option<&str>); 5] = [
    ("release-notes", None),
    ("pr-toolkit:review-pr", Some("pr-toolkit")),
    ("sql-style", None),
    ("incident-writeup", None),
    ("pdf", None),
];

/// Commands that the agent itself answers.
const LOCAL_COMMANDS: [&str; 6] = [
    "/context",
    "/cost",
    "/mcp",
    "/permissions",
    "/status",
    "/usage",
];

/// Commands that become prompts.
const PROMPT_COMMANDS: [&str; 4] = [
    "/review",
    "/pr-toolkit:review-pr staged changes",
    "/security-review",
    "/init",
];

/// A session while it is recorded.
pub(super) struct Conversation<'a> {
    pub(super) setting: &'a Setting,
    pub(super) main: Recorder,
    /// The transcripts of sub-agents.
    subagents: Vec<Recording>,
    /// The number of files that can still be written, with this session.
    files_left: u64,
    has_title: bool,
}

impl<'a> Conversation<'a> {
    /// Begins a session. At most `files_left` files are recorded.
    pub(super) fn new(setting: &'a Setting, files_left: u64) -> Self {
        let person = setting.person;
        let transcript = Transcript::new(&setting.id)
            .at(setting.start)
            .cwd(&setting.cwd)
            .git_branch(&setting.branch)
            .version(&setting.version)
            .member("entrypoint", json!(person.entrypoint))
            .line(&json!({ "type": "mode", "mode": "normal", "sessionId": setting.id }))
            .line(&json!({ "type": "permission-mode", "permissionMode": "acceptEdits", "sessionId": setting.id }));
        let has_long_cache = person.has_long_cache;
        let random = setting.random.clone();
        let mut main = Recorder::new(transcript, random, setting.model, has_long_cache);
        main.effort = person.effort;
        Self {
            setting,
            main,
            subagents: Vec::new(),
            files_left,
            has_title: false,
        }
    }

    /// Records the whole session. Returns its transcript and those of its sub-agents.
    pub(super) fn record(mut self) -> Vec<Recording> {
        let scene = &self.setting.scene;
        self.prompt(&scene.fill(scene.task.prompt));
        loop {
            self.turn();
            self.title();
            if self.main.responses >= self.setting.responses || !self.pause() {
                break;
            }
            self.next_prompt();
        }
        self.finish()
    }

    /// Adds a prompt.
    pub(super) fn prompt(&mut self, text: &str) {
        let tokens = self.main.random.spread(&PROMPT_TOKENS);
        self.main.context.add(tokens);
        let source = match self.setting.person.is_program {
            true => {
                json!({ "message": { "role": "user", "content": text }, "promptSource": "sdk" })
            }
            false => json!({
                "message": { "role": "user", "content": text },
                "promptSource": "typed", "origin": { "kind": "human" },
            }),
        };
        self.main.add(|transcript| transcript.entry("user", source));
    }

    fn next_prompt(&mut self) {
        let scene = &self.setting.scene;
        let random = &mut self.main.random;
        if self.setting.person.is_program {
            let text = prose::follow_up(random, scene);
            return self.prompt(&text);
        }
        match random.weighted(&[80, 6, 4, 4, 3, 3]) {
            0 => {
                let text = prose::follow_up(random, scene);
                self.prompt(&text);
            }
            1 => {
                let text = prose::rule(random, scene);
                self.prompt(&text);
            }
            2 => {
                let command = random.pick(&LOCAL_COMMANDS);
                let text = prose::follow_up(random, scene);
                self.main
                    .add(|transcript| transcript.local_command(command));
                self.prompt(&text);
            }
            3 => {
                let command = random.pick(&PROMPT_COMMANDS);
                self.main.context.add(900);
                self.main.add(|transcript| {
                    transcript
                        .slash_command(command)
                        .meta("Review the changes and report findings by severity.")
                });
            }
            4 => {
                let (family, model) =
                    models::another(random, self.main.model, self.setting.elapsed);
                let text = prose::follow_up(random, scene);
                self.main.model = model;
                self.main.context.switch_model();
                self.main.add(|transcript| {
                    transcript
                        .slash_command(&format!("/model {family}"))
                        .user(&format!(
                            "<local-command-stdout>Set model to {family}</local-command-stdout>"
                        ))
                });
                self.prompt(&text);
            }
            _ => {
                let text = prose::follow_up(random, scene);
                if self.main.context.size() > 60_000 {
                    self.main
                        .add(|transcript| transcript.slash_command("/compact"));
                    incidents::compact(&mut self.main, scene, "manual");
                }
                self.prompt(&text);
            }
        }
    }

    /// The work on a prompt, up to the answer.
    fn turn(&mut self) {
        let left = self.setting.responses.saturating_sub(self.main.responses);
        let count = self.main.random.spread(&TURN).min(left.max(1));
        self.main.cause = Default::default();
        let is_long = count > 8 || self.setting.responses < 12;
        if self.main.random.percent(7) {
            self.use_skill();
        }
        for step in 1..count {
            if !self.has_time(0) {
                break;
            }
            if self.main.context.is_full() {
                incidents::compact(&mut self.main, &self.setting.scene, "auto");
            }
            incidents::api_errors(&mut self.main);
            if step <= 2 && is_long && self.main.random.percent(25) {
                self.dispatch();
            }
            if self.main.random.per_mille(9) {
                self.queue_prompt();
            }
            if incidents::happens(&mut self.main, self.setting) {
                continue;
            }
            self.step(step, count);
        }
        if self.main.random.per_mille(16) && !self.setting.person.is_program {
            return incidents::interrupt(&mut self.main, &self.setting.scene);
        }
        if self.main.random.per_mille(4) {
            return incidents::give_up(&mut self.main);
        }
        if self.main.context.is_full() {
            incidents::compact(&mut self.main, &self.setting.scene, "auto");
        }
        let text = prose::answer(&mut self.main.random, &self.setting.scene);
        let is_open = self.main.random.per_mille(6);
        let ending = if is_open { Ending::Open } else { Ending::Final };
        self.main.say(&text, ending);
    }

    /// One response with calls: first it looks around, then it changes and checks.
    fn step(&mut self, step: u64, count: u64) {
        let (scene, cwd) = (&self.setting.scene, &*self.setting.cwd);
        let random = &mut self.main.random;
        let text = prose::before_calls(random, scene);
        if step == 1 && count > 12 && random.percent(40) {
            let call = steps::todos(random, scene);
            return self.main.call(text.as_deref(), &[call]);
        }
        if random.percent(5) {
            let (server, call) = steps::mcp(random, scene);
            self.main.call(text.as_deref(), &[call]);
            self.main.cause.mcp_server = Some(server);
            return;
        }
        let is_early = step * 5 < count * 2;
        let choice = match is_early {
            true => random.weighted(&[90, 6, 4, 0]),
            false => random.weighted(&[26, 40, 31, 3]),
        };
        let calls = match choice {
            0 => {
                let number = 1 + random.weighted(&[82, 14, 4]);
                (0..number)
                    .map(|_| steps::explore(random, scene, cwd))
                    .collect()
            }
            1 => vec![steps::edit(random, scene, cwd)],
            2 => {
                let project = scene.project;
                let check = match random.percent(60) {
                    true => &project.test,
                    false => &project.lint,
                };
                let passes = random.percent(87);
                vec![steps::check(random, scene, check, passes)]
            }
            _ => vec![steps::write(random, scene, cwd)],
        };
        self.main.call(text.as_deref(), &calls);
    }

    fn use_skill(&mut self) {
        let (skill, plugin) = self.main.random.pick(&SKILLS);
        let call = super::recorder::Call {
            tool: "Skill",
            input: json!({ "skill": skill }),
            details: json!({ "success": true, "commandName": skill }),
            result: Ok(format!("Launching skill: {skill}")),
            seconds: 0,
            tokens: 1_800,
        };
        self.main.call(None, &[call]);
        self.main.add(|transcript| {
            transcript.meta(&format!(
                "Base directory for this skill: ~/.claude/skills/{skill}"
            ))
        });
        self.main.cause.skill = Some(skill);
        self.main.cause.plugin = plugin;
    }

    /// Starts sub-agents.
    fn dispatch(&mut self) {
        let taken = 1 + self.subagents.len() as u64;
        let dispatch = Dispatch {
            setting: self.setting,
            files_left: self.files_left.saturating_sub(taken),
        };
        let recordings = agents::dispatch(&mut self.main, &dispatch);
        self.subagents.extend(recordings);
    }

    /// A prompt that the person types while the agent works.
    fn queue_prompt(&mut self) {
        if self.setting.person.is_program {
            return;
        }
        let text = prose::follow_up(&mut self.main.random, &self.setting.scene);
        self.main.context.add(60);
        let queued = json!({
            "type": "queued_command", "commandMode": "prompt", "prompt": text,
        });
        let session = self.setting.id.clone();
        self.main.add(|transcript| {
            let at = transcript.now().to_string();
            let operation = json!({
                "type": "queue-operation", "operation": "enqueue", "content": text,
                "sessionId": session, "timestamp": at,
            });
            transcript
                .line(&operation)
                .entry("attachment", json!({ "attachment": queued }))
        });
    }

    /// Waits for the next prompt. Returns whether there is time for one.
    fn pause(&mut self) -> bool {
        let pause = match self.setting.person.is_program {
            true => 1,
            false => self.main.random.spread(&PAUSE),
        };
        let has_time = self.has_time(pause);
        if has_time {
            self.main.wait(pause);
        }
        has_time
    }

    /// Whether a step can end before the end of the period if it begins after this many seconds.
    fn has_time(&self, pause: u64) -> bool {
        self.main.now().plus(seconds(pause + STEP_SECONDS_MAX)) < self.setting.end
    }

    /// Adds a title after the first turn.
    fn title(&mut self) {
        if std::mem::replace(&mut self.has_title, true) {
            return;
        }
        let scene = &self.setting.scene;
        let random = &mut self.main.random;
        let line = match random.weighted(&[76, 5, 19]) {
            0 => {
                json!({ "type": "ai-title", "aiTitle": scene.fill(scene.task.title), "sessionId": self.setting.id })
            }
            1 => {
                json!({ "type": "custom-title", "customTitle": prose::custom_title(random, scene), "sessionId": self.setting.id })
            }
            _ => return,
        };
        self.main.add(|transcript| transcript.line(&line));
    }

    /// Links a pull request.
    fn open_pull_request(&mut self) {
        let scene = &self.setting.scene;
        let repository = scene.project.repository;
        let number = scene.pull_request;
        let url = format!("https://github.com/{repository}/pull/{number}");
        let command = scene.fill(
            "git push -u origin HEAD && gh pr create --fill --title \"{ticket}: {component}\"",
        );
        let random = &mut self.main.random;
        let call = steps::bash(random, &command, "Open a pull request", Ok(url.clone()), 6);
        self.main.call(None, &[call]);
        let session = self.setting.id.clone();
        self.main.add(|transcript| {
            let at = transcript.now().to_string();
            transcript.line(&json!({
                "type": "pr-link", "sessionId": session, "prNumber": number, "prUrl": url,
                "prRepository": repository, "timestamp": at,
            }))
        });
        let text = format!("The pull request is open: {url}");
        self.main.say(&text, Ending::Final);
    }

    fn finish(mut self) -> Vec<Recording> {
        let setting = self.setting;
        let is_on_branch = setting.branch != "main";
        if is_on_branch && self.main.responses > 6 && self.main.random.percent(45) {
            self.open_pull_request();
        }
        if !setting.person.is_program {
            let entry = self.cost_state();
            self.main.add(|transcript| transcript.line(&entry));
        }
        damage::unknown_types(&mut self.main, setting);
        let ended_at = self.main.now().min(setting.end);
        damage::tear(&mut self.main, setting);
        let main = Recording {
            key: format!("{}/{}.jsonl", setting.folder(), setting.id),
            bytes: self.main.into_bytes(),
            ended_at,
            is_subagent: false,
        };
        std::iter::once(main).chain(self.subagents).collect()
    }

    /// What the agent counted. It also counts requests that are in no transcript, such as those for
    /// titles, and rarely many.
    fn cost_state(&mut self) -> Value {
        let drift = match self.setting.number % 16 {
            9 => self.main.random.between(50, 240),
            _ => self.main.random.between(0, 9),
        };
        self.main.totals.entry(&self.setting.id, drift)
    }
}
