//! A scripted LLM provider: an HTTP server on its own port. It supports the wire formats of both
//! providers and simulates network failures.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::{Value, json};
use session_pipeline_host::clock::Clock as _;
use session_pipeline_pipeline::config::{LlmConfig, Provider, ProviderUrl};
use session_pipeline_pipeline::llm::{Sleeper, StopSignal};

use crate::TestClock;

/// What the server does with one request.
#[derive(Clone, Debug)]
pub enum ServerAction {
    /// Sends a response.
    Answer {
        /// The HTTP status code.
        status: u16,
        /// Headers in addition to the content type and length.
        headers: Vec<(&'static str, String)>,
        /// The body, which does not have to be JSON.
        body: String,
    },
    /// Closes the connection in the middle of the body.
    HalfAnswer,
    /// Resets the connection before reading the request.
    Reset,
    /// Reads the request and sends nothing. The connection stays open.
    Silence,
    /// Sends the beginning of a response and no more. The connection stays open.
    Stall,
    /// Sends a body of this many bytes.
    Flood(usize),
}

impl ServerAction {
    /// A response with this status and body.
    pub fn answer(status: u16, body: impl ToString) -> Self {
        Self::Answer {
            status,
            headers: Vec::new(),
            body: body.to_string(),
        }
    }

    /// An error response. Both providers use this format.
    pub fn error(status: u16, name: &str, message: &str) -> Self {
        let error = json!({"type": name, "message": message});
        Self::answer(status, json!({"type": "error", "error": error}))
    }

    /// Adds a header to a [`ServerAction::Answer`].
    ///
    /// # Panics
    /// The action is not an `Answer`.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl ToString) -> Self {
        match &mut self {
            Self::Answer { headers, .. } => headers.push((name, value.to_string())),
            other => panic!("{other:?} has no headers"),
        }
        self
    }
}

/// The reason why a model stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// The answer is complete.
    Done,
    /// The answer reached the token limit.
    Limit,
    /// The model refused to answer.
    Refusal,
}

/// The answer of a model in the format of a provider. `tokens` are the input and output tokens.
pub fn model_answer(
    provider: Provider,
    text: &str,
    end: StopReason,
    tokens: (u64, u64),
) -> ServerAction {
    let (input, output) = tokens;
    let body = match provider {
        Provider::Anthropic => json!({
            "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-haiku-4-5-20251001",
            "content": [{"type": "text", "text": text}],
            "stop_reason": match end {
                StopReason::Done => "end_turn",
                StopReason::Limit => "max_tokens",
                StopReason::Refusal => "refusal",
            },
            "stop_sequence": null,
            "usage": {"input_tokens": input, "output_tokens": output},
        }),
        Provider::OpenAiCompat => json!({
            "id": "chatcmpl-1", "object": "chat.completion", "created": 0, "model": "local-model",
            "choices": [{
                "index": 0,
                "message": match end {
                    StopReason::Refusal => json!({"role": "assistant", "content": null, "refusal": "I can't"}),
                    _ => json!({"role": "assistant", "content": text, "refusal": null}),
                },
                "finish_reason": match end {
                    StopReason::Limit => "length",
                    _ => "stop",
                },
            }],
            "usage": {"prompt_tokens": input, "completion_tokens": output, "total_tokens": input + output},
        }),
    };
    ServerAction::answer(200, body)
}

/// A request that the server received.
#[derive(Clone, Debug)]
pub struct HttpRequest {
    /// The path of the URL.
    pub path: String,
    /// The headers, with lowercase names.
    pub headers: Vec<(String, String)>,
    /// The unparsed body.
    pub text: String,
    /// The body as JSON, or null if it is not JSON.
    pub body: Value,
}

impl HttpRequest {
    /// The content of the last message.
    pub fn prompt(&self) -> &str {
        let messages = self.body["messages"].as_array();
        let last = messages.and_then(|messages| messages.last());
        last.and_then(|last| last["content"].as_str())
            .unwrap_or_default()
    }

    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        let (_, value) = headers.find(|(header, _)| header == name)?;
        Some(value)
    }
}

