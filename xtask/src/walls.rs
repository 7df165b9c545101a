//! Which crate may depend on which, judged from `cargo metadata`.
//!
//! A crate exists only where there is a wall, so a dependency that crosses one is a finding.

use cargo_metadata::{DependencyKind, Metadata};

use crate::check::Finding;

/// The floors of the building, the lowest first: a crate sees only floors below its own.
const FLOORS: &[&[&str]] = &[
    &["session-pipeline-migrations", "session-pipeline-bundle"],
    &["session-pipeline-host"],
    &["session-pipeline-store"],
    &["session-pipeline-pipeline"],
    &["session-pipeline-harness"],
    &["session-pipeline"],
];

/// The suite, a test of the harness package, looks at the whole building.
const SUITE: &str = "session-pipeline-harness";

/// What authors of processors should not have to compile: the harness depends on these crates only if its
/// feature `pipeline` asks for them.
const OPTIONAL_IN_HARNESS: &[&str] = &["session-pipeline-store", "session-pipeline-pipeline"];

/// Crates that stay in one room, and why.
const KEPT: &[AllowedEdge] = &[
    AllowedEdge {
        prefix: "axum",
        homes: &["session-pipeline"],
        reason: "the pipeline knows nothing of HTTP",
    },
    AllowedEdge {
        prefix: "wasmtime",
        homes: &["session-pipeline-host"],
        reason: "the sandbox has one owner",
    },
    AllowedEdge {
        prefix: "duckdb",
        homes: &[
            "session-pipeline-store",
            "session-pipeline-pipeline",
            "session-pipeline-migrations",
        ],
        reason: "the store owns the database, and reports of the pipeline query it",
    },
    AllowedEdge {
        prefix: "libduckdb-sys",
        homes: &[],
        reason: "DuckDB is reached through its safe crate only",
    },
    AllowedEdge {
        prefix: "reqwest",
        homes: &["session-pipeline-pipeline"],
        reason: "what leaves this machine goes through the room that takes secrets out",
    },
    AllowedEdge {
        prefix: "memmap",
        homes: &[],
        reason: "a transcript cut short while it is mapped would kill the process; read it instead",
    },
];

struct AllowedEdge {
    prefix: &'static str,
    homes: &'static [&'static str],
    reason: &'static str,
}

/// One line of a manifest: `from` depends on `to`.
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
    let mut findings = judge(&members, &edges(ours, guests));
    findings.extend(judge_guests(&members, &edges(guests, guests)));
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

fn judge(members: &[String], edges: &[Edge]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for member in members {
        if member != "xtask" && floor(member).is_none() {
            findings.push(Finding {
                place: member.clone(),
                reason: "this crate has no floor, so nobody knows what it may see".to_owned(),
                remedy: "give it one in xtask/src/walls.rs; a new crate only for a new wall"
                    .to_owned(),
            });
        }
    }
    for edge in edges {
        let Edge {
            from, to, is_dev, ..
        } = edge;
        let is_member = members.contains(to);
        if is_member && !may_see(edge) {
            findings.push(Finding {
                place: from.clone(),
                reason: format!("depends on `{to}`, which is not on a floor below"),
                remedy: "move what is needed down, or turn the dependency round: api, harness, runtime, migrations".to_owned(),
            });
        }
        let is_always = !is_dev && !edge.is_optional;
        if from == SUITE && is_always && OPTIONAL_IN_HARNESS.contains(&to.as_str()) {
            findings.push(Finding {
                place: from.clone(),
                reason: format!("depends on `{to}` without the feature `pipeline`, so authors of processors compile DuckDB"),
                remedy: "make it optional in tests/Cargo.toml, and put what uses it behind the feature".to_owned(),
            });
        }
        for kept in KEPT.iter().filter(|kept| to.starts_with(kept.prefix)) {
            let is_suite = from == SUITE && *is_dev && to == "duckdb";
            if !kept.homes.contains(&from.as_str()) && !is_suite {
                findings.push(Finding {
                    place: from.clone(),
                    reason: format!("depends on `{to}`: {}", kept.reason),
                    remedy: match kept.homes {
                        [] => "do without it".to_owned(),
                        homes => format!("go through {}", homes.join(" or ")),
                    },
                });
            }
        }
    }
    findings
}

