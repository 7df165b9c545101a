//! Takes the requests of agents other than Claude Code.

use std::borrow::Cow;

use session_pipeline_processor::activity::{Origin, Request};

use crate::causes::{Causes, Source};
use crate::messages::matching::RecordIds;
use crate::messages::{Messages, Sighting, TokenCounts};
use crate::place::Place;
use crate::strings::{Span, Strings};

/// What an item does not say about its session.
#[derive(Clone, Copy, Debug, Default)]
pub struct SessionCauses {
    /// The program that runs the agent.
    pub entrypoint: Option<Span>,
    /// Whether a program, and not a person, runs the session.
    pub is_automated: bool,
}

impl Messages {
    /// Adds a request. Returns its number.
    pub fn add_request<'a>(
        &mut self,
        strings: &mut Strings,
        place: &Place<'a>,
        origin: &Origin<'a>,
        request: &Request<'a>,
        session: SessionCauses,
    ) -> usize {
        let source = if origin.is_sidechain {
            Source::Subagent
        } else {
            Source::Main
        };
        let causes = Causes {
            source,
            is_automated: session.is_automated,
            agent_id: strings.intern_text(origin.agent_id),
            agent_type: strings.intern_text(origin.agent_type),
            effort: strings.intern_text(request.effort),
            entrypoint: session.entrypoint,
            ..Causes::default()
        };
        let sighting = Sighting {
            ids: RecordIds {
                place,
                uuid: None,
                message_id: Some(Cow::Borrowed(request.message_id)),
                is_unique: true,
                request_id: Some(Cow::Borrowed(request.request_id)),
                key: Some(Cow::Owned(key(request))),
                tokens: request.tokens,
            },
            model: request.model,
            speed: request.speed,
            counts: TokenCounts::of(&request.tokens),
            requests: None,
            is_divided: false,
            is_sidechain: origin.is_sidechain,
            is_final: request.is_final,
            is_compaction: false,
            stop_reason: request.stop_reason.map(|reason| reason.decode()),
            web_searches: 0,
            causes,
            provider: request.provider,
            request_count: request.count,
        };
        self.add_sighting(strings, &sighting)
    }
}

/// The identity of a request across files.
fn key(request: &Request<'_>) -> String {
    format!("{}/{}", request.message_id, request.request_id)
}
