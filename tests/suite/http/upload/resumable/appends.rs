//! Appends: what readers see while one is in progress, and after the process has died.

use std::fs;
use std::time::Duration;

use session_pipeline_harness::{DataDir, TestPipeline};
use session_pipeline_host::sessions::{AppendRecord, SessionsRoot};
use session_pipeline_pipeline::upload::{
    FileDigest, UploadPart, UploadPath, Uploads, discard_unfinished, resume,
};
use sha2::{Digest as _, Sha256};

use super::{file, put, stored};
use crate::database::rows;
use crate::guests::{WELL_BEHAVED, lines_of, well_behaved};
use crate::http::{TestServer, user_folder};

/// Writes the record of an append to a session of 3 bytes.
fn write_record(dir: &DataDir, folder: &str, session: &str, new: &str) {
    let record = AppendRecord::name(session);
    let trailer = AppendRecord::trailer(3);
    dir.write(&format!("{folder}/{record}"), format!("{new}{trailer}"));
}

#[test]
fn a_reader_sees_all_appended_bytes_or_none() {
    let dir = DataDir::new();
    let (config, uploads) = (dir.config(), Uploads::default());
    let path = UploadPath::parse("s1.jsonl").unwrap();
    let now = session_pipeline_host::clock::UtcMicros(0);
    let line = [vec![b'x'; 3 << 20], b"\n".to_vec()].concat();
    let append = |content: &mut Vec<u8>| {
        let digest: [u8; 32] = Sha256::digest(&*content).into();
        let part = UploadPart {
            offset: content.len() as u64,
            prefix: Some(FileDigest(digest)),
            is_complete: true,
        };
        let mut incoming = resume(&config, &uploads, "ada", &path, part, now).unwrap();
        incoming.write_all(&line).unwrap();
        incoming.finish(&uploads).unwrap();
        content.extend_from_slice(&line);
    };
    let mut content = Vec::new();
    append(&mut content);
    let root = SessionsRoot::open(&dir.sessions_root()).unwrap().unwrap();
    let is_done = std::sync::atomic::AtomicBool::new(false);
    let order = std::sync::atomic::Ordering::SeqCst;
    let seen = std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let (mut opens, mut sizes) = (0_u64, std::collections::BTreeSet::new());
            while !is_done.load(order) {
                let (_, stat) = root.open_session("ada/s1.jsonl").unwrap();
                assert_eq!(
                    stat.size % line.len() as u64,
                    0,
                    "a part of a line is visible"
                );
                sizes.insert(stat.size);
                opens += 1;
            }
            (opens, sizes.len())
        });
        for _ in 0..20 {
            append(&mut content);
        }
        is_done.store(true, order);
        reader.join().unwrap()
    });
    println!("{} opens saw {} sizes", seen.0, seen.1);
    assert!(seen.1 > 3, "{seen:?}");
    assert_eq!(dir.read("ada/s1.jsonl"), content);
}

#[test]
fn a_lock_of_another_program_delays_a_reader_only_for_a_while() {
    let dir = DataDir::new();
    dir.write("ada/s1.jsonl", "{}\n");
    let file = fs::File::open(dir.session_path("ada/s1.jsonl")).unwrap();
    rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let root = SessionsRoot::open(&dir.sessions_root()).unwrap().unwrap();
    let started = std::time::Instant::now();
    assert_eq!(root.open_session("ada/s1.jsonl").unwrap().1.size, 3);
    assert!(started.elapsed() >= Duration::from_millis(500));
}

