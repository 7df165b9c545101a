//! Opens the database of a data directory: lock, backup before an upgrade, migrations, lockdown.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use duckdb::{Config as DatabaseConfig, Connection};
use session_pipeline_host::clock::UtcMicros;
use session_pipeline_host::regular;
use session_pipeline_migrations as migrations;

use crate::audit::{Actor, AuditEntry, AuditedAction, write_audit};
use crate::checkpoint::{Checkpoints, backup_path, undo_interrupted, wal_path};
use crate::error::{StoreError, is_damage};
use crate::kill_point::kill_point;
use crate::lock::DataDirLock;
use crate::lost_commits::recover;
use crate::sequence::Commits;
use crate::store::{OpenReport, Store};
use crate::transaction::{Writer, in_transaction};
use crate::{library, modes, runs};

/// The location of a database and its memory limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreOptions {
    /// The data directory. The database is in its `state/` folder.
    pub data_dir: PathBuf,
    /// Size of the buffer pool in bytes.
    pub memory_bytes: u64,
    /// Maximum number of sessions per transaction. A lost commit used at most this many numbers.
    pub group_sessions_max: usize,
}

impl StoreOptions {
    /// The defaults for a data directory.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            memory_bytes: 256 << 20,
            group_sessions_max: 1_000,
        }
    }

    /// The folder that contains everything the store writes.
    pub fn state_dir(&self) -> PathBuf {
        self.data_dir.join("state")
    }

    /// The folder for temporary data that does not fit into memory while a statement runs.
    pub fn spill_dir(&self) -> PathBuf {
        self.state_dir().join("spill")
    }

    /// The only other folder into which the database can write files.
    pub fn export_dir(&self) -> PathBuf {
        self.data_dir.join("export")
    }
}

impl Store {
    /// Opens the database of a data directory. Creates it if it does not exist, and migrates it.
    ///
    /// # Errors
    /// Another process has locked it, it cannot be read or written, or its schema version is not
    /// supported.
    pub fn open(options: &StoreOptions, now: UtcMicros) -> Result<Self, StoreError> {
        Self::open_at(options, now, None)
    }

    /// Like [`Store::open`], for callers that only read. Returns `None` if there is no database,
    /// and does not create one.
    ///
    /// # Errors
    /// See [`Store::open`].
    pub fn open_existing(
        options: &StoreOptions,
        now: UtcMicros,
    ) -> Result<Option<Self>, StoreError> {
        let path = options.state_dir().join("system.duckdb");
        // A path that cannot be accessed does not count as missing.
        match path.try_exists() {
            Ok(true) => Self::open(options, now).map(Some),
            Ok(false) => Ok(None),
            // Neither does a file in place of the folder.
            Err(source) => {
                let path = match source.kind() {
                    std::io::ErrorKind::NotADirectory => options.state_dir(),
                    _ => path,
                };
                Err(StoreError::Io { path, source })
            }
        }
    }

