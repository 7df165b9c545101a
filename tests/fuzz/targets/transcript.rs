//! Transcripts, as a processor reads them.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../suite/fuzz/transcript/laws.rs"]
mod laws;

fuzz_target!(|bytes: &[u8]| {
    let result = laws::check_transcript(bytes).and_then(|()| {
        let text = String::from_utf8_lossy(bytes);
        text.split('\n').try_for_each(laws::check_line)
    });
    if let Err(reason) = result {
        panic!("{reason}");
    }
});
