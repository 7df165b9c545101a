//! The random number generator of the operating system.

use std::io;

use session_pipeline_pipeline::token::Randomness;

/// Random bytes from the operating system.
#[derive(Clone, Copy, Debug)]
pub(super) struct SystemRandomness;

impl Randomness for SystemRandomness {
    fn fill(&self, buffer: &mut [u8]) -> io::Result<()> {
        getrandom::fill(buffer).map_err(io::Error::from)
    }
}
