//! The parameters of a run.

use std::time::Duration;

use session_pipeline_store::{Actor, Trigger};

use crate::config::Config;

/// The parameters of a run.
#[derive(Clone, Debug)]
pub struct RunRequest {
    /// How the run was started.
    pub trigger: Trigger,
    /// Who started it, for the audit log.
    pub actor: Actor,
    /// Whether a person started it. Then waits after failures are ignored.
    pub is_started_by_person: bool,
    /// Maximum number of attempts.
    pub max_sessions: Option<u64>,
    /// Maximum number of attempts of a processor that uses a language model.
    pub max_llm_sessions: Option<u64>,
    /// Time after which no further session is started.
    pub time_budget: Option<Duration>,
}

impl RunRequest {
    /// A run from the command line, without caps.
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

    /// A run in the service, with its caps.
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
