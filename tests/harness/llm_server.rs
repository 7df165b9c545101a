//! A provider of language models that says what a test has it say: a real server on a port of its
//! own, which speaks both wire formats and misbehaves in every way that networks do.

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
pub enum ScriptedAct {
    /// It answers.
    Answer {
        /// The status.
        status: u16,
        /// Headers beside the length.
        headers: Vec<(&'static str, String)>,
        /// The body.
        body: String,
    },
    /// It promises an answer and closes the connection in the middle of it.
    HalfAnswer,
    /// It resets the connection before it has read the request.
    Reset,
    /// It reads the request and says nothing, until the test is over.
    Silence,
    /// It sends the beginning of an answer and then nothing, until the test is over.
    Stall,
    /// It answers with so many bytes.
    Flood(usize),
}

impl ScriptedAct {
    /// An answer with this status and body.
    pub fn answer(status: u16, body: impl ToString) -> Self {
        Self::Answer {
            status,
            headers: Vec::new(),
            body: body.to_string(),
        }
    }

    /// An error as both formats have it.
    pub fn error(status: u16, name: &str, message: &str) -> Self {
        let error = json!({"type": name, "message": message});
        Self::answer(status, json!({"type": "error", "error": error}))
    }

    /// The same with one more header.
    ///
    /// # Panics
    /// Where there is no answer to put it into.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl ToString) -> Self {
        match &mut self {
            Self::Answer { headers, .. } => headers.push((name, value.to_string())),
            other => panic!("{other:?} has no headers"),
        }
        self
    }
}

/// How a model's answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// It said all that it had to say.
    Done,
    /// The limit of tokens cut it off.
    Limit,
    /// The model refused.
    Refusal,
}

/// An answer of a model in a provider's format: so many tokens of request and answer.
pub fn said(provider: Provider, text: &str, end: StopReason, tokens: (u64, u64)) -> ScriptedAct {
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
    ScriptedAct::answer(200, body)
}

/// A request that reached the server.
#[derive(Clone, Debug)]
pub struct HttpRequest {
    /// Its path.
    pub path: String,
    /// Its headers, their names in small letters.
    pub headers: Vec<(String, String)>,
    /// Its body as it came.
    pub text: String,
    /// Its body, read.
    pub body: Value,
}

impl HttpRequest {
    /// What a user is made to say in it.
    pub fn prompt(&self) -> &str {
        let messages = self.body["messages"].as_array();
        let last = messages.and_then(|messages| messages.last());
        last.and_then(|last| last["content"].as_str())
            .unwrap_or_default()
    }

    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        let (_, value) = headers.find(|(known, _)| known == name)?;
        Some(value)
    }
}

#[derive(Debug, Default)]
struct Shared {
    script: Mutex<VecDeque<ScriptedAct>>,
    beyond: Mutex<AfterScript>,
    asked: Mutex<Vec<HttpRequest>>,
    /// Connections that are left open.
    open: Mutex<Vec<TcpStream>>,
    is_over: AtomicBool,
}

/// What is done when the script is over.
#[derive(Clone)]
struct AfterScript(Arc<dyn Fn(&HttpRequest) -> ScriptedAct + Send + Sync>);

impl Default for AfterScript {
    fn default() -> Self {
        Self(Arc::new(|_| ScriptedAct::answer(418, "the script is over")))
    }
}

impl fmt::Debug for AfterScript {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Beyond(…)")
    }
}