    /// Like [`Store::open`], but migrates only up to a schema version, for `migrate --to`.
    ///
    /// # Errors
    /// See [`Store::open`].
    pub fn open_at(
        options: &StoreOptions,
        now: UtcMicros,
        version: Option<u32>,
    ) -> Result<Self, StoreError> {
        let state_dir = options.state_dir();
        modes::folder(&options.data_dir, 0o755)?;
        let was_open = modes::private_folder(&state_dir)?;
        let export_dir = options.export_dir();
        let lock = DataDirLock::take(&options.data_dir, &state_dir)?;
        let path = state_dir.join("system.duckdb");
        check_files(&path)?;
        library::check_version()?;
        modes::close_below(&state_dir, was_open);
        discard_spill(options)?;
        discard_exports(&export_dir)?;
        let mut opened = OpenReport::default();
        let created = match path.exists() {
            true => None,
            false => Some(create(&path, options, now, version)?),
        };
        let ready = open_and_migrate(&path, options, now, version, created, &mut opened);
        let (connection, checkpoints) = ready.inspect_err(|error| {
            if has_failed_to_upgrade(&opened, error) {
                audit_failed_upgrade(&path, options, &opened, now, error);
            }
        })?;
        let is_current = version.is_none_or(|version| version == migrations::CURRENT);
        let commits = if is_current {
            let (commits, lost) = Commits::resume(&connection, &state_dir)?;
            opened.lost_commits = lost;
            commits
        } else {
            Commits::uncounted()
        };
        let checkpoints = Arc::new(checkpoints);
        let writer = Writer::new(connection, commits, Arc::clone(&checkpoints));
        if opened.lost_commits > 0 {
            in_transaction(&writer, |connection| {
                recover(connection, opened.lost_commits, options.group_sessions_max)
            })?;
        }
        // After `migrate --to`, the schema can be older than the audit log.
        let has_upgraded = opened.version_before.is_some() && !opened.applied.is_empty();
        if has_upgraded && (is_current || has_audit_log(&writer)) {
            let params = serde_json::json!({
                "from": opened.version_before,
                "to": opened.applied.last(),
                "renamed": opened.renamed,
            });
            audit_upgrade(&writer, &params, "ok", now)?;
        }
        if is_current {
            opened.interrupted_runs = runs::close_interrupted(&writer, now)?;
        }
        lock_down(&writer, &export_dir)?;
        let memory_bytes = options.memory_bytes;
        Self::start(writer, opened, checkpoints, memory_bytes, lock)
    }

    /// Lists what a migration would do, without running it.
    ///
    /// # Errors
    /// See [`Store::open_at`].
    pub fn plan_migration(
        options: &StoreOptions,
        to: Option<u32>,
    ) -> Result<MigrationPlan, StoreError> {
        let state_dir = options.state_dir();
        let path = state_dir.join("system.duckdb");
        let migration = |source| unmigrated(&path, source);
        // Planning does not create a missing database.
        let (_held, connection) = if path.exists() {
            let lock = DataDirLock::take(&options.data_dir, &state_dir)?;
            check_files(&path)?;
            let (connection, checkpoints) = connect(&path, options)?;
            (Some((checkpoints, lock)), connection)
        } else {
            let in_memory = Connection::open_in_memory();
            (
                None,
                in_memory.map_err(StoreError::database("open an in-memory database"))?,
            )
        };
        let status = migrations::status(&connection).map_err(migration)?;
        let pending = status.plan(to).map_err(migration)?;
        Ok(MigrationPlan {
            version_before: status.version(),
            pending: pending
                .iter()
                .map(|step| format!("{} {}", step.number, step.name))
                .collect(),
            renamed: status
                .renamed
                .into_iter()
                .filter(|renamed| to.is_none_or(|to| renamed.number <= to))
                .map(|renamed| (renamed.from, renamed.to))
                .collect(),
        })
    }
}

/// Writes an audit entry for an upgrade.
fn audit_upgrade(
    writer: &Writer,
    params: &serde_json::Value,
    result: &str,
    now: UtcMicros,
) -> Result<(), StoreError> {
    let audited = AuditedAction {
        action: "database.migrate",
        actor: Actor::system(),
        now,
    };
    let entry = AuditEntry {
        result: result.to_owned(),
        ..audited.entry("database", params)
    };
    in_transaction(writer, |connection| write_audit(connection, &entry))
}

/// Whether the upgrade failed, for a database that we are able to write.
fn has_failed_to_upgrade(opened: &OpenReport, error: &StoreError) -> bool {
    use migrations::MigrationError::{Check, Checkpoint, ReferencedTable, Shape, Step};
    match error {
        StoreError::Migration { source, .. } => match source {
            Shape { number, .. } => *number < migrations::CURRENT,
            ReferencedTable { .. } | Check { .. } | Step { .. } | Checkpoint { .. } => true,
            _ => false,
        },
        // The backup of the database failed, or the backup of the blocks that a checkpoint
        // overwrites.
        StoreError::Io { .. } => opened
            .version_before
            .is_some_and(|version| version < migrations::CURRENT),
        _ => false,
    }
}

