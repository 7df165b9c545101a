//! Routes of transcripts: pages of entries, whole texts, and the lines to jump to.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use session_pipeline_pipeline::transcript::TranscriptError;
use utoipa::IntoParams;

use super::ServiceState;
use super::caller::{CallerScope, TranscriptAccess};
use super::params::{self, ValidQuery};
use super::problem::{ApiError, AuthenticatedResponses};
use crate::body::Problem;
use crate::body::transcript::{TranscriptBody, TranscriptMarksBody, TranscriptPartBody};

/// The largest integer that JavaScript represents exactly.
const LINE_MAX: u64 = (1 << 53) - 1;

/// A page of a transcript.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct TranscriptQuery {
    /// The key of the session.
    session: String,
    /// Only lines after this one.
    #[serde(default)]
    #[param(minimum = 0, maximum = 9_007_199_254_740_991_u64, default = 0)]
    after: u64,
    /// The maximum number of lines. A page with very long lines has fewer.
    #[serde(default = "super::params::default_limit")]
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: u32,
}

/// A part of a line.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct TranscriptPartQuery {
    /// The key of the session.
    session: String,
    /// The line number, from 1.
    #[param(minimum = 1, maximum = 9_007_199_254_740_991_u64)]
    line: u64,
    /// The part of the line, from 0.
    #[serde(default)]
    #[param(minimum = 0, maximum = 63, default = 0)]
    part: u32,
}

/// A transcript.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct TranscriptMarksQuery {
    /// The key of the session.
    session: String,
}

/// Rejects a session of another user in the same way as one that does not exist. The only place that
/// decides who can read a transcript.
fn require_own(service: &ServiceState, scope: &CallerScope, session: &str) -> Result<(), ApiError> {
    let directory = session.split('/').next().unwrap_or_default();
    match scope.directories(service)? {
        Some(own) if !own.iter().any(|own| own == directory) => Err(TranscriptError::Unknown {
            key: session.to_owned(),
        }
        .into()),
        _ => Ok(()),
    }
}

/// Returns a page of a transcript. All texts are redacted, and long ones are truncated.
#[utoipa::path(get, path = "/api/admin/transcript", operation_id = "show_transcript", tag = "admin", security(("bearer" = ["member"])),
    params(TranscriptQuery), responses(
        (status = 200, body = TranscriptBody),
        (status = 404, body = Problem, description = "The session has no transcript."),
        AuthenticatedResponses))]
pub(super) async fn page(
    State(service): State<Arc<ServiceState>>,
    access: TranscriptAccess,
    ValidQuery(query): ValidQuery<TranscriptQuery>,
) -> Result<Json<TranscriptBody>, ApiError> {
    let limit = params::limit(query.limit)?;
    let after = line_number(query.after)?;
    let body = service.read(access.role, move |service| {
        require_own(service, &access.scope, &query.session)?;
        let root = &service.config().sessions_root;
        let page = service
            .transcripts
            .page(root, &query.session, after, limit)?;
        Ok(TranscriptBody::new(query.session, page))
    });
    Ok(Json(body.await?))
}

/// Returns the whole text of a part of a line, up to 2 MiB. It is redacted.
#[utoipa::path(get, path = "/api/admin/transcript/entry", operation_id = "show_transcript_part", tag = "admin", security(("bearer" = ["member"])),
    params(TranscriptPartQuery), responses(
        (status = 200, body = TranscriptPartBody),
        (status = 404, body = Problem, description = "The session has no transcript, or it has no such part."),
        AuthenticatedResponses))]
pub(super) async fn part(
    State(service): State<Arc<ServiceState>>,
    access: TranscriptAccess,
    ValidQuery(query): ValidQuery<TranscriptPartQuery>,
) -> Result<Json<TranscriptPartBody>, ApiError> {
    let line = line_number(query.line)?;
    let body = service.read(access.role, move |service| {
        require_own(service, &access.scope, &query.session)?;
        let root = &service.config().sessions_root;
        let part = service
            .transcripts
            .part(root, &query.session, line, query.part)?;
        Ok(TranscriptPartBody::new(query.session, part))
    });
    Ok(Json(body.await?))
}

/// Returns the lines of a transcript to jump to: prompts, errors, compactions and sub-agents.
#[utoipa::path(get, path = "/api/admin/transcript/marks", operation_id = "list_transcript_marks", tag = "admin", security(("bearer" = ["member"])),
    params(TranscriptMarksQuery), responses(
        (status = 200, body = TranscriptMarksBody),
        (status = 404, body = Problem, description = "The session has no transcript."),
        AuthenticatedResponses))]
pub(super) async fn marks(
    State(service): State<Arc<ServiceState>>,
    access: TranscriptAccess,
    ValidQuery(query): ValidQuery<TranscriptMarksQuery>,
) -> Result<Json<TranscriptMarksBody>, ApiError> {
    let body = service.read(access.role, move |service| {
        require_own(service, &access.scope, &query.session)?;
        let root = &service.config().sessions_root;
        let marks = service.transcripts.marks(root, &query.session)?;
        Ok(TranscriptMarksBody::new(query.session, marks))
    });
    Ok(Json(body.await?))
}

fn line_number(line: u64) -> Result<u64, ApiError> {
    if line <= LINE_MAX {
        return Ok(line);
    }
    let detail = format!("invalid line number `{line}`; send a number up to {LINE_MAX}");
    Err(ApiError::unprocessable(detail))
}