/// A server that answers by a script, one act for each request.
///
/// ```
/// use session_pipeline_harness::llm_server::{End, LlmServer, said};
/// use session_pipeline_pipeline::config::Provider;
///
/// let server = LlmServer::start(Provider::Anthropic);
/// server.will(said(Provider::Anthropic, "hello", End::Done, (10, 2)));
/// assert!(server.asked().is_empty());
/// assert_eq!(server.config().provider, Some(Provider::Anthropic));
/// ```
#[derive(Debug)]
pub struct LlmServer {
    provider: Provider,
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl LlmServer {
    /// A server that speaks a provider's format. What is beyond its script it answers with 418,
    /// unless [`LlmServer::otherwise`] says otherwise.
    ///
    /// # Panics
    /// When the machine has no port left.
    pub fn start(provider: Provider) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
        let address = listener.local_addr().expect("it has an address");
        let shared = Arc::new(Shared::default());
        let of_thread = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if of_thread.is_over.load(Ordering::SeqCst) {
                    break;
                }
                let shared = Arc::clone(&of_thread);
                // A client that goes away is what many tests are about.
                std::thread::spawn(move || stream.and_then(|stream| serve(&shared, stream)));
            }
        });
        Self {
            provider,
            address,
            shared,
            thread: Some(thread),
        }
    }

    /// Adds to the script.
    pub fn will(&self, act: ScriptedAct) -> &Self {
        locked(&self.shared.script).push_back(act);
        self
    }

    /// Adds an answer of the model to the script, of 100 and 20 tokens.
    pub fn will_say(&self, text: &str) -> &Self {
        self.will(said(self.provider, text, StopReason::Done, (100, 20)))
    }

    /// From now on it answers what is beyond its script as a model would that knows nothing but the
    /// request: the same each time.
    pub fn otherwise(
        &self,
        says: impl Fn(&HttpRequest) -> String + Send + Sync + 'static,
    ) -> &Self {
        let provider = self.provider;
        let act =
            move |asked: &HttpRequest| said(provider, &says(asked), StopReason::Done, (100, 20));
        *locked(&self.shared.beyond) = AfterScript(Arc::new(act));
        self
    }

    /// The requests that it has read, in the order in which they came.
    pub fn asked(&self) -> Vec<HttpRequest> {
        locked(&self.shared.asked).clone()
    }

    /// How many acts of the script are still to come.
    pub fn acts_left(&self) -> usize {
        locked(&self.shared.script).len()
    }

    /// Strikes out what is left of the script.
    pub fn forget(&self) {
        locked(&self.shared.script).clear();
    }

    /// Where it answers.
    pub fn url(&self) -> String {
        let below = match self.provider {
            Provider::Anthropic => "",
            Provider::OpenAiCompat => "/v1",
        };
        format!("http://{}{below}", self.address)
    }

    /// A configuration that asks it.
    ///
    /// # Panics
    /// Never: its address is one.
    pub fn config(&self) -> LlmConfig {
        LlmConfig {
            provider: Some(self.provider),
            base_url: Some(ProviderUrl::parse(&self.url()).expect("an address")),
            ..LlmConfig::default()
        }
    }
}

impl Drop for LlmServer {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::SeqCst);
        // So that the thread looks.
        drop(TcpStream::connect(self.address));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Answers the requests of one connection.
fn serve(shared: &Shared, stream: TcpStream) -> io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    loop {
        if stream.peek(&mut [0])? == 0 {
            return Ok(());
        }
        let act = locked(&shared.script).pop_front();
        if let Some(ScriptedAct::Reset) = act {
            return reset(shared);
        }
        let asked = read(&mut reader)?;
        locked(&shared.asked).push(asked.clone());
        let beyond = locked(&shared.beyond).clone();
        match act.unwrap_or_else(|| beyond.0(&asked)) {
            ScriptedAct::Answer {
                status,
                headers,
                body,
            } => write(&stream, status, &headers, body.as_bytes(), body.len())?,
            ScriptedAct::HalfAnswer => {
                write(&stream, 200, &[], b"{\"id\":", 4000)?;
                return stream.shutdown(std::net::Shutdown::Both);
            }
            ScriptedAct::Stall => {
                write(&stream, 200, &[], b"{\"id\":", 4000)?;
                locked(&shared.open).push(stream);
                return Ok(());
            }
            ScriptedAct::Silence => {
                locked(&shared.open).push(stream);
                return Ok(());
            }
            ScriptedAct::Flood(bytes) => {
                write(&stream, 200, &[], &vec![b' '; bytes], bytes)?;
            }
            ScriptedAct::Reset => return reset(shared),
        }
    }
}

/// What nobody has read yet turns the end of a connection into a reset.
fn reset(shared: &Shared) -> io::Result<()> {
    locked(&shared.asked).push(HttpRequest {
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
    promised: usize,
) -> io::Result<()> {
    let mut head = format!(
        "HTTP/1.1 {status} Said\r\ncontent-type: application/json\r\ncontent-length: {promised}\r\n"
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

/// Waits by moving a test's clock on, and remembers for how long.
#[derive(Debug)]
pub struct TestPatience {
    clock: Arc<TestClock>,
    waits: Mutex<Vec<Duration>>,
}

impl TestPatience {
    /// One that moves this clock.
    pub fn new(clock: &Arc<TestClock>) -> Self {
        Self {
            clock: Arc::clone(clock),
            waits: Mutex::default(),
        }
    }

    /// How long it waited, each time.
    pub fn waits(&self) -> Vec<Duration> {
        locked(&self.waits).clone()
    }

    /// Where its clock stands.
    pub fn elapsed(&self) -> Duration {
        self.clock.monotonic()
    }
}

impl Sleeper for TestPatience {
    fn wait(&self, time: Duration, _stop: &StopSignal) {
        locked(&self.waits).push(time);
        self.clock.advance(time);
    }
}
