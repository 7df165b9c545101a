//! A data directory on which the real program runs for several simulated days, with restarts after
//! each kill.

use std::collections::BTreeMap;
use std::process::Command;

use session_pipeline_harness::program::{self, Interruption, ProgramEnd};
use session_pipeline_harness::{DataDir, Transcript, tally};

use crate::database::rows;
use crate::guests::misbehaving;

/// A serial processor that stores words across all sessions.
const SERIAL_PROCESSOR: &str = "faulty-remembers";
const PROCESSORS: [&str; 2] = ["usage", SERIAL_PROCESSOR];
/// The tables whose rows belong to sessions, with their processors.
const TABLES: [(&str, &str); 5] = [
    ("usage", "messages"),
    ("usage", "events"),
    ("usage", "sessions"),
    (SERIAL_PROCESSOR, "lines"),
    (SERIAL_PROCESSOR, "found"),
];
/// The number of sessions on the first day.
pub const SESSIONS: usize = 24;
/// The maximum number of starts per run.
const STARTS_MAX: usize = 400;

/// The number of days.
pub const ALL_DAYS: usize = DAYS.len();

/// The changes to the sessions on each day, before the runs.
const DAYS: [fn(&DataDir); 4] = [
    |dir| {
        for number in 0..SESSIONS {
            dir.write(&key(number), conversation(number, 3));
        }
    },
    |dir| {
        for number in (0..SESSIONS).step_by(3) {
            dir.append(&key(number), conversation(number + 100, 2));
        }
        dir.delete(&key(1));
        dir.touch(&key(2));
        dir.write("eve/new.jsonl", conversation(200, 5));
    },
    |dir| {
        for number in (5..SESSIONS).step_by(4) {
            dir.write(&key(number), conversation(number + 300, 1));
        }
        // Continued after the checkpoint of the day before.
        for number in (0..SESSIONS).step_by(6) {
            dir.append(&key(number), conversation(number + 400, 1));
        }
        dir.rename(&key(4), "eve/renamed.jsonl");
        dir.write(&key(1), conversation(1, 3));
    },
    |_| {},
];

fn key(number: usize) -> String {
    format!("user-{}/{number:03}.jsonl", number % 4)
}

/// Returns a conversation with token usage, and with words for the serial processor. Which words
/// that processor finds depends on all previous sessions.
fn conversation(number: usize, turns: usize) -> String {
    let word = number % 7;
    format!(
        "{}{{\"do\":\"put\",\"word\":\"w{word}\",\"number\":{number}}}\n{{\"do\":\"find\",\"by\":\"word\"}}\n",
        usage_of(number, turns).text()
    )
}

fn usage_of(number: usize, turns: usize) -> Transcript {
    (0..turns).fold(Transcript::new(&format!("s{number}")), |session, turn| {
        session
            .user("go on")
            .assistant(|message| {
                let message = message.id(&format!("msg_{number}_{turn}"));
                message
                    .model("claude-opus-4-5")
                    .tokens(100 + turn as u64, 20)
                    .tool("Bash")
            })
            .tool_result(Ok("done"))
    })
}

/// A data directory, and the kills of the program so far.
pub struct Life {
    dir: DataDir,
    /// For each kill, the recorded points: the point at which the program was killed, or all points
    /// since the one that started the timer of the kill.
    pub deaths: Vec<Vec<String>>,
}

impl Life {
    /// Starts without a database.
    pub fn without_database() -> Self {
        let dir = DataDir::new();
        Self::on(dir)
    }

    fn on(dir: DataDir) -> Self {
        dir.drop_processor("remembers.wasm", misbehaving("remembers").1);
        // The smallest session has a checkpoint, so that those that grow are continued.
        let config = "[limits]\ncheckpoint_session_bytes_min = \"0 B\"\n";
        std::fs::write(dir.path().join("config.toml"), config).unwrap();
        Self {
            dir,
            deaths: Vec::new(),
        }
    }

    /// Starts with a database of an older version.
    pub fn with_older_database() -> Self {
        let life = Self::without_database();
        let mut migrate = life.program(&["migrate", "--to", "30"]);
        assert!(migrate.output().unwrap().status.success());
        life
    }

