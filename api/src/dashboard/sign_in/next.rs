//! The page to which a visitor returns after the sign-in. It must be a page of this server.

/// The parameter with the page.
pub(super) const FIELD: &str = "next";
/// Maximum length of the page's path and query.
const CHARS_MAX: usize = 2000;

/// The address of the sign-in for a visitor of a page, given by its path and query.
pub(in crate::dashboard) fn location(path: &str) -> String {
    match target(Some(path)).as_str() {
        "/" => "/sign-in".to_owned(),
        path => {
            let path: String = form_urlencoded::byte_serialize(path.as_bytes()).collect();
            format!("/sign-in?{FIELD}={path}")
        }
    }
}

/// The page to return to. Anything but a path on this server becomes `/`: a link to the sign-in must
/// not lead to another site.
pub(super) fn target(next: Option<&str>) -> String {
    next.filter(|next| is_own_path(next))
        .unwrap_or("/")
        .to_owned()
}

/// Whether a text is a path with an optional query, for every browser. Browsers read `//` and `/\`
/// as the start of a host name, and skip tabs and line breaks.
fn is_own_path(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_graphic() && byte != b'\\';
    text.len() <= CHARS_MAX
        && text.starts_with('/')
        && !text.starts_with("//")
        && text.bytes().all(is_plain)
        // These would lead back to the form.
        && !text.starts_with("/sign-")
        && !has_dot_segment(text)
}

/// Whether a path has a segment that browsers resolve, such as `..`.
fn has_dot_segment(text: &str) -> bool {
    let path = text.split(['?', '#']).next().unwrap_or_default();
    path.split('/').any(|segment| {
        let decoded = segment.to_ascii_lowercase().replace("%2e", ".");
        matches!(decoded.as_str(), "." | "..")
    })
}

#[cfg(test)]
mod tests {
    use super::{location, target};

    #[test]
    fn a_path_on_this_server_is_a_target() {
        for path in [
            "/",
            "/sessions",
            "/sessions/ada/one.jsonl?tab=2&next=//evil.example#L5",
            "/data/api/usage/summary?by=day",
            "/%2F%2Fevil.example",
            "/a//b",
        ] {
            assert_eq!(target(Some(path)), path);
        }
        assert_eq!(
            location("/sessions?user=a%20b&x=1"),
            "/sign-in?next=%2Fsessions%3Fuser%3Da%2520b%26x%3D1"
        );
    }

    #[test]
    fn anything_else_becomes_the_first_page() {
        let long = format!("/{}", "a".repeat(2000));
        for text in [
            "",
            "/./sign-out",
            "/%2E/sign-out",
            "/sessions/.%2e/sign-out?x=1",
            "//evil.example",
            "///evil.example",
            "/\\evil.example",
            "\\\\evil.example",
            "/\t/evil.example",
            "/\n/evil.example",
            "\t//evil.example",
            " //evil.example",
            "https://evil.example",
            "javascript:alert(1)",
            "evil.example",
            "%2F%2Fevil.example",
            "/a b",
            "/ä",
            "/a\\b",
            "/sign-in?next=/",
            "/sign-out",
            &long,
        ] {
            assert_eq!(target(Some(text)), "/", "{text:?}");
        }
        assert_eq!(target(None), "/");
        assert_eq!(location("//evil.example"), "/sign-in");
    }
}
