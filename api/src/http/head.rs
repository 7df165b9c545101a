//! Checks the head of a request more strictly than the HTTP library. Rejects heads that two
//! programs could parse differently (request smuggling), and host names of other servers (DNS
//! rebinding).

use std::net::IpAddr;
use std::sync::atomic::Ordering;

use axum::http::request::Parts;
use axum::http::uri::Authority;
use axum::http::{Version, header};
use session_pipeline_host::fault::printable;

use super::connections::Connection;
use super::problem::ApiError;
use crate::problem::ProblemClass;

/// Maximum number of bytes stored of a line. The fields that delimit the body are shorter.
const LINE_BYTES_MAX: usize = 256;

/// Checks the head of a request. `hosts` are the names from the config file.
///
/// # Errors
/// The head is malformed, or names another host.
pub(super) fn check(
    parts: &Parts,
    connection: &Connection,
    hosts: &[String],
) -> Result<(), ApiError> {
    if connection.is_malformed.load(Ordering::SeqCst) {
        return Err(ApiError::bad_request(
            "malformed request head: lines must end with CR LF, and at most one field can delimit the body",
        ));
    }
    for name in [header::AUTHORIZATION, header::HOST] {
        if parts.headers.get_all(&name).iter().nth(1).is_some() {
            let detail = format!("more than one `{name}` header; send exactly one");
            return Err(ApiError::bad_request(detail));
        }
    }
    let host = match parts.headers.get(header::HOST) {
        Some(host) => Some(host.to_str().ok().and_then(authority).ok_or_else(|| {
            let host = printable(&String::from_utf8_lossy(host.as_bytes()));
            ApiError::bad_request(format!(
                "invalid `Host` header `{host}`; send NAME or NAME:PORT"
            ))
        })?),
        None if parts.version == Version::HTTP_11 => {
            return Err(ApiError::bad_request(
                "missing `Host` header; HTTP/1.1 requires it",
            ));
        }
        None => None,
    };
    // A request target in absolute form also names a host, and takes precedence.
    for authority in host.as_ref().into_iter().chain(parts.uri.authority()) {
        let name = host_name(authority);
        if !is_own_name(&name, connection, hosts) {
            let detail = format!(
                "unknown host name `{}`; use the address of the server, or add the name to `hosts` in the `[service]` section of the config file",
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

/// The host without brackets, port and trailing dot, in lowercase.
fn host_name(authority: &Authority) -> String {
    let host = authority.host();
    let host = host.strip_prefix('[').unwrap_or(host);
    let host = host.strip_suffix(']').unwrap_or(host);
    host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase()
}

fn is_own_name(name: &str, connection: &Connection, hosts: &[String]) -> bool {
    if hosts.iter().any(|host| host == name) {
        return true;
    }
    match name.parse::<IpAddr>() {
        Ok(address) => {
            let address = address.to_canonical();
            let own = [connection.listen, connection.local];
            address.is_loopback() || own.iter().any(|own| own.to_canonical() == address)
        }
        Err(_) => name == "localhost" || name.ends_with(".localhost"),
    }
}

/// Scans the bytes of a connection for malformed heads that the HTTP library would accept. It skips
/// bodies by their length. It cannot find the end of a chunked body, so a request with one must be
/// the last on its connection.
#[derive(Debug, Default)]
pub(super) struct HeadScan {
    position: HeadPosition,
    /// The first bytes of the current line, without the line feed. `last` is its last byte.
    line: Vec<u8>,
    last: u8,
    line_length: usize,
    /// Whether the request line was read.
    has_request_line: bool,
    content_length: Option<u64>,
    is_chunked: bool,
}

#[derive(Debug, Default)]
enum HeadPosition {
    #[default]
    Head,
    /// In a body, with this many bytes left.
    Body(u64),
    /// After a chunked body.
    Unknown,
}

/// A head that must be rejected.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct MalformedHead;

impl HeadScan {
    /// Scans the next bytes of the connection.
    ///
    /// # Errors
    /// The bytes complete a malformed line or head.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Result<(), MalformedHead> {
        let mut rest = bytes;
        while !rest.is_empty() {
            match &mut self.position {
                HeadPosition::Unknown => return Ok(()),
                HeadPosition::Body(left) => {
                    let taken =
                        usize::try_from(*left).map_or(rest.len(), |left| left.min(rest.len()));
                    *left -= taken as u64;
                    if *left == 0 {
                        self.position = HeadPosition::Head;
                    }
                    rest = rest.get(taken..).unwrap_or_default();
                }
                HeadPosition::Head => {
                    let Some(end) = rest.iter().position(|byte| *byte == b'\n') else {
                        self.push(rest);
                        return Ok(());
                    };
                    let (line, after) = rest.split_at(end);
                    self.push(line);
                    self.end_line()?;
                    rest = after.get(1..).unwrap_or_default();
                }
            }
        }
        Ok(())
    }

    fn push(&mut self, bytes: &[u8]) {
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
            // The library skips empty lines before a request, too.
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
            // The library accepts several codings and fields, and uses the last coding.
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
        self.position = match (content_length, is_chunked) {
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

    /// Scans the bytes of a connection at once and byte by byte, and expects the same result.
    fn scan(bytes: &[u8]) -> Result<(), MalformedHead> {
        let whole = HeadScan::default().feed(bytes);
        let mut scan = HeadScan::default();
        let single = bytes.iter().try_for_each(|byte| scan.feed(&[*byte]));
        assert_eq!(whole, single, "{}", String::from_utf8_lossy(bytes));
        whole
    }

    #[test]
    fn several_valid_heads_on_one_connection_are_accepted() {
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
    fn an_ambiguous_head_is_malformed() {
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
