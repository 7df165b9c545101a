//! The HTML of transcripts: whatever is in them, a browser gets no script, no event handler, no
//! style, no image and no link to anything but web pages and mail.

use std::collections::BTreeMap;

use html5ever::tendril::TendrilSink as _;
use markup5ever_rcdom::{Handle, NodeData, RcDom};
use serde_json::{Value, json};
use session_pipeline::dashboard::transcript as dashboard;
use session_pipeline_harness::DataDir;

use super::{KEY, marks, page, part, session, whole};
use crate::http::TestServer;

/// Elements that the rendering uses.
const ELEMENTS: &[&str] = &[
    "html",
    "head",
    "body",
    "a",
    "article",
    "blockquote",
    "br",
    "button",
    "code",
    "del",
    "details",
    "div",
    "em",
    "h4",
    "h5",
    "h6",
    "header",
    "hr",
    "kbd",
    "li",
    "nav",
    "ol",
    "p",
    "pre",
    "span",
    "strong",
    "summary",
    "table",
    "tbody",
    "td",
    "th",
    "thead",
    "time",
    "tr",
    "ul",
];
/// Attributes that the rendering uses.
const ATTRIBUTES: &[&str] = &[
    "aria-hidden",
    "aria-label",
    "class",
    "data-jump",
    "data-key",
    "data-lines",
    "datetime",
    "href",
    "hx-get",
    "hx-swap",
    "hx-target",
    "hx-trigger",
    "id",
    "open",
    "rel",
    "role",
    "start",
    "title",
    "type",
];

/// An element of a parsed page.
#[derive(Debug, Default)]
struct Element {
    name: String,
    attributes: BTreeMap<String, String>,
    /// The text inside it.
    text: String,
    /// The ids of the elements around it.
    around: Vec<String>,
}

impl Element {
    fn attribute(&self, name: &str) -> &str {
        self.attributes.get(name).map_or("", String::as_str)
    }

    /// Whether it matches `name.class`.
    fn is(&self, selector: &str) -> bool {
        let mut parts = selector.split('.');
        let mut classes = self.attribute("class").split(' ');
        parts.next() == Some(&self.name) && parts.all(|class| classes.any(|own| own == class))
    }
}

/// Parses markup as a browser does.
fn elements(html: &str) -> Vec<Element> {
    let options = html5ever::ParseOpts::default();
    let parser = html5ever::parse_document(RcDom::default(), options);
    let dom = parser.one(format!("<!doctype html><body>{html}"));
    let mut elements = Vec::new();
    collect(
        &dom.document,
        &mut Vec::new(),
        &mut Vec::new(),
        &mut elements,
    );
    elements
}

fn collect(
    node: &Handle,
    open: &mut Vec<usize>,
    around: &mut Vec<String>,
    elements: &mut Vec<Element>,
) {
    let mut id = None;
    match &node.data {
        NodeData::Element { name, attrs, .. } => {
            let attributes: BTreeMap<String, String> = attrs
                .borrow()
                .iter()
                .map(|attribute| {
                    let name = attribute.name.local.to_string();
                    (name, attribute.value.to_string())
                })
                .collect();
            id = attributes.get("id").cloned();
            open.push(elements.len());
            elements.push(Element {
                name: name.local.to_string(),
                attributes,
                around: around.clone(),
                ..Element::default()
            });
        }
        NodeData::Text { contents } => {
            for at in open.iter() {
                elements[*at].text.push_str(&contents.borrow());
            }
        }
        NodeData::Document | NodeData::Doctype { .. } => {}
        other => panic!("a node that is no element: {other:?}"),
    }
    let is_element = matches!(node.data, NodeData::Element { .. });
    around.extend(id.clone());
    for child in node.children.borrow().iter() {
        collect(child, open, around, elements);
    }
    if id.is_some() {
        around.pop();
    }
    if is_element {
        open.pop();
    }
}

