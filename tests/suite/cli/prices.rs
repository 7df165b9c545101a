//! `prices`: the list, and updates from a file and over HTTP.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use session_pipeline_harness::llm_server::ServerAction;
use session_pipeline_harness::{DataDir, LlmServer, Transcript};
use session_pipeline_pipeline::config::Provider;

use super::{CliOutput, run_cli, run_cli_on_examples, table_lines};

/// A part of LiteLLM's table: the model of the examples that has no price, one that has another
/// price than the shipped one, and others.
const TABLE: &str = r#"{
    "sample_spec": { "mode": "one of chat, embedding", "input_cost_per_token": "dollars" },
    "claude-nimbus-1-preview": { "mode": "chat", "litellm_provider": "anthropic",
        "input_cost_per_token": 2e-06, "output_cost_per_token": 1e-05,
        "cache_read_input_token_cost": 2e-07, "cache_creation_input_token_cost": 2.5e-06 },
    "claude-opus-4-5": { "mode": "chat", "litellm_provider": "anthropic",
        "input_cost_per_token": 6e-06, "output_cost_per_token": 2.5e-05,
        "cache_read_input_token_cost": 5e-07, "cache_creation_input_token_cost": 6.25e-06 },
    "us.anthropic.claude-opus-4-5-20251101-v1:0": { "mode": "chat", "litellm_provider": "bedrock_converse",
        "input_cost_per_token": 9e-06, "output_cost_per_token": 9e-06 },
    "gpt-99": { "mode": "chat", "litellm_provider": "openai",
        "input_cost_per_token": 1.25e-06, "output_cost_per_token": 1e-05, "cache_read_input_token_cost": 1.25e-07 },
    "embedding": { "mode": "embedding", "input_cost_per_token": 1e-06, "output_cost_per_token": 0 }
}"#;

/// The examples processed, and a table in `table.json`.
fn with_examples(table: &str) -> DataDir {
    let dir = DataDir::new();
    assert_eq!(run_cli_on_examples(&dir, &["run", "usage"]).code, 0);
    fs::write(dir.path().join("table.json"), table).unwrap();
    dir
}

fn update(dir: &DataDir, arguments: &[&str]) -> CliOutput {
    let table = dir.path().join("table.json");
    let from = ["prices", "update", "--from", table.to_str().unwrap()];
    run_cli(dir, &[&from, arguments].concat())
}

fn price_file(dir: &DataDir) -> Option<String> {
    fs::read_to_string(dir.path().join("prices.toml")).ok()
}

/// An entry that a person wrote.
fn own(model: &str) -> String {
    format!(
        "# Our contract.\n[[price]]\nmodel   =   \"{model}\" # since spring\nfrom = 2025-01-01\ninput = 1\n\
         output = 1\ncache_read = 0\ncache_write_5m = 0\ncache_write_1h = 0\n"
    )
}

