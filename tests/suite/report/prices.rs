//! What messages cost: each rule of the price table by hand, and an operator's own prices.

use std::time::Duration;

use session_pipeline_harness::session::{AgentMessage, MONDAY_MORNING};
use session_pipeline_harness::{DataDir, TestPipeline, Transcript};
use session_pipeline_pipeline::config::Config;
use session_pipeline_pipeline::report::{
    PriceScope, PriceTable, PriceTableError, PriceUpdate, PriceUpdateReport, ReportGrouping,
    list_prices,
};

use super::{check, reported};
use crate::guests::{usage, usage_dir};

/// What one message costs, in dollars; `?` where nobody knows.
fn cost(message: impl FnOnce(AgentMessage) -> AgentMessage) -> String {
    let dir = usage_dir();
    dir.write("ada/a.jsonl", Transcript::new("s1").assistant(message));
    cost_of(&dir)
}

fn cost_of(dir: &DataDir) -> String {
    let totals = check(dir, ReportGrouping::Day).totals;
    totals
        .cost_usd
        .map_or_else(|| "?".to_owned(), |cost| cost.to_string())
}

/// A million tokens of each kind, kept below any threshold: what the table says, times ten.
fn rates(model: &str) -> String {
    let kinds: [fn(AgentMessage) -> AgentMessage; 5] = [
        |m| m.tokens(100_000, 0),
        |m| m.tokens(0, 100_000),
        |m| m.tokens(0, 0).cache(100_000, 0, 0),
        |m| m.tokens(0, 0).cache(0, 100_000, 0),
        |m| m.tokens(0, 0).cache(0, 0, 100_000),
    ];
    let dir = usage_dir();
    for (number, kind) in kinds.into_iter().enumerate() {
        // Late enough for every model there is.
        let session = Transcript::new(&format!("s{number}"))
            .at(MONDAY_MORNING.plus(Duration::from_secs(330 * 86_400)));
        let session = session.assistant(|m| kind(m.model(model)));
        dir.write(&format!("ada/{number}.jsonl"), session);
    }
    let report = check(&dir, ReportGrouping::Session);
    let costs = report.rows.iter().map(|row| {
        let cost = row.totals.cost_usd;
        cost.map_or_else(|| "?".to_owned(), |cost| cost.to_string())
    });
    costs.collect::<Vec<_>>().join(" ")
}

#[test]
fn the_table_that_ships_says_what_was_published() {
    let tenths = [
        // Input, output, cache read, cache write for five minutes and for an hour: a tenth of the
        // price per million.
        ("claude-3-haiku-20240307", "0.025 0.125 0.003 0.03 0.05"),
        ("claude-3-5-haiku-20241022", "0.08 0.4 0.008 0.1 0.16"),
        ("claude-3-opus-20240229", "1.5 7.5 0.15 1.875 3"),
        ("claude-opus-4-20250514", "1.5 7.5 0.15 1.875 3"),
        ("claude-opus-4-1-20250805", "1.5 7.5 0.15 1.875 3"),
        ("claude-3-5-sonnet-20241022", "0.3 1.5 0.03 0.375 0.6"),
        ("claude-3-7-sonnet-20250219", "0.3 1.5 0.03 0.375 0.6"),
        ("claude-sonnet-4-6", "0.3 1.5 0.03 0.375 0.6"),
        ("claude-sonnet-4-20250514", "0.3 1.5 0.03 0.375 0.6"),
        ("claude-sonnet-4-5", "0.3 1.5 0.03 0.375 0.6"),
        ("claude-haiku-4-5-20251001", "0.1 0.5 0.01 0.125 0.2"),
        ("claude-opus-4-5-20251101", "0.5 2.5 0.05 0.625 1"),
        ("claude-opus-4-6", "0.5 2.5 0.05 0.625 1"),
        ("claude-opus-4-7", "0.5 2.5 0.05 0.625 1"),
        ("claude-opus-4-8", "0.5 2.5 0.05 0.625 1"),
        ("claude-opus-5", "0.5 2.5 0.05 0.625 1"),
        ("claude-sonnet-5", "0.2 1 0.02 0.25 0.4"),
        ("claude-fable-5", "1 5 0.1 1.25 2"),
        ("claude-fable-5-1", "1 5 0.025 1.25 2"),
        ("claude-fable-5-2", "0.8 4 0.02 1 1.6"),
        ("claude-mythos-5-2", "0.8 4 0.02 1 1.6"),
        ("claude-mythos-preview", "2.5 12.5 0.25 3.125 5"),
        (
            "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
            "0.33 1.65 0.033 0.4125 0.66",
        ),
        ("claude-haiku-5", "? ? ? ? ?"),
        ("claude-opus-9-9", "? ? ? ? ?"),
    ];
    for (model, expected) in tenths {
        assert_eq!(rates(model), expected, "{model}");
    }
}

