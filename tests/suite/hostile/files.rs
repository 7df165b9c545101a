//! Files that are none, and files that others could read: what else lies in a data dir.

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

/// Long enough for any command here, and too short for one that hangs.
const TIME_MAX: Duration = Duration::from_secs(30);

/// What the program prints, within the time; `None` where it hangs.
fn ended(dir: &DataDir, arguments: &[&str]) -> Option<Output> {
    let mut command = program::command_with_data_dir(dir);
    command.envs(compiled::environment()).args(arguments);
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (tell, said) = channel();
    let mut stderr = child.stderr.take().unwrap();
    thread::spawn(move || {
        let mut text = Vec::new();
        stderr.read_to_end(&mut text).unwrap();
        let _ = tell.send(text);
    });
    let Ok(stderr) = said.recv_timeout(TIME_MAX) else {
        child.kill().unwrap();
        child.wait().unwrap();
        return None;
    };
    let output = child.wait_with_output().unwrap();
    Some(Output { stderr, ..output })
}

/// What is put where a file should be, with the word for it.
fn impostors(path: &Path, mut check: impl FnMut(&str)) {
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
fn what_is_no_file_in_the_place_of_one_is_named_and_never_hangs() {
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
        assert_eq!(
            ended(&dir, &["run", "usage"]).unwrap().status.code(),
            Some(0)
        );
        let path = dir.path().join(name);
        if path.exists() {
            fs::remove_file(&path).unwrap();
        }
        impostors(&path, |kind| {
            let output = ended(&dir, command).unwrap_or_else(|| panic!("{name}: {kind}: it hangs"));
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
fn what_is_no_file_among_the_kept_components_never_hangs() {
    let dir = DataDir::new();
    dir.write("ada/one.jsonl", Transcript::new("s1").user("hello"));
    assert_eq!(
        ended(&dir, &["run", "usage"]).unwrap().status.code(),
        Some(0)
    );
    let folder = dir.path().join("state/components");
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        fs::remove_file(&path).unwrap();
        mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    }
    assert!(ended(&dir, &["run", "usage"]).is_some(), "it hangs");
    assert!(ended(&dir, &["processors", "list"]).is_some(), "it hangs");
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

/// Every file and folder below one.
fn all_below(folder: &Path, visit: &mut dyn FnMut(&Path)) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        visit(&path);
        if path.is_dir() {
            all_below(&path, visit);
        }
    }
}

#[test]
fn a_state_folder_that_others_could_read_is_closed_with_a_warning() {
    let dir = DataDir::new();
    dir.write("ada/one.jsonl", Transcript::new("s1").user("hello"));
    assert_eq!(
        ended(&dir, &["run", "usage"]).unwrap().status.code(),
        Some(0)
    );
    let state = dir.path().join("state");
    fs::create_dir_all(state.join("components")).unwrap();
    fs::write(state.join("admin-token"), "").unwrap();
    let mut found = 0;
    all_below(&state, &mut |path| {
        let mode = if path.is_dir() { 0o777 } else { 0o666 };
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        found += 1;
    });
    assert!(found > 3);
    fs::set_permissions(&state, Permissions::from_mode(0o755)).unwrap();
    let output = ended(&dir, &["run", "usage"]).unwrap();
    assert_eq!(output.status.code(), Some(0));
    let stderr = String::from_utf8(output.stderr).unwrap();
    for told in [
        "state` was accessible to other users (mode 755)",
        "other users may have read the admin token",
    ] {
        assert!(stderr.contains(told), "{told}: {stderr}");
    }
    assert!(
        !stderr.contains('\u{1b}'),
        "no colors where there is no terminal: {stderr}"
    );
    let check = |path: &Path| {
        // What DuckDB makes anew is out of reach in its folder.
        let is_log = path.ends_with("system.duckdb.wal");
        assert!(
            is_log || mode(path) & 0o077 == 0,
            "{path:?}: {:o}",
            mode(path)
        );
    };
    check(&state);
    all_below(&state, &mut |path| check(path));
    let output = ended(&dir, &["run", "usage"]).unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(
        !stderr.contains("accessible to other users"),
        "once is enough: {stderr}"
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
    let ran = server.post("/api/admin/run-session-processor?processor=usage");
    assert_eq!(ran.status, 200);
    let (done, is_done) = channel::<()>();
    let watched = folder.clone();
    let watch = thread::spawn(move || {
        let (mut files, mut modes) = (0, Vec::new());
        while is_done.try_recv().is_err() {
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
    done.send(()).unwrap();
    let (files, modes) = watch.join().unwrap();
    assert!(files > 0, "the watch saw an export");
    assert!(modes.iter().all(|mode| *mode == 0), "{modes:?}");
    assert_eq!(mode(&folder), 0o700);
}
