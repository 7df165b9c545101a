//! Which connections are open, and which of them makes room when there are too many.
//!
//! A connection is *busy* while a request of an authenticated caller runs on it. All others (idle,
//! still sending a head, rejected) can be closed when a new one needs the place, so callers without a
//! token cannot lock anyone out. Beyond the limit there are a few places more, in which only health
//! and version are answered.

use std::collections::HashMap;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes, HttpBody};
use hyper::body::{Frame, SizeHint};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use super::HttpLimits;

/// A connection that has been idle for less is not closed for another: its head may be on its way.
/// It is also what a caller waits for a place when many connections come at once.
const IDLE_TIME_MIN: Duration = Duration::from_millis(150);
/// The same for the few places that are reserved for health.
const RESERVED_TIME_MIN: Duration = Duration::from_millis(150);
/// How long a search for a place waits before it is repeated.
const CLEARING_TIME: Duration = Duration::from_millis(50);

/// All open connections of a server.
#[derive(Debug)]
pub(super) struct Connections {
    general: Arc<Semaphore>,
    reserved: Arc<Semaphore>,
    open: Mutex<HashMap<u64, Arc<Connection>>>,
    next_id: AtomicU64,
}

/// What the layers above HTTP know of one connection.
#[derive(Debug)]
pub(super) struct Connection {
    /// The address that the server listens on.
    pub(super) listen: IpAddr,
    /// The address of ours that the client connected to.
    pub(super) local: IpAddr,
    /// Whether only health and version are answered here.
    pub(super) is_reserved: bool,
    /// Whether a head was received that a strict server rejects; set by the stream.
    pub(super) is_malformed: AtomicBool,
    idle_since: Mutex<Option<Instant>>,
    evicted: Notify,
}

/// A place among the connections; given back when it is dropped.
#[derive(Debug)]
pub(super) struct ConnectionPermit {
    pub(super) connection: Arc<Connection>,
    connections: Arc<Connections>,
    id: u64,
    _permit: OwnedSemaphorePermit,
}

impl Connections {
    pub(super) fn new(limits: &HttpLimits) -> Arc<Self> {
        Arc::new(Self {
            general: Arc::new(Semaphore::new(limits.connections_max)),
            reserved: Arc::new(Semaphore::new(limits.health_connections_max)),
            open: Mutex::default(),
            next_id: AtomicU64::new(0),
        })
    }

    /// A place for a new connection. Waits only while all places are taken by busy connections and
    /// by those that are no older than [`IDLE_TIME_MIN`].
    pub(super) async fn place(self: &Arc<Self>, listen: IpAddr, local: IpAddr) -> ConnectionPermit {
        let (permit, is_reserved) = self.permit().await;
        let connection = Arc::new(Connection {
            listen,
            local,
            is_reserved,
            is_malformed: AtomicBool::new(false),
            idle_since: Mutex::new(Some(Instant::now())),
            evicted: Notify::new(),
        });
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        self.open().insert(id, Arc::clone(&connection));
        ConnectionPermit {
            connection,
            connections: Arc::clone(self),
            id,
            _permit: permit,
        }
    }

    async fn permit(&self) -> (OwnedSemaphorePermit, bool) {
        let asked = Instant::now();
        loop {
            if let Ok(permit) = Arc::clone(&self.general).try_acquire_owned() {
                return (permit, false);
            }
            let is_cleared = self.evict(false);
            // A place is being cleared, or can be in a moment: a caller gets an answer there, and only
            // health does in the reserved ones.
            let is_near = is_cleared || (asked.elapsed() < IDLE_TIME_MIN && self.has_idle());
            if !is_near {
                if let Ok(permit) = Arc::clone(&self.reserved).try_acquire_owned() {
                    return (permit, true);
                }
                self.evict(true);
            }
            let general = Arc::clone(&self.general).acquire_owned();
            let wait = if is_cleared {
                IDLE_TIME_MIN
            } else {
                CLEARING_TIME
            };
            if let Ok(Ok(permit)) = tokio::time::timeout(wait, general).await {
                return (permit, false);
            }
        }
    }

    /// Whether a connection that is not reserved is idle, however short a time.
    fn has_idle(&self) -> bool {
        let open = self.open();
        open.values()
            .any(|connection| !connection.is_reserved && connection.idle_since().is_some())
    }

    /// Closes the connection of a kind that has been idle longest; returns whether there was one.
    fn evict(&self, is_reserved: bool) -> bool {
        let mut open = self.open();
        let time_min = if is_reserved {
            RESERVED_TIME_MIN
        } else {
            IDLE_TIME_MIN
        };
        let idle = open.iter().filter_map(|(id, connection)| {
            let since = (*connection.idle_since())?;
            let is_it = connection.is_reserved == is_reserved && since.elapsed() >= time_min;
            is_it.then_some((since, *id))
        });
        let oldest = idle.min().map(|(_, id)| id);
        // Removed here, so that the next search finds another one.
        let Some(connection) = oldest.and_then(|id| open.remove(&id)) else {
            return false;
        };
        connection.evicted.notify_one();
        true
    }

    fn open(&self) -> MutexGuard<'_, HashMap<u64, Arc<Connection>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        self.connections.open().remove(&self.id);
    }
}

impl Connection {
    /// Ends when the connection has to make room for another one.
    pub(super) async fn evicted(&self) {
        self.evicted.notified().await;
    }

    /// Marks the connection as busy until the response to the current request is sent.
    pub(super) fn busy(self: &Arc<Self>) -> BusyGuard {
        *self.idle_since() = None;
        BusyGuard(Arc::clone(self))
    }

    fn idle_since(&self) -> MutexGuard<'_, Option<Instant>> {
        self.idle_since
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request of an authenticated caller runs on the connection.
#[derive(Debug)]
pub(super) struct BusyGuard(Arc<Connection>);

impl Drop for BusyGuard {
    fn drop(&mut self) {
        *self.0.idle_since() = Some(Instant::now());
    }
}

impl BusyGuard {
    /// The same body; the connection is busy until all of it is sent.
    pub(super) fn until_sent(self, body: Body) -> Body {
        Body::new(BusyBody { body, _busy: self })
    }
}

struct BusyBody {
    body: Body,
    _busy: BusyGuard,
}

impl HttpBody for BusyBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
