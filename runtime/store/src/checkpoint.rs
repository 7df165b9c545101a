//! Checkpoints that survive a kill at any moment.
//!
//! DuckDB writes new data to unused blocks, and then a header that points to them. But it also
//! appends to metadata blocks that have free space, in place, next to data that the old header
//! still needs. When a process is killed, the kernel can stop a write between two pages. A block
//! that is half old and half new has a wrong checksum, and DuckDB can then never open the file
//! again.
//!
//! Therefore, these metadata blocks are copied to a backup file before each checkpoint. DuckDB
//! writes the headers last, so unchanged headers show that a checkpoint was interrupted. In that
//! case, the blocks are restored before DuckDB opens the file. DuckDB then finds the state before
//! the checkpoint and the log that belongs to it.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use duckdb::Connection;
use md5::{Digest as _, Md5};
use session_pipeline_host::regular;

use crate::error::StoreError;
use crate::kill_point::kill_point;

/// The backup file in `state`. Empty between checkpoints.
const FILE: &str = "checkpoint";
/// The first bytes of the backup file.
const MAGIC: &[u8; 8] = b"SPCKPT01";
/// The two headers, which DuckDB writes alternately. Blocks begin at the end of this range.
const HEADERS: std::ops::Range<u64> = 4096..12288;
const HEADERS_BYTES: usize = 8192;
const DIGEST_BYTES: usize = 16;
/// DuckDB has no larger blocks. A backup file with larger blocks is invalid.
const BLOCK_BYTES_MAX: u64 = 1 << 20;

/// Runs the checkpoints of an open database.
#[derive(Debug)]
pub(crate) struct Checkpoints {
    /// A file handle of our own. It must live as long as DuckDB's handles, because closing any
    /// handle on the file releases DuckDB's lock.
    database: File,
    database_path: PathBuf,
    log_path: PathBuf,
    path: PathBuf,
}

impl Checkpoints {
    /// Opens the database file. DuckDB must have opened it before.
    pub(crate) fn of(database_path: &Path) -> Result<Self, StoreError> {
        let database = regular::open(database_path).map_err(at(database_path))?;
        Ok(Self {
            database,
            database_path: database_path.to_owned(),
            log_path: wal_path(database_path),
            path: backup_path(database_path),
        })
    }

    /// Whether the database file is still at the path from which it was opened.
    pub(crate) fn is_in_place(&self) -> bool {
        let opened = self.database.metadata();
        match (opened, self.database_path.symlink_metadata()) {
            (Ok(opened), Ok(found)) => (opened.dev(), opened.ino()) == (found.dev(), found.ino()),
            _ => false,
        }
    }

    /// The size of the database file in bytes.
    pub(crate) fn file_bytes(&self) -> Result<u64, StoreError> {
        let metadata = self.database.metadata();
        Ok(metadata.map_err(at(&self.database_path))?.len())
    }

