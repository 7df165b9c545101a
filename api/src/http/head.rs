//! The head of a request, checked more strictly than the HTTP library does: what two programs could
//! read in two ways, and names that are not ours (DNS rebinding), are rejected.

use std::net::IpAddr;
use std::sync::atomic::Ordering;

use axum::http::request::Parts;
use axum::http::uri::Authority;
use axum::http::{Version, header};
use session_pipeline_host::fault::printable;

use super::connections::Connection;
use super::problem::ApiError;
use crate::problem::ProblemClass;

/// As much of a line is looked at: more than the fields that decide where a body ends take.
const LINE_BYTES_MAX: usize = 256;

/// Checks what every request must have. `hosts` are the names from the config file.
///
/// # Errors
/// When the request must not be answered.
pub(super) fn check(
    parts: &Parts,
    connection: &Connection,
    hosts: &[String],
) -> Result<(), ApiError> {
    if connection.is_malformed.load(Ordering::SeqCst) {
        return Err(ApiError::bad(
            "malformed request head: lines must end with CR LF, and one field must say where the body ends",
        ));
    }
    for name in [header::AUTHORIZATION, header::HOST] {
        if parts.headers.get_all(&name).iter().nth(1).is_some() {
            let detail = format!("more than one `{name}` header; send exactly one");
            return Err(ApiError::bad(detail));
        }
    }
    let host = match parts.headers.get(header::HOST) {
        Some(host) => Some(host.to_str().ok().and_then(authority).ok_or_else(|| {
            let host = printable(&String::from_utf8_lossy(host.as_bytes()));
            ApiError::bad(format!(
                "invalid `host` header `{host}`; send NAME or NAME:PORT"
            ))
        })?),
        None if parts.version == Version::HTTP_11 => {
            return Err(ApiError::bad(
                "the `host` header is missing; HTTP/1.1 requires it",
            ));
        }
        None => None,
    };
    // A target in absolute form names a host as well, and takes precedence.
    for authority in host.as_ref().into_iter().chain(parts.uri.authority()) {
        let name = name_of(authority);
        if !is_ours(&name, connection, hosts) {
            let detail = format!(
                "this server does not answer to the host name `{}`; use its address, or add the name to `hosts` in the section `[service]` of the config file",
                printable(&name)
            );
            return Err(ApiError::new(ProblemClass::Misdirected, detail));
        }
    }
    Ok(())
}

fn authority(text: &str) -> Option<Authority> {
    let authority: Authority = text.parse().ok()?;
    (!text.contains('@') && !authority.host().is_empty()).then_some(authority)
}

/// The host alone, as names are compared.
fn name_of(authority: &Authority) -> String {
    let host = authority.host();
    let host = host.strip_prefix('[').unwrap_or(host);
    let host = host.strip_suffix(']').unwrap_or(host);
    host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase()
}

fn is_ours(name: &str, connection: &Connection, hosts: &[String]) -> bool {
    if hosts.iter().any(|host| host == name) {
        return true;
    }
    match name.parse::<IpAddr>() {
        Ok(address) => {
            let address = address.to_canonical();
            let ours = [connection.listen, connection.local];
            address.is_loopback() || ours.iter().any(|ours| ours.to_canonical() == address)
        }
        Err(_) => name == "localhost" || name.ends_with(".localhost"),
    }
}

/// Follows the bytes of a connection from head to head, and finds heads that the HTTP library would
/// be lenient with. It goes by lengths alone: after a chunked body it no longer knows where it is, so
/// such a request has to be the connection's last one.
#[derive(Debug, Default)]
pub(super) struct HeadScan {
    place: HeadPosition,
    /// The present line without its line feed: its first bytes, its last one, and its length.
    line: Vec<u8>,
    last: u8,
    line_length: usize,
    /// Whether the request line is over.
    has_request_line: bool,
    content_length: Option<u64>,
    is_chunked: bool,
}

#[derive(Debug, Default)]
enum HeadPosition {
    #[default]
    Head,
    /// This many bytes of the body are still to come.
    Body(u64),
    Unknown,
}

/// A head that must not be answered.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct MalformedHead;