/// Checks every element and attribute of a page.
pub fn assert_safe(html: &str) {
    let elements = elements(html);
    for element in &elements {
        let name = element.name.as_str();
        assert!(ELEMENTS.contains(&name), "the element {name} in {html}");
        for (attribute, value) in &element.attributes {
            let attribute = attribute.as_str();
            assert!(
                ATTRIBUTES.contains(&attribute),
                "{attribute}={value} of {name}"
            );
            match attribute {
                "href" => {
                    let is_allowed = ["#", "/sessions/", "http://", "https://", "mailto:"]
                        .iter()
                        .any(|start| value.starts_with(start));
                    assert!(is_allowed, "a link to {value}");
                    let is_foreign = !value.starts_with(['#', '/']);
                    let rel = element.attribute("rel");
                    assert_eq!(is_foreign, rel == "noopener noreferrer nofollow", "{value}");
                }
                "data-jump" => assert!(["next", "previous"].contains(&value.as_str()), "{value}"),
                "data-key" => assert!(value.len() == 1, "{value}"),
                "title" => assert!(
                    value.starts_with("Next ") || value.starts_with("Previous "),
                    "{value}"
                ),
                "hx-get" => assert!(value.starts_with("/sessions/"), "{value}"),
                "class" => assert!(
                    value
                        .bytes()
                        .all(|byte| byte.is_ascii_lowercase() || b"- ".contains(&byte)),
                    "the class {value}"
                ),
                "id" => assert!(
                    value
                        .bytes()
                        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-'),
                    "the id {value}"
                ),
                _ => {}
            }
        }
    }
    let text = elements.first().map_or("", |root| &root.text);
    let unsafe_character = text.chars().find(|c| {
        (c.is_control() && !"\n\t".contains(*c))
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    });
    assert_eq!(unsafe_character, None, "{html}");
}

/// Texts that attack the reader of a page.
pub fn attacks() -> Vec<Value> {
    let mut attacks: Vec<Value> = [
        "<script>alert(1)</script>",
        "</pre></div></article></main><script src=//evil.example></script>",
        "<img src=x onerror=alert(1)>",
        "<svg/onload=alert(1)><style>*{display:none}</style>",
        "<iframe srcdoc='<script>alert(1)</script>'></iframe><base href=//evil.example>",
        "\"><script>alert(1)</script>",
        "' onmouseover='alert(1)' x='",
        "[x](javascript:alert(1)) [y](JaVaScRiPt:alert(1)) [z](java\nscript:alert(1))",
        "[x](data:text/html,<script>alert(1)</script>) <javascript:alert(1)> <data:text/html,x>",
        "[x]( javascript:alert(1)) [y](&#106;avascript:alert(1)) [z](\\javascript:alert(1)) [v](vbscript:x)",
        "[x](//evil.example) [y](/sessions/part) [z](#L1) [f](file:///etc/passwd)",
        "![x](https://evil.example/pixel.png) ![y](javascript:alert(1)) [![z](x)](https://e.example)",
        "[x](https://e.example \"a\\\" onclick=alert(1)\") <a href=\"https://e.example\" onclick=alert(1)>x</a>",
        "[r]: javascript:alert(1)\n\n[r] [a][r]",
        "```html onclick=alert(1)\n</code></pre><script>alert(1)</script>\n```",
        "<!-- --!><script>alert(1)</script> <![CDATA[<script>]]> <?php ?>",
        "<details open ontoggle=alert(1)><form action=//evil.example><input autofocus onfocus=alert(1)>",
        "<math><mtext><table><mglyph><style><img src=x onerror=alert(1)>",
        "# h <b id=L1>\n\n| a | <script> |\n|:-:|--|\n| [x](javascript:1) | <td onclick=x> |",
        "\u{202e}txt.exe\u{2066}\u{2069} \u{200f} \u{1b}[31mred\u{1b}[0m \u{1b}]0;title\u{7} \0 \u{85} \u{8}\u{8}",
        "{{constructor.constructor('alert(1)')()}} ${alert(1)} hx-get=/x data-hx-on:click=alert(1)",
        "- [ ] <input type=checkbox onclick=alert(1)>\n- [x] y",
        "1\\. https://e.example/<script> <https://e.example/?a=<script>\"> <mailto:a@e.example>",
    ]
    .iter()
    .map(|text| json!(text))
    .collect();
    attacks.push(Value::Null);
    attacks.push(json!({ "<script>": ["<script>", null, { "onclick": "<b onclick=x>" }] }));
    attacks.push(json!(
        "<script>alert(1)</script> [x](javascript:alert(1)) ".repeat(2000)
    ));
    attacks.push(json!(">".repeat(20_000)));
    attacks.push(json!("[".repeat(20_000)));
    attacks
}

