//! Expected fault: `out-of-fuel`.
//!
//! Or `deadline`, where that is crossed first. Runs in a circle without calling anybody.

use session_pipeline_faulty::guest;

guest!("loops", |_session| loop {
    std::hint::black_box(());
});
