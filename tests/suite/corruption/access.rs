//! Access to the files: only DuckDB opens the database file, and the data directory can be
//! read-only.

use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::mem::MaybeUninit;
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rustix::fs::inotify::{self, ReadFlags, WatchFlags};
use session_pipeline_harness::program;

use super::full::{can_mount, in_namespace};
use super::{
    CliOutput, DataDir, conversation, crash_image, key, open_error, run_cli, run_to_completion,
};
use crate::cli::serve::ServerProcess;
use crate::guests::usage_dir;
use crate::hostile::without_root_privileges;
use session_pipeline_store::StoreError;

/// An inotify watch for files of a folder that any process opens or closes.
struct FileWatch(OwnedFd);

impl FileWatch {
    fn on(folder: &Path) -> Self {
        let flags = inotify::CreateFlags::NONBLOCK | inotify::CreateFlags::CLOEXEC;
        let events = inotify::init(flags).unwrap();
        let kinds = WatchFlags::OPEN | WatchFlags::CLOSE_WRITE | WatchFlags::CLOSE_NOWRITE;
        inotify::add_watch(&events, folder, kinds).unwrap();
        Self(events)
    }

    /// Returns the opens and closes since the last call, each as (is close, file name).
    fn events(&self) -> Vec<(bool, String)> {
        let mut buffer = [const { MaybeUninit::uninit() }; 1 << 14];
        let mut reader = inotify::Reader::new(&self.0, &mut buffer);
        let mut events = Vec::new();
        while let Ok(event) = reader.next() {
            assert!(!event.events().contains(ReadFlags::QUEUE_OVERFLOW));
            let name = event
                .file_name()
                .map(|name| name.to_string_lossy().into_owned());
            let is_closed = !event.events().contains(ReadFlags::OPEN);
            events.push((is_closed, name.unwrap_or_default()));
        }
        events
    }
}

/// Sends a request as an admin and returns the status line.
fn get(serving: &ServerProcess, dir: &DataDir, path: &str) -> String {
    let token = fs::read_to_string(dir.path().join("state/admin-token")).unwrap();
    let mut stream = TcpStream::connect(serving.url().strip_prefix("http://").unwrap()).unwrap();
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: Bearer {}\r\n\r\n",
        token.trim()
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut response = Vec::new();
    stream.read_to_end(&mut response).unwrap();
    let response = String::from_utf8_lossy(&response);
    response.lines().next().unwrap_or_default().to_owned()
}

#[test]
fn while_the_database_is_open_no_other_code_opens_or_closes_its_file() {
    let dir = usage_dir();
    for number in 0..4 {
        dir.write(&key(number), conversation(number, 3));
    }
    let watch = FileWatch::on(&dir.path().join("state"));
    let serving = ServerProcess::start(&dir, &[]);
    let database = "system.duckdb".to_owned();
    let at_start = watch.events();
    assert!(
        at_start.iter().any(|(_, name)| *name == database),
        "the watch must report opens: {at_start:?}"
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
    // These commands fail at the lock.
    assert_eq!(run_cli(&dir, &["migrate"]).code, 3);
    assert_eq!(run_cli(&dir, &["serve", "--listen", "127.0.0.1:0"]).code, 3);
    let while_open = watch.events();
    assert!(
        while_open.iter().any(|(_, name)| name == "lock"),
        "the watch must report opens: {while_open:?}"
    );
    let touched: Vec<_> = while_open
        .iter()
        .filter(|(_, name)| *name == database)
        .collect();
    assert!(touched.is_empty(), "{touched:?}");
    assert_eq!(serving.stop(), 0);
    let at_end = watch.events();
    assert!(
        at_end.contains(&(true, database)),
        "the database file must be closed at the end: {at_end:?}"
    );
}

#[test]
fn an_unwritable_data_directory_is_reported_and_works_once_it_is_writable() {
    let dir = crash_image().to_dir();
    let state = dir.path().join("state");
    let set_mode =
        |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    let message = |error: &StoreError| {
        let text = error.to_string();
        assert!(
            text.contains("permissions") || text.contains("can write"),
            "{text}"
        );
        text
    };
    without_root_privileges(|| {
        // First the lock, then the folder, then the database.
        let lock = state.join("lock");
        set_mode(&lock, 0o400);
        let text = message(&open_error(&dir).unwrap());
        assert!(text.contains("state/lock`"), "{text}");
        fs::remove_file(&lock).unwrap();
        set_mode(&state, 0o500);
        let text = message(&open_error(&dir).unwrap());
        assert!(text.contains("state/lock`"), "{text}");
        set_mode(&state, 0o700);
        set_mode(&dir.database_path(), 0o400);
        let error = open_error(&dir).unwrap();
        assert!(matches!(error, StoreError::CannotOpen { .. }), "{error:?}");
        let text = message(&error);
        assert!(text.contains("cannot open the database"), "{text}");
        set_mode(&dir.database_path(), 0o600);
    });
    assert_eq!(&run_to_completion(&dir), crash_image().final_data());
}

#[test]
fn a_data_directory_on_a_read_only_disk_is_reported_and_works_once_it_is_writable() {
    if !can_mount() {
        return;
    }
    let dir = crash_image().to_dir();
    let script = r#"mount --bind "$1" "$1" && mount -o remount,bind,ro "$1" && shift && exec "$@""#;
    for arguments in [&["run", "usage"][..], &["status"], &["migrate"]] {
        let mut command = in_namespace(script);
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
    assert_eq!(&run_to_completion(&dir), crash_image().final_data());
}