#[test]
fn a_model_is_known_by_every_form_of_its_id() {
    let opus_4_6 = [
        "claude-opus-4-6",
        "claude-opus-4-6[1m]",
        "anthropic/claude-opus-4.6",
        "anthropic.claude-opus-4-6-v1",
        "global.anthropic.claude-opus-4-6-v1:0",
        "vertex_ai/claude-opus-4-6@default",
        "openrouter/anthropic/claude-opus-4-6",
        "claude-4.6-opus-20260205",
        "claude-4-6-opus",
        "anthropic/claude-4.6-opus",
        "claude-opus-4-6-thinking",
        "claude-opus-4-6-20260205-thinking",
        "claude-opus-4.6:thinking",
        "claude-4.6-opus-thinking",
        "Claude-Opus-4-6",
    ];
    let opus_4_5 = [
        "claude-opus-4-5@20251101",
        "claude-opus-4-5-20251101",
        "claude-opus-4-5-latest",
        "opus",
    ];
    for model in opus_4_6.iter().chain(&opus_4_5) {
        assert_eq!(
            cost(|m| m.model(model).tokens(100_000, 0)),
            "0.5",
            "{model}"
        );
    }
    for model in ["sonnet", "claude-sonnet-4.5", "sonnet[1m]"] {
        assert_eq!(
            cost(|m| m.model(model).tokens(100_000, 0)),
            "0.3",
            "{model}"
        );
    }
    let others = [
        "claude-opus-4-6-turbo",
        "claude-6-opus",
        "claude-thinking",
        "claude-opus-4-61",
        "my-claude-opus-4-6",
        "claude-opus",
        "claude-",
        "",
        "gpt-99",
    ];
    for model in others {
        assert_eq!(cost(|m| m.model(model)), "?", "{model}");
    }
}

#[test]
fn a_cache_write_for_an_hour_costs_more_than_one_for_five_minutes() {
    let opus = |m: AgentMessage| m.model("claude-opus-4-5").tokens(0, 0);
    assert_eq!(cost(|m| opus(m).cache(0, 1_000, 0)), "0.00625");
    assert_eq!(cost(|m| opus(m).cache(0, 0, 1_000)), "0.01");
    assert_eq!(cost(|m| opus(m).cache(0, 1_000, 1_000)), "0.01625");
}

#[test]
fn above_the_threshold_every_token_of_a_request_costs_more() {
    let sonnet = |m: AgentMessage| m.model("claude-sonnet-4-5");
    // 3 + 15 per million at 200,000 of input; 6 + 22.50 for one more.
    assert_eq!(cost(|m| sonnet(m).tokens(200_000, 1_000)), "0.615");
    assert_eq!(cost(|m| sonnet(m).tokens(200_001, 1_000)), "1.222506");
    // What is read from the cache and written to it counts as input, output does not.
    assert_eq!(
        cost(|m| sonnet(m).tokens(1, 0).cache(150_000, 50_000, 0)),
        "0.4650060".trim_end_matches('0')
    );
    assert_eq!(cost(|m| sonnet(m).tokens(0, 300_000)), "4.5");
}

