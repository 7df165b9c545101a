//! In whose hands the files are: nobody but DuckDB opens the database, and a data dir in which we
//! may not write.

use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::mem::MaybeUninit;
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rustix::fs::inotify::{self, ReadFlags, WatchFlags};
use session_pipeline_harness::program;

use super::full::{has_own_mounts, in_a_namespace};
use super::{CliOutput, DataDir, conversation, key, killed, refusal, run_cli, run_through};
use crate::cli::serve::ServerProcess;
use crate::guests::usage_dir;
use crate::hostile::without_roots_powers;
use session_pipeline_store::StoreError;

/// Sees every file of a folder that is opened or closed, whoever does it.
struct Watch(OwnedFd);

impl Watch {
    fn over(folder: &Path) -> Self {
        let flags = inotify::CreateFlags::NONBLOCK | inotify::CreateFlags::CLOEXEC;
        let events = inotify::init(flags).unwrap();
        let kinds = WatchFlags::OPEN | WatchFlags::CLOSE_WRITE | WatchFlags::CLOSE_NOWRITE;
        inotify::add_watch(&events, folder, kinds).unwrap();
        Self(events)
    }

    /// What was opened and closed since the last look: whether closed, and the name.
    fn seen(&self) -> Vec<(bool, String)> {
        let mut buffer = [const { MaybeUninit::uninit() }; 1 << 14];
        let mut reader = inotify::Reader::new(&self.0, &mut buffer);
        let mut seen = Vec::new();
        while let Ok(event) = reader.next() {
            assert!(!event.events().contains(ReadFlags::QUEUE_OVERFLOW));
            let name = event
                .file_name()
                .map(|name| name.to_string_lossy().into_owned());
            let is_closed = !event.events().contains(ReadFlags::OPEN);
            seen.push((is_closed, name.unwrap_or_default()));
        }
        seen
    }
}

/// Asks a server as an admin; gives the status line.
fn get(serving: &ServerProcess, dir: &DataDir, path: &str) -> String {
    let token = fs::read_to_string(dir.path().join("state/admin-token")).unwrap();
    let mut stream = TcpStream::connect(serving.url().strip_prefix("http://").unwrap()).unwrap();
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: Bearer {}\r\n\r\n",
        token.trim()
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let answer = String::from_utf8_lossy(&answer);
    answer.lines().next().unwrap_or_default().to_owned()
}

#[test]
fn while_it_is_open_nobody_opens_or_closes_the_database_file() {
    let dir = usage_dir();
    for number in 0..4 {
        dir.write(&key(number), conversation(number, 3));
    }
    let watch = Watch::over(&dir.path().join("state"));
    let serving = ServerProcess::start(&dir, &[]);
    let database = "system.duckdb".to_owned();
    let at_the_start = watch.seen();
    assert!(
        at_the_start.iter().any(|(_, name)| *name == database),
        "it sees what is opened: {at_the_start:?}"
    );
    for arguments in [
        &["run", "usage"][..],
        &["run", "--all"],
        &["status"],
        &["report", "usage"],
        &["sessions", "list"],
        &["sessions", "show", &key(1)],
        &["quarantine", "list"],
        &["knowledge", "list"],
        &["reprocess", "usage"],
        &["run", "usage"],
        &["processors", "list"],
        &["token", "create", "--role", "analyst"],
        &["token", "list"],
    ] {
        let ended = run_cli(&dir, arguments);
        assert_eq!(ended.code, 0, "{arguments:?}: {ended:?}");
    }
    for path in [
        "/api/health",
        "/api/health/detailed",
        "/api/admin/usage/summary",
        "/api/admin/usage/export",
        "/api/admin/runs",
        "/api/admin/audit",
    ] {
        assert_eq!(get(&serving, &dir, path), "HTTP/1.1 200 OK", "{path}");
    }
    // Others do not even get so far.
    assert_eq!(run_cli(&dir, &["migrate"]).code, 3);
    assert_eq!(run_cli(&dir, &["serve", "--listen", "127.0.0.1:0"]).code, 3);
    let meanwhile = watch.seen();
    assert!(
        meanwhile.iter().any(|(_, name)| name == "lock"),
        "it sees what is opened: {meanwhile:?}"
    );
    let touched: Vec<_> = meanwhile
        .iter()
        .filter(|(_, name)| *name == database)
        .collect();
    assert!(touched.is_empty(), "{touched:?}");
    assert_eq!(serving.stop(), 0);
    let at_the_end = watch.seen();
    assert!(
        at_the_end.contains(&(true, database)),
        "closed at the end, and only then: {at_the_end:?}"
    );
}

#[test]
fn a_data_dir_that_may_not_be_written_is_named_and_goes_on_when_it_may() {
    let dir = killed().lay();
    let state = dir.path().join("state");
    let allow =
        |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    let told = |error: &StoreError| {
        let text = error.to_string();
        assert!(
            text.contains("permissions") || text.contains("can write"),
            "{text}"
        );
        text
    };
    without_roots_powers(|| {
        // The lock, the folder, the database.
        let lock = state.join("lock");
        allow(&lock, 0o400);
        let text = told(&refusal(&dir).unwrap());
        assert!(text.contains("state/lock`"), "{text}");
        fs::remove_file(&lock).unwrap();
        allow(&state, 0o500);
        let text = told(&refusal(&dir).unwrap());
        assert!(text.contains("state/lock`"), "{text}");
        allow(&state, 0o700);
        allow(&dir.database_path(), 0o400);
        let error = refusal(&dir).unwrap();
        assert!(matches!(error, StoreError::CannotOpen { .. }), "{error:?}");
        let text = told(&error);
        assert!(text.contains("cannot open the database"), "{text}");
        allow(&dir.database_path(), 0o600);
    });
    assert_eq!(&run_through(&dir), killed().end());
}

#[test]
fn a_data_dir_on_a_disk_that_is_read_only_is_named_and_goes_on_when_it_is_not() {
    if !has_own_mounts() {
        return;
    }
    let dir = killed().lay();
    let script = r#"mount --bind "$1" "$1" && mount -o remount,bind,ro "$1" && shift && exec "$@""#;
    for arguments in [&["run", "usage"][..], &["status"], &["migrate"]] {
        let mut command = in_a_namespace(script);
        command
            .arg(dir.path())
            .arg(program::path())
            .arg("--data-dir");
        command.arg(dir.path()).args(arguments);
        let ended = CliOutput::of(&dir, command.output().unwrap());
        assert_eq!(ended.code, 3, "{ended:?}");
        assert!(
            ended
                .stderr
                .contains("state/lock`; check that it exists, its permissions")
                && ended.stderr.contains("Read-only file system"),
            "{ended:?}"
        );
    }
    assert_eq!(&run_through(&dir), killed().end());
}
