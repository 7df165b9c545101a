//! The HTTP service: its routes, their roles, and their responses.
//!
//! Each resource has a file with thin handlers, which call [`session_pipeline_pipeline`] and return
//! types of [`crate::body`]. `server` accepts connections, `guard` is the middleware of all routes,
//! and `caller` authenticates requests. Slow work runs on separate threads, so that the threads
//! that answer requests never block.

mod audit;
mod caller;
mod connections;
mod csv;
mod denials;
mod first_token;
mod guard;
mod head;
mod health;
mod knowledge;
mod lanes;
mod limits;
mod local;
mod metrics;
mod monitor;
mod openapi;
mod pace;
mod params;
mod prices;
mod problem;
mod processors;
mod quarantine;
mod reports;
mod reprocess;
mod runs;
mod server;
mod sessions;
mod shares;
mod source;
mod stream;
mod tokens;
mod transcript;
mod upload;
mod usage;

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::{Router, middleware};
use session_pipeline_host::clock::UtcMicros;
use session_pipeline_pipeline::health::{SchemaCache, SurveyCache};
use session_pipeline_pipeline::run::Pipeline;
use session_pipeline_pipeline::scheduler::{SchedulerHandle, cadences};
use session_pipeline_pipeline::token::{Keyring, Randomness, SchedulerSecret};
use session_pipeline_pipeline::transcript::TranscriptIndexes;
use session_pipeline_pipeline::upload::Uploads;
use session_pipeline_store::StoreError;
use tokio::sync::{Semaphore, watch};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use lanes::Lanes;

use crate::problem::ProblemClass;

pub(crate) use caller::{CallerIdentity, client_address};
pub(crate) use connections::Connection;
pub(crate) use denials::{HiddenDenial, RecognizedCaller, audit_failures};
pub use limits::HttpLimits;
pub(crate) use local::{Listener, LocalCaller, LocalReport, local_router};
pub use metrics::PREFIX as METRICS_PREFIX;
pub(crate) use problem::ApiError;
pub use server::{ServeError, Server, Shutdown};
pub(crate) use shares::CallerKey;
pub(crate) use source::{HandlerSource, ReadOnlyDataDir};
pub use upload::{BodyDecoder, ContentCoding};

/// Pages for people, which a server has next to the API. They are clients of the API.
pub trait Frontend: Send + Sync {
    /// The routes of the pages. `api` is the API for calls in this process.
    fn routes(&self, service: Arc<ServiceState>, api: Router) -> Router;

    /// Wraps all routes of the server, including those of the API.
    fn wrap(&self, routes: Router, service: Arc<ServiceState>) -> Router;
}

/// The state that all handlers share.
pub struct ServiceState {
    source: HandlerSource,
    /// `None`: the callers are in this process and need no token.
    keyring: Option<Keyring>,
    randomness: Box<dyn Randomness>,
    limits: HttpLimits,
    started_at: UtcMicros,
    /// The serialized OpenAPI document.
    document: OnceLock<String>,
    lanes: Lanes,
    denials: denials::Denials,
    uploads: Arc<Semaphore>,
    uploaders: upload::Uploaders,
    uploads_state: Uploads,
    schema: SchemaCache,
    survey: SurveyCache,
    requests: metrics::RequestMetrics,
    figures: metrics::FiguresCache,
    transcripts: TranscriptIndexes,
    scheduler: Option<SchedulerHandle>,
    frontend: Option<Box<dyn Frontend>>,
    /// Set once the cadences of the processors are loaded.
    has_cadences: OnceLock<()>,
    /// Why the process must exit. `None`: it can continue.
    fatal_error: watch::Sender<Option<String>>,
}

impl ServiceState {
    /// A service over an open pipeline.
    ///
    /// # Errors
    /// The tokens cannot be read.
    pub fn new(
        pipeline: Arc<Pipeline>,
        scheduler: Option<SchedulerSecret>,
        randomness: Box<dyn Randomness>,
        limits: HttpLimits,
    ) -> Result<Self, StoreError> {
        if let Err(error) = session_pipeline_pipeline::upload::discard_unfinished(pipeline.config())
        {
            tracing::warn!("cannot remove unfinished uploads: {error}");
        }
        let keyring = Keyring::open(pipeline.store(), scheduler)?;
        let source = HandlerSource::Pipeline(pipeline);
        Ok(Self::from_source(source, Some(keyring), randomness, limits))
    }

    /// A service for a command that opens the data directory itself. Only for [`local_router`].
    pub(crate) fn local(source: HandlerSource, randomness: Box<dyn Randomness>) -> Self {
        Self::from_source(source, None, randomness, HttpLimits::default())
    }

    fn from_source(
        source: HandlerSource,
        keyring: Option<Keyring>,
        randomness: Box<dyn Randomness>,
        limits: HttpLimits,
    ) -> Self {
        Self {
            started_at: source.clock().now(),
            source,
            keyring,
            document: OnceLock::new(),
            lanes: Lanes::new(&limits),
            denials: denials::Denials::default(),
            uploads: Arc::new(Semaphore::new(limits.uploads_max)),
            uploaders: upload::Uploaders::default(),
            uploads_state: Uploads::default(),
            schema: SchemaCache::default(),
            survey: SurveyCache::default(),
            requests: metrics::RequestMetrics::default(),
            figures: metrics::FiguresCache::default(),
            transcripts: TranscriptIndexes::default(),
            scheduler: None,
            frontend: None,
            has_cadences: OnceLock::new(),
            fatal_error: watch::Sender::default(),
            randomness,
            limits,
        }
    }

