//! Checkpoints that no kill leaves half-done.
//!
//! DuckDB writes what is new into blocks that nobody needs, and then the header that points to them.
//! But a block of metadata with room in it is filled up where it stands, beside what the old header
//! still needs. The kernel gives a write up between two pages when its process is killed, and a
//! block that is half old and half new has a wrong checksum: nobody could ever open the file again.
//!
//! So these blocks are kept in a file of ours before each checkpoint. Where one was cut off, which
//! the headers tell since they are written last of all, they are put back before DuckDB opens the
//! file; it then finds the state before the checkpoint, and the log that belongs to it.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use duckdb::Connection;
use md5::{Digest as _, Md5};
use session_pipeline_host::regular;

use crate::error::StoreError;
use crate::kill_point::reached;

/// The file in `state`, empty between checkpoints.
const FILE: &str = "checkpoint";
/// What it begins with.
const MAGIC: &[u8; 8] = b"SPCKPT01";
/// Where the two headers stand that DuckDB writes in turn, and where they end and the blocks begin.
const HEADERS: std::ops::Range<u64> = 4096..12288;
const HEADERS_BYTES: usize = 8192;
const DIGEST_BYTES: usize = 16;
/// No block of DuckDB is larger: a file that says so is not ours.
const BLOCK_BYTES_MAX: u64 = 1 << 20;

/// The one way to a checkpoint of an open database.
#[derive(Debug)]
pub(crate) struct Checkpoints {
    /// A handle of our own. It must live as long as those of DuckDB: to close any handle on the file
    /// drops the lock that DuckDB holds on it.
    database: File,
    database_path: PathBuf,
    log_path: PathBuf,
    path: PathBuf,
}

impl Checkpoints {
    /// For a database that DuckDB has opened.
    pub(crate) fn of(database_path: &Path) -> Result<Self, StoreError> {
        let database = regular::open(database_path).map_err(at(database_path))?;
        Ok(Self {
            database,
            database_path: database_path.to_owned(),
            log_path: log_beside(database_path),
            path: kept_beside(database_path),
        })
    }

    /// Whether the database file is still where it was opened.
    pub(crate) fn is_in_place(&self) -> bool {
        let opened = self.database.metadata();
        match (opened, self.database_path.symlink_metadata()) {
            (Ok(opened), Ok(found)) => (opened.dev(), opened.ino()) == (found.dev(), found.ino()),
            _ => false,
        }
    }

    /// What the log holds that is not in the database file yet, in bytes.
    pub(crate) fn log_bytes(&self) -> Result<u64, StoreError> {
        match self.log_path.metadata() {
            Ok(log) => Ok(log.len()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
            Err(error) => Err(at(&self.log_path)(error)),
        }
    }

    /// Brings the log into the database file, unless somebody still reads an older state: then what
    /// was written before stays in the log, as safe as in the file, until a later checkpoint. To
    /// wait for readers would make every writer wait for the longest report.
    pub(crate) fn make(&self, connection: &Connection) -> Result<(), StoreError> {
        self.keep(connection)?;
        reached("checkpoint to be made");
        let done = connection.execute_batch("CHECKPOINT");
        reached("checkpoint made");
        match done {
            Err(error) if error.to_string().contains("Cannot CHECKPOINT") => {
                tracing::debug!("no checkpoint while older states are read");
            }
            // What it left is what is put back.
            Err(error) => return Err(StoreError::database("a checkpoint")(error)),
            Ok(()) => {}
        }
        self.forget()
    }

    /// Keeps the blocks that a checkpoint may write over.
    pub(crate) fn keep(&self, connection: &Connection) -> Result<(), StoreError> {
        reached("blocks to be kept");
        let refused = StoreError::database("to list its metadata");
        let block_bytes: u64 = connection
            .query_row("SELECT block_size FROM pragma_database_size()", [], |row| {
                row.get(0)
            })
            .map_err(&refused)?;
        let blocks: Vec<u64> = connection
            .prepare("SELECT block_id FROM pragma_metadata_info() WHERE free_blocks > 0")
            .and_then(|mut statement| statement.query_map([], |row| row.get(0))?.collect())
            .map_err(&refused)?;
        self.write(block_bytes, &blocks).map_err(at(&self.path))
    }

    fn write(&self, block_bytes: u64, blocks: &[u64]) -> io::Result<()> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let file = regular::open_with(&mut options, &self.path)?;
        let mut kept = Digested::to(BufWriter::new(&file));
        kept.write_all(MAGIC)?;
        let mut block = vec![0; HEADERS_BYTES];
        self.database.read_exact_at(&mut block, HEADERS.start)?;
        kept.write_all(&block)?;
        kept.write_all(&block_bytes.to_le_bytes())?;
        kept.write_all(&(blocks.len() as u64).to_le_bytes())?;
        block.resize(usize::try_from(block_bytes).map_err(io::Error::other)?, 0);
        for id in blocks {
            let offset = offset_of(*id, block_bytes).ok_or(io::ErrorKind::InvalidData)?;
            self.database.read_exact_at(&mut block, offset)?;
            kept.write_all(&offset.to_le_bytes())?;
            kept.write_all(&block)?;
        }
        let digest = kept.digest();
        kept.inner.write_all(&digest)?;
        kept.inner.flush()?;
        file.sync_data()
    }

