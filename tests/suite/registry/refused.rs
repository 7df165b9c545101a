//! Files that are rejected. Each is reported with the reason, and does not affect other processors.

use std::fs;
use std::os::unix::fs::symlink;

use session_pipeline_bundle::USAGE;
use session_pipeline_harness::{DataDir, TestPipeline};
use session_pipeline_host::limits::Limits;
use session_pipeline_pipeline::config::Config;
use session_pipeline_pipeline::health::CheckStatus;

use super::{
    FILE, KEY, VERSIONED, examine_folder, folder_status, health, open, patched, setup, versioned,
};
use crate::guests::{WELL_BEHAVED, misbehaving, well_behaved};

/// Examines a folder that contains one valid component and one other file. Asserts that the valid
/// and the shipped processor run, and returns the status of the other file.
fn rejection(dir: &DataDir) -> String {
    dir.drop_processor(FILE, versioned(1));
    let pipeline = open(dir);
    examine_folder(&pipeline);
    let status = folder_status(&pipeline);
    assert_eq!(status.len(), 2, "{status:?}");
    assert_eq!(status[0], "faulty-versioned 1 of theirs.wasm");
    assert_eq!(health(&pipeline).status, CheckStatus::Warning);
    for name in [VERSIONED, WELL_BEHAVED] {
        assert_eq!(pipeline.run(name).stats.processed, 1, "{name}");
    }
    status[1].clone()
}

fn rejection_of(file: &str, bytes: impl AsRef<[u8]>) -> String {
    let dir = DataDir::new();
    dir.write(KEY, "one\n");
    dir.drop_processor(file, bytes);
    rejection(&dir)
}

#[test]
fn a_text_file_is_rejected() {
    insta::assert_snapshot!(
        rejection_of("notes.wasm", "no component"),
        @"`notes.wasm` was rejected: the file is not WebAssembly"
    );
}

#[test]
fn an_empty_file_is_rejected() {
    insta::assert_snapshot!(rejection_of("empty.wasm", ""), @"`empty.wasm` was rejected: the file is not WebAssembly");
}

#[test]
fn a_core_module_is_rejected() {
    insta::assert_snapshot!(
        rejection_of("module.wasm", b"\0asm\x01\0\0\0"),
        @"`module.wasm` was rejected: the file is a core module, not a component; build it for wasm32-wasip2"
    );
}

#[test]
fn a_component_truncated_at_any_point_is_rejected() {
    for cut in [9, 1_000, USAGE.len() / 2, USAGE.len() - 1] {
        let message = rejection_of("cut.wasm", &USAGE[..cut]);
        let expected = "`cut.wasm` was rejected: the component does not compile: ";
        assert!(message.starts_with(expected), "{cut}: {message}");
    }
}

#[test]
fn a_component_with_flipped_bits_does_not_affect_other_processors() {
    let dir = DataDir::new();
    dir.write(KEY, "one\n");
    dir.drop_processor("a.wasm", versioned(1));
    let pipeline = open(&dir);
    assert_eq!(pipeline.run(VERSIONED).stats.processed, 1);
    let good = patched(&versioned(1), "faulty-versioned", "flipped-versions");
    let step = good.len() / 12;
    for number in 0..12 {
        let mut flipped = good.clone();
        flipped[number * step + number] ^= 1 << (number % 8);
        dir.drop_processor("b.wasm", flipped);
        examine_folder(&pipeline);
        // The flipped bit can be in an insignificant place.
        let status = folder_status(&pipeline);
        assert_eq!(
            status[0], "faulty-versioned 1 of a.wasm",
            "{number}: {status:?}"
        );
        assert!(status.len() >= 2, "{number}: {status:?}");
        dir.write(KEY, format!("{number}\n"));
        assert_eq!(pipeline.run(VERSIONED).stats.processed, 1);
    }
    // A flipped bit in the header is always reported.
    let mut flipped = good;
    flipped[4] ^= 0x40;
    dir.drop_processor("c.wasm", flipped);
    examine_folder(&pipeline);
    let message = folder_status(&pipeline).pop().unwrap();
    assert!(message.starts_with("`c.wasm` was rejected: "), "{message}");
}

