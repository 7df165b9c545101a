//! Markdown of a model as HTML, from an allow-list.
//!
//! The text is untrusted. HTML in it is text, and so are images. The result is sanitized once more,
//! so that an error of the Markdown parser cannot add markup.

use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

use ammonia::{Builder, UrlRelative};
use maud::{Markup, PreEscaped, html};
use pulldown_cmark::{CowStr, Event, HeadingLevel, Options, Parser, Tag, TagEnd};

/// Longer texts are not parsed. They are shown as they are.
const PARSED_BYTES_MAX: usize = 256 << 10;
/// Maximum nesting of elements. HTML parsers need quadratic time for deep nesting.
const DEPTH_MAX: usize = 24;
/// All elements of the result.
const TAGS: [&str; 22] = [
    "a",
    "blockquote",
    "br",
    "code",
    "del",
    "em",
    "h4",
    "h5",
    "h6",
    "hr",
    "li",
    "ol",
    "p",
    "pre",
    "strong",
    "table",
    "tbody",
    "td",
    "th",
    "thead",
    "tr",
    "ul",
];

static SANITIZER: LazyLock<Builder<'static>> = LazyLock::new(|| {
    let mut builder = Builder::empty();
    builder
        .tags(HashSet::from(TAGS))
        .tag_attributes(HashMap::from([
            ("a", HashSet::from(["href"])),
            ("ol", HashSet::from(["start"])),
        ]))
        .url_schemes(HashSet::from(["http", "https", "mailto"]))
        .url_relative(UrlRelative::Deny)
        .link_rel(Some("noopener noreferrer nofollow"));
    builder
});

/// Renders Markdown.
pub(super) fn render(text: &str) -> Markup {
    if text.len() > PARSED_BYTES_MAX {
        return html! { pre.text { (text) } };
    }
    let options = Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH;
    let mut filter = Filter::default();
    let events = Parser::new_ext(text, options).filter_map(|event| filter.event(event));
    let mut unsafe_html = String::with_capacity(text.len() * 2);
    pulldown_cmark::html::push_html(&mut unsafe_html, events);
    let safe = SANITIZER.clean(&unsafe_html).to_string();
    html! { div.markdown { (PreEscaped(safe)) } }
}

/// Turns HTML and images into text, and limits the depth.
#[derive(Default)]
struct Filter {
    depth: usize,
}

impl Filter {
    fn event<'t>(&mut self, event: Event<'t>) -> Option<Event<'t>> {
        match event {
            Event::Start(tag) => {
                self.depth += 1;
                self.start(tag).filter(|_| self.depth <= DEPTH_MAX)
            }
            Event::End(end) => {
                let is_shown = self.depth <= DEPTH_MAX;
                self.depth = self.depth.saturating_sub(1);
                Self::end(end).filter(|_| is_shown)
            }
            Event::Html(text) | Event::InlineHtml(text) => Some(Event::Text(text)),
            event => Some(event),
        }
    }

    fn start<'t>(&self, tag: Tag<'t>) -> Option<Event<'t>> {
        let tag = match tag {
            Tag::HtmlBlock => Tag::Paragraph,
            // Its alternative text is shown.
            Tag::Image { .. } => return None,
            Tag::Heading { level, .. } => Tag::Heading {
                level: lower(level),
                id: None,
                classes: Vec::new(),
                attrs: Vec::new(),
            },
            // A title could contradict the address.
            Tag::Link {
                link_type,
                dest_url,
                id,
                ..
            } => Tag::Link {
                link_type,
                dest_url,
                title: CowStr::Borrowed(""),
                id,
            },
            tag => tag,
        };
        Some(Event::Start(tag))
    }

    fn end<'t>(end: TagEnd) -> Option<Event<'t>> {
        let end = match end {
            TagEnd::HtmlBlock => TagEnd::Paragraph,
            TagEnd::Image => return None,
            TagEnd::Heading(level) => TagEnd::Heading(lower(level)),
            end => end,
        };
        Some(Event::End(end))
    }
}

/// The headings of a text are below those of the page.
fn lower(level: HeadingLevel) -> HeadingLevel {
    match level {
        HeadingLevel::H1 => HeadingLevel::H4,
        HeadingLevel::H2 => HeadingLevel::H5,
        _ => HeadingLevel::H6,
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    fn rendered(text: &str) -> String {
        render(text).into_string()
    }

    #[test]
    fn only_elements_of_the_allow_list_are_rendered() {
        for (text, expected) in [
            (
                "# A\n\n*b* **c** `d`",
                "<h4>A</h4>\n<p><em>b</em> <strong>c</strong> <code>d</code></p>\n",
            ),
            ("```js\nx < y\n```", "<pre><code>x &lt; y\n</code></pre>\n"),
            ("3. c", "<ol start=\"3\">\n<li>c</li>\n</ol>\n"),
            ("![alt](https://e.com/x.png)", "<p>alt</p>\n"),
            ("a <b>c</b>", "<p>a &lt;b&gt;c&lt;/b&gt;</p>\n"),
            (
                "<script>alert(1)</script>",
                "<p>&lt;script&gt;alert(1)&lt;/script&gt;</p>\n",
            ),
            (
                "[x](https://e.com/?a=1&b \"t\")",
                "<p><a href=\"https://e.com/?a=1&amp;b\" rel=\"noopener noreferrer nofollow\">x</a></p>\n",
            ),
            (
                "[x](javascript:alert(1))",
                "<p><a rel=\"noopener noreferrer nofollow\">x</a></p>\n",
            ),
            (
                "[x](/sessions)",
                "<p><a rel=\"noopener noreferrer nofollow\">x</a></p>\n",
            ),
            (
                "[x](#L1)",
                "<p><a rel=\"noopener noreferrer nofollow\">x</a></p>\n",
            ),
        ] {
            assert_eq!(
                rendered(text),
                format!("<div class=\"markdown\">{expected}</div>"),
                "{text}"
            );
        }
    }

    #[test]
    fn deep_and_long_texts_are_rendered_quickly() {
        let texts = [
            ">".repeat(PARSED_BYTES_MAX),
            "*".repeat(PARSED_BYTES_MAX),
            "[".repeat(PARSED_BYTES_MAX),
            "- ".repeat(PARSED_BYTES_MAX / 2),
            "![".repeat(PARSED_BYTES_MAX / 2),
            "**a ".repeat(PARSED_BYTES_MAX / 4),
            "<a>".repeat(PARSED_BYTES_MAX / 3),
            "`a ".repeat(PARSED_BYTES_MAX / 3),
            "|a".repeat(100) + "\n" + &"|-".repeat(100) + "\n" + &"|\n".repeat(100_000),
            "x".repeat(4 << 20),
        ];
        for text in texts {
            let started = Instant::now();
            let html = rendered(&text);
            let beginning: String = text.chars().take(20).collect();
            assert!(!html.is_empty());
            assert!(
                started.elapsed() < Duration::from_secs(20),
                "{beginning}: {:?}",
                started.elapsed()
            );
        }
    }
}
