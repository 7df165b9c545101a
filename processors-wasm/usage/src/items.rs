//! Takes the items of agents other than Claude Code into the tables.
//!
//! The SDK reads their formats ([`session_pipeline_processor::activity`]), so nothing here depends
//! on a format. `agent_runs` has no rows for them, because no item has that data. `waste` has what
//! the tokens of requests show, and compares the requests of an agent in their order. No item
//! connects a call with its request, so that repeated calls have no waste.

use session_pipeline_processor::activity::{Item, Origin};

use crate::Gathered;
use crate::agents::Agents;
use crate::events::Caller;

impl Gathered {
    /// Processes an item.
    pub fn add_item(&mut self, origin: &Origin<'_>, item: &Item<'_>) {
        let strings = &mut self.strings;
        let place = self.places.enter_item(origin);
        self.counts.add_item(strings, origin, item);
        let unknown = match item {
            Item::Unknown(name) => Some(*name),
            _ => None,
        };
        self.unknown_kinds
            .add_kind(strings, &place, origin.agent_version, unknown);
        let agent = Agents::sub_agent(strings, origin.agent_id).unwrap_or_default();
        match item {
            Item::Request(request) => {
                let session = self.counts.session_causes();
                let at = self
                    .messages
                    .add_request(strings, &place, origin, request, session);
                // A sum of several requests has no context.
                if request.count > 0 {
                    self.agents.add_embedded(Some(agent), at, false);
                }
            }
            // The session of the original has it too.
            Item::Reported(reported) if !origin.is_replayed => {
                let totals = &mut self.metadata.agent_totals;
                totals.add_reported(strings, &place, reported);
            }
            Item::Call(call) => {
                // The response is not known, because no item connects it with its calls.
                let caller = Caller {
                    agent: Some(agent),
                    ..Caller::default()
                };
                self.events
                    .add_item_call(strings, &place, origin, call, caller);
            }
            Item::Result(result) => self.events.add_item_result(strings, &place, origin, result),
            Item::Command(name) => self.events.add_item_command(strings, &place, origin, *name),
            _ => {}
        }
    }
}
