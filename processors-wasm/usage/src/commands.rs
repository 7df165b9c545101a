//! Slash commands, as agents write them into the text of the user.

const OPENING: &str = "<command-name>";
const CLOSING: &str = "</command-name>";

/// Whether a text of which this is the beginning is a command.
pub fn begins_as_command(beginning: &str) -> bool {
    let beginning = beginning.trim_start();
    beginning.starts_with(OPENING) || beginning.starts_with("<command-message>")
}

/// The names of the commands in a text, without their slashes.
///
/// Only a text that begins as a command is one: further on, the tags are somebody's prose.
pub fn names(text: &str) -> impl Iterator<Item = &str> {
    let is_command = begins_as_command(text);
    let tags = text.split(OPENING).skip(1);
    tags.filter(move |_| is_command).filter_map(|tag| {
        let (name, _) = tag.split_once(CLOSING)?;
        let name = name.trim().strip_prefix('/')?;
        let is_part = |part: char| part.is_alphanumeric() || matches!(part, '_' | ':' | '-');
        (name.starts_with(char::is_alphabetic) && name.chars().all(is_part)).then_some(name)
    })
}

#[cfg(test)]
mod tests {
    fn check(text: &str, expected: &[&str]) {
        let names: Vec<_> = super::names(text).collect();
        assert_eq!(names, expected, "{text}");
    }

    #[test]
    fn a_text_that_begins_with_a_tag_is_a_command() {
        check("<command-name>/clear</command-name>", &["clear"]);
        check(
            "\n<command-message>plug:run is running</command-message>\n\
             <command-name>/plug:run</command-name><command-args>x</command-args>",
            &["plug:run"],
        );
        check(
            "<command-name>/a</command-name> <command-name>/b_c-d</command-name>",
            &["a", "b_c-d"],
        );
    }

    #[test]
    fn prose_is_none() {
        check("/clear", &[]);
        check("what is <command-name>/clear</command-name>?", &[]);
        check("<command-name>clear</command-name>", &[]);
        check("<command-name>/1st</command-name>", &[]);
        check("<command-name>/a b</command-name>", &[]);
        check("<command-name>/never closed", &[]);
    }
}
