//! Compiler bombs: small components that are far more expensive to compile than is allowed.

use std::fmt::Write;
use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use session_pipeline_bundle::USAGE;
use session_pipeline_harness::{TestPipeline, program};
use session_pipeline_host::limits::{Compiler, Limits};
use session_pipeline_host::sandbox::compile;
use session_pipeline_pipeline::config::Config;
use session_pipeline_pipeline::registry::RegistryError;

use super::components::child_compiler;
use super::{QUIET, small};
use crate::guests::well_behaved;

/// Compiler limits that are several times what a normal guest needs, and too small for a bomb.
fn tight() -> Limits {
    Limits {
        compile_cpu_max: Duration::from_secs(2),
        compile_memory_bytes_max: 512 << 20,
        ..small()
    }
}

/// A component with this core module. Its exports are never called.
fn bomb(module: &str) -> Vec<u8> {
    wat::parse_str(format!("(component (core module {module}))")).unwrap()
}

/// One function with very many branches and very many values that are live across all of them.
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

/// A module with 400,000 functions.
fn many_functions() -> Vec<u8> {
    bomb(&"(func (param i32) (result i32) (i32.mul (local.get 0) (local.get 0)))".repeat(400_000))
}

/// Checks that the compiler exceeds its limits and that the error reports them.
fn check(component: &[u8]) {
    assert!((component.len() as u64) < tight().component_bytes_max);
    let scratch = tempfile::tempdir().unwrap();
    let Err(error) = compile(&child_compiler(), &tight(), component, scratch.path()) else {
        panic!("the component compiled within the limits");
    };
    let text = error.to_string();
    assert!(
        text.starts_with("the component does not compile: ")
            && text.contains("the limit is 512 MiB of memory and 2 s of CPU time"),
        "{text}"
    );
    let left_over = std::fs::read_dir(scratch.path()).unwrap().count();
    assert_eq!(left_over, 0, "the scratch files are deleted");
}

#[test]
fn a_huge_function_ends_only_the_compiler() {
    check(&huge_function());
}

#[test]
fn very_many_functions_end_only_the_compiler() {
    check(&many_functions());
}

#[test]
fn a_compiler_with_enough_memory_is_stopped_by_its_cpu_limit() {
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
    // A compiler that runs out of memory exits by itself and reports it.
    assert!(text.contains("the compiler exited with signal: "), "{text}");
    assert!(text.contains("and 1 s of CPU time"), "{text}");
}

#[test]
fn a_bomb_does_not_affect_other_processors() {
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
        other => panic!("expected the bomb to be unavailable, got {other:?}"),
    }
    assert_eq!(pipeline.run(good.0).stats.processed, 1);
}

#[test]
fn a_compiler_that_sleeps_is_killed_after_its_wall_time() {
    let check = |script: &str| {
        let compiler = Compiler::Child {
            program: "/bin/sh".into(),
            arguments: vec!["-c".to_owned(), script.to_owned(), "--".to_owned()],
        };
        let limits = Limits {
            compile_cpu_max: Duration::from_millis(100),
            ..small()
        };
        let scratch = tempfile::tempdir().unwrap();
        let started = Instant::now();
        let error = compile(&compiler, &limits, USAGE, scratch.path()).unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("did not finish within 11 s"),
            "{script}: {error}"
        );
        assert!(started.elapsed() < Duration::from_secs(120), "{script}");
    };
    std::thread::scope(|scope| {
        for script in [
            "exec sleep 600",
            "exec 2>&-; exec sleep 600",
            "kill -STOP $$",
        ] {
            scope.spawn(move || check(script));
        }
    });
}

#[cfg(target_os = "linux")]
#[test]
fn the_compiler_is_limited_in_descriptors_file_size_memory_and_system_calls() {
    let scratch = tempfile::tempdir().unwrap();
    let input = scratch.path().join("component.wasm");
    fs::write(&input, many_functions()).unwrap();
    let mut child = Command::new(program::path())
        .args(["compile-component", "--"])
        .args([&input, &scratch.path().join("component.code")])
        .args([(1_u64 << 30).to_string(), "60".to_owned()])
        .spawn()
        .unwrap();
    let proc_file =
        |name: &str| fs::read_to_string(format!("/proc/{}/{name}", child.id())).unwrap();
    let is_confined = || {
        proc_file("status")
            .lines()
            .any(|line| line == "Seccomp:\t2")
    };
    let started = Instant::now();
    while !is_confined() && started.elapsed() < Duration::from_secs(30) {
        std::thread::yield_now();
    }
    let (confined, limits) = (is_confined(), proc_file("limits"));
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(confined);
    let limit = |name: &str| {
        let line = limits.lines().find(|line| line.starts_with(name)).unwrap();
        let values = line.strip_prefix(name).unwrap().split_whitespace();
        values.take(2).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(limit("Max open files"), ["16", "16"]);
    assert_eq!(limit("Max file size"), ["1073741824", "1073741824"]);
    assert_eq!(limit("Max address space"), ["1073741824", "1073741824"]);
    assert_eq!(limit("Max core file size"), ["0", "0"]);
}
