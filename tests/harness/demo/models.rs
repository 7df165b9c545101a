//! The models that the sessions use, and how newer ones replace older ones.

use super::random::Random;
use super::team::Person;

/// A model that no price table contains: a team runs it itself.
pub const UNPRICED_MODEL: &str = "northwind-coder-2-70b";

/// A model.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Model {
    /// The name in transcripts.
    pub(super) id: &'static str,
    /// Millionths of a dollar per thousand tokens: input, output, cache reads, and cache writes for
    /// five minutes and for one hour. `None`: the agent does not know them.
    ///
    /// The agent counts with its own prices. The demo needs them only for that, see `cost-state`.
    pub(super) rates: Option<[u64; 5]>,
}

const OPUS_OLD: Model = model("claude-opus-5", [5_000, 25_000, 500, 6_250, 10_000]);
const OPUS: Model = model("claude-opus-5-5", [4_000, 20_000, 200, 5_000, 8_000]);
const SONNET_OLD: Model = model("claude-sonnet-5", [2_000, 10_000, 200, 2_500, 4_000]);
const SONNET: Model = model("claude-sonnet-5-5", [2_000, 10_000, 100, 2_500, 4_000]);
const HAIKU_OLD: Model = model(
    "claude-haiku-4-5-20251001",
    [1_000, 5_000, 100, 1_250, 2_000],
);
const HAIKU: Model = model("claude-haiku-5-5", [100, 500, 10, 125, 200]);
const FABLE: Model = model("claude-fable-5-1", [10_000, 50_000, 250, 12_500, 20_000]);
const OWN: Model = Model {
    id: UNPRICED_MODEL,
    rates: None,
};

const fn model(id: &'static str, rates: [u64; 5]) -> Model {
    Model {
        id,
        rates: Some(rates),
    }
}

/// A family of models.
#[derive(Debug)]
pub(super) struct Family {
    /// The name that `/model` takes.
    pub(super) name: &'static str,
    old: &'static Model,
    new: &'static Model,
    /// When people begin to switch to the new model and when most have, in per mille of the period.
    switch: [u64; 2],
}

/// All families. [`Person::models`] has the weights.
pub(super) const FAMILIES: [Family; 5] = [
    Family {
        name: "opus",
        old: &OPUS_OLD,
        new: &OPUS,
        switch: [230, 480],
    },
    Family {
        name: "sonnet",
        old: &SONNET_OLD,
        new: &SONNET,
        switch: [300, 600],
    },
    Family {
        name: "haiku",
        old: &HAIKU_OLD,
        new: &HAIKU,
        switch: [400, 560],
    },
    Family {
        name: "fable",
        old: &FABLE,
        new: &FABLE,
        switch: [0, 1],
    },
    Family {
        name: "own",
        old: &OWN,
        new: &OWN,
        switch: [0, 1],
    },
];

const OPUS_FAMILY: usize = 0;
const SONNET_FAMILY: usize = 1;
const HAIKU_FAMILY: usize = 2;

/// The model of a session that begins at this part of the period.
pub(super) fn of_session(random: &mut Random, person: &Person, elapsed: u64) -> &'static Model {
    let mut weights = person.models;
    // A new generation wins over people who used a smaller model.
    weights[OPUS_FAMILY] += weights[OPUS_FAMILY] * elapsed / 1_800;
    let family = random.weighted(&weights);
    FAMILIES[family].model(random, elapsed)
}

/// The small model, for searches.
pub(super) fn small(random: &mut Random, elapsed: u64) -> &'static Model {
    FAMILIES[HAIKU_FAMILY].model(random, elapsed)
}

/// Another model than this one to switch to, with the name of its family.
pub(super) fn another(
    random: &mut Random,
    model: &Model,
    elapsed: u64,
) -> (&'static str, &'static Model) {
    let is_opus = [OPUS.id, OPUS_OLD.id].contains(&model.id);
    let family = &FAMILIES[if is_opus { SONNET_FAMILY } else { OPUS_FAMILY }];
    (family.name, family.model(random, elapsed))
}

impl Family {
    fn model(&self, random: &mut Random, elapsed: u64) -> &'static Model {
        let [begin, end] = self.switch;
        let progress = elapsed.saturating_sub(begin) * 100 / (end - begin);
        match random.percent(progress.min(97)) && elapsed >= begin {
            true => self.new,
            false => self.old,
        }
    }
}
