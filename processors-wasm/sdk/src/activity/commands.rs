//! Slash commands that a person typed.

/// The name of the command at the beginning of a text, without its slash: a word that only white
/// space can follow. A path is not a command.
pub(super) fn command_name(text: &str) -> Option<&str> {
    let rest = text.trim_start().strip_prefix('/')?;
    let name = rest.split(char::is_whitespace).next()?;
    let is_part =
        |part: char| part.is_ascii_alphanumeric() || matches!(part, '_' | '-' | ':' | '.');
    let is_name = name.starts_with(|first: char| first.is_ascii_alphabetic());
    (is_name && name.chars().all(is_part)).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_a_word_after_a_slash() {
        for (text, name) in [
            ("/init", Some("init")),
            (" /team:build-it now", Some("team:build-it")),
            ("/a\nb", Some("a")),
            ("", None),
            ("/", None),
            ("/ init", None),
            ("/home/ada/shop is empty", None),
            ("/1", None),
            ("/é", None),
            ("fix /init", None),
        ] {
            assert_eq!(command_name(text), name, "{text}");
        }
    }
}
