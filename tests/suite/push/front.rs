//! A reverse proxy in front of a server: it adds a path prefix, or answers requests itself.

use std::collections::VecDeque;
use std::io::{BufReader, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// A reverse proxy. It closes each connection after one response.
pub struct Front {
    /// The URL of the proxy, without the prefix.
    pub url: String,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    upstream: String,
    prefix: String,
    answers: Mutex<VecDeque<String>>,
    requests: Mutex<Vec<String>>,
}

impl Front {
    /// Forwards requests for paths with a prefix to the address of a URL, without the prefix.
    pub fn start(upstream: &str, prefix: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let shared = Arc::new(Shared {
            upstream: upstream.strip_prefix("http://").unwrap().to_owned(),
            prefix: prefix.to_owned(),
            ..Shared::default()
        });
        let front = Self {
            url: format!("http://{}", listener.local_addr().unwrap()),
            shared: Arc::clone(&shared),
        };
        // Ends with the process of the test.
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || shared.serve(&client));
            }
        });
        front
    }

    /// Answers the next request itself: with a status, header lines and a page.
    pub fn answer(&self, status: &str, headers: &str) {
        let page = "<html>proxy</html>";
        let length = page.len();
        let answer = format!(
            "HTTP/1.1 {status}\r\nContent-Type: text/html\r\nContent-Length: {length}\r\nConnection: close\r\n{headers}\r\n{page}"
        );
        self.shared.answers.lock().unwrap().push_back(answer);
    }

    /// The request lines so far.
    pub fn requests(&self) -> Vec<String> {
        self.shared.requests.lock().unwrap().clone()
    }
}

/// The first line, the other header lines, and the length of the body.
fn read_head(reader: &mut impl std::io::BufRead) -> Option<(String, String, u64)> {
    let (mut first, mut rest, mut length) = (String::new(), String::new(), 0);
    reader.read_line(&mut first).ok().filter(|read| *read > 0)?;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        if line.trim().is_empty() {
            return Some((first, rest, length));
        }
        let (name, value) = line.split_once(':')?;
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().ok()?;
        }
        if !name.eq_ignore_ascii_case("connection") {
            rest.push_str(&line);
        }
    }
}

impl Shared {
    fn serve(&self, client: &TcpStream) {
        let mut reader = BufReader::new(client);
        let Some((first, headers, length)) = read_head(&mut reader) else {
            return;
        };
        self.requests.lock().unwrap().push(first.trim().to_owned());
        let mut body = Vec::new();
        if (&mut reader).take(length).read_to_end(&mut body).is_err() {
            return;
        }
        let answer = self.answers.lock().unwrap().pop_front();
        let response = match answer {
            Some(answer) => answer.into_bytes(),
            None => self.forward(&first, &headers, &body).unwrap_or_default(),
        };
        let mut client = client;
        let _ = client.write_all(&response);
        let _ = client.shutdown(Shutdown::Both);
    }

    fn forward(&self, first: &str, headers: &str, body: &[u8]) -> Option<Vec<u8>> {
        let Some(first) = first.split_once(&format!(" {}/", self.prefix)) else {
            return Some(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_vec());
        };
        let head = format!("{} /{}{headers}Connection: close\r\n\r\n", first.0, first.1);
        let mut server = TcpStream::connect(&self.upstream).ok()?;
        server.write_all(head.as_bytes()).ok()?;
        server.write_all(body).ok()?;
        let mut response = Vec::new();
        server.read_to_end(&mut response).ok()?;
        Some(response)
    }
}

/// A proxy that opens tunnels with `CONNECT`.
pub struct Tunnels {
    /// The URL of the proxy.
    pub url: String,
    opened: Arc<Mutex<Vec<String>>>,
}

impl Tunnels {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let opened = Arc::new(Mutex::new(Vec::new()));
        let tunnels = Self {
            url: format!("http://{}", listener.local_addr().unwrap()),
            opened: Arc::clone(&opened),
        };
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let opened = Arc::clone(&opened);
                std::thread::spawn(move || tunnel(&client, &opened));
            }
        });
        tunnels
    }

    /// The heads of the requests to the proxy.
    pub fn opened(&self) -> Vec<String> {
        self.opened.lock().unwrap().clone()
    }
}

fn tunnel(client: &TcpStream, opened: &Mutex<Vec<String>>) {
    let mut reader = BufReader::new(client);
    let Some((first, headers, _)) = read_head(&mut reader) else {
        return;
    };
    opened.lock().unwrap().push(format!("{first}{headers}"));
    let target = first.split(' ').nth(1).unwrap_or_default();
    let Ok(server) = TcpStream::connect(target) else {
        return;
    };
    let mut answer = client;
    let _ = answer.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
    std::thread::scope(|scope| {
        scope.spawn(|| copy(&server, client));
        copy(client, &server);
    });
}

fn copy(mut from: &TcpStream, mut to: &TcpStream) {
    let _ = std::io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Write);
}
