//! Taking connections, and letting go of them.
//!
//! Only HTTP/1.1, without TLS: a proxy in front gives both, where they are wanted.

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
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::connections::Connections;
use super::problem::ApiError;
use super::runs::run_off_thread;
use super::stream::ClientStream;
use super::{HandlerSource, ServiceState, router};

/// Threads that answer requests; they never wait for anything but the network.
const ANSWERING_THREADS: usize = 2;
/// Threads for what may wait for the disk: queries, uploads, and the probes of health.
const WAITING_THREADS_MAX: usize = 64;
/// Time to breathe where the system has no sockets left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Of the stop time, this much is for requests to get their answers once all runs have ended.
const ANSWER_TIME: Duration = Duration::from_secs(1);

/// Why the service could not start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address is taken, or not ours.
    #[error("`{address}` can't be listened on; choose another one with --listen")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The system gave no threads.
    #[error("the service can't start its threads")]
    Threads(#[source] io::Error),
    /// The service was made for commands in its own process.
    #[error("a service without a pipeline can't listen; please report it")]
    NoPipeline,
    /// The data dir refused.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A service that answers requests until it is stopped.
#[derive(Debug)]
pub struct Server {
    service: Arc<ServiceState>,
    pipeline: Arc<Pipeline>,
    url: String,
    runtime: Runtime,
    stopping: watch::Sender<bool>,
    accepting: JoinHandle<()>,
}

/// The signals that ask a service to end.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// How a service ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shutdown {
    /// Whether all runs had come to their end; others were cut off, and are recorded so.
    pub is_complete: bool,
}

impl Server {
    /// Listens, writes the address into the lock file, and begins to answer.
    ///
    /// # Errors
    /// When the address is taken, or the system or the data dir refuses.
    pub fn start(service: Arc<ServiceState>, address: SocketAddr) -> Result<Self, ServeError> {
        let HandlerSource::Pipeline(pipeline) = &service.source else {
            return Err(ServeError::NoPipeline);
        };
        let pipeline = Arc::clone(pipeline);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(ANSWERING_THREADS)
            .max_blocking_threads(WAITING_THREADS_MAX)
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
        let accept = accept(listener, Arc::clone(&service), stopping.subscribe());
        let accepting = runtime.spawn(accept);
        Ok(Self {
            service,
            pipeline,
            url,
            runtime,
            stopping,
            accepting,
        })
    }

    /// Starts runs by schedule, in the way of all runs, until the service stops.
    pub fn schedule(&self, scheduler: Scheduler) {
        let pipeline = Arc::clone(&self.pipeline);
        let service = Arc::clone(&self.service);
        let running = Arc::clone(&self.pipeline);
        let run = move |processor: String| {
            let (service, pipeline) = (Arc::clone(&service), Arc::clone(&running));
            async move {
                let config = pipeline.config();
                let request = RunRequest::service(config, Trigger::Scheduler, Actor::scheduler());
                let result = run_off_thread(pipeline, processor, request, None).await;
                let end = JobResult::from(&result);
                if let Err(error) = result {
                    let error = ApiError::from(error);
                    error.log();
                    service.note(&error);
                }
                end
            }
        };
        let mut stopping = self.stopping.subscribe();
        self.runtime.spawn(async move {
            let stop = async {
                // An error says that the server is gone, which is a stop too.
                let _ = stopping.wait_for(|stopping| *stopping).await;
            };
            scheduler.run(pipeline, run, stop).await;
        });
    }

    /// Where it answers.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The service behind it.
    pub fn service(&self) -> &Arc<ServiceState> {
        &self.service
    }

    /// From now on signals to end no longer end the process at once: for [`Server::wait`].
    ///
    /// # Errors
    /// When the system can't tell of signals.
    pub fn heed_signals(&self) -> Result<Signals, ServeError> {
        let _runtime = self.runtime.enter();
        let heed = |kind| signal(kind).map_err(ServeError::Threads);
        Ok(Signals {
            terminate: heed(SignalKind::terminate())?,
            interrupt: heed(SignalKind::interrupt())?,
        })
    }

    /// Waits for SIGTERM or SIGINT; `Some` is a reason to end before that. From then on a signal
    /// calls `at_once`, which is to end the process.
    pub fn wait(
        &self,
        mut signals: Signals,
        at_once: impl FnOnce() + Send + 'static,
    ) -> Option<String> {
        let mut broken = self.service.broken.subscribe();
        let reason = self.runtime.block_on(async {
            tokio::select! {
                () = signals.next() => None,
                reason = broken.wait_for(Option::is_some) => {
                    reason.ok().and_then(|reason| reason.clone())
                }
            }
        });
        self.runtime.spawn(async move {
            signals.next().await;
            at_once();
        });
        reason
    }

    /// Stops: no run begins any more, those at work end after the sessions in hand, requests get
    /// their answers, and the database is brought to rest. What takes longer than allowed is cut off.
    pub fn stop(self) -> Shutdown {
        let pipeline = self.pipeline;
        let until = Instant::now() + self.service.limits.stop_time_max;
        let left = || until.saturating_duration_since(Instant::now());
        pipeline.stop();
        pipeline.store().stop_rollup_updates();
        self.stopping.send_replace(true);
        let is_complete = pipeline.wait_until_idle(left().saturating_sub(ANSWER_TIME));
        if !is_complete {
            let closed = pipeline.store().close_open_runs(pipeline.clock().now());
            if let Err(error) = closed {
                tracing::warn!("runs that were cut off are still open: {error}");
            }
        }
        let mut accepting = self.accepting;
        let mut answered = self
            .runtime
            .block_on(async { tokio::time::timeout(left() / 2, &mut accepting).await });
        if answered.is_err() {
            self.service.lanes.stop_reads();
            answered = self
                .runtime
                .block_on(async { tokio::time::timeout(left(), accepting).await });
        }
        if answered.is_err() {
            tracing::warn!("requests were cut off, as the service has to end");
        }
        // What still reads from the database is waited for, as long as there is time: only then
        // can all of the log be brought into the file.
        self.runtime.shutdown_timeout(left());
        let rest = pipeline.store().checkpoint();
        if let Err(error) = rest.and_then(|()| pipeline.store().publish_url("")) {
            tracing::warn!("the database was not brought to rest: {error}");
        }
        Shutdown { is_complete }
    }
}

/// Takes connections until the service stops, then waits for those at work.
async fn accept(
    listener: TcpListener,
    service: Arc<ServiceState>,
    mut stopping: watch::Receiver<bool>,
) {
    let limits = service.limits.clone();
    let connections = Connections::new(&limits);
    let graceful = GracefulShutdown::new();
    let router = router(service);
    let listen = listener.local_addr().ok();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stopping.wait_for(|stopping| *stopping) => break,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!("a connection could not be accepted: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(local) = stream.local_addr().map(|address| address.ip()) else {
            continue;
        };
        let listen = listen.map_or(local, |address| address.ip());
        let place = tokio::select! {
            place = connections.place(listen, local) => place,
            _ = stopping.wait_for(|stopping| *stopping) => break,
        };
        let connection = Arc::clone(&place.connection);
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
            let _place = place;
            tokio::select! {
                ended = served => {
                    if let Err(error) = ended {
                        tracing::debug!("a connection ended early: {error}");
                    }
                }
                () = connection.evicted() => tracing::debug!("an idle connection made room for another"),
            }
        });
    }
    drop(listener);
    graceful.shutdown().await;
}
