//! Expected fault: none, or `out-of-fuel` for a long session; breaks the law `fuel`.
//!
//! Looks at all other lines for each line.

use std::hint::black_box;

use session_pipeline_faulty::odd_guest;

odd_guest!("compares-every-pair", |lines| {
    let mut alike = 0_u64;
    for one in &lines.rows {
        for other in &lines.rows {
            let pairs = one.text.bytes().zip(other.text.bytes());
            alike += black_box(pairs.map(|(a, b)| u64::from(a == b)).sum::<u64>());
        }
    }
    black_box(alike);
    Ok(())
});
