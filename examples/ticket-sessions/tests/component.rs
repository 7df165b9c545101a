//! Runs the component in the host as in production, and checks its rows, its memory and the laws of
//! the contract.

use std::sync::LazyLock;

use session_pipeline_harness::conformance::{Options, verify};
use session_pipeline_harness::{Guest, component};
use session_pipeline_host::limits::Limits;

static COMPONENT: LazyLock<Vec<u8>> =
    LazyLock::new(|| component::build(env!("CARGO_MANIFEST_DIR")));
const SESSION: &[u8] = include_bytes!("session.jsonl");

#[test]
fn tickets_in_prompts_and_branches_become_rows() {
    let extracted = Guest::load(&COMPONENT).extract(SESSION);
    assert_eq!(
        extracted.rows("mentions", "line ticket place mentioned_at"),
        [
            "1 | PAY-1042 | prompt | 2026-03-02T09:00:00Z",
            "2 | PAY-1042 | branch | 2026-03-02T09:00:05Z",
            "5 | PAY-1042 | prompt | 2026-03-02T09:02:00Z",
            "5 | PAY-1050 | prompt | 2026-03-02T09:02:00Z",
        ]
    );
    assert_eq!(extracted.items, 4);
}

#[test]
fn a_large_session_fits_in_four_mebibytes() {
    let limits = Limits {
        memory_bytes_max: 4 << 20,
        ..Limits::default()
    };
    let guest = Guest::load(&COMPONENT).with_limits(&limits);
    let line = [SESSION, b"\n"].concat();
    assert!(guest.extract(line.repeat(2_000)).items > 2_000);
}

#[test]
fn the_processor_obeys_the_laws_of_the_contract() {
    let options = Options {
        cases: 16,
        ..Options::default()
    };
    let guest = Guest::load(&COMPONENT);
    let report = verify(guest.subject(), &options, &mut |_| {}).unwrap();
    assert!(report.holds(), "{report}");
}
