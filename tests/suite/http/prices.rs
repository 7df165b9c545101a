//! Prices over HTTP: the list for analysts, updates by admins, and the warning about old prices.

use serde_json::json;
use session_pipeline_harness::{DataDir, Transcript};

use super::TestServer;
use crate::database::rows;
use crate::guests::usage;

const UPDATE: &str = "/api/admin/prices/update";

/// A server with a message of a model without a price.
fn served(dir: &DataDir) -> TestServer {
    let session = Transcript::new("s1").assistant(|m| m.model("our-model").tokens(100, 20));
    dir.write("ada/a.jsonl", session);
    let server = TestServer::start(dir, &[usage()]);
    let ran = server.post("/api/admin/run-session-processor?processor=usage");
    assert_eq!(ran.json()["details"]["processed"], 1, "{ran:?}");
    server
}

/// A table with a price of the model. Large enough that the general limit of bodies would reject it.
fn table() -> String {
    let model =
        json!({ "mode": "chat", "input_cost_per_token": 1e-6, "output_cost_per_token": 2e-6 });
    let note = json!({ "mode": "image", "note": " ".repeat(100_000) });
    json!({ "our-model": model, "other": note }).to_string()
}

fn update(server: &TestServer, query: &str, table: &[u8]) -> super::HttpResponse {
    let path = format!("{UPDATE}?source=example{query}");
    server.send("POST", &path, &server.admin, "application/json", table)
}

#[test]
fn analysts_read_prices_and_admins_update_them() {
    let dir = DataDir::new();
    let server = served(&dir);
    let listed = || {
        let path = "/api/usage/prices";
        let listed = server.send("GET", path, &server.analyst, "", &[]).json();
        listed["models"].clone()
    };
    assert_eq!(
        listed(),
        json!([{ "model": "our-model", "tokens": 120, "unpriced_messages": 1, "price": null }])
    );
    let dry = update(&server, "&dry_run=true", table().as_bytes()).json();
    assert_eq!(
        (&dry["is_written"], dry["changes"].as_array().unwrap().len()),
        (&false.into(), 5)
    );
    assert!(listed()[0]["price"].is_null());
    let path = format!("{UPDATE}?source=example");
    let denied = server.send("POST", &path, &server.analyst, "", table().as_bytes());
    assert_eq!(denied.status, 403, "{denied:?}");
    let updated = update(&server, "", table().as_bytes()).json();
    assert_eq!(
        (&updated["is_written"], &updated["changes"]),
        (&true.into(), &dry["changes"])
    );
    let price = listed()[0]["price"].clone();
    assert_eq!(
        (&price["input"], &price["origin"]),
        (&1.into(), &"update".into())
    );
    server.stop();
    let audited = "SELECT result, params FROM audit_log WHERE action = 'prices.update'";
    assert_eq!(
        rows(&dir, audited),
        [r#"ok | {"all":false,"changes":5,"source":"example"}"#]
    );
}

#[test]
fn wrong_requests_change_no_price() {
    let dir = DataDir::new();
    let server = served(&dir);
    let day = server.get("/api/usage/prices?day=soon");
    assert_eq!(
        day.error(),
        "422: invalid `day` `soon`: not a day; expected a value like 2026-01-31"
    );
    for (response, status) in [
        (server.send("POST", UPDATE, &server.admin, "", b"{}"), 422),
        (update(&server, "", b""), 422),
        (update(&server, "", b"\xff"), 422),
        (
            update(
                &server,
                "",
                b"{\"x\":{\"mode\":\"chat\",\"input_cost_per_token\":-1}}",
            ),
            422,
        ),
        (update(&server, "&moon=1", table().as_bytes()), 422),
        (update(&server, "", &vec![b' '; (16 << 20) + 1]), 413),
    ] {
        assert_eq!(response.status, status, "{response:?}");
        response.error();
    }
    assert!(!dir.path().join("prices.toml").exists());
}

#[test]
fn health_warns_of_old_prices_while_a_model_in_use_has_none() {
    // The clock of the tests is decades after the last check of the shipped prices.
    let dir = DataDir::new();
    let server = served(&dir);
    let check = || server.get("/api/health/detailed").json()["services"]["prices"].clone();
    let warning = check();
    assert_eq!(warning["status"], "warning", "{warning}");
    assert!(
        warning["detail"]
            .as_str()
            .unwrap()
            .ends_with("more than 60 days ago, and models in use have no price: `our-model`"),
        "{warning}"
    );
    assert_eq!(
        warning["next_action"],
        "run `session-pipeline prices update`, or add the prices as described in docs/prices.md"
    );
    // A check that finds no price is a check too.
    let other = table().replace("our-model", "their-model");
    assert_eq!(
        update(&server, "", other.as_bytes()).json()["unknown"],
        json!(["our-model"])
    );
    assert!(check().is_null());
}
