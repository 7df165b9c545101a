//! Pages and growth: pages do not depend on their size, nor on how often the index was extended.

use proptest::prelude::*;
use session_pipeline_harness::strategies::{unknown_event_transcript, valid_transcript};
use session_pipeline_harness::{DataDir, cases};
use session_pipeline_pipeline::transcript::TranscriptEntry;

use super::{KEY, marks, page, whole, without_results};
use crate::http::TestServer;

/// All entries, read in pages of a size.
fn all(server: &TestServer, key: &str, limit: u32) -> Vec<TranscriptEntry> {
    let mut entries = Vec::new();
    let mut after = 0;
    loop {
        let page = page(server, key, after, limit);
        assert!(page.entries.len() <= limit as usize);
        entries.extend(page.entries);
        match page.next {
            Some(next) => {
                assert!(next > after, "the page after {after} leads back to {next}");
                after = next;
            }
            None => return entries,
        }
    }
}

fn transcript() -> impl Strategy<Value = Vec<u8>> {
    let any = prop::collection::vec(any::<u8>(), 0..400);
    let parts = prop_oneof![4 => valid_transcript(), 2 => unknown_event_transcript(), 1 => any];
    prop::collection::vec(parts, 1..5).prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]

    #[test]
    fn invariant_pages_of_any_size_are_the_whole_transcript(bytes in transcript(), limit in 1u32..20) {
        let dir = DataDir::new();
        dir.write(KEY, &bytes);
        let server = TestServer::start(&dir, &[]);
        let expected = whole(&server, KEY).entries;
        let lines: Vec<u64> = expected.iter().map(|entry| entry.line).collect();
        prop_assert_eq!(lines, (1..=expected.len() as u64).collect::<Vec<_>>());
        prop_assert_eq!(all(&server, KEY, limit), expected);
    }

    #[test]
    fn invariant_the_index_of_a_growing_file_equals_one_from_scratch(
        bytes in transcript(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 1..6),
    ) {
        let dir = DataDir::new();
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        cuts.sort_unstable();
        cuts.push(bytes.len());
        dir.write(KEY, b"");
        let server = TestServer::start(&dir, &[]);
        let mut from = 0;
        let mut before: Vec<TranscriptEntry> = Vec::new();
        for to in cuts {
            dir.append(KEY, &bytes[from..to]);
            from = to;
            let after = all(&server, KEY, 7);
            // The last line was possibly incomplete.
            let settled = before.len().saturating_sub(1);
            prop_assert_eq!(
                without_results(&after[..settled]),
                without_results(&before[..settled])
            );
            before = after;
        }
        dir.write("ada/scratch.jsonl", &bytes);
        prop_assert_eq!(before, whole(&server, "ada/scratch.jsonl").entries);
        let mut grown = marks(&server, KEY);
        grown.session = "ada/scratch.jsonl".to_owned();
        prop_assert_eq!(grown, marks(&server, "ada/scratch.jsonl"));
    }
}
