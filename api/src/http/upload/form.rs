//! The body of an upload on its way to the multipart parser, which keeps all that it is given until it
//! has found what it looks for.

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

/// What the form around a file may take.
const FORM_BYTES_MAX: u64 = 64 << 10;
/// What may come before the file: the headers of its part, and short fields before it.
const BEFORE_FILE_BYTES_MAX: usize = 16 << 10;

/// What is known of a body while it arrives.
#[derive(Clone, Debug)]
pub(super) struct FormBody {
    bytes_max: u64,
    state: Arc<FormState>,
}

#[derive(Debug, Default)]
struct FormState {
    is_in_file: AtomicBool,
    end: Mutex<Option<FormEnd>>,
}

/// Why no more of a body is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FormEnd {
    TooLarge,
    NoFile,
    Broken,
}

impl FormBody {
    /// The same request, with a body that stops at its bounds.
    ///
    /// # Errors
    /// When the request announces a larger body than is allowed.
    pub(super) fn of(request: Request, bytes_max: u64) -> Result<(Request, Self), ApiError> {
        let form = Self {
            bytes_max,
            state: Arc::default(),
        };
        let form_max = bytes_max.saturating_add(FORM_BYTES_MAX);
        let announced = request.headers().get(header::CONTENT_LENGTH);
        let announced = announced.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
        if announced.is_some_and(|length| length > form_max) {
            return Err(form.too_large());
        }
        let (parts, body) = request.into_parts();
        let bounded = BodyChunks {
            chunks: body.into_data_stream(),
            state: Arc::clone(&form.state),
            left: form_max,
            before_file: 0,
            has_given: false,
        };
        let mut request = Request::from_parts(parts, Body::from_stream(bounded));
        // Its own bounds take the place of those of the other routes.
        DefaultBodyLimit::apply(DefaultBodyLimit::disable(), &mut request);
        Ok((request, form))
    }

    /// The file has been found: from now on only its size counts.
    pub(super) fn begin_file(&self) {
        self.state.is_in_file.store(true, Ordering::SeqCst);
    }

    /// The response for a form that could not be read to its end.
    pub(super) fn refusal(&self, error: &MultipartError) -> ApiError {
        let end = *self
            .state
            .end
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        match end {
            Some(FormEnd::TooLarge) => self.too_large(),
            Some(FormEnd::NoFile) => ApiError::bad(format!(
                "the form has no field `file` in its first {BEFORE_FILE_BYTES_MAX} bytes; send the file first"
            )),
            Some(FormEnd::Broken) => {
                ApiError::bad("the request body ended early; send the upload again")
            }
            // All other errors are those of the form.
            None => super::unreadable(StatusCode::BAD_REQUEST, &error.body_text()),
        }
    }

    fn too_large(&self) -> ApiError {
        let detail = format!(
            "the session is larger than {} bytes; split it",
            self.bytes_max
        );
        ApiError::new(ProblemClass::TooLarge, detail)
    }
}

/// A body, chunk by chunk.
struct BodyChunks {
    chunks: BodyDataStream,
    state: Arc<FormState>,
    left: u64,
    before_file: usize,
    has_given: bool,
}

impl BodyChunks {
    fn end(&self, end: FormEnd) -> Poll<Option<Result<Bytes, axum::Error>>> {
        let mut last = self
            .state
            .end
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *last = Some(end);
        let error = axum::Error::new(std::io::Error::other("no more of the body is read"));
        Poll::Ready(Some(Err(error)))
    }
}

impl Stream for BodyChunks {
    type Item = Result<Bytes, axum::Error>;

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, axum::Error>>> {
        // The parser takes chunks for as long as there are any, and only then looks at them.
        if std::mem::take(&mut self.has_given) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let is_in_file = self.state.is_in_file.load(Ordering::SeqCst);
        if !is_in_file && self.before_file >= BEFORE_FILE_BYTES_MAX {
            return self.end(FormEnd::NoFile);
        }
        let Some(chunk) = ready!(self.chunks.poll_next_unpin(context)) else {
            return Poll::Ready(None);
        };
        let Ok(chunk) = chunk else {
            return self.end(FormEnd::Broken);
        };
        let Some(left) = self.left.checked_sub(chunk.len() as u64) else {
            return self.end(FormEnd::TooLarge);
        };
        self.left = left;
        if !is_in_file {
            self.before_file = self.before_file.saturating_add(chunk.len());
        }
        self.has_given = true;
        Poll::Ready(Some(Ok(chunk)))
    }
}
