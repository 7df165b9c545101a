//! The list of all steps and statements, in order. Nothing is discovered from the file system.
//!
//! [`crate::apply()`] runs the steps.

use sha2::{Digest, Sha256};

use crate::catalog::Catalog;

/// The oldest supported schema: the layout of the legacy system.
#[expect(
    clippy::indexing_slicing,
    reason = "a ladder without steps does not compile"
)]
pub const OLDEST: u32 = LADDER[0].number;

/// The newest schema, after all steps.
#[expect(
    clippy::indexing_slicing,
    reason = "a ladder without steps does not compile"
)]
pub const CURRENT: u32 = LADDER[LADDER.len() - 1].number;

/// A script that creates a database at [`OLDEST`], for tests. Migrations never run it.
pub const LEGACY_LAYOUT: &str = include_str!("../sql/0028-legacy/layout.sql");

/// Every step, oldest first.
pub const LADDER: &[Step] = &[
    // A fresh database gets no legacy tables. Step 28 only creates `schema_version`.
    Step {
        number: 28,
        name: "legacy",
        statements: &[
            sql!("0028-legacy/01-set-aside-schema-version.sql").if_table("schema_version"),
            sql!("0028-legacy/02-create-schema-version.sql"),
            sql!("0028-legacy/03-copy-schema-version.sql").if_table("schema_version"),
            sql!("0028-legacy/04-drop-old-schema-version.sql").if_table("schema_version"),
        ],
    },
    Step {
        number: 29,
        name: "session-processor-state",
        statements: &[
            sql!("0029-session-processor-state/01-create-session-processor-state.sql"),
            sql!("0029-session-processor-state/02-copy-legacy-rows.sql")
                .if_table("session_extraction_state"),
            sql!("0029-session-processor-state/03-check-every-row-was-copied.sql")
                .if_table("session_extraction_state")
                .checking(),
            sql!("0029-session-processor-state/04-drop-session-extraction-state.sql")
                .if_table("session_extraction_state"),
        ],
    },
    Step {
        number: 30,
        name: "observed-file",
        statements: &[
            sql!("0030-observed-file/01-set-aside-session-processor-state.sql")
                .if_lacking("session_processor_state", "file_size"),
            sql!("0030-observed-file/02-create-session-processor-state.sql"),
            sql!("0030-observed-file/03-copy-rows.sql")
                .if_lacking("session_processor_state", "file_size"),
            sql!("0030-observed-file/04-check-every-row-was-copied.sql")
                .if_lacking("session_processor_state", "file_size")
                .checking(),
            sql!("0030-observed-file/05-drop-old-session-processor-state.sql")
                .if_lacking("session_processor_state", "file_size"),
        ],
    },
    Step {
        number: 31,
        name: "runs",
        statements: &[
            sql!("0031-runs/01-counters.sql"),
            sql!("0031-runs/02-components.sql"),
            sql!("0031-runs/03-session-failures.sql"),
            sql!("0031-runs/04-runs.sql"),
            sql!("0031-runs/05-session-costs.sql"),
        ],
    },
    Step {
        number: 32,
        name: "people",
        statements: &[
            sql!("0032-people/01-users.sql"),
            sql!("0032-people/02-tokens.sql"),
            sql!("0032-people/03-audit-log.sql"),
        ],
    },
    Step {
        number: 33,
        name: "service",
        statements: &[
            sql!("0033-service/01-scheduler-jobs.sql"),
            sql!("0033-service/02-llm-responses.sql"),
        ],
    },
    Step {
        number: 34,
        name: "component-files",
        statements: &[sql!("0034-component-files/01-component-files.sql")],
    },
    Step {
        number: 35,
        name: "llm-calls",
        statements: &[sql!("0035-llm-calls/01-llm-calls.sql")],
    },
    Step {
        number: 36,
        name: "own-failures",
        statements: &[
            sql!("0036-own-failures/01-set-aside-session-failures.sql")
                .if_lacking("session_failures", "own_attempts"),
            sql!("0036-own-failures/02-create-session-failures.sql"),
            sql!("0036-own-failures/03-copy-rows.sql")
                .if_lacking("session_failures", "own_attempts"),
            sql!("0036-own-failures/04-check-every-row-was-copied.sql")
                .if_lacking("session_failures", "own_attempts")
                .checking(),
            sql!("0036-own-failures/05-drop-old-session-failures.sql")
                .if_lacking("session_failures", "own_attempts"),
        ],
    },
    Step {
        number: 37,
        name: "session-waits",
        statements: &[sql!("0037-session-waits/01-session-waits.sql")],
    },
    Step {
        number: 38,
        name: "sign-ins",
        statements: &[sql!("0038-sign-ins/01-sign-ins.sql")],
    },
    Step {
        number: 39,
        name: "budget-crossings",
        statements: &[sql!("0039-budget-crossings/01-budget-crossings.sql")],
    },
    Step {
        number: 40,
        name: "resume-points",
        statements: &[
            sql!("0040-resume-points/01-session-resume-points.sql"),
            sql!("0040-resume-points/02-session-settled-rows.sql"),
        ],
    },
    // Add new steps here. Never insert a step between others, and never change a released step.
];