/// Writes an audit entry for a failed upgrade, if the database can be written and has an audit log.
fn audit_failed_upgrade(
    path: &Path,
    options: &StoreOptions,
    opened: &OpenReport,
    now: UtcMicros,
    error: &StoreError,
) {
    let params = serde_json::json!({
        "from": opened.version_before,
        "error": session_pipeline_host::fault::error_chain(error),
    });
    let audit = || -> Result<(), StoreError> {
        let (connection, checkpoints) = connect(path, options)?;
        let writer = Writer::new(connection, Commits::uncounted(), Arc::new(checkpoints));
        match has_audit_log(&writer) {
            true => audit_upgrade(&writer, &params, "failed", now),
            false => Ok(()),
        }
    };
    if let Err(error) = audit() {
        tracing::warn!("cannot record the failed upgrade in the audit log: {error}");
    }
}

/// Whether the tables exist that an audit entry needs.
fn has_audit_log(connection: &Connection) -> bool {
    let sql = "SELECT count(*) = 2 FROM duckdb_tables() WHERE database_name = current_database() \
               AND schema_name = 'main' AND table_name IN ('audit_log', 'counters')";
    connection
        .query_row(sql, [], |row| row.get(0))
        .unwrap_or(false)
}

/// The steps that a migration would run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MigrationPlan {
    /// The current version. `None` if there is no database.
    pub version_before: Option<u32>,
    /// The pending steps, each with number and name.
    pub pending: Vec<String>,
    /// Tables that would be renamed, and their new names.
    pub renamed: Vec<(String, String)>,
}

/// Checks that the files DuckDB opens are regular. It would block indefinitely on a FIFO.
fn check_files(database_path: &Path) -> Result<(), StoreError> {
    let temporary = temporary_path(database_path);
    for path in [
        database_path.to_owned(),
        wal_path(database_path),
        wal_path(&temporary),
        temporary,
    ] {
        regular::check(&path).map_err(|source| StoreError::Io { path, source })?;
    }
    Ok(())
}

/// The temporary path of a new database.
fn temporary_path(database_path: &Path) -> PathBuf {
    let mut temporary = database_path.as_os_str().to_owned();
    temporary.push(".new");
    PathBuf::from(temporary)
}

/// Memory per byte of log that is always enough to replay the log.
const MEMORY_PER_LOG_BYTE: u64 = 4;

/// Migrates the schema. Backs up the blocks that the checkpoints of the migration can overwrite.
fn migrate(
    connection: &mut Connection,
    path: &Path,
    checkpoints: &Checkpoints,
    now: UtcMicros,
    to: Option<u32>,
) -> Result<migrations::MigrationReport, StoreError> {
    let second = connection
        .try_clone()
        .map_err(StoreError::database("open a second connection"))?;
    let mut failure = None;
    let mut observer = |point: &migrations::Point| {
        kill_point("migration");
        let backed_up = match (&point.action, point.moment) {
            (migrations::Action::Checkpoint, migrations::Moment::Before) => {
                checkpoints.back_up_blocks(&second)
            }
            (migrations::Action::Checkpoint, migrations::Moment::After) => {
                checkpoints.clear_backup()
            }
            _ => Ok(()),
        };
        backed_up.map_err(|error| {
            failure = Some(error);
            migrations::StopMigration
        })
    };
    let applied = migrations::apply(
        connection,
        migrations::MigrationOptions {
            now_micros: now.0,
            to,
            observer: Some(&mut observer),
        },
    );
    match failure {
        Some(error) => Err(error),
        None => applied.map_err(|source| unmigrated(path, source)),
    }
}

