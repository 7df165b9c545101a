//! A model test: shared tables return the same rows as a map, for any upserts and lookups.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::time::Duration;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};
use session_pipeline_harness::{TestPipeline, cases};

use super::{FOUND, REMEMBERS, WORDS, components, find, new_dir, transcript};
use crate::database;

/// An action of the guest in a session.
#[derive(Clone, Debug)]
enum GuestAction {
    Put {
        word: &'static str,
        number: Option<i64>,
        note: Option<&'static str>,
    },
    Find {
        filter: Option<(&'static str, Option<i64>)>,
        by: Option<&'static str>,
        down: bool,
        limit: u32,
    },
}

fn any_action() -> impl Strategy<Value = GuestAction> {
    let put = (
        select(&["a", "b", "c", "d", "e"][..]),
        option::of(0..4_i64),
        option::of(select(&["x", "y", ""][..])),
    )
        .prop_map(|(word, number, note)| GuestAction::Put { word, number, note });
    let filter = (
        select(&["=", "!=", "<", "<=", ">", ">="][..]),
        option::weighted(0.9, 0..4_i64),
    );
    let order = select(&["word", "number", "note", "created_at", "updated_at"][..]);
    let find = (
        option::of(filter),
        option::of(order),
        any::<bool>(),
        0..7_u32,
    )
        .prop_map(|(filter, by, down, limit)| GuestAction::Find {
            filter,
            by,
            down,
            limit,
        });
    prop_oneof![3 => put, 2 => find]
}

fn to_json(action: &GuestAction) -> Value {
    match action {
        GuestAction::Put { word, number, note } => {
            json!({"do": "put", "word": word, "number": number, "note": note})
        }
        GuestAction::Find {
            filter,
            by,
            down,
            limit,
        } => {
            let filter = filter.map(|(comparison, number)| json!(["number", comparison, number]));
            let filters: Vec<Value> = filter.into_iter().collect();
            find(json!({"where": filters, "by": by, "down": down, "limit": limit}))
        }
    }
}

/// A row of the model. Its times are session numbers.
#[derive(Clone, Debug)]
struct Row {
    word: &'static str,
    number: Option<i64>,
    note: Option<&'static str>,
    created: usize,
    updated: usize,
}

/// The expected behavior of shared tables, implemented with a map.
#[derive(Clone, Debug, Default)]
struct Model {
    rows: BTreeMap<&'static str, Row>,
}

impl Model {
    /// Performs an action. Returns the result of a lookup.
    fn apply(&mut self, action: &GuestAction, session: usize) -> Option<String> {
        match *action {
            GuestAction::Put { word, number, note } => {
                let created = self.rows.get(word).map_or(session, |row| row.created);
                let row = Row {
                    word,
                    number,
                    note,
                    created,
                    updated: session,
                };
                self.rows.insert(word, row);
                None
            }
            GuestAction::Find {
                filter,
                by,
                down,
                limit,
            } => {
                let matches = |row: &&Row| match filter {
                    None => true,
                    Some(("=", value)) => row.number == value,
                    Some(("!=", value)) => row.number != value,
                    Some((comparison, value)) => match (row.number, value) {
                        (Some(a), Some(b)) => match comparison {
                            "<" => a < b,
                            "<=" => a <= b,
                            ">" => a > b,
                            _ => a >= b,
                        },
                        _ => false,
                    },
                };
                let mut rows: Vec<&Row> = self.rows.values().filter(matches).collect();
                rows.sort_by(|a, b| {
                    let directed = |order: Ordering| if down { order.reverse() } else { order };
                    let nulls_last = |a: bool, b: bool| a.cmp(&b);
                    match by {
                        None | Some("word") => directed(a.word.cmp(b.word)),
                        Some("number") => nulls_last(a.number.is_none(), b.number.is_none())
                            .then(directed(a.number.cmp(&b.number))),
                        Some("note") => nulls_last(a.note.is_none(), b.note.is_none())
                            .then(directed(a.note.cmp(&b.note))),
                        Some("created_at") => directed(a.created.cmp(&b.created)),
                        Some(_) => directed(a.updated.cmp(&b.updated)),
                    }
                });
                let words = rows.iter().take(limit as usize).map(|row| row.word);
                Some(words.collect::<Vec<_>>().join(" "))
            }
        }
    }

    fn rows(&self) -> Vec<String> {
        fn cell<T: ToString>(value: Option<T>) -> String {
            value.map_or_else(|| "-".to_owned(), |value| value.to_string())
        }
        let rows = self.rows.values();
        rows.map(|row| format!("{} | {} | {}", row.word, cell(row.number), cell(row.note)))
            .collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]

    #[test]
    fn invariant_shared_tables_and_lookups_behave_like_a_map(
        sessions in vec((vec(any_action(), 1..12), any::<bool>()), 1..6),
    ) {
        let dir = new_dir();
        let pipeline = TestPipeline::open(&dir, &components());
        let mut model = Model::default();
        let mut expected = Vec::new();
        for (number, (actions, fails)) in sessions.iter().enumerate() {
            let mut lines: Vec<Value> = actions.iter().map(to_json).collect();
            if *fails {
                lines.push(json!({"do": "fail"}));
            }
            dir.clock().advance(Duration::from_secs(1));
            dir.write(&format!("ada/{number}.jsonl"), transcript(&lines));
            let mut after = model.clone();
            let found: Vec<String> =
                actions.iter().filter_map(|action| after.apply(action, number)).collect();
            if !fails {
                model = after;
                expected.extend(found);
            }
            pipeline.run(REMEMBERS);
            // The next run would retry the failed session.
            if *fails {
                dir.delete(&format!("ada/{number}.jsonl"));
            }
        }
        drop(pipeline);
        prop_assert_eq!(database::rows(&dir, WORDS), model.rows());
        prop_assert_eq!(database::rows(&dir, FOUND), expected);
    }
}