impl HeadScan {
    /// Takes the next bytes of the connection.
    ///
    /// # Errors
    /// When they belong to a head that is malformed.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Result<(), MalformedHead> {
        let mut rest = bytes;
        while !rest.is_empty() {
            match &mut self.place {
                HeadPosition::Unknown => return Ok(()),
                HeadPosition::Body(left) => {
                    let taken =
                        usize::try_from(*left).map_or(rest.len(), |left| left.min(rest.len()));
                    *left -= taken as u64;
                    if *left == 0 {
                        self.place = HeadPosition::Head;
                    }
                    rest = rest.get(taken..).unwrap_or_default();
                }
                HeadPosition::Head => {
                    let Some(end) = rest.iter().position(|byte| *byte == b'\n') else {
                        self.keep(rest);
                        return Ok(());
                    };
                    let (line, after) = rest.split_at(end);
                    self.keep(line);
                    self.end_line()?;
                    rest = after.get(1..).unwrap_or_default();
                }
            }
        }
        Ok(())
    }

    fn keep(&mut self, bytes: &[u8]) {
        let room = LINE_BYTES_MAX.saturating_sub(self.line.len());
        self.line.extend(bytes.iter().take(room));
        self.last = bytes.last().copied().unwrap_or(self.last);
        self.line_length += bytes.len();
    }

    fn end_line(&mut self) -> Result<(), MalformedHead> {
        let line = std::mem::take(&mut self.line);
        let last = std::mem::take(&mut self.last);
        let length = std::mem::take(&mut self.line_length);
        if last != b'\r' {
            return Err(MalformedHead);
        }
        if length == 1 {
            // Empty lines before a request are passed over, as the library does.
            return if self.has_request_line {
                self.end_head()
            } else {
                Ok(())
            };
        }
        if !std::mem::replace(&mut self.has_request_line, true) {
            return Ok(());
        }
        let mut parts = line.splitn(2, |byte| *byte == b':');
        let (name, value) = (
            parts.next().unwrap_or_default(),
            parts.next().unwrap_or_default(),
        );
        if name.eq_ignore_ascii_case(b"transfer-encoding") {
            // The library goes by the last coding, in however many fields and behind whichever others.
            let is_plain = value.trim_ascii().eq_ignore_ascii_case(b"chunked");
            if !is_plain || std::mem::replace(&mut self.is_chunked, true) {
                return Err(MalformedHead);
            }
        } else if name.eq_ignore_ascii_case(b"content-length") {
            let digits = value.trim_ascii();
            let is_number = length <= LINE_BYTES_MAX && digits.iter().all(u8::is_ascii_digit);
            let number = str::from_utf8(digits).ok().filter(|_| is_number);
            let number: u64 = number
                .and_then(|text| text.parse().ok())
                .ok_or(MalformedHead)?;
            if self.content_length.replace(number).is_some() {
                return Err(MalformedHead);
            }
        }
        Ok(())
    }

    fn end_head(&mut self) -> Result<(), MalformedHead> {
        let Self {
            content_length,
            is_chunked,
            ..
        } = std::mem::take(self);
        self.place = match (content_length, is_chunked) {
            (Some(_), true) => return Err(MalformedHead),
            (None, true) => HeadPosition::Unknown,
            (Some(0) | None, false) => HeadPosition::Head,
            (Some(length), false) => HeadPosition::Body(length),
        };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{HeadScan, MalformedHead};

    /// What a scan makes of a connection's bytes, whole and byte by byte.
    fn scan(bytes: &[u8]) -> Result<(), MalformedHead> {
        let whole = HeadScan::default().feed(bytes);
        let mut scan = HeadScan::default();
        let single = bytes.iter().try_for_each(|byte| scan.feed(&[*byte]));
        assert_eq!(whole, single, "{}", String::from_utf8_lossy(bytes));
        whole
    }

    #[test]
    fn plain_heads_with_and_without_bodies_follow_each_other() {
        let get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        let post = "POST / HTTP/1.1\r\nHost: a\r\ncontent-LENGTH:  7 \r\n\r\na\nb\n\n\nc";
        let empty = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n";
        for heads in [
            format!("{get}{post}{empty}{get}"),
            format!("\r\n{post}{post}"),
            format!("{empty}POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\n\nx"),
            "POST / HTTP/1.1\r\ntransfer-encoding:\tChunked \r\n\r\n".to_owned(),
            format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n{get}", "y".repeat(10_000)),
        ] {
            assert_eq!(scan(heads.as_bytes()), Ok(()), "{heads}");
        }
    }

    #[test]
    fn heads_that_could_be_read_in_two_ways_are_malformed() {
        let get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        for head in [
            "GET / HTTP/1.1\nHost: a\n\n",
            "GET / HTTP/1.1\r\nHost: a\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\n\n",
            "\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 1, 1\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: +1\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length:\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked, chunked\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: \x0bchunked\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding:\r\n\r\n",
        ] {
            assert_eq!(scan(head.as_bytes()), Err(MalformedHead), "{head:?}");
            let second = format!("{get}{head}");
            assert_eq!(scan(second.as_bytes()), Err(MalformedHead), "{second:?}");
        }
    }
}