    /// Adds a scheduler, whose state the service reports.
    #[must_use]
    pub fn with_scheduler(mut self, scheduler: SchedulerHandle) -> Self {
        self.scheduler = Some(scheduler);
        self
    }

    /// Adds pages for people.
    #[must_use]
    pub fn with_frontend(mut self, frontend: impl Frontend + 'static) -> Self {
        self.frontend = Some(Box::new(frontend));
        self
    }

    /// The tokens and sign-ins. `None`: the callers are in this process.
    pub(crate) fn keyring(&self) -> Option<&Keyring> {
        self.keyring.as_ref()
    }

    /// The source of randomness.
    pub(crate) fn randomness(&self) -> &dyn Randomness {
        self.randomness.as_ref()
    }

    /// The cadence of each processor. The first call loads all processors, which can take seconds.
    /// A processor that is added later is loaded when it becomes active.
    fn cadences(&self) -> HashMap<String, Duration> {
        match &self.source {
            HandlerSource::Pipeline(pipeline) => {
                self.has_cadences.get_or_init(|| {
                    cadences(pipeline);
                });
                pipeline.registry().cadences()
            }
            HandlerSource::DataDir(dir) => dir.cadences(),
        }
    }

    /// Runs blocking work on a separate thread, without a queue. Only for short work.
    async fn run_blocking<T: Send + 'static>(
        self: &Arc<Self>,
        permit: impl Send + 'static,
        work: impl FnOnce(&Self) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let service = Arc::clone(self);
        let done = tokio::task::spawn_blocking(move || {
            // Released when the work is done, even if the client disconnects earlier.
            let _permit = permit;
            work(&service)
        });
        match done.await {
            Ok(result) => result.inspect_err(|error| self.check_fatal(error)),
            Err(error) => match error.try_into_panic() {
                Ok(panic) => Err(guard::panic_error(self.randomness.as_ref(), panic.as_ref())),
                Err(_) => Err(ApiError::stopping()),
            },
        }
    }

    /// Stops the service if the database is closed: only a new process can open it again.
    fn check_fatal(&self, error: &ApiError) {
        if error.class == ProblemClass::DatabaseClosed {
            let reason = error.detail.clone();
            self.fatal_error.send_replace(Some(reason));
        }
    }
}

impl std::fmt::Debug for ServiceState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServiceState")
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

/// The routes of a server, with its middleware.
fn router(service: Arc<ServiceState>) -> Router {
    let (routes, _) = routes_with_document();
    let audit = middleware::from_fn_with_state(Arc::clone(&service), denials::audit_failures);
    let routes = routes.layer(audit).with_state(Arc::clone(&service));
    let Some(frontend) = &service.frontend else {
        return guard::with_checks(routes, service);
    };
    let api = guard::for_calls_in_process(routes.clone(), Arc::clone(&service));
    let pages = frontend.routes(Arc::clone(&service), api);
    let all = guard::with_checks(routes.merge(pages), Arc::clone(&service));
    frontend.wrap(all, Arc::clone(&service))
}

/// The routes and their OpenAPI document, both generated from the handlers.
fn routes_with_document() -> (Router<Arc<ServiceState>>, utoipa::openapi::OpenApi) {
    let (routes, mut document) = OpenApiRouter::with_openapi(openapi::base_document())
        .routes(routes!(health::health))
        .routes(routes!(health::version))
        .routes(routes!(health::detailed))
        .routes(routes!(health::acknowledge))
        .routes(routes!(health::scheduler))
        .routes(routes!(runs::run))
        .routes(routes!(runs::list))
        .routes(routes!(runs::show))
        .routes(routes!(processors::list))
        .routes(routes!(sessions::list))
        .routes(routes!(transcript::page))
        .routes(routes!(transcript::part))
        .routes(routes!(transcript::marks))
        .routes(routes!(knowledge::list))
        .routes(routes!(knowledge::show))
        .routes(routes!(knowledge::export))
        .routes(routes!(knowledge::decide_several))
        .routes(routes!(knowledge::approve))
        .routes(routes!(knowledge::reject))
        .routes(routes!(audit::list))
        .routes(routes!(quarantine::list))
        .routes(routes!(quarantine::release))
        .routes(routes!(reprocess::reprocess))
        .routes(routes!(tokens::list, tokens::create))
        .routes(routes!(tokens::revoke))
        .routes(routes!(upload::upload))
        .routes(routes!(upload::resumable::manifest))
        .routes(routes!(upload::resumable::put))
        .routes(routes!(reports::usage))
        .routes(routes!(reports::tools))
        .routes(routes!(reports::skills))
        .routes(routes!(reports::waste))
        .routes(routes!(reports::quality))
        .routes(routes!(prices::list))
        .routes(routes!(prices::update))
        .routes(routes!(usage::reprocess))
        .routes(routes!(usage::prune))
        .routes(routes!(usage::export))
        .routes(routes!(usage::summary))
        .routes(routes!(metrics::metrics))
        .routes(routes!(openapi::get))
        .split_for_parts();
    openapi::rename_wildcards(&mut document);
    (routes, document)
}
