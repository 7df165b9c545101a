//! The threads that run guests are confined by the kernel, as far as it can: they can do their work
//! and little else.

use std::fs::{self, File};
use std::io::{ErrorKind, Read as _};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd as _;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, getpid, kill_process, test_kill_process};
use session_pipeline_bundle::USAGE;
use session_pipeline_harness::{DataDir, Guest, TestPipeline};
use session_pipeline_host::limits::{Compiler, Limits};
use session_pipeline_host::model::{LanguageModel, LlmCaller, LlmError, LlmRequest, LlmResponse};
use session_pipeline_host::sandbox::{
    Confinement, Engine, FileAccess, compile, confine_thread, load,
};
use session_pipeline_host::sessions::SessionsRoot;

use crate::guests::misbehaving;

/// What this kernel supports, tried on a thread of its own, since confinement is permanent.
fn can() -> Confinement {
    let dir = tempfile::tempdir().unwrap();
    let folder = File::open(dir.path()).unwrap();
    let confined = thread::spawn(move || {
        confine_thread(FileAccess {
            sessions: Some(folder.as_fd()),
            scratch: &[],
        })
    });
    confined.join().unwrap().unwrap()
}

/// Runs something on a confined thread.
fn confined<T: Send + 'static>(
    sessions: &Path,
    scratch: &Path,
    work: impl FnOnce() -> T + Send + 'static,
) -> T {
    let sessions = File::open(sessions).unwrap();
    let scratch = scratch.to_owned();
    let thread = thread::spawn(move || {
        confine_thread(FileAccess {
            sessions: Some(sessions.as_fd()),
            scratch: &[&scratch, Path::new("/nowhere")],
        })
        .unwrap();
        work()
    });
    thread.join().unwrap()
}

/// A model that looks around on the thread that asks it, which is the one that runs the guest.
#[derive(Debug)]
struct Probe {
    session: PathBuf,
    database: PathBuf,
    found: Mutex<Option<Found>>,
    /// Reads the state of a thread, by its id, where that can be read.
    watcher: Mutex<(Sender<u32>, Receiver<String>)>,
}

#[derive(Debug, PartialEq, Eq)]
struct Found {
    session: Result<(), ErrorKind>,
    database: Result<(), ErrorKind>,
    elsewhere: Result<(), ErrorKind>,
    of_a_thread_of_its_own: Result<(), ErrorKind>,
    program: Result<(), ErrorKind>,
    listener: Result<(), ErrorKind>,
    connection: Result<(), ErrorKind>,
    state: Vec<String>,
}

fn open(path: &Path) -> Result<(), ErrorKind> {
    File::open(path).map(drop).map_err(|error| error.kind())
}

fn start_a_program() -> Result<(), ErrorKind> {
    let status = Command::new("/bin/true").status();
    status.map(drop).map_err(|error| error.kind())
}

impl LanguageModel for Probe {
    fn complete(&self, _: &LlmRequest, _: LlmCaller<'_>) -> Result<LlmResponse, LlmError> {
        let (sender, receiver) = &*self.watcher.lock().unwrap();
        let thread = rustix::thread::gettid().as_raw_nonzero().get();
        sender.send(thread.try_into().unwrap()).unwrap();
        let status = receiver.recv_timeout(Duration::from_secs(60)).unwrap();
        let state = status
            .lines()
            .filter(|line| line.starts_with("NoNewPrivs:") || line.starts_with("Seccomp:"))
            .map(|line| line.replace('\t', " "))
            .collect();
        let database = self.database.clone();
        let found = Found {
            session: open(&self.session),
            database: open(&self.database),
            elsewhere: open(Path::new("/proc/self/status")),
            of_a_thread_of_its_own: thread::spawn(move || open(&database)).join().unwrap(),
            program: start_a_program(),
            listener: TcpListener::bind("127.0.0.1:0")
                .map(drop)
                .map_err(|error| error.kind()),
            connection: TcpStream::connect("127.0.0.1:1")
                .map(drop)
                .map_err(|error| error.kind()),
            state,
        };
        *self.found.lock().unwrap() = Some(found);
        Ok(LlmResponse {
            text: "answer".to_owned(),
            model: "probe".to_owned(),
            input_tokens: 1,
            output_tokens: 1,
        })
    }
}

#[test]
fn the_thread_that_runs_a_session_opens_sessions_and_reaches_nothing_else() {
    let can = can();
    let dir = DataDir::new();
    dir.write("ada/one.jsonl", "{\"ask\":\"?\"}\n");
    let (ask, asked) = channel::<u32>();
    let (tell, told) = channel();
    let watcher = thread::spawn(move || {
        for thread in asked {
            let status = fs::read_to_string(format!("/proc/self/task/{thread}/status"));
            tell.send(status.unwrap()).unwrap();
        }
    });
    let probe = Arc::new(Probe {
        session: dir.session_path("ada/one.jsonl"),
        database: dir.database_path(),
        found: Mutex::default(),
        watcher: Mutex::new((ask, told)),
    });
    let pipeline = TestPipeline::open(&dir, &[misbehaving("asks_model")]);
    let pipeline = pipeline.with_language_model(Arc::clone(&probe) as Arc<_>);
    let stats = pipeline.run("faulty-asks-model").stats;
    assert_eq!((stats.processed, stats.errors), (1, 0));
    drop(pipeline);

    let found = probe.found.lock().unwrap().take().unwrap();
    let denied = Err(ErrorKind::PermissionDenied);
    assert_eq!(found.session, Ok(()));
    if can.files {
        assert_eq!(found.database, denied);
        assert_eq!(found.elsewhere, denied);
        assert_eq!(found.of_a_thread_of_its_own, denied);
    }
    if can.calls {
        assert_eq!(
            (found.program, found.listener, found.connection),
            (denied, denied, denied)
        );
        assert_eq!(found.state, ["NoNewPrivs: 1", "Seccomp: 2"]);
    }
    // No other thread is confined: this one can start programs, and open what it likes.
    assert_eq!(start_a_program(), Ok(()));
    assert_eq!(open(&dir.database_path()), Ok(()));
    drop(probe);
    watcher.join().unwrap();
}

