//! Uploads of programs that collect sessions: what is new is appended to the stored file.
//!
//! The fields are those of the IETF draft *Resumable Uploads for HTTP*. Unlike there, an upload has
//! no resource of its own: the path of the file is enough to continue.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use futures_util::StreamExt as _;
use session_pipeline_host::fault::printable;
use session_pipeline_pipeline::upload::{
    self, FileDigest, ResumableUpload, UploadChange, UploadError, UploadPart, UploadPath,
};
use session_pipeline_store::AuditEntry;

use super::ContentCoding;
use super::sink::UploadFile;
use crate::body::Problem;
use crate::body::upload::{ManifestBody, ManifestEntry, ManifestFileBody, UploadedFileBody};
use crate::http::ServiceState;
use crate::http::caller::AnyRole;
use crate::http::metrics::UploadOutcome;
use crate::http::params::{ValidJson, ValidName};
use crate::http::problem::{ApiError, AuthenticatedResponses};
use crate::problem::ProblemClass;

/// The field with the number of bytes before the body.
pub(in crate::http) const OFFSET: HeaderName = HeaderName::from_static("upload-offset");
/// The field that reports whether the body ends the file.
const COMPLETE: HeaderName = HeaderName::from_static("upload-complete");
/// The field with the SHA-256 of the bytes before the offset.
const PREFIX: HeaderName = HeaderName::from_static("upload-prefix-sha256");
/// Maximum number of bytes that are hashed for one manifest.
const MANIFEST_HASH_BYTES_MAX: u64 = 256 << 20;

/// Returns what the server has of each file of a client. The client then sends only what is missing.
#[utoipa::path(post, path = "/api/upload/manifest", operation_id = "compare_sessions", tag = "upload", security(("bearer" = [])),
    request_body = Vec<ManifestEntry>, responses(
        (status = 200, body = ManifestBody),
        (status = 400, body = Problem, description = "The body is not valid JSON."),
        (status = 409, body = Problem, description = "The sessions root is outside the data directory."),
        (status = 415, body = Problem, description = "The content type is not JSON."),
        (status = 429, body = Problem, description = "The user has too many uploads in progress."),
        AuthenticatedResponses))]
pub(in crate::http) async fn manifest(
    State(service): State<Arc<ServiceState>>,
    caller: AnyRole,
    ValidJson(entries): ValidJson<Vec<ManifestEntry>>,
) -> Result<Json<ManifestBody>, ApiError> {
    let user = super::user_of(&caller)?;
    let _permit = service.uploaders.acquire(&user, &service.limits).await?;
    let compare = move |service: &ServiceState| {
        let mut hash_bytes_left = MANIFEST_HASH_BYTES_MAX;
        let files = entries
            .into_iter()
            .map(|entry| compare(service, &user, entry, &mut hash_bytes_left));
        let files = files.collect::<Result<Vec<_>, _>>()?;
        Ok(ManifestBody { files })
    };
    service.write_upload(compare).await.map(Json)
}

fn compare(
    service: &ServiceState,
    user: &str,
    entry: ManifestEntry,
    hash_bytes_left: &mut u64,
) -> Result<ManifestFileBody, ApiError> {
    let unwanted = |path: String, error: &UploadError| ManifestFileBody {
        path,
        stored: None,
        unwanted: Some(error.to_string()),
    };
    let path = match UploadPath::parse(&entry.path) {
        Ok(path) => path,
        Err(error) => return Ok(unwanted(entry.path, &error)),
    };
    let find = |budget: &mut u64| {
        upload::stored(
            service.config(),
            &service.uploads_state,
            user,
            &path,
            budget,
        )
    };
    // A client whose file is shorter sends it again, whatever the hash is.
    let stored = match find(&mut 0) {
        Ok(Some(stored)) if stored.sha256.is_none() && stored.size <= entry.size => {
            find(hash_bytes_left)
        }
        stored => stored,
    };
    match stored {
        Ok(stored) => Ok(ManifestFileBody {
            path: entry.path,
            stored: stored.map(Into::into),
            unwanted: None,
        }),
        Err(
            error @ (UploadError::Folder(_)
            | UploadError::NotAFolder(_)
            | UploadError::NotAFile(_)
            | UploadError::NameTooLong(_)),
        ) => Ok(unwanted(entry.path, &error)),
        Err(error) => Err(error.into()),
    }
}

