//! Obstacles at the path of an upload. Each gets an error with a remedy, and stays unchanged.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, mknodat};
use session_pipeline::http::HttpLimits;
use session_pipeline_harness::DataDir;
use session_pipeline_pipeline::config::Config;

use super::{HttpResponse, pair, stored_files, upload};
use crate::hostile::without_root_privileges;
use crate::http::{TestServer, user_folder};

/// Uploads a first session, and returns the sessions folder of the analyst.
fn created_folder(dir: &DataDir, server: &TestServer) -> PathBuf {
    assert_eq!(send(server, "first.jsonl").status, 200);
    user_folder(dir)
}

fn send(server: &TestServer, name: &str) -> HttpResponse {
    upload(server, &server.analyst, name, b"{}\n")
}

fn fifo(path: &Path) {
    mknodat(CWD, path, FileType::Fifo, Mode::RWXU, 0).unwrap();
}

#[test]
fn a_folder_with_the_name_of_the_session_gets_409() {
    let dir = DataDir::new();
    let server = TestServer::start(&dir, &[]);
    let folder = created_folder(&dir, &server);
    fs::create_dir(folder.join("empty.jsonl")).unwrap();
    fs::create_dir_all(folder.join("full.jsonl/sub")).unwrap();
    insta::assert_snapshot!(send(&server, "empty.jsonl").error(), @"409: `empty.jsonl` is the name of a folder in your sessions; use another name, or ask an operator to remove the folder");
    assert_eq!(send(&server, "full.jsonl").status, 409);
    assert_eq!(send(&server, "full.jsonl.gz").status, 409);
    assert_eq!(send(&server, "other.jsonl").status, 200);
    assert!(folder.join("full.jsonl/sub").is_dir());
    assert_eq!(
        fs::read_dir(&folder).unwrap().count(),
        4,
        "no hidden file is left"
    );
}

#[test]
fn links_and_special_files_are_replaced_and_link_targets_are_unchanged() {
    let dir = DataDir::new();
    let server = TestServer::start(&dir, &[]);
    let folder = created_folder(&dir, &server);
    let outside = dir.path().join("outside");
    fs::write(&outside, "outside").unwrap();
    symlink(&outside, folder.join("link.jsonl")).unwrap();
    symlink("/nowhere/at/all", folder.join("broken.jsonl")).unwrap();
    symlink(dir.path(), folder.join("to-folder.jsonl")).unwrap();
    fs::hard_link(&outside, folder.join("hard.jsonl")).unwrap();
    fifo(&folder.join("fifo.jsonl"));
    let names = ["broken", "fifo", "first", "hard", "link", "to-folder"];
    let names = names.map(|name| format!("{name}.jsonl"));
    for name in &names {
        assert_eq!(send(&server, name).status, 200, "{name}");
    }
    assert_eq!(stored_files(&dir), names.map(|name| pair(&name, "{}\n")));
    assert_eq!(fs::read_to_string(outside).unwrap(), "outside");
}

#[test]
fn a_file_or_link_in_place_of_the_user_folder_gets_409() {
    let dir = DataDir::new();
    let server = TestServer::start(&dir, &[]);
    let folder = created_folder(&dir, &server);
    let outside = dir.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::remove_dir_all(&folder).unwrap();
    let error = || send(&server, "s1.jsonl").error();
    fs::write(&folder, "a file").unwrap();
    let id = folder.file_name().unwrap().to_str().unwrap();
    insta::assert_snapshot!(error().replace(id, "USER"), @"409: `user_sessions/USER` in the data directory is not a folder, so it cannot store sessions; ask an operator to remove it");
    fs::remove_file(&folder).unwrap();
    for target in [&outside, Path::new("/nowhere/at/all")] {
        symlink(target, &folder).unwrap();
        assert!(error().starts_with("409: "), "{}", error());
        fs::remove_file(&folder).unwrap();
    }
    fifo(&folder);
    assert!(error().starts_with("409: "), "{}", error());
    fs::remove_file(&folder).unwrap();
    fs::remove_dir_all(dir.sessions_root()).unwrap();
    fs::write(dir.sessions_root(), "a file").unwrap();
    insta::assert_snapshot!(error(), @"409: `user_sessions` in the data directory is not a folder, so it cannot store sessions; ask an operator to remove it");
    assert_eq!(fs::read_dir(outside).unwrap().count(), 0);
}

#[test]
fn a_name_that_is_too_long_for_the_file_system_gets_400() {
    let dir = DataDir::new();
    let mut data_dir = dir.path().to_owned();
    while data_dir.as_os_str().len() < 3700 {
        data_dir.push("d".repeat(100));
    }
    data_dir.push("d".repeat(3900 - data_dir.as_os_str().len() - 1));
    fs::create_dir_all(&data_dir).unwrap();
    let config = Config {
        sessions_root: data_dir.join("user_sessions"),
        data_dir,
        ..dir.config()
    };
    let server = TestServer::start_with(&dir, config, HttpLimits::default(), &[]);
    assert_eq!(send(&server, "s1.jsonl").status, 200);
    let error = send(&server, &format!("{}.jsonl", "a".repeat(194))).error();
    insta::assert_snapshot!(error.replace(&"a".repeat(194), "AAA"), @"400: file name `AAA.jsonl` is too long for the file system of the sessions; use a shorter name");
}

#[test]
fn a_folder_without_permissions_gets_500_with_the_reason() {
    without_root_privileges(|| {
        let dir = DataDir::new();
        let server = TestServer::start(&dir, &[]);
        let folder = created_folder(&dir, &server);
        let mode = |path: &Path, mode| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        };
        mode(&folder, 0o500);
        insta::assert_snapshot!(send(&server, "s1.jsonl").error(), @"500: cannot store the session; check free space and permissions of the data directory: permission denied");
        mode(&folder, 0o000);
        assert_eq!(send(&server, "s1.jsonl").status, 500);
        mode(&folder, 0o700);
        fs::create_dir(folder.join("closed")).unwrap();
        mode(&folder.join("closed"), 0o000);
        drop(server);
        let server = TestServer::start(&dir, &[]);
        assert_eq!(
            send(&server, "s1.jsonl").status,
            200,
            "other folders do not affect uploads"
        );
        mode(&folder.join("closed"), 0o700);
    });
}

#[test]
fn an_unexpected_folder_does_not_prevent_the_removal_of_unfinished_uploads() {
    let dir = DataDir::new();
    for user in ["a", "b", "c"] {
        dir.write(&format!("{user}/.upload-abc"), "{}\n");
    }
    fs::remove_file(dir.session_path("b/.upload-abc")).unwrap();
    fs::create_dir_all(dir.session_path("b/.upload-abc/sub")).unwrap();
    dir.write("b/.upload-def", "{}\n");
    let _server = TestServer::start(&dir, &[]);
    for key in ["a/.upload-abc", "b/.upload-def", "c/.upload-abc"] {
        assert!(!dir.session_path(key).exists(), "{key}");
    }
    assert!(dir.session_path("b/.upload-abc/sub").is_dir());
}
