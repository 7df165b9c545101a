//! `completions`: a script for every shell.

use session_pipeline_harness::DataDir;

use super::run_cli;

#[test]
fn every_shell_gets_a_script_with_our_commands() {
    let dir = DataDir::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = run_cli(&dir, &["completions", shell]);
        assert_eq!((output.code, output.stderr.as_str()), (0, ""), "{shell}");
        for word in ["session-pipeline", "reprocess", "inspect", "max-sessions"] {
            assert!(output.stdout.contains(word), "{shell}: {word}");
        }
        assert!(!output.stdout.is_empty());
    }
    assert!(!dir.path().join("state").exists());
    assert_eq!(run_cli(&dir, &["completions", "abacus"]).code, 2);
}
