//! Unusual files and names, redaction, and what the server does not accept.

use std::fs;
use std::os::unix::fs::symlink;
use std::time::Duration;

use proptest::prelude::*;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use session_pipeline::http::HttpLimits;
use session_pipeline_harness::{DataDir, cases, counted};
use session_pipeline_pipeline::config::UploadConfig;

use super::{Machine, redacted, start, stored};
use crate::http::TestServer;

const KEY: &str = "AKIAIOSFODNN7EXAMPL1";

#[test]
fn links_special_files_and_excluded_files_stay_on_the_machine() {
    let dir = DataDir::new();
    let (server, machine) = start(&dir);
    machine.write("p/s1.jsonl", "{}\n");
    machine.write("secret/s2.jsonl", "{}\n");
    let outside = machine.home().join("outside.jsonl");
    fs::write(&outside, "outside\n").unwrap();
    symlink(&outside, machine.projects().join("p/link.jsonl")).unwrap();
    symlink(machine.home(), machine.projects().join("home")).unwrap();
    let fifo = machine.projects().join("p/fifo.jsonl");
    mknodat(CWD, &fifo, FileType::Fifo, Mode::RWXU, 0).unwrap();
    let output = machine.push_all(&server.url, &["--exclude", "secret/**"]);
    assert_eq!(output.figure("files"), 1);
    assert_eq!(
        stored(&dir).into_keys().collect::<Vec<_>>(),
        ["claude/p/s1.jsonl"]
    );
}

#[test]
fn names_that_the_server_does_not_accept_are_reported_and_the_rest_is_sent() {
    let dir = DataDir::new();
    let (server, machine) = start(&dir);
    let long = format!("{}.jsonl", "x".repeat(240));
    for name in [
        "p/a b.jsonl",
        "p/line\nbreak\u{1b}[2J.jsonl",
        "p/ü.jsonl",
        &format!("p/{long}"),
    ] {
        machine.write(name, "{}\n");
    }
    machine.write("p/good.jsonl", "{}\n");
    let output = machine.push(&server.url, &[]);
    assert_eq!(output.code, 1, "{output:?}");
    assert_eq!(
        (output.figure("sent_files"), output.figure("unwanted_files")),
        (1, 4)
    );
    assert!(!output.stdout.contains('\u{1b}') && !output.stderr.contains('\u{1b}'));
    assert_eq!(
        stored(&dir).into_keys().collect::<Vec<_>>(),
        ["claude/p/good.jsonl"]
    );
    std::thread::sleep(Duration::from_millis(150));
    machine.push(&server.url, &[]);
    let again = machine.push(&server.url, &[]);
    assert_eq!((again.code, again.figure("requests")), (1, 0), "{again:?}");
}

#[test]
fn a_compressed_session_is_sent_as_the_plain_file() {
    let zstd = |bytes: &[u8]| zstd::encode_all(bytes, 3).unwrap();
    let text = format!("{{\"a\":\"{KEY}\"}}\n").repeat(3);
    for args in [&["--redact"][..], &[]] {
        let dir = DataDir::new();
        let (server, machine) = start(&dir);
        machine.write("p/s1.jsonl", &text);
        machine.push_all(&server.url, args);
        let before = stored(&dir);
        // Its agent compresses it. Nothing of it is sent again.
        fs::remove_file(machine.projects().join("p/s1.jsonl")).unwrap();
        machine.write("p/s1.jsonl.zst", zstd(text.as_bytes()));
        let output = machine.push_all(&server.url, args);
        assert_eq!(
            (output.figure("files"), output.figure("sent_files")),
            (1, 0),
            "{output:?}"
        );
        assert_eq!(stored(&dir), before);
        // New to the server.
        machine.write("p/s2.jsonl.zst", zstd(text.as_bytes()));
        machine.push_all(&server.url, args);
        let stored = stored(&dir);
        assert_eq!(stored["claude/p/s2.jsonl"], stored["claude/p/s1.jsonl"]);
        assert_eq!(stored.len(), 2);
    }
}

