//! The metrics of the pipeline: what this process committed, and the latest figures.
//!
//! Every label has few values: processors that are installed, kinds of faults, and a limited number
//! of models. Names of users are only present if the operator asks for them. No label contains the
//! key of a session, a path or text of a transcript.

use session_pipeline_pipeline::budgets::BudgetUse;
use session_pipeline_pipeline::monitoring::MonitoringFigures;
use session_pipeline_pipeline::report::ModelUsage;
use session_pipeline_store::{NotificationState, Store, WorkCounts};

use super::samples::{Labels, SampleFamily, label};
use crate::build::build;
use crate::http::ServiceState;

/// The label value of all names beyond the limit.
const OTHER: &str = "(other)";

/// All metrics except those of requests.
pub(super) fn families(
    service: &ServiceState,
    figures: Option<&MonitoringFigures>,
) -> Vec<SampleFamily> {
    let mut families = vec![build_info(service), started(service)];
    if let Some(store) = service.store() {
        let work = store.activity().work();
        families.extend(work_done(&work));
        families.extend(model_calls(&work));
        families.extend(database(store));
    }
    if let Ok(pipeline) = service.pipeline() {
        let running = pipeline.running().into_iter();
        families.push(SampleFamily::gauge(
            "runs_in_progress",
            "Runs in progress by processor",
            running.map(|processor| (vec![label("processor", &processor)], 1.0)),
        ));
    }
    families.push(SampleFamily::gauge(
        "scheduler_up",
        "Whether this process starts scheduled runs",
        [(
            Labels::new(),
            f64::from(u8::from(service.scheduler.is_some())),
        )],
    ));
    if let Some(figures) = figures {
        families.extend(backlog(service, figures));
        families.extend(usage(figures));
        families.extend(budgets(figures));
        families.extend(freshness(service, figures));
    }
    families
}

fn build_info(service: &ServiceState) -> SampleFamily {
    let build = build(service.started_at);
    SampleFamily::info(
        "build",
        "The program and its database schema",
        vec![
            label("version", build.version),
            label("channel", build.channel),
            label("commit", build.commit_sha),
            label(
                "schema_version",
                &service
                    .store()
                    .map_or(0, Store::expected_schema_version)
                    .to_string(),
            ),
        ],
    )
}

fn started(service: &ServiceState) -> SampleFamily {
    SampleFamily::gauge(
        "start_time_seconds",
        "When this process started, in seconds since 1970",
        [(Labels::new(), seconds(service.started_at.0))],
    )
}

fn seconds(micros: i64) -> f64 {
    micros as f64 / 1e6
}

fn work_done(work: &WorkCounts) -> Vec<SampleFamily> {
    let runs = work.runs.iter().map(|((processor, result), count)| {
        let labels = vec![label("processor", processor), label("result", result)];
        (labels, *count as f64)
    });
    let sessions = work
        .sessions
        .iter()
        .map(|((processor, result, fault), count)| {
            let mut labels = vec![
                label("processor", processor),
                label("outcome", result.as_str()),
            ];
            labels.extend(fault.map(|fault| label("fault", fault)));
            (labels, *count as f64)
        });
    let processors = || {
        let processors = work.processors.iter();
        processors.map(|(processor, work)| (vec![label("processor", processor)], work))
    };
    vec![
        SampleFamily::counter("runs", "Finished runs by processor and result", runs),
        SampleFamily::counter(
            "sessions",
            "Committed sessions by processor, outcome and fault",
            sessions,
        ),
        SampleFamily::counter(
            "guest_fuel",
            "Fuel that processors used",
            processors().map(|(labels, work)| (labels, work.fuel as f64)),
        ),
        SampleFamily::counter(
            "guest_seconds",
            "CPU time of processors, with host calls on their behalf",
            processors().map(|(labels, work)| (labels, work.guest_micros as f64 / 1e6)),
        ),
        SampleFamily::counter(
            "session_bytes",
            "Bytes of the sessions that processors read",
            processors().map(|(labels, work)| (labels, work.bytes as f64)),
        ),
    ]
}