#[test]
fn the_thread_on_which_a_component_describes_itself_is_confined() {
    if !can().calls {
        return;
    }
    let (_, component) = misbehaving("describe_loops");
    let limits = Limits {
        fuel_base: 50_000_000_000,
        ..Limits::default()
    };
    let described = thread::spawn(move || Guest::try_load(component, &limits).map(drop));
    // It loops until its fuel is used up, and its thread is there all the while; a thread has its
    // name before it is confined.
    let mut states = Vec::new();
    while !described.is_finished() && !states.iter().any(|state| state == "Seccomp:\t2") {
        for thread in fs::read_dir("/proc/self/task").unwrap() {
            // One that has ended meanwhile is none.
            let status = fs::read_to_string(thread.unwrap().path().join("status"));
            let status = status.unwrap_or_default();
            if status.starts_with("Name:\tdescribe\n") {
                let state = status.lines().find(|line| line.starts_with("Seccomp:"));
                states.extend(state.map(str::to_owned));
            }
        }
        thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(states.last().map(String::as_str), Some("Seccomp:\t2"));
    drop(described);
}

#[test]
fn a_confined_thread_reads_sessions_writes_scratch_files_and_follows_no_link_out() {
    let can = can();
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    for folder in ["sessions/ada", "scratch", "other"] {
        fs::create_dir_all(at(folder)).unwrap();
    }
    fs::write(at("sessions/ada/one.jsonl"), "{}\n").unwrap();
    fs::write(at("other/secret"), "secret").unwrap();
    symlink(at("other/secret"), at("sessions/ada/link.jsonl")).unwrap();
    // Files that are moved in next to the links are readable, like those that were there before.
    fs::rename(at("other"), at("sessions/bob")).unwrap();
    fs::create_dir(at("other")).unwrap();
    fs::write(at("other/secret"), "secret").unwrap();
    let root = SessionsRoot::open(&at("sessions")).unwrap().unwrap();
    let (inside, link) = (at("sessions/ada/one.jsonl"), at("sessions/ada/link.jsonl"));
    let (written, beside) = (at("scratch/file"), at("other/file"));
    let rewritten = inside.clone();
    let results = confined(&at("sessions"), &at("scratch"), move || {
        let mut text = String::new();
        let (mut file, _) = root.open_session("ada/one.jsonl").unwrap();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, "{}\n");
        fs::read(inside.parent().unwrap().with_file_name("bob/secret")).unwrap();
        fs::write(&written, "text").unwrap();
        fs::write(&written, "shorter").unwrap();
        fs::remove_file(&written).unwrap();
        [
            open(&link),
            fs::write(&rewritten, "other").map_err(|error| error.kind()),
            fs::remove_file(&rewritten).map_err(|error| error.kind()),
            fs::write(&beside, "text").map_err(|error| error.kind()),
            fs::read_dir("/").map(drop).map_err(|error| error.kind()),
        ]
    });
    if can.files {
        assert_eq!(results, [Err(ErrorKind::PermissionDenied); 5]);
        assert_eq!(fs::read(at("sessions/ada/one.jsonl")).unwrap(), b"{}\n");
    }
}

#[test]
fn a_confined_thread_harms_no_other_process_and_makes_no_machine_code() {
    if !can().calls {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let limits = Limits::default();
    let compiled = compile(&Compiler::InProcess, &limits, USAGE, dir.path()).unwrap();
    let engine = Engine::new(&limits, 1).unwrap();
    load(&engine, &compiled).unwrap();
    let mut child = Command::new("/bin/sleep").arg("60").spawn().unwrap();
    let pid = Pid::from_child(&child);
    let results = confined(dir.path(), dir.path(), move || {
        // Its own process it may: that is how a process aborts.
        test_kill_process(getpid()).unwrap();
        let code = load(&engine, &compiled).map(drop).map_err(drop);
        [
            kill_process(pid, Signal::KILL).map_err(drop),
            code,
            UdpSocket::bind("127.0.0.1:0").map(drop).map_err(drop),
            UnixStream::connect("/nowhere").map_err(drop).map(drop),
        ]
    });
    assert_eq!(results, [Err(()); 4]);
    assert_eq!(child.try_wait().unwrap(), None, "it is still there");
    child.kill().unwrap();
    child.wait().unwrap();
}
