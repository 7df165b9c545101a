//! How much of everything clients may take.

use std::time::Duration;

/// Limits of the service; the defaults hold unless a test asks for others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpLimits {
    /// Connections at once; a further one closes the one that has been idle longest.
    pub connections_max: usize,
    /// Connections beyond that, on which only health and version are answered.
    pub health_connections_max: usize,
    /// Headers of a request, together: eight times what proxies send.
    pub header_bytes_max: usize,
    /// Time for a client to send the headers, from its first byte or the end of its last request.
    pub header_time_max: Duration,
    /// Body of a request, uploads apart: a new token takes a hundred bytes.
    pub body_bytes_max: usize,
    /// Time for a client to send its body, uploads apart.
    pub body_time_max: Duration,
    /// An uploaded transcript, decompressed (BEHAVIOUR.md 1.5).
    pub upload_bytes_max: u64,
    /// Time for a client to send an upload: 50 MiB over a line of 2 Mbit/s.
    pub upload_time_max: Duration,
    /// Bytes in a second that an upload must send on average. One that is below this for longer than
    /// `body_time_max`, or that stands still for as long, is ended.
    pub upload_rate_min: u64,
    /// Uploads that write at once; each is synced to the disk.
    pub uploads_max: usize,
    /// Uploads of one user at once.
    pub uploads_per_user_max: usize,
    /// Time for which a body is still read after its request was answered.
    pub drain_time_max: Duration,
    /// Time in which a client must take something of a long answer.
    pub stall_time_max: Duration,
    /// Requests to the database at once, for each role: each can take a core, and analysts never take
    /// the place of admins.
    pub queries_max: usize,
    /// Requests about tokens at once, which wait for none of the others.
    pub token_requests_max: usize,
    /// Time for runs and requests at work to end when the service stops; what then is still at
    /// work is cut off, so that the process ends within ten seconds.
    pub stop_time_max: Duration,
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self {
            connections_max: 512,
            health_connections_max: 16,
            header_bytes_max: 64 << 10,
            header_time_max: Duration::from_secs(10),
            body_bytes_max: 64 << 10,
            body_time_max: Duration::from_secs(10),
            upload_bytes_max: 50 << 20,
            upload_time_max: Duration::from_secs(210),
            upload_rate_min: 8 << 10,
            uploads_max: 16,
            uploads_per_user_max: 8,
            drain_time_max: Duration::from_secs(2),
            stall_time_max: Duration::from_secs(30),
            queries_max: 8,
            token_requests_max: 4,
            stop_time_max: Duration::from_secs(7),
        }
    }
}
