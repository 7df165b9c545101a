//! What a processor says of itself, checked.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

/// Tables that a processor may have.
const TABLES_MAX: usize = 32;
/// Columns that a table may have.
const COLUMNS_MAX: usize = 100;
/// Characters of a name.
const NAME_CHARS_MAX: usize = 63;
/// Characters of a description.
const DESCRIPTION_CHARS_MAX: usize = 1000;
/// Names of DuckDB's own schemas and catalogs, and of ours.
const RESERVED_PROCESSORS: [&str; 6] = [
    "main",
    "temp",
    "system",
    "pg-catalog",
    "pg_catalog",
    "information_schema",
];
/// Names of the host's own columns, and DuckDB's row id.
const RESERVED_COLUMNS: [&str; 6] = [
    "rowid",
    "session_seq",
    "session_file",
    "recorded_at",
    "created_at",
    "updated_at",
];

/// A checked manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The processor's name, which is also its schema in the database.
    pub name: String,
    /// A rising number: a raise means "process every session again".
    pub version: u32,
    /// One sentence for people.
    pub description: String,
    /// How often it wants to run, in seconds.
    pub cadence_seconds: u32,
    /// Whether sessions may be processed side by side.
    pub order: Order,
    /// Whether it needs a language model.
    pub uses_llm: bool,
    /// Whether the host removes secrets from its rows before they are stored.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub redacts_secrets: bool,
    /// Its tables.
    pub tables: Vec<TableSpec>,
}

/// Whether sessions may be processed side by side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = ProcessorOrder))]
#[serde(rename_all = "lowercase")]
pub enum Order {
    /// In any order, by any worker.
    Independent,
    /// One after the other.
    Serial,
}

/// A table of a processor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableSpec {
    /// Its name within the processor's schema.
    pub name: String,
    /// For shared tables, the key column.
    pub shared_key: Option<String>,
    /// The processor's columns, without the host's.
    pub columns: Vec<ColumnSpec>,
    /// The columns whose first value that is not null identifies a row, where rows that a rewritten
    /// session no longer yields are to be kept as superseded. Empty: they are replaced.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub identity: Vec<String>,
}

/// Where the host marks rows that a rewritten session no longer yields.
pub const SUPERSEDED_COLUMN: &str = "is_superseded";
/// Where the host notes which run recorded a row first in its session.
pub const FIRST_RUN_COLUMN: &str = "first_run";

/// A column of a table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColumnSpec {
    /// Its name.
    pub name: String,
    /// What its cells hold.
    pub kind: Kind,
}

/// The type of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Truth values.
    Bool,
    /// Signed integers.
    S64,
    /// Finite numbers.
    F64,
    /// Text.
    Text,
    /// Microseconds since the epoch.
    Timestamp,
    /// JSON text.
    Json,
}

impl Kind {
    /// What the contract calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bool => "bool",
            Self::S64 => "s64",
            Self::F64 => "f64",
            Self::Text => "text",
            Self::Timestamp => "timestamp",
            Self::Json => "json",
        }
    }

    /// The column type in the database.
    pub fn sql_type(self) -> &'static str {
        match self {
            Self::Bool => "BOOLEAN",
            Self::S64 => "BIGINT",
            Self::F64 => "DOUBLE",
            Self::Text | Self::Json => "VARCHAR",
            Self::Timestamp => "TIMESTAMP",
        }
    }
}

/// Why a manifest is refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// The name breaks the rule, or is taken by the database.
    #[error(
        "the processor name `{0}` is not allowed; use [a-z][a-z0-9-]{{0,62}} and none of the database's own names"
    )]
    ProcessorName(String),
    /// A table's name breaks the rule.
    #[error("the table name `{0}` is not allowed; use [a-z][a-z0-9_]{{0,62}}")]
    TableName(String),
    /// A column's name breaks the rule, or is the host's.
    #[error(
        "the column name `{table}.{column}` is not allowed; use [a-z][a-z0-9_]{{0,62}} and none of the host's own columns"
    )]
    ColumnName {
        /// The table.
        table: String,
        /// The column.
        column: String,
    },
    /// Two tables, or two columns of a table, bear one name.
    #[error("the name `{0}` stands twice; give each table and column a name of its own")]
    Duplicate(String),
    /// Too many tables, or none or too many columns.
    #[error("{0}")]
    Count(String),
    /// A shared table without its key column, or one of an independent processor.
    #[error("the shared table `{table}` is not allowed: {reason}")]
    Shared {
        /// The table.
        table: String,
        /// Why.
        reason: &'static str,
    },
    /// Superseded rows are to be kept of a table that can't have them.
    #[error("the superseded rows of the table `{table}` can't be kept: {reason}")]
    Superseded {
        /// The table.
        table: String,
        /// Why.
        reason: String,
    },
    /// The cadence is zero.
    #[error("the cadence is 0 seconds; give how often the processor should run")]
    Cadence,
}

