//! Accepts uploaded transcripts, which agents send at the end of a session.

mod decoder;
mod form;
pub(super) mod resumable;
mod sink;
mod uploaders;
mod zstd;

use std::sync::Arc;

use axum::Json;
use axum::extract::multipart::{Field, MultipartRejection};
use axum::extract::{FromRequest, Multipart, Request, State};
use axum::http::StatusCode;
use session_pipeline_pipeline::upload::{self, UploadError};
use session_pipeline_store::AuditEntry;
use utoipa::ToSchema;

use self::form::UploadBounds;
use self::sink::UploadFile;
use super::ServiceState;
use super::caller::AnyRole;
use super::metrics::UploadOutcome;
use super::problem::{ApiError, AuthenticatedResponses};
use crate::body::Problem;
use crate::body::upload::UploadBody;
use crate::problem::ProblemClass;

pub use decoder::{BodyDecoder, ContentCoding};
pub(super) use uploaders::Uploaders;

/// The path of the routes for uploads, which have their own limits.
const PATH: &str = "/api/upload/sessions";

/// Whether a path is one of an upload.
pub(super) fn is_upload(path: &str) -> bool {
    let rest = path.strip_prefix(PATH);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The user of a token, whose folder gets the upload.
fn user_of(caller: &AnyRole) -> Result<String, ApiError> {
    caller.authenticated.user_id.clone().ok_or_else(|| {
        let detail = "this token has no user; upload with a token from `token create --user EMAIL`";
        ApiError::new(ProblemClass::Forbidden, detail)
    })
}

/// The form of an upload.
#[derive(ToSchema)]
#[expect(dead_code, reason = "only for the OpenAPI document")]
pub(super) struct UploadForm {
    /// The transcript. If the file name ends with `.gz` or `.zst`, the content must be gzip or zstd. It
    /// is stored decompressed.
    #[schema(value_type = String, format = Binary)]
    file: Vec<u8>,
}

/// Stores a transcript as a session of the token's user. A second upload with the same name
/// replaces the first.
#[utoipa::path(post, path = "/api/upload/sessions", operation_id = "upload_session", tag = "upload", security(("bearer" = [])),
    request_body(content = UploadForm, content_type = "multipart/form-data"), responses(
        (status = 200, body = UploadBody),
        (status = 400, body = Problem, description = "The form is malformed or has no file, the file name is invalid, or the content is not gzip or zstd as its name says."),
        (status = 409, body = Problem, description = "The sessions root is outside the data directory, or the path of the session or its folder is taken."),
        (status = 415, body = Problem, description = "The body is not a form."),
        (status = 429, body = Problem, description = "The user has too many uploads in progress."),
        (status = 507, body = Problem, description = "The quota of the user is used up, or the disk is nearly full."),
        AuthenticatedResponses))]
pub(super) async fn upload(
    State(service): State<Arc<ServiceState>>,
    caller: AnyRole,
    request: Request,
) -> Result<Json<UploadBody>, ApiError> {
    let uploaded = receive(&service, &caller, request).await;
    service.requests.uploaded(match &uploaded {
        Ok(body) => UploadOutcome::Stored(body.size),
        Err(_) => UploadOutcome::Rejected,
    });
    uploaded.map(Json)
}

async fn receive(
    service: &Arc<ServiceState>,
    caller: &AnyRole,
    request: Request,
) -> Result<UploadBody, ApiError> {
    let user = user_of(caller)?;
    let _permit = service.uploaders.acquire(&user, &service.limits).await?;
    let (request, bounds) = UploadBounds::apply(request, service.limits.upload_bytes_max)?;
    let form = Multipart::from_request(request, service);
    let mut form = form.await.map_err(|error: MultipartRejection| {
        invalid_form(StatusCode::UNSUPPORTED_MEDIA_TYPE, &error.body_text())
    })?;
    while let Some(field) = form
        .next_field()
        .await
        .map_err(|error| bounds.to_api_error(&error))?
    {
        if field.name() == Some("file") {
            bounds.start_file();
            return store(service, caller, &user, field, &bounds).await;
        }
    }
    Err(ApiError::bad_request(
        "the form has no field `file`; send the session in this field",
    ))
}

