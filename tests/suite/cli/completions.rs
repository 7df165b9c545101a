//! `completions`: a script for every shell.

use session_pipeline_harness::DataDir;

use super::check;

#[test]
fn every_shell_gets_a_script_with_our_commands() {
    let dir = DataDir::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let ended = check(&dir, &["completions", shell]);
        assert_eq!((ended.code, ended.stderr.as_str()), (0, ""), "{shell}");
        for word in ["session-pipeline", "reprocess", "inspect", "max-sessions"] {
            assert!(ended.stdout.contains(word), "{shell}: {word}");
        }
        assert!(!ended.stdout.is_empty());
    }
    assert!(!dir.path().join("state").exists());
    assert_eq!(check(&dir, &["completions", "abacus"]).code, 2);
}