/// Lines with an attack in every place that the page shows.
fn hostile_lines(attack: &Value) -> Vec<Value> {
    let id = "toolu_1";
    let text = |text: &Value| json!({ "type": "text", "text": text });
    let message = |content: Value| {
        json!({ "id": attack, "model": attack, "stop_reason": attack, "content": content,
                "usage": { "input_tokens": attack, "output_tokens": 3 } })
    };
    let envelope = attack.as_str().unwrap_or("x");
    vec![
        json!({ "type": "user", "uuid": attack, "timestamp": attack, "message": { "content": attack } }),
        json!({ "type": "user", "message": { "content": [text(attack), attack, { "type": attack, "source": { "media_type": attack } }] } }),
        json!({ "type": "user", "message": { "content": format!("<command-name>{envelope}</command-name><command-args>{envelope}</command-args>") } }),
        json!({ "type": "user", "message": { "content": format!("<system-reminder>{envelope}") } }),
        json!({ "type": "assistant", "message": message(attack.clone()) }),
        json!({ "type": "assistant", "message": message(json!([text(attack), { "type": "thinking", "thinking": attack }, { "type": attack, "x": attack }])) }),
        json!({ "type": "assistant", "message": message(json!([{ "type": "tool_use", "id": id, "name": attack, "input": { "command": attack, "<b>": attack } }])) }),
        json!({ "type": "user", "toolUseResult": { "agentId": attack }, "message": { "content": [{ "type": "tool_result", "tool_use_id": id, "is_error": true, "content": [text(attack), attack] }] } }),
        json!({ "type": "user", "message": { "content": [{ "type": "tool_result", "tool_use_id": attack, "content": attack }] } }),
        json!({ "type": "assistant", "message": message(json!([{ "type": "tool_use", "id": attack, "name": "Task", "input": { "subagent_type": attack, "prompt": attack, "description": attack } }])) }),
        json!({ "type": "assistant", "message": message(json!([{ "type": "tool_use", "id": "toolu_2", "name": "Agent", "input": attack }])) }),
        json!({ "type": "progress", "parentToolUseID": "toolu_2", "data": { "type": "agent_progress", "agentId": attack, "message": { "type": "assistant", "message": message(json!([text(attack)])) } } }),
        json!({ "type": "progress", "data": { "type": attack } }),
        json!({ "type": "user", "isSidechain": true, "agentId": attack, "message": { "content": attack } }),
        json!({ "type": "system", "subtype": "compact_boundary", "content": attack, "compactMetadata": { "trigger": attack, "preTokens": attack } }),
        json!({ "type": "user", "isCompactSummary": true, "message": { "content": attack } }),
        json!({ "type": "system", "subtype": "api_error", "error": attack, "apiErrorStatus": attack }),
        json!({ "type": "assistant", "isApiErrorMessage": true, "apiErrorStatus": attack, "message": message(json!([text(attack)])) }),
        json!({ "type": "system", "subtype": attack, "content": attack }),
        json!({ "type": "ai-title", "aiTitle": attack }),
        json!({ "type": "summary", "summary": attack }),
        json!({ "type": attack, "content": attack }),
        json!({ "type": "attachment", "attachment": { "type": attack } }),
        json!({ "type": "attachment", "attachment": { "type": "queued_command", "commandMode": "prompt", "prompt": attack } }),
        json!({ "type": "tool_use_result", "tool_use_id": attack, "content": attack }),
        attack.clone(),
    ]
}

#[test]
fn a_hostile_transcript_has_no_effect_on_the_page() {
    let dir = DataDir::new();
    // The name of a session is hostile as well.
    let key = "ada/\"><script>alert(1)<!--&session=x\u{202e}.jsonl"
        .replace('/', "\u{2044}")
        .replacen('\u{2044}', "/", 1);
    let server = TestServer::start(&dir, &[]);
    for attack in attacks() {
        let mut transcript = session();
        for line in hostile_lines(&attack) {
            transcript = transcript.line(&line);
        }
        dir.write(
            &key,
            transcript.raw_line(attack.to_string().replace('"', "'")),
        );
        let body = whole(&server, &key);
        assert_eq!(body.entries.len(), 27);
        assert_safe(&dashboard::entries(&body, false).into_string());
        assert_safe(&dashboard::entries(&body, true).into_string());
        assert_safe(&dashboard::entries(&page(&server, &key, 0, 5), false).into_string());
        assert_safe(&dashboard::marks(&marks(&server, &key), 0).into_string());
        for entry in &body.entries {
            for (number, _) in (0..).zip(&entry.parts) {
                let part = part(&server, &key, entry.line, number);
                assert_safe(&dashboard::part(&part).into_string());
            }
        }
    }
}

