//! Components before they run: described, refused, compiled, kept.

use std::fs;
use std::path::{Path, PathBuf};

use session_pipeline_bundle::USAGE;
use session_pipeline_harness::{DataDir, Guest, TestPipeline, program};
use session_pipeline_host::fault::{Fault, FaultKind};
use session_pipeline_host::limits::{Compiler, Limits};
use session_pipeline_host::sandbox::compile;
use session_pipeline_pipeline::config::Config;
use session_pipeline_pipeline::registry::RegistryError;

use super::{QUIET, assert_says, small};
use crate::guests::{misbehaving, panics, well_behaved};

/// Why a processor is unavailable; the other one works on all the same.
fn refusal(name: &'static str, component: &'static [u8], limits: Limits) -> Fault {
    let dir = DataDir::new();
    dir.write("ada/one.jsonl", QUIET);
    let good = well_behaved();
    let config = Config {
        limits,
        ..dir.config()
    };
    let pipeline = TestPipeline::open_with(&dir, config, &[(name, component), good]);
    let fault = match pipeline.pipeline().processor(name) {
        Err(RegistryError::Unavailable { fault, .. }) => fault,
        Err(error) => panic!("`{name}` is unavailable, not: {error}"),
        Ok(_) => panic!("`{name}` is available"),
    };
    assert_eq!(fault.kind, FaultKind::Component, "{fault}");
    // What can't be compiled has no room for the good one under these limits either.
    if limits_of(&pipeline).component_bytes_max >= good.1.len() as u64 {
        assert_eq!(pipeline.run(good.0).stats.processed, 1);
    }
    fault
}

fn limits_of(pipeline: &TestPipeline) -> &Limits {
    &pipeline.pipeline().config().limits
}

fn refusal_of(way: &str) -> Fault {
    let (name, component) = misbehaving(way);
    refusal(name, component, small())
}

#[test]
fn a_guest_that_never_comes_to_describe_itself_is_unavailable() {
    let fault = refusal_of("describe_loops");
    assert_says(&fault, "`describe` failed: out-of-fuel");
}

#[test]
fn a_guest_that_calls_the_host_to_describe_itself_is_unavailable() {
    let fault = refusal_of("describe_calls_imports");
    assert_says(&fault, "`describe` called the import `log.log`");
}

#[test]
fn a_guest_of_a_name_that_is_sql_is_unavailable() {
    let fault = refusal_of("describe_bad_name");
    assert_says(&fault, "invalid processor name `Faulty; DROP SCHEMA main`");
}

#[test]
fn a_guest_of_two_tables_of_one_name_is_unavailable() {
    let fault = refusal_of("describe_two_tables_of_one_name");
    assert_says(&fault, "duplicate name `lines`");
}

#[test]
fn a_guest_that_calls_itself_otherwise_is_unavailable() {
    let fault = refusal("somebody-else", well_behaved().1, small());
    assert_says(
        &fault,
        "the component reports the name `faulty-well-behaved`",
    );
}

#[test]
fn a_core_module_is_refused() {
    let fault = refusal("usage", b"\0asm\x01\0\0\0", small());
    insta::assert_snapshot!(fault.to_string(), @"component: the component does not compile: failed to parse WebAssembly module: attempted to parse a wasm module with a component parser");
}

#[test]
fn an_empty_file_is_refused() {
    let fault = refusal("usage", b"", small());
    insta::assert_snapshot!(fault.to_string(), @"component: the component does not compile: failed to parse WebAssembly module: unexpected end-of-file (at offset 0x0)");
}

#[test]
fn a_truncated_component_is_refused_wherever_it_was_cut() {
    for cut in [9, 1_000, USAGE.len() / 2, USAGE.len() - 1] {
        let fault = Guest::try_load(&USAGE[..cut], &small()).unwrap_err();
        assert_eq!(fault.kind, FaultKind::Component, "{fault}");
        assert_says(&fault, "the component does not compile: ");
    }
    let fault = refusal("usage", &USAGE[..USAGE.len() / 2], small());
    assert_says(&fault, "the component does not compile: ");
}

#[test]
fn a_component_may_be_as_large_as_the_limit_and_no_larger() {
    let component = well_behaved().1;
    let limits = |bytes: usize| Limits {
        component_bytes_max: bytes as u64,
        ..small()
    };
    let size = component.len();
    let fault = refusal("faulty-well-behaved", component, limits(size - 1));
    let expected = format!("the component has {size} bytes; the limit is {}", size - 1);
    assert_eq!(fault.detail, expected);
    assert_eq!(
        Guest::try_load(component, &limits(size))
            .unwrap()
            .extract(QUIET)
            .items,
        2
    );
}

