//! Opening the database of a data dir: lock, copy before an upgrade, migrations, lockdown.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use duckdb::{Config as DatabaseConfig, Connection};
use session_pipeline_host::clock::UtcMicros;
use session_pipeline_host::regular;
use session_pipeline_migrations as migrations;

use crate::audit::{Actor, AuditEntry, Audited, write_audit};
use crate::checkpoint::{Checkpoints, kept_beside, log_beside, undo_half_done};
use crate::error::{StoreError, is_damage};
use crate::kill_point::reached;
use crate::lock::DataDirLock;
use crate::lost_commits::make_good;
use crate::sequence::Commits;
use crate::store::{Opened, Store};
use crate::transaction::{Writer, in_transaction};
use crate::{modes, runs};

/// Where a database is, and how much memory it can use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreOptions {
    /// The data directory. The database is in `state/` below it.
    pub data_dir: PathBuf,
    /// Memory of the buffer pool, in bytes.
    pub memory_bytes: u64,
    /// Sessions that one transaction can commit: a lost commit had assigned up to this many numbers.
    pub group_sessions_max: usize,
}

impl StoreOptions {
    /// The defaults for a data directory.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            memory_bytes: 256 << 20,
            group_sessions_max: 100,
        }
    }

    /// The folder of everything that the store writes.
    pub fn state_dir(&self) -> PathBuf {
        self.data_dir.join("state")
    }

    /// Where the database puts what does not fit into its memory while a statement runs.
    pub fn spill_dir(&self) -> PathBuf {
        self.state_dir().join("spill")
    }

    /// The only other folder into which the database can write files.
    pub fn export_dir(&self) -> PathBuf {
        self.data_dir.join("export")
    }
}

impl Store {
    /// Opens the database of a data dir, making it where there is none and bringing it up to date.
    ///
    /// # Errors
    /// When another process holds it, it can't be read or written, or its version does not fit.
    pub fn open(options: &StoreOptions, now: UtcMicros) -> Result<Self, StoreError> {
        Self::open_at(options, now, None)
    }