#[test]
fn fast_mode_multiplies_what_a_model_costs() {
    let fast = |m: AgentMessage| m.tokens(1_000, 1_000).usage("speed", "fast".into());
    assert_eq!(cost(|m| fast(m.model("claude-opus-4-6"))), "0.18");
    assert_eq!(cost(|m| fast(m.model("claude-opus-5"))), "0.06");
    // A model without fast mode has no other price.
    assert_eq!(cost(|m| fast(m.model("claude-opus-4-5"))), "0.03");
    let standard = |m: AgentMessage| m.tokens(1_000, 1_000).usage("speed", "standard".into());
    assert_eq!(cost(|m| standard(m.model("claude-opus-4-6"))), "0.03");
}

/// What 100,000 tokens of input cost on a day.
fn cost_on(day: &str, model: &str, speed: &str) -> String {
    let line = serde_json::json!({
        "type": "assistant", "sessionId": "s1", "timestamp": format!("{day}T12:00:00Z"),
        "message": {
            "model": model, "stop_reason": "end_turn",
            "usage": { "input_tokens": 100_000, "speed": speed },
        },
    });
    let dir = usage_dir();
    dir.write("ada/a.jsonl", line.to_string() + "\n");
    cost_of(&dir)
}

#[test]
fn fast_mode_ends_with_its_last_day() {
    for (model, day, expected) in [
        ("claude-opus-4-7", "2026-07-24", "3"),
        ("claude-opus-4-7", "2026-07-25", "0.5"),
        ("claude-opus-4-8", "2026-11-30", "1"),
        ("claude-opus-4-8", "2026-12-01", "0.5"),
    ] {
        assert_eq!(cost_on(day, model, "fast"), expected, "{model} on {day}");
    }
}

#[test]
fn the_name_of_a_family_means_the_model_of_its_day() {
    for (family, day, expected) in [
        // The first model of a family also holds for what is dated before it.
        ("opus", "2025-01-01", "1.5"),
        ("opus", "2025-11-23", "1.5"),
        ("opus", "2025-11-24", "0.5"),
        ("opus[1m]", "2026-09-21", "0.5"),
        ("opus", "2026-09-22", "0.4"),
        ("sonnet", "2026-06-29", "0.3"),
        ("sonnet", "2026-06-30", "0.2"),
        ("Sonnet", "2027-01-01", "0.2"),
        ("haiku", "2025-10-14", "0.08"),
        ("haiku", "2025-10-15", "0.1"),
        ("haiku", "2026-10-07", "0.01"),
        ("fable", "2026-09-01", "1"),
        ("fable", "2026-11-09", "0.8"),
    ] {
        assert_eq!(
            cost_on(day, family, "standard"),
            expected,
            "{family} on {day}"
        );
    }
}

#[test]
fn an_operators_long_context_fast_mode_and_family_can_end() {
    let dir = usage_dir();
    let file = dir.path().join("prices.toml");
    let more = "family = { name = \"ours\", from = 2026-01-03 }\n\
        fast = { times = 3, until = 2026-01-05 }\n\
        long_context = { above = 10, until = 2026-01-06, input = 9, output = 0, cache_read = 0, \
        cache_write_5m = 0, cache_write_1h = 0 }";
    let next = price("y", "2", "family = \"ours\"").replace("2026-01-01", "2026-01-08");
    std::fs::write(&file, price("x", "1", more) + &next).unwrap();
    let on = |day: u64, name: &str, model: &str, speed: &str| {
        let session =
            Transcript::new(name).at(MONDAY_MORNING.plus(Duration::from_secs(day * 86_400)));
        let session = session.assistant(|m| {
            m.model(model)
                .tokens(1_000_000, 0)
                .usage("speed", speed.into())
        });
        dir.write(&format!("ada/{name}.jsonl"), session);
    };
    // Monday is the 5th.
    on(0, "a", "x", "fast");
    on(1, "b", "x", "fast");
    on(1, "c", "x", "standard");
    on(2, "d", "x", "fast");
    on(2, "e", "ours", "standard");
    on(3, "f", "ours", "standard");
    let report = check(&dir, ReportGrouping::Session);
    let costs = report
        .rows
        .iter()
        .map(|row| row.totals.cost_usd.unwrap().to_string());
    assert_eq!(costs.collect::<Vec<_>>().join(" "), "27 9 9 1 1 2");
}

