//! Pages without a visitor.

use axum::http::{HeaderMap, header};
use maud::{Markup, html};

use super::frame::Frame;

/// A page without a visitor.
pub(super) fn page(title: &str, content: &Markup) -> Markup {
    let frame = Frame {
        title,
        section: None,
        reader: None,
        filters: None,
        has_charts: false,
    };
    frame.render(&html! { div .sign-in { (content) } })
}

/// Whether the client is a browser that shows the response as a page.
pub(super) fn accepts_html(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT).iter();
    accepted
        .filter_map(|value| value.to_str().ok())
        .any(|value| value.contains("text/html"))
}
