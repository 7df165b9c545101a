//! The web dashboard: pages rendered on the server from the bodies of the JSON API.

pub mod transcript;