    /// The checkpoint was made, or not begun: there is nothing to put back.
    pub(crate) fn forget(&self) -> Result<(), StoreError> {
        forget(&self.path).map_err(at(&self.path))
    }
}

fn forget(path: &Path) -> io::Result<()> {
    regular::open_with(OpenOptions::new().write(true), path)?.set_len(0)
}

fn at(path: &Path) -> impl Fn(io::Error) -> StoreError {
    move |source| StoreError::Io {
        path: path.to_owned(),
        source,
    }
}

/// The log of a database, where DuckDB keeps it.
pub(crate) fn log_beside(database_path: &Path) -> PathBuf {
    let mut name = database_path.as_os_str().to_owned();
    name.push(".wal");
    PathBuf::from(name)
}

/// Where the blocks of a database are kept while a checkpoint is made.
pub(crate) fn kept_beside(database_path: &Path) -> PathBuf {
    database_path.with_file_name(FILE)
}

fn offset_of(block: u64, block_bytes: u64) -> Option<u64> {
    block.checked_mul(block_bytes)?.checked_add(HEADERS.end)
}

/// Undoes a checkpoint that was cut off, before DuckDB opens the file. Done again, it does the same.
pub(crate) fn undo_half_done(database_path: &Path) -> Result<(), StoreError> {
    let path = kept_beside(database_path);
    let mut kept = match regular::open(&path) {
        Ok(kept) => kept,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(at(&path)(error)),
    };
    if kept.metadata().map_err(at(&path))?.len() == 0 {
        return Ok(());
    }
    // One that has no end was cut off itself, before the checkpoint began.
    if is_whole(&mut kept).map_err(at(&path))? {
        let mut options = OpenOptions::new();
        match regular::open_with(options.read(true).write(true), database_path) {
            Ok(database) => put_back(&mut kept, &database).map_err(at(database_path))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(at(database_path)(error)),
        }
    }
    forget(&path).map_err(at(&path))
}

fn is_whole(kept: &mut File) -> io::Result<bool> {
    let bytes = kept.metadata()?.len();
    let Some(digested) = bytes.checked_sub(DIGEST_BYTES as u64) else {
        return Ok(false);
    };
    let mut digest = Digested::to(io::sink());
    io::copy(&mut kept.take(digested), &mut digest)?;
    let mut told = [0; DIGEST_BYTES];
    kept.read_exact(&mut told)?;
    kept.seek(SeekFrom::Start(0))?;
    let mut magic = [0; MAGIC.len()];
    kept.read_exact(&mut magic)?;
    Ok(digest.digest() == told && magic == *MAGIC)
}

/// Puts blocks back where the headers are still those of before the checkpoint.
fn put_back(kept: &mut File, database: &File) -> io::Result<()> {
    let mut headers = [[0; HEADERS_BYTES]; 2];
    kept.read_exact(&mut headers[0])?;
    if let Err(error) = database.read_exact_at(&mut headers[1], HEADERS.start) {
        return match error.kind() {
            // Whatever it is, it is not the file that these blocks are from.
            io::ErrorKind::UnexpectedEof => Ok(()),
            _ => Err(error),
        };
    }
    if headers[0] != headers[1] {
        return Ok(());
    }
    let mut kept = io::BufReader::new(kept);
    let number = |from: &mut dyn Read| -> io::Result<u64> {
        let mut bytes = [0; 8];
        from.read_exact(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    };
    let block_bytes = number(&mut kept)?;
    if block_bytes > BLOCK_BYTES_MAX {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut block = vec![0; usize::try_from(block_bytes).map_err(io::Error::other)?];
    let blocks = number(&mut kept)?;
    for _ in 0..blocks {
        let offset = number(&mut kept)?;
        kept.read_exact(&mut block)?;
        database.write_all_at(&block, offset)?;
    }
    database.sync_data()?;
    tracing::info!(
        blocks,
        "a checkpoint of the database was cut off, and is undone; nothing is lost"
    );
    Ok(())
}

/// Writes on, and sums up what is written.
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