#[test]
fn what_the_agent_made_up_itself_costs_nothing_and_is_no_unknown_model() {
    let dir = usage_dir();
    dir.write(
        "ada/a.jsonl",
        Transcript::new("s1").assistant(|m| m.model("<synthetic>").tokens(5, 5)),
    );
    let totals = check(&dir, ReportGrouping::Day).totals;
    assert_eq!(totals.cost_usd.unwrap().to_string(), "0");
    assert!(!totals.cost_is_lower_bound && totals.unknown_models.is_empty());
}

#[test]
fn an_unknown_model_beside_a_known_one_makes_the_cost_at_least_that_of_the_known_one() {
    let dir = usage_dir();
    let session = Transcript::new("s1")
        .assistant(|m| m.model("claude-opus-4-5").tokens(1_000, 0))
        .assistant(|m| m.model("claude-nimbus-1-preview"));
    dir.write("ada/a.jsonl", session);
    let totals = check(&dir, ReportGrouping::Day).totals;
    assert_eq!(totals.cost_usd.unwrap().to_string(), "0.005");
    assert!(totals.cost_is_lower_bound);
    assert_eq!(totals.unknown_models, ["claude-nimbus-1-preview"]);
}

#[test]
fn output_that_was_never_counted_makes_the_cost_a_lower_bound_too() {
    let dir = usage_dir();
    dir.write(
        "ada/a.jsonl",
        Transcript::new("s1").assistant(|m| m.streaming()),
    );
    let totals = check(&dir, ReportGrouping::Day).totals;
    assert!(totals.cost_is_lower_bound && totals.unknown_models.is_empty());
}

#[test]
fn tokens_that_no_response_has_stop_no_report_and_count_for_nothing() {
    let dir = usage_dir();
    let most = i64::MAX as u64;
    let huge = |name| {
        Transcript::new(name)
            .assistant(|m| m.id("m").request("r").tokens(most, most).cache(most, 0, 0))
    };
    dir.write("ada/a.jsonl", huge("s1"));
    dir.write("ada/b.jsonl", huge("s2"));
    dir.write(
        "ada/c.jsonl",
        Transcript::new("s3").assistant(|m| m.tokens(most, 3)),
    );
    let totals = check(&dir, ReportGrouping::Day).totals;
    assert_eq!((totals.input_tokens, totals.output_tokens), (0, 3));
    assert!(totals.messages >= 2 && totals.cost_is_lower_bound);
}

/// A price for a model, as an operator writes it.
fn price(model: &str, input: &str, more: &str) -> String {
    format!(
        "[[price]]\nmodel = \"{model}\"\nfrom = 2026-01-01\ninput = {input}\noutput = 0\ncache_read = 0\n\
         cache_write_5m = 0\ncache_write_1h = 0\n{more}\n"
    )
}

