//! The contract as Rust: generated from `wit/`, and kept apart since generating takes its time.
//!
//! Of the two worlds the larger one: a component that asks no model imports less, and fits as well.

wasmtime::component::bindgen!({
    path: "../wit",
    world: "processor-with-llm",
    imports: { default: trappable },
    exports: { default: async },
});
