//! The service: routes, who may use them, and what they answer.
//!
//! One file per noun, each thin: it translates to and from [`session_pipeline_pipeline`], and from
//! [`crate::body`] comes what goes over the wire. `server` takes connections, `guard` stands before
//! all routes, `caller` knows who asks. Whatever takes time runs on threads of its own, so that the
//! ones that answer requests never wait.

mod asked;
mod audit;
mod caller;
mod connections;
mod denials;
mod first_token;
mod guard;
mod head;
mod health;
mod knowledge;
mod lanes;
mod limits;
mod local;
mod openapi;
mod pace;
mod problem;
mod processors;
mod quarantine;
mod reprocess;
mod runs;
mod server;
mod sessions;
mod source;
mod stream;
mod tokens;
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
use session_pipeline_pipeline::upload::UploadQuotas;
use session_pipeline_store::StoreError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use lanes::Lanes;
use problem::ApiError;

use crate::problem::ProblemClass;

pub use limits::HttpLimits;
pub(crate) use local::{Listener, LocalCaller, LocalReport, local_router};
pub use server::{ServeError, Server, Shutdown};
pub(crate) use source::{HandlerSource, ReadOnlyDataDir};

/// All that the handlers share.
pub struct ServiceState {
    source: HandlerSource,
    /// `None`: callers are in this process, and need no token.
    keyring: Option<Keyring>,
    randomness: Box<dyn Randomness>,
    limits: HttpLimits,
    started_at: UtcMicros,
    /// The description of the routes, as it is served.
    document: OnceLock<String>,
    lanes: Lanes,
    denials: denials::Denials,
    uploads: Arc<Semaphore>,
    uploaders: upload::Uploaders,
    ledger: UploadQuotas,
    schema: SchemaCache,
    survey: SurveyCache,
    scheduler: Option<SchedulerHandle>,
    /// Whether the processors were asked for their cadences.
    asked: OnceLock<()>,
    /// Why the process has to end; `None` as long as it need not.
    broken: watch::Sender<Option<String>>,
}

impl ServiceState {
    /// A service over an open pipeline.
    ///
    /// # Errors
    /// When the tokens can't be read.
    pub fn new(
        pipeline: Arc<Pipeline>,
        scheduler: Option<SchedulerSecret>,
        randomness: Box<dyn Randomness>,
        limits: HttpLimits,
    ) -> Result<Self, StoreError> {
        if let Err(error) = session_pipeline_pipeline::upload::discard_unfinished(pipeline.config())
        {
            tracing::warn!("what unfinished uploads left could not be removed: {error}");
        }
        let keyring = Keyring::open(pipeline.store(), scheduler)?;
        let source = HandlerSource::Pipeline(pipeline);
        Ok(Self::over(source, Some(keyring), randomness, limits))
    }

    /// The service of a command that works on the data directory itself: for [`local_router`] only.
    pub(crate) fn local(source: HandlerSource, randomness: Box<dyn Randomness>) -> Self {
        Self::over(source, None, randomness, HttpLimits::default())
    }

    fn over(
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
            ledger: UploadQuotas::default(),
            schema: SchemaCache::default(),
            survey: SurveyCache::default(),
            scheduler: None,
            asked: OnceLock::new(),
            broken: watch::Sender::default(),
            randomness,
            limits,
        }
    }

    /// The same service, which tells of this scheduler.
    #[must_use]
    pub fn with_scheduler(mut self, watch: SchedulerHandle) -> Self {
        self.scheduler = Some(watch);
        self
    }

    /// How often each processor wants to run. They are asked at the first call, which may take
    /// seconds; those that come later are asked when they take over.
    fn cadences(&self) -> HashMap<String, Duration> {
        match &self.source {
            HandlerSource::Pipeline(pipeline) => {
                self.asked.get_or_init(|| {
                    cadences(pipeline);
                });
                pipeline.registry().cadences()
            }
            HandlerSource::DataDir(dir) => dir.cadences(),
        }
    }

    /// Does work on a thread of its own, without waiting for others: only for what is quick.
    async fn off_thread<T: Send + 'static>(
        self: &Arc<Self>,
        permit: Option<OwnedSemaphorePermit>,
        work: impl FnOnce(&Self) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let service = Arc::clone(self);
        let done = tokio::task::spawn_blocking(move || {
            // Held until the work is done, also where the client goes away before.
            let _permit = permit;
            work(&service)
        });
        match done.await {
            Ok(result) => result.inspect_err(|error| self.note(error)),
            Err(error) => match error.try_into_panic() {
                Ok(panic) => Err(guard::panicked(self.randomness.as_ref(), panic.as_ref())),
                Err(_) => Err(ApiError::stopping()),
            },
        }
    }

    /// A database that gave up on itself takes the process with it: only a new one can open it.
    fn note(&self, error: &ApiError) {
        if error.class == ProblemClass::DatabaseClosed {
            let reason = error.detail.clone();
            self.broken.send_replace(Some(reason));
        }
    }
}

impl std::fmt::Debug for ServiceState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Service")
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

/// The routes of a server, behind its checks.
fn router(service: Arc<ServiceState>) -> Router {
    let (routes, _) = documented();
    let watched = middleware::from_fn_with_state(Arc::clone(&service), denials::watched);
    let routes = routes.layer(watched);
    guard::stand_before(routes.with_state(Arc::clone(&service)), service)
}

/// The routes with their description, made from one another.
fn documented() -> (Router<Arc<ServiceState>>, utoipa::openapi::OpenApi) {
    OpenApiRouter::with_openapi(openapi::frame())
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
        .routes(routes!(knowledge::list))
        .routes(routes!(knowledge::show))
        .routes(routes!(knowledge::approve))
        .routes(routes!(knowledge::reject))
        .routes(routes!(audit::list))
        .routes(routes!(quarantine::list))
        .routes(routes!(quarantine::release))
        .routes(routes!(reprocess::reprocess))
        .routes(routes!(tokens::list, tokens::create))
        .routes(routes!(tokens::revoke))
        .routes(routes!(upload::upload))
        .routes(routes!(usage::report))
        .routes(routes!(usage::reprocess))
        .routes(routes!(usage::prune))
        .routes(routes!(usage::export))
        .routes(routes!(usage::summary))
        .routes(routes!(openapi::get))
        .split_for_parts()
}
