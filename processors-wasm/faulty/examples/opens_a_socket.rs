//! Expected fault: `denied`.
//!
//! Wants to call somebody, and would tell them what the transcript says.

use std::io::Write;
use std::net::{Ipv4Addr, TcpStream};

use session_pipeline_faulty::guest;

guest!("opens-a-socket", |session| {
    let mut stream =
        TcpStream::connect((Ipv4Addr::LOCALHOST, 9)).map_err(|error| error.to_string())?;
    let key = session.info().key.as_bytes();
    stream.write_all(key).map_err(|error| error.to_string())
});
