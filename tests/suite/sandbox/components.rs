//! Loading components: validation, compilation, and stored code.

use std::fs;
use std::path::{Path, PathBuf};

use session_pipeline_bundle::USAGE;
use session_pipeline_harness::{DataDir, Guest, TestPipeline, program};
use session_pipeline_host::fault::{Fault, FaultKind};
use session_pipeline_host::limits::{Compiler, Limits};
use session_pipeline_host::sandbox::{compile, install};
use session_pipeline_pipeline::config::Config;
use session_pipeline_pipeline::registry::RegistryError;

use super::{QUIET, assert_detail, small};
use crate::guests::{misbehaving, panics, well_behaved};

/// The fault of an unavailable processor. Also checks that another processor works.
fn load_fault(name: &'static str, component: &'static [u8], limits: Limits) -> Fault {
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
        Err(error) => panic!("expected `{name}` to be unavailable, got: {error}"),
        Ok(_) => panic!("expected `{name}` to be unavailable"),
    };
    assert_eq!(fault.kind, FaultKind::Component, "{fault}");
    // If the size limit is below the size of the well-behaved guest, it is rejected as well.
    if limits_of(&pipeline).component_bytes_max >= good.1.len() as u64 {
        assert_eq!(pipeline.run(good.0).stats.processed, 1);
    }
    fault
}

fn limits_of(pipeline: &TestPipeline) -> &Limits {
    &pipeline.pipeline().config().limits
}

fn load_fault_of(variant: &str) -> Fault {
    let (name, component) = misbehaving(variant);
    load_fault(name, component, small())
}

#[test]
fn a_guest_whose_describe_loops_is_unavailable() {
    let fault = load_fault_of("describe_loops");
    assert_detail(&fault, "`describe` failed: out-of-fuel");
}

#[test]
fn a_guest_whose_describe_calls_the_host_is_unavailable() {
    let fault = load_fault_of("describe_calls_imports");
    assert_detail(&fault, "`describe` called the import `log.log`");
}

#[test]
fn a_guest_with_sql_in_its_name_is_unavailable() {
    let fault = load_fault_of("describe_bad_name");
    assert_detail(&fault, "invalid processor name `Faulty; DROP SCHEMA main`");
}

#[test]
fn a_guest_with_two_tables_of_the_same_name_is_unavailable() {
    let fault = load_fault_of("describe_two_tables_of_one_name");
    assert_detail(&fault, "duplicate name `lines`");
}

#[test]
fn a_guest_that_reports_another_name_is_unavailable() {
    let fault = load_fault("somebody-else", well_behaved().1, small());
    assert_detail(
        &fault,
        "the component reports the name `faulty-well-behaved`",
    );
}

#[test]
fn loading_a_core_module_fails() {
    let fault = load_fault("usage", b"\0asm\x01\0\0\0", small());
    insta::assert_snapshot!(fault.to_string(), @"component: the component does not compile: failed to parse WebAssembly module: attempted to parse a wasm module with a component parser");
}

#[test]
fn loading_an_empty_file_fails() {
    let fault = load_fault("usage", b"", small());
    insta::assert_snapshot!(fault.to_string(), @"component: the component does not compile: failed to parse WebAssembly module: unexpected end-of-file (at offset 0x0)");
}

#[test]
fn loading_a_truncated_component_fails() {
    for cut in [9, 1_000, USAGE.len() / 2, USAGE.len() - 1] {
        let fault = Guest::try_load(&USAGE[..cut], &small()).unwrap_err();
        assert_eq!(fault.kind, FaultKind::Component, "{fault}");
        assert_detail(&fault, "the component does not compile: ");
    }
    let fault = load_fault("usage", &USAGE[..USAGE.len() / 2], small());
    assert_detail(&fault, "the component does not compile: ");
}

