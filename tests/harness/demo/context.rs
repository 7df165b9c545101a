//! The context of a conversation, and how its tokens are paid.

use session_pipeline_host::clock::UtcMicros;

use super::calendar::SECOND;
use super::random::{Random, Spread};

/// The agent compacts a longer conversation.
const FULL: u64 = 172_000;

/// The part of the prompt that all sessions share: the system prompt and the tools. Other sessions
/// keep it in the cache.
const SHARED: u64 = 18_400;

/// The tokens of a response.
const OUTPUT: Spread = [38, 90, 170, 340, 780, 1_900, 4_200, 11_000];

/// The token counts of a response, as the API reports them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct TokenUse {
    pub(super) input: u64,
    pub(super) output: u64,
    pub(super) cache_read: u64,
    pub(super) written_5m: u64,
    pub(super) written_1h: u64,
}

impl TokenUse {
    /// Adds the counts of another response.
    pub(super) fn add(&mut self, other: &Self) {
        self.input += other.input;
        self.output += other.output;
        self.cache_read += other.cache_read;
        self.written_5m += other.written_5m;
        self.written_1h += other.written_1h;
    }

    /// All tokens of the prompt.
    pub(super) fn prompt(&self) -> u64 {
        self.input + self.cache_read + self.written_5m + self.written_1h
    }
}

/// The context of one agent.
#[derive(Clone, Debug)]
pub(super) struct Context {
    cached: u64,
    /// What the next request adds.
    added: u64,
    has_long_cache: bool,
    used_at: Option<UtcMicros>,
}

impl Context {
    /// An empty conversation. The first prompt also has the instructions of the project.
    pub(super) fn new(random: &mut Random, has_long_cache: bool) -> Self {
        Self {
            cached: 0,
            added: random.between(4_000, 22_000),
            has_long_cache,
            used_at: None,
        }
    }

    /// Adds text: a prompt, or the result of a tool.
    pub(super) fn add(&mut self, tokens: u64) {
        self.added += tokens;
    }

    /// Whether the agent must compact the conversation before the next request.
    pub(super) fn is_full(&self) -> bool {
        self.size() > FULL
    }

    /// The size of the next prompt.
    pub(super) fn size(&self) -> u64 {
        self.cached.max(SHARED) + self.added
    }

    /// Replaces the conversation by a summary.
    pub(super) fn compact(&mut self, random: &mut Random) {
        self.cached = 0;
        self.added = random.between(9_000, 21_000);
    }

    /// Continues with another model, whose cache is empty.
    pub(super) fn switch_model(&mut self) {
        self.added += self.cached.saturating_sub(SHARED);
        self.cached = 0;
        self.used_at = None;
    }

    /// The tokens of the next response.
    pub(super) fn respond(&mut self, random: &mut Random, now: UtcMicros) -> TokenUse {
        let lifetime = if self.has_long_cache { 3_600 } else { 300 };
        let pause = self.used_at.map_or(0, |at| (now.0 - at.0) / SECOND);
        let is_expired = pause > lifetime;
        // For example, because an MCP server came back with other tools.
        let is_changed = self.cached > 40_000 && random.per_mille(4);
        let cache_read = match self.cached == 0 || is_expired || is_changed {
            true => SHARED,
            false => self.cached,
        };
        let written = self.cached.max(SHARED) - cache_read + self.added;
        let output = random.spread(&OUTPUT);
        self.cached = cache_read + written;
        // The response is part of the next prompt.
        self.added = output;
        self.used_at = Some(now);
        TokenUse {
            input: random.between(1, 9),
            output,
            cache_read,
            written_5m: if self.has_long_cache { 0 } else { written },
            written_1h: if self.has_long_cache { written } else { 0 },
        }
    }
}
