//! Reads the uploads from the bytes of a connection.

use std::io::Read as _;

use flate2::read::MultiGzDecoder;

/// Reads HTTP/1.1 requests with a `Content-Length`, as the program sends them.
#[derive(Default)]
pub struct UploadReader {
    head: Vec<u8>,
    body: Option<Body>,
    /// The bodies so far, in bytes before their compression.
    bodies: Vec<u64>,
}

struct Body {
    left: usize,
    is_upload: bool,
    is_compressed: bool,
    bytes: Vec<u8>,
}

impl UploadReader {
    /// Reads the next bytes of the connection.
    pub fn read(&mut self, mut bytes: &[u8]) {
        while let Some((first, rest)) = bytes.split_first() {
            if let Some(body) = &mut self.body {
                let (own, rest) = bytes.split_at(body.left.min(bytes.len()));
                body.bytes.extend_from_slice(own);
                body.left -= own.len();
                bytes = rest;
            } else {
                self.head.push(*first);
                bytes = rest;
                if self.head.ends_with(b"\r\n\r\n") {
                    self.body = Some(Body::of_head(&self.head));
                    self.head.clear();
                }
            }
            if self.body.as_ref().is_some_and(|body| body.left == 0) {
                self.end_body();
            }
        }
    }

    /// Ends the connection. Returns the bodies of its uploads. The last one can be incomplete.
    pub fn end(mut self) -> Vec<u64> {
        self.end_body();
        self.bodies
    }

    fn end_body(&mut self) {
        if let Some(body) = self.body.take().filter(|body| body.is_upload) {
            self.bodies.push(body.decoded());
        }
    }
}

impl Body {
    fn of_head(head: &[u8]) -> Self {
        let head = String::from_utf8_lossy(head).to_ascii_lowercase();
        let field = |name: &str| {
            let mut lines = head.lines();
            lines.find_map(|line| Some(line.strip_prefix(name)?.strip_prefix(':')?.trim()))
        };
        Self {
            left: field("content-length").map_or(0, |length| length.parse().unwrap()),
            is_upload: head.starts_with("put "),
            is_compressed: field("content-encoding") == Some("gzip"),
            bytes: Vec::new(),
        }
    }

    fn decoded(&self) -> u64 {
        if !self.is_compressed {
            return self.bytes.len() as u64;
        }
        let mut decoded = Vec::new();
        // An incomplete body ends with an error.
        let _ = MultiGzDecoder::new(&*self.bytes).read_to_end(&mut decoded);
        decoded.len() as u64
    }
}