#[test]
fn a_component_larger_than_the_limit_is_rejected() {
    let component = well_behaved().1;
    let limits = |bytes: usize| Limits {
        component_bytes_max: bytes as u64,
        ..small()
    };
    let size = component.len();
    let fault = load_fault("faulty-well-behaved", component, limits(size - 1));
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
fn an_unknown_import_is_rejected_with_its_name() {
    let fault = load_fault("usage", importing("evil:door/knob@1.0.0"), small());
    insta::assert_snapshot!(fault.to_string(), @"component: import `evil:door/knob@1.0.0` is not allowed; a processor can import the interfaces of contract 1.0.0 to 1.1.0 and of WASI 0.2");
}

#[test]
fn an_import_with_another_version_is_rejected() {
    for name in [
        "session-pipeline:processor/log@2.0.0",
        "session-pipeline:processor/llm@2.0.0",
        "wasi:http/outgoing-handler@0.2.6",
        "wasi:io/poll@0.3.0",
    ] {
        let fault = load_fault("usage", importing(name), small());
        assert_detail(&fault, &format!("import `{name}` is not allowed"));
    }
}

#[test]
fn a_component_without_exports_is_rejected() {
    let fault = load_fault("usage", importing("wasi:cli/environment@0.2.6"), small());
    insta::assert_snapshot!(fault.to_string(), @"component: the component does not match the contract: no exported instance named `session-pipeline:processor/guest@1.1.0`");
}

/// A component that imports an empty interface with this name and has no code.
fn importing(name: &str) -> &'static [u8] {
    let length = u8::try_from(name.len()).unwrap();
    let mut bytes = b"\0asm\x0d\0\x01\0".to_vec();
    // A type section with one empty instance type.
    bytes.extend([7, 3, 1, 0x42, 0]);
    // An import section with one instance of that type.
    bytes.extend([10, length + 5, 1, 0, length]);
    bytes.extend(name.as_bytes());
    bytes.extend([5, 0]);
    bytes.leak()
}

/// The child process that the program uses as its compiler.
pub(super) fn child_compiler() -> Compiler {
    Compiler::Child {
        program: program::path(),
        arguments: vec!["compile-component".to_owned(), "--".to_owned()],
    }
}

