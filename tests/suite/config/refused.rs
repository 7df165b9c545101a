//! Property tests: invalid values in a file are rejected by key, and sources have the documented
//! precedence.

use std::fs;
use std::path::PathBuf;

use proptest::collection::vec;
use proptest::prelude::*;
use session_pipeline_harness::cases;
use session_pipeline_pipeline::config::{Config, ConfigOverrides, ConfigValueKind, config_keys};

use super::check;

/// A value that is invalid for every key of this kind.
fn bad_value(kind: ConfigValueKind) -> BoxedStrategy<String> {
    let always_invalid = || {
        prop::sample::select(vec![
            "\"\"",
            "[]",
            "[1]",
            "{}",
            "{ a = 1 }",
            "nan",
            "-inf",
            "1.5",
            "1979-05-27",
            "07:32:00",
        ])
        .prop_map(str::to_owned)
    };
    let nonsense = "[a-z ]{1,12}".prop_map(|text| format!("\"{text}\""));
    let negative = (i64::MIN..0).prop_map(|number| number.to_string());
    match kind {
        ConfigValueKind::Count => prop_oneof![
            always_invalid(),
            nonsense,
            negative,
            Just("true".to_owned()),
            Just("\"5\"".to_owned())
        ]
        .boxed(),
        ConfigValueKind::Size => prop_oneof![
            always_invalid(),
            nonsense,
            negative,
            Just("true".to_owned()),
            Just("\"1 XB\"".to_owned()),
            Just("\"99999999 EiB\"".to_owned()),
            Just("\"-1 MiB\"".to_owned()),
            Just(i64::MAX.to_string())
        ]
        .boxed(),
        ConfigValueKind::Time => prop_oneof![
            always_invalid(),
            nonsense,
            negative,
            any::<u32>().prop_map(|number| number.to_string()),
            Just("\"-5 s\"".to_owned()),
            Just("\"5 fortnights\"".to_owned()),
            Just("\"90000 h\"".to_owned())
        ]
        .boxed(),
        ConfigValueKind::Number => prop_oneof![
            nonsense,
            negative,
            prop::sample::select(vec![
                "\"\"", "[]", "{}", "nan", "inf", "-inf", "0", "0.0", "1e10"
            ])
            .prop_map(str::to_owned),
            Just("true".to_owned()),
            Just("\"0.5\"".to_owned())
        ]
        .boxed(),
        ConfigValueKind::Flag => {
            prop_oneof![always_invalid(), nonsense, negative, Just("1".to_owned())].boxed()
        }
        ConfigValueKind::Schedule => prop_oneof![
            always_invalid(),
            nonsense,
            negative,
            Just("true".to_owned()),
            Just("\"every 15\"".to_owned()),
            Just("\"daily 24:00\"".to_owned())
        ]
        .boxed(),
        ConfigValueKind::Path => prop_oneof![
            always_invalid(),
            negative,
            Just("true".to_owned()),
            Just("\"~/x\"".to_owned()),
            Just("\"a\\u0000b\"".to_owned())
        ]
        .boxed(),
        ConfigValueKind::List => prop_oneof![
            always_invalid(),
            nonsense,
            negative,
            Just("true".to_owned()),
            Just("[\"\"]".to_owned()),
            Just("[\"127.0.0.1\", 1]".to_owned()),
            Just("[\"a b\"]".to_owned())
        ]
        .boxed(),
        ConfigValueKind::Text => prop_oneof![
            always_invalid(),
            negative,
            Just("true".to_owned()),
            Just("\"a b\"".to_owned()),
            Just("\"a\\u0000b\"".to_owned())
        ]
        .boxed(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases() * 8))]

    /// For any key and any comments in the file, the error names the key.
    #[test]
    fn invariant_an_invalid_value_of_any_key_is_rejected_with_its_name(
        (key, value) in prop::sample::select(config_keys())
            .prop_flat_map(|known| (Just(known.key), bad_value(known.kind))),
        comments in vec("[ a-z=\\[\\]]{0,10}", 0..3),
    ) {
        let key = key.replace("<name>", "some-processor");
        let (section, name) = match key.rsplit_once('.') {
            Some(("budget", name)) => ("[[budget]]\n".to_owned(), name),
            Some((section, name)) => (format!("[{section}]\n"), name),
            None => (String::new(), key.as_str()),
        };
        let comments: String = comments.iter().map(|text| format!("# {text}\n")).collect();
        let line = comments.lines().count() + section.lines().count() + 1;
        let error = check(&format!("{comments}{section}{name} = {value}\n"));
        let error = error.expect_err("the value is invalid");
        let place = format!("c.toml:{line}:{}: invalid value `", name.len() + 4);
        prop_assert!(error.starts_with(&place), "`{error}` does not start with `{place}`");
        prop_assert!(error.contains(&format!("` for `{key}`: expected ")), "{error}");
    }

    /// Precedence: flag, file, default. A file in the data directory cannot set the data directory.
    #[test]
    fn invariant_a_flag_takes_precedence_over_the_file_and_the_file_over_the_default(
        data_dir: Option<u8>,
        sessions: Option<u8>,
        in_file: Option<u8>,
        is_named: bool,
        file_data_dir: Option<u8>,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str, number: u8| folder.path().join(format!("{name}-{number}"));
        // Without a data directory, `load` would read the current folder.
        let data_dir = if is_named { data_dir } else { data_dir.or(Some(0)) };
        let mut text = String::new();
        if let Some(number) = in_file {
            text.push_str(&format!("sessions = \"file-{number}\"\n"));
        }
        if let (Some(number), true) = (file_data_dir, is_named) {
            text.push_str(&format!("data_dir = \"data-of-file-{number}\"\n"));
        }
        let home = match is_named {
            true => folder.path().to_owned(),
            false => path("data", data_dir.unwrap()),
        };
        fs::create_dir_all(&home).unwrap();
        fs::write(home.join("config.toml"), &text).unwrap();
        let config = Config::load(&ConfigOverrides {
            data_dir: data_dir.map(|number| path("data", number)),
            sessions_root: sessions.map(|number| path("flag", number)),
            config_file: is_named.then(|| home.join("config.toml")),
            ..ConfigOverrides::default()
        })
        .unwrap();

        let expected_data_dir: PathBuf = data_dir
            .map(|number| path("data", number))
            .or_else(|| file_data_dir.map(|number| path("data-of-file", number)))
            .unwrap_or_else(|| "./data".into());
        let expected_sessions = sessions
            .map(|number| path("flag", number))
            .or_else(|| in_file.map(|number| home.join(format!("file-{number}"))))
            .unwrap_or_else(|| expected_data_dir.join("user_sessions"));
        prop_assert_eq!(config.data_dir, expected_data_dir);
        prop_assert_eq!(config.sessions_root, expected_sessions);
    }
}
