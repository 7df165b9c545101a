//! Limits the number of open connections, and evicts idle ones when the limit is reached.
//!
//! A connection is *busy* while a request of an authenticated caller runs on it. All other
//! connections (idle, still sending a head, rejected) can be evicted for a new one, so clients
//! without a token cannot lock anyone out. At most half of all connections are busy with one caller. A few reserved slots beyond the limit answer only health
//! and version.

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
use super::shares::{CallerKey, Shares};

/// Minimum idle time before a connection can be evicted: its head can be in transit. Also the time
/// that a new connection waits for a slot when many connections arrive at once.
const IDLE_TIME_MIN: Duration = Duration::from_millis(150);
/// Minimum idle time before a connection in a reserved slot can be evicted.
const RESERVED_TIME_MIN: Duration = Duration::from_millis(150);
/// Interval between two attempts to find a slot.
const RETRY_INTERVAL: Duration = Duration::from_millis(50);

/// All open connections of a server.
#[derive(Debug)]
pub(super) struct Connections {
    general: Arc<Semaphore>,
    reserved: Arc<Semaphore>,
    open: Mutex<HashMap<u64, Arc<Connection>>>,
    next_id: AtomicU64,
    busy: Arc<Shares>,
}

/// The state of one connection, shared with the request middleware.
#[derive(Debug)]
pub(crate) struct Connection {
    /// The address that the server listens on.
    pub(super) listen: IpAddr,
    /// The local address that the client connected to.
    pub(super) local: IpAddr,
    /// Whether this connection answers only health and version.
    pub(super) is_reserved: bool,
    /// Whether the client sent a head that a strict server rejects. Set by the stream.
    pub(super) is_malformed: AtomicBool,
    idle_since: Mutex<Option<Instant>>,
    evicted: Notify,
    busy: Arc<Shares>,
}

/// A slot for a connection. Dropping it releases the slot.
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
            busy: Arc::new(Shares::new(limits.connections_max / 2)),
        })
    }

    /// Returns a slot for a new connection. Waits only while all connections are busy or have been
    /// idle for less than [`IDLE_TIME_MIN`].
    pub(super) async fn acquire(
        self: &Arc<Self>,
        listen: IpAddr,
        local: IpAddr,
    ) -> ConnectionPermit {
        let (permit, is_reserved) = self.permit().await;
        let connection = Arc::new(Connection {
            listen,
            local,
            is_reserved,
            is_malformed: AtomicBool::new(false),
            idle_since: Mutex::new(Some(Instant::now())),
            evicted: Notify::new(),
            busy: Arc::clone(&self.busy),
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
        let started = Instant::now();
        loop {
            if let Ok(permit) = Arc::clone(&self.general).try_acquire_owned() {
                return (permit, false);
            }
            let has_evicted = self.evict(false);
            // If a general slot is about to become free, the connection waits for it, because a
            // reserved slot answers only health and version.
            let is_slot_near =
                has_evicted || (started.elapsed() < IDLE_TIME_MIN && self.has_idle());
            if !is_slot_near {
                if let Ok(permit) = Arc::clone(&self.reserved).try_acquire_owned() {
                    return (permit, true);
                }
                self.evict(true);
            }
            let general = Arc::clone(&self.general).acquire_owned();
            let wait = if has_evicted {
                IDLE_TIME_MIN
            } else {
                RETRY_INTERVAL
            };
            if let Ok(Ok(permit)) = tokio::time::timeout(wait, general).await {
                return (permit, false);
            }
        }
    }

    /// Whether a connection in a general slot is idle, for any time.
    fn has_idle(&self) -> bool {
        let open = self.open();
        open.values()
            .any(|connection| !connection.is_reserved && connection.idle_since().is_some())
    }

    /// Evicts the connection that has been idle longest, in a reserved or a general slot. Returns
    /// whether there was one.
    fn evict(&self, is_reserved: bool) -> bool {
        let mut open = self.open();
        let time_min = if is_reserved {
            RESERVED_TIME_MIN
        } else {
            IDLE_TIME_MIN
        };
        let idle = open.iter().filter_map(|(id, connection)| {
            let since = (*connection.idle_since())?;
            let can_evict = connection.is_reserved == is_reserved && since.elapsed() >= time_min;
            can_evict.then_some((since, *id))
        });
        let oldest = idle.min().map(|(_, id)| id);
        // Removed now, so that the next call evicts another connection.
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
    /// Completes when the connection is evicted.
    pub(super) async fn evicted(&self) {
        self.evicted.notified().await;
    }

    /// Marks the connection as busy until the response to the current request is sent, unless half
    /// of all connections are busy with this caller.
    pub(crate) fn busy(self: &Arc<Self>, caller: &CallerKey) -> BusyGuard {
        let place = self.busy.try_take(caller);
        if place.is_some() {
            *self.idle_since() = None;
        }
        BusyGuard {
            connection: Arc::clone(self),
            _place: place,
        }
    }

    fn idle_since(&self) -> MutexGuard<'_, Option<Instant>> {
        self.idle_since
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps a connection busy while a request of an authenticated caller runs on it.
#[derive(Debug)]
pub(crate) struct BusyGuard {
    connection: Arc<Connection>,
    _place: Option<OwnedSemaphorePermit>,
}

impl Drop for BusyGuard {
    fn drop(&mut self) {
        *self.connection.idle_since() = Some(Instant::now());
    }
}

impl BusyGuard {
    /// Wraps a response body. The connection is busy until the body is sent.
    pub(crate) fn until_sent(self, body: Body) -> Body {
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