#[derive(Debug, Default)]
struct ServerState {
    script: Mutex<VecDeque<ServerAction>>,
    fallback: Mutex<Fallback>,
    requests: Mutex<Vec<HttpRequest>>,
    /// Connections that stay open until the server is dropped.
    open: Mutex<Vec<TcpStream>>,
    is_over: AtomicBool,
}

/// Chooses the action for a request after the end of the script.
#[derive(Clone)]
struct Fallback(Arc<dyn Fn(&HttpRequest) -> ServerAction + Send + Sync>);

impl Default for Fallback {
    fn default() -> Self {
        Self(Arc::new(|_| {
            ServerAction::answer(418, "the script is over")
        }))
    }
}

impl fmt::Debug for Fallback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fallback(…)")
    }
}

/// A server with a script of one action per request.
///
/// ```
/// use session_pipeline_harness::llm_server::{LlmServer, StopReason, model_answer};
/// use session_pipeline_pipeline::config::Provider;
///
/// let server = LlmServer::start(Provider::Anthropic);
/// server.enqueue(model_answer(Provider::Anthropic, "hello", StopReason::Done, (10, 2)));
/// assert!(server.requests().is_empty());
/// assert_eq!(server.config().provider, Some(Provider::Anthropic));
/// ```
#[derive(Debug)]
pub struct LlmServer {
    provider: Provider,
    address: SocketAddr,
    state: Arc<ServerState>,
    thread: Option<JoinHandle<()>>,
}

impl LlmServer {
    /// Starts a server with the format of a provider. After the end of the script, it responds with
    /// status 418 unless [`LlmServer::set_fallback`] is called.
    ///
    /// # Panics
    /// No port is available.
    pub fn start(provider: Provider) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is available");
        let address = listener.local_addr().expect("the listener has an address");
        let state = Arc::new(ServerState::default());
        let accept_state = Arc::clone(&state);
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if accept_state.is_over.load(Ordering::SeqCst) {
                    break;
                }
                let state = Arc::clone(&accept_state);
                // Errors are ignored, because many tests close connections early.
                std::thread::spawn(move || stream.and_then(|stream| serve(&state, stream)));
            }
        });
        Self {
            provider,
            address,
            state,
            thread: Some(thread),
        }
    }

    /// Adds an action to the script.
    pub fn enqueue(&self, action: ServerAction) -> &Self {
        locked(&self.state.script).push_back(action);
        self
    }

    /// Adds a model answer with 100 input tokens and 20 output tokens to the script.
    pub fn enqueue_answer(&self, text: &str) -> &Self {
        self.enqueue(model_answer(
            self.provider,
            text,
            StopReason::Done,
            (100, 20),
        ))
    }

    /// Sets a function that computes the model's answer from the request. The server calls it after
    /// the end of the script.
    pub fn set_fallback(
        &self,
        answer: impl Fn(&HttpRequest) -> String + Send + Sync + 'static,
    ) -> &Self {
        let provider = self.provider;
        let action = move |request: &HttpRequest| {
            model_answer(provider, &answer(request), StopReason::Done, (100, 20))
        };
        *locked(&self.state.fallback) = Fallback(Arc::new(action));
        self
    }

    /// The received requests, in order.
    pub fn requests(&self) -> Vec<HttpRequest> {
        locked(&self.state.requests).clone()
    }

    /// The number of remaining actions in the script.
    pub fn actions_left(&self) -> usize {
        locked(&self.state.script).len()
    }

    /// Removes the remaining actions from the script.
    pub fn clear_script(&self) {
        locked(&self.state.script).clear();
    }

    /// The base URL of the provider.
    pub fn url(&self) -> String {
        let path = match self.provider {
            Provider::Anthropic => "",
            Provider::OpenAiCompat => "/v1",
        };
        format!("http://{}{path}", self.address)
    }

    /// A configuration with this server as the provider.
    ///
    /// # Panics
    /// Never. The URL of the server is valid.
    pub fn config(&self) -> LlmConfig {
        LlmConfig {
            provider: Some(self.provider),
            base_url: Some(ProviderUrl::parse(&self.url()).expect("the URL is valid")),
            ..LlmConfig::default()
        }
    }
}

