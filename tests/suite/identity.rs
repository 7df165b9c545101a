//! Whose sessions a folder holds: directories made into users, and what a run makes of it.

use proptest::collection::vec;
use proptest::prelude::*;
use session_pipeline_harness::{DataDir, TestPipeline, Transcript, cases};
use session_pipeline_host::clock::UtcMicros;
use session_pipeline_pipeline::identity::{Identities, Identity, resolve};
use session_pipeline_store::User;

use crate::database::{execute, rows};
use crate::guests::usage;

fn user(id: &str, email: &str, updated_at: i64) -> User {
    User {
        id: id.to_owned(),
        email: email.to_owned(),
        name: None,
        is_active: true,
        created_at: UtcMicros(0),
        updated_at: UtcMicros(updated_at),
    }
}

/// The id of the user that a directory leads to.
fn check(users: &[User], directory: &str) -> Option<String> {
    resolve(users, directory).map(|user| user.id.clone())
}

#[test]
fn a_directory_that_is_a_users_id_leads_to_that_user() {
    let users = [
        user("u-1", "ada@example.com", 0),
        user("u-2", "bob@example.com", 0),
    ];
    assert_eq!(check(&users, "u-2").as_deref(), Some("u-2"));
}

#[test]
fn a_directory_that_is_the_local_part_of_an_e_mail_leads_to_its_user() {
    let users = [
        user("u-1", "ada@example.com", 0),
        user("u-2", "bob@example.com", 0),
    ];
    assert_eq!(check(&users, "bob").as_deref(), Some("u-2"));
}

#[test]
fn a_directory_of_nobody_leads_nowhere() {
    let users = [user("u-1", "ada@example.com", 0)];
    for nobody in [
        "eve",
        "ad",
        "adaa",
        "Ada",
        "ada@",
        "ada@example.com",
        "",
        "example.com",
    ] {
        assert_eq!(check(&users, nobody), None, "{nobody}");
    }
}

#[test]
fn of_two_with_one_local_part_it_is_the_one_changed_last() {
    let users = [
        user("u-1", "ada@old.example", 1),
        user("u-2", "ada@new.example", 3),
        user("u-3", "ada@other.example", 2),
    ];
    assert_eq!(check(&users, "ada").as_deref(), Some("u-2"));
}

#[test]
fn of_two_changed_at_once_it_is_the_one_with_the_smaller_id_in_any_order() {
    let mut users = [
        user("u-2", "ada@b.example", 1),
        user("u-1", "ada@a.example", 1),
    ];
    assert_eq!(check(&users, "ada").as_deref(), Some("u-1"));
    users.reverse();
    assert_eq!(check(&users, "ada").as_deref(), Some("u-1"));
}

#[test]
fn what_a_query_would_take_for_a_wildcard_is_only_itself() {
    let users = [
        user("u-1", "alice_smith@example.com", 1),
        user("u-2", "alicexsmith@example.com", 9),
        user("u-3", "al%@example.com", 1),
        user("u-4", r"back\slash@example.com", 1),
    ];
    assert_eq!(check(&users, "alice_smith").as_deref(), Some("u-1"));
    assert_eq!(check(&users, "al%").as_deref(), Some("u-3"));
    assert_eq!(check(&users, r"back\slash").as_deref(), Some("u-4"));
    assert_eq!(check(&users, "alice%"), None);
    assert_eq!(check(&users, "_lice_smith"), None);
}

#[test]
fn an_id_goes_before_a_local_part() {
    let users = [
        user("u-1", "bob@example.com", 9),
        user("bob", "robert@example.com", 1),
    ];
    assert_eq!(check(&users, "bob").as_deref(), Some("bob"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]

    #[test]
    fn invariant_a_directory_leads_where_the_rule_in_words_says(
        users in vec(("[ab_%]{1,2}", "[ab_%]{1,2}", 0..3_i64), 0..6),
        directory in "[ab_%]{1,2}",
    ) {
        // Ids are a primary key.
        let mut users: Vec<User> = users.iter().map(|(id, local, at)| user(id, &format!("{local}@x.y"), *at)).collect();
        users.sort_by(|a, b| a.id.cmp(&b.id));
        users.dedup_by(|a, b| a.id == b.id);
        // The model: whoever beats all others.
        let is_before = |a: &User, b: &User| {
            let rank = |user: &User| (user.id != directory, -user.updated_at.0, user.id.clone());
            rank(a) < rank(b)
        };
        let fits = |user: &&User| user.id == directory || user.email.strip_prefix(&directory).is_some_and(|rest| rest.starts_with('@'));
        let fitting: Vec<&User> = users.iter().filter(fits).collect();
        let best = fitting.iter().find(|user| fitting.iter().all(|other| !is_before(other, user)));
        let best = best.map(|user| User::clone(user));
        prop_assert_eq!(resolve(&users, &directory), best.as_ref());
        users.reverse();
        prop_assert_eq!(resolve(&users, &directory), best.as_ref(), "in any order");
    }
}

// In a run.

const USERS: &str = "INSERT INTO users VALUES
    ('u-1', 'ada@example.com', NULL, true, TIMESTAMP '2026-01-01', TIMESTAMP '2026-01-01'),
    ('0b6f8f9e-6c7d-4b8e-9d57-1f2a3b4c5d6e', 'bob@example.com', NULL, true, TIMESTAMP '2026-01-01', TIMESTAMP '2026-01-01')";

fn with_users() -> DataDir {
    let dir = DataDir::new();
    drop(TestPipeline::open(&dir, &[]));
    execute(&dir, USERS);
    dir
}

#[test]
fn rows_bear_the_e_mail_of_the_user_and_else_the_directory() {
    let dir = with_users();
    for directory in ["ada", "0b6f8f9e-6c7d-4b8e-9d57-1f2a3b4c5d6e", "eve"] {
        let session = Transcript::new(directory).user("hello");
        dir.write(&format!("{directory}/one.jsonl"), session);
    }
    let pipeline = TestPipeline::open(&dir, &[usage()]);
    assert_eq!(pipeline.run("usage").stats.processed, 3);
    drop(pipeline);
    let names = "SELECT session_file, username FROM usage.sessions ORDER BY 1";
    insta::assert_snapshot!(rows(&dir, names).join("\n"), @r"
    0b6f8f9e-6c7d-4b8e-9d57-1f2a3b4c5d6e/one.jsonl | bob@example.com
    ada/one.jsonl | ada@example.com
    eve/one.jsonl | eve
    ");
    let state = "SELECT session_file, username FROM session_processor_state ORDER BY 1";
    assert_eq!(rows(&dir, state), rows(&dir, names));
}

#[test]
fn a_run_keeps_to_what_it_learned_of_a_directory() {
    let dir = with_users();
    let pipeline = TestPipeline::open(&dir, &[]);
    let identities = Identities::new(pipeline.pipeline().store());
    let ada = Identity {
        user_id: "u-1".to_owned(),
        email: "ada@example.com".to_owned(),
    };
    assert_eq!(identities.of("ada").unwrap(), Some(ada.clone()));
    assert_eq!(identities.of("ada").unwrap(), Some(ada));
    assert_eq!(identities.of("eve").unwrap(), None);
}
