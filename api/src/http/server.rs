//! Accepts connections, and shuts the service down.
//!
//! The server speaks only HTTP/1.1 without TLS. Use a reverse proxy for TLS or HTTP/2.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::ConnectInfo;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use session_pipeline_pipeline::run::{Pipeline, RunRequest};
use session_pipeline_pipeline::scheduler::Scheduler;
use session_pipeline_pipeline::scheduler::timetable::JobResult;
use session_pipeline_store::{Actor, StoreError, Trigger};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::connections::Connections;
use super::problem::ApiError;
use super::runs::run_on_thread;
use super::stream::ClientStream;
use super::{HandlerSource, HttpLimits, ServiceState, metrics, monitor, router};
use crate::signals::StopSignals;

/// Number of threads that serve requests. They wait only for the network.
const WORKER_THREADS: usize = 2;
/// Maximum number of threads for blocking work: queries, uploads, and health probes.
const BLOCKING_THREADS_MAX: usize = 64;
/// Maximum number of connections of the listener for metrics. A scraper uses one.
const METRICS_CONNECTIONS_MAX: usize = 32;
/// Pause after a failed `accept`, such as when the system has no file descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Part of the stop time that is reserved for sending responses after all runs have ended.
const RESPONSE_TIME: Duration = Duration::from_secs(1);

/// An error that prevents the service from starting.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address is in use, or does not belong to this machine.
    #[error("cannot listen on `{address}`; choose another address with --listen")]
    Listen {
        /// The address to listen on.
        address: SocketAddr,
        /// The I/O error.
        #[source]
        source: io::Error,
    },
    /// The address of the metrics is in use, or does not belong to this machine.
    #[error(
        "cannot listen on `{address}` for metrics; choose another address with --metrics-listen"
    )]
    ListenForMetrics {
        /// The address to listen on.
        address: SocketAddr,
        /// The I/O error.
        #[source]
        source: io::Error,
    },
    /// The threads or signal handlers could not be created.
    #[error("cannot start the threads of the service")]
    Threads(#[source] io::Error),
    /// The service is for commands in its own process.
    #[error("internal error: a service without a pipeline cannot listen; please report it")]
    NoPipeline,
    /// The data directory cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A running service.
#[derive(Debug)]
pub struct Server {
    service: Arc<ServiceState>,
    pipeline: Arc<Pipeline>,
    url: String,
    runtime: Runtime,
    stopping: watch::Sender<bool>,
    accepting: JoinHandle<()>,
}

/// The signals that stop a service.
#[derive(Debug)]
pub struct Signals(StopSignals);

/// The result of stopping a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shutdown {
    /// Whether all runs ended in time. Otherwise, the rest were aborted and recorded as
    /// interrupted.
    pub is_complete: bool,
}

impl Server {
    /// Listens on the address, writes the URL to the lock file, and starts to serve requests.
    ///
    /// # Errors
    /// The address is in use, threads cannot be started, or the lock file cannot be written.
    pub fn start(service: Arc<ServiceState>, address: SocketAddr) -> Result<Self, ServeError> {
        let HandlerSource::Pipeline(pipeline) = &service.source else {
            return Err(ServeError::NoPipeline);
        };
        let pipeline = Arc::clone(pipeline);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(WORKER_THREADS)
            .max_blocking_threads(BLOCKING_THREADS_MAX)
            .thread_name("http")
            .enable_all()
            .build()
            .map_err(ServeError::Threads)?;
        let listen = |source| ServeError::Listen { address, source };
        let listener = runtime
            .block_on(TcpListener::bind(address))
            .map_err(listen)?;
        let url = format!("http://{}", listener.local_addr().map_err(listen)?);
        pipeline.store().publish_url(&url)?;
        let stopping = watch::Sender::new(false);
        let limits = service.limits.clone();
        let routes = router(Arc::clone(&service));
        let accepting = runtime.spawn(accept(listener, routes, limits, stopping.subscribe()));
        runtime.spawn(monitor::run(Arc::clone(&service), stopping.subscribe()));
        Ok(Self {
            service,
            pipeline,
            url,
            runtime,
            stopping,
            accepting,
        })
    }

    /// Serves only `/metrics` on another address, without authentication. Returns the URL.
    ///
    /// # Errors
    /// The address is in use or does not belong to this machine.
    pub fn listen_for_metrics(&self, address: SocketAddr) -> Result<String, ServeError> {
        let listen = |source| ServeError::ListenForMetrics { address, source };
        let listener = self.runtime.block_on(TcpListener::bind(address));
        let listener = listener.map_err(listen)?;
        let url = format!("http://{}/metrics", listener.local_addr().map_err(listen)?);
        let routes = metrics::open_router(&self.service);
        let limits = HttpLimits {
            connections_max: METRICS_CONNECTIONS_MAX,
            ..self.service.limits.clone()
        };
        let accept = accept(listener, routes, limits, self.stopping.subscribe());
        self.runtime.spawn(accept);
        Ok(url)
    }