#[test]
fn a_damaged_compressed_session_is_reported_and_the_rest_is_sent() {
    let dir = DataDir::new();
    let (server, machine) = start(&dir);
    let frame = zstd::encode_all(&b"{}\n"[..], 3).unwrap();
    machine.write("p/cut.jsonl.zst", &frame[..frame.len() - 1]);
    machine.write("p/plain.jsonl.zst", "{}\n");
    machine.write("p/good.jsonl.zst", &frame);
    let output = machine.push(&server.url, &[]);
    assert_eq!(output.code, 1, "{output:?}");
    assert_eq!(
        (output.figure("sent_files"), output.figure("unwanted_files")),
        (1, 2)
    );
    assert!(
        output.stdout.contains("not complete zstd data"),
        "{output:?}"
    );
    assert_eq!(
        stored(&dir).into_keys().collect::<Vec<_>>(),
        ["claude/p/good.jsonl"]
    );
}

#[test]
fn a_truncated_rewritten_or_replaced_file_is_sent_again() {
    let dir = DataDir::new();
    let (server, machine) = start(&dir);
    for content in [
        &b"{\"a\":1}\n{\"a\":2}\n"[..],
        b"{\"a\":1}\n",
        b"",
        b"{\"b\":1}\n{\"b\":2}\n{\"b\":3}\n",
        b"{\"c\":1}\n{\"b\":2}\n{\"b\":3}\n",
        b"{\"c\":1}\n{\"b\":2}\n{\"b\":3}\n{\"b\":4}\n",
    ] {
        machine.write("p/s1.jsonl", content);
        machine.write("p/s1.meta.json", content);
        machine.push_all(&server.url, &[]);
        super::check_equal(&dir, &machine);
    }
    // A file that is gone stays on the server.
    let before = stored(&dir);
    fs::remove_file(machine.projects().join("p/s1.jsonl")).unwrap();
    machine.push_all(&server.url, &[]);
    assert_eq!(stored(&dir), before);
}

/// Lines of a session that is so long that only its ends are compared.
fn long_session(word: &str) -> Vec<u8> {
    let line = format!("{{\"text\":\"{}\"}}\n", word.repeat(2000));
    line.repeat((3 << 20) / line.len()).into_bytes()
}

#[test]
fn a_long_session_that_is_replaced_or_rotated_is_sent_again() {
    let dir = DataDir::new();
    let (server, machine) = start(&dir);
    let path = "p/s1.jsonl";
    let local = machine.projects().join(path);
    let push = |args: &[&str]| {
        // Twice, so that the file has not just changed.
        machine.push_all(&server.url, args);
        std::thread::sleep(Duration::from_millis(150));
        let sent = machine.push_all(&server.url, args).figure("sent_bytes");
        super::check_equal(&dir, &machine);
        sent
    };
    let original = long_session("word ");
    machine.write(path, &original);
    push(&[]);
    // A change in the middle, with the same size.
    let mut changed = original.clone();
    changed[original.len() / 2] ^= 1;
    fs::write(&local, &changed).unwrap();
    push(&[]);
    // Another file with the same ends, which is longer.
    let longer = [&original[..], b"{}\n"].concat();
    fs::write(local.with_extension("new"), &longer).unwrap();
    fs::rename(local.with_extension("new"), &local).unwrap();
    push(&[]);
    // Other content, shorter and longer, in the same file.
    for word in ["x", "another word "] {
        machine.write(path, long_session(word));
        push(&[]);
    }
    // The agent starts a new file, and the old one gets another name.
    fs::rename(&local, machine.projects().join("p/s1-old.jsonl")).unwrap();
    machine.write(path, "{}\n");
    push(&[]);
}

#[test]
fn a_change_between_the_ends_of_a_session_that_also_grew_is_found_within_a_day() {
    let dir = DataDir::new();
    let (server, machine) = start(&dir);
    let original = long_session("word ");
    machine.write("p/s1.jsonl", &original);
    machine.push_all(&server.url, &[]);
    std::thread::sleep(Duration::from_millis(150));
    machine.push_all(&server.url, &[]);
    let mut changed = [&original[..], b"{}\n"].concat();
    changed[original.len() / 2] ^= 1;
    machine.write("p/s1.jsonl", &changed);
    let output = machine.push_all(&server.url, &[]);
    assert_eq!(
        output.figure("sent_bytes"),
        3,
        "only the ends were compared"
    );
    super::expect_comparison(&machine);
    machine.push_all(&server.url, &[]);
    super::check_equal(&dir, &machine);
}