#[test]
fn an_operators_file_adds_models_and_overrides_prices_on_the_days_that_it_names() {
    let dir = usage_dir();
    let on = |day: u64, name: &str, model: &str| {
        let session =
            Transcript::new(name).at(MONDAY_MORNING.plus(Duration::from_secs(day * 86_400)));
        dir.write(
            &format!("ada/{name}.jsonl"),
            session.assistant(|m| m.model(model).tokens(1_000_000, 0)),
        );
    };
    // Monday is the 5th.
    on(0, "a", "claude-opus-4-5");
    on(2, "b", "claude-opus-4-5-20251101");
    on(3, "c", "claude-opus-4-5");
    on(0, "d", "our-model/v2");
    let pipeline = TestPipeline::open(&dir, &[usage()]);
    pipeline.run("usage");
    let costs = || {
        let report = reported(&pipeline, ReportGrouping::Session);
        let cost = |row: &super::ReportRow| row.totals.cost_usd.map(|cost| cost.to_string());
        let costs: Vec<_> = report
            .rows
            .iter()
            .map(|row| cost(row).unwrap_or("?".to_owned()))
            .collect();
        costs.join(" ")
    };
    assert_eq!(costs(), "5 5 5 ?");
    // The history is priced anew by the next report, with the same tokens.
    let opus =
        price("claude-opus-4-5", "4.25", "until = 2026-01-07").replace("2026-01-01", "2026-01-06");
    let file = dir.path().join("prices.toml");
    std::fs::write(&file, opus + &price("our-model/v2", "1", "")).unwrap();
    assert_eq!(costs(), "5 4.25 5 1");
    std::fs::write(
        &file,
        price("our-model/v2", "1", "").replace("2026-01-01", "2026-01-06"),
    )
    .unwrap();
    assert_eq!(costs(), "5 5 5 ?", "not before its first day");
    std::fs::write(&file, price("claude-opus-4-5-20251101", "2", "")).unwrap();
    assert_eq!(
        costs(),
        "5 2 5 ?",
        "an exact id goes before the model's name, and is no other form"
    );
    std::fs::remove_file(&file).unwrap();
    assert_eq!(costs(), "5 5 5 ?");
}

#[test]
fn a_price_file_can_be_named_and_then_has_to_be_there() {
    let dir = usage_dir();
    dir.write(
        "ada/a.jsonl",
        Transcript::new("s1").assistant(|m| m.model("x").tokens(1_000_000, 0)),
    );
    let file = dir.path().join("ours.toml");
    let config = || Config {
        prices_file: Some(file.clone()),
        ..dir.config()
    };
    assert!(matches!(
        PriceTable::load(&config()),
        Err(PriceTableError::Unreadable { .. })
    ));
    std::fs::write(&file, price("x", "7", "")).unwrap();
    let pipeline = TestPipeline::open_with(&dir, config(), &[usage()]);
    pipeline.run("usage");
    let totals = reported(&pipeline, ReportGrouping::Day).totals;
    assert_eq!(totals.cost_usd.unwrap().to_string(), "7");
}

#[test]
fn a_price_file_that_can_not_be_used_says_where_why_and_what_to_do() {
    let dir = usage_dir();
    let file = dir.path().join("prices.toml");
    let check = |text: &str| {
        std::fs::write(&file, text).unwrap();
        let error = PriceTable::load(&dir.config()).unwrap_err().to_string();
        error.replace(file.to_str().unwrap(), "FILE")
    };
    let x = price("x", "1", "");
    let twice = format!("{x}{}", price("X", "2", "until = 2026-02-01"));
    let refused = [
        check("[[price]\n"),
        check("[price]\n"),
        check("cost = 3\n"),
        check("[[price]]\nfrom = 2026-01-01\n"),
        check(&price("x", "\"dear\"", "")),
        check(&price("x", "-1", "")),
        check(&price("x", "1e3", "")),
        check(&price("x", "0.0000001", "")),
        check(&price("x", "1", "").replace("output = 0\n", "")),
        check(&price("x", "1", "").replace("2026-01-01", "2026-01-01T00:00:00Z")),
        check(&price("x", "1", "until = 2025-12-31")),
        check(&price("x", "1", "fats = 2")),
        check(&price("x", "0.000001", "fast = 1.5")),
        check(&price("x", "1", "long_context = 200_000")),
        check(&price("x", "1", "long_context = { above = -1 }")),
        check(&price(
            "x",
            "1",
            "long_context = { above = 1, until = 2025-12-31, input = 1, output = 0, cache_read = 0, cache_write_5m = 0, cache_write_1h = 0 }",
        )),
        check(&price("x", "1", "fast = { until = 2026-12-31 }")),
        check(&price("x", "1", "fast = { times = 2, until = 2025-12-31 }")),
        check(&price("x", "1", "family = 7")),
        check(&price("x", "1", "family = { from = 2026-01-01 }")),
        check(&price("x", "1", "aliases = \"y\"")),
        check(&price("x", "1", "aliases = [\"\"]")),
        check(&twice),
    ];
    insta::assert_snapshot!(refused.join("\n"));
}

