//! Slash commands, which agents write into the user's text as tags.

/// The tags that an agent writes around or before a command.
const TAGS: &[&str] = &[
    "command-name",
    "command-message",
    "command-args",
    "command-contents",
    "local-command-caveat",
    "local-command-stderr",
    "local-command-stdout",
    "system-reminder",
    "ide_opened_file",
    "ide_selection",
    "ide_diagnostics",
];
const NAME: &str = "command-name";
const ARGUMENTS: &str = "command-args";

/// Whether a text with this beginning can contain commands.
pub fn begins_as_command(beginning: &str) -> bool {
    opening_tag(beginning.trim_start()).is_some()
}

/// The names of the commands in a text, without their slashes.
///
/// Commands are in the run of tags at the beginning of the text. Further on, and inside the
/// arguments, a tag is part of the user's prose.
pub fn names(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text.trim_start();
    let tags = std::iter::from_fn(move || {
        let (tag, behind) = opening_tag(rest)?;
        let (content, behind) = split_content(tag, behind)?;
        rest = behind.trim_start();
        Some((tag, content))
    });
    tags.filter_map(|(tag, content)| name_of((tag == NAME).then_some(content)?))
}

/// The tag at the beginning of a text, and the rest of the text.
fn opening_tag(text: &str) -> Option<(&'static str, &str)> {
    let text = text.strip_prefix('<')?;
    TAGS.iter().find_map(|tag| {
        let behind = text.strip_prefix(tag)?.strip_prefix('>')?;
        Some((*tag, behind))
    })
}

/// The content of a tag, and the text after its end.
fn split_content<'a>(tag: &str, text: &'a str) -> Option<(&'a str, &'a str)> {
    let closing = format!("</{tag}>");
    let first = text.find(&closing)?;
    let end = if tag == ARGUMENTS {
        // Arguments can contain their own closing tag. The last one before the tags of another
        // command ends them.
        let others = text[first..].find(&format!("<{tag}>"));
        let own = others.map_or(text, |others| &text[..first + others]);
        own.rfind(&closing)?
    } else {
        first
    };
    Some((&text[..end], &text[end + closing.len()..]))
}

/// The name in a `command-name` tag.
fn name_of(content: &str) -> Option<&str> {
    let name = content.trim().strip_prefix('/')?;
    let is_part =
        |part: char| part.is_alphanumeric() || matches!(part, '_' | '-' | '.' | ':' | '/');
    let is_name = !name.starts_with('/') && name.contains(char::is_alphanumeric);
    (is_name && name.chars().all(is_part)).then_some(name)
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
        check(
            "<local-command-caveat>x</local-command-caveat>\n<command-name>/a</command-name>",
            &["a"],
        );
    }

    #[test]
    fn names_hold_letters_digits_and_some_marks() {
        for name in [
            "speckit.plan",
            "speckit.agent-context.update",
            "plug:team/review",
            "a/b/c",
            "x_1.2-rc",
            "1st",
            "überprüfen",
            "复查",
        ] {
            let text = format!("<command-name>/{name}</command-name>");
            check(&text, &[name]);
        }
        for other in ["a b", "a<b", "a&b", "-", "", "/a", "a\"b"] {
            check(&format!("<command-name>/{other}</command-name>"), &[]);
        }
    }

    #[test]
    fn a_tag_in_arguments_is_prose() {
        let command = |arguments: &str| {
            format!(
                "<command-message>review</command-message>\n<command-name>/review</command-name>\n\
                 <command-args>{arguments}</command-args>"
            )
        };
        for arguments in [
            "why does <command-name>/deploy</command-name> run twice? Array<T> too",
            "<command-name>/deploy</command-name>",
            "a </command-args><command-name>/deploy</command-name> b",
            "a <command-args>b</command-args> <command-name>/deploy</command-name> c",
            "a\n<command-message>x</command-message><command-name>/deploy</command-name>",
        ] {
            check(&command(arguments), &["review"]);
        }
        let next = "<command-name>/deploy</command-name><command-args>b</command-args>";
        check(&(command("a") + next), &["review", "deploy"]);
        check(
            &(command("a") + "<command-name>/deploy</command-name>"),
            &["review", "deploy"],
        );
        check(
            "<command-name>/review</command-name> and <command-name>/deploy</command-name>",
            &["review"],
        );
        check(
            "<command-message>see <command-name>/deploy</command-name></command-message>\
             <command-name>/review</command-name>",
            &["review"],
        );
    }

    #[test]
    fn prose_is_none() {
        check("/clear", &[]);
        check("what is <command-name>/clear</command-name>?", &[]);
        check("<command-name>clear</command-name>", &[]);
        check("<command-name>/a b</command-name>", &[]);
        check("<command-name>/never closed", &[]);
        check("<other><command-name>/clear</command-name></other>", &[]);
    }
}
