//! The processors that ship with the program. The program passes their components in.

/// A processor with a health check and a job even if its component is not installed.
pub const VERIFICATION: &str = "verification";

/// A component that ships with the program, with its name.
#[derive(Clone, Copy, Debug)]
pub struct ShippedProcessor {
    /// The processor's name.
    pub name: &'static str,
    /// The bytes of the component.
    pub component: &'static [u8],
}
