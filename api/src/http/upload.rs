//! Uploads: transcripts that agents send at the end of a session.

use std::io::Write;
use std::sync::Arc;

use axum::Json;
use axum::extract::multipart::{Field, MultipartError, MultipartRejection};
use axum::extract::{FromRequest, Multipart, Request, State};
use axum::http::StatusCode;
use flate2::write::GzDecoder;
use session_pipeline_runtime::store::AuditEntry;
use session_pipeline_runtime::upload::{self, Incoming, UploadError};
use utoipa::ToSchema;

use super::Service;
use super::caller::Known;
use super::problem::{ApiError, Refusals};
use crate::body::Problem;
use crate::body::usage::Uploaded;

/// Where uploads arrive; they have their own limits.
pub(super) const PATH: &str = "/api/upload/sessions";
/// What the form around a file may take.
const FORM_BYTES_MAX: u64 = 64 << 10;

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
        (status = 200, body = Uploaded),
        (status = 400, body = Problem, description = "The form has no file, its name can't be used, or it is no gzip."),
        (status = 409, body = Problem, description = "The sessions lie outside of the data dir."),
        (status = 415, body = Problem, description = "The body is no form."),
        Refusals))]
pub(super) async fn upload(
    State(service): State<Arc<Service>>,
    known: Known,
    request: Request,
) -> Result<Json<Uploaded>, ApiError> {
    let Some(user) = known.caller.user_id.clone() else {
        let detail =
            "this token belongs to nobody; upload with one made by `token create --user EMAIL`";
        return Err(ApiError::new(StatusCode::FORBIDDEN, detail));
    };
    let _permit = Arc::clone(&service.uploads)
        .acquire_owned()
        .await
        .map_err(|_| ApiError::stopping())?;
    let bytes_max = service.limits.upload_bytes_max;
    let form = Multipart::from_request(
        with_limit(request, bytes_max.saturating_add(FORM_BYTES_MAX)),
        &service,
    );
    let mut form = form.await.map_err(|error: MultipartRejection| {
        ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, error.body_text())
    })?;
    while let Some(field) = form.next_field().await.map_err(refused)? {
        if field.name() == Some("file") {
            return keep(&service, &known, &user, field).await.map(Json);
        }
    }
    Err(ApiError::bad("the form has no field `file`"))
}

/// The limit of the other routes is far below that of an upload.
fn with_limit(request: Request, bytes_max: u64) -> Request {
    use axum::RequestExt;
    let bytes_max = usize::try_from(bytes_max).unwrap_or(usize::MAX);
    let mut request = request;
    axum::extract::DefaultBodyLimit::apply(
        axum::extract::DefaultBodyLimit::max(bytes_max),
        &mut request,
    );
    request.with_limited_body()
}

async fn keep(
    service: &Arc<Service>,
    known: &Known,
    user: &str,
    mut field: Field<'_>,
) -> Result<Uploaded, ApiError> {
    let sent = field.file_name().unwrap_or_default().to_owned();
    let name = sent.strip_suffix(".gz").unwrap_or(&sent).to_owned();
    let is_gzip = name != sent;
    let (owner, filename) = (user.to_owned(), name.clone());
    let begin =
        move |service: &Service| Ok(upload::begin(service.pipeline.config(), &owner, &filename)?);
    let incoming = service.off_thread(None, begin).await?;
    let bytes_max = service.limits.upload_bytes_max;
    let limited = Limited {
        incoming,
        bytes_max,
    };
    let mut sink = if is_gzip {
        Sink::Gzip(Box::new(GzDecoder::new(limited)))
    } else {
        Sink::Plain(limited)
    };
    while let Some(chunk) = field.chunk().await.map_err(refused)? {
        sink = service
            .off_thread(None, move |_| {
                sink.write(&chunk)
                    .map_err(|error| unwritten(&error, bytes_max))?;
                Ok(sink)
            })
            .await?;
    }
    let (actor, filename) = (known.actor(), name.clone());
    let size = service.off_thread(None, move |service| {
        let incoming = sink
            .finish()
            .map_err(|error| unwritten(&error, bytes_max))?;
        let size = incoming.finish()?;
        let now = service.pipeline.clock().now();
        let params = serde_json::json!({ "filename": filename, "bytes": size });
        let resource = format!(
            "session:{}/{filename}",
            actor.user_id.as_deref().unwrap_or_default()
        );
        service.pipeline.store().audit(AuditEntry {
            params: Some(params.to_string()),
            ..AuditEntry::new("session.upload", resource, actor, now)
        })?;
        Ok(size)
    });
    Ok(Uploaded {
        status: "ok".to_owned(),
        filename: name,
        size: size.await?,
    })
}

/// Where the bytes of a field go.
enum Sink {
    Plain(Limited),
    Gzip(Box<GzDecoder<Limited>>),
}

impl Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        match self {
            Self::Plain(limited) => limited.write_all(bytes),
            Self::Gzip(decoder) => decoder.write_all(bytes),
        }
    }

    fn finish(self) -> std::io::Result<Incoming> {
        match self {
            Self::Plain(limited) => Ok(limited.incoming),
            Self::Gzip(decoder) => decoder.finish().map(|limited| limited.incoming),
        }
    }
}

/// Stops a file at its limit, also one that was small before it was decompressed.
struct Limited {
    incoming: Incoming,
    bytes_max: u64,
}

impl Write for Limited {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.incoming.size().saturating_add(bytes.len() as u64) > self.bytes_max {
            return Err(std::io::ErrorKind::FileTooLarge.into());
        }
        // What the disk refuses must not look like what the client got wrong.
        self.incoming
            .write(bytes)
            .map_err(|error| std::io::Error::new(std::io::ErrorKind::StorageFull, error))
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.incoming.flush()
    }
}

fn unwritten(error: &std::io::Error, bytes_max: u64) -> ApiError {
    match error.kind() {
        std::io::ErrorKind::FileTooLarge => ApiError::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("the session is larger than {bytes_max} bytes, decompressed; split it"),
        ),
        std::io::ErrorKind::StorageFull => ApiError::internal(error),
        _ => ApiError::bad(format!(
            "invalid_gzip: the file is no complete gzip ({error})"
        )),
    }
}

fn refused(error: MultipartError) -> ApiError {
    ApiError::new(error.status(), error.body_text())
}

impl From<UploadError> for ApiError {
    fn from(error: UploadError) -> Self {
        match error {
            UploadError::Name => Self::bad(error.to_string()),
            UploadError::ElsewhereRoot => Self::new(StatusCode::CONFLICT, error.to_string()),
            error @ UploadError::Io(_) => Self::internal(&error),
        }
    }
}