impl Manifest {
    /// Checks a manifest by the rules of ARCHITECTURE.md §4.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn check(self) -> Result<Self, ManifestError> {
        check_name(&self.name)?;
        if self.cadence_seconds == 0 {
            return Err(ManifestError::Cadence);
        }
        if self.tables.len() > TABLES_MAX {
            return Err(ManifestError::Count(format!(
                "{} tables are more than the {TABLES_MAX} allowed",
                self.tables.len()
            )));
        }
        let mut names = HashSet::new();
        for table in &self.tables {
            if !is_name(&table.name, '_') {
                return Err(ManifestError::TableName(crate::fault::printable(
                    &table.name,
                )));
            }
            if !names.insert(&table.name) {
                return Err(ManifestError::Duplicate(table.name.clone()));
            }
            table.check(self.order)?;
        }
        let description = crate::fault::printable(&self.description)
            .chars()
            .take(DESCRIPTION_CHARS_MAX)
            .collect();
        Ok(Self {
            description,
            ..self
        })
    }
}

impl TableSpec {
    fn check(&self, order: Order) -> Result<(), ManifestError> {
        if self.columns.is_empty() || self.columns.len() > COLUMNS_MAX {
            return Err(ManifestError::Count(format!(
                "the table `{}` has {} columns; 1 to {COLUMNS_MAX} are allowed",
                self.name,
                self.columns.len()
            )));
        }
        let mut names = HashSet::new();
        for column in &self.columns {
            if !is_name(&column.name, '_') || RESERVED_COLUMNS.contains(&column.name.as_str()) {
                return Err(ManifestError::ColumnName {
                    table: self.name.clone(),
                    column: crate::fault::printable(&column.name),
                });
            }
            if !names.insert(&column.name) {
                return Err(ManifestError::Duplicate(format!(
                    "{}.{}",
                    self.name, column.name
                )));
            }
        }
        self.check_identity()?;
        let Some(key) = &self.shared_key else {
            return Ok(());
        };
        let refused = |reason| {
            Err(ManifestError::Shared {
                table: self.name.clone(),
                reason,
            })
        };
        if order != Order::Serial {
            return refused("only a serial processor may declare one");
        }
        match self.columns.iter().find(|column| column.name == *key) {
            Some(column) if column.kind == Kind::Text => Ok(()),
            Some(_) => refused("its key must be a text column"),
            None => refused("its key is none of its columns"),
        }
    }
}

impl TableSpec {
    /// The kind of a column and its index.
    pub fn column(&self, name: &str) -> Option<(usize, Kind)> {
        let index = self.columns.iter().position(|column| column.name == name)?;
        Some((index, self.columns.get(index)?.kind))
    }

    fn check_identity(&self) -> Result<(), ManifestError> {
        let refused = |reason: String| {
            Err(ManifestError::Superseded {
                table: self.name.clone(),
                reason,
            })
        };
        if self.identity.is_empty() {
            return Ok(());
        }
        if self.shared_key.is_some() {
            return refused("rows of a shared table outlive their session anyway".to_owned());
        }
        let kind = |name: &str| self.column(name).map(|(_, kind)| kind);
        for name in &self.identity {
            if kind(name) != Some(Kind::Text) {
                let name = crate::fault::printable(name);
                return refused(format!("`{name}` is not one of its text columns"));
            }
        }
        if kind(SUPERSEDED_COLUMN) != Some(Kind::Bool) {
            return refused(format!(
                "it has no column `{SUPERSEDED_COLUMN}` of type bool"
            ));
        }
        if !matches!(kind(FIRST_RUN_COLUMN), None | Some(Kind::S64)) {
            return refused(format!(
                "its column `{FIRST_RUN_COLUMN}` is not of type s64"
            ));
        }
        Ok(())
    }
}

/// Checks the name of a processor that is yet to be written.
///
/// # Errors
/// It breaks the rule, or is a name of DuckDB's or ours.
pub fn check_name(name: &str) -> Result<(), ManifestError> {
    is_processor_name(name)
        .then_some(())
        .ok_or_else(|| ManifestError::ProcessorName(crate::fault::printable(name)))
}

/// Whether a processor may bear this name.
pub fn is_processor_name(name: &str) -> bool {
    is_name(name, '-') && !RESERVED_PROCESSORS.contains(&name)
}

fn is_name(name: &str, extra: char) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(|c| c.is_ascii_lowercase())
        && chars.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == extra)
        && name.len() <= NAME_CHARS_MAX
}
