//! The bytes of a transcript, at any offset. Those of a compressed transcript are decompressed first.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::sync::{Arc, Mutex, PoisonError};

use session_pipeline_host::content::decompress;
use session_pipeline_host::sessions::FileStat;

use super::DECOMPRESSED_BYTES_MAX;

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
    /// The decompressed bytes.
    pub(super) file: Arc<File>,
    /// The length in bytes.
    pub(super) size: u64,
    /// The version of the stored file.
    pub(super) version: FileVersion,
}

/// The latest decompressed content, because a reader goes from page to page.
#[derive(Debug, Default)]
pub(super) struct DecompressedContent(Mutex<Option<TranscriptContent>>);

impl DecompressedContent {
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
            return Ok(TranscriptContent {
                file: Arc::new(file),
                size: stat.size,
                version,
            });
        }
        // Locked while it decompresses, so that concurrent readers do not fill the memory.
        let mut latest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(content) = latest.as_ref().filter(|latest| latest.version == version) {
            return Ok(content.clone());
        }
        *latest = None;
        let file = decompress(file, DECOMPRESSED_BYTES_MAX)?;
        let content = TranscriptContent {
            size: file.metadata()?.len(),
            file: Arc::new(file),
            version,
        };
        *latest = Some(content.clone());
        Ok(content)
    }
}
