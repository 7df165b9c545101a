//! Confinement of the threads that run guests. Where the kernel supports it, they can read
//! sessions, write scratch files and little else.

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

/// The confinement that this kernel supports. It is tested on a new thread, because confinement is
/// permanent.
fn supported_confinement() -> Confinement {
    let dir = tempfile::tempdir().unwrap();
    let folder = File::open(dir.path()).unwrap();
    let thread = thread::spawn(move || {
        confine_thread(FileAccess {
            sessions: Some(folder.as_fd()),
            scratch: &[],
        })
    });
    thread.join().unwrap().unwrap()
}

/// Runs `work` on a confined thread.
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

/// A model that tests what its calling thread can access. That is the thread that runs the guest.
#[derive(Debug)]
struct Probe {
    session: PathBuf,
    database: PathBuf,
    results: Mutex<Option<ProbeResults>>,
    /// An unconfined thread that reads the status of a thread, by its id.
    watcher: Mutex<(Sender<u32>, Receiver<String>)>,
}

#[derive(Debug, PartialEq, Eq)]
struct ProbeResults {
    session: Result<(), ErrorKind>,
    database: Result<(), ErrorKind>,
    proc_file: Result<(), ErrorKind>,
    database_from_new_thread: Result<(), ErrorKind>,
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
        let results = ProbeResults {
            session: open(&self.session),
            database: open(&self.database),
            proc_file: open(Path::new("/proc/self/status")),
            database_from_new_thread: thread::spawn(move || open(&database)).join().unwrap(),
            program: start_a_program(),
            listener: TcpListener::bind("127.0.0.1:0")
                .map(drop)
                .map_err(|error| error.kind()),
            connection: TcpStream::connect("127.0.0.1:1")
                .map(drop)
                .map_err(|error| error.kind()),
            state,
        };
        *self.results.lock().unwrap() = Some(results);
        Ok(LlmResponse {
            text: "answer".to_owned(),
            model: "probe".to_owned(),
            input_tokens: 1,
            output_tokens: 1,
        })
    }
}

#[test]
fn the_thread_that_runs_a_session_can_open_sessions_and_nothing_else() {
    let supported = supported_confinement();
    let dir = DataDir::new();
    dir.write("ada/one.jsonl", "{\"ask\":\"?\"}\n");
    let (thread_sender, thread_receiver) = channel::<u32>();
    let (status_sender, status_receiver) = channel();
    let watcher = thread::spawn(move || {
        for thread in thread_receiver {
            let status = fs::read_to_string(format!("/proc/self/task/{thread}/status"));
            status_sender.send(status.unwrap()).unwrap();
        }
    });
    let probe = Arc::new(Probe {
        session: dir.session_path("ada/one.jsonl"),
        database: dir.database_path(),
        results: Mutex::default(),
        watcher: Mutex::new((thread_sender, status_receiver)),
    });
    let pipeline = TestPipeline::open(&dir, &[misbehaving("asks_model")]);
    let pipeline = pipeline.with_language_model(Arc::clone(&probe) as Arc<_>);
    let stats = pipeline.run("faulty-asks-model").stats;
    assert_eq!((stats.processed, stats.errors), (1, 0));
    drop(pipeline);

    let results = probe.results.lock().unwrap().take().unwrap();
    let denied = Err(ErrorKind::PermissionDenied);
    assert_eq!(results.session, Ok(()));
    if supported.files {
        assert_eq!(results.database, denied);
        assert_eq!(results.proc_file, denied);
        assert_eq!(results.database_from_new_thread, denied);
    }
    if supported.calls {
        assert_eq!(
            (results.program, results.listener, results.connection),
            (denied, denied, denied)
        );
        assert_eq!(results.state, ["NoNewPrivs: 1", "Seccomp: 2"]);
    }
    // Other threads are not confined. This one can start programs and open any file.
    assert_eq!(start_a_program(), Ok(()));
    assert_eq!(open(&dir.database_path()), Ok(()));
    drop(probe);
    watcher.join().unwrap();
}

#[test]
fn the_thread_that_runs_describe_is_confined() {
    if !supported_confinement().calls {
        return;
    }
    let (_, component) = misbehaving("describe_loops");
    let limits = Limits {
        fuel_base: 50_000_000_000,
        ..Limits::default()
    };
    let loading = thread::spawn(move || Guest::try_load(component, &limits).map(drop));
    // The thread exists until the loop has used all the fuel. It gets its name before it is
    // confined, so several reads can be necessary.
    let mut states = Vec::new();
    while !loading.is_finished() && !states.iter().any(|state| state == "Seccomp:\t2") {
        for thread in fs::read_dir("/proc/self/task").unwrap() {
            // The thread might have ended in the meantime.
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
    drop(loading);
}

#[test]
fn a_confined_thread_reads_only_sessions_and_writes_only_scratch_files() {
    let supported = supported_confinement();
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    for folder in ["sessions/ada", "scratch", "other"] {
        fs::create_dir_all(at(folder)).unwrap();
    }
    fs::write(at("sessions/ada/one.jsonl"), "{}\n").unwrap();
    fs::write(at("other/secret"), "secret").unwrap();
    symlink(at("other/secret"), at("sessions/ada/link.jsonl")).unwrap();
    // Files that are moved into the sessions root are readable as well.
    fs::rename(at("other"), at("sessions/bob")).unwrap();
    fs::create_dir(at("other")).unwrap();
    fs::write(at("other/secret"), "secret").unwrap();
    let root = SessionsRoot::open(&at("sessions")).unwrap().unwrap();
    let (inside, link) = (at("sessions/ada/one.jsonl"), at("sessions/ada/link.jsonl"));
    let (scratch_file, outside) = (at("scratch/file"), at("other/file"));
    let session_file = inside.clone();
    let results = confined(&at("sessions"), &at("scratch"), move || {
        let mut text = String::new();
        let (mut file, _) = root.open_session("ada/one.jsonl").unwrap();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, "{}\n");
        fs::read(inside.parent().unwrap().with_file_name("bob/secret")).unwrap();
        fs::write(&scratch_file, "text").unwrap();
        fs::write(&scratch_file, "shorter").unwrap();
        fs::remove_file(&scratch_file).unwrap();
        [
            open(&link),
            fs::write(&session_file, "other").map_err(|error| error.kind()),
            fs::remove_file(&session_file).map_err(|error| error.kind()),
            fs::write(&outside, "text").map_err(|error| error.kind()),
            fs::read_dir("/").map(drop).map_err(|error| error.kind()),
        ]
    });
    if supported.files {
        assert_eq!(results, [Err(ErrorKind::PermissionDenied); 5]);
        assert_eq!(fs::read(at("sessions/ada/one.jsonl")).unwrap(), b"{}\n");
    }
}

#[test]
fn a_confined_thread_cannot_kill_processes_open_sockets_or_create_machine_code() {
    if !supported_confinement().calls {
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
        // Signals to its own process are allowed, because a process aborts with a signal.
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
    assert_eq!(child.try_wait().unwrap(), None, "the child still runs");
    child.kill().unwrap();
    child.wait().unwrap();
}
