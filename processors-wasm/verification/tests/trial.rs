//! Prints all rows that `verification` produces from a folder of real sessions, to compare two
//! versions of it.
//!
//! `SESSION_FOLDER=/path cargo test --test trial -- --ignored --nocapture`

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use session_pipeline_processor::native::MemoryHost;
use session_pipeline_processor::{Session, SessionInfo};
use session_pipeline_verification::Verifications;
use session_pipeline_verification::tables::Item;

fn list(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a readable folder") {
        let path = entry.expect("a readable entry").path();
        let end = path.extension().and_then(|end| end.to_str());
        if path.is_dir() {
            list(&path, found);
        } else if matches!(end, Some("jsonl" | "json")) {
            found.push(path);
        }
    }
}

#[test]
#[ignore = "needs a folder of real sessions in SESSION_FOLDER"]
#[expect(
    clippy::disallowed_methods,
    reason = "the folder is outside the repository"
)]
fn rows_of_a_folder() {
    let folder = PathBuf::from(std::env::var("SESSION_FOLDER").expect("SESSION_FOLDER"));
    let mut paths = Vec::new();
    list(&folder, &mut paths);
    paths.sort();
    let mut host = MemoryHost::new(Vec::new());
    let mut counts: BTreeMap<String, [usize; 2]> = BTreeMap::new();
    for path in paths {
        let key = path.strip_prefix(&folder).expect("a path below the folder");
        let info = SessionInfo::new(&format!("ada/{}", key.display()));
        host.next_session(std::fs::read(&path).expect("a readable file"));
        let agent = Session::new(&host, &info).activity().agent();
        host.run::<Verifications>(&info).expect("a run");
        let evidence = host.rows("evidence");
        let count = counts.entry(agent.name().to_owned()).or_default();
        count[0] += 1;
        count[1] += evidence.len();
        for row in evidence {
            println!("{} {row:?}", info.key);
        }
    }
    let info = SessionInfo::new("any");
    let items = Session::new(&host, &info).lookup::<Item>().rows();
    for item in items.expect("the items") {
        println!(
            "{} {} {} {} {:?} {:?} {:?} {:?} {:?}",
            item.id,
            item.title,
            item.content,
            item.source_ref,
            item.source_place,
            item.project,
            item.domain,
            item.entities(),
            item.said_at
        );
    }
    println!("files and evidence by agent: {counts:?}");
}
