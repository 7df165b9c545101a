//! One line about the input of a tool.

use std::borrow::Cow;

use super::json;

/// Fields that say most about a call, best first.
const FIELDS: [&str; 16] = [
    "command",
    "cmd",
    "file_path",
    "notebook_path",
    "pattern",
    "query",
    "url",
    "skill",
    "description",
    "path",
    "absolute_path",
    "subject",
    "taskId",
    "shell_id",
    "prompt",
    "plan",
];
/// Maximum number of fields of the input of an unknown tool to look at.
const LOOKED_AT_MAX: usize = 16;

/// The most telling field of an input, or its first text. Empty if there is none.
pub(super) fn summary(input: &str) -> String {
    let known = json::fields(input, FIELDS).unwrap_or_default();
    let known = known.into_iter().find_map(words);
    let first = || {
        let fields = json::all_fields(input, LOOKED_AT_MAX).unwrap_or_default();
        let mut texts = fields
            .into_iter()
            .map(|(_, value)| json::nonempty(Some(value)));
        texts.find_map(|text| text)
    };
    known.or_else(first).map(first_line).unwrap_or_default()
}

/// The type of the sub-agent that a call starts.
pub(super) fn agent_type(input: &str) -> Option<String> {
    let names = ["subagent_type", "agent_type", "subagent_name", "agent"];
    let kinds = json::fields(input, names)?;
    let kind = kinds.into_iter().find_map(json::nonempty);
    kind.map(Cow::into_owned)
}

/// A text, or the words of a command.
fn words(value: Option<&str>) -> Option<Cow<'_, str>> {
    let text = json::nonempty(value);
    text.or_else(|| {
        let (words, _) = json::elements(value?, LOOKED_AT_MAX);
        let words: Vec<_> = words.into_iter().filter_map(json::text).collect();
        (!words.is_empty()).then(|| Cow::Owned(words.join(" ")))
    })
}

fn first_line(text: Cow<'_, str>) -> String {
    let line = text.trim_start().lines().next().unwrap_or_default();
    line.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::summary;

    #[test]
    fn the_summary_is_the_first_line_of_the_most_telling_field() {
        for (input, expected) in [
            (r#"{"description":"List files","command":"ls\n-l"}"#, "ls"),
            (r#"{"content":"x","file_path":"/a.rs"}"#, "/a.rs"),
            (r#"{"count":1,"issue":"ENG-1"}"#, "ENG-1"),
            (r#"{"command":""}"#, ""),
            (r#"{"command":["bash","-lc","ls -l"]}"#, "bash -lc ls -l"),
            (r#"{"command":[7],"path":"a"}"#, "a"),
            (r#"{"command":7,"path":"\n a \n"}"#, "a"),
            ("[]", ""),
            ("\"x\"", ""),
        ] {
            assert_eq!(summary(input), expected, "{input}");
        }
    }
}
