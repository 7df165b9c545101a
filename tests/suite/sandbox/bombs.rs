//! Components that are small, and cost the compiler far more than any processor may.

use std::fmt::Write;
use std::time::Duration;

use session_pipeline_harness::TestPipeline;
use session_pipeline_runtime::config::{Config, Limits};
use session_pipeline_runtime::registry::RegistryError;
use session_pipeline_runtime::sandbox::compile;

use super::components::child_compiler;
use super::{QUIET, small};
use crate::guests::well_behaved;

/// What a good guest needs several times over, and a bomb does not come by with.
fn tight() -> Limits {
    Limits {
        compile_cpu_max: Duration::from_secs(2),
        compile_memory_bytes_max: 512 << 20,
        ..small()
    }
}

/// A component of this core module, which nobody would ever call.
fn bomb(module: &str) -> Vec<u8> {
    wat::parse_str(format!("(component (core module {module}))")).unwrap()
}

/// One function in which each of very many values is needed behind each of very many branches.
fn huge_function() -> Vec<u8> {
    let locals = 20_000;
    let mut body = format!("(local{}) (loop $again", " i64".repeat(locals));
    for local in 0..locals {
        let other = (local * 7 + 1) % locals;
        write!(
            body,
            "(if (i64.eqz (local.get {local}))
               (then (local.set {other} (i64.add (local.get {local}) (local.get {other})))))"
        )
        .unwrap();
    }
    body.push_str("(br_if $again (i64.eqz (local.get 1))))");
    bomb(&format!(
        r#"(func (export "f") (param i64) (result i64) {body} (local.get 0))"#
    ))
}

/// More functions than anybody wrote.
fn many_functions() -> Vec<u8> {
    bomb(&"(func (param i32) (result i32) (i32.mul (local.get 0) (local.get 0)))".repeat(400_000))
}

/// The compiler's end of it: it dies within its limits, and says which they are.
fn check(component: &[u8]) {
    assert!((component.len() as u64) < tight().component_bytes_max);
    let scratch = tempfile::tempdir().unwrap();
    let Err(error) = compile(&child_compiler(), &tight(), component, scratch.path()) else {
        panic!("it compiles within the limits");
    };
    let text = error.to_string();
    assert!(
        text.starts_with("the component does not compile: ")
            && text.contains("it may use 512 MiB of memory and 2 s of CPU time"),
        "{text}"
    );
    let left_over = std::fs::read_dir(scratch.path()).unwrap().count();
    assert_eq!(left_over, 0, "files between us and the child");
}

#[test]
fn a_huge_function_ends_its_compiler_and_not_us() {
    check(&huge_function());
}

#[test]
fn very_many_functions_end_their_compiler_and_not_us() {
    check(&many_functions());
}

#[test]
fn a_compiler_is_ended_after_its_time_however_much_memory_it_has() {
    let limits = Limits {
        compile_cpu_max: Duration::from_secs(1),
        compile_memory_bytes_max: 16 << 30,
        ..small()
    };
    let scratch = tempfile::tempdir().unwrap();
    let compiled = compile(
        &child_compiler(),
        &limits,
        &many_functions(),
        scratch.path(),
    );
    let text = compiled.err().unwrap().to_string();
    // Out of memory it would say so, and end by itself.
    assert!(text.contains("the compiler ended with signal: "), "{text}");
    assert!(text.contains("and 1 s of CPU time"), "{text}");
}

#[test]
fn a_bomb_leaves_the_other_processors_at_work() {
    let dir = session_pipeline_harness::DataDir::new();
    dir.write("ada/one.jsonl", QUIET);
    let (bomb, good) = (("bomb", &*many_functions().leak()), well_behaved());
    let config = Config {
        compiler: child_compiler(),
        limits: tight(),
        ..dir.config()
    };
    let pipeline = TestPipeline::open_with(&dir, config, &[bomb, good]);
    match pipeline.pipeline().processor(bomb.0) {
        Err(RegistryError::Unavailable { fault, .. }) => {
            assert_eq!(fault.kind.as_str(), "component")
        }
        other => panic!("the bomb is unavailable, not {other:?}"),
    }
    assert_eq!(pipeline.run(good.0).stats.processed, 1);
}
