//! An hour of work of several users, in which everything that can fail does.
//!
//! The clock is simulated: a tick is ten seconds of work, and takes some milliseconds here.

use std::fs;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use session_pipeline_harness::{DataDir, cases, counted, tally};

use super::proxy::Proxy;
use super::{lines, token_of};
use crate::cli::serve::ServerProcess;
use crate::push::{Machine, files_below};

const USERS: usize = 3;
const TICKS: u64 = 360;
const TICK: Duration = Duration::from_millis(20);

/// A linear congruential generator (Knuth, MMIX), so that a seed repeats the work and the faults.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }

    /// Whether something happens that has this probability, in percent.
    fn has_luck(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

/// A user with a machine, whose connections to the server go through a proxy.
struct User {
    machine: Machine,
    proxy: Proxy,
    pushing: Option<Child>,
    sessions: u64,
    agents: u64,
    /// The bytes that were written to files, where a renamed file is a new one.
    added: u64,
    archived: u64,
    program_kills: u64,
    /// Kills of the server while the program was running.
    server_kills: u64,
}

impl User {
    fn new(dir: &DataDir, number: usize) -> Self {
        let user = Self {
            machine: Machine::new(&token_of(dir, &format!("user-{number}@example.com"))),
            proxy: Proxy::start("http://127.0.0.1:1"),
            pushing: None,
            sessions: 0,
            agents: 0,
            added: 0,
            archived: 0,
            program_kills: 0,
            server_kills: 0,
        };
        user.machine.write("p/owner.jsonl", "");
        user
    }

    fn append(&mut self, path: &str, content: &str) {
        if !self.machine.projects().join(path).exists() {
            self.machine.write(path, "");
        }
        self.machine.append(path, content);
        self.added += content.len() as u64;
    }

    /// Works for ten simulated seconds.
    fn work(&mut self, dice: &mut Dice) {
        if self.sessions == 0 || dice.has_luck(6) {
            self.sessions += 1;
        }
        // People have a few sessions open.
        let session = self.sessions - dice.below(self.sessions.min(3));
        let path = format!("p/s{session}.jsonl");
        let count = 1 + usize::try_from(dice.below(4)).unwrap();
        let length = 10 + usize::try_from(dice.below(20_000)).unwrap();
        let text = lines(count, length);
        match dice.below(100) {
            // The agent is writing a line, and completes it with the next one.
            0..10 => self.append(&path, &text[..text.len() / 2]),
            10..25 => {
                self.agents += 1;
                let agent = format!("p/s{session}/subagents/agent-{}", self.agents);
                self.append(&format!("{agent}.jsonl"), &text);
                self.append(&format!("{agent}.meta.json"), "{\"agentType\":\"Explore\"}");
            }
            25..30 if self.machine.projects().join(&path).exists() => self.rotate(session, &text),
            _ => self.append(&path, &text),
        }
    }

    /// Moves a session away, and begins a new one in its place.
    fn rotate(&mut self, session: u64, text: &str) {
        let projects = self.machine.projects();
        let path = format!("p/s{session}.jsonl");
        self.archived += 1;
        let archived = format!("p/archive/s{session}-{}.jsonl", self.archived);
        fs::create_dir_all(projects.join("p/archive")).unwrap();
        fs::rename(projects.join(&path), projects.join(&archived)).unwrap();
        self.added += fs::metadata(projects.join(&archived)).unwrap().len();
        self.append(&path, text);
    }

    /// Starts the program if it is not running, as a hook of the agent does.
    fn push(&mut self, dice: &mut Dice) {
        if let Some(child) = &mut self.pushing
            && child.try_wait().unwrap().is_some()
        {
            self.pushing = None;
        }
        if self.pushing.is_none() && dice.has_luck(50) {
            let mut command = self.machine.command(&self.proxy.url, &[]);
            command.stdout(Stdio::null()).stderr(Stdio::null());
            self.pushing = Some(command.spawn().unwrap());
        }
    }

    /// Kills the program if it is running.
    fn kill(&mut self) {
        if let Some(mut child) = self.pushing.take() {
            self.program_kills += u64::from(child.try_wait().unwrap().is_none());
            let _ = child.kill();
            child.wait().unwrap();
        }
    }

    /// Whether the program is running.
    fn is_pushing(&mut self) -> bool {
        let child = self.pushing.as_mut();
        child.is_some_and(|child| child.try_wait().unwrap().is_none())
    }

    /// Ends the work: everything that is missing is sent, and then nothing.
    fn finish(&mut self) -> u64 {
        let cuts = self.proxy.stop_cutting();
        if let Some(mut child) = self.pushing.take() {
            child.wait().unwrap();
        }
        self.machine.push_all(&self.proxy.url, &[]);
        let again = self.machine.push_all(&self.proxy.url, &[]);
        assert_eq!(again.figure("sent_bytes"), 0, "{again:?}");
        cuts
    }

    /// Checks that the server has what the machine has, in the folder of this user.
    fn check_equal(&self, dir: &DataDir, number: usize) {
        let owner = self.machine.sources()["claude/p/owner.jsonl"].clone();
        let users = fs::read_dir(dir.sessions_root()).unwrap();
        let folders = users.map(|user| files_below(&user.unwrap().path()));
        let mut own = folders.filter(|files| files.get("claude/p/owner.jsonl") == Some(&owner));
        let stored = own.next().unwrap();
        assert!(own.next().is_none(), "two users have the same sessions");
        let sources = self.machine.sources();
        for (path, content) in &sources {
            assert!(
                stored.get(path) == Some(content),
                "user {number}: `{path}` differs"
            );
        }
        let others = stored.keys().filter(|path| !sources.contains_key(*path));
        let others: Vec<_> = others.collect();
        assert!(others.is_empty(), "user {number}: {others:?}");
    }
}

/// The server, which is down between a kill and the next start.
struct Server<'d> {
    dir: &'d DataDir,
    process: Option<ServerProcess>,
    kills: u64,
}