    /// The size of the write-ahead log in bytes, which is the data that is not in the database file
    /// yet.
    pub(crate) fn log_bytes(&self) -> Result<u64, StoreError> {
        match self.log_path.metadata() {
            Ok(log) => Ok(log.len()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
            Err(error) => Err(at(&self.log_path)(error)),
        }
    }

    /// Writes the log to the database file, unless a reader still uses an older state. In that
    /// case, the data stays in the log, where it is equally safe, until a later checkpoint. Waiting
    /// for readers would block every writer until the longest report is done.
    pub(crate) fn run(&self, connection: &Connection) -> Result<(), StoreError> {
        self.back_up_blocks(connection)?;
        kill_point("before checkpoint");
        let done = connection.execute_batch("CHECKPOINT");
        kill_point("after checkpoint");
        match done {
            Err(error) if error.to_string().contains("Cannot CHECKPOINT") => {
                tracing::debug!("skipped a checkpoint because a reader uses an older state");
            }
            // Keep the backup, which can now be restored.
            Err(error) => return Err(StoreError::database("run a checkpoint")(error)),
            Ok(()) => {}
        }
        self.clear_backup()
    }

    /// Copies the blocks that a checkpoint can overwrite to the backup file.
    pub(crate) fn back_up_blocks(&self, connection: &Connection) -> Result<(), StoreError> {
        kill_point("before block backup");
        let db_error = StoreError::database("list the metadata blocks");
        let block_bytes: u64 = connection
            .query_row("SELECT block_size FROM pragma_database_size()", [], |row| {
                row.get(0)
            })
            .map_err(&db_error)?;
        let blocks: Vec<u64> = connection
            .prepare("SELECT block_id FROM pragma_metadata_info() WHERE free_blocks > 0")
            .and_then(|mut statement| statement.query_map([], |row| row.get(0))?.collect())
            .map_err(&db_error)?;
        self.write(block_bytes, &blocks).map_err(at(&self.path))
    }

    fn write(&self, block_bytes: u64, blocks: &[u64]) -> io::Result<()> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let file = regular::open_with(&mut options, &self.path)?;
        let mut backup = Digested::to(BufWriter::new(&file));
        backup.write_all(MAGIC)?;
        let mut block = vec![0; HEADERS_BYTES];
        self.database.read_exact_at(&mut block, HEADERS.start)?;
        backup.write_all(&block)?;
        backup.write_all(&block_bytes.to_le_bytes())?;
        backup.write_all(&(blocks.len() as u64).to_le_bytes())?;
        block.resize(usize::try_from(block_bytes).map_err(io::Error::other)?, 0);
        for id in blocks {
            let offset = offset_of(*id, block_bytes).ok_or(io::ErrorKind::InvalidData)?;
            self.database.read_exact_at(&mut block, offset)?;
            backup.write_all(&offset.to_le_bytes())?;
            backup.write_all(&block)?;
        }
        let digest = backup.digest();
        backup.inner.write_all(&digest)?;
        backup.inner.flush()?;
        file.sync_data()
    }

    /// Clears the backup. Called after a checkpoint has finished or if it did not start.
    pub(crate) fn clear_backup(&self) -> Result<(), StoreError> {
        clear(&self.path).map_err(at(&self.path))
    }
}

fn clear(path: &Path) -> io::Result<()> {
    regular::open_with(OpenOptions::new().write(true), path)?.set_len(0)
}

fn at(path: &Path) -> impl Fn(io::Error) -> StoreError {
    move |source| StoreError::Io {
        path: path.to_owned(),
        source,
    }
}

/// The path of DuckDB's write-ahead log of a database.
pub(crate) fn wal_path(database_path: &Path) -> PathBuf {
    let mut name = database_path.as_os_str().to_owned();
    name.push(".wal");
    PathBuf::from(name)
}

/// The path of the backup file of a database.
pub(crate) fn backup_path(database_path: &Path) -> PathBuf {
    database_path.with_file_name(FILE)
}

fn offset_of(block: u64, block_bytes: u64) -> Option<u64> {
    block.checked_mul(block_bytes)?.checked_add(HEADERS.end)
}

/// Undoes an interrupted checkpoint, before DuckDB opens the file. Idempotent.
pub(crate) fn undo_interrupted(database_path: &Path) -> Result<(), StoreError> {
    let path = backup_path(database_path);
    let mut backup = match regular::open(&path) {
        Ok(backup) => backup,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(at(&path)(error)),
    };
    if backup.metadata().map_err(at(&path))?.len() == 0 {
        return Ok(());
    }
    // An incomplete backup was itself interrupted, before the checkpoint began.
    if is_complete(&mut backup).map_err(at(&path))? {
        let mut options = OpenOptions::new();
        match regular::open_with(options.read(true).write(true), database_path) {
            Ok(database) => restore(&mut backup, &database).map_err(at(database_path))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(at(database_path)(error)),
        }
    }
    clear(&path).map_err(at(&path))
}

