//! Routes of transcripts: pages of entries, whole texts, and the lines to jump to.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use session_pipeline_store::Role;
use utoipa::IntoParams;

use super::ServiceState;
use super::caller::Admin;
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

/// A caller who can read the transcript of the requested session.
struct TranscriptReader {
    role: Role,
}

impl TranscriptReader {
    /// The only place that decides who can read a transcript.
    fn of(Admin(admin): &Admin, _session: &str) -> Result<Self, ApiError> {
        Ok(Self {
            role: admin.authenticated.role,
        })
    }
}

/// Returns a page of a transcript. All texts are redacted, and long ones are truncated.
#[utoipa::path(get, path = "/api/admin/transcript", operation_id = "show_transcript", tag = "admin", security(("bearer" = ["admin"])),
    params(TranscriptQuery), responses(
        (status = 200, body = TranscriptBody),
        (status = 404, body = Problem, description = "The session has no transcript."),
        AuthenticatedResponses))]
pub(super) async fn page(
    State(service): State<Arc<ServiceState>>,
    admin: Admin,
    ValidQuery(query): ValidQuery<TranscriptQuery>,
) -> Result<Json<TranscriptBody>, ApiError> {
    let limit = params::limit(query.limit)?;
    let after = line_number(query.after)?;
    let reader = TranscriptReader::of(&admin, &query.session)?;
    let body = service.read(reader.role, move |service| {
        let root = &service.config().sessions_root;
        let page = service
            .transcripts
            .page(root, &query.session, after, limit)?;
        Ok(TranscriptBody::new(query.session, page))
    });
    Ok(Json(body.await?))
}

/// Returns the whole text of a part of a line, up to 2 MiB. It is redacted.
#[utoipa::path(get, path = "/api/admin/transcript/entry", operation_id = "show_transcript_part", tag = "admin", security(("bearer" = ["admin"])),
    params(TranscriptPartQuery), responses(
        (status = 200, body = TranscriptPartBody),
        (status = 404, body = Problem, description = "The session has no transcript, or it has no such part."),
        AuthenticatedResponses))]
pub(super) async fn part(
    State(service): State<Arc<ServiceState>>,
    admin: Admin,
    ValidQuery(query): ValidQuery<TranscriptPartQuery>,
) -> Result<Json<TranscriptPartBody>, ApiError> {
    let line = line_number(query.line)?;
    let reader = TranscriptReader::of(&admin, &query.session)?;
    let body = service.read(reader.role, move |service| {
        let root = &service.config().sessions_root;
        let part = service
            .transcripts
            .part(root, &query.session, line, query.part)?;
        Ok(TranscriptPartBody::new(query.session, part))
    });
    Ok(Json(body.await?))
}

/// Returns the lines of a transcript to jump to: prompts, errors, compactions and sub-agents.
#[utoipa::path(get, path = "/api/admin/transcript/marks", operation_id = "list_transcript_marks", tag = "admin", security(("bearer" = ["admin"])),
    params(TranscriptMarksQuery), responses(
        (status = 200, body = TranscriptMarksBody),
        (status = 404, body = Problem, description = "The session has no transcript."),
        AuthenticatedResponses))]
pub(super) async fn marks(
    State(service): State<Arc<ServiceState>>,
    admin: Admin,
    ValidQuery(query): ValidQuery<TranscriptMarksQuery>,
) -> Result<Json<TranscriptMarksBody>, ApiError> {
    let reader = TranscriptReader::of(&admin, &query.session)?;
    let body = service.read(reader.role, move |service| {
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
