//! Limits the body of an upload before it reaches the multipart parser, which buffers its input
//! until it finds a delimiter.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use axum::body::{Body, BodyDataStream, Bytes};
use axum::extract::multipart::MultipartError;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::{StatusCode, header};
use futures_util::{Stream, StreamExt};

use crate::http::problem::ApiError;
use crate::problem::ProblemClass;

/// Maximum size of the form, without the file.
const FORM_BYTES_MAX: u64 = 64 << 10;
/// Maximum number of bytes before the file: short fields, and the headers of the file's part.
const BEFORE_FILE_BYTES_MAX: usize = 16 << 10;

/// The size limit of an upload, and its state.
#[derive(Clone, Debug)]
pub(super) struct UploadBounds {
    bytes_max: u64,
    state: Arc<FormState>,
}

#[derive(Debug, Default)]
struct FormState {
    is_in_file: AtomicBool,
    rejection: Mutex<Option<FormRejection>>,
}

/// Why the rest of a body is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FormRejection {
    TooLarge,
    NoFile,
    Incomplete,
}

impl UploadBounds {
    /// Wraps the body of a request, so that reading it fails at the limit.
    ///
    /// # Errors
    /// `Content-Length` exceeds the limit.
    pub(super) fn apply(request: Request, bytes_max: u64) -> Result<(Request, Self), ApiError> {
        let bounds = Self {
            bytes_max,
            state: Arc::default(),
        };
        let form_max = bytes_max.saturating_add(FORM_BYTES_MAX);
        let content_length = request.headers().get(header::CONTENT_LENGTH);
        let content_length =
            content_length.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
        if content_length.is_some_and(|length| length > form_max) {
            return Err(bounds.too_large());
        }
        let (parts, body) = request.into_parts();
        let chunks = BodyChunks {
            chunks: body.into_data_stream(),
            state: Arc::clone(&bounds.state),
            left: form_max,
            before_file: 0,
            must_yield: false,
        };
        let mut request = Request::from_parts(parts, Body::from_stream(chunks));
        // These limits replace those of the other routes.
        DefaultBodyLimit::apply(DefaultBodyLimit::disable(), &mut request);
        Ok((request, bounds))
    }

    /// Records that the file was found. From now on, only its size is limited.
    pub(super) fn start_file(&self) {
        self.state.is_in_file.store(true, Ordering::SeqCst);
    }

    /// The error for a form that could not be read completely.
    pub(super) fn to_api_error(&self, error: &MultipartError) -> ApiError {
        let rejection = *self
            .state
            .rejection
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        match rejection {
            Some(FormRejection::TooLarge) => self.too_large(),
            Some(FormRejection::NoFile) => ApiError::bad_request(format!(
                "the form has no field `file` in its first {BEFORE_FILE_BYTES_MAX} bytes; send the file first"
            )),
            Some(FormRejection::Incomplete) => {
                ApiError::bad_request("the request body is incomplete; retry the upload")
            }
            // All other errors come from the parser.
            None => super::invalid_form(StatusCode::BAD_REQUEST, &error.body_text()),
        }
    }

    fn too_large(&self) -> ApiError {
        let detail = format!(
            "the session is larger than the limit of {} bytes; split it",
            self.bytes_max
        );
        ApiError::new(ProblemClass::TooLarge, detail)
    }
}

/// The chunks of a body, up to the limit.
struct BodyChunks {
    chunks: BodyDataStream,
    state: Arc<FormState>,
    left: u64,
    before_file: usize,
    /// Set after each chunk, to return control to the parser.
    must_yield: bool,
}

impl BodyChunks {
    fn reject(&self, rejection: FormRejection) -> Poll<Option<Result<Bytes, axum::Error>>> {
        let mut current = self
            .state
            .rejection
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *current = Some(rejection);
        let error = axum::Error::new(std::io::Error::other("the rest of the body is not read"));
        Poll::Ready(Some(Err(error)))
    }
}

impl Stream for BodyChunks {
    type Item = Result<Bytes, axum::Error>;

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, axum::Error>>> {
        // The parser buffers all available chunks before it parses them.
        if std::mem::take(&mut self.must_yield) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let is_in_file = self.state.is_in_file.load(Ordering::SeqCst);
        if !is_in_file && self.before_file >= BEFORE_FILE_BYTES_MAX {
            return self.reject(FormRejection::NoFile);
        }
        let Some(chunk) = ready!(self.chunks.poll_next_unpin(context)) else {
            return Poll::Ready(None);
        };
        let Ok(chunk) = chunk else {
            return self.reject(FormRejection::Incomplete);
        };
        let Some(left) = self.left.checked_sub(chunk.len() as u64) else {
            return self.reject(FormRejection::TooLarge);
        };
        self.left = left;
        if !is_in_file {
            self.before_file = self.before_file.saturating_add(chunk.len());
        }
        self.must_yield = true;
        Poll::Ready(Some(Ok(chunk)))
    }
}
