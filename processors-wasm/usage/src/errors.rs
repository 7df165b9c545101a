//! Classifies failed tool calls by their result.

use serde::{Deserialize, Serialize};

/// A kind of failure. Reports group by its name, so a name keeps its meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ErrorClass {
    /// The tool reports an error, and no other class applies.
    ToolError,
    /// A command exited with an error code.
    ExitCode,
    /// The user rejected or interrupted the call.
    Rejected,
    /// The call was canceled because another call of the same message failed.
    SiblingFailed,
    /// The call, or the request to an MCP server, took too long. A command that was stopped for
    /// this reason also has an exit code.
    Timeout,
    /// The permission rules of the agent denied the call, without a decision by the user. Also a
    /// call that needs the approval of a user when there is no user to ask.
    PermissionDenied,
    /// A hook denied the call.
    HookDenied,
    /// The file or folder does not exist.
    FileNotFound,
    /// The agent must read a file before it writes it, and has not read its current content.
    FileNotRead,
    /// An edit does not fit the file: the text to replace is missing or ambiguous, or equals the
    /// new text.
    EditMismatch,
    /// The call is not valid: wrong parameters, or an unknown tool, skill or type of sub-agent.
    InvalidInput,
    /// The result, or the file to read, is larger than the agent accepts.
    TooLarge,
    /// The protocol or the connection of an MCP server failed. An error that a tool of the server
    /// reports is a [`ErrorClass::ToolError`].
    McpError,
}

/// The beginnings of results by class, in texts without `Error: ` and tags before them. The agent
/// writes these texts, so they are the same in all projects.
const BEGINNINGS: &[(&str, ErrorClass)] = &[
    ("The user doesn't want to ", ErrorClass::Rejected),
    ("The user rejected ", ErrorClass::Rejected),
    ("User rejected ", ErrorClass::Rejected),
    (
        "Permission for this tool use was denied",
        ErrorClass::Rejected,
    ),
    ("[Request interrupted by user", ErrorClass::Rejected),
    ("Sibling tool call errored", ErrorClass::SiblingFailed),
    ("Cancelled: parallel tool call", ErrorClass::SiblingFailed),
    ("Command timed out after ", ErrorClass::Timeout),
    ("MCP error -32001", ErrorClass::Timeout),
    ("Request timed out", ErrorClass::Timeout),
    ("Permission denied by hook", ErrorClass::HookDenied),
    ("Hook PreToolUse", ErrorClass::HookDenied),
    (
        "Execution stopped by PreToolUse hook",
        ErrorClass::HookDenied,
    ),
    (
        "Claude requested permissions to ",
        ErrorClass::PermissionDenied,
    ),
    ("Permission for this action ", ErrorClass::PermissionDenied),
    (
        "This command requires approval",
        ErrorClass::PermissionDenied,
    ),
    ("File does not exist", ErrorClass::FileNotFound),
    ("Directory does not exist", ErrorClass::FileNotFound),
    ("Path does not exist", ErrorClass::FileNotFound),
    ("ENOENT: ", ErrorClass::FileNotFound),
    ("File has not been read yet", ErrorClass::FileNotRead),
    ("File has been modified since read", ErrorClass::FileNotRead),
    (
        "File has been unexpectedly modified",
        ErrorClass::FileNotRead,
    ),
    ("String to replace not found", ErrorClass::EditMismatch),
    ("No changes to make", ErrorClass::EditMismatch),
    ("InputValidationError", ErrorClass::InvalidInput),
    ("No such tool available", ErrorClass::InvalidInput),
    ("Unknown skill", ErrorClass::InvalidInput),
    ("MCP error -", ErrorClass::McpError),
];

/// The beginnings of results by class, if the first line also contains a second text. Between the
/// two is a name or a number.
const FIRST_LINES: &[(&str, &str, ErrorClass)] = &[
    ("Permission to ", " denied", ErrorClass::PermissionDenied),
    (
        "",
        " was blocked. For security, ",
        ErrorClass::PermissionDenied,
    ),
    ("PreToolUse:", " hook ", ErrorClass::HookDenied),
    ("", " operation blocked by hook", ErrorClass::HookDenied),
    (
        "Found ",
        " matches of the string to replace",
        ErrorClass::EditMismatch,
    ),
    (
        "Skill ",
        " is not a prompt-based skill",
        ErrorClass::InvalidInput,
    ),
    ("Agent type ", " not found", ErrorClass::InvalidInput),
    (
        "File content (",
        " exceeds maximum allowed ",
        ErrorClass::TooLarge,
    ),
    ("MCP server ", " not connected", ErrorClass::McpError),
    ("MCP server ", " disconnected", ErrorClass::McpError),
    (
        "MCP tool ",
        " exceeds maximum allowed ",
        ErrorClass::TooLarge,
    ),
];

