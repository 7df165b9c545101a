//! Paths of uploads: what is rejected, what is in the way, and what stays untouched.

use std::fs;
use std::os::unix::fs::symlink;

use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::json;
use session_pipeline_harness::DataDir;

use super::{file, manifest, put, put_with, stored};
use crate::http::{TestServer, user_folder};

#[test]
fn paths_that_could_leave_the_folder_are_rejected() {
    let dir = DataDir::new();
    let server = TestServer::start(&dir, &[]);
    let long = format!("{}.jsonl", "a".repeat(195));
    for path in [
        "..%2Fs1.jsonl",
        "a/%2e%2e/s1.jsonl",
        "a/.hidden/s1.jsonl",
        ".s1.jsonl",
        "a//s1.jsonl",
        "/s1.jsonl",
        "a%00.jsonl",
        "a%0a.jsonl",
        "a%5Cb.jsonl",
        "%C3%BC.jsonl",
        "s1.json",
        "s1",
        "1/2/3/4/5/6/7/8/9.jsonl",
        "a/s1.jsonl/",
        &long,
    ] {
        let response = put(&server, path, b"", b"{}\n");
        assert_eq!(response.status, 400, "{path}: {response:?}");
        let detail = response.body["detail"].as_str().unwrap();
        assert!(detail.starts_with("invalid path `"), "{path}: {detail}");
    }
    // A path that is not UTF-8 is no path of the API.
    assert_eq!(put(&server, "%ff.jsonl", b"", b"{}\n").status, 404);
    assert_eq!(stored(&dir), []);
    for path in [
        "1/2/3/4/5/6/7/8.jsonl",
        &long[1..],
        "p/s1/subagents/agent-1.meta.json",
    ] {
        assert_eq!(put(&server, path, b"", b"{}\n").status, 200, "{path}");
    }
    let unwanted = manifest(
        &server,
        &json!([{ "path": "../x.jsonl", "size": 1 }, { "path": "a.jsonl", "size": 1 }]),
    );
    assert!(
        unwanted[0]["unwanted"]
            .as_str()
            .unwrap()
            .starts_with("invalid path"),
        "{unwanted}"
    );
    assert_eq!(unwanted[1], json!({ "path": "a.jsonl" }));
}

#[test]
fn links_and_special_files_are_not_followed_and_not_replaced() {
    let dir = DataDir::new();
    let server = TestServer::start(&dir, &[]);
    assert_eq!(put(&server, "a/first.jsonl", b"", b"{}\n").status, 200);
    let user = user_folder(&dir);
    let outside = dir.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("s1.jsonl"), "outside\n").unwrap();
    symlink(&outside, user.join("link")).unwrap();
    symlink(&outside, user.join("a/link")).unwrap();
    symlink(outside.join("s1.jsonl"), user.join("link.jsonl")).unwrap();
    symlink("/nowhere/at/all", user.join("broken.jsonl")).unwrap();
    mknodat(CWD, user.join("fifo.jsonl"), FileType::Fifo, Mode::RWXU, 0).unwrap();
    fs::create_dir(user.join("folder.jsonl")).unwrap();
    for path in [
        "link/s1.jsonl",
        "a/link/deeper/s1.jsonl",
        "link.jsonl",
        "broken.jsonl",
        "fifo.jsonl",
        "folder.jsonl",
        "a/first.jsonl/s1.jsonl",
    ] {
        for prefix in [&b""[..], b"outside\n"] {
            let response = put(&server, path, prefix, b"{}\n");
            assert_eq!(response.status, 409, "{path}: {response:?}");
            assert_eq!(response.body.get("stored"), None, "{path}: {response:?}");
        }
        let compared = manifest(&server, &json!([{ "path": path, "size": 8 }]));
        assert!(compared[0]["unwanted"].is_string(), "{path}: {compared}");
    }
    assert_eq!(fs::read(outside.join("s1.jsonl")).unwrap(), b"outside\n");
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
}

#[test]
fn a_file_with_other_names_is_copied_before_it_grows() {
    let dir = DataDir::new();
    let server = TestServer::start(&dir, &[]);
    assert_eq!(put(&server, "s1.jsonl", b"", b"{}\n").status, 200);
    let user = user_folder(&dir);
    // As a backup does that links unchanged files.
    let backup = dir.path().join("backup.jsonl");
    fs::hard_link(user.join("s1.jsonl"), &backup).unwrap();
    assert_eq!(put(&server, "s1.jsonl", b"{}\n", b"[]\n").status, 200);
    assert_eq!(put(&server, "s1.jsonl", b"{}\n[]\n", b"1\n").status, 200);
    assert_eq!(fs::read(&backup).unwrap(), b"{}\n");
    assert_eq!(stored(&dir), [file("s1.jsonl", b"{}\n[]\n1\n")]);
}

#[test]
fn a_rejected_upload_leaves_no_folder() {
    let dir = DataDir::new();
    let server = TestServer::start(&dir, &[]);
    let fields = [("Upload-Offset", "0"), ("Content-Encoding", "gzip")];
    let response = put_with(
        &server,
        &server.analyst,
        "a/b/c/s1.jsonl",
        &fields,
        b"no gzip",
    );
    assert_eq!(response.status, 400);
    let user = user_folder(&dir);
    assert_eq!(fs::read_dir(user).unwrap().count(), 0);
}

#[test]
fn a_token_uploads_only_into_the_folder_of_its_user() {
    let dir = DataDir::new();
    let server = TestServer::start(&dir, &[]);
    let member = server.token("member", "mia@example.com");
    let fields = [("Upload-Offset", "0")];
    let own = put_with(&server, &member, "s1.jsonl", &fields, b"{\"mia\":1}\n");
    assert_eq!(own.status, 200);
    // The same path of another user.
    assert_eq!(put(&server, "s1.jsonl", b"", b"{\"ada\":1}\n").status, 200);
    let mut contents: Vec<Vec<u8>> = stored(&dir).into_iter().map(|file| file.1).collect();
    contents.sort();
    assert_eq!(
        contents,
        [b"{\"ada\":1}\n".to_vec(), b"{\"mia\":1}\n".to_vec()]
    );
    let folders = fs::read_dir(dir.sessions_root()).unwrap().count();
    assert_eq!(folders, 2);
}
