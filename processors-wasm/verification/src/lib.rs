//! The shipped processor `verification`: what users corrected, confirmed and defined, kept as
//! knowledge with its evidence.
//!
//! [`turns`] says what was said in a session. A detector finds what was verified there:
//! [`phrases`] in the guest itself, or [`llm`] with a model. What either finds is a
//! [`verification`]; [`ids`] and [`confidence`] are computed from it, and [`similarity`] tells
//! whether it is known already. The rules for people stand in `docs/verification.md`.

pub mod confidence;
pub mod ids;
pub mod llm;
pub mod phrases;
pub mod settings;
pub mod similarity;
pub mod turns;
pub mod verification;
