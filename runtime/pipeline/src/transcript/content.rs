//! The bytes of a transcript, at any offset. A compressed transcript is decompressed first, and one
//! object of many lines is converted to lines.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::sync::{Arc, Mutex, PoisonError};

use session_pipeline_host::content::{decompress, in_memory};
use session_pipeline_host::sessions::FileStat;

use super::DECOMPRESSED_BYTES_MAX;
use super::agents::{TranscriptFormat, beginning_of};
use super::document::{DOCUMENT_BYTES_MAX, to_lines};
use super::lines::read_at;

/// The version of a file that an index describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileVersion {
    device: u64,
    inode: u64,
    stat: FileStat,
}

impl FileVersion {
    /// Whether appending can have turned this version into the other one.
    pub(super) fn can_become(&self, other: &Self) -> bool {
        let has_grown = self.stat.size < other.stat.size
            && !self.stat.is_compressed
            && !other.stat.is_compressed;
        (self.device, self.inode) == (other.device, other.inode)
            && (self.stat == other.stat || has_grown)
    }
}

/// The content of a transcript.
#[derive(Clone, Debug)]
pub(super) struct TranscriptContent {
    /// The lines.
    pub(super) file: Arc<File>,
    /// The length in bytes.
    pub(super) size: u64,
    /// The format of the lines. Those of a short file can leave it open, and it can change.
    pub(super) format: TranscriptFormat,
    /// The version of the stored file.
    pub(super) version: FileVersion,
}

/// The latest content that was decompressed or converted, because a reader goes from page to page.
#[derive(Debug, Default)]
pub(super) struct ConvertedContent(Mutex<Option<TranscriptContent>>);

impl ConvertedContent {
    /// The content of an open file.
    ///
    /// # Errors
    /// The file cannot be read, or is compressed and damaged or too large.
    pub(super) fn of(&self, file: File, stat: FileStat) -> io::Result<TranscriptContent> {
        let metadata = file.metadata()?;
        let version = FileVersion {
            device: metadata.dev(),
            inode: metadata.ino(),
            stat,
        };
        if !stat.is_compressed {
            let beginning = beginning_of(&file, stat.size)?;
            if !is_document(&beginning, stat.size) {
                return Ok(TranscriptContent {
                    format: TranscriptFormat::of_beginning(&beginning),
                    file: Arc::new(file),
                    size: stat.size,
                    version,
                });
            }
        }
        // Locked while it is converted, so that concurrent readers do not fill the memory.
        let mut latest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(content) = latest.as_ref().filter(|latest| latest.version == version) {
            return Ok(content.clone());
        }
        *latest = None;
        let mut file = match stat.is_compressed {
            true => decompress(file, DECOMPRESSED_BYTES_MAX)?,
            false => file,
        };
        let size = match stat.is_compressed {
            true => file.metadata()?.len(),
            false => stat.size,
        };
        let beginning = beginning_of(&file, size)?;
        let is_document = is_document(&beginning, size);
        if is_document {
            let mut document = vec![0; usize::try_from(size).unwrap_or_default()];
            let read = read_at(&file, &mut document, 0)?;
            document.truncate(read);
            file = in_memory(&to_lines(&document))?;
        }
        let content = TranscriptContent {
            format: match is_document {
                true => TranscriptFormat::Gemini,
                false => TranscriptFormat::of_beginning(&beginning),
            },
            // Of a file that grows, only what was there is read.
            size: size.min(file.metadata()?.len()),
            file: Arc::new(file),
            version,
        };
        *latest = Some(content.clone());
        Ok(content)
    }
}

/// Whether a file with this beginning is one object of many lines, and not too long to be converted.
fn is_document(beginning: &[u8], size: u64) -> bool {
    size <= DOCUMENT_BYTES_MAX && TranscriptFormat::is_document(beginning)
}
