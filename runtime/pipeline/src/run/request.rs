//! What a run is asked for.

use std::time::Duration;

use session_pipeline_store::{Actor, Trigger};

use crate::config::Config;

/// What a run is asked for.
#[derive(Clone, Debug)]
pub struct RunRequest {
    /// Through what.
    pub trigger: Trigger,
    /// Who asks, for the audit log.
    pub actor: Actor,
    /// Whether that is a person, so that no wait after a failure counts.
    pub is_started_by_person: bool,
    /// Attempts at most.
    pub max_sessions: Option<u64>,
    /// Attempts at most, of a processor that uses a language model.
    pub max_llm_sessions: Option<u64>,
    /// Time after which no further session is begun.
    pub time_budget: Option<Duration>,
}

impl RunRequest {
    /// A run from the command line: without caps.
    pub fn cli() -> Self {
        Self {
            trigger: Trigger::Cli,
            actor: Actor::cli(),
            is_started_by_person: true,
            max_sessions: None,
            max_llm_sessions: None,
            time_budget: None,
        }
    }

    /// A run within a service, by its caps (ARCHITECTURE.md §8).
    pub fn service(config: &Config, trigger: Trigger, actor: Actor) -> Self {
        Self {
            trigger,
            actor,
            is_started_by_person: false,
            max_sessions: None,
            max_llm_sessions: config.service.llm_sessions_max,
            time_budget: Some(config.service.run_time_max),
        }
    }
}