#[test]
fn secrets_are_removed_before_anything_leaves_the_machine() {
    let dir = DataDir::new();
    let mut config = dir.config();
    config.upload = UploadConfig {
        require_redacted: true,
    };
    let server = TestServer::start_with(&dir, config, HttpLimits::default(), &[]);
    let machine = Machine::new(&server.token("member", "ada@example.com"));
    let line = format!("{{\"text\":\"key {KEY}\", \"n\": 1.50}}\n");
    machine.write("p/s1.jsonl", &line);
    machine.write("p/s1.meta.json", format!("{{\n \"key\": \"{KEY}\"\n}}"));
    let rejected = machine.push(&server.url, &[]);
    assert_eq!((rejected.code, rejected.figure("unwanted_files")), (1, 2));
    assert!(
        rejected.stdout.contains("1 values that look like secrets"),
        "{rejected:?}"
    );
    assert!(super::files_below(&dir.sessions_root()).is_empty());
    for _ in 0..3 {
        let output = machine.push_all(&server.url, &["--redact"]);
        assert_eq!(output.figure("unwanted_files"), 0);
        let source = machine.sources()["claude/p/s1.jsonl"].clone();
        assert_eq!(stored(&dir)["claude/p/s1.jsonl"], redacted(&source));
        machine.append("p/s1.jsonl", &line);
        machine.append("p/s1.jsonl", "{\"half\":");
        let half = machine.push_all(&server.url, &["--redact"]);
        // The incomplete line waits.
        assert_eq!(
            half.figure("sent_bytes"),
            redacted(line.as_bytes()).len() as u64
        );
        machine.append("p/s1.jsonl", "1}\n");
    }
    let meta = String::from_utf8(stored(&dir)["claude/p/s1.meta.json"].clone()).unwrap();
    assert_eq!(meta, "{\n \"key\": \"[removed: aws-key]\"\n}");
}

#[test]
fn sessions_grow_even_if_the_quota_of_files_is_used_up() {
    let dir = DataDir::new();
    let mut config = dir.config();
    config.service.user_files_max = 2;
    let server = TestServer::start_with(&dir, config, HttpLimits::default(), &[]);
    let machine = Machine::new(&server.token("member", "ada@example.com"));
    machine.write("p/s1.jsonl", "{}\n");
    machine.write("p/s2.jsonl", "{}\n");
    machine.push_all(&server.url, &[]);
    machine.write("p/new.jsonl", "{}\n");
    machine.append("p/s2.jsonl", "{\"a\":1}\n");
    let output = machine.push(&server.url, &[]);
    assert_eq!(
        (output.code, output.figure("pending_files")),
        (3, 1),
        "{output:?}"
    );
    assert!(output.stderr.contains("quota of 2 sessions"), "{output:?}");
    assert_eq!(stored(&dir)["claude/p/s2.jsonl"], b"{}\n{\"a\":1}\n");
    assert_eq!(stored(&dir).len(), 2);
}

#[test]
fn two_runs_do_not_send_at_the_same_time() {
    let dir = DataDir::new();
    let (server, machine) = start(&dir);
    machine.write("p/s1.jsonl", "{}\n");
    let mut watching = machine.command(&server.url, &["--watch"]).spawn().unwrap();
    super::wait_for(|| stored(&dir).len() == 1);
    let second = machine.push(&server.url, &[]);
    assert_eq!(second.code, 3, "{second:?}");
    assert!(
        second.stderr.contains("is sending to this server"),
        "{second:?}"
    );
    machine.append("p/s1.jsonl", "{\"more\":1}\n");
    super::wait_for(|| stored(&dir) == machine.sources());
    watching.kill().unwrap();
    watching.wait().unwrap();
    machine.push_all(&server.url, &[]);
}