/// The error for a form that the parser rejects.
fn invalid_form(status: StatusCode, reason: &str) -> ApiError {
    let detail = format!(
        "invalid form ({reason}); send `multipart/form-data` with the session in the field `file`"
    );
    ApiError::from_status(status, detail)
}

/// Stores the file of a form, and records the upload in the audit log.
async fn store(
    service: &Arc<ServiceState>,
    caller: &AnyRole,
    user: &str,
    mut field: Field<'_>,
    bounds: &UploadBounds,
) -> Result<UploadBody, ApiError> {
    let original_name = field.file_name().unwrap_or_default().to_owned();
    let (name, coding) = match original_name.rsplit_once('.') {
        Some((name, "gz")) => (name, ContentCoding::Gzip),
        Some((name, "zst")) => (name, ContentCoding::Zstd),
        _ => (original_name.as_str(), ContentCoding::Identity),
    };
    let name = name.to_owned();
    let (owner, filename) = (user.to_owned(), name.clone());
    let begin = move |service: &ServiceState| {
        let (config, now) = (service.config(), service.clock().now());
        Ok(upload::begin(
            config,
            &service.uploads_state,
            &owner,
            &filename,
            now,
        )?)
    };
    let incoming = service.write_upload(begin).await?;
    let mut file = UploadFile::new(incoming, service.limits.upload_bytes_max, coding)?;
    while let Some(chunk) = field
        .chunk()
        .await
        .map_err(|error| bounds.to_api_error(&error))?
    {
        file = service
            .write_upload(move |_| {
                file.write(&chunk)?;
                Ok(file)
            })
            .await?;
    }
    // Uploads are slow, so the token may have been revoked since the request started.
    caller.recheck(service)?;
    let (actor, filename) = (caller.actor(), name.clone());
    let size = service.write_upload(move |service| {
        let size = file.finish()?.finish(&service.uploads_state)?;
        let now = service.clock().now();
        let params = serde_json::json!({ "filename": filename, "bytes": size });
        let resource = format!(
            "session:{}/{filename}",
            actor.user_id.as_deref().unwrap_or_default()
        );
        service.database()?.audit(AuditEntry {
            params: Some(params.to_string()),
            ..AuditEntry::new("session.upload", resource, actor, now)
        })?;
        Ok(size)
    });
    Ok(UploadBody {
        status: "ok".to_owned(),
        filename: name,
        size: size.await?,
    })
}

impl ServiceState {
    /// Writes to disk on a separate thread. The number of concurrent writes is limited. An upload
    /// that waits for its client does not count.
    async fn write_upload<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let permit = Arc::clone(&self.uploads).acquire_owned().await;
        self.run_blocking(permit.ok(), work).await
    }
}

impl From<UploadError> for ApiError {
    fn from(error: UploadError) -> Self {
        match error {
            error if error.is_full() => Self::new(
                ProblemClass::InsufficientStorage,
                session_pipeline_host::fault::error_chain(&error),
            ),
            UploadError::Name(_) | UploadError::Path(_) | UploadError::NameTooLong(_) => {
                Self::bad_request(error.to_string())
            }
            UploadError::Secrets(_)
            | UploadError::LongLine(_)
            | UploadError::WithinLine
            | UploadError::OpenLine => Self::unprocessable(error.to_string()),
            UploadError::Mismatch { stored, .. } => {
                Self::new(ProblemClass::Conflict, error.to_string()).with_stored(stored.into())
            }
            UploadError::ForeignRoot
            | UploadError::Folder(_)
            | UploadError::NotAFolder(_)
            | UploadError::NotAFile(_)
            | UploadError::Removed => Self::new(ProblemClass::Conflict, error.to_string()),
            error => Self::internal(&error),
        }
    }
}
