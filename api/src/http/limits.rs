//! Limits for clients of the service.

use std::time::Duration;

/// The limits of the service. Only tests change the defaults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpLimits {
    /// Maximum number of connections. A further connection evicts the one that was idle longest.
    pub connections_max: usize,
    /// Number of reserved connections beyond that, which answer only health and version.
    pub health_connections_max: usize,
    /// Maximum size of the headers of a request: eight times what proxies send.
    pub header_bytes_max: usize,
    /// Time limit for the headers, from the first byte or the end of the previous request.
    pub header_time_max: Duration,
    /// Maximum size of a request body, except for uploads. A request for a token has about 100
    /// bytes.
    pub body_bytes_max: usize,
    /// Time limit for the request body, except for uploads.
    pub body_time_max: Duration,
    /// Maximum size of an uploaded transcript, decompressed.
    pub upload_bytes_max: u64,
    /// Time limit for an upload: enough for 50 MiB at 2 Mbit/s.
    pub upload_time_max: Duration,
    /// Minimum average rate of an upload, in bytes per second. An upload that is slower for longer
    /// than `body_time_max`, or that stalls for that long, is aborted.
    pub upload_rate_min: u64,
    /// Maximum number of uploads that write concurrently. Each is synced to disk.
    pub uploads_max: usize,
    /// Maximum number of concurrent uploads of a user.
    pub uploads_per_user_max: usize,
    /// How long the rest of a body is read after the response was sent.
    pub drain_time_max: Duration,
    /// How long a client can stop reading a response before it is disconnected.
    pub stall_time_max: Duration,
    /// Maximum number of concurrent database requests of each role. Each request can use a core.
    /// Roles are limited separately, so that analysts cannot block admins.
    pub queries_max: usize,
    /// Maximum number of concurrent token requests. They do not wait for other requests.
    pub token_requests_max: usize,
    /// Interval between two checks of the budgets.
    pub budget_interval: Duration,
    /// How long a stopping service waits for runs and requests in progress. The rest is aborted, so
    /// that the process exits within ten seconds.
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
            budget_interval: Duration::from_secs(60),
            stop_time_max: Duration::from_secs(7),
        }
    }
}
