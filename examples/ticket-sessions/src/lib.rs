//! Lists the tickets that a session is about, so that sessions can be found by ticket id.
//!
//! It finds ticket ids in prompts (`fix PAY-1042`) and in the name of the git branch
//! (`feature/pay-1042-retries`). By default, it finds every id of the form `LETTERS-DIGITS`, except
//! names of standards such as `UTF-8`. The setting `projects` (`"PAY,OPS"`) restricts it to some
//! projects.

use session_pipeline_processor::transcript::prompts::{is_prompt, typed_text};
use session_pipeline_processor::{
    Manifest, Processor, Session, Settings, Summary, Timestamp, export, rows,
};

/// Increase this when the same transcript produces different rows than before.
pub const VERSION: u32 = 1;

/// Prefixes that look like project names, but are names of standards.
const STANDARDS: [&str; 8] = ["AES", "CVE", "HTTP", "ISO", "RFC", "SHA", "TLS", "UTF"];
const PROJECT_CHARS_MAX: usize = 10;
const NUMBER_DIGITS_MAX: usize = 8;

rows! {
    /// A mention of a ticket.
    pub struct Mention in "mentions" {
        line: u64,
        ticket: String,
        /// `prompt` or `branch`.
        place: String,
        mentioned_at: Option<Timestamp>,
    }
}

/// Finds mentions of tickets.
pub struct TicketSessions;

export!(TicketSessions);

impl Processor for TicketSessions {
    fn manifest(_: &Settings) -> Result<Manifest, String> {
        let description = "Lists the tickets that users and branches mention.";
        Ok(Manifest::new("ticket-sessions", VERSION, description).table::<Mention>())
    }

    fn process(session: &Session<'_>) -> Result<Summary, String> {
        let projects = Projects::of(session.settings());
        let mut mentions = session.table::<Mention>();
        let mut branch = String::new();
        let mut count = 0;
        session.transcript().for_each(|line, entry| {
            let mut mention = |ticket: String, place: &str| {
                mentions.insert(Mention {
                    line,
                    ticket,
                    place: place.to_owned(),
                    mentioned_at: entry.timestamp,
                });
                count += 1;
            };
            // Every line contains the branch. Only a change of the branch is a mention.
            if let Some(name) = entry.git_branch.filter(|name| *name != branch.as_str()) {
                branch = name.decode().into_owned();
                for ticket in tickets(&branch.to_ascii_uppercase(), &projects) {
                    mention(ticket, "branch");
                }
            }
            if is_prompt(entry) {
                for ticket in tickets(&typed_text(entry.says()), &projects) {
                    mention(ticket, "prompt");
                }
            }
        });
        Ok(Summary::items(count))
    }
}

/// The projects whose tickets are found.
pub enum Projects {
    /// All projects, except names of standards.
    All,
    /// Only these projects.
    Only(Vec<String>),
}

impl Projects {
    fn of(settings: &Settings) -> Self {
        match settings.get("projects") {
            Some(list) => Self::Only(list.split(',').map(|name| name.trim().to_owned()).collect()),
            None => Self::All,
        }
    }

    fn has(&self, project: &str) -> bool {
        match self {
            Self::All => !STANDARDS.contains(&project),
            Self::Only(names) => names.iter().any(|name| name == project),
        }
    }
}

/// Returns the ticket ids in a text, without duplicates, in order of first mention.
pub fn tickets(text: &str, projects: &Projects) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for word in text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-') {
        let mut rest = word;
        while let Some((project, after)) = rest.split_once('-') {
            rest = after;
            let number = after.split('-').next().unwrap_or_default();
            let id = format!("{project}-{number}");
            if is_project(project)
                && is_number(number)
                && projects.has(project)
                && !found.contains(&id)
            {
                found.push(id);
            }
        }
    }
    found
}

fn is_project(text: &str) -> bool {
    (2..=PROJECT_CHARS_MAX).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_uppercase())
        && text
            .bytes()
            .all(|c| c.is_ascii_uppercase() || c.is_ascii_digit())
}

fn is_number(text: &str) -> bool {
    (1..=NUMBER_DIGITS_MAX).contains(&text.len()) && text.bytes().all(|c| c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_a_project_and_a_number() {
        let text = "Fix PAY-1042 (see OPS2-7), not pay-3, A-1, PAY-x or UTF-8. Again PAY-1042!";
        assert_eq!(tickets(text, &Projects::All), ["PAY-1042", "OPS2-7"]);
    }

    #[test]
    fn a_branch_name_can_continue_after_the_id() {
        assert_eq!(
            tickets("FEATURE/PAY-1042-RETRIES", &Projects::All),
            ["PAY-1042"]
        );
        assert_eq!(tickets("FIX-PAY-1042", &Projects::All), ["PAY-1042"]);
    }

    #[test]
    fn a_list_of_projects_excludes_all_others() {
        let projects = Projects::Only(vec!["OPS".to_owned()]);
        assert_eq!(tickets("PAY-1 OPS-2", &projects), ["OPS-2"]);
    }
}
