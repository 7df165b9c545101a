//! The requests to the server, and what its responses mean.

use std::io::{self, Read};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use flate2::Compression;
use flate2::write::GzEncoder;
use serde::{Deserialize, Serialize};
use ureq::http::{Response, StatusCode, Uri};
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::{Agent, Body, SendBody};

use crate::hash::Hex;
use crate::retry_after::retry_after;

/// Bodies below this size are not compressed.
const COMPRESSED_FROM: usize = 256;
/// Bytes that are sent at once if the rate is limited.
const CHUNK_BYTES: usize = 16 << 10;
/// Maximum size of a response. That of a manifest has about 200 bytes per file.
const RESPONSE_BYTES_MAX: u64 = 1 << 20;
/// Maximum size of the files of a manifest, as JSON. The server accepts 64 KiB.
const MANIFEST_BYTES_MAX: usize = 48 << 10;
const CONNECT_TIME_MAX: Duration = Duration::from_secs(10);
const RESPONSE_TIME_MAX: Duration = Duration::from_secs(120);
const SEND_TIME_MAX: Duration = Duration::from_secs(210);
/// A quota is not free again within this time.
const QUOTA_RETRY_MIN: Duration = Duration::from_secs(60);
const CERTIFICATES_BYTES_MAX: u64 = 1 << 20;

/// A server, and the token for it.
pub struct Server {
    agent: Agent,
    url: String,
    token: String,
    /// Maximum number of bytes per second. `None`: no limit.
    rate: Option<u64>,
    /// What was sent so far.
    pub traffic: Traffic,
}

/// What was sent to a server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Traffic {
    /// The number of requests.
    pub requests: u64,
    /// The number of bytes of the bodies of uploads that the server stored, decompressed.
    pub stored_bytes: u64,
    /// The number of bytes of the bodies of all uploads, decompressed.
    pub sent_bytes: u64,
    /// The number of bytes of the bodies of all requests, as they were sent.
    pub wire_bytes: u64,
}

/// Why a request did not succeed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ServerError {
    /// A later attempt can succeed.
    #[error("{reason}")]
    Temporary {
        /// What happened.
        reason: String,
        /// The earliest time of the next attempt, from now.
        retry_after: Option<Duration>,
    },
    /// The user has too many files, so no new one is accepted. Others can still grow.
    #[error("{reason}")]
    TooManyFiles {
        /// What the server reports.
        reason: String,
        /// The earliest time of the next attempt, from now.
        retry_after: Duration,
    },
    /// Every further attempt fails in the same way, for all files.
    #[error("{0}")]
    Permanent(String),
    /// The server does not accept this file.
    #[error("{0}")]
    Unwanted(String),
    /// The server has another file than the one that is continued.
    #[error("the server has {} bytes that differ from the ones sent before", .0.size)]
    Mismatch(StoredFile),
}

/// What the server has of a file.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct StoredFile {
    /// Size in bytes.
    pub size: u64,
    /// The hash. `None`: the server did not compute it.
    #[serde(default)]
    pub sha256: Option<Hex>,
}

/// A file in a manifest.
#[derive(Clone, Debug, Serialize)]
pub struct ManifestEntry {
    /// The path on the server.
    pub path: String,
    /// The size of the local file.
    pub size: u64,
}

/// What the server has of a file in a manifest.
#[derive(Clone, Debug, Deserialize)]
pub struct ManifestFile {
    /// The path on the server.
    pub path: String,
    /// The stored file, if there is one.
    #[serde(default)]
    pub stored: Option<StoredFile>,
    /// Why the server does not accept the file.
    #[serde(default)]
    pub unwanted: Option<String>,
}

#[derive(Deserialize)]
struct Manifest {
    files: Vec<ManifestFile>,
}

/// The body of an error response.
#[derive(Deserialize)]
struct Problem {
    detail: String,
    #[serde(default)]
    stored: Option<StoredFile>,
}

/// A part of a file.
pub struct PartRequest<'a> {
    /// The path on the server.
    pub path: &'a str,
    /// The number of bytes before it.
    pub offset: u64,
    /// The hash of the bytes before it.
    pub prefix: &'a Hex,
    /// Whether it ends the file as it is now.
    pub is_complete: bool,
    /// The bytes.
    pub bytes: &'a [u8],
}