impl ErrorClass {
    /// Classifies a failed call by the text of its result.
    pub fn of(text: &str) -> Self {
        let mut text = text.trim_start();
        // Agents write these in either order.
        for mark in ["Error: ", "<tool_use_error>", "Error: "] {
            text = text.strip_prefix(mark).unwrap_or(text);
        }
        let code = text.strip_prefix("Exit code ").unwrap_or_default();
        if code.starts_with(|first: char| first == '-' || first.is_ascii_digit()) {
            let second_line = code.lines().nth(1).unwrap_or_default();
            return if second_line.starts_with("Command timed out after ") {
                Self::Timeout
            } else {
                Self::ExitCode
            };
        }
        let begins = |(beginning, _): &&(&str, Self)| text.starts_with(beginning);
        if let Some((_, class)) = BEGINNINGS.iter().find(begins) {
            return *class;
        }
        let first_line = text.lines().next().unwrap_or_default();
        let fits = |(beginning, further, _): &&(&str, &str, Self)| {
            first_line
                .strip_prefix(beginning)
                .is_some_and(|behind| behind.contains(further))
        };
        let found = FIRST_LINES.iter().find(fits);
        found.map_or(Self::ToolError, |(_, _, class)| *class)
    }

    /// The name in the table.
    pub fn name(self) -> &'static str {
        match self {
            Self::ToolError => "tool_error",
            Self::ExitCode => "exit_code",
            Self::Rejected => "rejected",
            Self::SiblingFailed => "sibling_failed",
            Self::Timeout => "timeout",
            Self::PermissionDenied => "permission_denied",
            Self::HookDenied => "hook_denied",
            Self::FileNotFound => "file_not_found",
            Self::FileNotRead => "file_not_read",
            Self::EditMismatch => "edit_mismatch",
            Self::InvalidInput => "invalid_input",
            Self::TooLarge => "too_large",
            Self::McpError => "mcp_error",
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
                "file_not_found",
            ),
            (
                "Exit code 143\nCommand timed out after 2m 0s\nbuilding",
                "timeout",
            ),
            ("Exit code 1\nwait\nCommand timed out after 2m", "exit_code"),
            ("Error: Command timed out after 30s", "timeout"),
            ("MCP error -32001: Request timed out", "timeout"),
            ("MCP error -32602: Invalid arguments", "mcp_error"),
            ("MCP server \"docs\" is not connected", "mcp_error"),
            (
                "Permission to use Bash with command make has been denied.",
                "permission_denied",
            ),
            (
                "Claude requested permissions to write to /a, but you haven't granted it yet.",
                "permission_denied",
            ),
            (
                "cd in '/b' was blocked. For security, the agent may only change to /a.",
                "permission_denied",
            ),
            (
                "Permission for this action has been denied. Reason: it deletes data",
                "permission_denied",
            ),
            ("Permission to speak", "tool_error"),
            ("Hook PreToolUse:Bash denied this tool", "hook_denied"),
            ("PreToolUse:Edit hook error: [check.sh]: no", "hook_denied"),
            ("Bash operation blocked by hook:\n- no", "hook_denied"),
            ("A note\nBash operation blocked by hook", "tool_error"),
            (
                "ENOENT: no such file or directory, open '/a'",
                "file_not_found",
            ),
            (
                "<tool_use_error>File has not been read yet. Read it first before writing to it.</tool_use_error>",
                "file_not_read",
            ),
            (
                "File has been modified since read, either by the user or by a linter.",
                "file_not_read",
            ),
            (
                "<tool_use_error>String to replace not found in file.\nString: x",
                "edit_mismatch",
            ),
            (
                "<tool_use_error>Found 2 matches of the string to replace, but replace_all is false.",
                "edit_mismatch",
            ),
            (
                "No changes to make: old_string and new_string are exactly the same.",
                "edit_mismatch",
            ),
            (
                "<tool_use_error>InputValidationError: Glob failed due to the following issue:\nx",
                "invalid_input",
            ),
            (
                "<tool_use_error>Error: No such tool available: Ask</tool_use_error>",
                "invalid_input",
            ),
            (
                "<tool_use_error>Unknown skill: a:b</tool_use_error>",
                "invalid_input",
            ),
            (
                "<tool_use_error>Skill a is not a prompt-based skill</tool_use_error>",
                "invalid_input",
            ),
            (
                "Agent type 'a' not found. Available agents: b",
                "invalid_input",
            ),
            (
                "File content (36872 tokens) exceeds maximum allowed tokens (25000).",
                "too_large",
            ),
            (
                "EISDIR: illegal operation on a directory, read",
                "tool_error",
            ),
            ("it says: Exit code 1", "tool_error"),
            ("", "tool_error"),
        ] {
            assert_eq!(ErrorClass::of(text).name(), class, "{text}");
        }
    }
}
