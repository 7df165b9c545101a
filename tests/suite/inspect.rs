//! Inspecting components without running a session.

use session_pipeline_bundle::{USAGE, faulty};
use session_pipeline_harness::DataDir;
use session_pipeline_host::fault::FaultKind;
use session_pipeline_host::inspect::{ImportKind, Inspection, inspect};
use session_pipeline_host::limits::Limits;

fn check(component: &[u8]) -> Inspection {
    let dir = DataDir::new();
    let scratch = tempfile::tempdir().unwrap();
    let limits = Limits::default();
    let inspection = inspect(
        &dir.config().compiler,
        &limits,
        Vec::new(),
        component,
        scratch.path(),
    );
    for (folder, left) in [(dir.path(), 1), (scratch.path(), 0)] {
        let entries: Vec<_> = std::fs::read_dir(folder).unwrap().collect();
        assert_eq!(
            entries.len(),
            left,
            "only the sessions root is left: {entries:?}"
        );
    }
    inspection
}

#[test]
fn an_inspection_has_the_imports_exports_and_manifest_of_a_component() {
    let inspection = check(USAGE);
    let description = inspection.description.as_ref().unwrap();
    assert_eq!(description.manifest.name, "usage");
    assert!(description.fuel > 0);
    assert_eq!(inspection.bytes, USAGE.len() as u64);
    assert_eq!(inspection.digest.len(), 64);
    let names = |kind| {
        let imports = inspection
            .imports
            .iter()
            .filter(|import| import.kind == kind);
        let mut names: Vec<&str> = imports.map(|import| import.name.as_str()).collect();
        names.sort_unstable();
        names.join("\n")
    };
    insta::assert_snapshot!(names(ImportKind::Contract), @r"
    session-pipeline:processor/records@1.1.0
    session-pipeline:processor/resumption@1.1.0
    session-pipeline:processor/transcript@1.1.0
    session-pipeline:processor/types@1.1.0
    ");
    assert!(
        names(ImportKind::Inert)
            .lines()
            .all(|name| name.starts_with("wasi:"))
    );
    assert_eq!(names(ImportKind::Forbidden), "");
    assert_eq!(
        inspection.exports,
        [
            "session-pipeline:processor/resumable@1.1.0",
            "session-pipeline:processor/guest@1.1.0"
        ]
    );
}

#[test]
fn a_file_that_is_not_a_component_is_rejected_with_a_clear_reason() {
    let fault = |component: &[u8]| check(component).description.unwrap_err().to_string();
    insta::assert_snapshot!(fault(b"workers = 1"), @"component: the file is not WebAssembly");
    insta::assert_snapshot!(fault(b""), @"component: the file is not WebAssembly");
    insta::assert_snapshot!(fault(b"\0asm\x01\0\0\0"), @"component: the file is a core module, not a component; build it for wasm32-wasip2");
    let cut = &USAGE[..USAGE.len() / 2];
    let text = fault(cut);
    assert!(
        text.starts_with("component: the component does not compile: "),
        "{text}"
    );
}

#[test]
fn the_inspection_of_a_component_whose_describe_fails_has_its_imports() {
    for variant in [
        "describe_loops",
        "describe_calls_imports",
        "describe_bad_name",
    ] {
        let inspection = check(faulty(variant).unwrap());
        let fault = inspection.description.unwrap_err();
        assert_eq!(fault.kind, FaultKind::Component, "{variant}: {fault}");
        assert!(!inspection.imports.is_empty(), "{variant}");
    }
}

#[test]
fn the_inspection_of_a_component_larger_than_the_limit_reports_the_limit() {
    let dir = DataDir::new();
    let limits = Limits {
        component_bytes_max: USAGE.len() as u64 - 1,
        ..Limits::default()
    };
    let inspection = inspect(
        &dir.config().compiler,
        &limits,
        Vec::new(),
        USAGE,
        dir.path(),
    );
    let text = inspection.description.unwrap_err().to_string();
    assert!(text.contains("the limit is"), "{text}");
}

#[test]
fn the_kind_of_an_import_depends_on_its_name() {
    for (name, kind) in [
        (
            "session-pipeline:processor/records@1.0.0",
            ImportKind::Contract,
        ),
        (
            "session-pipeline:processor/records@1.1.0",
            ImportKind::Contract,
        ),
        (
            "session-pipeline:processor/resumption@1.1.0",
            ImportKind::Contract,
        ),
        (
            "session-pipeline:processor/resumption@1.0.0",
            ImportKind::Forbidden,
        ),
        (
            "session-pipeline:processor/records@2.0.0",
            ImportKind::Forbidden,
        ),
        (
            "session-pipeline:processor/secrets@1.0.0",
            ImportKind::Forbidden,
        ),
        ("wasi:cli/environment@0.2.6", ImportKind::Inert),
        ("wasi:http/outgoing-handler@0.2.6", ImportKind::Forbidden),
        ("wasi:cli/environment@0.3.0", ImportKind::Forbidden),
        ("host:shell/run", ImportKind::Forbidden),
    ] {
        assert_eq!(ImportKind::of(name), kind, "{name}");
    }
}