#[test]
fn a_rejected_token_and_a_wrong_server_are_permanent_errors() {
    let dir = DataDir::new();
    let (server, machine) = start(&dir);
    machine.write("p/s1.jsonl", "{}\n");
    let wrong = Machine::new("sp_not-a-token-of-this-server");
    wrong.write("p/s1.jsonl", "{}\n");
    let rejected = wrong.push(&server.url, &[]);
    assert_eq!(rejected.code, 3, "{rejected:?}");
    assert!(
        rejected.stderr.contains("the server rejected the token"),
        "{rejected:?}"
    );
    assert!(!rejected.stderr.contains("sp_not"), "{rejected:?}");
    let other = machine.push(&format!("{}/elsewhere", server.url), &[]);
    assert!(other.code != 0 && stored_is_empty(&dir), "{other:?}");
    let clear = machine.push("http://pipeline.example.com", &[]);
    assert_eq!(clear.code, 2, "{clear:?}");
    let mut without = machine.program();
    without.args(["--to", &server.url]);
    assert_eq!(without.output().unwrap().status.code(), Some(2));
}

fn stored_is_empty(dir: &DataDir) -> bool {
    super::files_below(&dir.sessions_root()).is_empty()
}

/// A change of a file between two runs.
#[derive(Clone, Debug)]
enum Change {
    Append(u8, String),
    Truncate(u8, usize),
    Rewrite(u8, String),
    Remove(u8),
    ForgetState,
}

fn change() -> impl Strategy<Value = Change> {
    let text = prop_oneof![
        "[a-z]{0,20}",
        "(\\{\"a\":[0-9]{1,3}\\}\n){1,4}",
        Just(format!("{{\"key\":\"{KEY}\"}}\n")),
        (1_usize..200_000).prop_map(|length| "x".repeat(length) + "\n"),
    ];
    prop_oneof![
        6 => (0_u8..3, text.clone()).prop_map(|(file, text)| Change::Append(file, text)),
        1 => (0_u8..3, 0_usize..40).prop_map(|(file, length)| Change::Truncate(file, length)),
        1 => (0_u8..3, text).prop_map(|(file, text)| Change::Rewrite(file, text)),
        1 => (0_u8..3).prop_map(Change::Remove),
        1 => Just(Change::ForgetState),
    ]
}

fn apply(machine: &Machine, change: &Change) {
    let path = |file: &u8| format!("p/{file}.jsonl");
    let local = |file: &u8| machine.projects().join(path(file));
    match change {
        Change::Append(file, text) if local(file).exists() => machine.append(&path(file), text),
        Change::Append(file, text) | Change::Rewrite(file, text) => {
            machine.write(&path(file), text);
        }
        Change::Truncate(file, length) => {
            if let Ok(file) = fs::OpenOptions::new().write(true).open(local(file)) {
                let length = file.metadata().unwrap().len().min(*length as u64);
                file.set_len(length).unwrap();
            }
        }
        Change::Remove(file) => {
            let _ = fs::remove_file(local(file));
        }
        Change::ForgetState => {
            let _ = fs::remove_dir_all(machine.state());
        }
    }
}

proptest! {
    // Each case starts the program about ten times.
    #![proptest_config(counted(cases().div_ceil(2)))]

    #[test]
    fn invariant_after_any_changes_the_server_has_what_the_machine_has(
        rounds in proptest::collection::vec(proptest::collection::vec(change(), 1..4), 1..6),
        redacts in any::<bool>(),
    ) {
        let dir = DataDir::new();
        let (server, machine) = start(&dir);
        let args: &[&str] = if redacts { &["--redact"] } else { &[] };
        for round in rounds {
            for change in &round {
                apply(&machine, change);
            }
            machine.push_all(&server.url, args);
            let stored = stored(&dir);
            for (path, source) in machine.sources() {
                let expected = if redacts { redacted(&source) } else { source };
                // A redacted file without a whole line may be missing.
                let found = stored.get(&path).cloned().unwrap_or_default();
                prop_assert_eq!(found, expected, "{}", path);
            }
        }
    }
}
