//! Tests the configuration: the sources of values, their precedence, and the errors for invalid
//! values.

mod refused;
mod values;
mod variables;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use session_pipeline_host::limits::Limits;
use session_pipeline_pipeline::config::{
    Config, ConfigError, ConfigOverrides, ProcessorConfig, Provider, StructuredOutput, config_keys,
};
use tempfile::TempDir;

/// Loads a file with this text, as with `--config`.
fn check(text: &str) -> Result<Config, String> {
    let folder = tempfile::tempdir().unwrap();
    let config = Config::load(&named(&folder, text));
    config.map_err(|error| error.to_string().replace(&path_of(&folder), "c.toml"))
}

fn named(folder: &TempDir, text: &str) -> ConfigOverrides {
    fs::write(folder.path().join("c.toml"), text).unwrap();
    ConfigOverrides {
        data_dir: Some("data".into()),
        config_file: Some(folder.path().join("c.toml")),
        ..ConfigOverrides::default()
    }
}

fn path_of(folder: &TempDir) -> String {
    folder.path().join("c.toml").display().to_string()
}

/// The error for a file with this text.
fn error_of(text: &str) -> String {
    check(text).expect_err("the file is invalid")
}

fn example() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/config.example.toml");
    fs::read_to_string(path).unwrap()
}

/// Uncomments every key of the example, and the headers of lists. Keys documented with "No default" are included only with
/// `with_no_default`.
fn uncommented(example: &str, with_no_default: bool) -> String {
    let mut says_no_default = false;
    let mut text = String::new();
    for line in example.lines() {
        let key = line
            .strip_prefix('#')
            .filter(|key| key.starts_with(char::is_alphabetic) || key.starts_with("[["));
        match key {
            Some(key) => {
                if with_no_default || !says_no_default {
                    text.push_str(key);
                }
                says_no_default = false;
            }
            None => {
                says_no_default =
                    !line.is_empty() && (says_no_default || line.contains("No default"));
                text.push_str(line);
            }
        }
        text.push('\n');
    }
    text
}

/// The dotted keys of a file.
fn keys_of(text: &str) -> Vec<String> {
    let mut section = String::new();
    let mut keys = Vec::new();
    for line in text.lines() {
        if line.starts_with('[') {
            section = format!("{}.", line.trim_matches(['[', ']']));
        } else if let Some((key, _)) = line.split_once('=').filter(|_| !line.starts_with('#')) {
            keys.push(format!("{section}{}", key.trim()));
        }
    }
    keys
}

#[test]
fn the_example_file_changes_no_default() {
    assert_eq!(
        check(&example()).unwrap(),
        Config {
            processors: [(
                "usage".to_owned(),
                ProcessorConfig {
                    limits: Some(Limits::default()),
                    ..ProcessorConfig::default()
                }
            )]
            .into(),
            ..Config::new("data")
        }
    );
}

#[test]
fn the_values_in_the_example_are_the_defaults() {
    let config = check(&uncommented(&example(), false)).unwrap();
    let own = ProcessorConfig {
        llm: Some(true),
        allow_lower_version: false,
        limits: Some(Limits::default()),
        settings: [("key".to_owned(), "value".to_owned())].into(),
        schedule: None,
        interval: None,
    };
    assert_eq!(
        config,
        Config {
            processors: [("usage".to_owned(), own)].into(),
            ..Config::new("data")
        }
    );
}

#[test]
fn the_example_contains_every_key_with_a_valid_value() {
    let text = uncommented(&example(), true);
    check(&text).unwrap();
    let mut in_example = keys_of(&text);
    in_example.retain(|key| key != "processors.usage.settings.key");
    in_example.sort_unstable();
    let mut known: Vec<String> = config_keys()
        .into_iter()
        .map(|known| known.key.replace("<name>", "usage"))
        .collect();
    known.sort_unstable();
    assert_eq!(in_example, known);
}

