//! The manifest that a processor returns from `describe`, and its validation.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

/// Maximum number of tables per processor.
const TABLES_MAX: usize = 32;
/// Maximum number of columns per table.
const COLUMNS_MAX: usize = 100;
/// Maximum length of a name, in characters.
const NAME_CHARS_MAX: usize = 63;
/// Maximum length of a description, in characters.
const DESCRIPTION_CHARS_MAX: usize = 1000;
/// Schemas and catalogs of DuckDB and of this program.
const RESERVED_PROCESSORS: [&str; 6] = [
    "main",
    "temp",
    "system",
    "pg-catalog",
    "pg_catalog",
    "information_schema",
];
/// Columns that the host adds, and DuckDB's row id.
const RESERVED_COLUMNS: [&str; 6] = [
    "rowid",
    "session_seq",
    "session_file",
    "recorded_at",
    "created_at",
    "updated_at",
];

/// A validated manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The processor's name. It is also the name of its schema in the database.
    pub name: String,
    /// The version. Raising it means "process every session again".
    pub version: u32,
    /// One sentence for people.
    pub description: String,
    /// The interval between runs, in seconds.
    pub cadence_seconds: u32,
    /// Whether sessions can be processed in parallel.
    pub order: Order,
    /// Whether the processor needs a language model.
    pub uses_llm: bool,
    /// Whether the host removes secrets from rows before it stores them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub redacts_secrets: bool,
    /// The tables of the processor.
    pub tables: Vec<TableSpec>,
}

/// The order in which sessions are processed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = ProcessorOrder))]
#[serde(rename_all = "lowercase")]
pub enum Order {
    /// In any order, by any worker.
    Independent,
    /// One session after the other.
    Serial,
}

/// A table of a processor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableSpec {
    /// The name within the processor's schema.
    pub name: String,
    /// For shared tables, the key column.
    pub shared_key: Option<String>,
    /// The processor's columns, without the columns that the host adds.
    pub columns: Vec<ColumnSpec>,
    /// Columns whose first non-null value identifies a row. If set, rows that a rewritten session
    /// no longer produces are kept and marked as superseded. If empty, such rows are deleted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub identity: Vec<String>,
}

/// The column in which the host marks rows that a rewritten session no longer produces.
pub const SUPERSEDED_COLUMN: &str = "is_superseded";
/// The column in which the host stores the run that first recorded a row of its session.
pub const FIRST_RUN_COLUMN: &str = "first_run";

/// A column of a table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColumnSpec {
    /// The name of the column.
    pub name: String,
    /// The type of its values.
    pub kind: ColumnKind,
}

/// The type of the values in a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ColumnKind {
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

impl ColumnKind {
    /// The name in the contract.
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

    /// The column type in DuckDB.
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

/// A manifest that is rejected.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// The name breaks the naming rule or is reserved by the database.
    #[error(
        "invalid processor name `{0}`: a name must match [a-z][a-z0-9-]{{0,62}} and must not be reserved by the database"
    )]
    ProcessorName(String),
    /// A table name breaks the naming rule.
    #[error("invalid table name `{0}`: a name must match [a-z][a-z0-9_]{{0,62}}")]
    TableName(String),
    /// A column name breaks the naming rule or is reserved by the host.
    #[error(
        "invalid column name `{table}.{column}`: a name must match [a-z][a-z0-9_]{{0,62}} and must not be a column that the host adds"
    )]
    ColumnName {
        /// The table.
        table: String,
        /// The column.
        column: String,
    },
    /// Two tables, or two columns of a table, have the same name.
    #[error("duplicate name `{0}`: table names and the columns of a table must be unique")]
    Duplicate(String),
    /// Too many tables, no columns or too many columns.
    #[error("{0}")]
    Count(String),
    /// A shared table without its key column, or in an independent processor.
    #[error("invalid shared table `{table}`: {reason}")]
    Shared {
        /// The table.
        table: String,
        /// The rule that the table breaks.
        reason: &'static str,
    },
    /// A table asks to keep superseded rows but cannot.
    #[error("cannot keep superseded rows of table `{table}`: {reason}")]
    Superseded {
        /// The table.
        table: String,
        /// The rule that the table breaks.
        reason: String,
    },
    /// The cadence is zero.
    #[error("the cadence is 0 seconds; set how often the processor should run")]
    Cadence,
}

impl Manifest {
    /// Validates a manifest.
    ///
    /// # Errors
    /// The first rule that the manifest breaks.
    pub fn check(self) -> Result<Self, ManifestError> {
        check_name(&self.name)?;
        if self.cadence_seconds == 0 {
            return Err(ManifestError::Cadence);
        }
        if self.tables.len() > TABLES_MAX {
            return Err(ManifestError::Count(format!(
                "the processor has {} tables; the limit is {TABLES_MAX}",
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
        let rejected = |reason| {
            Err(ManifestError::Shared {
                table: self.name.clone(),
                reason,
            })
        };
        if order != Order::Serial {
            return rejected("only a serial processor can declare a shared table");
        }
        match self.columns.iter().find(|column| column.name == *key) {
            Some(column) if column.kind == ColumnKind::Text => Ok(()),
            Some(_) => rejected("its key must be a text column"),
            None => rejected("its key is not one of its columns"),
        }
    }
}

impl TableSpec {
    /// The index and the kind of a column.
    pub fn column(&self, name: &str) -> Option<(usize, ColumnKind)> {
        let index = self.columns.iter().position(|column| column.name == name)?;
        Some((index, self.columns.get(index)?.kind))
    }

    fn check_identity(&self) -> Result<(), ManifestError> {
        let rejected = |reason: String| {
            Err(ManifestError::Superseded {
                table: self.name.clone(),
                reason,
            })
        };
        if self.identity.is_empty() {
            return Ok(());
        }
        if self.shared_key.is_some() {
            return rejected("rows of a shared table already outlive their session".to_owned());
        }
        let kind = |name: &str| self.column(name).map(|(_, kind)| kind);
        for name in &self.identity {
            if kind(name) != Some(ColumnKind::Text) {
                let name = crate::fault::printable(name);
                return rejected(format!("`{name}` is not one of its text columns"));
            }
        }
        if kind(SUPERSEDED_COLUMN) != Some(ColumnKind::Bool) {
            return rejected(format!(
                "it has no column `{SUPERSEDED_COLUMN}` of type bool"
            ));
        }
        if !matches!(kind(FIRST_RUN_COLUMN), None | Some(ColumnKind::S64)) {
            return rejected(format!(
                "its column `{FIRST_RUN_COLUMN}` is not of type s64"
            ));
        }
        Ok(())
    }
}

/// Checks the name of a processor before the processor is created.
///
/// # Errors
/// The name breaks the naming rule or is reserved.
pub fn check_name(name: &str) -> Result<(), ManifestError> {
    is_processor_name(name)
        .then_some(())
        .ok_or_else(|| ManifestError::ProcessorName(crate::fault::printable(name)))
}

/// Whether `name` is a valid processor name.
pub fn is_processor_name(name: &str) -> bool {
    is_name(name, '-') && !RESERVED_PROCESSORS.contains(&name)
}

fn is_name(name: &str, extra: char) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(|c| c.is_ascii_lowercase())
        && chars.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == extra)
        && name.len() <= NAME_CHARS_MAX
}
