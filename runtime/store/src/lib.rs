//! The embedded database of a data directory. This crate is the only one that opens the database
//! file.
//!
//! ```
//! use session_pipeline_host::clock::{Clock, SystemClock};
//! use session_pipeline_store::{Store, StoreOptions};
//!
//! let data_dir = tempfile::tempdir()?;
//! let clock = SystemClock::default();
//! let store = Store::open(&StoreOptions::new(data_dir.path()), clock.now())?;
//!
//! // The database was created, and its schema is the current one.
//! assert_eq!(store.open_report().version_before, None);
//! assert!(!store.open_report().applied.is_empty());
//! assert!(store.processor_counts()?.is_empty());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! One thread writes, and any number of connections read. The rows and the state row of a session
//! are committed in one transaction ([`CommitGroup`]). The store knows the sessions, rows and faults of
//! the host crate. It runs no processors and makes no decisions. The pipeline crate decides what to
//! process and when.
//!
//! Closing a second handle on the database file would release DuckDB's lock. Therefore, the handle
//! that checkpoints need is closed after DuckDB's own handles.

mod activity;
mod audit;
mod cancel;
mod checkpoint;
mod commit;
mod component_files;
mod components;
mod counters;
mod counts;
mod crossings;
mod error;
mod failures;
mod group;
mod health;
mod holder;
mod jobs;
pub mod kill_point;
mod library;
mod llm;
mod lock;
mod lost_commits;
mod modes;
pub mod money;
mod open;
mod quarantine;
mod redact;
mod requests;
mod resume_points;
mod retention;
pub mod retry;
mod runs;
mod schema;
mod sequence;
mod sessions;
mod shared;
mod sign_ins;
mod sql;
mod state;
pub mod state_rows;
mod stats;
mod store;
mod superseded;
mod table_rows;
mod tables;
mod tokens;
mod transaction;
mod updates;
mod users;
mod vanished;
mod waits;

pub use activity::{
    Activity, DURATION_BOUNDS, Durations, ModelWork, ProcessorWork, SessionResult, WorkCounts,
    WriterActivity,
};
pub use audit::{Actor, AuditEntry, AuditRow, AuditedAction, ClientKind, write_audit};
pub use cancel::{CancelReason, Cancellation};
pub use component_files::LoadedComponent;
pub use components::ComponentRecord;
pub use counts::ProcessorStatus;
pub use crossings::{BudgetCrossing, NotificationResult, NotificationState, PendingNotification};
pub use error::{StoreError, check_canceled};
pub use group::{
    CommitGroup, CompletedSession, ContentChange, FailedSession, SessionCheckpoint, SessionOutcome,
    SkippedSession,
};
pub use health::{LatestRuns, ProcessorFailures};
pub use holder::Holder;
pub use jobs::JobRow;
pub use llm::{Budget, Budgets, ExceededBudget, LlmCall, LlmOutcome, LlmUsage};
pub use modes::private_folder;
pub use open::{EXPORT_PREFIX, MigrationPlan, StoreOptions, settings};
pub use quarantine::{QuarantineFilter, QuarantinedSession};
pub use requests::ReprocessRequests;
pub use resume_points::ResumePoint;
pub use retention::{DeletedRows, RetentionLimits};
pub use runs::{RunEnd, RunResult, RunRow, Trigger};
pub use sequence::recorded_commits;
pub use sessions::{SessionCost, SessionSelection, SessionStateRow, SessionStateRows};
pub use sign_ins::{NewSignIn, SignInRecord};
pub use sql::timestamp;
pub use stats::{RunStats, SessionError};
pub use store::{OpenReport, Store};
pub use tokens::{NewToken, Role, Token, TokenRecord};
pub use transaction::{Writer, in_transaction};
pub use updates::{RollupUpdates, UpdateTurn};
pub use users::User;
pub use vanished::PresenceChanges;
