//! The processors that ship with the program. The program passes them in, with everything that the
//! pipeline has to know about them in particular.

use std::fmt;

/// A processor that ships with the program.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct ShippedProcessor {
    /// The processor's name.
    pub name: &'static str,
    /// The bytes of its component.
    pub component: &'static [u8],
    /// The name of its health check. `None`: `session_pipeline:` and the processor's name.
    pub health_check: Option<&'static str>,
    /// The name of its job before jobs were named after processors.
    pub former_job: Option<&'static str>,
    /// Whether a backlog is a warning even if the processor has never run.
    pub is_always_expected: bool,
    /// The environment variable that sets its interval, in seconds.
    pub interval_variable: Option<&'static str>,
    /// The environment variable that sets its schedule.
    pub schedule_variable: Option<&'static str>,
}

impl ShippedProcessor {
    /// A processor that nothing sets apart from others.
    pub const fn new(name: &'static str, component: &'static [u8]) -> Self {
        Self {
            name,
            component,
            health_check: None,
            former_job: None,
            is_always_expected: false,
            interval_variable: None,
            schedule_variable: None,
        }
    }
}

impl fmt::Debug for ShippedProcessor {
    /// Without the bytes of the component.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut fields = f.debug_struct("ShippedProcessor");
        fields.field("name", &self.name).finish_non_exhaustive()
    }
}
