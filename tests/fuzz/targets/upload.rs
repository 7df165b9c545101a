//! Bodies of uploads. The first byte selects the coding, and the second the size of the chunks.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../../api/src/http/upload/decoder.rs"]
mod decoder;
#[path = "../../suite/fuzz/upload/laws.rs"]
mod laws;
#[path = "../../../api/src/http/upload/zstd.rs"]
mod zstd;

use decoder::ContentCoding;

fuzz_target!(|bytes: &[u8]| {
    let [coding, chunk_bytes, body @ ..] = bytes else {
        return;
    };
    let names: [&[u8]; 3] = [b"identity", b"gzip", b"zstd"];
    let Some(coding) = ContentCoding::parse(names[usize::from(coding % 3)]) else {
        panic!("the server supports these codings");
    };
    if let Err(reason) = laws::check_body(coding, body, usize::from(*chunk_bytes)) {
        panic!("{reason}");
    }
});