/// Appends the body to a session of the token's user, or replaces the session if the offset is 0.
/// The path has up to 8 names with `/` between them.
///
/// If the stored file does not have the offset as its size, or differs from the bytes before it,
/// nothing is stored, and the 409 has the size and the hash of the stored file in `stored`.
#[utoipa::path(put, path = "/api/upload/sessions/{*path}", operation_id = "continue_session", tag = "upload", security(("bearer" = [])),
    params(
        ("path" = String, Path, description = "The path below the folder of the user, ending with `.jsonl` or `.meta.json`."),
        ("Upload-Offset" = u64, Header, description = "The number of bytes before the body. 0 replaces the file."),
        ("Upload-Complete" = Option<String>, Header, description = "`?1`: the body ends the file as it is now, the default. `?0`: more will follow, and only whole lines are stored."),
        ("Upload-Prefix-SHA256" = Option<String>, Header, description = "The SHA-256 of the bytes before the offset, as 64 hexadecimal digits. Required unless the offset is 0."),
        ("Content-Encoding" = Option<String>, Header, description = "`gzip`, `zstd` or `identity`.")),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"), responses(
        (status = 200, body = UploadedFileBody, headers(("Upload-Offset" = u64, description = "The size of the stored file."))),
        (status = 400, body = Problem, description = "A field or the path is invalid, or the body cannot be decompressed."),
        (status = 409, body = Problem, description = "The stored file is not the one that the client continues, the sessions root is outside the data directory, or the path of the session or its folder is taken."),
        (status = 415, body = Problem, description = "The content encoding is not supported."),
        (status = 422, body = Problem, description = "The server accepts only redacted sessions, and the body contains secrets or a line that is not whole."),
        (status = 429, body = Problem, description = "The user has too many uploads in progress, or too many files."),
        (status = 507, body = Problem, description = "The disk is nearly full."),
        AuthenticatedResponses))]
pub(in crate::http) async fn put(
    State(service): State<Arc<ServiceState>>,
    caller: AnyRole,
    ValidName(path): ValidName,
    request: Request,
) -> Result<([(HeaderName, HeaderValue); 1], Json<UploadedFileBody>), ApiError> {
    let mut received = 0;
    let stored = receive(&service, &caller, &path, request, &mut received).await;
    service.requests.uploaded(match &stored {
        Ok(_) => UploadOutcome::Stored(received),
        Err(_) => UploadOutcome::Rejected,
    });
    let body = stored?;
    Ok(([(OFFSET, HeaderValue::from(body.size))], Json(body)))
}

/// Receives the body. `received` is the number of bytes on the wire.
async fn receive(
    service: &Arc<ServiceState>,
    caller: &AnyRole,
    path: &str,
    request: Request,
    received: &mut u64,
) -> Result<UploadedFileBody, ApiError> {
    let user = super::user_of(caller)?;
    let path = UploadPath::parse(path).map_err(to_api_error)?;
    let part = part(request.headers())?;
    let coding = coding(request.headers())?;
    let bytes_max = service.limits.upload_bytes_max;
    let length = request.headers().get(header::CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if length.is_some_and(|length| length > bytes_max) {
        return Err(too_large(bytes_max));
    }
    let _permit = service.uploaders.acquire(&user, &service.limits).await?;
    let begin = move |service: &ServiceState| {
        let (config, now) = (service.config(), service.clock().now());
        let uploads = &service.uploads_state;
        upload::resume(config, uploads, &user, &path, part, now).map_err(to_api_error)
    };
    let incoming = service.write_upload(begin).await?;
    let mut file = UploadFile::new(incoming, bytes_max, coding)?;
    let mut chunks = request.into_body().into_data_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|_| {
            ApiError::bad_request("the request body is incomplete; retry the upload")
        })?;
        *received += chunk.len() as u64;
        if *received > bytes_max {
            return Err(too_large(bytes_max));
        }
        file = service
            .write_upload(move |_| {
                file.write(&chunk)?;
                Ok(file)
            })
            .await?;
    }
    finish(service, caller, file).await
}

