//! Looking at components before anybody trusts them.

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
        let there: Vec<_> = std::fs::read_dir(folder).unwrap().collect();
        assert_eq!(
            there.len(),
            left,
            "nothing is left but the sessions: {there:?}"
        );
    }
    inspection
}

#[test]
fn a_component_is_told_with_all_that_it_imports_and_says() {
    let inspection = check(USAGE);
    let described = inspection.description.as_ref().unwrap();
    assert_eq!(described.manifest.name, "usage");
    assert!(described.fuel > 0);
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
    session-pipeline:processor/records@1.0.0
    session-pipeline:processor/transcript@1.0.0
    session-pipeline:processor/types@1.0.0
    ");
    assert!(
        names(ImportKind::Inert)
            .lines()
            .all(|name| name.starts_with("wasi:"))
    );
    assert_eq!(names(ImportKind::Forbidden), "");
    assert_eq!(
        inspection.exports,
        ["session-pipeline:processor/guest@1.0.0"]
    );
}

#[test]
fn what_is_no_component_is_refused_in_plain_words() {
    let refusal = |component: &[u8]| check(component).description.unwrap_err().to_string();
    insta::assert_snapshot!(refusal(b"workers = 1"), @"component: the file is not WebAssembly");
    insta::assert_snapshot!(refusal(b""), @"component: the file is not WebAssembly");
    insta::assert_snapshot!(refusal(b"\0asm\x01\0\0\0"), @"component: the file is a core module, not a component; build it for wasm32-wasip2");
    let cut = &USAGE[..USAGE.len() / 2];
    let said = refusal(cut);
    assert!(
        said.starts_with("component: the component does not compile: "),
        "{said}"
    );
}

#[test]
fn a_component_that_does_not_describe_itself_is_refused_and_its_imports_are_told() {
    for way in [
        "describe_loops",
        "describe_calls_imports",
        "describe_bad_name",
    ] {
        let inspection = check(faulty(way).unwrap());
        let fault = inspection.description.unwrap_err();
        assert_eq!(fault.kind, FaultKind::Component, "{way}: {fault}");
        assert!(!inspection.imports.is_empty(), "{way}");
    }
}

#[test]
fn a_component_above_the_limit_is_refused_by_its_size() {
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
    let said = inspection.description.unwrap_err().to_string();
    assert!(said.contains("the limit is"), "{said}");
}

#[test]
fn the_kind_of_an_import_follows_from_its_name() {
    for (name, kind) in [
        (
            "session-pipeline:processor/records@1.0.0",
            ImportKind::Contract,
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
