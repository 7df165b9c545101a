//! Finds existing items that say the same in other words.

use std::collections::BTreeMap;

use session_pipeline_processor::json::JsonText;

use super::Knowledge;
use super::alike::{Overlap, SAME_LINE, STRONGLY, WITH_ENTITIES, Wording};
use crate::tables::{APPROVED, Item, REJECTED};
use crate::verification::Verification;

/// Maximum number of a domain's items that are sorted by age to choose the oldest.
const AGES_MAX: u32 = 500;
/// Maximum number of rejected items that a statement is compared with, the newest first.
const REJECTED_MAX: u32 = 500;

impl Knowledge<'_, '_> {
    /// The earlier statement of this session that says the same in other words: a person repeats a
    /// statement, or a model words it differently after the session has grown. A statement with a
    /// different number or negation is a different one.
    pub(super) fn said_before(&self, found: &Verification) -> Result<Option<Item>, String> {
        let wording = Wording::of(&found.title, &found.content);
        let own = self.candidates().equal("source_ref", self.session_id());
        let items = own.rows()?;
        let is_same = |item: &Item| {
            let other = Wording::of(&item.title, &item.content);
            item.domain == found.domain
                && wording.agrees(&other)
                && wording.is_alike(&other, STRONGLY)
        };
        // Take the oldest. The newest come first.
        Ok(items.into_iter().rev().find(is_same))
    }

    /// The rejected item that says the same in other words. So that a person does not have to reject
    /// it again, a statement of the same line needs less similarity: a model words it differently
    /// each time.
    pub(super) fn rejected_before(&self, found: &Verification) -> Result<Option<Item>, String> {
        let wording = Wording::of(&found.title, &found.content);
        let rejected = self.session.lookup::<Item>().equal("status", REJECTED);
        let items = rejected.newest_first().limit(REJECTED_MAX).rows()?;
        let place = found.source.place();
        Ok(items.into_iter().find(|item| {
            let other = Wording::of(&item.title, &item.content);
            let is_same_line = item.source_ref == self.session_id()
                && item.source_place.as_deref() == Some(place.as_str());
            let threshold = if is_same_line { SAME_LINE } else { STRONGLY };
            wording.agrees(&other) && wording.is_alike(&other, threshold)
        }))
    }

    /// The existing item of any session that says the same in other words.
    pub(super) fn known_alike(&self, found: &Verification) -> Result<Option<Item>, String> {
        let wording = Wording::of(&found.title, &found.content);
        let Some(domain) = &found.domain else {
            return Ok(None);
        };
        if !wording.is_long_enough() {
            return Ok(None);
        }
        let is_alike = |item: &Item, threshold| {
            wording.is_alike(&Wording::of(&item.title, &item.content), threshold)
        };
        let sharing = self.sharing_entities("", found)?.into_iter();
        let mut kept: Vec<Item> = sharing
            .map(|(item, _)| item)
            .filter(|item| is_alike(item, WITH_ENTITIES))
            .collect();
        if kept.is_empty() {
            let candidates = self.candidates().equal("domain", domain.as_str()).rows()?;
            kept = candidates;
            kept.retain(|item| is_alike(item, STRONGLY));
        }
        self.choose(kept)
    }

    /// Other items of the same domain that could say the same, by id, with the share of names that
    /// both have, or else with the similarity of their wording.
    pub(super) fn likely_duplicates(
        &self,
        id: &str,
        found: &Verification,
    ) -> Result<BTreeMap<String, f64>, String> {
        let mut duplicates = BTreeMap::new();
        let Some(domain) = found.domain.as_deref() else {
            return Ok(duplicates);
        };
        let wording = Wording::of(&found.title, &found.content);
        for item in self.candidates().equal("domain", domain).rows()? {
            let other = Wording::of(&item.title, &item.content);
            if item.id != id && wording.is_alike(&other, WITH_ENTITIES) {
                duplicates.insert(item.id, wording.similarity(&other));
            }
        }
        for (item, overlap) in self.sharing_entities(id, found)? {
            duplicates.insert(item.id, overlap.jaccard());
        }
        Ok(duplicates)
    }

    /// Other items of the same domain that name enough of the same things.
    pub(super) fn sharing_entities(
        &self,
        id: &str,
        found: &Verification,
    ) -> Result<Vec<(Item, Overlap)>, String> {
        let Some(domain) = found
            .domain
            .as_deref()
            .filter(|_| !found.entities.is_empty())
        else {
            return Ok(Vec::new());
        };
        let candidates = self
            .candidates()
            .equal("domain", domain)
            .not_equal("entities", None::<JsonText>);
        let overlap = |item: Item| {
            let overlap = Overlap::of(&found.entities, &item.entities());
            (item, overlap)
        };
        let items = candidates.rows()?.into_iter().filter(|item| item.id != id);
        Ok(items
            .map(overlap)
            .filter(|(_, overlap)| overlap.is_telling())
            .collect())
    }

    /// Chooses among several items: approved items first, then binding items, then the oldest, then
    /// the smallest id.
    fn choose(&self, mut kept: Vec<Item>) -> Result<Option<Item>, String> {
        let rank = |item: &Item| (item.status != APPROVED, !item.is_required);
        let Some(best) = kept.iter().map(rank).min() else {
            return Ok(None);
        };
        kept.retain(|item| rank(item) == best);
        kept.sort_by(|a, b| a.id.cmp(&b.id));
        if kept.len() > 1 {
            let oldest = self
                .session
                .lookup::<Item>()
                .equal("domain", kept[0].domain.clone())
                .equal("status", kept[0].status.as_str())
                .order_by("created_at")
                .limit(AGES_MAX)
                .rows()?;
            let age = |item: &Item| {
                oldest
                    .iter()
                    .position(|old| old.id == item.id)
                    .unwrap_or(usize::MAX)
            };
            kept.sort_by_key(age);
        }
        Ok(kept.into_iter().next())
    }
}
