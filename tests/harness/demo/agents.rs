//! Sub-agents: the call in the session, and the transcript of the sub-agent.

use serde_json::json;

use super::calendar::{SECOND, seconds};
use super::models;
use super::plan::Setting;
use super::prose;
use super::random::Spread;
use super::recorder::{Call, Ending, Recorder, Recording};
use super::steps;
use crate::session::Transcript;

/// The responses of a sub-agent.
const RESPONSES: Spread = [2, 3, 4, 6, 10, 16, 26, 40];

/// The types of sub-agents and how often they are started.
const WEIGHTS: [u64; 4] = [52, 24, 14, 10];

/// The types of sub-agents, with what they are for and their tasks.
const TYPES: [(&str, &str, [&str; 2]); 4] = [
    (
        "Explore",
        "Search {symbol}",
        [
            "Find all places where `{symbol}` is called, and list them with file and line. Do not change anything.",
            "Where is the {entity} handled in {component} today? Answer with file names and line numbers.",
        ],
    ),
    (
        "general-purpose",
        "Investigate {component}",
        [
            "Compare how {file} and {other} load the {entity}. Report the differences, and which one is right.",
            "Run the checks for {component} three times, and report which of them fail and why.",
        ],
    ),
    (
        "Plan",
        "Plan {ticket}",
        [
            "Plan the change for {ticket}: files, order of steps, risks.",
            "Design how `{symbol}` can be split without changing its callers. Name alternatives.",
        ],
    ),
    (
        "pr-toolkit:code-reviewer",
        "Review {file}",
        [
            "Review the changes in {file} for correctness. Report only problems that matter.",
            "Review PR #{pr} against {ticket}. Is anything missing?",
        ],
    ),
];

/// What a session needs to start sub-agents.
pub(super) struct Dispatch<'a> {
    pub(super) setting: &'a Setting,
    /// The number of transcripts that can still be written.
    pub(super) files_left: u64,
}

/// A sub-agent that has ended.
struct Finished {
    call: Call,
    /// `None` if its transcript is lost.
    recording: Option<Recording>,
}

/// Starts one sub-agent, or several at the same time. Returns their transcripts.
pub(super) fn dispatch(main: &mut Recorder, dispatch: &Dispatch<'_>) -> Vec<Recording> {
    let wanted = 1 + main.random.weighted(&[68, 22, 10]) as u64;
    let count = wanted.min(dispatch.files_left);
    if count == 0 {
        return Vec::new();
    }
    let mut finished: Vec<Finished> = (0..count).map(|_| run(main, dispatch.setting)).collect();
    // They run at the same time, so a later result comes only so much later.
    finished.sort_by_key(|agent| agent.call.seconds);
    let mut waited = 0;
    for agent in &mut finished {
        let took = agent.call.seconds;
        agent.call.seconds -= waited;
        waited = took;
    }
    let calls: Vec<Call> = finished.iter().map(|agent| agent.call.clone()).collect();
    let scene = &dispatch.setting.scene;
    let text = prose::before_calls(&mut main.random, scene);
    main.call(text.as_deref(), &calls);
    finished
        .into_iter()
        .filter_map(|agent| agent.recording)
        .collect()
}

/// Runs a sub-agent from now on.
fn run(main: &mut Recorder, setting: &Setting) -> Finished {
    let random = &mut main.random;
    let (kind, description, prompts) = TYPES[random.weighted(&WEIGHTS)];
    let prompt = setting.scene.fill(random.pick(&prompts));
    let model = match kind {
        "Explore" => models::small(random, setting.elapsed),
        _ => main.model,
    };
    // A team removed some transcripts before they were copied.
    let is_lost = random.percent(4);
    let id = format!("a{:016x}", random.next());
    let stream = random.next();
    let start = main.now().plus(seconds(9));

    let transcript = Transcript::new(&setting.id)
        .at(start)
        .cwd(&setting.cwd)
        .git_branch(&setting.branch)
        .version(&setting.version)
        .sidechain(&id)
        .member("entrypoint", json!(setting.person.entrypoint));
    let random = super::random::Random::new(stream, 0xa9e4);
    // Sub-agents never keep the cache for an hour.
    let mut agent = Recorder::new(transcript, random, model, false);
    agent.effort = main.effort;
    agent.add(|transcript| transcript.user(&prompt));
    let count = agent.random.spread(&RESPONSES);
    for _ in 1..count {
        let calls = 1 + agent.random.weighted(&[80, 15, 5]);
        let calls: Vec<Call> = (0..calls)
            .map(|_| steps::explore(&mut agent.random, &setting.scene, &setting.cwd))
            .collect();
        let text = prose::before_calls(&mut agent.random, &setting.scene);
        agent.call(text.as_deref(), &calls);
    }
    let answer = prose::answer(&mut agent.random, &setting.scene);
    // Older versions do not write the final counts of the last response.
    let ending = match agent.random.percent(5) {
        true => Ending::Open,
        false => Ending::Final,
    };
    agent.say(&answer, ending);

    let last = agent.last;
    let took = ((agent.now().0 - start.0) / SECOND).unsigned_abs();
    let details = json!({
        "status": "completed", "agentId": id, "agentType": kind,
        "totalTokens": last.prompt() + last.output,
        "totalDurationMs": took * 1_000,
        "totalToolUseCount": agent.calls,
        "usage": {
            "input_tokens": last.input, "output_tokens": last.output,
            "cache_read_input_tokens": last.cache_read,
            "cache_creation_input_tokens": last.written_5m + last.written_1h,
        },
        "resolvedModel": model.id,
    });
    main.totals.absorb(&agent.totals);
    let call = Call {
        tool: "Agent",
        input: json!({
            "subagent_type": kind, "prompt": prompt,
            "description": setting.scene.fill(description),
        }),
        result: Ok(answer),
        details,
        seconds: took,
        tokens: last.output,
    };
    let ended_at = agent.now().min(setting.end);
    let key = format!(
        "{}/{}/subagents/agent-{id}.jsonl",
        setting.folder(),
        setting.id
    );
    let recording = (!is_lost).then(|| Recording {
        key,
        bytes: agent.into_bytes(),
        ended_at,
        is_subagent: true,
    });
    Finished { call, recording }
}
