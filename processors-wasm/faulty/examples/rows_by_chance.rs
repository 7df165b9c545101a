//! Expected fault: none; breaks the law `same-rows`.
//!
//! Keeps a number beside each line that only chance knows.

use std::hash::{BuildHasher as _, RandomState};

use session_pipeline_faulty::odd_guest;

odd_guest!("rows-by-chance", |lines| {
    let chance = RandomState::new();
    for line in &mut lines.rows {
        line.text = chance.hash_one(&line.text).to_string();
    }
    Ok(())
});
