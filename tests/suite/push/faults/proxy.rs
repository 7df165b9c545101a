//! A TCP proxy that counts bytes and uploads, and cuts connections.

use std::collections::VecDeque;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use super::uploads::UploadReader;

/// A proxy at a constant address, in front of a server that can change.
pub struct Proxy {
    pub url: String,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    upstream: Mutex<String>,
    /// The number of bytes after which each of the next connections is cut, in both directions
    /// together.
    cuts: Mutex<VecDeque<u64>>,
    cuts_made: AtomicU64,
    uploaded: AtomicU64,
    /// The bodies of all uploads so far, in bytes before their compression.
    bodies: Mutex<Vec<u64>>,
}

/// The limit of a connection.
struct Limit {
    bytes: AtomicU64,
    is_reached: AtomicBool,
}

impl Proxy {
    /// Forwards connections to the address of a URL. A connection to no server is closed.
    pub fn start(upstream: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shared = Arc::new(Shared::default());
        let proxy = Self {
            url,
            shared: Arc::clone(&shared),
        };
        proxy.set_upstream(upstream);
        // Ends with the process of the test.
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || shared.forward(&client));
            }
        });
        proxy
    }

    pub fn set_upstream(&self, url: &str) {
        let address = url.strip_prefix("http://").unwrap();
        address.clone_into(&mut self.shared.upstream.lock().unwrap());
    }

    /// Cuts the next connections after these numbers of bytes.
    pub fn cut_after(&self, bytes: Vec<u64>) {
        self.shared.cuts.lock().unwrap().extend(bytes);
    }

    /// Cuts no further connection. Returns how many were cut.
    pub fn stop_cutting(&self) -> u64 {
        self.shared.cuts.lock().unwrap().clear();
        self.shared.cuts_made.load(Ordering::SeqCst)
    }

    /// The bodies of the uploads so far, in bytes before their compression. The last ones of a
    /// connection that was cut are shorter than what the client wanted to send.
    pub fn bodies(&self) -> Vec<u64> {
        self.shared.bodies.lock().unwrap().clone()
    }

    /// The number of bytes that clients sent, with the heads of requests.
    pub fn uploaded(&self) -> u64 {
        self.shared.uploaded.load(Ordering::SeqCst)
    }
}

impl Shared {
    fn forward(&self, client: &TcpStream) {
        let address = self.upstream.lock().unwrap().clone();
        let Ok(server) = TcpStream::connect(address) else {
            return;
        };
        let cut = self.cuts.lock().unwrap().pop_front();
        let limit = Limit {
            bytes: AtomicU64::new(cut.unwrap_or(u64::MAX)),
            is_reached: AtomicBool::new(false),
        };
        let mut uploads = UploadReader::default();
        std::thread::scope(|scope| {
            scope.spawn(|| copy(&server, client, &limit, |_| {}));
            copy(client, &server, &limit, |bytes| {
                let count = bytes.len() as u64;
                self.uploaded.fetch_add(count, Ordering::SeqCst);
                uploads.read(bytes);
            });
        });
        if limit.is_reached.into_inner() {
            self.cuts_made.fetch_add(1, Ordering::SeqCst);
        }
        self.bodies.lock().unwrap().extend(uploads.end());
    }
}

/// Copies until one side ends or the limit is reached. Then both connections are closed.
fn copy(mut from: &TcpStream, mut to: &TcpStream, limit: &Limit, mut each: impl FnMut(&[u8])) {
    let mut buffer = [0; 16 << 10];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        let before = limit
            .bytes
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
                Some(left.saturating_sub(read as u64))
            })
            .unwrap();
        let allowed = usize::try_from(before).unwrap_or(usize::MAX).min(read);
        each(&buffer[..allowed]);
        let is_written = to.write_all(&buffer[..allowed]).is_ok();
        if allowed < read {
            limit.is_reached.store(true, Ordering::SeqCst);
        }
        if !is_written || allowed < read {
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}
