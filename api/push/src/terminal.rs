//! Output, and questions to a person.

use std::io::{self, BufRead as _, IsTerminal as _, Read as _, Write as _};

use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};

/// Maximum length of an answer.
const ANSWER_BYTES_MAX: u64 = 4096;

/// Prints to standard output. Failures are ignored, because the reader may be gone.
pub fn print(text: &str) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(text.as_bytes());
    let _ = out.flush();
}

/// Prints an error or a note to standard error.
pub fn note(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Asks for a confirmation. `false` if standard input is not a terminal.
pub fn confirm(question: &str) -> bool {
    if !io::stdin().is_terminal() {
        return false;
    }
    print(&format!("{question} [y/N] "));
    let answer = read_line().unwrap_or_default();
    matches!(answer.trim(), "y" | "Y" | "yes")
}

/// Asks for a secret, and hides it on a terminal.
///
/// # Errors
/// Standard input cannot be read.
pub fn secret(question: &str) -> io::Result<String> {
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        return read_line();
    }
    print(question);
    let before = tcgetattr(&stdin)?;
    let mut hidden = before.clone();
    hidden.local_modes.remove(LocalModes::ECHO);
    tcsetattr(&stdin, OptionalActions::Flush, &hidden)?;
    let answer = read_line();
    tcsetattr(&stdin, OptionalActions::Flush, &before)?;
    print("\n");
    answer
}

fn read_line() -> io::Result<String> {
    let mut line = String::new();
    io::stdin()
        .lock()
        .take(ANSWER_BYTES_MAX)
        .read_line(&mut line)?;
    Ok(line)
}