impl Server<'_> {
    fn kill(&mut self, users: &mut [User]) {
        if self.process.take().is_some() {
            self.kills += 1;
            for user in users {
                user.server_kills += u64::from(user.is_pushing());
            }
        }
    }

    fn start(&mut self, users: &[User]) {
        if self.process.is_none() {
            let process = ServerProcess::start(self.dir, &[]);
            for user in users {
                user.proxy.set_upstream(process.url());
            }
            self.process = Some(process);
        }
    }
}

proptest! {
    #![proptest_config(counted(cases().div_ceil(64)))]

    /// Each kill and each cut repeats at most the body of one request of each running program.
    #[test]
    fn invariant_an_hour_of_faults_loses_nothing_and_repeats_one_request_per_fault(
        seed in any::<u64>(),
    ) {
        let started = Instant::now();
        let dir = DataDir::new();
        let mut dice = Dice(seed);
        let mut users: Vec<User> = (0..USERS).map(|number| User::new(&dir, number)).collect();
        for (number, user) in users.iter_mut().enumerate() {
            user.append("p/owner.jsonl", &format!("{{\"user\":{number}}}\n"));
        }
        let mut server = Server { dir: &dir, process: None, kills: 0 };
        for _ in 0..TICKS {
            if server.process.is_none() && dice.has_luck(30) {
                server.start(&users);
            } else if dice.has_luck(3) {
                server.kill(&mut users);
            }
            for user in &mut users {
                user.work(&mut dice);
                user.push(&mut dice);
                if dice.has_luck(5) {
                    user.kill();
                }
                if dice.has_luck(5) {
                    user.proxy.cut_after(vec![dice.below(60_000)]);
                }
            }
            std::thread::sleep(TICK);
        }
        server.start(&users);
        let mut size = 0;
        let (mut added, mut sent, mut requests, mut cuts, mut kills) = (0, 0, 0, 0, 0);
        for (number, user) in users.iter_mut().enumerate() {
            let own_cuts = user.finish();
            user.check_equal(&dir, number);
            size += user.machine.sources().values().map(Vec::len).sum::<usize>() as u64;
            let bodies = user.proxy.bodies();
            let own_sent: u64 = bodies.iter().sum();
            let largest = bodies.iter().max().copied().unwrap_or(0);
            let faults = user.program_kills + user.server_kills + own_cuts;
            prop_assert!(
                own_sent <= user.added + faults * largest,
                "user {number}: {own_sent} bytes sent for {} added, with {faults} faults, of at most {largest} bytes",
                user.added,
            );
            added += user.added;
            sent += own_sent;
            requests += bodies.len();
            cuts += own_cuts;
            kills += user.program_kills;
        }
        let server_kills = server.kills;
        println!(
            "{USERS} users, {TICKS} ticks in {:?}: {kills} kills of the program, {server_kills} of the server, {cuts} cuts; {added} bytes added, {sent} sent in {requests} uploads",
            started.elapsed(),
        );
        prop_assert!(sent >= size, "the proxy saw {sent} of {size} bytes");
        tally("program killed", kills);
        tally("server killed", server_kills);
        tally("connections cut", cuts);
        tally("bytes added", added);
        tally("bytes sent", sent);
    }
}