impl Drop for LlmServer {
    fn drop(&mut self) {
        self.state.is_over.store(true, Ordering::SeqCst);
        // A connection wakes the accept loop, which then reads the flag.
        drop(TcpStream::connect(self.address));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Handles the requests of one connection.
fn serve(state: &ServerState, stream: TcpStream) -> io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    loop {
        if stream.peek(&mut [0])? == 0 {
            return Ok(());
        }
        let action = locked(&state.script).pop_front();
        if let Some(ServerAction::Reset) = action {
            return reset(state);
        }
        let request = read(&mut reader)?;
        locked(&state.requests).push(request.clone());
        let fallback = locked(&state.fallback).clone();
        match action.unwrap_or_else(|| fallback.0(&request)) {
            ServerAction::Answer {
                status,
                headers,
                body,
            } => write(&stream, status, &headers, body.as_bytes(), body.len())?,
            ServerAction::HalfAnswer => {
                write(&stream, 200, &[], b"{\"id\":", 4000)?;
                return stream.shutdown(std::net::Shutdown::Both);
            }
            ServerAction::Stall => {
                write(&stream, 200, &[], b"{\"id\":", 4000)?;
                locked(&state.open).push(stream);
                return Ok(());
            }
            ServerAction::Silence => {
                locked(&state.open).push(stream);
                return Ok(());
            }
            ServerAction::Flood(bytes) => {
                write(&stream, 200, &[], &vec![b' '; bytes], bytes)?;
            }
            ServerAction::Reset => return reset(state),
        }
    }
}

/// Records an empty request. Closing a connection with unread data resets it.
fn reset(state: &ServerState) -> io::Result<()> {
    locked(&state.requests).push(HttpRequest {
        path: String::new(),
        headers: Vec::new(),
        text: String::new(),
        body: Value::Null,
    });
    Ok(())
}

fn read(reader: &mut impl BufRead) -> io::Result<HttpRequest> {
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut headers = Vec::new();
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(": ") else {
            break;
        };
        headers.push((name.to_lowercase(), value.to_owned()));
    }
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let length = length.and_then(|(_, length)| length.parse().ok());
    let mut text = String::new();
    reader.take(length.unwrap_or(0)).read_to_string(&mut text)?;
    let body = serde_json::from_str(&text).unwrap_or_default();
    Ok(HttpRequest {
        path,
        headers,
        text,
        body,
    })
}

fn write(
    mut stream: &TcpStream,
    status: u16,
    headers: &[(&'static str, String)],
    body: &[u8],
    content_length: usize,
) -> io::Result<()> {
    let mut head = format!(
        "HTTP/1.1 {status} Said\r\ncontent-type: application/json\r\ncontent-length: {content_length}\r\n"
    );
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    stream.write_all(format!("{head}\r\n").as_bytes())?;
    stream.write_all(body)
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A sleeper that advances a test clock instead of waiting, and records the wait times.
#[derive(Debug)]
pub struct TestSleeper {
    clock: Arc<TestClock>,
    waits: Mutex<Vec<Duration>>,
}

impl TestSleeper {
    /// Creates a sleeper for this clock.
    pub fn new(clock: &Arc<TestClock>) -> Self {
        Self {
            clock: Arc::clone(clock),
            waits: Mutex::default(),
        }
    }

    /// The wait times, in order.
    pub fn waits(&self) -> Vec<Duration> {
        locked(&self.waits).clone()
    }

    /// The monotonic time of the clock.
    pub fn elapsed(&self) -> Duration {
        self.clock.monotonic()
    }
}

impl Sleeper for TestSleeper {
    fn wait(&self, time: Duration, _stop: &StopSignal) {
        locked(&self.waits).push(time);
        self.clock.advance(time);
    }
}
