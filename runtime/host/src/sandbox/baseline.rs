//! The CPU features that compiled code can use.
//!
//! The code of the shipped components is compiled once, on the machine that builds a package. Most
//! CPUs for which the package is meant have the features of x86-64-v3, and differ in what they have
//! in addition. Those features are never used, so that the code fits all these CPUs. An engine on an
//! older CPU has another fingerprint, and compiles the components itself.

use wasmtime::Config;

/// Features beyond x86-64-v3, as Cranelift names them.
const BEYOND_BASELINE: [&str; 7] = [
    "has_avx_vnni",
    "has_avx512bitalg",
    "has_avx512dq",
    "has_avx512f",
    "has_avx512vbmi",
    "has_avx512vl",
    "has_avx512vnni",
];

/// Disables the features of this CPU that go beyond the baseline. On other architectures than
/// x86-64, uses all features.
pub(super) fn apply(config: &mut Config) {
    if !cfg!(target_arch = "x86_64") {
        return;
    }
    for feature in BEYOND_BASELINE {
        #[expect(
            unsafe_code,
            reason = "wasmtime cannot check that a flag keeps code correct; these only disable instructions"
        )]
        // SAFETY: without a CPU feature, the compiler uses other instructions with the same results.
        unsafe {
            config.cranelift_flag_set(feature, "false");
        }
    }
}
