//! Tests special files in place of files of a data directory, and the permissions of files.

use std::fs::{self, Permissions};
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Output, Stdio};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use rustix::fs::{CWD, FileType, Mode, mknodat};
use session_pipeline_harness::{DataDir, Transcript, compiled, program};

use crate::guests::usage;
use crate::http::TestServer;

/// Longer than any command takes. A command that takes longer hangs.
const TIME_MAX: Duration = Duration::from_secs(30);

/// Runs the program and returns its output. `None` if it hangs.
fn run(dir: &DataDir, arguments: &[&str]) -> Option<Output> {
    let mut command = program::command_with_data_dir(dir);
    command.envs(compiled::environment()).args(arguments);
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (sender, receiver) = channel();
    let mut stderr = child.stderr.take().unwrap();
    thread::spawn(move || {
        let mut text = Vec::new();
        stderr.read_to_end(&mut text).unwrap();
        let _ = sender.send(text);
    });
    let Ok(stderr) = receiver.recv_timeout(TIME_MAX) else {
        child.kill().unwrap();
        child.wait().unwrap();
        return None;
    };
    let output = child.wait_with_output().unwrap();
    Some(Output { stderr, ..output })
}

/// Creates special files at `path`, one after the other, and passes the name of each kind to
/// `check`.
fn for_each_special_file(path: &Path, mut check: impl FnMut(&str)) {
    mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    check("a FIFO");
    fs::remove_file(path).unwrap();
    fs::create_dir(path).unwrap();
    check("a directory");
    fs::remove_dir(path).unwrap();
    std::os::unix::fs::symlink("/dev/zero", path).unwrap();
    check("a device");
    fs::remove_file(path).unwrap();
    let socket = UnixListener::bind(path).unwrap();
    check("a socket");
    drop(socket);
    fs::remove_file(path).unwrap();
}

#[test]
fn a_special_file_in_place_of_a_regular_file_is_reported_and_never_hangs() {
    for (name, command) in [
        ("config.toml", &["status"][..]),
        ("prices.toml", &["report", "usage"]),
        ("state/lock", &["run", "usage"]),
        ("state/system.duckdb", &["run", "usage"]),
        ("state/system.duckdb.wal", &["run", "usage"]),
        ("state/system.duckdb.new", &["run", "usage"]),
        ("state/checkpoint", &["run", "usage"]),
        ("state/commits", &["run", "usage"]),
    ] {
        let dir = DataDir::new();
        dir.write("ada/one.jsonl", Transcript::new("s1").user("hello"));
        assert_eq!(run(&dir, &["run", "usage"]).unwrap().status.code(), Some(0));
        let path = dir.path().join(name);
        if path.exists() {
            fs::remove_file(&path).unwrap();
        }
        for_each_special_file(&path, |kind| {
            let output =
                run(&dir, command).unwrap_or_else(|| panic!("{name}: {kind}: the command hangs"));
            let stderr = String::from_utf8(output.stderr).unwrap();
            assert!(
                stderr.contains(name) && stderr.contains(kind),
                "{name}: {kind}: {stderr}"
            );
            assert!(!stderr.contains("panicked"), "{stderr}");
        });
    }
}

#[test]
fn special_files_among_the_stored_components_never_hang() {
    let dir = DataDir::new();
    dir.write("ada/one.jsonl", Transcript::new("s1").user("hello"));
    assert_eq!(run(&dir, &["run", "usage"]).unwrap().status.code(), Some(0));
    let folder = dir.path().join("state/components");
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        fs::remove_file(&path).unwrap();
        mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    }
    assert!(run(&dir, &["run", "usage"]).is_some(), "the command hangs");
    assert!(
        run(&dir, &["processors", "list"]).is_some(),
        "the command hangs"
    );
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

/// Visits every file and folder below `folder`.
fn visit_all(folder: &Path, visit: &mut dyn FnMut(&Path)) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        visit(&path);
        if path.is_dir() {
            visit_all(&path, visit);
        }
    }
}

#[test]
fn a_state_folder_readable_by_others_is_made_private_with_a_warning() {
    let dir = DataDir::new();
    dir.write("ada/one.jsonl", Transcript::new("s1").user("hello"));
    assert_eq!(run(&dir, &["run", "usage"]).unwrap().status.code(), Some(0));
    let state = dir.path().join("state");
    fs::create_dir_all(state.join("components")).unwrap();
    fs::write(state.join("admin-token"), "").unwrap();
    let mut found = 0;
    visit_all(&state, &mut |path| {
        let mode = if path.is_dir() { 0o777 } else { 0o666 };
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        found += 1;
    });
    assert!(found > 3);
    fs::set_permissions(&state, Permissions::from_mode(0o755)).unwrap();
    let output = run(&dir, &["run", "usage"]).unwrap();
    assert_eq!(output.status.code(), Some(0));
    let stderr = String::from_utf8(output.stderr).unwrap();
    for message in [
        "state` was accessible to other users (mode 755)",
        "other users may have read the admin token",
    ] {
        assert!(stderr.contains(message), "{message}: {stderr}");
    }
    assert!(
        !stderr.contains('\u{1b}'),
        "colors without a terminal: {stderr}"
    );
    let check = |path: &Path| {
        // DuckDB creates the log with default permissions, but its folder is private.
        let is_log = path.ends_with("system.duckdb.wal");
        assert!(
            is_log || mode(path) & 0o077 == 0,
            "{path:?}: {:o}",
            mode(path)
        );
    };
    check(&state);
    visit_all(&state, &mut |path| check(path));
    let output = run(&dir, &["run", "usage"]).unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(
        !stderr.contains("accessible to other users"),
        "the warning is repeated: {stderr}"
    );
}

#[test]
fn an_export_is_private_from_its_first_byte() {
    let dir = DataDir::new();
    let folder = dir.path().join("export");
    fs::create_dir(&folder).unwrap();
    fs::set_permissions(&folder, Permissions::from_mode(0o755)).unwrap();
    for session in 0..40 {
        let mut events = Transcript::new(&format!("s{session}"));
        for _ in 0..200 {
            events = events.assistant(|m| m.tool("Bash"));
        }
        dir.write(&format!("ada/{session}.jsonl"), events);
    }
    let server = TestServer::start(&dir, &[usage()]);
    let response = server.post("/api/admin/run-session-processor?processor=usage");
    assert_eq!(response.status, 200);
    let (stop_sender, stop_receiver) = channel::<()>();
    let watched = folder.clone();
    let watch = thread::spawn(move || {
        let (mut files, mut modes) = (0, Vec::new());
        while stop_receiver.try_recv().is_err() {
            for entry in fs::read_dir(&watched).unwrap().flatten() {
                if let Ok(metadata) = entry.metadata() {
                    files += 1;
                    let folder = fs::metadata(&watched).unwrap().permissions().mode();
                    modes.push((metadata.permissions().mode() & 0o077) | (folder & 0o077));
                }
            }
        }
        (files, modes)
    });
    for format in ["csv", "json", "parquet"] {
        for _ in 0..5 {
            let export = server.get(&format!("/api/admin/usage/export?format={format}"));
            assert_eq!(export.status, 200);
        }
    }
    stop_sender.send(()).unwrap();
    let (files, modes) = watch.join().unwrap();
    assert!(files > 0, "no export was observed");
    assert!(modes.iter().all(|mode| *mode == 0), "{modes:?}");
    assert_eq!(mode(&folder), 0o700);
}
