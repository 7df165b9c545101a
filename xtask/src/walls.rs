//! `cargo xtask check walls`: checks which crates depend on which, with `cargo metadata`.
//!
//! Each crate is a boundary of the architecture. A dependency in the wrong direction is a finding.

use cargo_metadata::{DependencyKind, Metadata};

use crate::check::Finding;

/// The layers, lowest first. A crate can depend only on crates in lower layers.
const LAYERS: &[&[&str]] = &[
    &[
        "session-pipeline-migrations",
        "session-pipeline-bundle",
        "session-pipeline-redaction",
    ],
    &["session-pipeline-host", "session-pipeline-push"],
    &["session-pipeline-store"],
    &["session-pipeline-pipeline"],
    &["session-pipeline-harness"],
    &["session-pipeline"],
];

/// The package of the suite. The suite is a test of the harness package, and can use all crates.
const SUITE: &str = "session-pipeline-harness";

/// The harness depends on these crates only with its feature `pipeline`, so that authors of
/// processors do not compile them.
const OPTIONAL_IN_HARNESS: &[&str] = &["session-pipeline-store", "session-pipeline-pipeline"];

/// External crates that only some crates of the workspace can use, with reasons.
const RESTRICTED: &[RestrictedCrate] = &[
    RestrictedCrate {
        prefix: "axum",
        users: &["session-pipeline"],
        reason: "the pipeline does not depend on HTTP",
    },
    RestrictedCrate {
        prefix: "wasmtime",
        users: &["session-pipeline-host"],
        reason: "only the sandbox uses wasmtime",
    },
    RestrictedCrate {
        prefix: "duckdb",
        users: &[
            "session-pipeline-store",
            "session-pipeline-pipeline",
            "session-pipeline-migrations",
        ],
        reason: "the store owns the database, and the reports of the pipeline query it",
    },
    RestrictedCrate {
        prefix: "libduckdb-sys",
        users: &[],
        reason: "use the safe crate `duckdb` instead",
    },
    RestrictedCrate {
        prefix: "reqwest",
        users: &["session-pipeline-pipeline"],
        reason: "the pipeline removes secrets from all outgoing requests",
    },
    RestrictedCrate {
        prefix: "memmap",
        users: &[],
        reason: "if a mapped transcript is truncated, the process gets a SIGBUS; read the file instead",
    },
];

struct RestrictedCrate {
    prefix: &'static str,
    users: &'static [&'static str],
    reason: &'static str,
}

/// A dependency in a manifest: `from` depends on `to`.
struct Edge {
    from: String,
    to: String,
    is_dev: bool,
    is_optional: bool,
    is_outside_guests: bool,
}

pub fn findings(ours: &Metadata, guests: &Metadata) -> Vec<Finding> {
    let members: Vec<_> = ours
        .packages
        .iter()
        .map(|package| package.name.to_string())
        .collect();
    let mut findings = check_edges(&members, &edges(ours, guests));
    findings.extend(check_guest_edges(&members, &edges(guests, guests)));
    findings
}

fn edges(metadata: &Metadata, guests: &Metadata) -> Vec<Edge> {
    let mut edges = Vec::new();
    for package in &metadata.packages {
        for dependency in &package.dependencies {
            edges.push(Edge {
                from: package.name.to_string(),
                to: dependency.name.clone(),
                is_dev: dependency.kind == DependencyKind::Development,
                is_optional: dependency.optional,
                is_outside_guests: dependency
                    .path
                    .as_ref()
                    .is_some_and(|path| !path.starts_with(&guests.workspace_root)),
            });
        }
    }
    edges
}

fn check_edges(members: &[String], edges: &[Edge]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for member in members {
        if member != "xtask" && layer(member).is_none() {
            findings.push(Finding {
                place: member.clone(),
                reason: "this crate has no layer".to_owned(),
                help: "add it to a layer in xtask/src/walls.rs; create a crate only for a new boundary"
                    .to_owned(),
            });
        }
    }
    for edge in edges {
        let Edge {
            from, to, is_dev, ..
        } = edge;
        let is_member = members.contains(to);
        if is_member && !is_allowed(edge) {
            findings.push(Finding {
                place: from.clone(),
                reason: format!("depends on `{to}`, which is not in a lower layer"),
                help: "move the shared code to a lower layer, or reverse the dependency: api, harness, runtime, migrations".to_owned(),
            });
        }
        let is_unconditional = !is_dev && !edge.is_optional;
        if from == SUITE && is_unconditional && OPTIONAL_IN_HARNESS.contains(&to.as_str()) {
            findings.push(Finding {
                place: from.clone(),
                reason: format!("depends on `{to}` without the feature `pipeline`, so authors of processors compile DuckDB"),
                help: "make it optional in tests/Cargo.toml, and move the code that uses it behind the feature".to_owned(),
            });
        }
        for restricted in RESTRICTED
            .iter()
            .filter(|restricted| to.starts_with(restricted.prefix))
        {
            let is_suite = from == SUITE && *is_dev && to == "duckdb";
            if !restricted.users.contains(&from.as_str()) && !is_suite {
                findings.push(Finding {
                    place: from.clone(),
                    reason: format!("depends on `{to}`: {}", restricted.reason),
                    help: match restricted.users {
                        [] => "remove the dependency".to_owned(),
                        users => format!("use it through {}", users.join(" or ")),
                    },
                });
            }
        }
    }
    findings
}