/// Opens the database. If its schema is outdated, backs up the file and migrates it. A database
/// that was just created is current.
fn open_and_migrate(
    path: &Path,
    options: &StoreOptions,
    now: UtcMicros,
    version: Option<u32>,
    created: Option<migrations::MigrationReport>,
    opened: &mut OpenReport,
) -> Result<(Connection, Checkpoints), StoreError> {
    let migration = |source| unmigrated(path, source);
    let (mut connection, mut checkpoints) = connect(path, options)?;
    let status = migrations::status(&connection).map_err(migration)?;
    opened.version_before = status.version().filter(|_| created.is_none());
    let has_pending = !status.plan(version).map_err(migration)?.is_empty();
    if let Some(version) = status.version().filter(|_| has_pending) {
        // No other handle can be open while the file is copied, because closing one releases
        // DuckDB's lock.
        connection
            .close()
            .map_err(|(_, source)| StoreError::Database {
                action: "close the database",
                source,
            })?;
        drop(checkpoints);
        kill_point("before database backup");
        opened.backup = Some(back_up(path, version)?);
        kill_point("after database backup");
        (connection, checkpoints) = connect(path, options)?;
    }
    let applied = match created {
        Some(applied) => Some(applied),
        None if has_pending => {
            let applied = migrate(&mut connection, path, &checkpoints, now, version)?;
            Some(applied)
        }
        // The status has verified the tables.
        None => None,
    };
    if let Some(applied) = applied {
        opened.applied = applied.applied;
        let renamed = applied.renamed.into_iter();
        opened.renamed = renamed.map(|renamed| (renamed.from, renamed.to)).collect();
    }
    Ok((connection, checkpoints))
}

/// Opens the database file and prepares its checkpoints.
fn connect(path: &Path, options: &StoreOptions) -> Result<(Connection, Checkpoints), StoreError> {
    undo_interrupted(path)?;
    // Set threads and memory before the file is opened, because they also apply to the replay of
    // the log. With too little memory for its log, the database could never be opened again.
    let log_bytes = fs::metadata(wal_path(path)).map_or(0, |log| log.len());
    let normal = options.memory_bytes;
    let initial = normal.max(log_bytes.saturating_mul(MEMORY_PER_LOG_BYTE));
    let settings =
        settings(options, initial).map_err(StoreError::database("apply the database settings"))?;
    let connection =
        Connection::open_with_flags(path, settings).map_err(|error| open_error(path, error))?;
    connection
        .execute_batch("PRAGMA disable_checkpoint_on_shutdown")
        .map_err(StoreError::database("apply the database settings"))?;
    let checkpoints = Checkpoints::of(path)?;
    if initial > normal {
        // Move the log to the file, where it needs no memory.
        checkpoints.run(&connection)?;
        connection
            .execute_batch(&format!("SET memory_limit = '{normal}B'"))
            .map_err(StoreError::database(
                "reset the memory limit of the database",
            ))?;
    }
    Ok((connection, checkpoints))
}

/// The DuckDB settings of every database that this program opens.
///
/// # Errors
/// This version of DuckDB does not have a setting.
pub fn settings(options: &StoreOptions, memory_bytes: u64) -> duckdb::Result<DatabaseConfig> {
    DatabaseConfig::default()
        .threads(1)?
        .max_memory(&format!("{memory_bytes}B"))?
        .enable_autoload_extension(false)?
        .with("autoinstall_known_extensions", "false")?
        // Applies to new files. In older formats, a log does not identify its database and state,
        // so DuckDB would replay the log of another database.
        .with("storage_compatibility_version", "v1.5.0")?
        // Disables automatic checkpoints: see the module `checkpoint`.
        .with("checkpoint_threshold", "1000TB")?
        // Reports over many millions of messages need more memory than the limit.
        .with("temp_directory", options.spill_dir().to_string_lossy())?
        .with("max_temp_directory_size", SPILL_MAX)
}

