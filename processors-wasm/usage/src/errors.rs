//! Classifies failed tool calls by their result.

/// A kind of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorClass {
    /// The tool reports an error.
    ToolError,
    /// A command exited with an error code.
    ExitCode,
    /// The user rejected or interrupted the call.
    Rejected,
    /// The call was canceled because another call of the same message failed.
    SiblingFailed,
}

impl ErrorClass {
    /// Classifies a failed call by the text of its result.
    pub fn of(text: &str) -> Self {
        let text = text.trim_start();
        let text = text.strip_prefix("Error: ").unwrap_or(text);
        let text = text.strip_prefix("<tool_use_error>").unwrap_or(text);
        let begins_with = |heads: &[&str]| heads.iter().any(|head| text.starts_with(head));
        if begins_with(&[
            "The user doesn't want to ",
            "The user rejected ",
            "User rejected ",
            "Permission for this tool use was denied",
            "[Request interrupted by user",
        ]) {
            return Self::Rejected;
        }
        if begins_with(&["Sibling tool call errored", "Cancelled: parallel tool call"]) {
            return Self::SiblingFailed;
        }
        let code = text.strip_prefix("Exit code ").unwrap_or_default();
        if code.starts_with(|first: char| first == '-' || first.is_ascii_digit()) {
            return Self::ExitCode;
        }
        Self::ToolError
    }

    /// The name in the table.
    pub fn name(self) -> &'static str {
        match self {
            Self::ToolError => "tool_error",
            Self::ExitCode => "exit_code",
            Self::Rejected => "rejected",
            Self::SiblingFailed => "sibling_failed",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::ErrorClass;

    #[test]
    fn the_beginning_of_a_result_says_how_the_call_failed() {
        for (text, class) in [
            ("Exit code 1\nno such file", "exit_code"),
            ("Error: Exit code 127", "exit_code"),
            ("Exit code of the program", "tool_error"),
            (
                "The user doesn't want to proceed with this tool use.",
                "rejected",
            ),
            ("[Request interrupted by user for tool use]", "rejected"),
            (
                "Permission for this tool use was denied. The tool use was rejected. The user said:\nno",
                "rejected",
            ),
            ("Permission denied (publickey).", "tool_error"),
            (
                "<tool_use_error>Sibling tool call errored</tool_use_error>",
                "sibling_failed",
            ),
            (
                "<tool_use_error>File does not exist.</tool_use_error>",
                "tool_error",
            ),
            ("it says: Exit code 1", "tool_error"),
            ("", "tool_error"),
        ] {
            assert_eq!(ErrorClass::of(text).name(), class, "{text}");
        }
    }
}
