//! The image, the compose file, its proxy and the health check.

use std::process::Command;

use session_pipeline_harness::DataDir;
use session_pipeline_pipeline::config::{Config, ConfigOverrides};

use super::{file, is_installed, text};
use crate::cli::serve::ServerProcess;

fn healthcheck(port: &str) -> std::process::Output {
    Command::new(file("healthcheck"))
        .arg(port)
        .output()
        .unwrap()
}

#[test]
fn the_health_check_succeeds_only_while_the_server_answers() {
    if !is_installed("bash", &["--version"]) {
        return;
    }
    let dir = DataDir::new();
    let server = ServerProcess::start(&dir, &[]);
    let (_, port) = server.url().rsplit_once(':').unwrap();
    let port = port.to_owned();
    let healthy = healthcheck(&port);
    assert!(healthy.status.success(), "{healthy:?}");
    assert_eq!(server.stop(), 0);
    let stopped = healthcheck(&port);
    assert_eq!(stopped.status.code(), Some(1), "{stopped:?}");
}

#[test]
fn the_configuration_of_the_containers_is_valid() {
    let dir = DataDir::new();
    let config = Config::load(&ConfigOverrides {
        data_dir: Some(dir.path().to_owned()),
        config_file: Some(file("config.toml")),
        ..ConfigOverrides::default()
    });
    let config = config.unwrap();
    assert_eq!(config.service.hosts.len(), 1);
    let compose = text("compose.yaml");
    assert!(compose.contains("subnet: 172.31.250.0/24"), "{compose}");
    assert!(text("config.toml").contains("trusted_proxies = \"172.31.250.0/24\""));
}

#[test]
fn compose_accepts_the_file() {
    if !is_installed("docker", &["compose", "version"]) {
        return;
    }
    let mut command = Command::new("docker");
    command
        .args(["compose", "--file"])
        .arg(file("compose.yaml"))
        .args(["config", "--quiet"]);
    let output = command
        .env("SITE", "pipeline.example.com")
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn the_proxy_accepts_its_file() {
    if !is_installed("caddy", &["version"]) {
        return;
    }
    let mut command = Command::new("caddy");
    command
        .args(["validate", "--adapter", "caddyfile", "--config"])
        .arg(file("Caddyfile"));
    let output = command
        .env("SITE", "pipeline.example.com")
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn docker_builds_the_image_and_it_runs_with_a_read_only_root() {
    // Needs a daemon, and its base images, because a test does not download them.
    let images = [
        "image",
        "inspect",
        "rust:1.95-bookworm",
        "debian:bookworm-slim",
    ];
    if !is_installed("docker", &images) {
        return;
    }
    let root = file("../..");
    let mut build = Command::new("docker");
    build
        .args(["build", "--quiet", "--file"])
        .arg(file("Containerfile"))
        .arg(&root);
    let output = build.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let image = String::from_utf8(output.stdout).unwrap();
    let mut run = Command::new("docker");
    run.args([
        "run",
        "--rm",
        "--read-only",
        "--tmpfs",
        "/tmp",
        "--cap-drop",
        "ALL",
        "--network",
        "none",
    ]);
    let output = run.args([image.trim(), "run", "usage"]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn the_image_runs_as_another_user_than_root() {
    let containerfile = text("Containerfile");
    let stages: Vec<_> = containerfile.split("\nFROM ").collect();
    let last = stages.last().unwrap();
    assert!(
        stages.len() > 2,
        "the build and the image are separate stages"
    );
    assert!(last.contains("\nUSER 10001:10001\n"), "{last}");
    assert!(last.contains("\nHEALTHCHECK "), "{last}");
}
