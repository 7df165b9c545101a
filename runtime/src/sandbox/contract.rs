//! The contract as Rust: generated from `wit/`, and kept apart since generating takes its time.

wasmtime::component::bindgen!({
    path: "wit",
    world: "processor",
    imports: { default: trappable },
    exports: { default: async },
});