#[test]
fn an_import_that_nobody_serves_is_refused_by_its_name() {
    let fault = refusal("usage", importing("evil:door/knob@1.0.0"), small());
    insta::assert_snapshot!(fault.to_string(), @"component: import `evil:door/knob@1.0.0` is not allowed; a processor can import the interfaces of contract 1.0.0 and of WASI 0.2");
}

#[test]
fn an_import_of_the_contract_at_another_version_is_refused() {
    for name in [
        "session-pipeline:processor/log@2.0.0",
        "session-pipeline:processor/llm@2.0.0",
        "wasi:http/outgoing-handler@0.2.6",
        "wasi:io/poll@0.3.0",
    ] {
        let fault = refusal("usage", importing(name), small());
        assert_says(&fault, &format!("import `{name}` is not allowed"));
    }
}

#[test]
fn a_component_of_allowed_imports_that_exports_nothing_is_refused() {
    let fault = refusal("usage", importing("wasi:cli/environment@0.2.6"), small());
    insta::assert_snapshot!(fault.to_string(), @"component: the component does not match the contract: no exported instance named `session-pipeline:processor/guest@1.0.0`");
}

/// A component that imports an empty interface of this name, and does nothing.
fn importing(name: &str) -> &'static [u8] {
    let length = u8::try_from(name.len()).unwrap();
    let mut bytes = b"\0asm\x0d\0\x01\0".to_vec();
    // A type section with one instance type, of nothing.
    bytes.extend([7, 3, 1, 0x42, 0]);
    // An import section with one instance of it.
    bytes.extend([10, length + 5, 1, 0, length]);
    bytes.extend(name.as_bytes());
    bytes.extend([5, 0]);
    bytes.leak()
}

/// The compiler as the program starts it.
pub(super) fn child_compiler() -> Compiler {
    Compiler::Child {
        program: program::path(),
        arguments: vec!["compile-component".to_owned(), "--".to_owned()],
    }
}

#[test]
fn a_child_compiles_what_we_run() {
    let dir = DataDir::new();
    dir.write("ada/one.jsonl", QUIET);
    let config = Config {
        compiler: child_compiler(),
        ..dir.config()
    };
    let shipped = well_behaved();
    let pipeline = TestPipeline::open_with(&dir, config, &[shipped]);
    assert_eq!(pipeline.run(shipped.0).stats.processed, 1);
}

#[test]
fn a_compiler_that_lacks_memory_fails_and_says_so() {
    let limits = Limits {
        compile_memory_bytes_max: 24 << 20,
        ..small()
    };
    let scratch = tempfile::tempdir().unwrap();
    let error = compile(&child_compiler(), &limits, USAGE, scratch.path()).unwrap_err();
    // Where it runs out, and so what it says, differs from machine to machine.
    assert!(error.to_string().contains("memory"), "{error}");
    let left_over = fs::read_dir(scratch.path()).unwrap().count();
    assert_eq!(left_over, 0, "files between us and the child");
}

#[test]
fn what_a_child_refuses_is_told_by_us() {
    let scratch = tempfile::tempdir().unwrap();
    let error = compile(
        &child_compiler(),
        &small(),
        b"\0asm\x01\0\0\0",
        scratch.path(),
    )
    .unwrap_err();
    insta::assert_snapshot!(error, @"the component does not compile: failed to parse WebAssembly module: attempted to parse a wasm module with a component parser");
}

#[test]
fn a_compiler_that_is_not_there_is_named() {
    let compiler = Compiler::Child {
        program: PathBuf::from("/nowhere/session-pipeline"),
        arguments: Vec::new(),
    };
    let scratch = tempfile::tempdir().unwrap();
    let error = compile(&compiler, &small(), USAGE, scratch.path()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the compiler cannot use `/nowhere/session-pipeline`; check permissions and free space"
    );
}

fn shared(folder: &Path, compiler: Compiler) -> Compiler {
    Compiler::Shared {
        folder: folder.to_owned(),
        compiler: Box::new(compiler),
    }
}

/// A compiler that does not exist would be missed.
fn nobody() -> Compiler {
    Compiler::Child {
        program: "/nowhere/session-pipeline".into(),
        arguments: Vec::new(),
    }
}