/// Checks the URL of a server.
///
/// # Errors
/// It is not an HTTP URL, or others could read the token on the way.
pub fn check_url(url: &str, allows_http: bool) -> Result<String, String> {
    let shown = url.escape_debug();
    let uri: Uri = url
        .parse()
        .map_err(|_| format!("invalid URL `{shown}`; use `https://HOST`"))?;
    let is_bare = uri.query().is_none()
        && uri
            .authority()
            .is_some_and(|authority| !authority.as_str().contains('@'));
    let host = uri.host().unwrap_or_default();
    match uri.scheme_str() {
        _ if !is_bare || host.is_empty() => Err(format!(
            "invalid URL `{shown}`; use `https://HOST` without user, password or query"
        )),
        Some("https") => Ok(url.trim_end_matches('/').to_owned()),
        Some("http") if allows_http || is_private(host) => Ok(url.trim_end_matches('/').to_owned()),
        Some("http") => Err(format!(
            "`{shown}` is not encrypted, so others could read your token and sessions; use `https`, or `--allow-http` if the network is trusted"
        )),
        _ => Err(format!("invalid URL `{shown}`; use `https://HOST`")),
    }
}

/// Whether a host is this machine or in a private network.
fn is_private(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    if host == "localhost" {
        return true;
    }
    match host.parse() {
        Ok(std::net::IpAddr::V4(address)) => address.is_loopback() || address.is_private(),
        Ok(std::net::IpAddr::V6(address)) => address.is_loopback() || address.is_unique_local(),
        Err(_) => false,
    }
}

impl Server {
    /// A server at a checked URL.
    ///
    /// # Errors
    /// The file with certificate authorities cannot be read.
    pub fn new(
        url: String,
        token: String,
        rate: Option<u64>,
        authorities: Option<&Path>,
    ) -> Result<Self, String> {
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_connect(Some(CONNECT_TIME_MAX))
            .timeout_recv_response(Some(RESPONSE_TIME_MAX))
            .timeout_recv_body(Some(RESPONSE_TIME_MAX))
            .user_agent(concat!("session-pipeline-push/", env!("CARGO_PKG_VERSION")));
        // A limited rate stretches the time.
        if rate.is_none() {
            config = config.timeout_send_body(Some(SEND_TIME_MAX));
        }
        if let Some(path) = authorities {
            let roots = read_authorities(path)?;
            config = config.tls_config(TlsConfig::builder().root_certs(roots).build());
        }
        Ok(Self {
            agent: config.build().new_agent(),
            url,
            token,
            rate,
            traffic: Traffic::default(),
        })
    }

    /// Asks what the server has of files. Sends several requests if there are many.
    ///
    /// # Errors
    /// A request did not succeed.
    pub fn manifest(
        &mut self,
        entries: &[ManifestEntry],
    ) -> Result<Vec<ManifestFile>, ServerError> {
        let mut files = Vec::new();
        let mut rest = entries;
        loop {
            let mut bytes = 0;
            let fits = |entry: &&ManifestEntry| {
                // A byte can become an escape of six.
                bytes += entry.path.len() * 6 + 64;
                bytes <= MANIFEST_BYTES_MAX
            };
            let count = rest.iter().take_while(fits).count().max(1).min(rest.len());
            let (batch, later) = rest.split_at_checked(count).unwrap_or((rest, &[]));
            files.extend(self.manifest_batch(batch)?);
            rest = later;
            if rest.is_empty() {
                return Ok(files);
            }
        }
    }

    fn manifest_batch(
        &mut self,
        entries: &[ManifestEntry],
    ) -> Result<Vec<ManifestFile>, ServerError> {
        let body = serde_json::to_vec(entries).map_err(|error| permanent(&error))?;
        self.count(body.len());
        let request = self
            .agent
            .post(format!("{}/api/upload/manifest", self.url))
            .header("Authorization", format!("Bearer {}", self.token))
            .header("Content-Type", "application/json");
        let (status, text, retry_after) = read(request.send(&body[..]))?;
        if status != StatusCode::OK {
            return Err(self.error(status, &text, retry_after));
        }
        let manifest: Result<Manifest, _> = serde_json::from_slice(&text);
        manifest
            .map(|manifest| manifest.files)
            .map_err(|_| self.unexpected(status, retry_after))
    }

