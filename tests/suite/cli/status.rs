//! `status`: what is known, in counts.

use session_pipeline_harness::DataDir;

use super::{check, check_examples, words};

#[test]
fn status_tells_what_is_known_of_each_processor() {
    let dir = DataDir::new();
    let never = check(&dir, &["status"]);
    assert_eq!((never.code, never.stderr.as_str()), (0, ""));
    let [header, row] = words(&never.stdout).try_into().unwrap();
    assert_eq!(
        header,
        "processor sessions items due failing quarantined missing last run result"
    );
    assert_eq!(row, "usage 0 0 0 0 0 0 never -");

    assert_eq!(check_examples(&dir, &["run", "usage"]).code, 0);
    let document = check(&dir, &["status", "--json"]).json();
    let [processor] = document["processors"].as_array().unwrap().as_slice() else {
        panic!("one processor: {document}")
    };
    assert_eq!(processor["processor"], "usage");
    assert_eq!(processor["sessions"], 5);
    assert_eq!(processor["last_run"], "ok");
}
