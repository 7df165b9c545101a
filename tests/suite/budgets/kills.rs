//! The process is killed while it sends a message. The message is never sent twice.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use session_pipeline_harness::program::{self, Interruption, ProgramEnd};
use session_pipeline_harness::{DataDir, Transcript};
use session_pipeline_host::clock::{Clock as _, SystemClock};

use super::TIMEOUT;
use super::receiver::{Receiver, Reply};
use crate::database::rows;

const SECRET: &str = "T0KEN-of-the-webhook";

/// A data directory in which a budget is reached, with this receiver.
fn prepared(receiver: &Receiver) -> DataDir {
    let dir = DataDir::new();
    let transcript = Transcript::new("s1")
        .at(SystemClock::default().now())
        .user("go")
        .assistant(|m| m.model("claude-opus-4-5").tokens(500_000, 0));
    dir.write("ada/one.jsonl", transcript);
    let config = format!(
        "[[budget]]\nscope = \"total\"\nusd = 1\nper = \"month\"\n\
         [notify]\nwebhook = \"http://{}/{SECRET}\"\n",
        receiver.address()
    );
    std::fs::write(dir.path().join("config.toml"), config).unwrap();
    let run = program::command_with_data_dir(&dir)
        .args(["run", "usage"])
        .output()
        .unwrap();
    assert!(run.status.success(), "{run:?}");
    dir
}

fn serve(dir: &DataDir) -> Command {
    let mut command = program::command_with_data_dir(dir);
    command.args(["-vv", "--json", "serve", "--no-scheduler"]);
    command.args(["--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0"]);
    command
}

/// A running server. It is killed when it is dropped.
struct Serving {
    process: Child,
    metrics: String,
}

impl Serving {
    fn start(dir: &DataDir) -> Self {
        let mut process = serve(dir)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let output = BufReader::new(process.stdout.take().unwrap());
        let metrics = output.lines().map_while(Result::ok).find_map(|line| {
            let (_, rest) = line.split_once("\"metrics\": \"")?;
            Some(rest.trim_end_matches(['"', ',']).to_owned())
        });
        Self {
            process,
            metrics: metrics.expect("the server prints the URL of its metrics"),
        }
    }

    /// Waits until this many messages have a state.
    fn wait_for(&self, state: &str, count: u32) {
        let wanted = format!("session_pipeline_notifications{{state=\"{state}\"}} {count}");
        let started = Instant::now();
        loop {
            let response = ureq::get(&self.metrics).call();
            let text = response.and_then(|mut response| response.body_mut().read_to_string());
            if text.is_ok_and(|text| text.contains(&wanted)) {
                return;
            }
            assert!(started.elapsed() < TIMEOUT, "{wanted} is missing");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn a_kill_before_or_after_a_message_never_sends_it_twice() {
    for (point, sent) in [("before notification", 0), ("after notification", 1)] {
        let receiver = Receiver::start([]);
        let dir = prepared(&receiver);
        let end = program::run(serve(&dir), &dir, &Interruption::At(point.to_owned()));
        let ProgramEnd::Killed(points) = end else {
            panic!("not killed at {point}: {end:?}");
        };
        assert_eq!(points, [point]);
        assert_eq!(receiver.received().len(), sent, "{point}");
        // The next process cannot know whether the message arrived.
        let server = Serving::start(&dir);
        server.wait_for("unknown", 1);
        drop(server);
        let server = Serving::start(&dir);
        server.wait_for("unknown", 1);
        assert_eq!(receiver.received().len(), sent, "{point}");
        drop(server);
        assert_eq!(
            rows(
                &dir,
                "SELECT state, attempts, detail FROM budget_crossings WHERE state <> 'suppressed'"
            ),
            ["unknown | 1 | the process ended while it sent the notification"]
        );
    }
}

#[test]
fn kills_at_any_time_never_send_a_message_twice() {
    let receiver = Receiver::start([]);
    let dir = prepared(&receiver);
    // From before the server listens until after the message was delivered.
    for millis in [50, 150, 250, 350, 500, 800, 1200, 2000] {
        let interruption = Interruption::After(Duration::from_millis(millis));
        program::run(serve(&dir), &dir, &interruption);
        assert!(receiver.received().len() <= 1, "{millis}");
    }
    let server = Serving::start(&dir);
    receiver_or_unknown(&server, &receiver);
    drop(server);
    assert!(receiver.received().len() <= 1);
}

/// Waits until the message is delivered or unknown.
fn receiver_or_unknown(server: &Serving, receiver: &Receiver) {
    let state = match receiver.received().len() {
        0 => {
            // Either it is sent now, or a kill was between its record and its sending.
            let started = Instant::now();
            loop {
                let text = ureq::get(&server.metrics).call().unwrap();
                let text = text.into_body().read_to_string().unwrap();
                let has = |state| text.contains(&format!("notifications{{state=\"{state}\"}} 1"));
                if has("delivered") || has("unknown") {
                    return;
                }
                assert!(started.elapsed() < TIMEOUT, "{text}");
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        _ => "suppressed",
    };
    server.wait_for(state, 1);
}

#[test]
fn the_log_does_not_contain_the_secret_of_the_address() {
    let receiver = Receiver::start([Reply::Status(500)]);
    let dir = prepared(&receiver);
    let mut process = serve(&dir)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    receiver.wait_for(1);
    let log = BufReader::new(process.stderr.take().unwrap()).lines();
    let mut lines = Vec::new();
    for line in log.map_while(Result::ok) {
        let is_last = line.contains("a notification was not delivered");
        lines.push(line);
        if is_last {
            break;
        }
    }
    process.kill().unwrap();
    process.wait().unwrap();
    let log = lines.join("\n");
    assert!(log.contains("a notification was not delivered"), "{log}");
    assert!(
        log.contains(&format!("http://{}", receiver.address())),
        "{log}"
    );
    assert!(!log.contains(SECRET), "{log}");
}