    /// Starts scheduled runs until the service stops.
    pub fn schedule(&self, scheduler: Scheduler) {
        let pipeline = Arc::clone(&self.pipeline);
        let service = Arc::clone(&self.service);
        let run_pipeline = Arc::clone(&self.pipeline);
        let run = move |processor: String| {
            let (service, pipeline) = (Arc::clone(&service), Arc::clone(&run_pipeline));
            async move {
                let config = pipeline.config();
                let request = RunRequest::service(config, Trigger::Scheduler, Actor::scheduler());
                let result = run_on_thread(pipeline, processor, request, None).await;
                let end = JobResult::from(&result);
                if let Err(error) = result {
                    let error = ApiError::from(error);
                    error.log();
                    service.check_fatal(&error);
                }
                end
            }
        };
        let mut stopping = self.stopping.subscribe();
        self.runtime.spawn(async move {
            let stop = async {
                // An error means that the server was dropped, which also stops the scheduler.
                let _ = stopping.wait_for(|stopping| *stopping).await;
            };
            scheduler.run(pipeline, run, stop).await;
        });
    }

    /// The URL of the server.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The state of the service.
    pub fn service(&self) -> &Arc<ServiceState> {
        &self.service
    }

    /// Handles the signals that stop the program, so that they no longer end the process. Pass the result to
    /// [`Server::wait`].
    ///
    /// # Errors
    /// The signal handlers cannot be installed.
    pub fn listen_for_signals(&self) -> Result<Signals, ServeError> {
        let _runtime = self.runtime.enter();
        let signals = StopSignals::listen().map_err(ServeError::Threads)?;
        Ok(Signals(signals))
    }

    /// Waits for a signal. Returns a reason if the process must exit before a signal
    /// arrives. A further signal calls `exit_now`, which ends the process immediately.
    pub fn wait(
        &self,
        mut signals: Signals,
        exit_now: impl FnOnce() + Send + 'static,
    ) -> Option<String> {
        let mut fatal_error = self.service.fatal_error.subscribe();
        let reason = self.runtime.block_on(async {
            tokio::select! {
                () = signals.0.next() => None,
                reason = fatal_error.wait_for(Option::is_some) => {
                    reason.ok().and_then(|reason| reason.clone())
                }
            }
        });
        self.runtime.spawn(async move {
            signals.0.next().await;
            exit_now();
        });
        reason
    }

    /// Stops the service. No new run starts, runs end after the sessions in progress, requests get
    /// their responses, and the database is checkpointed. Work that exceeds the stop time is
    /// aborted.
    pub fn stop(self) -> Shutdown {
        let pipeline = self.pipeline;
        let deadline = Instant::now() + self.service.limits.stop_time_max;
        let left = || deadline.saturating_duration_since(Instant::now());
        pipeline.stop();
        pipeline.store().stop_rollup_updates();
        self.stopping.send_replace(true);
        let is_complete = pipeline.wait_until_idle(left().saturating_sub(RESPONSE_TIME));
        if !is_complete {
            let closed = pipeline.store().close_open_runs(pipeline.clock().now());
            if let Err(error) = closed {
                tracing::warn!("cannot record aborted runs as interrupted: {error}");
            }
        }
        let mut accepting = self.accepting;
        let mut drained = self
            .runtime
            .block_on(async { tokio::time::timeout(left() / 2, &mut accepting).await });
        if drained.is_err() {
            self.service.lanes.stop_reads();
            drained = self
                .runtime
                .block_on(async { tokio::time::timeout(left(), accepting).await });
        }
        if drained.is_err() {
            tracing::warn!("requests in progress were aborted because the service is stopping");
        }
        // Wait for reads in progress while time is left: a checkpoint can move the whole log into
        // the database file only without them.
        self.runtime.shutdown_timeout(left());
        let checkpoint = pipeline.store().checkpoint();
        if let Err(error) = checkpoint.and_then(|()| pipeline.store().publish_url("")) {
            tracing::warn!("cannot close the database cleanly: {error}");
        }
        Shutdown { is_complete }
    }
}

/// Accepts connections until the service stops, then waits for the open ones.
async fn accept(
    listener: TcpListener,
    router: Router,
    limits: HttpLimits,
    mut stopping: watch::Receiver<bool>,
) {
    let connections = Connections::new(&limits);
    let graceful = GracefulShutdown::new();
    let listen = listener.local_addr().ok();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stopping.wait_for(|stopping| *stopping) => break,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!("cannot accept a connection: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(local) = stream.local_addr().map(|address| address.ip()) else {
            continue;
        };
        let listen = listen.map_or(local, |address| address.ip());
        let permit = tokio::select! {
            permit = connections.acquire(listen, local) => permit,
            _ = stopping.wait_for(|stopping| *stopping) => break,
        };
        let connection = Arc::clone(&permit.connection);
        let routes: Router = router
            .clone()
            .layer(axum::Extension(ConnectInfo(peer)))
            .layer(axum::Extension(Arc::clone(&connection)));
        let stream = ClientStream::new(stream, Arc::clone(&connection), limits.stall_time_max);
        let served = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.header_time_max)
            .max_buf_size(limits.header_bytes_max)
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes));
        let served = graceful.watch(served);
        tokio::spawn(async move {
            let _permit = permit;
            tokio::select! {
                result = served => {
                    if let Err(error) = result {
                        tracing::debug!("a connection ended early: {error}");
                    }
                }
                () = connection.evicted() => tracing::debug!("an idle connection was evicted"),
            }
        });
    }
    drop(listener);
    graceful.shutdown().await;
}