fn is_complete(backup: &mut File) -> io::Result<bool> {
    let bytes = backup.metadata()?.len();
    let Some(digested) = bytes.checked_sub(DIGEST_BYTES as u64) else {
        return Ok(false);
    };
    let mut digest = Digested::to(io::sink());
    io::copy(&mut backup.take(digested), &mut digest)?;
    let mut expected = [0; DIGEST_BYTES];
    backup.read_exact(&mut expected)?;
    backup.seek(SeekFrom::Start(0))?;
    let mut magic = [0; MAGIC.len()];
    backup.read_exact(&mut magic)?;
    Ok(digest.digest() == expected && magic == *MAGIC)
}

/// Restores the blocks if the headers are still the ones from before the checkpoint.
fn restore(backup: &mut File, database: &File) -> io::Result<()> {
    let mut headers = [[0; HEADERS_BYTES]; 2];
    backup.read_exact(&mut headers[0])?;
    if let Err(error) = database.read_exact_at(&mut headers[1], HEADERS.start) {
        return match error.kind() {
            // The file is too short to be the one that was backed up.
            io::ErrorKind::UnexpectedEof => Ok(()),
            _ => Err(error),
        };
    }
    if headers[0] != headers[1] {
        return Ok(());
    }
    let mut backup = io::BufReader::new(backup);
    let number = |from: &mut dyn Read| -> io::Result<u64> {
        let mut bytes = [0; 8];
        from.read_exact(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    };
    let block_bytes = number(&mut backup)?;
    if block_bytes > BLOCK_BYTES_MAX {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut block = vec![0; usize::try_from(block_bytes).map_err(io::Error::other)?];
    let blocks = number(&mut backup)?;
    for _ in 0..blocks {
        let offset = number(&mut backup)?;
        backup.read_exact(&mut block)?;
        database.write_all_at(&block, offset)?;
    }
    database.sync_data()?;
    tracing::info!(
        blocks,
        "undid an interrupted checkpoint of the database; no data was lost"
    );
    Ok(())
}

/// Writes to `inner` and computes the MD5 of the written bytes.
struct Digested<W> {
    inner: W,
    sum: Md5,
}

impl<W: Write> Digested<W> {
    fn to(inner: W) -> Self {
        Self {
            inner,
            sum: Md5::new(),
        }
    }

    fn digest(&self) -> [u8; DIGEST_BYTES] {
        self.sum.clone().finalize().into()
    }
}

impl<W: Write> Write for Digested<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.sum.update(bytes.get(..written).unwrap_or(bytes));
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use duckdb::Connection;

    use crate::library::DUCKDB_VERSION;

    #[test]
    fn duckdb_has_the_version_whose_checkpoints_were_examined() {
        let version = Connection::open_in_memory().unwrap().version().unwrap();
        assert_eq!(
            version, DUCKDB_VERSION,
            "DuckDB has another version than the one that `checkpoint.rs` was written for. \
             In its source, check that: \
             1. the two headers are still at `HEADERS`, blocks follow them directly, and no block is \
             larger than `BLOCK_BYTES_MAX`; \
             2. a checkpoint still writes its header last, so that unchanged headers mean that it did \
             not finish; \
             3. the only used blocks that it overwrites are metadata blocks with free space \
             (`MetadataManager::Flush`), and `pragma_metadata_info()` still lists these with \
             `free_blocks > 0`; \
             4. a checkpoint that a reader prevents still fails with \"Cannot CHECKPOINT\" and writes \
             nothing; \
             5. `disable_checkpoint_on_shutdown` and `checkpoint_threshold` still prevent all other \
             checkpoints. \
             Then run `cargo xtask soak crash corruption`, read \"Why exactly DuckDB\" in \
             docs/decisions.md, and change `DUCKDB_VERSION`"
        );
    }
}