/// Creates a new database. It appears atomically, with all its tables, because an incomplete file
/// would be indistinguishable from a database that lost data.
fn create(
    path: &Path,
    options: &StoreOptions,
    now: UtcMicros,
    to: Option<u32>,
) -> Result<migrations::MigrationReport, StoreError> {
    let temporary = temporary_path(path);
    // The first two paths are left over from an interrupted creation. The log and the block backup
    // belong to a deleted database and must not be applied to the new one.
    for path in [
        temporary.clone(),
        wal_path(&temporary),
        wal_path(path),
        backup_path(path),
    ] {
        match fs::remove_file(&path) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                return Err(StoreError::Io { path, source });
            }
            _ => {}
        }
    }
    let settings = settings(options, options.memory_bytes);
    let settings = settings.map_err(StoreError::database("apply the database settings"))?;
    let mut created = Connection::open_with_flags(&temporary, settings)
        .map_err(|error| open_error(&temporary, error))?;
    let mut observer = |_: &migrations::Point| {
        kill_point("migration");
        Ok(())
    };
    let options = migrations::MigrationOptions {
        now_micros: now.0,
        to,
        observer: Some(&mut observer),
    };
    let applied =
        migrations::create(&mut created, options).map_err(|source| unmigrated(path, source))?;
    created
        .close()
        .map_err(|(_, error)| StoreError::database("close the database")(error))?;
    kill_point("before database rename");
    modes::private_file(&temporary).map_err(|source| StoreError::Io {
        path: temporary.clone(),
        source,
    })?;
    fs::rename(&temporary, path).map_err(|source| StoreError::Io {
        path: path.to_owned(),
        source,
    })?;
    Ok(applied)
}

/// Converts a migration error. If the file cannot be read, it is damaged.
fn unmigrated(path: &Path, source: migrations::MigrationError) -> StoreError {
    match source {
        migrations::MigrationError::Read { source, .. } if is_damage(&source.to_string()) => {
            StoreError::Damaged(*source)
        }
        source => StoreError::Migration {
            path: path.to_owned(),
            source,
        },
    }
}

/// Converts an error of opening a file, based on its text.
fn open_error(path: &Path, source: duckdb::Error) -> StoreError {
    let text = source.to_string();
    let path = path.to_owned();
    if let Some(holder) = holder_of(&text) {
        StoreError::OpenElsewhere { path, holder }
    } else if text.contains("created with a newer version of DuckDB") {
        StoreError::NewerDuckDb { path, source }
    } else if is_damage(&text) {
        StoreError::Damaged(source)
    } else if text.contains("Out of Memory") {
        StoreError::MemoryLimitTooLow(source)
    } else if text.contains("WAL does not match") || text.contains("WAL checkpoint iteration") {
        let path = wal_path(&path);
        StoreError::ForeignLog { path, source }
    } else if text.contains("WAL") {
        let path = wal_path(&path);
        StoreError::DamagedLog { path, source }
    } else {
        StoreError::CannotOpen { path, source }
    }
}

/// The program that has the file open, parsed from DuckDB's text: `…: Conflicting lock is held in
/// PROGRAM (PID n)…`.
fn holder_of(error: &str) -> Option<String> {
    let (_, reason) = error.split_once("Could not set lock on file")?;
    let conflict = reason.split_once("Conflicting lock is held in ");
    let program = conflict.and_then(|(_, rest)| rest.split_once(')'));
    Some(match program {
        Some((program, _)) => session_pipeline_host::fault::printable(&format!("{program})")),
        None => "another program".to_owned(),
    })
}

/// More than a report over a hundred million messages needs, and small enough for any disk.
const SPILL_MAX: &str = "8GB";

/// Deletes temporary data of a process that was killed during a statement. Requires our lock.
fn discard_spill(options: &StoreOptions) -> Result<(), StoreError> {
    let path = options.spill_dir();
    match fs::remove_dir_all(&path) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
            Err(StoreError::Io { path, source })
        }
        _ => Ok(()),
    }
}

/// The prefix of export files that are still being transferred.
pub const EXPORT_PREFIX: &str = ".export-";

