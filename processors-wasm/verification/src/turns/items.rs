//! The conversation of a session of any agent, by its items.

use session_pipeline_processor::activity::{Item, Origin};

use super::conversation::Collector;
use super::{Role, Turn, TurnPlace, join_paragraphs};

impl Collector {
    /// Adds an item.
    pub(super) fn add_item(&mut self, origin: &Origin<'_>, item: &Item<'_>) {
        self.note_origin(origin.time, origin.cwd);
        if self.session_id.is_none() {
            let id = origin.session_id.filter(|id| !id.is_empty());
            self.session_id = id.map(|id| id.decode().into_owned());
        }
        // The file of the other session has the turns of a history. What was said in it can be
        // pasted here nevertheless.
        let is_turn = !origin.is_sidechain && !origin.is_replayed;
        let place = TurnPlace {
            line: origin.line,
            uuid: None,
            at: origin.time,
            branch: origin.git_branch,
        };
        match item {
            Item::Prompt(prompt) if is_turn => {
                if let Some(turn) = Turn::said(Role::User, prompt.text, place) {
                    self.hear(turn);
                }
            }
            Item::Answer(text) => {
                let text = text.decode();
                self.repeats.remember(&text);
                if is_turn {
                    self.answer(&text, place);
                }
            }
            Item::Result(result) => {
                if let Some(text) = result.text {
                    self.repeats.remember(&text.decode());
                }
            }
            _ => {}
        }
    }

    /// Sets the last words of the model. The texts of one line are one turn.
    fn answer(&mut self, text: &str, place: TurnPlace<'_>) {
        let line = place.line;
        let Some(mut turn) = Turn::said(Role::Assistant, text, place) else {
            return;
        };
        if let Some(before) = self.last_words.take().filter(|before| before.line == line) {
            let joined = join_paragraphs(&[&before.text, &turn.text]);
            turn = Turn::said(Role::Assistant, &joined, place).unwrap_or(turn);
        }
        self.last_words = Some(turn);
    }
}