#[test]
fn an_error_states_the_position_the_key_the_value_and_the_allowed_values() {
    insta::assert_snapshot!(error_of("workers = 2\n\n[limits]\nrows_max = 3\nmemory_bytes_max = \"lots\"\n"), @r#"c.toml:5:20: invalid value `"lots"` for `limits.memory_bytes_max`: expected a size from 64.0 KiB to 4.0 GiB, such as "16 MiB""#);
    insta::assert_snapshot!(error_of("workers = 0"), @"c.toml:1:11: invalid value `0` for `workers`: expected a whole number from 1 to 512");
    insta::assert_snapshot!(error_of("sessions = \"\""), @r#"c.toml:1:12: invalid value `""` for `sessions`: expected an absolute path, or a path relative to the directory of this file; omit the key to leave it unset"#);
    insta::assert_snapshot!(error_of("sessions = \"~/.claude\""), @r#"c.toml:1:12: invalid value `"~/.claude"` for `sessions`: expected an absolute path, or a path relative to the directory of this file"#);
    insta::assert_snapshot!(error_of("limits = 3"), @"c.toml:1:10: invalid value `3` for `limits`: expected a table: `[limits]`");
    insta::assert_snapshot!(error_of("[processors.usage]\nllm = \"yes\""), @r#"c.toml:2:7: invalid value `"yes"` for `processors.usage.llm`: expected true or false"#);
    insta::assert_snapshot!(error_of("[processors.usage.settings]\ndepth = 5"), @"c.toml:2:9: invalid value `5` for `processors.usage.settings.depth`: expected a quoted string; omit the key to leave it unset");
    insta::assert_snapshot!(error_of("[processors.Usage]"), @"c.toml:1:13: invalid value `Usage` for `processors`: expected the name of a processor, [a-z][a-z0-9-]{0,62}");
    insta::assert_snapshot!(error_of("[processors.usage]\nschedule = \"every 15x\""), @r#"c.toml:2:12: invalid value `"every 15x"` for `processors.usage.schedule`: expected a schedule: `every 15m`, `every 2h` or `daily 04:15,16:00` (in UTC); character 9 should be `m` for minutes or `h` for hours"#);
    insta::assert_snapshot!(error_of("quiet_window = \"-1 s\""), @r#"c.toml:1:16: invalid value `"-1 s"` for `quiet_window`: expected a duration from 0s to 1h, such as "30 s""#);
}

#[test]
fn an_unknown_key_in_the_file_is_rejected_with_a_suggestion() {
    insta::assert_snapshot!(error_of("wrokers = 2"), @"c.toml:1:1: unknown key `wrokers`; did you mean `workers`?");
    insta::assert_snapshot!(error_of("[limit]\nrows_max = 2"), @"c.toml:1:2: unknown key `limit`; did you mean `limits`?");
    insta::assert_snapshot!(error_of("[processors.usage.limits]\nmemory = \"1 GiB\""), @"c.toml:2:1: unknown key `processors.usage.limits.memory`; did you mean `processors.usage.limits.memory_bytes_max`?");
    insta::assert_snapshot!(error_of("[group]\nmoon = 1"), @"c.toml:2:1: unknown key `group.moon`; known keys: sessions_max, rows_max, bytes_max, wait_max");
}

#[test]
fn the_language_model_section_is_read_and_plain_http_is_limited_to_local_networks() {
    let llm = |text: &str| check(&format!("[llm]\n{text}")).map(|config| config.llm);
    let local = "provider = \"openai_compat\"\nbase_url = \"http://127.0.0.1:11434/v1\"\nmodel = \"llama3.2:3b\"";
    let local = llm(local).unwrap();
    assert_eq!(local.provider, Some(Provider::OpenAiCompat));
    assert_eq!(local.model, "llama3.2:3b");
    // Plain HTTP is allowed on local networks. Elsewhere, it needs `allow_http`.
    for (address, is_local) in [
        ("http://localhost:8080", true),
        ("http://[::1]:8080/v1", true),
        ("http://192.168.1.20:8080", true),
        ("http://10.0.0.7", true),
        ("http://ollama:11434/v1", true),
        ("http://gpu.internal/v1", true),
        ("http://gpu.local/v1", true),
        ("http://gpu.localhost/v1", true),
        ("http://169.254.7.7", true),
        ("http://[fd12:3456::1]/v1", true),
        ("http://[fe80::1]/v1", true),
        ("https://api.example.com/v1", true),
        ("http://api.example.com/v1", false),
        ("http://8.8.8.8/v1", false),
        ("http://[2001:db8::1]/v1", false),
    ] {
        let given = format!("base_url = \"{address}\"\n");
        assert_eq!(llm(&given).is_ok(), is_local, "{address}");
        llm(&format!("{given}allow_http = true")).unwrap();
    }
    for address in [
        "ftp://example.com",
        "example.com",
        "https://",
        "https://ada:CANARY@example.com",
        "https://example.com?key=secret",
        "https://example.com#secret",
    ] {
        let error = llm(&format!("base_url = \"{address}\"")).unwrap_err();
        assert!(error.contains("for `llm.base_url`: expected"), "{error}");
        assert!(!error.contains("CANARY"), "{error}");
    }
    insta::assert_snapshot!(error_of("[llm]\nbase_url = \"http://api.example.com/v1/of/ours\""), @"c.toml: `llm.base_url` uses plain http:// to another network, so keys and sessions could be read in transit; use an https:// address, or set `llm.allow_http = true`");
    insta::assert_snapshot!(error_of("[llm]\nprovider = \"openai_compat\""), @r#"c.toml: `llm.base_url` is missing, but `llm.provider = "openai_compat"` needs it; set it to the server's address, such as "http://127.0.0.1:8080/v1""#);
    insta::assert_snapshot!(error_of("[llm]\nprovider = \"openai\""), @r#"c.toml:2:12: invalid value `(hidden)` for `llm.provider`: expected "anthropic" or "openai_compat""#);
}

#[test]
fn invalid_toml_is_rejected_with_its_position() {
    for text in [
        "workers =",
        "workers = 1\nworkers = 2",
        "[limits",
        "workers = 1 2",
        "\u{0}",
    ] {
        let error = error_of(text);
        assert!(error.starts_with("c.toml:"), "{text:?}: {error}");
        assert!(error.contains("docs/config.example.toml"), "{error}");
    }
}

#[test]
fn a_file_given_by_flag_must_exist_but_the_one_in_the_data_dir_is_optional() {
    let folder = tempfile::tempdir().unwrap();
    let mut given = ConfigOverrides {
        data_dir: Some(folder.path().to_owned()),
        ..ConfigOverrides::default()
    };
    assert_eq!(Config::load(&given).unwrap(), Config::new(folder.path()));
    given.config_file = Some(folder.path().join("c.toml"));
    let error = Config::load(&given).unwrap_err();
    assert!(matches!(error, ConfigError::Unreadable { .. }), "{error}");
    assert!(error.to_string().contains(&path_of(&folder)), "{error}");

    fs::write(folder.path().join("config.toml"), "workers = 7").unwrap();
    given.config_file = None;
    assert_eq!(Config::load(&given).unwrap().workers, 7);
    fs::write(folder.path().join("config.toml"), b"# caf\xe9").unwrap();
    assert!(matches!(
        Config::load(&given),
        Err(ConfigError::Unreadable { .. })
    ));
}

#[test]
fn a_file_in_the_data_dir_cannot_set_the_data_dir() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("config.toml"), "data_dir = \"other\"").unwrap();
    let given = ConfigOverrides {
        data_dir: Some(folder.path().to_owned()),
        ..ConfigOverrides::default()
    };
    let error = Config::load(&given).unwrap_err().to_string();
    assert!(
        error.contains("`data_dir` is not allowed in this file"),
        "{error}"
    );
}

#[test]
fn a_processor_has_the_shared_limits_unless_it_has_its_own() {
    let config = check(
        "[processors.a.limits]\nmemory_bytes_max = \"1 GiB\"\n[processors.b]\nschedule = \"every 5m\"\n\
         [processors.d.limits]\ntable_elements_max = 7\nrows_max = 20\n\
         [limits]\nrows_max = 10\ntable_elements_max = 5\n",
    )
    .unwrap();
    let shared = Limits {
        rows_max: 10,
        table_elements_max: 5,
        ..Limits::default()
    };
    assert_eq!(config.limits_of("b"), &shared);
    assert_eq!(config.limits_of("c"), &shared);
    assert_eq!(
        config.limits_of("a"),
        &Limits {
            memory_bytes_max: 1 << 30,
            ..shared.clone()
        }
    );
    assert_eq!(
        config.pool_limits(),
        Limits {
            memory_bytes_max: 1 << 30,
            table_elements_max: 7,
            ..shared
        },
        "the pool has the maximum of all limits"
    );
}

#[test]
fn the_llm_grant_is_that_of_the_operator_or_else_only_for_shipped_processors() {
    let config =
        check("[processors.granted]\nllm = true\n[processors.refused]\nllm = false\n").unwrap();
    for is_shipped in [false, true] {
        assert!(config.grants_llm("granted", is_shipped));
        assert!(!config.grants_llm("refused", is_shipped));
        assert_eq!(config.grants_llm("another", is_shipped), is_shipped);
    }
}

#[test]
fn the_cpu_limit_grows_with_the_bytes_of_a_session() {
    let limits = Limits {
        cpu_base: Duration::from_secs(2),
        bytes_per_cpu_second: 1000,
        ..Limits::default()
    };
    for (bytes, seconds) in [(0, 2), (999, 2), (1000, 3), (10_500, 12)] {
        assert_eq!(limits.cpu(bytes), Duration::from_secs(seconds), "{bytes}");
    }
}

#[test]
fn the_folders_of_the_data_dir_have_fixed_names() {
    let config = check("").unwrap();
    let places = [
        config.state_dir(),
        config.processors_dir(),
        config.export_dir(),
    ];
    let expected = ["data/state", "data/processors", "data/export"];
    assert_eq!(places, expected.map(PathBuf::from));
}

#[test]
fn the_error_for_each_key_states_its_allowed_values() {
    // Skip the limits per processor. They use the same table as `limits`.
    let keys = config_keys().into_iter();
    let keys = keys.filter(|known| !known.key.starts_with("processors.<name>.limits."));
    let lines = keys.map(|known| {
        let key = known.key.replace("<name>", "usage");
        let (section, name) = match key.rsplit_once('.') {
            Some(("budget", name)) => ("[[budget]]\n".to_owned(), name),
            Some((section, name)) => (format!("[{section}]\n"), name),
            None => (String::new(), key.as_str()),
        };
        let error = check(&format!("{section}{name} = {{ x = 1 }}\n")).unwrap_err();
        let (_, allowed) = error.split_once(": expected ").unwrap();
        format!("{key}: {allowed}")
    });
    let lines: Vec<String> = lines.collect();
    insta::with_settings!({ prepend_module_to_snapshot => false }, {
        insta::assert_snapshot!(lines.join("\n"));
    });
}

#[test]
fn each_mode_of_structured_output_can_be_set() {
    let parsed = |mode: &str| {
        check(&format!("[llm]\nstructured_output = \"{mode}\"\n"))
            .map(|config| config.llm.structured_output)
    };
    assert_eq!(parsed("strict"), Ok(StructuredOutput::Strict));
    assert_eq!(parsed("json"), Ok(StructuredOutput::Json));
    assert_eq!(parsed("auto"), Ok(StructuredOutput::Auto));
    assert!(parsed("Strict").is_err());
}

#[test]
fn a_file_is_limited_to_one_mebibyte() {
    let comment = |bytes: usize| format!("#{}", "x".repeat(bytes - 1));
    assert!(check(&comment(1 << 20)).is_ok());
    let error = check(&comment((1 << 20) + 1)).unwrap_err();
    assert!(error.contains("c.toml"), "{error}");
}

#[test]
fn a_lower_version_is_allowed_only_for_a_configured_processor() {
    let config = check("[processors.a]\nallow_lower_version = true\n[processors.b]\n").unwrap();
    assert!(config.allows_lower_version("a"));
    assert!(!config.allows_lower_version("b"));
    assert!(!config.allows_lower_version("c"));
}

#[test]
fn sizes_and_times_are_accepted_in_common_notations() {
    let limits = |text: &str| check(&format!("[limits]\n{text}")).unwrap().limits;
    for (text, bytes) in [
        ("\"1 MiB\"", 1 << 20),
        ("\"1MiB\"", 1 << 20),
        ("\"1.5 MiB\"", 3 << 19),
        ("\"2 MB\"", 2_000_000),
        ("\"65536\"", 65_536),
        ("65_536", 65_536),
        ("0x10000", 65_536),
    ] {
        assert_eq!(
            limits(&format!("row_bytes_max = {text}")).row_bytes_max,
            bytes,
            "{text}"
        );
    }
    for (text, millis) in [
        ("30 s", 30_000),
        ("1.5s", 1_500),
        ("2 min 30 s", 150_000),
        ("PT1M", 60_000),
        ("10 ms", 10),
        ("1 hour", 3_600_000),
    ] {
        let cpu = limits(&format!("cpu_base = \"{text}\"")).cpu_base;
        assert_eq!(cpu, Duration::from_millis(millis), "{text}");
    }
}

/// An API key that was pasted in the wrong place must not be in the error message.
#[test]
fn errors_never_repeat_values_of_the_language_model_section() {
    const KEY: &str = "sk-ant-api03-CANARYCANARYCANARY";
    for text in [
        format!("api_key = \"{KEY}\""),
        format!("provider = \"{KEY}\""),
        format!("model = \"{KEY} \""),
        format!("base_url = \"{KEY}\""),
        format!("proxy = \"http://ada:{KEY}@proxy\""),
        format!("api_key_env = \"{KEY}\""),
        format!("api_key_file = \"~{KEY}\""),
        format!("verify_ssl = \"{KEY}\""),
        format!("timeout = \"{KEY}\""),
        format!("attempts_max = \"{KEY}\""),
        format!("structured_output = [\"{KEY}\"]"),
        format!("\"{KEY}\" = true"),
        format!("{KEY} = true"),
        format!("model = {KEY}"),
        "base_url = \"http://CANARY.example.com\"".to_owned(),
    ] {
        let error = check(&format!("[llm]\n{text}")).unwrap_err();
        assert!(!error.contains("CANARY"), "{text}: {error}");
    }
    let error = check(&format!("llm = \"{KEY}\"")).unwrap_err();
    assert!(
        error.contains("`llm`") && !error.contains("CANARY"),
        "{error}"
    );
    let text = "[processors.usage.settings]\napi_token = [\"CANARY\"]";
    let error = check(text).unwrap_err();
    assert!(
        error.contains("api_token") && !error.contains("CANARY"),
        "{error}"
    );
}
