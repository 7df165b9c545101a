//! Whether everything is healthy, and what to do if not: checks, processors, runs, quarantine,
//! tokens and the audit log.

use maud::{Markup, html};

use super::filters::Filters;
use super::format::{bytes, count, counted, duration, plain, time};
use super::frame::{Reader, Section, empty};
use super::session::{action, multiline};
use super::transcript::session_href;
use super::visit::{View, Visit};
use crate::body::admin::{AuditBody, ProcessorsBody};
use crate::body::health::{DetailedHealth, HealthCheckBody, ScheduledJob, SchedulerBody};
use crate::body::quarantine::QuarantineBody;
use crate::body::run::{RunSummary, RunsBody};
use crate::body::token::{CreatedTokenBody, TokensBody};
use crate::http::ApiError;

/// The data of the page.
pub(super) struct Operations {
    pub(super) health: DetailedHealth,
    pub(super) scheduler: SchedulerBody,
    pub(super) processors: ProcessorsBody,
    pub(super) runs: RunsBody,
    pub(super) quarantine: QuarantineBody,
    pub(super) tokens: TokensBody,
    pub(super) audit: AuditBody,
    /// A token that was just created. Its text is shown once.
    pub(super) created: Option<CreatedTokenBody>,
    /// What a change did, or why it failed.
    pub(super) message: Option<Result<String, String>>,
}

/// The page of operations, after a change with what came of it.
///
/// # Errors
/// The API fails.
pub(super) async fn load(
    visit: &Visit,
    view: &View,
    created: Option<CreatedTokenBody>,
    message: Option<Result<String, String>>,
) -> Result<Markup, ApiError> {
    let (health, scheduler, processors, runs, quarantine, tokens, audit) = tokio::try_join!(
        visit.get::<DetailedHealth>("/api/health/detailed"),
        visit.get("/api/admin/scheduler"),
        visit.get("/api/admin/processors"),
        visit.get("/api/admin/runs?limit=20"),
        visit.get("/api/admin/quarantine?limit=50"),
        visit.get("/api/admin/tokens?limit=50"),
        visit.get("/api/admin/audit?limit=25"),
    )?;
    let data = Operations {
        health,
        scheduler,
        processors,
        runs,
        quarantine,
        tokens,
        audit,
        created,
        message,
    };
    let main = page(&data, &view.filters, &view.reader);
    Ok(view.page("Operations", Section::Operations, false, &main))
}

/// What the page says after a change that it was redirected from.
pub(super) fn done_text(done: &str) -> Option<String> {
    Some(match done {
        "run" => "The run has started. The table below shows its progress.".to_owned(),
        "released" => "The session was released. The next run tries it again.".to_owned(),
        "revoked" => "The token was revoked. It and its sign-ins are no longer valid.".to_owned(),
        _ => return None,
    })
}

