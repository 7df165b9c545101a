//! Uploads, and what is stored of a file.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use session_pipeline_pipeline::upload::StoredFile;
use utoipa::ToSchema;

/// An uploaded session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UploadBody {
    /// Always `ok`.
    pub status: String,
    /// The file name of the stored session.
    pub filename: String,
    /// The decompressed size, in bytes.
    pub size: u64,
}

/// A file that was continued or replaced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UploadedFileBody {
    /// The path below the folder of the token's user.
    pub path: String,
    /// The size of the stored file, in bytes: the offset at which the next upload continues. Smaller
    /// than expected if the end of an incomplete upload was not a whole line.
    pub size: u64,
    /// The SHA-256 of the stored file, as 64 hexadecimal digits.
    pub sha256: String,
}

/// A file that a client has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ManifestEntry {
    /// The path below the folder of the token's user.
    pub path: String,
    /// The size of the client's file, in bytes.
    #[serde(deserialize_with = "file_size")]
    pub size: u64,
}

/// A size that a file can have.
fn file_size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let size = u64::deserialize(deserializer)?;
    match i64::try_from(size) {
        Ok(_) => Ok(size),
        Err(_) => Err(D::Error::custom(format!(
            "invalid size `{size}`: expected at most {}",
            i64::MAX
        ))),
    }
}

/// What the server has of the files in a manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ManifestBody {
    /// The files, in the order of the request.
    pub files: Vec<ManifestFileBody>,
}

/// What the server has of one file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ManifestFileBody {
    /// The path in the request.
    pub path: String,
    /// The stored file. Absent if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub stored: Option<StoredFileBody>,
    /// Why the server does not accept the file. Absent if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub unwanted: Option<String>,
}

/// What is stored of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StoredFileBody {
    /// The size, in bytes.
    pub size: u64,
    /// The SHA-256, as 64 hexadecimal digits. Absent if it was not computed: the stored file is
    /// larger than that of the client, or the manifest has too many large files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub sha256: Option<String>,
}

impl From<StoredFile> for StoredFileBody {
    fn from(stored: StoredFile) -> Self {
        Self {
            size: stored.size,
            sha256: stored.sha256.map(|sha256| sha256.to_string()),
        }
    }
}