fn is_allowed(edge: &Edge) -> bool {
    if edge.from == SUITE && edge.is_dev && edge.to != "xtask" {
        return true;
    }
    match (layer(&edge.from), layer(&edge.to)) {
        (Some(from), Some(to)) => to < from,
        _ => false,
    }
}

fn layer(name: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&name))
}

fn check_guest_edges(members: &[String], edges: &[Edge]) -> Vec<Finding> {
    let crossing = edges
        .iter()
        .filter(|edge| edge.is_outside_guests || members.contains(&edge.to));
    crossing
        .map(|edge| Finding {
            place: format!("processors-wasm: {}", edge.from),
            reason: format!(
                "depends on `{}`, but a guest can only use the SDK and the contract",
                edge.to
            ),
            help: "extend the contract in runtime/wit, or move the code to processors-wasm/sdk"
                .to_owned(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edge(from: &str, to: &str) -> Edge {
        Edge {
            from: from.into(),
            to: to.into(),
            is_dev: false,
            is_optional: false,
            is_outside_guests: false,
        }
    }

    fn dev_edge(from: &str, to: &str) -> Edge {
        Edge {
            is_dev: true,
            ..edge(from, to)
        }
    }

    fn passes(edge: Edge) -> bool {
        let mut members: Vec<String> = LAYERS.concat().iter().map(|&name| name.into()).collect();
        members.push("xtask".into());
        check_edges(&members, &[edge]).is_empty()
    }

    #[test]
    fn a_crate_can_depend_only_on_lower_layers() {
        assert!(passes(edge(
            "session-pipeline",
            "session-pipeline-pipeline"
        )));
        assert!(passes(edge("session-pipeline", "session-pipeline-harness")));
        assert!(passes(edge(
            "session-pipeline-pipeline",
            "session-pipeline-migrations"
        )));
        assert!(!passes(edge(
            "session-pipeline-pipeline",
            "session-pipeline-harness"
        )));
        assert!(!passes(dev_edge(
            "session-pipeline-pipeline",
            "session-pipeline-harness"
        )));
        assert!(!passes(edge(
            "session-pipeline-migrations",
            "session-pipeline-bundle"
        )));
    }

    #[test]
    fn only_the_suite_can_depend_on_every_crate() {
        assert!(passes(dev_edge(
            "session-pipeline-harness",
            "session-pipeline"
        )));
        assert!(!passes(edge(
            "session-pipeline-harness",
            "session-pipeline"
        )));
        assert!(passes(dev_edge("session-pipeline-harness", "duckdb")));
        assert!(!passes(edge("session-pipeline-harness", "duckdb")));
    }

    #[test]
    fn the_harness_depends_on_the_database_only_with_its_feature() {
        let store = || edge("session-pipeline-harness", "session-pipeline-store");
        assert!(!passes(store()));
        assert!(passes(Edge {
            is_optional: true,
            ..store()
        }));
        assert!(passes(edge(
            "session-pipeline-harness",
            "session-pipeline-host"
        )));
    }

    #[test]
    fn xtask_and_the_other_crates_do_not_depend_on_each_other() {
        assert!(!passes(dev_edge("session-pipeline-harness", "xtask")));
        assert!(!passes(edge("session-pipeline", "xtask")));
        assert!(!passes(edge("xtask", "session-pipeline-migrations")));
        assert!(passes(edge("xtask", "clap")));
    }

    #[test]
    fn restricted_crates_are_limited_to_their_users() {
        assert!(passes(edge("session-pipeline", "axum")));
        assert!(!passes(edge("session-pipeline-pipeline", "axum-extra")));
        assert!(passes(edge("session-pipeline-host", "wasmtime-wasi")));
        assert!(!passes(dev_edge("session-pipeline-harness", "wasmtime")));
        assert!(!passes(edge("session-pipeline", "reqwest")));
        assert!(!passes(edge("session-pipeline-pipeline", "memmap2")));
    }

    #[test]
    fn a_crate_without_a_layer_is_found() {
        assert_eq!(
            check_edges(&["session-pipeline-extra".into()], &[]).len(),
            1
        );
    }

    #[test]
    fn a_guest_cannot_depend_on_crates_outside_its_workspace() {
        let members = ["session-pipeline-pipeline".to_owned()];
        let sdk = edge("session-pipeline-usage", "session-pipeline-processor");
        let runtime = edge("session-pipeline-usage", "session-pipeline-pipeline");
        let elsewhere = Edge {
            is_outside_guests: true,
            ..edge("session-pipeline-usage", "x")
        };
        assert!(check_guest_edges(&members, &[sdk]).is_empty());
        assert_eq!(check_guest_edges(&members, &[runtime, elsewhere]).len(), 2);
    }
}