#[test]
fn the_prices_that_ship_bear_their_sources_and_days() {
    let table = include_str!("../../../runtime/pipeline/src/report/prices.toml");
    let entries = table.split("[[price]]").skip(1);
    for entry in entries {
        for field in ["\nfrom = 20", "\nsource = \"", "\nchecked = 20"] {
            assert!(entry.contains(field), "{field:?} is missing in {entry}");
        }
    }
}

#[test]
fn the_example_in_the_documentation_can_be_used_as_it_stands() {
    let document = include_str!("../../../docs/prices.md");
    let example = document.split("```toml\n").nth(1).unwrap();
    let example = example.split("```").next().unwrap();
    let dir = usage_dir();
    std::fs::write(dir.path().join("prices.toml"), example).unwrap();
    dir.write(
        "ada/a.jsonl",
        Transcript::new("s1").assistant(|m| m.model("our-gateway/claude").tokens(1_000_000, 0)),
    );
    assert_eq!(cost_of(&dir), "2.5");
}

#[test]
fn the_list_resolves_each_id_to_the_price_that_reports_use() {
    let models = [
        "claude-opus-4-6",
        "claude-opus-4-6[1m]",
        "anthropic/claude-opus-4.6",
        "anthropic.claude-opus-4-6-v1",
        "global.anthropic.claude-opus-4-6-v1:0",
        "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
        "bedrock/eu.anthropic.claude-haiku-4-5-20251001-v1:0",
        "vertex_ai/claude-opus-4-6@default",
        "claude-opus-4-5@20251101",
        "openrouter/anthropic/claude-opus-4-6",
        "claude-4.6-opus-20260205",
        "claude-4-6-opus",
        "claude-opus-4-6-20260205-thinking",
        "claude-opus-4.6:thinking",
        "claude_opus_4_6",
        "Claude-Opus-4-6",
        "claude-sonnet-3-7",
        "claude-5-sonnet-v2:1@latest-thinking",
        "claude-proxy/claude-haiku-4-5-reasoning-1m",
        "claude-mythos-5-2",
        "opus",
        "sonnet[1m]",
        "claude-opus-4-6-turbo",
        "claude-6-opus",
        "claude-thinking",
        "claude-opus-4-61",
        "my-claude-opus-4-6",
        "claude-opus-4-6-v",
        "claude-opus-4-6@2026",
        "claude-",
        "gpt-5",
    ];
    let dir = usage_dir();
    for (number, model) in models.iter().enumerate() {
        let session = Transcript::new(&format!("s{number}"))
            .at(MONDAY_MORNING.plus(Duration::from_secs(330 * 86_400)))
            .assistant(|m| m.model(model).tokens(100_000, 0));
        dir.write(&format!("ada/{number}.jsonl"), session);
    }
    let pipeline = TestPipeline::open(&dir, &[usage()]);
    pipeline.run("usage");
    let report = reported(&pipeline, ReportGrouping::Model);
    let prices = PriceTable::load(&dir.config()).unwrap();
    let day = Some("2026-12-01".parse().unwrap());
    let (store, clock) = (pipeline.pipeline().store(), pipeline.pipeline().clock());
    let listed = list_prices(Some(store), &prices, day, false, clock).unwrap();
    assert_eq!(listed.models.len(), models.len());
    for (row, listed) in report.rows.iter().zip(&listed.models) {
        assert_eq!(row.key.as_ref(), Some(&listed.model));
        assert_eq!(listed.tokens, Some(100_000));
        let cost = row.totals.cost_usd.map(|cost| cost.pico_dollars);
        // 100,000 tokens, in millionths of a dollar per million.
        let expected = listed.price.as_ref().map(|price| {
            let times = match price.is_regional {
                true => price.regional.millionths,
                false => 1_000_000,
            };
            i128::from(price.input.millionths) * i128::from(times) / 1_000_000 * 100_000
        });
        assert_eq!(cost, expected, "{listed:?}");
    }
}