    /// As [`Store::open`], for those who only ask: `None` where there is no database yet, and then
    /// none is made.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open_existing(
        options: &StoreOptions,
        now: UtcMicros,
    ) -> Result<Option<Self>, StoreError> {
        let path = options.state_dir().join("system.duckdb");
        // What may not be looked at is no absence.
        match path.try_exists() {
            Ok(true) => Self::open(options, now).map(Some),
            Ok(false) => Ok(None),
            // A file in the place of the folder is no absence either.
            Err(source) => {
                let path = match source.kind() {
                    std::io::ErrorKind::NotADirectory => options.state_dir(),
                    _ => path,
                };
                Err(StoreError::Io { path, source })
            }
        }
    }

    /// As [`Store::open`], up to a version of the schema: for the operator's `migrate --to`.
    ///
    /// # Errors
    /// As [`Store::open`].
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
        modes::close_below(&state_dir, was_open);
        discard_spill(options)?;
        discard_exports(&export_dir)?;
        let mut opened = Opened::default();
        let made = match path.exists() {
            true => None,
            false => Some(make(&path, options, now, version)?),
        };
        let ready = bring_up(&path, options, now, version, made, &mut opened);
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
                make_good(connection, opened.lost_commits, options.group_sessions_max)
            })?;
        }
        // A schema that `migrate --to` stops at can be older than the audit log.
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

    /// What a migration would do, without doing it.
    ///
    /// # Errors
    /// As [`Store::open_at`].
    pub fn plan_migration(
        options: &StoreOptions,
        to: Option<u32>,
    ) -> Result<MigrationPlan, StoreError> {
        let state_dir = options.state_dir();
        let path = state_dir.join("system.duckdb");
        let migration = |source| unmigrated(&path, source);
        // A database that is not there yet is not made by asking.
        let (_held, connection) = if path.exists() {
            let lock = DataDirLock::take(&options.data_dir, &state_dir)?;
            check_files(&path)?;
            let (connection, checkpoints) = connect(&path, options)?;
            (Some((checkpoints, lock)), connection)
        } else {
            let in_memory = Connection::open_in_memory();
            (
                None,
                in_memory.map_err(StoreError::database("to open in memory"))?,
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

/// Leaves an audit row of an upgrade.
fn audit_upgrade(
    writer: &Writer,
    params: &serde_json::Value,
    result: &str,
    now: UtcMicros,
) -> Result<(), StoreError> {
    let audited = Audited {
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

/// Whether it was the upgrade that failed, of a database that is ours to write.
fn has_failed_to_upgrade(opened: &Opened, error: &StoreError) -> bool {
    use migrations::MigrationError::{Check, Checkpoint, Held, Shape, Step};
    match error {
        StoreError::Migration { source, .. } => match source {
            Shape { number, .. } => *number < migrations::CURRENT,
            Held { .. } | Check { .. } | Step { .. } | Checkpoint { .. } => true,
            _ => false,
        },
        // The copy of the database, or of the blocks that a checkpoint writes over.
        StoreError::Io { .. } => opened
            .version_before
            .is_some_and(|version| version < migrations::CURRENT),
        _ => false,
    }
}

/// Leaves an audit row of an upgrade that failed, where the database can be written and already has an
/// audit log.
fn audit_failed_upgrade(
    path: &Path,
    options: &StoreOptions,
    opened: &Opened,
    now: UtcMicros,
    error: &StoreError,
) {
    let params = serde_json::json!({
        "from": opened.version_before,
        "error": session_pipeline_host::fault::chain(error),
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
        tracing::warn!("the failed upgrade is missing in the audit log: {error}");
    }
}

/// Whether there are the tables that an audit row is written to.
fn has_audit_log(connection: &Connection) -> bool {
    let sql = "SELECT count(*) = 2 FROM duckdb_tables() WHERE database_name = current_database() \
               AND schema_name = 'main' AND table_name IN ('audit_log', 'counters')";
    connection
        .query_row(sql, [], |row| row.get(0))
        .unwrap_or(false)
}

/// What a migration would do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MigrationPlan {
    /// The version now; `None` where there is no database.
    pub version_before: Option<u32>,
    /// The steps ahead: number and name.
    pub pending: Vec<String>,
    /// Tables that would be renamed, with their new names.
    pub renamed: Vec<(String, String)>,
}

/// What DuckDB opens has to be regular files: it would wait for ever for the other end of a FIFO.
fn check_files(database_path: &Path) -> Result<(), StoreError> {
    let unnamed = unnamed_beside(database_path);
    for path in [
        database_path.to_owned(),
        log_beside(database_path),
        log_beside(&unnamed),
        unnamed,
    ] {
        regular::check(&path).map_err(|source| StoreError::Io { path, source })?;
    }
    Ok(())
}

/// Where a new database is made before it has its name.
fn unnamed_beside(database_path: &Path) -> PathBuf {
    let mut unnamed = database_path.as_os_str().to_owned();
    unnamed.push(".new");
    PathBuf::from(unnamed)
}

/// So much memory is enough to replay a log of one byte, with room to spare.
const MEMORY_PER_LOG_BYTE: u64 = 4;

/// Brings the shape up to date; what its checkpoints may write over is kept, as at all others, where
/// there is anything to lose.
fn migrate(
    connection: &mut Connection,
    path: &Path,
    checkpoints: Option<&Checkpoints>,
    now: UtcMicros,
    to: Option<u32>,
) -> Result<migrations::Applied, StoreError> {
    let beside = connection
        .try_clone()
        .map_err(StoreError::database("a second connection"))?;
    let mut refused = None;
    let mut observer = |point: &migrations::Point| {
        reached("migration");
        let kept = match (checkpoints, &point.action, point.moment) {
            (Some(checkpoints), migrations::Action::Checkpoint, migrations::Moment::Before) => {
                checkpoints.keep(&beside)
            }
            (Some(checkpoints), migrations::Action::Checkpoint, migrations::Moment::After) => {
                checkpoints.forget()
            }
            _ => Ok(()),
        };
        kept.map_err(|error| {
            refused = Some(error);
            migrations::Interrupted
        })
    };
    let applied = migrations::apply(
        connection,
        migrations::Apply {
            now_micros: now.0,
            to,
            observer: Some(&mut observer),
        },
    );
    match refused {
        Some(refused) => Err(refused),
        None => applied.map_err(|source| unmigrated(path, source)),
    }
}

/// Opens the database, and brings its shape up to date after it was copied aside. One that was
/// `made` just now has it.
fn bring_up(
    path: &Path,
    options: &StoreOptions,
    now: UtcMicros,
    version: Option<u32>,
    made: Option<migrations::Applied>,
    opened: &mut Opened,
) -> Result<(Connection, Checkpoints), StoreError> {
    let migration = |source| unmigrated(path, source);
    let (mut connection, mut checkpoints) = connect(path, options)?;
    let status = migrations::status(&connection).map_err(migration)?;
    opened.version_before = status.version().filter(|_| made.is_none());
    let is_behind = !status.plan(version).map_err(migration)?.is_empty();
    if let Some(version) = status.version().filter(|_| is_behind) {
        // No other handle may be open on the file while it is copied: closing one drops
        // DuckDB's lock.
        connection
            .close()
            .map_err(|(_, source)| StoreError::Database {
                doing: "closing",
                source,
            })?;
        drop(checkpoints);
        reached("database to be copied");
        opened.copy = Some(copy_aside(path, version)?);
        reached("database copied");
        (connection, checkpoints) = connect(path, options)?;
    }
    let applied = match made {
        Some(applied) => applied,
        None => migrate(&mut connection, path, Some(&checkpoints), now, version)?,
    };
    opened.applied = applied.applied;
    opened.renamed = applied
        .renamed
        .into_iter()
        .map(|aside| (aside.from, aside.to))
        .collect();
    Ok((connection, checkpoints))
}

/// Opens the file, and what makes its checkpoints.
fn connect(path: &Path, options: &StoreOptions) -> Result<(Connection, Checkpoints), StoreError> {
    undo_half_done(path)?;
    // Threads and memory are set before the file is opened: replaying a log obeys them too. A
    // database whose log wants more memory than it may have could never be opened again.
    let log_bytes = fs::metadata(log_beside(path)).map_or(0, |log| log.len());
    let usual = options.memory_bytes;
    let at_first = usual.max(log_bytes.saturating_mul(MEMORY_PER_LOG_BYTE));
    let settings = settings(options, at_first).map_err(StoreError::database("its settings"))?;
    let connection =
        Connection::open_with_flags(path, settings).map_err(|error| refused(path, error))?;
    connection
        .execute_batch("PRAGMA disable_checkpoint_on_shutdown")
        .map_err(StoreError::database("its settings"))?;
    let checkpoints = Checkpoints::of(path)?;
    if at_first > usual {
        // In the file it takes no memory.
        checkpoints.make(&connection)?;
        connection
            .execute_batch(&format!("SET memory_limit = '{usual}B'"))
            .map_err(StoreError::database("its usual memory"))?;
    }
    Ok((connection, checkpoints))
}

/// How every database of ours is opened, whoever opens it.
///
/// # Errors
/// When this DuckDB has no such setting.
pub fn settings(options: &StoreOptions, memory_bytes: u64) -> duckdb::Result<DatabaseConfig> {
    DatabaseConfig::default()
        .threads(1)?
        .max_memory(&format!("{memory_bytes}B"))?
        .enable_autoload_extension(false)?
        .with("autoinstall_known_extensions", "false")?
        // For a new file. In older forms no log says of which database it is, and in which state of it:
        // that of another one would be replayed into this.
        .with("storage_compatibility_version", "v1.5.0")?
        // None but our own: see `checkpoint`.
        .with("checkpoint_threshold", "1000TB")?
        // Reports over many millions of messages group more than memory may hold.
        .with("temp_directory", options.spill_dir().to_string_lossy())?
        .with("max_temp_directory_size", SPILL_MAX)
}

/// Makes a new database, there in one moment with all its tables: of a file that is half made nobody
/// could say that nothing is lost with it.
fn make(
    path: &Path,
    options: &StoreOptions,
    now: UtcMicros,
    to: Option<u32>,
) -> Result<migrations::Applied, StoreError> {
    let unnamed = unnamed_beside(path);
    // The first two are left of one whose making was cut off. The log of a database that is gone, and
    // the blocks kept of it, can't be of this one, however alike its headers are.
    for path in [
        unnamed.clone(),
        log_beside(&unnamed),
        log_beside(path),
        kept_beside(path),
    ] {
        match fs::remove_file(&path) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                return Err(StoreError::Io { path, source });
            }
            _ => {}
        }
    }
    let settings = settings(options, options.memory_bytes);
    let settings = settings.map_err(StoreError::database("its settings"))?;
    let mut made = Connection::open_with_flags(&unnamed, settings)
        .map_err(|error| refused(&unnamed, error))?;
    let applied = migrate(&mut made, path, None, now, to)?;
    made.close()
        .map_err(|(_, error)| StoreError::database("closing")(error))?;
    reached("database to be named");
    modes::private_file(&unnamed).map_err(|source| StoreError::Io {
        path: unnamed.clone(),
        source,
    })?;
    fs::rename(&unnamed, path).map_err(|source| StoreError::Io {
        path: path.to_owned(),
        source,
    })?;
    Ok(applied)
}

/// Why the shape is not what it should be: a file that can't be read has none at all.
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

/// Why DuckDB does not open a file, by its words.
fn refused(path: &Path, source: duckdb::Error) -> StoreError {
    let text = source.to_string();
    let path = path.to_owned();
    if let Some(holder) = holder_of(&text) {
        StoreError::OpenElsewhere { path, holder }
    } else if text.contains("created with a newer version of DuckDB") {
        StoreError::NewerDuckDb { path, source }
    } else if is_damage(&text) {
        StoreError::Damaged(source)
    } else if text.contains("Out of Memory") {
        StoreError::TooLittleMemory(source)
    } else if text.contains("WAL does not match") || text.contains("WAL checkpoint iteration") {
        let path = log_beside(&path);
        StoreError::LogOfAnother { path, source }
    } else if text.contains("WAL") {
        let path = log_beside(&path);
        StoreError::DamagedLog { path, source }
    } else {
        StoreError::NotOpened { path, source }
    }
}

/// Who has the file open, as DuckDB words it: `…: Conflicting lock is held in PROGRAM (PID n)…`.
fn holder_of(error: &str) -> Option<String> {
    let (_, reason) = error.split_once("Could not set lock on file")?;
    let told = reason.split_once("Conflicting lock is held in ");
    let program = told.and_then(|(_, rest)| rest.split_once(')'));
    Some(match program {
        Some((program, _)) => session_pipeline_host::fault::printable(&format!("{program})")),
        None => "another program".to_owned(),
    })
}

/// More than a report over a hundred million messages needs, and less than a disk misses.
const SPILL_MAX: &str = "8GB";

/// What a process left that was killed in the middle of a statement. Only under our lock.
fn discard_spill(options: &StoreOptions) -> Result<(), StoreError> {
    let path = options.spill_dir();
    match fs::remove_dir_all(&path) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
            Err(StoreError::Io { path, source })
        }
        _ => Ok(()),
    }
}

/// How files begin that are exports on their way to somebody.
pub const EXPORT_PREFIX: &str = ".export-";

/// The same for exports that nobody fetched any more.
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

/// From here on no statement can reach a file beside the database, whatever it says.
fn lock_down(connection: &Connection, export_dir: &Path) -> Result<(), StoreError> {
    let folder = export_dir.to_string_lossy().replace('\'', "''");
    connection
        .execute_batch(&format!(
            "SET allowed_directories = ['{folder}']; SET enable_external_access = false; SET lock_configuration = true"
        ))
        .map_err(StoreError::database("to be locked down"))
}

/// Copies a closed database beside itself, complete or not at all.
fn copy_aside(path: &Path, version: u32) -> Result<PathBuf, StoreError> {
    let copy = path.with_file_name(format!("system.duckdb.before-upgrade-from-{version}"));
    for (from, to) in [
        (path.to_owned(), copy.clone()),
        (log_beside(path), log_beside(&copy)),
    ] {
        let at = |source| StoreError::Io {
            path: to.clone(),
            source,
        };
        if !from.exists() {
            // A log left by an earlier copy would belong to another database.
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

// The one promise of this room that nobody outside can try: no statement of theirs ever runs.
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
