//! Knowledge as it is shown: redacted again.
//!
//! Stored rows are already redacted, but the rules could have become stricter since.

use session_pipeline_host::redaction::KnownSecrets;

use crate::knowledge::{KnowledgeItem, KnowledgeItemDetails};

/// Redacts an item.
pub(super) fn item(item: KnowledgeItem) -> KnowledgeItem {
    let known = learned(&item, &[]);
    item_by(&known, item)
}

/// Redacts an item with its evidence and relations.
pub(super) fn all(shown: KnowledgeItemDetails) -> KnowledgeItemDetails {
    let quotes: Vec<&str> = shown
        .evidence
        .iter()
        .map(|evidence| evidence.quote.as_str())
        .collect();
    let known = learned(&shown.item, &quotes);
    let mut shown = KnowledgeItemDetails {
        item: item_by(&known, shown.item),
        ..shown
    };
    for evidence in &mut shown.evidence {
        evidence.quote = known.clean(&evidence.quote);
        let said = evidence.assistant_quote.as_deref();
        evidence.assistant_quote = said.map(|text| known.clean(text));
    }
    for tie in &mut shown.ties {
        tie.title = known.clean(&tie.title);
        tie.content = known.clean(&tie.content);
        if let Some(suggestion) = &mut tie.suggestion {
            let texts = [
                &mut suggestion.justification,
                &mut suggestion.merged_content,
            ];
            for text in texts {
                *text = text.as_deref().map(|text| known.clean(text));
            }
        }
        tie.explanation = tie.explanation.as_deref().map(|text| known.clean(text));
    }
    shown
}

fn learned(item: &KnowledgeItem, others: &[&str]) -> KnownSecrets {
    let mut known = KnownSecrets::default();
    for text in [item.title.as_str(), item.content.as_str()]
        .iter()
        .chain(others)
    {
        known.learn(text);
    }
    known
}

fn item_by(known: &KnownSecrets, item: KnowledgeItem) -> KnowledgeItem {
    KnowledgeItem {
        title: known.clean(&item.title),
        content: known.clean(&item.content),
        entities: item.entities.as_deref().map(|text| known.clean_json(text)),
        reason: item.reason.as_deref().map(|text| known.clean(text)),
        ..item
    }
}
