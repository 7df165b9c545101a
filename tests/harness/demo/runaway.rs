//! Sessions of a program that polls the state of a build for a whole night.
//!
//! They have more rows than [`CONFIG`](super::CONFIG) allows, so the processor `usage` fails on
//! them, and they end in quarantine.

use std::time::Duration;

use serde_json::json;

use super::plan::Setting;
use super::recorder::{Ending, Recorder, Recording};
use super::steps;
use crate::session::Transcript;

/// The number of such sessions. A small demo has fewer.
pub const RUNAWAYS: u64 = 2;

/// Longer than the session.
const NIGHT: Duration = Duration::from_secs(24 * 3_600);

/// The number of responses. Each has two rows, one of them for its call.
const RESPONSES: u64 = 2_100;

/// The sessions with these numbers are runaways.
const NUMBERS: [u64; RUNAWAYS as usize] = [30, 620];

/// Whether the session with this number is a runaway.
pub(super) fn begins(number: u64) -> bool {
    NUMBERS.contains(&number)
}

/// Records such a session.
pub(super) fn record(setting: &Setting) -> Recording {
    let prompt = setting
        .scene
        .fill("Wait until the build of PR #{pr} is green, then merge it. Do not ask.");
    let transcript = Transcript::new(&setting.id)
        .at(setting.start.min(setting.end.minus(NIGHT)))
        .cwd(&setting.cwd)
        .version(&setting.version)
        .member("entrypoint", json!("sdk-cli"));
    let random = setting.random.clone();
    let mut agent = Recorder::new(transcript, random, setting.model, false);
    agent.add(|transcript| {
        let message = json!({ "role": "user", "content": prompt });
        transcript.entry("user", json!({ "message": message, "promptSource": "sdk" }))
    });
    let command = setting.scene.fill("gh pr checks {pr}");
    for _ in 0..RESPONSES {
        if agent.context.is_full() {
            super::incidents::compact(&mut agent, &setting.scene, "auto");
        }
        let output = Ok("build\tpending\t0\thttps://ci.northwind.example".to_owned());
        let call = steps::bash(&mut agent.random, &command, "Poll the build", output, 1);
        agent.call(None, &[call]);
    }
    agent.say("The build is still pending.", Ending::Final);
    Recording {
        key: format!("{}/{}.jsonl", setting.folder(), setting.id),
        ended_at: agent.now().min(setting.end),
        bytes: agent.into_bytes(),
        is_subagent: false,
    }
}
