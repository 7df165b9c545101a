//! Stubs for WASI: output streams that write to the log, an empty environment, a frozen clock, and
//! a named error for everything else.
//!
//! Every call that can wait must fail. Fuel does not stop a guest that sleeps in the host.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::AsyncWrite;
use wasmtime::component::{Linker, LinkerInstance};
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};
use wasmtime_wasi::{Deterministic, HostMonotonicClock, HostWallClock, WasiCtx, WasiCtxBuilder};

use crate::fault::FaultKind;
use crate::sandbox::host::HostState;
use crate::sandbox::log::{SessionLog, Stream};

/// The WASI version that wasmtime-wasi defines. Only definitions of this version can be shadowed.
const WASI: &str = "0.2.12";
/// The time of the frozen clocks: 2000-01-01T00:00:00Z.
const INSTANT: Duration = Duration::from_secs(946_684_800);
/// Maximum number of random bytes per call, because each call costs the same fuel. More than any
/// generator needs as its seed.
const RANDOM_BYTES_MAX: u64 = 4 << 10;
/// Bytes that a stream accepts at once.
const STREAM_BYTES_MAX: usize = 64 << 10;

/// WASI packages that a component can import. Their functions are stubs.
const INTERFACES: [&str; 6] = ["io", "clocks", "random", "cli", "filesystem", "sockets"];

/// Functions that wait or access the outside world.
const DENIED: [(&str, &[&str]); 6] = [
    ("wasi:io/poll", &["poll", "[method]pollable.block"]),
    ("wasi:filesystem/preopens", &["get-directories"]),
    ("wasi:sockets/tcp-create-socket", &["create-tcp-socket"]),
    ("wasi:sockets/udp-create-socket", &["create-udp-socket"]),
    ("wasi:sockets/ip-name-lookup", &["resolve-addresses"]),
    ("wasi:sockets/instance-network", &["instance-network"]),
];

/// Whether a component is allowed to import this name.
pub(crate) fn is_allowed_import(name: &str) -> bool {
    let Some((interface, version)) = name.split_once('@') else {
        return false;
    };
    match interface.split_once(':') {
        Some(("session-pipeline", rest)) => {
            let is_ours = matches!(
                rest,
                "processor/types"
                    | "processor/transcript"
                    | "processor/records"
                    | "processor/log"
                    | "processor/llm"
            );
            match version {
                "1.0.0" => is_ours,
                "1.1.0" => is_ours || rest == "processor/resumption",
                _ => false,
            }
        }
        Some(("wasi", rest)) => {
            let package = rest.split_once('/').map_or(rest, |(package, _)| package);
            INTERFACES.contains(&package) && version.starts_with("0.2.")
        }
        _ => false,
    }
}

/// Adds WASI to a linker and replaces the functions in [`DENIED`].
pub(crate) fn link(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    wasmtime_wasi::p2::add_to_linker_sync(linker)?;
    linker.allow_shadowing(true);
    for (interface, functions) in DENIED {
        let mut instance = linker.instance(&format!("{interface}@{WASI}"))?;
        for function in functions {
            deny(&mut instance, interface, function)?;
        }
    }
    linker.allow_shadowing(false);
    Ok(())
}

fn deny(
    instance: &mut LinkerInstance<'_, HostState>,
    interface: &str,
    function: &str,
) -> wasmtime::Result<()> {
    let name = format!("{interface}#{function}");
    instance.func_new(function, move |mut store, _, _, _| {
        let detail = format!("the call `{name}` is denied: a processor cannot use files or the network and cannot wait");
        Err(store.data_mut().fail(FaultKind::Denied, &detail))
    })
}

/// The WASI context of one session. It depends only on the seed.
pub(crate) fn context(seed: [u8; 32], log: &SessionLog) -> WasiCtx {
    let mut insecure_seed = [0; 16];
    insecure_seed.copy_from_slice(seed.first_chunk::<16>().unwrap_or(&[0; 16]));
    WasiCtxBuilder::new()
        .stdout(LogStream {
            log: log.clone(),
            stream: Stream::Stdout,
        })
        .stderr(LogStream {
            log: log.clone(),
            stream: Stream::Stderr,
        })
        .wall_clock(FrozenClock)
        .monotonic_clock(FrozenClock)
        .secure_random(Deterministic::new(seed.to_vec()))
        .insecure_random(Deterministic::new(seed.to_vec()))
        .insecure_random_seed(u128::from_le_bytes(insecure_seed))
        .max_random_size(RANDOM_BYTES_MAX)
        .allow_tcp(false)
        .allow_udp(false)
        .allow_ip_name_lookup(false)
        .build()
}

/// A clock that always returns the same time.
struct FrozenClock;

impl HostWallClock for FrozenClock {
    fn resolution(&self) -> Duration {
        Duration::from_secs(1)
    }
    fn now(&self) -> Duration {
        INSTANT
    }
}

impl HostMonotonicClock for FrozenClock {
    fn resolution(&self) -> u64 {
        1_000_000_000
    }
    fn now(&self) -> u64 {
        0
    }
}

/// Standard output or standard error of a guest. Accepts everything and stores as much as fits. If
/// it reported a full pipe, the guest would see "closed", and a harmless `println!` would panic.
#[derive(Clone)]
struct LogStream {
    log: SessionLog,
    stream: Stream,
}

impl IsTerminal for LogStream {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for LogStream {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }
    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

impl AsyncWrite for LogStream {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        self.log.write_stream(self.stream, bytes);
        Poll::Ready(Ok(bytes.len()))
    }
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for LogStream {
    async fn ready(&mut self) {}
}

#[wasmtime_wasi::async_trait]
impl OutputStream for LogStream {
    fn write(&mut self, bytes: bytes::Bytes) -> StreamResult<()> {
        self.log.write_stream(self.stream, &bytes);
        Ok(())
    }
    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }
    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(STREAM_BYTES_MAX)
    }
}