    /// Starts with compiled processors. Compiling would take most of the time.
    pub fn prepared() -> Self {
        thread_local! {
            static PREPARED: DataDir = {
                let life = Life::without_database();
                for processor in PROCESSORS {
                    assert!(life.program(&["run", processor]).output().unwrap().status.success());
                }
                life.dir
            };
        }
        Self::on(PREPARED.with(DataDir::with_state_of))
    }

    fn program(&self, arguments: &[&str]) -> Command {
        let mut command = program::command_with_data_dir(&self.dir);
        command.arg("--json").args(arguments);
        command
    }

    /// Starts a run again until it completes. `disturb` is called before each start.
    fn run(&mut self, processor: &str, mut disturb: impl FnMut(usize) -> Interruption) {
        for start in 0..STARTS_MAX {
            let command = self.program(&["run", processor]);
            match program::run(command, &self.dir, &disturb(start)) {
                ProgramEnd::Killed(points) => {
                    self.deaths.push(points);
                    tally("kills", 1);
                }
                ProgramEnd::Exited(output) => {
                    let stderr = String::from_utf8_lossy(&output.stderr);
                    assert_eq!(output.status.code(), Some(0), "start {start}: {stderr}");
                    return;
                }
            }
        }
        panic!("the run did not complete in {STARTS_MAX} starts");
    }

    /// Runs the first `days` days. `disturb` is called before each start of each day.
    pub fn run_days(&mut self, days: usize, mut disturb: impl FnMut(usize, usize) -> Interruption) {
        for (day, change) in DAYS.iter().enumerate().take(days) {
            change(&self.dir);
            for processor in PROCESSORS {
                self.run(processor, |start| disturb(day, start));
            }
        }
    }

    /// Checks the consistency of the database and returns its contents without times and sequence
    /// numbers.
    pub fn final_state(&self) -> BTreeMap<&'static str, Vec<String>> {
        let report = self.program(&["report", "usage"]).output();
        let report = String::from_utf8(report.unwrap().stdout).unwrap();
        let report = report
            .lines()
            .filter(|line| !line.contains("\"as_of\""))
            .collect();
        let mut state = BTreeMap::from([("report", vec![report])]);
        for (processor, table) in TABLES {
            let content = format!(
                "SELECT COLUMNS(name -> name NOT IN ('session_seq', 'recorded_at', 'first_run')) FROM \"{processor}\".{table} ORDER BY ALL"
            );
            state.insert(table, rows(&self.dir, &content));
            let orphans = format!(
                "SELECT DISTINCT r.session_file, r.session_seq FROM \"{processor}\".{table} r ANTI JOIN (
                    SELECT processor_name, session_file, session_seq FROM session_processor_state
                    UNION ALL SELECT processor_name, session_file, session_seq FROM session_settled_rows
                 ) s ON s.processor_name = '{processor}' AND s.session_file = r.session_file AND s.session_seq = r.session_seq"
            );
            assert_eq!(
                rows(&self.dir, &orphans),
                [""; 0],
                "`{table}` has rows without a session"
            );
        }
        let words = format!(
            "SELECT * EXCLUDE (created_at, updated_at) FROM \"{SERIAL_PROCESSOR}\".words ORDER BY ALL"
        );
        state.insert("words", rows(&self.dir, &words));
        let states = "SELECT processor_name, session_file, username, items_extracted, file_hash, file_size, due, missing_since IS NULL
            FROM session_processor_state ORDER BY ALL";
        state.insert("state", rows(&self.dir, states));
        state.insert(
            "failures",
            rows(
                &self.dir,
                "SELECT session_file, fault FROM session_failures ORDER BY ALL",
            ),
        );
        for table in ["session_processor_state", "session_failures"] {
            let duplicates = format!(
                "SELECT processor_name, session_file FROM {table} GROUP BY ALL HAVING count(*) > 1"
            );
            assert_eq!(
                rows(&self.dir, &duplicates),
                [""; 0],
                "`{table}` has two rows for one session"
            );
        }
        let open = "SELECT id FROM runs WHERE finished_at IS NULL";
        assert_eq!(rows(&self.dir, open), [""; 0], "runs were left open");
        state
    }
}
