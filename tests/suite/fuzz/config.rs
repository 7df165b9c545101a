//! The parser of the config file.

use std::fs;

use proptest::prelude::*;
use session_pipeline_harness::fuzz::{fuzz, mutated_text};
use session_pipeline_pipeline::config::{Config, ConfigOverrides};

const VALID: [&str; 6] = [
    "workers = 4\nquiet_window = \"50 ms\"\n[database]\nmemory_limit = \"256 MiB\"\n",
    "[limits]\nrows_max = 1000\nwall_max = \"1 min 30 s\"\nsession_bytes_max = \"2 MB\"\n",
    "[processors.usage]\nschedule = \"every 15m\"\n[processors.usage.limits]\nrows_max = 5\n",
    "[processors.a.settings]\nanything = \"at all\"\n[service]\nllm_sessions_max = 50\n",
    "[scheduler]\ntick = \"30 s\"\n[llm]\nprovider = \"anthropic\"\nmodel = \"m\"\n[health]\n",
    "[[budget]]\nscope = \"user\"\nusd = 5.5\nper = \"day\"\n[notify]\nwebhook = \"http://127.0.0.1/a\"\n",
];
const WORDS: [&str; 16] = [
    "[limits]\n",
    "[processors.",
    "]\n",
    " = ",
    "\"",
    "\n",
    "#",
    "-1",
    "0",
    "18446744073709551616",
    "true",
    " GiB\"",
    "1e9",
    "'''",
    "{ a = 1 }",
    "inf",
];

#[test]
fn invariant_a_config_file_is_rejected_with_a_valid_line_or_parsed_deterministically() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.toml");
    let overrides = ConfigOverrides {
        data_dir: Some("data".into()),
        config_file: Some(path.clone()),
        ..ConfigOverrides::default()
    };
    let read = |text: &str| {
        fs::write(&path, text).unwrap();
        Config::load(&overrides)
    };
    fuzz(file!(), &mutated_text(&VALID, &WORDS), |text| {
        match read(&text) {
            Err(error) => {
                let message = error.to_string();
                prop_assert!(!message.contains(char::is_control), "{message:?}");
                let rest = message.strip_prefix(&format!("{}:", path.display()));
                if let Some((line, _)) = rest.and_then(|rest| rest.split_once(':'))
                    && let Ok(line) = line.parse::<usize>()
                {
                    prop_assert!((1..=text.lines().count() + 1).contains(&line), "{message}");
                }
            }
            Ok(config) => {
                prop_assert_eq!(&read(&text).unwrap(), &config, "parsed twice");
                // A byte order mark is ignored, and is allowed only at the beginning.
                let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
                prop_assert_eq!(
                    &read(&format!("# why\n\n{text}\n# so\n")).unwrap(),
                    &config,
                    "with comments"
                );
                // Unknown sections are never ignored.
                let more = read(&format!("{text}\n[of_nobody]\nkey = 1\n"));
                prop_assert!(more.is_err_and(|error| error.to_string().contains("of_nobody")));
            }
        }
        Ok(())
    });
}
