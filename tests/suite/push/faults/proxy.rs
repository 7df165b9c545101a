//! A TCP proxy that counts bytes and cuts connections.

use std::collections::VecDeque;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

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
    uploaded: AtomicU64,
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
        let left = AtomicU64::new(cut.unwrap_or(u64::MAX));
        std::thread::scope(|scope| {
            scope.spawn(|| copy(&server, client, &left, None));
            copy(client, &server, &left, Some(&self.uploaded));
        });
    }
}

/// Copies until one side ends or the limit is reached. Then both connections are closed.
fn copy(mut from: &TcpStream, mut to: &TcpStream, left: &AtomicU64, count: Option<&AtomicU64>) {
    let mut buffer = [0; 16 << 10];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        let read = read as u64;
        let before = left
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
                Some(left.saturating_sub(read))
            })
            .unwrap();
        let allowed = usize::try_from(read.min(before)).unwrap();
        if let Some(count) = count {
            count.fetch_add(allowed as u64, Ordering::SeqCst);
        }
        if to.write_all(&buffer[..allowed]).is_err() || (allowed as u64) < read {
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}