#[test]
fn a_component_with_an_invalid_manifest_is_rejected() {
    let bad = |way: &str| rejection_of("bad.wasm", misbehaving(way).1);
    insta::assert_snapshot!(
        bad("describe_bad_name"),
        @"`bad.wasm` was rejected: the manifest is invalid: invalid processor name `Faulty; DROP SCHEMA main`: a name must match [a-z][a-z0-9-]{0,62} and must not be reserved by the database"
    );
    insta::assert_snapshot!(
        bad("describe_two_tables_of_one_name"),
        @"`bad.wasm` was rejected: the manifest is invalid: duplicate name `lines`: table names and the columns of a table must be unique"
    );
}

#[test]
fn the_name_of_a_shipped_processor_is_reserved() {
    insta::assert_snapshot!(
        rejection_of("mine.wasm", well_behaved().1),
        @"`mine.wasm` was rejected: its name `faulty-well-behaved` belongs to a processor of the program; rename the processor"
    );
}

#[test]
fn a_file_with_a_shipped_name_and_a_higher_version_does_not_replace_the_shipped_processor() {
    let (dir, pipeline) = setup();
    let named = patched(&versioned(99), "faulty-versioned", "faulty-copy-of-x");
    dir.drop_processor("mine.wasm", named);
    drop(pipeline);
    // Ship a processor with that name.
    let shipped = patched(&versioned(1), "faulty-versioned", "faulty-copy-of-x");
    let pipeline = TestPipeline::open(&dir, &[("faulty-copy-of-x", shipped.leak())]);
    examine_folder(&pipeline);
    assert!(folder_status(&pipeline)[0].starts_with("`mine.wasm` was rejected"));
    assert_eq!(pipeline.run("faulty-copy-of-x").stats.processed, 1);
}

#[test]
fn of_two_files_with_one_processor_the_first_by_file_name_takes_precedence() {
    let (dir, pipeline) = setup();
    dir.drop_processor("b.wasm", versioned(1));
    dir.drop_processor("a.wasm", versioned(2));
    let expected = [
        "faulty-versioned 2 of a.wasm",
        "`b.wasm` was rejected: its name `faulty-versioned` is also used by `a.wasm`, which takes precedence; remove one of the two files",
    ];
    examine_folder(&pipeline);
    assert_eq!(folder_status(&pipeline), expected);
    assert_eq!(pipeline.run(VERSIONED).stats.processed, 1);
    drop(pipeline);
    let pipeline = open(&dir);
    examine_folder(&pipeline);
    assert_eq!(folder_status(&pipeline), expected, "after a restart");
    // The same applies to identical files.
    dir.drop_processor("b.wasm", versioned(2));
    examine_folder(&pipeline);
    assert_eq!(folder_status(&pipeline), expected);
    dir.remove_processor("a.wasm");
    examine_folder(&pipeline);
    assert_eq!(folder_status(&pipeline), ["faulty-versioned 2 of b.wasm"]);
    assert_eq!(pipeline.run(VERSIONED).stats.scanned, 0);
}

#[test]
fn a_link_is_not_followed() {
    let dir = DataDir::new();
    dir.write(KEY, "one\n");
    let target = dir.path().join("elsewhere.wasm");
    fs::write(&target, versioned(7)).unwrap();
    fs::create_dir(dir.path().join("processors")).unwrap();
    symlink(&target, dir.processor_path("link.wasm")).unwrap();
    insta::assert_snapshot!(
        rejection(&dir),
        @"`link.wasm` was rejected: links are not followed; put the file itself into the folder"
    );
}

#[test]
fn a_folder_with_the_name_of_a_component_is_rejected() {
    let dir = DataDir::new();
    dir.write(KEY, "one\n");
    fs::create_dir_all(dir.processor_path("x.wasm")).unwrap();
    insta::assert_snapshot!(rejection(&dir), @"`x.wasm` was rejected: it is a folder; remove it");
}

#[test]
fn a_pipe_with_the_name_of_a_component_is_rejected_without_waiting() {
    let dir = DataDir::new();
    dir.write(KEY, "one\n");
    fs::create_dir(dir.path().join("processors")).unwrap();
    let (path, mode) = (dir.processor_path("pipe.wasm"), rustix::fs::Mode::RWXU);
    rustix::fs::mkfifoat(rustix::fs::CWD, path, mode).unwrap();
    insta::assert_snapshot!(rejection(&dir), @"`pipe.wasm` was rejected: it is not a regular file; remove it");
}