fn may_see(edge: &Edge) -> bool {
    if edge.from == SUITE && edge.is_dev && edge.to != "xtask" {
        return true;
    }
    match (floor(&edge.from), floor(&edge.to)) {
        (Some(from), Some(to)) => to < from,
        _ => false,
    }
}

fn floor(name: &str) -> Option<usize> {
    FLOORS.iter().position(|floor| floor.contains(&name))
}

fn judge_guests(members: &[String], edges: &[Edge]) -> Vec<Finding> {
    let crossing = edges
        .iter()
        .filter(|edge| edge.is_outside_guests || members.contains(&edge.to));
    crossing
        .map(|edge| Finding {
            place: format!("processors-wasm: {}", edge.from),
            reason: format!(
                "depends on `{}`: a guest sees the sdk and the contract only",
                edge.to
            ),
            remedy: "say what is missing in runtime/wit, or put it into processors-wasm/sdk"
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

    fn is_legal(edge: Edge) -> bool {
        let mut members: Vec<String> = FLOORS.concat().iter().map(|&name| name.into()).collect();
        members.push("xtask".into());
        judge(&members, &[edge]).is_empty()
    }

    #[test]
    fn a_crate_sees_the_floors_below_it_and_none_above() {
        assert!(is_legal(edge(
            "session-pipeline",
            "session-pipeline-pipeline"
        )));
        assert!(is_legal(edge(
            "session-pipeline",
            "session-pipeline-harness"
        )));
        assert!(is_legal(edge(
            "session-pipeline-pipeline",
            "session-pipeline-migrations"
        )));
        assert!(!is_legal(edge(
            "session-pipeline-pipeline",
            "session-pipeline-harness"
        )));
        assert!(!is_legal(dev_edge(
            "session-pipeline-pipeline",
            "session-pipeline-harness"
        )));
        assert!(!is_legal(edge(
            "session-pipeline-migrations",
            "session-pipeline-bundle"
        )));
    }

    #[test]
    fn only_the_suite_sees_everything() {
        assert!(is_legal(dev_edge(
            "session-pipeline-harness",
            "session-pipeline"
        )));
        assert!(!is_legal(edge(
            "session-pipeline-harness",
            "session-pipeline"
        )));
        assert!(is_legal(dev_edge("session-pipeline-harness", "duckdb")));
        assert!(!is_legal(edge("session-pipeline-harness", "duckdb")));
    }

    #[test]
    fn the_harness_needs_the_database_only_for_a_feature() {
        let store = || edge("session-pipeline-harness", "session-pipeline-store");
        assert!(!is_legal(store()));
        assert!(is_legal(Edge {
            is_optional: true,
            ..store()
        }));
        assert!(is_legal(edge(
            "session-pipeline-harness",
            "session-pipeline-host"
        )));
    }

    #[test]
    fn nobody_sees_xtask_and_xtask_sees_nobody() {
        assert!(!is_legal(dev_edge("session-pipeline-harness", "xtask")));
        assert!(!is_legal(edge("session-pipeline", "xtask")));
        assert!(!is_legal(edge("xtask", "session-pipeline-migrations")));
        assert!(is_legal(edge("xtask", "clap")));
    }

    #[test]
    fn kept_crates_stay_at_home() {
        assert!(is_legal(edge("session-pipeline", "axum")));
        assert!(!is_legal(edge("session-pipeline-pipeline", "axum-extra")));
        assert!(is_legal(edge("session-pipeline-host", "wasmtime-wasi")));
        assert!(!is_legal(dev_edge("session-pipeline-harness", "wasmtime")));
        assert!(!is_legal(edge("session-pipeline", "reqwest")));
        assert!(!is_legal(edge("session-pipeline-pipeline", "memmap2")));
    }

    #[test]
    fn a_crate_without_a_floor_is_found() {
        assert_eq!(judge(&["session-pipeline-extra".into()], &[]).len(), 1);
    }

    #[test]
    fn a_guest_sees_no_crate_of_the_root() {
        let members = ["session-pipeline-pipeline".to_owned()];
        let sdk = edge("session-pipeline-usage", "session-pipeline-processor");
        let runtime = edge("session-pipeline-usage", "session-pipeline-pipeline");
        let elsewhere = Edge {
            is_outside_guests: true,
            ..edge("session-pipeline-usage", "x")
        };
        assert!(judge_guests(&members, &[sdk]).is_empty());
        assert_eq!(judge_guests(&members, &[runtime, elsewhere]).len(), 2);
    }
}
