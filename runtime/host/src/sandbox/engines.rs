//! One engine per guest stack size.
//!
//! All other limits apply per session, so one engine can serve every processor. The stack size is a
//! property of the engine. Code that was compiled for one of these engines runs on all of them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::fault::{Fault, FaultKind};
use crate::limits::Limits;
use crate::sandbox::Engine;

/// The engines of a process. Each is created when it is first used.
#[derive(Debug)]
pub struct Engines {
    pool: Limits,
    workers: usize,
    engines: Mutex<BTreeMap<usize, Arc<Engine>>>,
}

impl Engines {
    /// Creates no engine yet. Each engine will have a pool for `workers` concurrent sessions, with
    /// slots for the memory and tables of `pool`.
    pub fn new(pool: Limits, workers: usize) -> Self {
        Self {
            pool,
            workers,
            engines: Mutex::default(),
        }
    }

    /// The engine for guests with these limits.
    ///
    /// # Errors
    /// A fault of kind `host` if the address space for the pool cannot be reserved.
    pub fn for_limits(&self, limits: &Limits) -> Result<Arc<Engine>, Fault> {
        let mut engines = self.engines.lock().unwrap_or_else(PoisonError::into_inner);
        let stack_bytes_max = limits.stack_bytes_max;
        if let Some(engine) = engines.get(&stack_bytes_max) {
            return Ok(Arc::clone(engine));
        }
        let limits = Limits {
            stack_bytes_max,
            ..self.pool.clone()
        };
        let engine = Engine::new(&limits, self.workers).map_err(|error| {
            let detail = format!(
                "cannot create the sandbox: {error:#}; reduce `workers` or the memory, table and stack limits"
            );
            Fault::new(FaultKind::Host, detail)
        })?;
        let engine = Arc::new(engine);
        engines.insert(stack_bytes_max, Arc::clone(&engine));
        Ok(engine)
    }
}
