//! The columns, keys and constraints of a table, from a `CREATE TABLE` statement or from the
//! catalog, and their differences.
//!
//! Defaults are shown but not compared. Tables from other systems can have defaults, and our
//! statements do not rely on them.

use std::fmt;

use duckdb::Connection;

use crate::catalog::Catalog;
use crate::error::{MigrationError, listed};
use crate::ladder::{CURRENT, LADDER, OLDEST};

/// Compares all our tables with the schema [`CURRENT`].
///
/// Use it for a database at that number. [`crate::apply()`] calls it at its end and before it
/// changes anything.
///
/// # Errors
/// [`MigrationError::Shape`] describes the first table that differs.
pub fn verify(conn: &Connection) -> Result<(), MigrationError> {
    verify_at(&Catalog::read(conn)?, CURRENT)
}

/// Compares all tables at a number with the tables that the steps create.
pub(crate) fn verify_at(catalog: &Catalog, number: u32) -> Result<(), MigrationError> {
    for table in tables_at(number) {
        let shapes = shapes_from(&table, number);
        let difference = match catalog.tables.get(&table) {
            None => Some("the table is missing".to_owned()),
            // A later shape is also valid: a step does not change a table that already has its
            // later shape.
            Some(found) if shapes.iter().any(|shape| shape.matches(found)) => None,
            Some(found) => shapes.first().map(|shape| shape.difference(found)),
        };
        if let Some(difference) = difference {
            return Err(MigrationError::Shape {
                table,
                number,
                difference,
            });
        }
    }
    Ok(())
}

/// The tables of `main` as canonical text. For a database at [`CURRENT`], this is the content of
/// `schema.sql`.
///
/// # Errors
/// [`MigrationError::Read`] if the catalog cannot be read.
pub fn describe(conn: &Connection) -> Result<String, MigrationError> {
    let catalog = Catalog::read(conn)?;
    let tables: Vec<String> = catalog.tables.values().map(ToString::to_string).collect();
    Ok(tables.join("\n"))
}

/// The tables that a step is the first to create, except for the legacy layout.
pub(crate) fn introduced_by(number: u32) -> Vec<String> {
    if number == OLDEST {
        return Vec::new();
    }
    let before = tables_at(number - 1);
    tables_at(number)
        .into_iter()
        .filter(|table| !before.contains(table))
        .collect()
}

/// The valid shapes of a table at a number: the newest shape up to it, and all later ones.
pub(crate) fn shapes_from(table: &str, number: u32) -> Vec<TableShape> {
    let shapes: Vec<(u32, TableShape)> = creations()
        .filter(|(_, shape)| shape.name == table)
        .collect();
    let by_then = shapes
        .iter()
        .rposition(|(at, _)| *at <= number)
        .unwrap_or(0);
    shapes
        .into_iter()
        .skip(by_then)
        .map(|(_, shape)| shape)
        .collect()
}

fn tables_at(number: u32) -> Vec<String> {
    let mut tables: Vec<String> = creations()
        .filter(|(at, _)| *at <= number)
        .map(|(_, shape)| shape.name)
        .collect();
    tables.sort();
    tables.dedup();
    tables
}

fn creations() -> impl Iterator<Item = (u32, TableShape)> {
    LADDER.iter().flat_map(|step| {
        step.statements
            .iter()
            .filter_map(|statement| Some((step.number, TableShape::parse(statement.sql)?)))
    })
}

/// The shape of a table.
#[derive(Debug, Clone)]
pub(crate) struct TableShape {
    pub name: String,
    pub columns: Vec<Column>,
    pub key: Vec<String>,
    /// Unique constraints, checks and foreign keys. Our tables have none.
    pub constraints: Vec<String>,
}

/// One column of a [`TableShape`].
#[derive(Debug, Clone)]
pub(crate) struct Column {
    pub name: String,
    /// The type, followed by `NOT NULL` if set.
    pub kind: String,
    pub default: Option<String>,
}

impl TableShape {
    /// Parses a `CREATE TABLE` in the plain form of our SQL files. `None` for any other statement.
    pub(crate) fn parse(sql: &str) -> Option<Self> {
        let mut lines = sql
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty() && !line.starts_with("--"));
        let name = lines
            .next()?
            .strip_prefix("CREATE TABLE IF NOT EXISTS ")?
            .strip_suffix(" (")?;
        let mut shape = Self::empty(name.to_owned());
        for line in lines.take_while(|line| !line.starts_with(')')) {
            let line = line.strip_suffix(',').unwrap_or(line);
            let key = line
                .strip_prefix("PRIMARY KEY (")
                .and_then(|rest| rest.strip_suffix(')'));
            if let Some(key) = key {
                shape.key = key.split(", ").map(str::to_owned).collect();
                continue;
            }
            let (name, rest) = line.split_once(' ')?;
            let (kind, default) = match rest.split_once(" DEFAULT ") {
                Some((kind, default)) => (kind, Some(default.to_owned())),
                None => (rest, None),
            };
            shape.columns.push(Column {
                name: name.to_owned(),
                kind: kind.to_owned(),
                default,
            });
        }
        Some(shape)
    }

    /// A table without columns.
    pub(crate) fn empty(name: String) -> Self {
        Self {
            name,
            columns: Vec::new(),
            key: Vec::new(),
            constraints: Vec::new(),
        }
    }

    /// Whether another table has the same shape, ignoring defaults.
    pub(crate) fn matches(&self, found: &Self) -> bool {
        self.differences(found).is_empty()
    }

    fn difference(&self, found: &Self) -> String {
        self.differences(found).join(", ")
    }

    fn differences(&self, found: &Self) -> Vec<String> {
        let mut differences = Vec::new();
        for column in &self.columns {
            match found.column(&column.name) {
                None => differences.push(format!("`{column}` is missing")),
                Some(other) if other.kind != column.kind => {
                    differences.push(format!("`{other}` should be `{column}`"));
                }
                Some(_) => {}
            }
        }
        for column in &found.columns {
            if self.column(&column.name).is_none() {
                differences.push(format!("unexpected column `{column}`"));
            }
        }
        if differences.is_empty() && self.names() != found.names() {
            differences.push(format!(
                "the columns should be in the order {}",
                listed(self.names())
            ));
        }
        if self.key != found.key {
            differences.push(match (self.key.is_empty(), found.key.is_empty()) {
                (true, _) => format!(
                    "the primary key is {} but there should be none",
                    listed(&found.key)
                ),
                (_, true) => format!("the primary key {} is missing", listed(&self.key)),
                _ => format!(
                    "the primary key should be {} instead of {}",
                    listed(&self.key),
                    listed(&found.key)
                ),
            });
        }
        for constraint in &found.constraints {
            if !self.constraints.contains(constraint) {
                differences.push(format!("unexpected constraint `{constraint}`"));
            }
        }
        differences
    }

    pub(crate) fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }

    fn names(&self) -> Vec<&str> {
        self.columns
            .iter()
            .map(|column| column.name.as_str())
            .collect()
    }
}

impl fmt::Display for TableShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lines: Vec<String> = self
            .columns
            .iter()
            .map(|column| match &column.default {
                Some(default) => format!("    {column} DEFAULT {default}"),
                None => format!("    {column}"),
            })
            .collect();
        if !self.key.is_empty() {
            lines.push(format!("    PRIMARY KEY ({})", self.key.join(", ")));
        }
        lines.extend(self.constraints.iter().map(|text| format!("    {text}")));
        writeln!(f, "CREATE TABLE {} (\n{}\n);", self.name, lines.join(",\n"))
    }
}

impl fmt::Display for Column {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.kind)
    }
}