#[test]
fn the_next_start_completes_or_removes_what_a_dead_process_left() {
    let dir = DataDir::new();
    dir.write("ada/claude/p/s1.jsonl", "{}\n[");
    write_record(&dir, "ada/claude/p", "s1.jsonl", "[1]\n[2]\n");
    // Complete, and of a file that an operator has replaced.
    dir.write("ada/claude/s2.jsonl", "{}\n[1]\n");
    write_record(&dir, "ada/claude", "s2.jsonl", "[1]\n");
    dir.write("ada/claude/s3.jsonl", "other");
    write_record(&dir, "ada/claude", "s3.jsonl", "[1]\n[2]\n");
    write_record(&dir, "ada/claude", "gone.jsonl", "[1]\n");
    // The process died before it began to append.
    dir.write("ada/claude/.upload-append-s4.jsonl", "[1]\n");
    dir.write("ada/claude/p/.upload-12-1", "x");
    dir.write("ada/claude/p/.hidden", "x");
    let outside = dir.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join(".upload-1-1"), "x").unwrap();
    std::os::unix::fs::symlink(&outside, dir.session_path("ada/link")).unwrap();
    assert_eq!(discard_unfinished(&dir.config()).unwrap(), 6);
    assert_eq!(dir.read("ada/claude/p/s1.jsonl"), b"{}\n[1]\n[2]\n");
    assert_eq!(dir.read("ada/claude/s2.jsonl"), b"{}\n[1]\n");
    assert_eq!(dir.read("ada/claude/s3.jsonl"), b"other");
    assert!(
        outside.join(".upload-1-1").exists() && !dir.session_path("ada/claude/gone.jsonl").exists()
    );
    fs::remove_file(dir.session_path("ada/link")).unwrap();
    let names: Vec<String> = stored(&dir).into_iter().map(|file| file.0).collect();
    assert_eq!(
        names,
        [
            "claude/p/.hidden",
            "claude/p/s1.jsonl",
            "claude/s2.jsonl",
            "claude/s3.jsonl"
        ]
    );
}

#[test]
fn a_run_ignores_an_append_that_is_not_complete() {
    let dir = DataDir::new();
    let sessions = ["whole", "half", "replaced"].map(|name| format!("ada/{name}.jsonl"));
    let names = ["whole.jsonl", "half.jsonl", "replaced.jsonl"];
    for (key, content) in sessions.iter().zip(["a1\n", "a1\nb", "a1\nx\n"]) {
        dir.write(key, content);
    }
    for name in names {
        write_record(&dir, "ada", name, "b2\nc3\n");
    }
    let pipeline = TestPipeline::open(&dir, &[well_behaved()]);
    assert_eq!(pipeline.run(WELL_BEHAVED).stats.processed, 3);
    drop(pipeline);
    let lines = lines_of(WELL_BEHAVED);
    let of = |key: &str| -> Vec<String> {
        let lines = rows(&dir, &lines).into_iter();
        lines.filter(|row| row.contains(key)).collect()
    };
    let counts = || sessions.each_ref().map(|key| of(key).len());
    // A session that an operator has replaced does not end with the new bytes.
    assert_eq!(counts(), [1, 1, 2]);
    // The next start of a server completes the append, and the next run sees it.
    let server = TestServer::start(&dir, &[well_behaved()]);
    server.post(&format!(
        "/api/admin/run-session-processor?processor={WELL_BEHAVED}"
    ));
    server.stop();
    assert_eq!(dir.read("ada/half.jsonl"), b"a1\nb2\nc3\n");
    assert_eq!(counts(), [1, 3, 2]);
}

#[test]
fn the_next_upload_completes_an_append_that_failed() {
    let dir = DataDir::new();
    let server = TestServer::start(&dir, &[]);
    assert_eq!(put(&server, "s1.jsonl", b"", b"{}\n").status, 200);
    // As if the disk had failed during the append, and when the append was undone.
    let folder = user_folder(&dir);
    fs::write(folder.join("s1.jsonl"), "{}\n[1").unwrap();
    let record = format!("[1]\n[2]\n{}", AppendRecord::trailer(3));
    fs::write(folder.join(AppendRecord::name("s1.jsonl")), record).unwrap();
    let again = put(&server, "s1.jsonl", b"{}\n", b"[1]\n[2]\n");
    assert_eq!(
        (again.status, &again.body["stored"]["size"]),
        (409, &11.into())
    );
    assert_eq!(
        put(&server, "s1.jsonl", b"{}\n[1]\n[2]\n", b"3\n").status,
        200
    );
    assert_eq!(stored(&dir), [file("s1.jsonl", b"{}\n[1]\n[2]\n3\n")]);
}