/// Deletes exports that were not fetched. Requires our lock.
fn discard_exports(folder: &Path) -> Result<(), StoreError> {
    let io = |source| StoreError::Io {
        path: folder.to_owned(),
        source,
    };
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(io)?,
    };
    for entry in entries {
        let entry = entry.map_err(io)?;
        if entry
            .file_name()
            .to_string_lossy()
            .starts_with(EXPORT_PREFIX)
        {
            fs::remove_file(entry.path()).map_err(io)?;
        }
    }
    Ok(())
}

/// Prevents all later statements from accessing files other than the database.
fn lock_down(connection: &Connection, export_dir: &Path) -> Result<(), StoreError> {
    let folder = export_dir.to_string_lossy().replace('\'', "''");
    connection
        .execute_batch(&format!(
            "SET allowed_directories = ['{folder}']; SET enable_external_access = false; SET lock_configuration = true"
        ))
        .map_err(StoreError::database("lock the database configuration"))
}

/// Copies a closed database to a file next to it. The copy is atomic.
fn back_up(path: &Path, version: u32) -> Result<PathBuf, StoreError> {
    let copy = path.with_file_name(format!("system.duckdb.before-upgrade-from-{version}"));
    for (from, to) in [
        (path.to_owned(), copy.clone()),
        (wal_path(path), wal_path(&copy)),
    ] {
        let at = |source| StoreError::Io {
            path: to.clone(),
            source,
        };
        if !from.exists() {
            // A log of an earlier backup would belong to another database.
            match fs::remove_file(&to) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(at(error));
                }
                _ => continue,
            }
        }
        let mut temporary = to.as_os_str().to_owned();
        temporary.push(".part");
        fs::copy(&from, &temporary)
            .and_then(|_| fs::File::open(&temporary)?.sync_all())
            .and_then(|()| fs::rename(&temporary, &to))
            .map_err(at)?;
    }
    Ok(copy)
}

// This promise cannot be tested from outside, because no statement of a user ever runs.
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn once_locked_down_no_statement_reaches_a_file_or_opens_the_lock_again() {
        let dir = tempfile::tempdir().unwrap();
        let options = StoreOptions::new(dir.path());
        fs::write(dir.path().join("secret.csv"), "a\n1\n").unwrap();
        let store = Store::open(&options, UtcMicros(0)).unwrap();
        let path = dir.path().display();
        let statements = [
            format!("SELECT * FROM read_csv('{path}/secret.csv')"),
            format!("SELECT * FROM read_text('{path}/state/lock')"),
            format!("SELECT * FROM '{path}/secret.csv'"),
            format!("SELECT * FROM glob('{path}/*')"),
            format!("COPY (SELECT 1) TO '{path}/stolen.csv'"),
            format!("ATTACH '{path}/other.duckdb'"),
            format!("EXPORT DATABASE '{path}/all'"),
            "INSTALL httpfs".to_owned(),
            "LOAD httpfs".to_owned(),
            "SET enable_external_access = true".to_owned(),
            "SET lock_configuration = false".to_owned(),
            format!("SET allowed_directories = ['{path}']"),
            "SET memory_limit = '64GB'".to_owned(),
        ];
        let reader = store.reader().unwrap();
        for statement in &statements {
            assert!(
                reader.execute_batch(statement).is_err(),
                "a reader runs `{statement}`"
            );
        }
        let allowed = store.write(move |connection| {
            let is_run = |statement: &String| connection.execute_batch(statement).is_ok();
            Ok(statements.into_iter().filter(is_run).collect::<Vec<_>>())
        });
        assert_eq!(allowed.unwrap(), [""; 0], "nor does the writer");

        fs::create_dir(dir.path().join("export")).unwrap();
        let export = format!("COPY (SELECT 1 AS a) TO '{path}/export/usage.csv'");
        reader.execute_batch(&export).unwrap();
        assert!(
            dir.path().join("export/usage.csv").exists(),
            "exports have their folder"
        );
    }
}
