//! One line about the input of a tool.

use std::borrow::Cow;

use super::super::json;

/// Fields that say most about a call, best first.
const FIELDS: [&str; 14] = [
    "command",
    "file_path",
    "notebook_path",
    "pattern",
    "query",
    "url",
    "skill",
    "description",
    "path",
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
    let known = known.into_iter().find_map(json::nonempty);
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
    let [kind] = json::fields(input, ["subagent_type"])?;
    json::nonempty(kind).map(Cow::into_owned)
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
            (r#"{"command":7,"path":"\n a \n"}"#, "a"),
            ("[]", ""),
            ("\"x\"", ""),
        ] {
            assert_eq!(summary(input), expected, "{input}");
        }
    }
}