/// Stores the received bytes. A new or replaced file is recorded in the audit log. One that grows
/// is not, because a session grows hundreds of times.
async fn finish(
    service: &Arc<ServiceState>,
    caller: &AnyRole,
    file: UploadFile<ResumableUpload>,
) -> Result<UploadedFileBody, ApiError> {
    // Uploads are slow, so the token may have been revoked since the request started.
    caller.recheck(service)?;
    let actor = caller.actor();
    let finish = move |service: &ServiceState| {
        let upload = file.finish()?;
        let path = upload.path().to_string();
        let finished = upload
            .finish(&service.uploads_state)
            .map_err(to_api_error)?;
        let is_recorded = match finished.change {
            UploadChange::Created | UploadChange::Replaced => true,
            UploadChange::Appended | UploadChange::Unchanged => false,
        };
        if is_recorded {
            let now = service.clock().now();
            let user = actor.user_id.as_deref().unwrap_or_default();
            let resource = format!("session:{user}/{path}");
            let params = serde_json::json!({ "filename": path, "bytes": finished.size });
            service.database()?.audit(AuditEntry {
                params: Some(params.to_string()),
                ..AuditEntry::new("session.upload", resource, actor, now)
            })?;
        }
        Ok(UploadedFileBody {
            path,
            size: finished.size,
            sha256: finished.sha256.to_string(),
        })
    };
    service.write_upload(finish).await
}

fn part(headers: &HeaderMap) -> Result<UploadPart, ApiError> {
    let offset = headers.get(OFFSET).ok_or_else(|| {
        ApiError::bad_request(
            "the field `Upload-Offset` is missing; send the number of bytes before the body",
        )
    })?;
    let is_number = |text: &&str| text.bytes().all(|byte| byte.is_ascii_digit());
    let parsed = offset.to_str().ok().filter(is_number);
    let offset = parsed
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| invalid("Upload-Offset", offset, "a number of bytes"))?;
    let is_complete = match headers.get(COMPLETE) {
        None => true,
        Some(value) => match value.as_bytes() {
            b"?1" => true,
            b"?0" => false,
            _ => return Err(invalid("Upload-Complete", value, "`?1` or `?0`")),
        },
    };
    let prefix = headers.get(PREFIX).map(|value| {
        let digest = value.to_str().ok().and_then(FileDigest::from_hex);
        digest.ok_or_else(|| invalid("Upload-Prefix-SHA256", value, "64 hexadecimal digits"))
    });
    let prefix = prefix.transpose()?;
    if offset > 0 && prefix.is_none() {
        return Err(ApiError::bad_request(
            "the field `Upload-Prefix-SHA256` is missing; send the SHA-256 of the bytes before the offset",
        ));
    }
    Ok(UploadPart {
        offset,
        prefix,
        is_complete,
    })
}

fn invalid(name: &str, value: &HeaderValue, allowed: &str) -> ApiError {
    let value = printable(&String::from_utf8_lossy(value.as_bytes()));
    ApiError::bad_request(format!("invalid field `{name}: {value}`; send {allowed}"))
}

fn coding(headers: &HeaderMap) -> Result<ContentCoding, ApiError> {
    let Some(value) = headers.get(header::CONTENT_ENCODING) else {
        return Ok(ContentCoding::Identity);
    };
    ContentCoding::parse(value.as_bytes()).ok_or_else(|| {
        let value = printable(&String::from_utf8_lossy(value.as_bytes()));
        ApiError::new(
            ProblemClass::UnsupportedMediaType,
            format!("unknown content encoding `{value}`; send `gzip`, `zstd` or `identity`"),
        )
    })
}

fn too_large(bytes_max: u64) -> ApiError {
    let detail =
        format!("the body is larger than the limit of {bytes_max} bytes; send it in parts");
    ApiError::new(ProblemClass::TooLarge, detail)
}

/// The time after which a client retries when a quota is used up, in seconds.
const QUOTA_RETRY_AFTER: u32 = 3600;
/// The time after which a client retries when the disk is full, in seconds.
const DISK_RETRY_AFTER: u32 = 300;

/// The error of an upload. Unlike for a form, a program waits and retries if a quota is used up or the
/// disk is full.
pub(super) fn to_api_error(error: UploadError) -> ApiError {
    match &error {
        UploadError::QuotaBytes(_) => ApiError::new(ProblemClass::TooLarge, error.to_string())
            .with_retry_after(QUOTA_RETRY_AFTER),
        UploadError::QuotaFiles(_) => {
            ApiError::new(ProblemClass::TooManyRequests, error.to_string())
                .with_retry_after(QUOTA_RETRY_AFTER)
        }
        full if full.is_full() => ApiError::from(error).with_retry_after(DISK_RETRY_AFTER),
        _ => error.into(),
    }
}
