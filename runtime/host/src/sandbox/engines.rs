//! One engine for each size of the guests' stack.
//!
//! All other limits hold for a session, so that one engine serves every processor; how deep a guest
//! may recurse belongs to the engine. Code that was compiled for one of them runs on all.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::fault::{Fault, FaultKind};
use crate::limits::Limits;
use crate::sandbox::Engine;

/// The engines of a process, each made when it is first asked for.
#[derive(Debug)]
pub struct Engines {
    pool: Limits,
    workers: usize,
    made: Mutex<BTreeMap<usize, Arc<Engine>>>,
}

impl Engines {
    /// Engines with pools for as many sessions at once as there are workers, with slots for the
    /// memory and tables of `pool`.
    pub fn new(pool: Limits, workers: usize) -> Self {
        Self {
            pool,
            workers,
            made: Mutex::default(),
        }
    }

    /// The engine for guests under these limits.
    ///
    /// # Errors
    /// A fault of kind `host` when the address space for its pool can't be had.
    pub fn under(&self, limits: &Limits) -> Result<Arc<Engine>, Fault> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let stack_bytes_max = limits.stack_bytes_max;
        if let Some(engine) = made.get(&stack_bytes_max) {
            return Ok(Arc::clone(engine));
        }
        let limits = Limits {
            stack_bytes_max,
            ..self.pool.clone()
        };
        let engine = Engine::new(&limits, self.workers).map_err(|error| {
            let detail = format!(
                "the sandbox can't be made: {error:#}; lower `workers`, or the limits of memory, tables and stack"
            );
            Fault::new(FaultKind::Host, detail)
        })?;
        let engine = Arc::new(engine);
        made.insert(stack_bytes_max, Arc::clone(&engine));
        Ok(engine)
    }
}