/// LiteLLM's table with one model: dollars per token.
fn quoted(model: &str, input: &str) -> String {
    format!(
        r#"{{ "{model}": {{ "mode": "chat", "litellm_provider": "anthropic", "input_cost_per_token": {input},
            "output_cost_per_token": 2.5e-05, "cache_read_input_token_cost": 5e-07,
            "cache_creation_input_token_cost": 6.25e-06, "cache_creation_input_token_cost_above_1hr": 1e-05 }} }}"#
    )
}

/// Updates the prices on a day, and returns the changes.
fn update(dir: &DataDir, day: &str, table: &str, model: &str) -> (String, PriceUpdateReport) {
    let update = PriceUpdate {
        table,
        source: "https://example.com/prices.json",
        now: format!("{day}T12:00:00Z").parse().unwrap(),
        scope: PriceScope::InUse(vec![model.to_owned()]),
        is_dry_run: false,
    };
    let report = update.apply(&dir.config()).unwrap();
    let written = |decimal: Option<session_pipeline_pipeline::report::Decimal>| {
        decimal.map_or_else(|| "-".to_owned(), |decimal| decimal.to_string())
    };
    let changes = report.changes.iter().map(|change| {
        let (old, new) = (written(change.old), written(change.new));
        format!("{} {} {old} {new}", change.model, change.field)
    });
    (changes.collect::<Vec<_>>().join(", "), report)
}

fn input_on(dir: &DataDir, day: &str, model: &str) -> String {
    let line = serde_json::json!({
        "type": "assistant", "sessionId": "s1", "timestamp": format!("{day}T12:00:00Z"),
        "message": { "model": model, "stop_reason": "end_turn", "usage": { "input_tokens": 100_000 } },
    });
    let other = usage_dir();
    other.write("ada/a.jsonl", line.to_string() + "\n");
    std::fs::copy(
        dir.path().join("prices.toml"),
        other.path().join("prices.toml"),
    )
    .unwrap();
    cost_of(&other)
}

