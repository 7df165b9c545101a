//! The processors that ship with the program.

use session_pipeline_pipeline::shipped::ShippedProcessor;

/// The shipped processors with everything that sets them apart from a component in the folder of
/// processors.
pub const SHIPPED: [ShippedProcessor; 2] = [
    ShippedProcessor {
        interval_variable: Some("SCHEDULER_USAGE_PROCESSOR_INTERVAL"),
        ..ShippedProcessor::new("usage", session_pipeline_bundle::USAGE)
    },
    // It is older than the other processors. Its names stay for compatibility.
    ShippedProcessor {
        health_check: Some("session_pipeline"),
        former_job: Some("verification-detector"),
        is_always_expected: true,
        interval_variable: Some("SCHEDULER_VERIFICATION_DETECTOR_INTERVAL"),
        schedule_variable: Some("SCHEDULER_VERIFICATION_SCHEDULE"),
        ..ShippedProcessor::new("verification", session_pipeline_bundle::VERIFICATION)
    },
];
