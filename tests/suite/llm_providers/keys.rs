//! The provider's key: where it is loaded from, and that it does not leak.

use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use session_pipeline_harness::DataDir;
use session_pipeline_harness::llm_server::ServerAction;
use session_pipeline_host::clock::Clock as _;
use session_pipeline_host::model::LlmCaller;
use session_pipeline_pipeline::config::{LlmConfig, Provider};
use session_pipeline_pipeline::llm::{self, ApiKey, KeyError, LlmSecrets};
use session_pipeline_store::Store;

use super::{KEY, Rig, plain};

/// Loads the key with these environment variables.
fn load_key(config: &LlmConfig, variables: &[(&str, &str)]) -> Result<Option<ApiKey>, KeyError> {
    let look_up = |name: &str| {
        let mut variables = variables.iter();
        let (_, value) = variables.find(|(variable, _)| *variable == name)?;
        Some(OsString::from(value))
    };
    LlmSecrets::load(config, look_up).map(|secrets| secrets.key)
}

fn key(text: &str) -> Option<ApiKey> {
    Some(ApiKey::new(text).unwrap())
}

fn key_file(folder: &Path, text: &str, mode: u32) -> LlmConfig {
    let path = folder.join("key");
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
    LlmConfig {
        api_key_file: Some(path),
        ..LlmConfig::default()
    }
}

#[test]
fn the_configured_key_takes_precedence_over_the_standard_variables() {
    let config = LlmConfig::default();
    let both = [("LLM_API_KEY", "two"), ("ANTHROPIC_API_KEY", " one\n")];
    assert_eq!(load_key(&config, &both).unwrap(), key("one"));
    assert_eq!(load_key(&config, &both[..1]).unwrap(), key("two"));
    assert_eq!(load_key(&config, &[]).unwrap(), None);

    let named = LlmConfig {
        api_key_env: Some("OF_OURS".to_owned()),
        ..LlmConfig::default()
    };
    let all = [("OF_OURS", "three"), both[0], both[1]];
    assert_eq!(load_key(&named, &all).unwrap(), key("three"));
    let error = load_key(&named, &both).unwrap_err().to_string();
    assert!(error.contains("`llm.api_key_env`"), "{error}");
    assert!(
        !error.contains("OF_OURS"),
        "the value could be a key: {error}"
    );

    let folder = tempfile::tempdir().unwrap();
    let file = key_file(folder.path(), "four\n", 0o600);
    assert_eq!(load_key(&file, &all).unwrap(), key("four"));
}

#[test]
fn the_anthropic_key_is_not_sent_to_another_provider() {
    let config = LlmConfig {
        provider: Some(Provider::OpenAiCompat),
        ..LlmConfig::default()
    };
    assert_eq!(
        load_key(&config, &[("ANTHROPIC_API_KEY", "one")]).unwrap(),
        None
    );
    assert_eq!(
        load_key(&config, &[("LLM_API_KEY", "two")]).unwrap(),
        key("two")
    );
}

#[test]
fn an_invalid_key_is_rejected_and_not_printed() {
    let config = LlmConfig::default();
    for value in [
        "",
        "  ",
        "CANARY with spaces",
        "CANARY\nX-Header: 1",
        "CANÄRY",
    ] {
        let error = load_key(&config, &[("ANTHROPIC_API_KEY", value)])
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("`ANTHROPIC_API_KEY` is not a valid key"),
            "{error}"
        );
        assert!(!error.contains("CAN"), "{error}");
    }
    let folder = tempfile::tempdir().unwrap();
    for (text, mode) in [
        ("CANARY", 0o640),
        ("CANARY", 0o604),
        ("", 0o600),
        ("CANARY one", 0o600),
    ] {
        let error = load_key(&key_file(folder.path(), text, mode), &[])
            .unwrap_err()
            .to_string();
        assert!(error.contains("`llm.api_key_file`"), "{error}");
        assert!(!error.contains("CANARY"), "{error}");
    }
    let absent = LlmConfig {
        api_key_file: Some(folder.path().join("absent")),
        ..LlmConfig::default()
    };
    assert!(matches!(
        load_key(&absent, &[]),
        Err(KeyError::Unreadable { .. })
    ));
}

#[test]
fn without_a_key_only_a_local_server_is_usable() {
    let dir = DataDir::new();
    let mut config = dir.config();
    let store = Arc::new(Store::open(&config.store_options(), dir.clock().now()).unwrap());
    let model = |config: &_| {
        let clock = Arc::clone(dir.clock());
        llm::from_config(config, LlmSecrets::default(), clock, Arc::clone(&store)).unwrap()
    };
    assert!(model(&config).is_none());
    assert!(session_pipeline_host::model::missing_model_error().contains("ANTHROPIC_API_KEY"));

    let server = session_pipeline_harness::LlmServer::start(Provider::OpenAiCompat);
    server.enqueue_answer("hello");
    config.llm = server.config();
    let local = model(&config).unwrap();
    local
        .complete(&plain("Say hello"), super::caller())
        .unwrap();
    assert_eq!(server.requests()[0].header("authorization"), None);
}

#[test]
fn the_key_does_not_appear_in_errors_debug_output_or_the_database() {
    let rig = Rig::new(Provider::Anthropic);
    // A server that repeats the key in its errors.
    for status in [400, 401, 404, 418, 429, 500, 500, 500] {
        rig.server
            .enqueue(ServerAction::error(status, "invalid_request_error", KEY));
    }
    let mut output = String::new();
    for (number, run_id) in ["a", "b", "c", "d", "e"].into_iter().enumerate() {
        let caller = llm_caller(run_id);
        let request = plain(&format!("{number} {KEY}"));
        let error = rig.model.complete(&request, caller).unwrap_err();
        output.push_str(&format!("{error:?} {error}"));
        output.push_str(&format!("{:?}", rig.model.halt_reason(run_id)));
    }
    output.push_str(&format!("{:?} {:?}", rig.model, rig.config));
    output.push_str(&format!("{:?}", ApiKey::new(KEY)));
    assert!(!output.contains("CANARY"), "{output}");
    let last = rig.server.requests().pop().unwrap();
    assert_eq!(
        last.header("x-api-key"),
        Some(KEY),
        "the key must be in the header"
    );
    assert!(!last.text.contains("CANARY"), "{}", last.text);

    rig.server.enqueue_answer(KEY);
    let Rig {
        dir, store, model, ..
    } = rig;
    drop((store, model));
    let bytes = fs::read(dir.database_path()).unwrap();
    assert!(!bytes.windows(6).any(|window| window == b"CANARY"));
}

fn llm_caller(run_id: &str) -> LlmCaller<'_> {
    LlmCaller {
        run_id,
        ..super::caller()
    }
}