    /// Sends a part of a file. Returns what the server then has.
    ///
    /// # Errors
    /// The request did not succeed.
    pub fn put(&mut self, part: &PartRequest<'_>) -> Result<StoredFile, ServerError> {
        let compressed = match part.bytes.len() {
            0..COMPRESSED_FROM => None,
            _ => compress(part.bytes)
                .ok()
                .filter(|compressed| compressed.len() < part.bytes.len()),
        };
        let body = compressed.as_deref().unwrap_or(part.bytes);
        self.count(body.len());
        self.traffic.sent_bytes += part.bytes.len() as u64;
        let mut request = self
            .agent
            .put(format!(
                "{}/api/upload/sessions/{}",
                self.url,
                encode(part.path)
            ))
            .header("Authorization", format!("Bearer {}", self.token))
            .header("Content-Type", "application/octet-stream")
            .header("Upload-Offset", part.offset.to_string())
            .header(
                "Upload-Complete",
                if part.is_complete { "?1" } else { "?0" },
            );
        if part.offset > 0 {
            request = request.header("Upload-Prefix-SHA256", &part.prefix.0);
        }
        if compressed.is_some() {
            request = request.header("Content-Encoding", "gzip");
        }
        let sent = match self.rate {
            None => request.send(body),
            Some(rate) => {
                let mut body = PacedBody::new(body, rate);
                let request = request.header("Content-Length", body.left.len().to_string());
                request.send(SendBody::from_reader(&mut body))
            }
        };
        let (status, text, retry_after) = read(sent)?;
        if status != StatusCode::OK {
            return Err(self.error(status, &text, retry_after));
        }
        self.traffic.stored_bytes += part.bytes.len() as u64;
        serde_json::from_slice(&text).map_err(|_| self.unexpected(status, retry_after))
    }

    fn count(&mut self, bytes: usize) {
        self.traffic.requests += 1;
        self.traffic.wire_bytes += bytes as u64;
    }

    fn error(&self, status: StatusCode, text: &[u8], retry_after: Option<Duration>) -> ServerError {
        let problem: Result<Problem, _> = serde_json::from_slice(text);
        let Ok(problem) = problem else {
            return self.unexpected(status, retry_after);
        };
        let detail: String = problem.detail.escape_debug().collect();
        match (status.as_u16(), problem.stored) {
            (409, Some(stored)) => ServerError::Mismatch(stored),
            (401 | 403, _) => {
                ServerError::Permanent(format!("the server rejected the token: {detail}"))
            }
            // An older server, or one that does not know its host name.
            (404 | 405 | 421, _) => {
                ServerError::Permanent(format!("`{}` returned {status}: {detail}", self.url))
            }
            // A file or a folder is in the way, or the file contains what the server does not take.
            (400 | 409 | 415 | 422, _) => ServerError::Unwanted(detail),
            (413, _) if retry_after.is_none() => ServerError::Unwanted(detail),
            _ => {
                let reason = format!("the server returned {status}: {detail}");
                match retry_after {
                    // A short time means that the server is busy.
                    Some(retry_after) if status == 429 && retry_after >= QUOTA_RETRY_MIN => {
                        ServerError::TooManyFiles {
                            reason,
                            retry_after,
                        }
                    }
                    retry_after => ServerError::Temporary {
                        reason,
                        retry_after,
                    },
                }
            }
        }
    }

    /// The error for a response that does not come from Session Pipeline.
    fn unexpected(&self, status: StatusCode, retry_after: Option<Duration>) -> ServerError {
        let url = &self.url;
        match status.as_u16() {
            // A proxy whose server restarts.
            408 | 429 | 500.. => ServerError::Temporary {
                reason: format!("`{url}` returned {status}"),
                retry_after,
            },
            413 => ServerError::Permanent(format!(
                "`{url}` returned {status}: a proxy limits the size of requests; ask its operator to allow 50 MiB"
            )),
            300..400 => ServerError::Permanent(format!(
                "`{url}` redirects to another URL ({status}); use that URL with `--to`"
            )),
            _ => ServerError::Permanent(format!(
                "`{url}` returned {status}, which is not a response of a Session Pipeline server of this version; check the URL"
            )),
        }
    }
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Without the token.
        f.debug_struct("Server")
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}

fn permanent(error: &dyn std::error::Error) -> ServerError {
    ServerError::Permanent(error.to_string())
}

