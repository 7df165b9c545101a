//! The processors that ship with the program, as data that the program passes in.

/// The processor that is known by name whether or not its component is there: health has its entry,
/// and the scheduler its job (BEHAVIOUR.md A13).
pub const VERIFICATION: &str = "verification";

/// A component that ships with the program, and the name it goes by.
#[derive(Clone, Copy, Debug)]
pub struct Shipped {
    /// The processor's name.
    pub name: &'static str,
    /// The component.
    pub component: &'static [u8],
}
