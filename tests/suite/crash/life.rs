//! A data dir that the real program lives in for some days, however often it dies there.

use std::collections::BTreeMap;
use std::process::Command;

use session_pipeline_harness::program::{self, Interruption, ProgramEnd};
use session_pipeline_harness::{DataDir, Transcript, tally};

use crate::database::rows;
use crate::guests::misbehaving;

/// A processor that remembers words over all sessions, and so takes one after the other.
const REMEMBERS: &str = "faulty-remembers";
const PROCESSORS: [&str; 2] = ["usage", REMEMBERS];
/// The tables whose rows belong to sessions.
const TABLES: [(&str, &str); 5] = [
    ("usage", "messages"),
    ("usage", "events"),
    ("usage", "sessions"),
    (REMEMBERS, "lines"),
    (REMEMBERS, "found"),
];
/// Sessions at the beginning.
pub const SESSIONS: usize = 24;
/// Starts of one day after which it must have come to its end.
const STARTS_MAX: usize = 400;

/// How many days there are.
pub const ALL_DAYS: usize = DAYS.len();

/// What happens to the sessions before each run.
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
        dir.rename(&key(4), "eve/renamed.jsonl");
        dir.write(&key(1), conversation(1, 3));
    },
    |_| {},
];

fn key(number: usize) -> String {
    format!("user-{}/{number:03}.jsonl", number % 4)
}

/// A conversation with `usage` in it, and with words for the processor that remembers them over all
/// sessions: which it finds depends on every session before.
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

/// A data dir with the program's starts counted.
pub struct Life {
    dir: DataDir,
    /// Each death, with the points that were written down: that at which it died, or all from the
    /// one on after which it did.
    pub deaths: Vec<Vec<String>>,
}

impl Life {
    /// A life that begins without a database.
    pub fn from_nothing() -> Self {
        let dir = DataDir::new();
        dir.drop_processor("remembers.wasm", misbehaving("remembers").1);
        Self {
            dir,
            deaths: Vec::new(),
        }
    }

    /// A life that begins with a database of an older version.
    pub fn from_an_older_database() -> Self {
        let life = Self::from_nothing();
        let mut migrate = life.program(&["migrate", "--to", "30"]);
        assert!(migrate.output().unwrap().status.success());
        life
    }

    /// A life whose program has compiled its processor already, which takes most of the time.
    pub fn prepared() -> Self {
        thread_local! {
            static PREPARED: DataDir = {
                let life = Life::from_nothing();
                for processor in PROCESSORS {
                    assert!(life.program(&["run", processor]).output().unwrap().status.success());
                }
                life.dir
            };
        }
        let dir = PREPARED.with(DataDir::with_state_of);
        dir.drop_processor("remembers.wasm", misbehaving("remembers").1);
        Self {
            dir,
            deaths: Vec::new(),
        }
    }

    fn program(&self, arguments: &[&str]) -> Command {
        let mut command = program::command_with_data_dir(&self.dir);
        command.arg("--json").args(arguments);
        command
    }

    /// Runs a processor until it comes to its end; `disturb` is asked before each start.
    fn run(&mut self, processor: &str, mut disturb: impl FnMut(usize) -> Interruption) {
        for start in 0..STARTS_MAX {
            let command = self.program(&["run", processor]);
            match program::run(command, &self.dir, &disturb(start)) {
                ProgramEnd::Killed(points) => {
                    self.deaths.push(points);
                    tally("kills", 1);
                }
                ProgramEnd::Exited(output) => {
                    let said = String::from_utf8_lossy(&output.stderr);
                    assert_eq!(output.status.code(), Some(0), "start {start}: {said}");
                    return;
                }
            }
        }
        panic!("after {STARTS_MAX} starts it had still not come to its end");
    }

    /// Lives through the first days; `disturb` is asked before each start of each day.
    pub fn live(&mut self, days: usize, mut disturb: impl FnMut(usize, usize) -> Interruption) {
        for (day, happens) in DAYS.iter().enumerate().take(days) {
            happens(&self.dir);
            for processor in PROCESSORS {
                self.run(processor, |start| disturb(day, start));
            }
        }
    }

    /// What is left at the end, but for times and running numbers; and that it is sound in itself.
    pub fn end(&self) -> BTreeMap<&'static str, Vec<String>> {
        let report = self.program(&["report", "usage"]).output();
        let report = String::from_utf8(report.unwrap().stdout).unwrap();
        let report = report
            .lines()
            .filter(|line| !line.contains("\"as_of\""))
            .collect();
        let mut left = BTreeMap::from([("report", vec![report])]);
        for (processor, table) in TABLES {
            let kept = format!(
                "SELECT COLUMNS(name -> name NOT IN ('session_seq', 'recorded_at', 'first_run')) FROM \"{processor}\".{table} ORDER BY ALL"
            );
            left.insert(table, rows(&self.dir, &kept));
            let orphans = format!(
                "SELECT DISTINCT r.session_file, r.session_seq FROM \"{processor}\".{table} r ANTI JOIN session_processor_state s
                 ON s.processor_name = '{processor}' AND s.session_file = r.session_file AND s.session_seq = r.session_seq"
            );
            assert_eq!(
                rows(&self.dir, &orphans),
                [""; 0],
                "rows of `{table}` that belong to no session"
            );
        }
        let words = format!(
            "SELECT * EXCLUDE (created_at, updated_at) FROM \"{REMEMBERS}\".words ORDER BY ALL"
        );
        left.insert("words", rows(&self.dir, &words));
        let state = "SELECT processor_name, session_file, username, items_extracted, file_hash, file_size, due, missing_since IS NULL
            FROM session_processor_state ORDER BY ALL";
        left.insert("state", rows(&self.dir, state));
        left.insert(
            "failures",
            rows(
                &self.dir,
                "SELECT session_file, fault FROM session_failures ORDER BY ALL",
            ),
        );
        for table in ["session_processor_state", "session_failures"] {
            let twice = format!(
                "SELECT processor_name, session_file FROM {table} GROUP BY ALL HAVING count(*) > 1"
            );
            assert_eq!(
                rows(&self.dir, &twice),
                [""; 0],
                "two rows of one session in `{table}`"
            );
        }
        let open = "SELECT id FROM runs WHERE finished_at IS NULL";
        assert_eq!(
            rows(&self.dir, open),
            [""; 0],
            "runs that nobody has closed"
        );
        left
    }
}