fn read_authorities(path: &Path) -> Result<RootCerts, String> {
    let shown = path.display().to_string();
    let failed = |reason: &dyn std::fmt::Display| {
        format!(
            "cannot read certificate authorities from `{}`: {reason}; use a PEM file",
            shown.escape_debug()
        )
    };
    let mut text = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(CERTIFICATES_BYTES_MAX).read_to_end(&mut text))
        .map_err(|error| failed(&error))?;
    let mut certificates: Vec<Certificate<'static>> = Vec::new();
    for item in ureq::tls::parse_pem(&text) {
        match item {
            Ok(ureq::tls::PemItem::Certificate(certificate)) => certificates.push(certificate),
            Ok(_) => {}
            Err(error) => return Err(failed(&error)),
        }
    }
    match certificates.is_empty() {
        true => Err(failed(&"it contains no certificate")),
        false => Ok(RootCerts::from(certificates)),
    }
}

type ReadResponse = (StatusCode, Vec<u8>, Option<Duration>);

/// Reads a response. An error of the connection is temporary.
fn read(sent: Result<Response<Body>, ureq::Error>) -> Result<ReadResponse, ServerError> {
    let temporary = |reason: &dyn std::fmt::Display| ServerError::Temporary {
        reason: format!("cannot reach the server: {reason}"),
        retry_after: None,
    };
    let mut response = sent.map_err(|error| temporary(&error))?;
    let retry_after = retry_after(response.headers(), SystemTime::now());
    let body = response.body_mut().with_config().limit(RESPONSE_BYTES_MAX);
    let text = body.read_to_vec().map_err(|error| temporary(&error))?;
    Ok((response.status(), text, retry_after))
}

fn compress(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    io::Write::write_all(&mut encoder, bytes)?;
    encoder.finish()
}

/// Encodes a path for a URL. Slashes stay.
fn encode(path: &str) -> String {
    let mut encoded = String::with_capacity(path.len());
    for byte in path.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                encoded.push(char::from(byte));
            }
            byte => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

/// A body that is sent no faster than a rate.
struct PacedBody<'b> {
    left: &'b [u8],
    rate: u64,
    started: Instant,
    sent: u64,
}

impl<'b> PacedBody<'b> {
    fn new(bytes: &'b [u8], rate: u64) -> Self {
        Self {
            left: bytes,
            rate: rate.max(1),
            started: Instant::now(),
            sent: 0,
        }
    }
}

impl Read for PacedBody<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let due = Duration::from_secs_f64(self.sent as f64 / self.rate as f64);
        std::thread::sleep(due.saturating_sub(self.started.elapsed()));
        let count = buffer.len().min(CHUNK_BYTES);
        let read = buffer
            .get_mut(..count)
            .map_or(Ok(0), |buffer| self.left.read(buffer))?;
        self.sent += read as u64;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_not_sent_in_the_clear() {
        for good in [
            "https://pipeline.example.com",
            "https://pipeline.example.com/base/",
            "http://127.0.0.1:8080",
            "http://localhost:8080",
            "http://[::1]:8080",
            "http://10.1.2.3",
        ] {
            assert_eq!(check_url(good, false).unwrap(), good.trim_end_matches('/'));
        }
        for bad in [
            "",
            "pipeline",
            "ftp://x",
            "https://",
            "https://user:pw@host",
            "https://host/?token=x",
            "http://pipeline.example.com",
            "http://127.0.0.1.example.com",
        ] {
            assert!(check_url(bad, false).is_err(), "{bad}");
        }
        assert!(check_url("http://pipeline.example.com", true).is_ok());
        let server = Server::new("https://x".to_owned(), "sp_secret".to_owned(), None, None);
        assert!(!format!("{server:?}").contains("sp_secret"));
    }

    #[test]
    fn a_paced_body_has_its_rate() {
        let bytes = vec![7; 100_000];
        let started = Instant::now();
        let mut read = Vec::new();
        PacedBody::new(&bytes, 400_000)
            .read_to_end(&mut read)
            .unwrap();
        assert_eq!(read, bytes);
        assert!(started.elapsed() >= Duration::from_millis(200));
    }

    #[test]
    fn paths_are_encoded() {
        assert_eq!(encode("a/-b_c.jsonl"), "a/-b_c.jsonl");
        assert_eq!(encode("a b/ü?#%"), "a%20b/%C3%BC%3F%23%25");
    }
}
