//! The page `/`.

use axum::Extension;
use maud::{Markup, html};

use super::csrf;
use super::page::page;
use super::visitor::Visitor;

/// Shows who is signed in.
pub(super) async fn show(Extension(visitor): Extension<Visitor>) -> Markup {
    let caller = &visitor.caller;
    let name = caller.email.clone().unwrap_or_else(|| caller.audit_id());
    let content = html! {
        h1 { "Session Pipeline" }
        p { "Signed in as " (name) " (" (caller.role.as_str()) ")." }
        form method="post" action="/sign-out" {
            (csrf::field(&visitor))
            button { "Sign out" }
        }
    };
    page("Overview", &content)
}
