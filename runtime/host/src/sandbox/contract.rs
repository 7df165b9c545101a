//! Rust bindings for the contract, generated from `wit/`. They are in a separate module because
//! generating them is slow.
//!
//! They use a world with all imports. A component that uses fewer fits this world as well. The
//! export `resumable` is optional, so it is looked up by its name.

wasmtime::component::bindgen!({
    path: "../wit",
    inline: "
        package session-pipeline:host;
        world any-processor {
            include session-pipeline:processor/processor-with-llm@1.1.0;
            import session-pipeline:processor/resumption@1.1.0;
        }
    ",
    world: "session-pipeline:host/any-processor",
    imports: { default: trappable },
    exports: { default: async },
});

/// The version of the contract.
pub(crate) const VERSION: &str = "1.1.0";
/// The optional export of processors that can resume.
pub(crate) const RESUMABLE: &str = "session-pipeline:processor/resumable@1.1.0";
