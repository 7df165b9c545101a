//! Pages with the sessions of an attacker.

use serde_json::json;
use session_pipeline_harness::{DataDir, Transcript};
use session_pipeline_host::clock::{Clock as _, UtcMicros};

use super::Site;

/// Is set by every script of the attacker.
const MARKER: &str = "window.attacked = 1";

/// Texts that would run a script, or would break the page, if a page did not escape them.
fn payloads() -> Vec<String> {
    let mut payloads: Vec<String> = [
        "<script>MARKER</script>",
        "\"><img src=x onerror=MARKER>",
        "'><svg onload=MARKER>",
        "</title></textarea></style></script><script>MARKER</script>",
        "javascript:MARKER",
        "{{constructor.constructor('MARKER')()}}",
        "<a href=javascript:MARKER autofocus onfocus=MARKER tabindex=1>x</a>",
        "<div hx-get=/ hx-on:load=MARKER hx-trigger=load data-hx-get=/>x</div>",
    ]
    .map(|text| text.replace("MARKER", MARKER))
    .into();
    payloads.push("\u{202e}txet\u{2066} \u{7}\u{1b}[31m\u{0}\u{85}\u{feff} end".to_owned());
    payloads
}

/// A session with the payload in each text that a page shows.
fn session(id: &str, payload: &str, start: UtcMicros) -> Transcript {
    let markdown = format!(
        "# {payload}\n\n[x](javascript:{MARKER}) ![y]({payload}) <{payload}>\n\n```{payload}\n{payload}\n```\n\n\
         | {payload} |\n|--|\n| [z]({payload}) |\n\n{payload}"
    );
    Transcript::new(id)
        .at(start)
        .cwd(&format!("/home/dev/{payload}"))
        .git_branch(payload)
        .version(payload)
        .member("entrypoint", json!(payload))
        .user(payload)
        .slash_command(&format!("/{payload}"))
        .assistant(|m| {
            m.model(payload)
                .tokens(200_000, 20)
                .text(&markdown)
                .tool(payload)
                .tool(&format!("mcp__{payload}__read"))
                .tool_with("Skill", json!({ "skill": payload }))
                .tool_with(
                    "Task",
                    json!({ "subagent_type": payload, "description": payload, "prompt": payload }),
                )
                .tool_with("Bash", json!({ "command": payload, payload: payload }))
        })
        .tool_result(Err(payload))
        .meta(payload)
        .entry(payload, json!({ "message": payload }))
        .entry(
            "pr-link",
            json!({ "prUrl": payload, "prNumber": 1, "prRepository": payload }),
        )
        .user(&format!(
            "No, churn is counted per month from {payload} MRR."
        ))
        // An item without the payload, because its user has a hostile name.
        .user(&format!("No, churn of {id} is counted per month from MRR."))
        .summary(payload)
        .raw_line(payload)
        .partial_line(payload)
}

/// What a script of the attacker, or markup of the attacker, left on the page.
const TRACES: &str = "[
    ...(window.attacked ? ['a script ran'] : []),
    ...[...document.querySelectorAll('script:not([src]), style, iframe, object, embed, base, link:not([rel=icon], [rel=stylesheet])')]
        .map((element) => element.outerHTML),
    ...[...document.querySelectorAll('*')].flatMap((element) => [...element.attributes]
        .filter(({ name, value }) => name.startsWith('on') || name.startsWith('hx-on') || (name === 'style' && element.tagName !== 'CANVAS')
            || (['href', 'src', 'action', 'hx-get', 'hx-post'].includes(name) && !/^([/#?]|https?:|mailto:)/.test(value)))
        .map(({ name, value }) => `${element.tagName} ${name}=${value}`)),
]";

#[test]
#[ignore = "needs Chromium; `cargo xtask test` runs it"]
fn texts_of_an_attacker_run_no_script_on_any_page() {
    let dir = DataDir::new();
    let start = dir
        .clock()
        .now()
        .minus(std::time::Duration::from_secs(86_400));
    let mut keys = Vec::new();
    for (index, payload) in payloads().iter().enumerate() {
        // A folder and a file cannot have a slash or a NUL in their name.
        let name = payload.replace(['/', '\0'], "|");
        let key = format!("{name}/{name}.jsonl");
        dir.write(&key, session(&format!("s{index}"), payload, start));
        keys.push(key);
    }
    let site = Site::serve(dir);
    for processor in ["usage", "verification"] {
        let run = site.server.post(&format!(
            "/api/admin/run-session-processor?processor={processor}"
        ));
        assert_eq!(run.json()["details"]["processed"], keys.len(), "{run:?}");
    }

    let browser = &site.browser;
    site.open_as_admin("/");
    browser.wait_until("document.querySelector('[aria-labelledby=sessions] tbody a') !== null");
    let links = browser.value(
        "[...document.querySelectorAll('[aria-labelledby=sessions] tbody a')].map((link) => link.getAttribute('href'))",
    );
    let sessions: Vec<String> = serde_json::from_value(links).unwrap();
    assert_eq!(sessions.len(), keys.len(), "{}", browser.text());
    let pages = [
        "/",
        "/sessions",
        "/causes",
        "/knowledge",
        "/quality",
        "/operations",
    ]
    .map(str::to_owned);
    for path in pages.into_iter().chain(sessions) {
        site.open(&path);
        // Opens the evidence of items and the parts of transcripts.
        browser.run_script(
            "for (const summary of document.querySelectorAll('summary')) summary.click()",
        );
        browser.wait_until("document.querySelector('.htmx-request') === null");
        assert_eq!(browser.value(TRACES), json!([]), "{path}");
        assert_eq!(browser.complaints(), [""; 0], "{path}");
        if path != "/operations" {
            let text = browser.text();
            assert!(
                text.contains("attacked"),
                "{path} shows no text of the attacker: {text}"
            );
        }
        assert_eq!(browser.count("main h1"), 1, "{path}: {}", browser.text());
    }

    // The texts of the attacker in the address of a page.
    let payload = payloads().concat();
    let encoded: String = payload.bytes().map(|byte| format!("%{byte:02X}")).collect();
    for path in ["/", "/sessions", "/knowledge"] {
        site.open(&format!(
            "{path}?user={encoded}&project={encoded}&model={encoded}&text={encoded}&search={encoded}#%{payload}"
        ));
        assert_eq!(browser.value(TRACES), json!([]), "{path}");
        assert_eq!(browser.complaints(), [""; 0], "{path}");
    }
}