#[test]
fn what_is_in_a_shared_folder_is_compiled_no_more_as_long_as_it_is_what_was_compiled() {
    let (folder, scratch) = (scratch(), scratch());
    let (limits, component) = (small(), well_behaved().1);
    let compile = |compiler, component| compile(&compiler, &limits, component, scratch.path());
    let made = |compiler| compile(shared(folder.path(), compiler), component);
    assert!(made(nobody()).is_err());
    let first = made(Compiler::InProcess).unwrap();
    assert_eq!(made(nobody()).unwrap().sha256, first.sha256);

    let file = only_file(folder.path());
    let whole = fs::read(&file).unwrap();
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 1;
    for damaged in [&flipped, &whole[..whole.len() / 2], &whole[..10], &[]] {
        fs::write(&file, damaged).unwrap();
        assert!(made(nobody()).is_err(), "{} bytes", damaged.len());
        assert_eq!(made(Compiler::InProcess).unwrap().sha256, first.sha256);
        assert_eq!(fs::read(&file).unwrap(), whole);
    }
    let other = compile(shared(folder.path(), nobody()), panics().1);
    assert!(other.is_err(), "another component");
}

#[test]
fn several_may_fill_a_shared_folder_at_once_and_what_is_refused_is_not_kept() {
    let (folder, scratch) = (scratch(), scratch());
    let compiler = shared(folder.path(), Compiler::InProcess);
    let make = || compile(&compiler, &small(), well_behaved().1, scratch.path());
    let made: Vec<String> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| make().unwrap().sha256))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    assert!(made.iter().all(|sha256| *sha256 == made[0]), "{made:?}");
    compile(&compiler, &small(), b"no component", scratch.path()).unwrap_err();
    only_file(folder.path());
}

fn scratch() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn only_file(folder: &Path) -> PathBuf {
    let files = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let files: Vec<PathBuf> = files.collect();
    assert_eq!(files.len(), 1, "{files:?}");
    files.into_iter().next().unwrap()
}

/// The only compiled form that is kept.
fn kept_code(dir: &DataDir) -> PathBuf {
    let folder = dir.path().join("state/components");
    let paths = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let codes: Vec<PathBuf> = paths
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "code")
        })
        .collect();
    assert_eq!(codes.len(), 1, "{codes:?}");
    codes.into_iter().next().unwrap()
}

/// Processes a new session in a new process, so to speak.
fn process_another(dir: &DataDir, key: &str) {
    dir.write(key, QUIET);
    let shipped = well_behaved();
    let config = Config {
        compiler: Compiler::InProcess,
        ..dir.config()
    };
    let pipeline = TestPipeline::open_with(dir, config, &[shipped]);
    let stats = pipeline.run(shipped.0).stats;
    assert_eq!((stats.processed, stats.errors), (1, 0));
}

fn inode(path: &Path) -> u64 {
    std::os::unix::fs::MetadataExt::ino(&fs::metadata(path).unwrap())
}

#[test]
fn kept_code_is_used_as_long_as_it_is_what_we_wrote() {
    let dir = DataDir::new();
    process_another(&dir, "ada/one.jsonl");
    let code = kept_code(&dir);
    let before = inode(&code);
    process_another(&dir, "ada/two.jsonl");
    assert_eq!(inode(&code), before, "it was not written anew");
}

#[test]
fn damaged_code_is_never_run_and_compiled_anew() {
    let dir = DataDir::new();
    process_another(&dir, "ada/one.jsonl");
    let code = kept_code(&dir);
    let whole = fs::read(&code).unwrap();
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 1;
    for (number, damaged) in [flipped, whole[..whole.len() / 2].to_vec(), Vec::new()]
        .iter()
        .enumerate()
    {
        fs::write(&code, damaged).unwrap();
        process_another(&dir, &format!("ada/after-{number}.jsonl"));
        assert_ne!(&fs::read(&code).unwrap(), damaged);
    }
    fs::remove_file(&code).unwrap();
    process_another(&dir, "ada/last.jsonl");
    assert!(code.is_file());
}

#[test]
fn kept_components_are_for_our_eyes_only() {
    use std::os::unix::fs::PermissionsExt;

    let dir = DataDir::new();
    process_another(&dir, "ada/one.jsonl");
    let folder = fs::metadata(dir.path().join("state/components")).unwrap();
    assert_eq!(folder.permissions().mode() & 0o777, 0o700);
}
