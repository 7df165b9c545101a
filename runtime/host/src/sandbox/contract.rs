//! Rust bindings for the contract, generated from `wit/`. They are in a separate module because
//! generating them is slow.
//!
//! They use the larger of the two worlds. A component that does not use a model imports less, and
//! fits this world as well.

wasmtime::component::bindgen!({
    path: "../wit",
    world: "processor-with-llm",
    imports: { default: trappable },
    exports: { default: async },
});
