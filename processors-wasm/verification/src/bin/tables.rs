//! Prints the tables of the detector `phrases` for `docs/verification.md`.

use session_pipeline_verification::phrases::docs;

fn main() {
    println!("{}\n{}", docs::phrases(), docs::signs());
}
