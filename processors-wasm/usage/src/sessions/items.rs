//! Takes the items of agents other than Claude Code.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use session_pipeline_processor::activity::{Item, Origin, Unrecorded};
use session_pipeline_processor::json::{JsonText, Text};

use crate::messages::SessionCauses;
use crate::sessions::Counts;
use crate::strings::{Span, Strings};
use crate::titles::title;

/// What items say about the session.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct ItemFacts {
    pub(super) title: Option<Span>,
    pub(super) parent_session: Option<Span>,
    pub(super) entrypoint: Option<Span>,
    pub(super) is_automated: bool,
    pub(super) plan: Option<Span>,
    pub(super) prompts: u64,
    pub(super) compactions: u64,
    /// Items of sub-agents.
    pub(super) sidechain_items: u64,
    prompt_title: Option<Span>,
    unrecorded: BTreeMap<Unrecorded, u64>,
}

impl Counts {
    /// Processes an item.
    pub fn add_item(&mut self, strings: &mut Strings, origin: &Origin<'_>, item: &Item<'_>) {
        let mut first = |known: &mut Option<Span>, text: Option<Text<'_>>| {
            if known.is_none() {
                *known = strings.intern_text(text);
            }
        };
        first(&mut self.session_id, origin.session_id);
        first(&mut self.agent_version, origin.agent_version);
        first(&mut self.cwd, origin.cwd);
        first(&mut self.git_branch, origin.git_branch);
        if let Some(time) = origin.time {
            self.activity.add(time);
        }
        let facts = &mut self.facts;
        match item {
            Item::Session(stated) => {
                let mut latest = |known: &mut Option<Span>, text: Option<Text<'_>>| {
                    *known = strings.intern_text(text).or(*known);
                };
                latest(&mut facts.parent_session, stated.parent_session);
                latest(&mut facts.entrypoint, stated.entrypoint);
                latest(&mut facts.plan, stated.plan);
                let title = stated.title.and_then(|text| title(strings, &text.decode()));
                facts.title = title.or(facts.title);
                facts.is_automated = stated.is_automated.unwrap_or(facts.is_automated);
            }
            Item::Prompt(prompt) => {
                facts.prompts += 1;
                if facts.prompt_title.is_none() {
                    facts.prompt_title = title(strings, prompt.text);
                    self.titles.set_prompt(facts.prompt_title);
                }
                self.user_messages += 1;
            }
            Item::Command(_) => self.user_messages += 1,
            Item::Answer(_) => self.assistant_messages += 1,
            Item::Result(_) => self.tool_results += 1,
            Item::Compaction => facts.compactions += 1,
            Item::Unrecorded(reason) => *facts.unrecorded.entry(*reason).or_default() += 1,
            _ => {}
        }
        // A sub-agent's file can contain only requests.
        let is_activity = matches!(
            item,
            Item::Prompt(_)
                | Item::Command(_)
                | Item::Answer(_)
                | Item::Result(_)
                | Item::Request(_)
                | Item::Call(_)
        );
        self.main_messages += u64::from(is_activity && !origin.is_sidechain);
        facts.sidechain_items += u64::from(is_activity && origin.is_sidechain);
    }

    /// What messages need to know about the session.
    pub fn session_causes(&self) -> SessionCauses {
        SessionCauses {
            entrypoint: self.facts.entrypoint,
            is_automated: self.facts.is_automated,
        }
    }
}

impl ItemFacts {
    /// How often tokens were spent that the agent did not record.
    pub(super) fn unrecorded_requests(&self) -> u64 {
        self.unrecorded.values().sum()
    }

    /// The reasons, as a JSON object. `None` if there are none.
    pub(super) fn unrecorded_usage(&self) -> Option<JsonText> {
        if self.unrecorded.is_empty() {
            return None;
        }
        let reasons = self.unrecorded.iter();
        let reasons = reasons.map(|(reason, count)| format!("\"{}\":{count}", reason.name()));
        JsonText::new(format!("{{{}}}", reasons.collect::<Vec<_>>().join(",")))
    }
}