#[test]
fn a_file_name_that_is_not_utf8_is_rejected() {
    use std::os::unix::ffi::OsStrExt;
    let dir = DataDir::new();
    dir.write(KEY, "one\n");
    let folder = dir.path().join("processors");
    fs::create_dir(&folder).unwrap();
    let name = std::ffi::OsStr::from_bytes(b"z\xff\x1b[2J.wasm");
    fs::write(folder.join(name), versioned(2)).unwrap();
    insta::assert_snapshot!(rejection(&dir), @r"`z�\u{1b}[2J.wasm` was rejected: its name is not UTF-8; rename it");
}

#[test]
fn an_oversized_file_is_rejected_by_its_length() {
    let dir = DataDir::new();
    dir.write(KEY, "one\n");
    dir.drop_processor("large.wasm", "");
    let file = fs::File::options()
        .write(true)
        .open(dir.processor_path("large.wasm"));
    // A sparse file that is too large to read in time.
    file.unwrap().set_len(1 << 40).unwrap();
    insta::assert_snapshot!(
        rejection(&dir),
        @"`large.wasm` was rejected: the component has 1099511627776 bytes, more than the allowed 33554432"
    );
}

#[test]
fn a_component_can_be_as_large_as_the_limit_but_not_larger() {
    let component = versioned(1);
    for (bytes_max, is_rejected) in [(component.len(), false), (component.len() - 1, true)] {
        let dir = DataDir::new();
        dir.drop_processor(FILE, &component);
        let config = Config {
            limits: Limits {
                component_bytes_max: bytes_max as u64,
                ..Limits::default()
            },
            ..dir.config()
        };
        let pipeline = TestPipeline::open_with(&dir, config, &[]);
        examine_folder(&pipeline);
        let status = folder_status(&pipeline);
        assert_eq!(status[0].contains("was rejected"), is_rejected);
    }
}

#[test]
fn hidden_files_and_files_with_other_extensions_are_ignored() {
    let (dir, pipeline) = setup();
    for file in [
        ".hidden.wasm",
        "theirs.wasm.part",
        "theirs.cwasm",
        "README",
        "wasm",
    ] {
        dir.drop_processor(file, versioned(1));
    }
    examine_folder(&pipeline);
    assert_eq!(folder_status(&pipeline), [""; 0]);
    assert_eq!(health(&pipeline).status, CheckStatus::Ok);
}

/// Compiled code runs as machine code, so the program only loads code that it compiled itself.
#[test]
fn a_file_with_compiled_code_is_rejected_and_never_loaded() {
    let (dir, pipeline) = setup();
    pipeline.run(WELL_BEHAVED);
    drop(pipeline);
    let entries = fs::read_dir(dir.path().join("state/components")).unwrap();
    let code = entries
        .map(|entry| entry.unwrap().path())
        .find(|path| {
            path.extension()
                .is_some_and(|extension| extension == "code")
        })
        .unwrap();
    let code = fs::read(code).unwrap();
    assert!(
        code.len() > 10_000,
        "the file must contain machine code for this program"
    );
    insta::assert_snapshot!(
        rejection_of("compiled.wasm", &code),
        @"`compiled.wasm` was rejected: the file is not WebAssembly"
    );
}

#[test]
fn files_beyond_the_first_hundred_are_rejected_unread() {
    let (dir, pipeline) = setup();
    for number in 0..101 {
        dir.drop_processor(&format!("{number:03}.wasm"), "no component");
    }
    examine_folder(&pipeline);
    let status = folder_status(&pipeline);
    assert_eq!(status.len(), 101);
    assert_eq!(
        status[100],
        "`100.wasm` was rejected: the folder contains more than 100 files; remove those that are not processors"
    );
}

#[test]
fn an_unreadable_file_is_rejected_until_it_is_readable() {
    use std::os::unix::fs::PermissionsExt;
    let (dir, pipeline) = setup();
    dir.drop_processor(FILE, versioned(1));
    let path = dir.processor_path(FILE);
    let set_mode = |mode| fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    set_mode(0o000);
    if fs::read(&path).is_ok() {
        // A privileged user can read the file anyway.
        return;
    }
    examine_folder(&pipeline);
    let status = folder_status(&pipeline);
    assert!(status[0].contains("cannot read the file"), "{status:?}");
    set_mode(0o600);
    assert_eq!(pipeline.run(VERSIONED).stats.processed, 1);
}
