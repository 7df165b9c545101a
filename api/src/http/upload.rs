//! Uploads: transcripts that agents send at the end of a session.

mod form;
mod sink;
mod uploaders;

use std::sync::Arc;

use axum::Json;
use axum::extract::multipart::{Field, MultipartRejection};
use axum::extract::{FromRequest, Multipart, Request, State};
use axum::http::StatusCode;
use session_pipeline_pipeline::upload::{self, UploadError};
use session_pipeline_store::AuditEntry;
use utoipa::ToSchema;

use self::form::FormBody;
use self::sink::UploadFile;
use super::ServiceState;
use super::caller::AnyRole;
use super::problem::{ApiError, AuthenticatedResponses};
use crate::body::Problem;
use crate::body::usage::UploadBody;
use crate::problem::ProblemClass;

pub(super) use uploaders::Uploaders;

/// Where uploads arrive; they have their own limits.
pub(super) const PATH: &str = "/api/upload/sessions";

/// The form of an upload.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it only describes what multipart reads")]
pub(super) struct UploadForm {
    /// The transcript; a name that ends with `.gz` says that it is compressed.
    #[schema(value_type = String, format = Binary)]
    file: Vec<u8>,
}

/// Keeps a transcript among the sessions of the token's user; sent again, it takes the place of the
/// one before.
#[utoipa::path(post, path = "/api/upload/sessions", operation_id = "upload_session", tag = "upload", security(("bearer" = [])),
    request_body(content = UploadForm, content_type = "multipart/form-data"), responses(
        (status = 200, body = UploadBody),
        (status = 400, body = Problem, description = "The form is malformed or has no file, the file's name can't be that of a session, or it is no gzip."),
        (status = 409, body = Problem, description = "The sessions are outside of the data dir, or something else is in the place of the session or its folder."),
        (status = 415, body = Problem, description = "The body is no form."),
        (status = 429, body = Problem, description = "The token's user has as many uploads in progress as are allowed."),
        (status = 507, body = Problem, description = "The user's quota is used up, or the disk is nearly full."),
        AuthenticatedResponses))]
pub(super) async fn upload(
    State(service): State<Arc<ServiceState>>,
    known: AnyRole,
    request: Request,
) -> Result<Json<UploadBody>, ApiError> {
    let Some(user) = known.caller.user_id.clone() else {
        let detail =
            "this token belongs to nobody; upload with one made by `token create --user EMAIL`";
        return Err(ApiError::new(ProblemClass::Forbidden, detail));
    };
    let _turn = service.uploaders.turn(&user, &service.limits).await?;
    let (request, body) = FormBody::of(request, service.limits.upload_bytes_max)?;
    let form = Multipart::from_request(request, &service);
    let mut form = form.await.map_err(|error: MultipartRejection| {
        unreadable(StatusCode::UNSUPPORTED_MEDIA_TYPE, &error.body_text())
    })?;
    while let Some(field) = form
        .next_field()
        .await
        .map_err(|error| body.refusal(&error))?
    {
        if field.name() == Some("file") {
            body.begin_file();
            return keep(&service, &known, &user, field, &body).await.map(Json);
        }
    }
    Err(ApiError::bad("the form has no field `file`"))
}

/// The response for a form that its parser rejects.
fn unreadable(status: StatusCode, reason: &str) -> ApiError {
    let detail = format!(
        "the form cannot be read ({reason}); send `multipart/form-data` with the session in the field `file`"
    );
    ApiError::of_library(status, detail)
}

async fn keep(
    service: &Arc<ServiceState>,
    known: &AnyRole,
    user: &str,
    mut field: Field<'_>,
    body: &FormBody,
) -> Result<UploadBody, ApiError> {
    let sent = field.file_name().unwrap_or_default().to_owned();
    let name = sent.strip_suffix(".gz").unwrap_or(&sent).to_owned();
    let is_gzip = name != sent;
    let (owner, filename) = (user.to_owned(), name.clone());
    let begin = move |service: &ServiceState| {
        let (config, now) = (service.config(), service.clock().now());
        Ok(upload::begin(
            config,
            &service.ledger,
            &owner,
            &filename,
            now,
        )?)
    };
    let incoming = service.write_upload(begin).await?;
    let mut sink = UploadFile::new(incoming, service.limits.upload_bytes_max, is_gzip);
    while let Some(chunk) = field.chunk().await.map_err(|error| body.refusal(&error))? {
        sink = service
            .write_upload(move |_| {
                sink.write(&chunk)?;
                Ok(sink)
            })
            .await?;
    }
    // An upload takes its time: the token may have been revoked since it began.
    known.check_again(service)?;
    let (actor, filename) = (known.actor(), name.clone());
    let size = service.write_upload(move |service| {
        let size = sink.finish()?.finish()?;
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
    /// Writes to the disk on a thread of its own. Only as many uploads as are allowed write at once;
    /// one whose client is slow takes none of these places while it waits.
    async fn write_upload<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let permit = Arc::clone(&self.uploads).acquire_owned().await;
        self.off_thread(permit.ok(), work).await
    }
}

impl From<UploadError> for ApiError {
    fn from(error: UploadError) -> Self {
        match error {
            error if error.is_full() => Self::new(
                ProblemClass::InsufficientStorage,
                session_pipeline_host::fault::error_chain(&error),
            ),
            UploadError::Name(_) | UploadError::NameTooLong(_) => Self::bad(error.to_string()),
            UploadError::ForeignRoot
            | UploadError::Folder(_)
            | UploadError::NotAFolder(_)
            | UploadError::Removed => Self::new(ProblemClass::Conflict, error.to_string()),
            error => Self::internal(&error),
        }
    }
}