#[test]
fn a_changed_price_applies_from_the_day_of_the_update_and_history_keeps_its_own() {
    let dir = DataDir::new();
    let model = "us.anthropic.claude-opus-4-5-20251101-v1:0";
    let dear = quoted("claude-opus-4-5-20251101", "7e-06");
    let (changes, report) = update(&dir, "2026-12-10", &dear, model);
    assert_eq!(changes, "claude-opus-4-5 input 5 7");
    assert!(report.is_written);
    let text = || std::fs::read_to_string(dir.path().join("prices.toml")).unwrap();
    insta::assert_snapshot!(text(), @r#"
    # --- Begin of the prices from LiteLLM ---
    # `session-pipeline prices update` replaces everything between these two lines.
    # Write your own prices above or below them. They take precedence.
    # Updated: 2026-12-10, from https://example.com/prices.json
    
    [[price]]
    model = "claude-opus-4-5"
    from = 2026-12-10
    input = 7
    output = 25
    cache_read = 0.5
    cache_write_5m = 6.25
    cache_write_1h = 10
    regional = 1.1
    source = "LiteLLM, https://example.com/prices.json"
    checked = 2026-12-10
    # --- End of the prices from LiteLLM ---
    "#);
    // The factor for regions comes from the entry that ships.
    assert_eq!(input_on(&dir, "2026-12-09", model), "0.55");
    assert_eq!(input_on(&dir, "2026-12-10", model), "0.77");

    let (changes, report) = update(&dir, "2026-12-10", &dear, model);
    assert_eq!((changes.as_str(), report.is_written), ("", false));

    let dearer = quoted("claude-opus-4-5-20251101", "8e-06");
    let (changes, _) = update(&dir, "2026-12-20", &dearer, model);
    assert_eq!(changes, "claude-opus-4-5 input 7 8");
    for (day, expected) in [
        ("2026-12-09", "0.5"),
        ("2026-12-19", "0.7"),
        ("2026-12-20", "0.8"),
    ] {
        assert_eq!(input_on(&dir, day, "claude-opus-4-5"), expected, "{day}");
    }
    // The price that ships needs no entry, so the last one ends.
    let shipped = quoted("claude-opus-4-5-20251101", "5e-06");
    let (changes, _) = update(&dir, "2026-12-25", &shipped, model);
    assert_eq!(changes, "claude-opus-4-5 input 8 5");
    assert_eq!(input_on(&dir, "2026-12-24", "claude-opus-4-5"), "0.8");
    assert_eq!(input_on(&dir, "2026-12-25", "claude-opus-4-5"), "0.5");
    assert_eq!(text().matches("[[price]]").count(), 2);
    let (changes, _) = update(&dir, "2026-12-26", &shipped, model);
    assert_eq!(changes, "");
}

#[test]
fn the_first_price_of_a_model_applies_to_earlier_messages_too() {
    let dir = DataDir::new();
    let table = quoted("our-model", "1e-06");
    let (changes, _) = update(&dir, "2026-12-10", &table, "our-model");
    assert_eq!(
        changes,
        "our-model input - 1, our-model output - 25, our-model cache_read - 0.5, \
         our-model cache_write_5m - 6.25, our-model cache_write_1h - 10"
    );
    assert_eq!(input_on(&dir, "2025-01-01", "our-model"), "0.1");
}

#[test]
fn a_price_that_a_person_adds_ends_the_generated_one_on_its_days() {
    let dir = DataDir::new();
    let table = quoted("our-model", "1e-06");
    update(&dir, "2026-12-10", &table, "our-model");
    let file = dir.path().join("prices.toml");
    let generated = std::fs::read_to_string(&file).unwrap();
    let own = price("our-model", "4", "until = 2026-01-31");
    std::fs::write(&file, format!("# mine\r\n{own}{generated}# end")).unwrap();
    assert!(
        PriceTable::load(&dir.config()).is_err(),
        "two prices on one day"
    );
    let (changes, report) = update(&dir, "2026-12-11", &table, "our-model");
    assert_eq!((changes.as_str(), report.is_written), ("", true));
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.starts_with(&format!("# mine\r\n{own}# ---")), "{text}");
    assert!(text.ends_with("---\n# end"), "{text}");
    for (day, expected) in [
        ("2025-12-31", "0.1"),
        ("2026-01-01", "0.4"),
        ("2026-01-31", "0.4"),
        ("2026-02-01", "0.1"),
    ] {
        assert_eq!(input_on(&dir, day, "our-model"), expected, "{day}");
    }
}

#[test]
fn a_section_without_its_first_or_last_line_is_an_error_that_says_what_to_do() {
    let dir = DataDir::new();
    update(
        &dir,
        "2026-12-10",
        &quoted("our-model", "1e-06"),
        "our-model",
    );
    let file = dir.path().join("prices.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    for (text, expected) in [
        (
            text.replace("# --- End", "# End"),
            "line 1: the line `# --- End of the prices from LiteLLM ---` is missing",
        ),
        (
            text.replace("# --- Begin", "# Begin"),
            "is not above this one",
        ),
        (text.clone() + &text, "a second section of generated prices"),
    ] {
        std::fs::write(&file, &text).unwrap();
        let error = PriceTable::load(&dir.config()).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}
