//! What the program says of itself: known when it was built, save when it began.

use session_pipeline_host::clock::UtcMicros;

pub use session_pipeline_pipeline::health::BuildInfo;

/// This build, in a process that began then.
pub fn build(started_at: UtcMicros) -> BuildInfo {
    BuildInfo {
        version: env!("CARGO_PKG_VERSION"),
        channel: option_env!("RELEASE_CHANNEL").unwrap_or("dev"),
        image_tag: option_env!("IMAGE_TAG").unwrap_or("unknown"),
        commit_sha: option_env!("COMMIT_SHA").unwrap_or("unknown"),
        deployed_at: started_at,
    }
}
