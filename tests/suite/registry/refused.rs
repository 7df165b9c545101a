//! Files that are no processors, or may not be: each is named with the reason, and harms no other.

use std::fs;
use std::os::unix::fs::symlink;

use session_pipeline_bundle::USAGE;
use session_pipeline_harness::{DataDir, TestPipeline};
use session_pipeline_host::limits::Limits;
use session_pipeline_pipeline::config::Config;
use session_pipeline_pipeline::health::CheckStatus;

use super::{FILE, KEY, VERSIONED, health, look, open, patched, stage, standing, versioned};
use crate::guests::{WELL_BEHAVED, misbehaving, well_behaved};

/// Looks at a folder with one good component and this file; gives what is said of the file. The
/// good one runs, and so does what ships.
fn refusal(dir: &DataDir) -> String {
    dir.drop_processor(FILE, versioned(1));
    let pipeline = open(dir);
    look(&pipeline);
    let told = standing(&pipeline);
    assert_eq!(told.len(), 2, "{told:?}");
    assert_eq!(told[0], "faulty-versioned 1 of theirs.wasm");
    assert_eq!(health(&pipeline).status, CheckStatus::Warning);
    for name in [VERSIONED, WELL_BEHAVED] {
        assert_eq!(pipeline.run(name).stats.processed, 1, "{name}");
    }
    told[1].clone()
}

fn refusal_of(file: &str, bytes: impl AsRef<[u8]>) -> String {
    let dir = DataDir::new();
    dir.write(KEY, "one\n");
    dir.drop_processor(file, bytes);
    refusal(&dir)
}

#[test]
fn a_text_file_is_refused() {
    insta::assert_snapshot!(
        refusal_of("notes.wasm", "no component"),
        @"`notes.wasm` was rejected: the file is not WebAssembly"
    );
}

#[test]
fn an_empty_file_is_refused() {
    insta::assert_snapshot!(refusal_of("empty.wasm", ""), @"`empty.wasm` was rejected: the file is not WebAssembly");
}

#[test]
fn a_core_module_is_refused() {
    insta::assert_snapshot!(
        refusal_of("module.wasm", b"\0asm\x01\0\0\0"),
        @"`module.wasm` was rejected: the file is a core module, not a component; build it for wasm32-wasip2"
    );
}

#[test]
fn a_truncated_component_is_refused_wherever_it_was_cut() {
    for cut in [9, 1_000, USAGE.len() / 2, USAGE.len() - 1] {
        let refused = refusal_of("cut.wasm", &USAGE[..cut]);
        let expected = "`cut.wasm` was rejected: the component does not compile: ";
        assert!(refused.starts_with(expected), "{cut}: {refused}");
    }
}

#[test]
fn a_component_of_flipped_bits_harms_nobody() {
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
        look(&pipeline);
        // A bit may stand where it says nothing.
        let told = standing(&pipeline);
        assert_eq!(
            told[0], "faulty-versioned 1 of a.wasm",
            "{number}: {told:?}"
        );
        assert!(told.len() >= 2, "{number}: {told:?}");
        dir.write(KEY, format!("{number}\n"));
        assert_eq!(pipeline.run(VERSIONED).stats.processed, 1);
    }
    // One that stands in the header is always told.
    let mut flipped = good;
    flipped[4] ^= 0x40;
    dir.drop_processor("c.wasm", flipped);
    look(&pipeline);
    let told = standing(&pipeline).pop().unwrap();
    assert!(told.starts_with("`c.wasm` was rejected: "), "{told}");
}

#[test]
fn a_component_that_describes_itself_badly_is_refused() {
    let bad = |way: &str| refusal_of("bad.wasm", misbehaving(way).1);
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
fn a_name_of_the_program_can_not_be_taken() {
    insta::assert_snapshot!(
        refusal_of("mine.wasm", well_behaved().1),
        @"`mine.wasm` was rejected: its name `faulty-well-behaved` belongs to a processor of the program; rename the processor"
    );
    // Nor that of one that is known and not there.
    let named = patched(&versioned(1), "faulty-versioned", "verification    ");
    let refused = refusal_of("mine.wasm", named);
    assert!(
        refused.contains("its name `verification` belongs to"),
        "{refused}"
    );
}

#[test]
fn an_impostor_of_a_higher_version_does_not_stand_in_the_way_of_the_program() {
    let (dir, pipeline) = stage();
    let named = patched(&versioned(99), "faulty-versioned", "faulty-copy-of-x");
    dir.drop_processor("mine.wasm", named);
    drop(pipeline);
    // As if that name shipped.
    let shipped = patched(&versioned(1), "faulty-versioned", "faulty-copy-of-x");
    let pipeline = TestPipeline::open(&dir, &[("faulty-copy-of-x", shipped.leak())]);
    look(&pipeline);
    assert!(standing(&pipeline)[0].starts_with("`mine.wasm` was rejected"));
    assert_eq!(pipeline.run("faulty-copy-of-x").stats.processed, 1);
}

#[test]
fn of_two_files_of_one_processor_the_first_by_name_has_it() {
    let (dir, pipeline) = stage();
    dir.drop_processor("b.wasm", versioned(1));
    dir.drop_processor("a.wasm", versioned(2));
    let expected = [
        "faulty-versioned 2 of a.wasm",
        "`b.wasm` was rejected: its name `faulty-versioned` is also used by `a.wasm`, which takes precedence; remove one of the two files",
    ];
    look(&pipeline);
    assert_eq!(standing(&pipeline), expected);
    assert_eq!(pipeline.run(VERSIONED).stats.processed, 1);
    drop(pipeline);
    let pipeline = open(&dir);
    look(&pipeline);
    assert_eq!(standing(&pipeline), expected, "after a restart");
    // Of the same bytes, too.
    dir.drop_processor("b.wasm", versioned(2));
    look(&pipeline);
    assert_eq!(standing(&pipeline), expected);
    dir.remove_processor("a.wasm");
    look(&pipeline);
    assert_eq!(standing(&pipeline), ["faulty-versioned 2 of b.wasm"]);
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
        refusal(&dir),
        @"`link.wasm` was rejected: links are not followed; put the file itself into the folder"
    );
}