#[test]
fn a_page_is_semantic_and_loads_the_rest_on_demand() {
    let dir = DataDir::new();
    let long = "word ".repeat(2000);
    let transcript = session()
        .user("first\nsecond")
        .assistant(|message| {
            message
                .thinking("hm")
                .text("a **bold** [link](https://e.example)")
        })
        .assistant(|message| message.tool_with("Bash", json!({ "command": "make" })))
        .tool_result(Err("broken"))
        .assistant(|message| message.tool_with("Read", json!({ "file_path": "/a.rs" })))
        .tool_result(Ok(&long))
        .assistant(|message| {
            message.tool_use("toolu_agent", "Task", json!({ "subagent_type": "Explore" }))
        })
        .progress(|message| message.text("searching"))
        .entry(
            "user",
            json!({ "toolUseResult": { "agentId": "a1" }, "message": { "content": [
                { "type": "tool_result", "tool_use_id": "toolu_agent", "content": "found" }] } }),
        )
        .entry(
            "system",
            json!({ "subtype": "turn_duration", "durationMs": 5 }),
        )
        .user("the last one");
    dir.write(KEY, transcript);
    dir.write(
        "ada/one/subagents/agent-a1.jsonl",
        session().sidechain("a1").user("x"),
    );
    let server = TestServer::start(&dir, &[]);
    let markup = dashboard::entries(&page(&server, KEY, 0, 11), false).into_string();
    assert_safe(&markup);
    let elements = elements(&markup);
    // The elements that match `name.class` inside of the element with this id, or are it.
    let all = |id: &str, selector: &str| -> Vec<&Element> {
        let is_inside = |element: &&Element| {
            element.attribute("id") == id || element.around.iter().any(|around| around == id)
        };
        let inside = elements.iter().filter(is_inside);
        inside.filter(|element| element.is(selector)).collect()
    };
    let only = |id: &str, selector: &str| -> &Element {
        match all(id, selector)[..] {
            [element] => element,
            ref found => panic!("{selector} in {id}: {} elements in {markup}", found.len()),
        }
    };
    let prompt = only("L1", "article.entry-prompt");
    assert_eq!(prompt.attribute("aria-label"), "Prompt, line 1");
    assert_eq!(only("L1", "pre.text").text, "first\nsecond");
    assert_eq!(only("L1", "a.entry-line").attribute("href"), "#L1");
    assert_eq!(
        only("L1", "time").attribute("datetime"),
        "2026-01-05T09:00:00Z"
    );
    assert_eq!(only("L3", "strong").text, "bold");
    assert!(only("L2", "details.thinking").text.starts_with("Thinking "));
    // Failed calls are open, others are folded.
    let failed = only("L4", "details.tool-call");
    assert!(failed.is("details.outcome-error") && failed.attributes.contains_key("open"));
    let succeeded = only("L6", "details.tool-call");
    assert!(succeeded.is("details.outcome-ok") && !succeeded.attributes.contains_key("open"));
    assert_eq!(only("L4", "span.visually-hidden").text, "failed");
    let button = only("L6", "button.show-all");
    assert_eq!(button.text, "Show all (10.0 kB)");
    assert_eq!(
        button.attribute("hx-get"),
        "/sessions/part?session=ada%2Fone%2Ejsonl&line=7&part=0"
    );
    assert_eq!(only("L5", "a.call-link").attribute("href"), "#L4");
    // The progress of a sub-agent is where it was started, as is the link to its transcript.
    assert!(only("L9", "article").around.contains(&"L8".to_owned()));
    assert_eq!(
        only("L8", "a.sub-agent-link").attribute("href"),
        "/sessions/ada/one/subagents/agent-a1.jsonl"
    );
    assert_eq!(
        only("L8", "div.sub-agent-entries").attribute("hx-get"),
        "/sessions/entries?session=ada%2Fone%2Fsubagents%2Fagent-a1%2Ejsonl&nested=true"
    );
    let folded = elements
        .iter()
        .find(|element| element.is("details.folded-lines"));
    assert!(
        folded
            .unwrap()
            .text
            .starts_with("2 lines folded: system: turn_duration, tool result")
    );
    let more = elements
        .iter()
        .find(|element| element.is("div.load-more"))
        .unwrap();
    assert_eq!(more.attribute("hx-trigger"), "revealed");
    assert_eq!(
        more.attribute("hx-get"),
        "/sessions/entries?session=ada%2Fone%2Ejsonl&after=11"
    );
    let last = dashboard::entries(&page(&server, KEY, 11, 11), true).into_string();
    assert!(
        !last.contains("load-more") && !last.contains("id=\"L"),
        "{last}"
    );
    let navigation = dashboard::marks(&marks(&server, KEY), 0).into_string();
    assert_safe(&navigation);
    assert!(navigation.contains("data-lines=\"1 12\""), "{navigation}");
    assert!(
        navigation.contains("href=\"/sessions/ada/one.jsonl?after=3#L4\""),
        "{navigation}"
    );
}