fn model_calls(work: &WorkCounts) -> Vec<SampleFamily> {
    let labels =
        |processor: &str, model: &str| vec![label("processor", processor), label("model", model)];
    let calls = work
        .model_calls
        .iter()
        .map(|((processor, model, outcome), call)| {
            let mut labels = labels(processor, model);
            labels.push(label("outcome", outcome));
            (labels, call.calls as f64)
        });
    // Sums over the outcomes: failed requests can cost tokens as well.
    let mut totals = std::collections::BTreeMap::new();
    for ((processor, model, _), call) in &work.model_calls {
        let total: &mut (u64, u64, f64) = totals.entry((processor, model)).or_default();
        total.0 = total.0.saturating_add(call.input_tokens);
        total.1 = total.1.saturating_add(call.output_tokens);
        total.2 += call.cost.dollars();
    }
    let tokens = totals.iter().flat_map(|((processor, model), total)| {
        [("input", total.0), ("output", total.1)].map(|(kind, tokens)| {
            let mut labels = labels(processor, model);
            labels.push(label("type", kind));
            (labels, tokens as f64)
        })
    });
    let costs = totals
        .iter()
        .map(|((processor, model), total)| (labels(processor, model), total.2));
    vec![
        SampleFamily::counter(
            "model_calls",
            "Requests of processors to language models by model and outcome",
            calls,
        ),
        SampleFamily::counter(
            "model_tokens",
            "Tokens of requests of processors to language models, as the budgets count them",
            tokens,
        ),
        SampleFamily::counter(
            "model_cost_dollars",
            "Cost of requests of processors to language models with a price",
            costs,
        ),
    ]
}

fn database(store: &Store) -> Vec<SampleFamily> {
    let writer = store.activity().writer();
    let one = |value: f64| [(Labels::new(), value)];
    let bytes = |bytes: Result<u64, session_pipeline_store::StoreError>| {
        bytes.ok().map(|bytes| (Labels::new(), bytes as f64))
    };
    vec![
        SampleFamily::gauge(
            "writer_queue_jobs",
            "Jobs that wait for the writer of the database",
            one(writer.queue as f64),
        ),
        SampleFamily::histogram(
            "writer_wait_seconds",
            "How long jobs waited for the writer of the database",
            writer.waits,
        ),
        SampleFamily::histogram(
            "commit_duration_seconds",
            "Duration of committed transactions",
            writer.commits,
        ),
        SampleFamily::gauge(
            "database_bytes",
            "Size of the database file",
            bytes(store.file_bytes()),
        ),
        SampleFamily::gauge(
            "database_log_bytes",
            "Size of the write-ahead log of the database",
            bytes(store.log_bytes()),
        ),
    ]
}

fn backlog(service: &ServiceState, figures: &MonitoringFigures) -> Vec<SampleFamily> {
    let installed = service.registry().names();
    let is_installed = |processor: &str| installed.iter().any(|name| name == processor);
    let waiting = figures.backlogs.iter().filter_map(|backlog| {
        let labels = vec![label("processor", &backlog.processor)];
        Some((labels, backlog.sessions? as f64))
    });
    let oldest = figures.backlogs.iter().filter_map(|backlog| {
        backlog.sessions?;
        let labels = vec![label("processor", &backlog.processor)];
        Some((labels, backlog.oldest.unwrap_or_default().as_secs_f64()))
    });
    let failures = || {
        let failures = figures.failures.iter().flatten();
        failures.filter(|failures| is_installed(&failures.processor))
    };
    let by_processor =
        |processor: &str, count: u64| (vec![label("processor", processor)], count as f64);
    let last_runs = figures.latest_runs.iter().flatten();
    let last_runs = last_runs.filter(|run| is_installed(&run.processor));
    vec![
        SampleFamily::gauge(
            "backlog_sessions",
            "Sessions that wait for a processor, without those in quarantine",
            waiting,
        ),
        SampleFamily::gauge(
            "backlog_oldest_seconds",
            "Age of the oldest session that waits for a processor",
            oldest,
        ),
        SampleFamily::gauge(
            "session_files",
            "Session files on disk",
            figures
                .session_files
                .map(|files| (Labels::new(), files as f64)),
        ),
        SampleFamily::gauge(
            "quarantined_sessions",
            "Sessions in quarantine by processor. Processors without failures are absent",
            failures().map(|failures| by_processor(&failures.processor, failures.quarantined)),
        ),
        SampleFamily::gauge(
            "failing_sessions",
            "Sessions whose last attempt failed by processor. Processors without failures are absent",
            failures().map(|failures| by_processor(&failures.processor, failures.failing)),
        ),
        SampleFamily::gauge(
            "last_run_timestamp_seconds",
            "End of the last run that was not interrupted, in seconds since 1970",
            last_runs.filter_map(|run| {
                Some((
                    vec![label("processor", &run.processor)],
                    seconds(run.ended_at?.0),
                ))
            }),
        ),
    ]
}