#[test]
fn a_folder_of_a_components_name_is_none() {
    let dir = DataDir::new();
    dir.write(KEY, "one\n");
    fs::create_dir_all(dir.processor_path("x.wasm")).unwrap();
    insta::assert_snapshot!(refusal(&dir), @"`x.wasm` was rejected: it is a folder; remove it");
}

#[test]
fn nobody_waits_for_a_pipe_of_a_components_name() {
    let dir = DataDir::new();
    dir.write(KEY, "one\n");
    fs::create_dir(dir.path().join("processors")).unwrap();
    let (path, mode) = (dir.processor_path("pipe.wasm"), rustix::fs::Mode::RWXU);
    rustix::fs::mkfifoat(rustix::fs::CWD, path, mode).unwrap();
    insta::assert_snapshot!(refusal(&dir), @"`pipe.wasm` was rejected: it is not a regular file; remove it");
}

#[test]
fn a_name_that_is_no_text_is_told() {
    use std::os::unix::ffi::OsStrExt;
    let dir = DataDir::new();
    dir.write(KEY, "one\n");
    let folder = dir.path().join("processors");
    fs::create_dir(&folder).unwrap();
    let name = std::ffi::OsStr::from_bytes(b"z\xff\x1b[2J.wasm");
    fs::write(folder.join(name), versioned(2)).unwrap();
    insta::assert_snapshot!(refusal(&dir), @r"`z�\u{1b}[2J.wasm` was rejected: its name is not UTF-8; rename it");
}

#[test]
fn an_oversized_file_is_refused_by_its_length() {
    let dir = DataDir::new();
    dir.write(KEY, "one\n");
    dir.drop_processor("large.wasm", "");
    let file = fs::File::options()
        .write(true)
        .open(dir.processor_path("large.wasm"));
    // A file of holes, which nobody could read in time.
    file.unwrap().set_len(1 << 40).unwrap();
    insta::assert_snapshot!(
        refusal(&dir),
        @"`large.wasm` was rejected: the component has 1099511627776 bytes, more than the allowed 33554432"
    );
}

#[test]
fn a_component_may_be_as_large_as_the_limit_and_no_larger() {
    let component = versioned(1);
    for (bytes_max, is_refused) in [(component.len(), false), (component.len() - 1, true)] {
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
        look(&pipeline);
        let is_told = standing(&pipeline)[0].contains("was rejected");
        assert_eq!(is_told, is_refused);
    }
}

#[test]
fn hidden_files_and_files_of_other_names_are_passed_over() {
    let (dir, pipeline) = stage();
    for file in [
        ".hidden.wasm",
        "theirs.wasm.part",
        "theirs.cwasm",
        "README",
        "wasm",
    ] {
        dir.drop_processor(file, versioned(1));
    }
    look(&pipeline);
    assert_eq!(standing(&pipeline), [""; 0]);
    assert_eq!(health(&pipeline).status, CheckStatus::Ok);
}

/// (The compiled form runs as machine code: nobody but us may make one.)
#[test]
fn code_compiled_by_somebody_else_is_refused_and_never_loaded() {
    let (dir, pipeline) = stage();
    pipeline.run(WELL_BEHAVED);
    drop(pipeline);
    let kept = fs::read_dir(dir.path().join("state/components")).unwrap();
    let code = kept
        .map(|entry| entry.unwrap().path())
        .find(|path| {
            path.extension()
                .is_some_and(|extension| extension == "code")
        })
        .unwrap();
    let code = fs::read(code).unwrap();
    assert!(
        code.len() > 10_000,
        "machine code that this very program would run"
    );
    insta::assert_snapshot!(
        refusal_of("compiled.wasm", &code),
        @"`compiled.wasm` was rejected: the file is not WebAssembly"
    );
}

#[test]
fn more_files_than_anybody_has_processors_are_refused_unread() {
    let (dir, pipeline) = stage();
    for number in 0..101 {
        dir.drop_processor(&format!("{number:03}.wasm"), "no component");
    }
    look(&pipeline);
    let told = standing(&pipeline);
    assert_eq!(told.len(), 101);
    assert_eq!(
        told[100],
        "`100.wasm` was rejected: the folder contains more than 100 files; remove those that are not processors"
    );
}

#[test]
fn a_file_that_may_not_be_read_is_refused_until_it_may() {
    use std::os::unix::fs::PermissionsExt;
    let (dir, pipeline) = stage();
    dir.drop_processor(FILE, versioned(1));
    let path = dir.processor_path(FILE);
    let allow = |mode| fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    allow(0o000);
    if fs::read(&path).is_ok() {
        // Whoever may read everything can't be refused.
        return;
    }
    look(&pipeline);
    let told = standing(&pipeline);
    assert!(told[0].contains("cannot read the file"), "{told:?}");
    allow(0o600);
    assert_eq!(pipeline.run(VERSIONED).stats.processed, 1);
}