fn page(data: &Operations, filters: &Filters, reader: &Reader) -> Markup {
    html! {
        h1 { "Operations" }
        @match &data.message {
            Some(Ok(text)) => p .notice .ok role="status" { (plain(text)) },
            Some(Err(text)) => p .notice .error role="alert" { (plain(text)) },
            None => {},
        }
        @if let Some(created) = &data.created {
            div .notice .ok role="status" {
                p { "The new token. Copy it now: it is not shown again." }
                p { code { (created.token) } }
            }
        }
        section .panel aria-labelledby="health" { h2 #health { "Health" } (health(&data.health)) }
        section .panel aria-labelledby="processors" {
            h2 #processors { "Processors" } (processors(&data.processors, &data.scheduler, reader)) }
        section .panel aria-labelledby="runs" { h2 #runs { "Runs" } (runs(&data.runs, filters)) }
        section .panel aria-labelledby="quarantine" { h2 #quarantine { "Quarantine" } (quarantine(&data.quarantine, reader)) }
        section .panel aria-labelledby="tokens" { h2 #tokens { "Tokens" } (tokens(&data.tokens, reader)) }
        section .panel aria-labelledby="audit" { h2 #audit { "Audit log" } (audit(&data.audit)) }
    }
}

/// The class of a state, by its name in the API.
fn class(state: &str) -> &'static str {
    match state {
        "ok" | "healthy" => "tag ok",
        "warning" | "degraded" => "tag warning",
        "error" | "unhealthy" | "failed" => "tag error",
        _ => "tag",
    }
}

/// The name of a value in the API.
fn word(value: &impl serde::Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        _ => String::new(),
    }
}

fn health(health: &DetailedHealth) -> Markup {
    let state = word(&health.status);
    let rank = |check: &HealthCheckBody| match check.status.as_ref().map(word).as_deref() {
        Some("error") => 0,
        Some("warning") => 1,
        Some("unknown") => 2,
        Some("info") => 3,
        _ => 4,
    };
    let (fine, mut checks): (Vec<_>, Vec<_>) = health
        .services
        .iter()
        .partition(|(_, check)| rank(check) == 4 && check.detail.is_none());
    let fine: Vec<String> = fine
        .iter()
        .map(|(name, _)| plain(&name.replace('_', " ")))
        .collect();
    checks.sort_by_key(|(name, check)| (rank(check), *name));
    html! {
        p { span class=(class(&state)) { (state) } " Version " (plain(&health.version)) ", database schema " (health.schema_version)
            ", started " (time(Some(&health.deployed_at))) }
        @if !fine.is_empty() { p { span .tag .ok { "ok" } " " (fine.join(", ")) } }
        @if !checks.is_empty() { div .scroll tabindex="0" role="region" aria-label="Health checks" {
            table .stack {
                thead { tr { th scope="col" { "Check" } th scope="col" { "State" } th scope="col" { "Finding" } th scope="col" { "What to do" } } }
                tbody { @for (name, check) in checks {
                    @let state = check.status.as_ref().map(word).unwrap_or_default();
                    tr {
                        th scope="row" { (plain(&name.replace('_', " "))) }
                        td data-label="State" { span class=(class(&state)) { (state) } }
                        td .wide data-label="Finding" { (check.detail.as_deref().map_or_else(|| "–".to_owned(), plain)) }
                        td .wide data-label="What to do" { (check.next_action.as_deref().map_or_else(|| "–".to_owned(), plain)) }
                    }
                } }
            }
        } }
    }
}

fn processors(processors: &ProcessorsBody, scheduler: &SchedulerBody, reader: &Reader) -> Markup {
    html! {
        p { @if scheduler.enabled {
            "The scheduler is on" @if let Some(at) = &scheduler.last_tick_at { ", and last looked for work " (time(Some(at))) } "."
        } @else { "The scheduler is off: processors run only by hand or from outside." } }
        @if processors.processors.is_empty() { (empty("No processor is installed.")) }
        div .scroll tabindex="0" role="region" aria-label="Processors" {
            table .stack {
                thead { tr {
                    th scope="col" { "Processor" } th scope="col" .number { "Version" } th scope="col" { "Schedule" }
                    th scope="col" { "Last run" } th scope="col" { "Result" } th scope="col" { "Action" }
                } }
                tbody { @for processor in &processors.processors {
                    @let job = scheduler.jobs.iter().find(|job| job.processor == processor.name);
                    tr {
                        th scope="row" .wide { (plain(&processor.name))
                            @if let Some(text) = &processor.description { span .sub { (plain(text)) } }
                            @if let Some(reason) = &processor.unavailable { span .sub .error-text { (plain(reason)) } }
                        }
                        td .number data-label="Version" { (processor.version.map_or_else(|| "–".to_owned(), |version| version.to_string())) }
                        td data-label="Schedule" { (schedule(job, processor.schedule.as_deref())) }
                        td data-label="Last run" {
                            @match job.and_then(|job| job.running_since.as_deref()) {
                                Some(since) => { span .tag { "running" } " since " (time(Some(since))) },
                                None => (time(processor.last_run_at.as_deref())),
                            }
                        }
                        td .wide data-label="Result" {
                            @if let Some(job) = job {
                                @if let Some(status) = &job.last_status { span class=(class(&word(status))) { (word(status)) } }
                                @if let Some(reason) = &job.last_reason { span .sub { (plain(reason)) } }
                            }
                        }
                        td data-label="Action" {
                            form method="post" action="/operations/run" {
                                (super::csrf::field(&reader.csrf))
                                input type="hidden" name="processor" value=(processor.name);
                                button aria-label=(format!("Run now: {}", plain(&processor.name))) { "Run now" }
                            }
                        }
                    }
                } }
            }
        }
        @for file in &processors.refused_files {
            p .notice .error { (plain(&file.file)) ": " (plain(&file.reason)) }
        }
    }
}

/// When a processor runs.
///
/// `job`: its job of the scheduler. `configured`: the schedule that it has when the scheduler is on.
fn schedule(job: Option<&ScheduledJob>, configured: Option<&str>) -> Markup {
    html! {
        @match (job, configured) {
            (Some(job), _) => (plain(&job.schedule)),
            (None, Some(configured)) => { "by hand" span .sub { "with a scheduler: " (plain(configured)) } },
            (None, None) => "by hand",
        }
    }
}

/// The latest runs. While one is in progress, the table reloads itself.
pub(super) fn runs(runs: &RunsBody, filters: &Filters) -> Markup {
    let is_running = |run: &RunSummary| run.finished_at.is_none();
    let poll = runs.runs.iter().any(is_running);
    html! {
        div hx-get=[poll.then(|| filters.link("/operations/runs", &[]))] hx-trigger=[poll.then_some("every 2s")] hx-swap=[poll.then_some("outerHTML")] {
            @if runs.runs.is_empty() { (empty("No run yet. Start one above.")) } @else {
                div .scroll tabindex="0" role="region" aria-label="Runs" {
                    table .stack {
                        thead { tr {
                            th scope="col" { "Started" } th scope="col" { "Processor" } th scope="col" { "By" } th scope="col" { "Result" }
                            @for name in ["Processed", "Failed", "Waiting", "Items", "Bytes", "Duration"] { th scope="col" .number { (name) } }
                        } }
                        tbody { @for run in &runs.runs {
                            @let result = run.result.as_ref().map_or_else(|| if is_running(run) { "running".to_owned() } else { "interrupted".to_owned() }, word);
                            tr {
                                th scope="row" { (time(Some(&run.started_at))) }
                                td data-label="Processor" { (plain(&run.processor)) }
                                td data-label="By" { (word(&run.trigger)) }
                                td .wide data-label="Result" { span class=(class(&result)) { (result) }
                                    @if let Some(error) = &run.error { span .sub { (plain(error)) } }
                                    @if let Some(stats) = &run.stats { @for failure in stats.errors_detail.iter().take(3) {
                                        span .sub { a href=(session_href(&failure.session)) { (plain(&failure.session)) } ": " (plain(&failure.fault)) }
                                    } }
                                }
                                @if let Some(stats) = &run.stats {
                                    td .number data-label="Processed" { (number(stats.processed)) " of " (number(stats.scanned)) }
                                    td .number data-label="Failed" { (number(stats.errors)) }
                                    td .number data-label="Waiting" { (number(stats.waiting)) }
                                    td .number data-label="Items" { (number(stats.items_extracted)) }
                                    td .number data-label="Bytes" { (bytes(stats.bytes)) }
                                    td .number data-label="Duration" { (duration(stats.duration_ms as f64)) }
                                } @else { @for _ in 0..6 { td .number { "–" } } }
                            }
                        } }
                    }
                }
            }
        }
    }
}

fn number(value: u64) -> String {
    count(i64::try_from(value).unwrap_or(i64::MAX))
}

fn quarantine(quarantine: &QuarantineBody, reader: &Reader) -> Markup {
    html! {
        @if quarantine.sessions.is_empty() { (empty("No session is in quarantine.")) } @else {
            p { "These sessions failed too often and are not tried again until their file changes or you release them. Read the fault, fix its cause, and release them." }
            @for session in &quarantine.sessions {
                article aria-label=(plain(&session.session)) {
                    h3 { a href=(session_href(&session.session)) { (plain(&session.session)) } }
                    p .links {
                        span { (plain(&session.processor)) }
                        span .tag .error { (plain(&session.fault)) }
                        span { (counted(session.attempts.into(), "attempt", "attempts")) }
                        span { "since " (time(session.quarantined_at.as_deref())) }
                    }
                    details { summary { "Log" } pre { (multiline(&session.detail)) } }
                    div .actions { (action("/operations/release", "Release", &session.processor, &session.session, reader)) }
                }
            }
            @if quarantine.next.is_some() { p .links { "Only the first of them are shown." } }
        }
    }
}

fn tokens(tokens: &TokensBody, reader: &Reader) -> Markup {
    html! {
        form .filters method="post" action="/operations/tokens" {
            (super::csrf::field(&reader.csrf))
            label { "Role" select name="role" { @for role in ["member", "analyst", "admin"] { option value=(role) { (role) } } } }
            label .grow { "User" input name="user" placeholder="E-mail; required for members" autocomplete="off"; }
            label .grow { "Label" input name="label" placeholder="What it is for" autocomplete="off"; }
            button .primary { "Create token" }
        }
        @if tokens.tokens.is_empty() { (empty("No tokens yet.")) } @else {
            div .scroll tabindex="0" role="region" aria-label="Tokens" {
                table .stack {
                    thead { tr { th scope="col" { "Token" } th scope="col" { "Role" } th scope="col" { "User" } th scope="col" { "Created" } th scope="col" { "Last used" } th scope="col" { "State" } th scope="col" { "Action" } } }
                    tbody { @for token in &tokens.tokens { tr {
                        th scope="row" .wide { (plain(token.label.as_deref().unwrap_or("–"))) span .sub { (plain(&token.id)) } }
                        td data-label="Role" { (word(&token.role)) }
                        td .wide data-label="User" { (token.user.as_deref().map_or_else(|| "–".to_owned(), plain)) }
                        td data-label="Created" { (time(Some(&token.created_at))) }
                        td data-label="Last used" { (time(token.last_used_at.as_deref())) }
                        td data-label="State" {
                            @if token.revoked_at.is_some() { span .tag .error { "revoked" } }
                            @else if let Some(at) = &token.expires_at { "expires " (time(Some(at))) }
                            @else { span .tag .ok { "valid" } }
                        }
                        td data-label="Action" { @if token.revoked_at.is_none() {
                            form method="post" action="/operations/revoke" {
                                (super::csrf::field(&reader.csrf))
                                input type="hidden" name="id" value=(token.id);
                                button aria-label=(format!("Revoke the token {}", plain(&token.id))) { "Revoke" }
                            }
                        } }
                    } } }
                }
            }
        }
    }
}

fn audit(audit: &AuditBody) -> Markup {
    html! {
        @if audit.entries.is_empty() { (empty("No entries yet.")) } @else {
            div .scroll tabindex="0" role="region" aria-label="Audit log" {
                table .stack {
                    thead { tr { th scope="col" { "Time" } th scope="col" { "Action" } th scope="col" { "By" } th scope="col" { "On" } th scope="col" { "Result" } } }
                    tbody { @for entry in &audit.entries { tr {
                        th scope="row" { (time(Some(&entry.timestamp.to_string()))) }
                        td data-label="Action" { (plain(&entry.action)) }
                        td .wide data-label="By" { (entry.user_id.as_deref().map_or_else(|| "–".to_owned(), plain))
                            @if let Some(ip) = &entry.client_ip { span .sub { (plain(ip)) } } }
                        td .wide data-label="On" { (entry.resource.as_deref().map_or_else(|| "–".to_owned(), plain)) }
                        td data-label="Result" { (entry.result.as_deref().map_or_else(|| "–".to_owned(), plain)) }
                    } } }
                }
            }
        }
    }
}