fn usage(figures: &MonitoringFigures) -> Vec<SampleFamily> {
    let Ok(models) = &figures.models else {
        return Vec::new();
    };
    let is_per_user = models.iter().any(|usage| usage.user.is_some());
    let labels = |usage: &ModelUsage| {
        let mut labels = vec![label("model", usage.model.as_deref().unwrap_or(OTHER))];
        if is_per_user {
            labels.push(label("user", usage.user.as_deref().unwrap_or(OTHER)));
        }
        labels
    };
    let models = || distinct(models, &labels);
    let tokens = models().into_iter().flat_map(|(labels, usage)| {
        let types = [
            ("input", usage.input_tokens),
            ("output", usage.output_tokens),
            ("cache_read", usage.cache_read_tokens),
            ("cache_creation", usage.cache_creation_tokens),
        ];
        types.map(|(kind, tokens)| {
            let mut labels = labels.clone();
            labels.push(label("type", kind));
            (labels, tokens as f64)
        })
    });
    let costs = models()
        .into_iter()
        .map(|(labels, usage)| (labels, usage.cost.dollars()));
    let messages = models()
        .into_iter()
        .map(|(labels, usage)| (labels, usage.messages as f64));
    // Gauges: they fall when sessions are removed, and the cost follows changes of prices.
    vec![
        SampleFamily::gauge(
            "usage_tokens",
            "Tokens of the agents by model and type, over all sessions",
            tokens,
        ),
        SampleFamily::gauge(
            "usage_cost_dollars",
            "Cost of the agents by model, over all messages with a price",
            costs,
        ),
        SampleFamily::gauge(
            "usage_messages",
            "Messages of the agents by model, over all sessions",
            messages,
        ),
    ]
}

/// Adds up the usage with equal labels: the printable parts of two names can be equal, and a metric
/// must not have the same labels twice.
fn distinct(
    models: &[ModelUsage],
    labels: &impl Fn(&ModelUsage) -> Labels,
) -> std::collections::BTreeMap<Labels, ModelUsage> {
    let mut sums = std::collections::BTreeMap::new();
    for usage in models {
        let sum: &mut ModelUsage = sums.entry(labels(usage)).or_default();
        sum.input_tokens = sum.input_tokens.saturating_add(usage.input_tokens);
        sum.output_tokens = sum.output_tokens.saturating_add(usage.output_tokens);
        sum.cache_read_tokens = sum
            .cache_read_tokens
            .saturating_add(usage.cache_read_tokens);
        sum.cache_creation_tokens = sum
            .cache_creation_tokens
            .saturating_add(usage.cache_creation_tokens);
        sum.messages = sum.messages.saturating_add(usage.messages);
        let cost = sum.cost.pico_dollars;
        sum.cost.pico_dollars = cost.saturating_add(usage.cost.pico_dollars);
    }
    sums
}

fn budgets(figures: &MonitoringFigures) -> Vec<SampleFamily> {
    let mut families = Vec::new();
    if let Ok(Some(report)) = &figures.budgets {
        let labels = |budget_use: &BudgetUse| {
            let budget = &budget_use.budget;
            vec![
                label("scope", budget.scope.as_str()),
                label("period", budget.period.as_str()),
                label("limit_dollars", &budget.limit.to_string()),
                label(
                    "warn_at",
                    &(f64::from(budget.warn_at_permille) / 1000.0).to_string(),
                ),
            ]
        };
        let all = || report.budgets.iter();
        families.push(SampleFamily::gauge(
            "budget_used_ratio",
            "Cost of the current period as a share of the budget. Of users and projects, the highest",
            all().map(|budget_use| (labels(budget_use), budget_use.highest_share())),
        ));
        families.push(SampleFamily::gauge(
            "budget_reached",
            "Users, projects or totals that reached the mark of the budget",
            all().map(|budget_use| {
                let reached = budget_use.at_or_above(budget_use.budget.warn_at_permille);
                (labels(budget_use), reached.count() as f64)
            }),
        ));
    }
    if let Ok(counts) = &figures.notifications {
        let counts = counts
            .iter()
            .map(|(state, count): &(NotificationState, u64)| {
                (vec![label("state", state.as_str())], *count as f64)
            });
        families.push(SampleFamily::gauge(
            "notifications",
            "Notifications of the last 400 days by state",
            counts,
        ));
    }
    families
}

fn freshness(service: &ServiceState, figures: &MonitoringFigures) -> Vec<SampleFamily> {
    let age = service.clock().now().0.saturating_sub(figures.at.0).max(0);
    vec![
        SampleFamily::gauge(
            "figures_age_seconds",
            "Age of the backlog, quarantine, usage and budget figures",
            [(Labels::new(), seconds(age))],
        ),
        SampleFamily::gauge(
            "figures_failed",
            "Parts of these figures that could not be read, and are absent",
            [(Labels::new(), figures.failed_parts() as f64)],
        ),
    ]
}