#[test]
fn code_compiled_by_a_child_process_runs() {
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
fn a_compiler_without_enough_memory_reports_it() {
    let limits = Limits {
        compile_memory_bytes_max: 24 << 20,
        ..small()
    };
    let scratch = tempfile::tempdir().unwrap();
    let error = compile(&child_compiler(), &limits, USAGE, scratch.path()).unwrap_err();
    // The exact message depends on the machine, because it depends on where the memory runs out.
    assert!(error.to_string().contains("memory"), "{error}");
    let left_over = fs::read_dir(scratch.path()).unwrap().count();
    assert_eq!(left_over, 0, "the scratch files are deleted");
}

#[test]
fn an_error_of_the_child_compiler_is_reported() {
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
fn a_missing_compiler_is_reported_with_its_path() {
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

/// A compiler that does not exist. Compiling with it fails unless the code is in the shared folder.
fn missing_compiler() -> Compiler {
    Compiler::Child {
        program: "/nowhere/session-pipeline".into(),
        arguments: Vec::new(),
    }
}

#[test]
fn intact_code_in_a_shared_folder_is_reused_and_damaged_code_is_not() {
    let (folder, scratch) = (scratch(), scratch());
    let (limits, component) = (small(), well_behaved().1);
    let compile = |compiler, component| compile(&compiler, &limits, component, scratch.path());
    let compile_shared = |compiler| compile(shared(folder.path(), compiler), component);
    assert!(compile_shared(missing_compiler()).is_err());
    let first = compile_shared(Compiler::InProcess).unwrap();
    assert_eq!(
        compile_shared(missing_compiler()).unwrap().sha256,
        first.sha256
    );

    let file = only_file(folder.path());
    let whole = fs::read(&file).unwrap();
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 1;
    for damaged in [&flipped, &whole[..whole.len() / 2], &whole[..10], &[]] {
        fs::write(&file, damaged).unwrap();
        assert!(
            compile_shared(missing_compiler()).is_err(),
            "{} bytes",
            damaged.len()
        );
        assert_eq!(
            compile_shared(Compiler::InProcess).unwrap().sha256,
            first.sha256
        );
        assert_eq!(fs::read(&file).unwrap(), whole);
    }
    let other = compile(shared(folder.path(), missing_compiler()), panics().1);
    assert!(other.is_err(), "another component is not in the folder");
}

#[test]
fn a_shared_folder_allows_concurrent_writers_and_stores_no_rejected_component() {
    let (folder, scratch) = (scratch(), scratch());
    let compiler = shared(folder.path(), Compiler::InProcess);
    let compile_one = || compile(&compiler, &small(), well_behaved().1, scratch.path());
    let hashes: Vec<String> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| compile_one().unwrap().sha256))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    assert!(
        hashes.iter().all(|sha256| *sha256 == hashes[0]),
        "{hashes:?}"
    );
    compile(&compiler, &small(), b"no component", scratch.path()).unwrap_err();
    only_file(folder.path());
}

fn installed(folder: &Path) -> Compiler {
    let missing = folder.join("missing");
    Compiler::Installed {
        folders: vec![missing, folder.to_owned()],
        compiler: Box::new(missing_compiler()),
    }
}

#[test]
fn installed_code_is_used_and_damaged_or_missing_code_is_compiled() {
    let (folder, scratch) = (scratch(), scratch());
    let (limits, component) = (small(), well_behaved().1);
    let compile_installed = |component| {
        compile(
            &installed(folder.path()),
            &limits,
            component,
            scratch.path(),
        )
    };
    assert!(compile_installed(component).is_err(), "not installed yet");

    let stale = folder.path().join("0-0.code");
    let other = folder.path().join("README");
    fs::write(&stale, "code of another version").unwrap();
    fs::write(&other, "not code").unwrap();
    install(folder.path(), &limits, &[component]).unwrap();
    assert!(!stale.exists(), "code of other versions is removed");
    fs::remove_file(other).unwrap();
    let file = only_file(folder.path());
    let here = compile(&Compiler::InProcess, &limits, component, scratch.path()).unwrap();
    assert_eq!(compile_installed(component).unwrap().sha256, here.sha256);
    assert!(compile_installed(panics().1).is_err(), "another component");

    // The stack size is a limit of an operator, and does not affect the code.
    let other_limits = Limits {
        stack_bytes_max: limits.stack_bytes_max * 2,
        ..limits.clone()
    };
    let compiler = installed(folder.path());
    compile(&compiler, &other_limits, component, scratch.path()).unwrap();

    let whole = fs::read(&file).unwrap();
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 1;
    for damaged in [&flipped, &whole[..whole.len() / 2], &[]] {
        fs::write(&file, damaged).unwrap();
        assert!(compile_installed(component).is_err());
        install(folder.path(), &limits, &[component]).unwrap();
        assert_eq!(fs::read(&file).unwrap(), whole);
    }
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

/// The path of the only stored compiled code.
fn stored_code(dir: &DataDir) -> PathBuf {
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

/// Opens the pipeline and processes a new session, as a new process would.
fn process_new_session(dir: &DataDir, key: &str) {
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
fn stored_code_that_is_intact_is_reused() {
    let dir = DataDir::new();
    process_new_session(&dir, "ada/one.jsonl");
    let code = stored_code(&dir);
    let before = inode(&code);
    process_new_session(&dir, "ada/two.jsonl");
    assert_eq!(inode(&code), before, "the file was not rewritten");
}

#[test]
fn damaged_code_is_never_run_and_is_compiled_again() {
    let dir = DataDir::new();
    process_new_session(&dir, "ada/one.jsonl");
    let code = stored_code(&dir);
    let whole = fs::read(&code).unwrap();
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 1;
    for (number, damaged) in [flipped, whole[..whole.len() / 2].to_vec(), Vec::new()]
        .iter()
        .enumerate()
    {
        fs::write(&code, damaged).unwrap();
        process_new_session(&dir, &format!("ada/after-{number}.jsonl"));
        assert_ne!(&fs::read(&code).unwrap(), damaged);
    }
    fs::remove_file(&code).unwrap();
    process_new_session(&dir, "ada/last.jsonl");
    assert!(code.is_file());
}

#[test]
fn the_folder_of_stored_code_is_accessible_only_to_its_owner() {
    use std::os::unix::fs::PermissionsExt;

    let dir = DataDir::new();
    process_new_session(&dir, "ada/one.jsonl");
    let folder = fs::metadata(dir.path().join("state/components")).unwrap();
    assert_eq!(folder.permissions().mode() & 0o777, 0o700);
}