/// One step, which runs in one transaction.
#[derive(Debug)]
pub struct Step {
    /// The number in `schema_version`.
    pub number: u32,
    /// The name, from the name of its folder.
    pub name: &'static str,
    /// The statements, in order.
    pub statements: &'static [Statement],
}

/// One statement, from a separate file.
#[derive(Debug)]
pub struct Statement {
    /// The path relative to `sql/`.
    pub file: &'static str,
    /// The text of the file.
    pub sql: &'static str,
    /// Whether it is a change or a check.
    pub task: StatementKind,
    /// The condition for running it.
    pub only: Condition,
}

/// The kind of a [`Statement`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatementKind {
    /// A change of the database.
    Change,
    /// A check. It counts errors, and any result except zero fails the step.
    Check,
}

/// The condition of a [`Statement`], because SQL has no conditional statements.
///
/// All conditions of a step are evaluated before its first statement runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// No condition.
    Always,
    /// The table exists.
    IfTable(&'static str),
    /// The table exists and lacks the column.
    IfColumnMissing(&'static str, &'static str),
}

impl Condition {
    pub(crate) fn holds(self, catalog: &Catalog) -> bool {
        match self {
            Self::Always => true,
            Self::IfTable(table) => catalog.tables.contains_key(table),
            Self::IfColumnMissing(table, column) => catalog
                .tables
                .get(table)
                .is_some_and(|table| table.column(column).is_none()),
        }
    }
}

impl Step {
    /// The SHA-256 of the step's statements in hexadecimal, as stored in `schema_version`.
    ///
    /// Line endings do not affect it. All other changes do, including comments.
    #[must_use]
    pub fn checksum(&self) -> String {
        let mut hasher = Sha256::new();
        for statement in self.statements {
            hasher.update(statement.sql.replace("\r\n", "\n"));
            // Separate the files, so that text cannot move between them unnoticed.
            hasher.update([0]);
        }
        hasher
            .finalize()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }
}

impl Statement {
    const fn change(file: &'static str, sql: &'static str) -> Self {
        Self {
            file,
            sql,
            task: StatementKind::Change,
            only: Condition::Always,
        }
    }

    const fn if_table(mut self, table: &'static str) -> Self {
        self.only = Condition::IfTable(table);
        self
    }

    const fn if_lacking(mut self, table: &'static str, column: &'static str) -> Self {
        self.only = Condition::IfColumnMissing(table, column);
        self
    }

    const fn checking(mut self) -> Self {
        self.task = StatementKind::Check;
        self
    }
}

macro_rules! sql {
    ($file:literal) => {
        Statement::change($file, include_str!(concat!("../sql/", $file)))
    };
}
use sql;