#[test]
fn the_list_has_the_price_of_each_model_in_use_and_names_those_without_one() {
    let dir = with_examples(TABLE);
    let output = run_cli(&dir, &["prices", "list", "--day", "2026-02-01"]);
    assert_eq!(output.code, 0, "{output:?}");
    insta::assert_snapshot!(table_lines(&output.stdout).join("\n"), @"
    model price of input output cache read 5m write 1h write long context fast regional US batch 1000 searches from until checked origin tokens unpriced source
    claude-haiku-4-5-20251001 claude-haiku-4-5 (spelling) 1 5 0.1 1.25 2 - - × 1.1 - × 0.5 10 2025-10-01 - 2026-11-23 shipped 30 786 0 https://platform.claude.com/docs/en/about-claude/pricing
    claude-nimbus-1-preview no price ? ? ? ? ? - - - - - - - - - - 42 993 2 -
    claude-opus-4-5-20251101 claude-opus-4-5 (spelling) 5 25 0.5 6.25 10 - - × 1.1 - × 0.5 10 2025-11-01 - 2026-11-23 shipped 275 450 0 https://platform.claude.com/docs/en/about-claude/pricing
    claude-sonnet-4-5-20250929 claude-sonnet-4-5 (spelling) 3 15 0.3 3.75 6 above 200 000: 6 / 22.5 / 0.6 / 7.5 / 12 - × 1.1 - × 0.5 10 2025-09-29 - 2026-11-23 shipped 64 460 0 https://platform.claude.com/docs/en/about-claude/pricing
    4 models on 2026-02-01, in US dollars per million tokens
    ");
    insta::assert_snapshot!(output.stderr, @"
    no price on 2026-02-01 for claude-nimbus-1-preview, with 42 993 tokens; run `session-pipeline prices update`, or add the prices to `[data-dir]/prices.toml` (docs/prices.md)
    ");

    let document = run_cli(&dir, &["prices", "list", "--day", "2026-02-01", "--json"]).json();
    assert_eq!(document["day"], "2026-02-01");
    let models = document["models"].as_array().unwrap();
    assert_eq!(models.len(), 4);
    let unpriced = models
        .iter()
        .find(|model| model["price"].is_null())
        .unwrap();
    assert_eq!(unpriced["model"], "claude-nimbus-1-preview");
    assert_eq!(unpriced["unpriced_messages"], 2);
    let opus = models
        .iter()
        .find(|model| model["price"]["id"] == "claude-opus-4-5")
        .unwrap();
    assert_eq!(opus["price"]["matched_by"], "spelling");
    assert_eq!(opus["price"]["cache_write_5m"], 6.25);
    assert_eq!(opus["price"]["regional"], 1.1);

    let csv = run_cli(&dir, &["prices", "list", "--day", "2026-02-01", "--csv"]);
    let lines: Vec<&str> = csv.stdout.lines().collect();
    assert_eq!(lines.len(), 5);
    assert!(
        lines[0].starts_with("model,id,matched_by,origin,input,output,"),
        "{csv:?}"
    );
    assert!(
        lines[3].starts_with("claude-opus-4-5-20251101,claude-opus-4-5,spelling,shipped,5,25,0.5,6.25,10,,,,,,,1,1.1,false,1,0.5,10,2025-11-01,,2026-11-23,"),
        "{}",
        lines[3]
    );
}

#[test]
fn all_prices_are_listed_on_their_days_without_a_database() {
    let dir = DataDir::new();
    let price = |day: &str, model: &str| {
        let listed = run_cli(&dir, &["prices", "list", "--all", "--day", day, "--json"]).json();
        let models = listed["models"].as_array().unwrap().clone();
        let mut models = models.into_iter();
        models
            .find(|listed| listed["model"] == model)
            .map(|listed| listed["price"].clone())
    };
    let sonnet = price("2026-10-06", "claude-sonnet-5-5").unwrap();
    assert_eq!(
        (&sonnet["cache_read"], &sonnet["until"]),
        (&0.2.into(), &"2026-10-06".into())
    );
    let sonnet = price("2026-10-07", "claude-sonnet-5-5").unwrap();
    assert_eq!(sonnet["cache_read"], 0.1);
    let opus = price("2026-11-30", "opus").unwrap();
    assert_eq!(
        (&opus["matched_by"], &opus["input"]),
        (&"family".into(), &4.into())
    );
    let mythos = price("2026-11-30", "claude-mythos-5-2").unwrap();
    assert_eq!(mythos["matched_by"], "alias");
    let fast = |day: &str| price(day, "claude-opus-4-8").unwrap()["fast"].clone();
    assert_eq!(
        (fast("2026-11-30"), fast("2026-12-01")),
        (2.into(), 1.into())
    );
    let long = price("2026-03-12", "claude-opus-4-6").unwrap()["long_context"].clone();
    assert_eq!(
        (&long["above"], &long["output"]),
        (&200_000.into(), &37.5.into())
    );
    assert!(price("2026-03-13", "claude-opus-4-6").unwrap()["long_context"].is_null());
    assert!(!dir.path().join("state").exists());

    let output = run_cli(&dir, &["prices", "list"]);
    assert_eq!(
        (output.code, output.stderr.as_str()),
        (0, "no model is in use yet; --all lists all prices\n")
    );
}

#[test]
fn an_update_adds_and_changes_prices_of_models_in_use_and_a_second_one_changes_nothing() {
    let dir = with_examples(TABLE);
    let file = dir.path().join("prices.toml");
    fs::write(&file, own("our-model")).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();

    let dry = update(&dir, &["--dry-run"]);
    assert_eq!(dry.code, 0, "{dry:?}");
    assert_eq!(price_file(&dir).unwrap(), own("our-model"));
    assert_eq!(
        dry.stderr,
        "`[data-dir]/prices.toml` is unchanged: this was a dry run\n"
    );

    let output = update(&dir, &[]);
    assert_eq!(
        (output.code, &output.stdout),
        (0, &dry.stdout),
        "{output:?}"
    );
    assert_eq!(output.stderr, "`[data-dir]/prices.toml` is updated\n");
    insta::assert_snapshot!(table_lines(&output.stdout).join("\n"), @"
    model field old new
    claude-nimbus-1-preview input - 2
    claude-nimbus-1-preview output - 10
    claude-nimbus-1-preview cache_read - 0.2
    claude-nimbus-1-preview cache_write_5m - 2.5
    claude-nimbus-1-preview cache_write_1h - 4
    claude-opus-4-5 input 5 6
    6 changes
    ");
    let text = price_file(&dir).unwrap();
    assert!(text.starts_with(&own("our-model")), "{text}");
    assert_eq!(
        fs::metadata(&file).unwrap().permissions().mode() & 0o777,
        0o640
    );
    let files = fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name());
    assert!(
        !files
            .into_iter()
            .any(|name| name.to_string_lossy().starts_with(".prices"))
    );

    // The examples are older than the update: the new model has a price, and the other price stays.
    // 19 × 2 + 334 × 10 + 21,000 × 0.2 + 640 × 2.5 + 21,000 × 4 millionths, and a web search.
    let report = run_cli(&dir, &["report", "usage", "--by", "model", "--json"]).json();
    let cost = |index: usize| {
        let row = &report["rows"][index];
        format!("{} {}", row["model"].as_str().unwrap(), row["cost_usd"])
    };
    assert_eq!(cost(1), "claude-nimbus-1-preview 0.103178");
    assert_eq!(cost(2), "claude-opus-4-5-20251101 0.503555");

    let again = update(&dir, &[]);
    assert_eq!(again.stdout, "0 changes\n", "{again:?}");
    assert_eq!(
        again.stderr,
        "`[data-dir]/prices.toml` is already up to date\n"
    );
    assert_eq!(price_file(&dir).unwrap(), text);
}

#[test]
fn an_entry_that_a_person_wrote_stays_and_is_named() {
    let dir = with_examples(TABLE);
    fs::write(dir.path().join("prices.toml"), own("claude-opus-4-5")).unwrap();
    let output = update(&dir, &["--json"]);
    let report = output.json();
    assert_eq!(report["kept"], serde_json::json!(["claude-opus-4-5"]));
    assert_eq!(report["is_written"], true);
    let text = price_file(&dir).unwrap();
    assert!(text.starts_with(&own("claude-opus-4-5")), "{text}");
    assert_eq!(text.matches("claude-opus-4-5").count(), 1, "{text}");
}

#[test]
fn all_chat_models_are_added_on_request() {
    let dir = DataDir::new();
    fs::write(dir.path().join("table.json"), TABLE).unwrap();
    let report = update(&dir, &["--json"]).json();
    assert_eq!(
        report["changes"],
        serde_json::json!([]),
        "no model is in use"
    );
    assert_eq!(update(&dir, &["--all"]).code, 0);
    let text = price_file(&dir).unwrap();
    let models: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with("model"))
        .collect();
    // A reseller's price of a Claude model is not taken.
    assert_eq!(
        models,
        [
            "model = \"claude-nimbus-1-preview\"",
            "model = \"claude-opus-4-5\"",
            "model = \"gpt-99\""
        ]
    );
    assert!(text.contains("input = 1.25\noutput = 10\ncache_read = 0.125\ncache_write_5m = 1.25\ncache_write_1h = 1.25\n"), "{text}");
    assert!(!dir.path().join("state").exists());
}

#[test]
fn a_model_that_the_table_does_not_contain_is_named() {
    let dir = with_examples(&TABLE.replace("claude-nimbus-1-preview", "claude-other"));
    let output = update(&dir, &[]);
    assert!(
        output.stderr.contains("still without a price, because the table does not contain them: claude-nimbus-1-preview; add them to `[data-dir]/prices.toml`"),
        "{output:?}"
    );
}

#[test]
fn a_broken_table_is_an_error_and_changes_nothing() {
    let dir = with_examples("");
    fs::write(dir.path().join("prices.toml"), own("our-model")).unwrap();
    let number = |value: &str| TABLE.replace("6e-06", value);
    for (table, expected) in [
        (String::new(), "it is not a JSON object of models"),
        ("[1]".to_owned(), "it is not a JSON object of models"),
        ("{}".to_owned(), "it has no chat model with a price"),
        (number("NaN"), "it is not a JSON object of models"),
        (
            number("-6e-06"),
            "model `claude-opus-4-5`: `input_cost_per_token` is `-6e-06`, not a number of dollars",
        ),
        (
            number("\"6e-06\""),
            "model `claude-opus-4-5`: `input_cost_per_token`",
        ),
        (
            number("[[[[]]]]"),
            "model `claude-opus-4-5`: `input_cost_per_token`",
        ),
        (
            number("7e99"),
            "model `claude-opus-4-5`: `input_cost_per_token`",
        ),
        (
            TABLE.replace("gpt-99", "gpt\\u001b[31m"),
            "has control characters",
        ),
        ("[".repeat(100_000), "it is not a JSON object of models"),
    ] {
        fs::write(dir.path().join("table.json"), &table).unwrap();
        for arguments in [&["--all"][..], &[], &["--dry-run"]] {
            let output = update(&dir, arguments);
            assert_eq!((output.code, output.stdout.as_str()), (2, ""), "{output:?}");
            assert!(
                output
                    .stderr
                    .starts_with("error: price table `[data-dir]/table.json` is not usable: "),
                "{output:?}"
            );
            assert!(output.stderr.contains(expected), "{expected}: {output:?}");
            assert!(!output.stderr.contains('\u{1b}'), "{output:?}");
        }
    }
    fs::write(dir.path().join("table.json"), vec![b' '; (16 << 20) + 1]).unwrap();
    let output = update(&dir, &[]);
    assert_eq!(output.code, 2, "{output:?}");
    assert!(
        output
            .stderr
            .contains("the file is larger than 16777216 bytes"),
        "{output:?}"
    );
    assert_eq!(price_file(&dir).unwrap(), own("our-model"));

    // The own file is not usable.
    fs::write(dir.path().join("table.json"), TABLE).unwrap();
    fs::write(dir.path().join("prices.toml"), "[[price]\n").unwrap();
    let output = update(&dir, &[]);
    assert_eq!(output.code, 2, "{output:?}");
    assert!(
        output.stderr.contains("is not valid TOML at line 1"),
        "{output:?}"
    );
    assert_eq!(price_file(&dir).unwrap(), "[[price]\n");
}

#[test]
fn a_table_is_fetched_over_http_with_few_redirects_and_within_limits() {
    let dir = with_examples("");
    let server = LlmServer::start(Provider::Anthropic);
    let url = format!("{}/prices.json?key=secret", server.url());
    let fetch = || run_cli(&dir, &["prices", "update", "--from", &url]);
    let redirect =
        |to: &str| ServerAction::answer(302, "").with("location", format!("{}{to}", server.url()));
    server.enqueue(redirect("/other"));
    server.enqueue(ServerAction::answer(200, TABLE));
    let output = fetch();
    assert_eq!(output.code, 0, "{output:?}");
    assert!(output.stderr.contains("is updated"), "{output:?}");
    let text = price_file(&dir).unwrap();
    let source = format!("LiteLLM, {}/prices.json\"", server.url());
    assert!(text.contains(&source) && !text.contains("secret"), "{text}");
    let requests = server.requests();
    assert_eq!(requests.len(), 2);
    assert_eq!(
        (requests[0].path.as_str(), requests[1].path.as_str()),
        ("/prices.json?key=secret", "/other")
    );
    assert_eq!(requests[0].header("authorization"), None);

    for (acts, expected) in [
        (
            vec![ServerAction::answer(404, "{}")],
            "the server responded with status 404",
        ),
        (
            (0..9).map(|_| redirect("/again")).collect(),
            "too many redirects",
        ),
        (
            vec![redirect("/x").with("location", "ftp://example.com/x")],
            "",
        ),
        (
            vec![ServerAction::Flood((16 << 20) + 1)],
            "it is larger than 16777216 bytes",
        ),
        (vec![ServerAction::HalfAnswer], ""),
        (vec![ServerAction::Reset], ""),
    ] {
        for act in acts {
            server.enqueue(act);
        }
        let output = fetch();
        server.clear_script();
        assert_eq!(
            (output.code, output.stdout.as_str()),
            (3, ""),
            "{expected}: {output:?}"
        );
        assert!(
            output
                .stderr
                .starts_with("error: cannot read price table `http://127.0.0.1:"),
            "{output:?}"
        );
        assert!(output.stderr.contains(expected), "{expected}: {output:?}");
        assert!(!output.stderr.contains("secret"), "{output:?}");
    }
    assert_eq!(price_file(&dir).unwrap(), text);
}

#[test]
fn a_name_with_escape_codes_reaches_neither_the_terminal_nor_the_price_file() {
    let dir = DataDir::new();
    let session = Transcript::new("s1").assistant(|m| m.model("x\u{1b}[31m\n\"").tokens(7, 0));
    dir.write("ada/a.jsonl", session);
    assert_eq!(run_cli(&dir, &["run", "usage"]).code, 0);
    fs::write(dir.path().join("table.json"), TABLE).unwrap();
    for output in [run_cli(&dir, &["prices", "list"]), update(&dir, &[])] {
        assert_eq!(output.code, 0, "{output:?}");
        assert!(
            !format!("{}{}", output.stdout, output.stderr).contains('\u{1b}'),
            "{output:?}"
        );
    }
}
