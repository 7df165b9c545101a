//! Tests how a session directory is resolved to a user, and which name a run writes to its rows.

use proptest::collection::vec;
use proptest::prelude::*;
use session_pipeline_harness::{DataDir, TestPipeline, Transcript, cases};
use session_pipeline_host::clock::UtcMicros;
use session_pipeline_pipeline::identity::{Identities, Identity, directories_of, resolve};
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

/// The id of the user to which a directory is resolved.
fn check(users: &[User], directory: &str) -> Option<String> {
    resolve(users, directory).map(|user| user.id.clone())
}

#[test]
fn a_directory_named_after_a_user_id_belongs_to_that_user() {
    let users = [
        user("u-1", "ada@example.com", 0),
        user("u-2", "bob@example.com", 0),
    ];
    assert_eq!(check(&users, "u-2").as_deref(), Some("u-2"));
}

#[test]
fn a_directory_named_after_the_local_part_of_an_email_belongs_to_its_user() {
    let users = [
        user("u-1", "ada@example.com", 0),
        user("u-2", "bob@example.com", 0),
    ];
    assert_eq!(check(&users, "bob").as_deref(), Some("u-2"));
}

#[test]
fn a_user_can_read_the_directories_that_resolve_to_it_and_to_no_namesake() {
    let users = [
        user("u-1", "ada@example.com", 0),
        user("u-2", "ada@other.example", 1),
        user("u-3", "u-1@example.com", 2),
        user("u-4", "Bob@example.com", 0),
        user("u-5", "nobody", 0),
    ];
    let of = |id: &str| directories_of(&users, id).join(" ");
    // The folder `ada` is attributed to the namesake that was updated last, but could be the other's.
    assert_eq!(of("u-1"), "u-1");
    assert_eq!(of("u-2"), "u-2");
    assert_eq!(check(&users, "ada").as_deref(), Some("u-2"));
    // An address cannot take the folder of another user's id.
    assert_eq!(of("u-3"), "u-3");
    assert_eq!(of("u-4"), "Bob u-4");
    assert_eq!(of("u-5"), "u-5");
    for unknown in ["ada", "", "ada@example.com", "u-6"] {
        assert_eq!(of(unknown), "", "{unknown}");
    }
}

#[test]
fn a_directory_with_an_unknown_name_belongs_to_no_user() {
    let users = [user("u-1", "ada@example.com", 0)];
    for unknown in [
        "eve",
        "ad",
        "adaa",
        "Ada",
        "ada@",
        "ada@example.com",
        "",
        "example.com",
    ] {
        assert_eq!(check(&users, unknown), None, "{unknown}");
    }
}

#[test]
fn of_two_users_with_the_same_local_part_the_last_updated_one_is_chosen() {
    let users = [
        user("u-1", "ada@old.example", 1),
        user("u-2", "ada@new.example", 3),
        user("u-3", "ada@other.example", 2),
    ];
    assert_eq!(check(&users, "ada").as_deref(), Some("u-2"));
}

#[test]
fn of_two_users_updated_at_the_same_time_the_smaller_id_is_chosen() {
    let mut users = [
        user("u-2", "ada@b.example", 1),
        user("u-1", "ada@a.example", 1),
    ];
    assert_eq!(check(&users, "ada").as_deref(), Some("u-1"));
    users.reverse();
    assert_eq!(check(&users, "ada").as_deref(), Some("u-1"));
}

#[test]
fn sql_wildcards_in_directory_names_are_literal() {
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
fn an_id_takes_precedence_over_a_local_part() {
    let users = [
        user("u-1", "bob@example.com", 9),
        user("bob", "robert@example.com", 1),
    ];
    assert_eq!(check(&users, "bob").as_deref(), Some("bob"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]

    #[test]
    fn invariant_directories_are_resolved_as_in_the_model(
        users in vec(("[ab_%]{1,2}", "[ab_%]{1,2}", 0..3_i64), 0..6),
        directory in "[ab_%]{1,2}",
    ) {
        // Ids are a primary key.
        let mut users: Vec<User> = users.iter().map(|(id, local, at)| user(id, &format!("{local}@x.y"), *at)).collect();
        users.sort_by(|a, b| a.id.cmp(&b.id));
        users.dedup_by(|a, b| a.id == b.id);
        // The model selects the user that precedes all others.
        let is_before = |a: &User, b: &User| {
            let rank = |user: &User| (user.id != directory, -user.updated_at.0, user.id.clone());
            rank(a) < rank(b)
        };
        let matches = |user: &&User| user.id == directory || user.email.strip_prefix(&directory).is_some_and(|rest| rest.starts_with('@'));
        let candidates: Vec<&User> = users.iter().filter(matches).collect();
        let best = candidates.iter().find(|user| candidates.iter().all(|other| !is_before(other, user)));
        let best = best.map(|user| User::clone(user));
        prop_assert_eq!(resolve(&users, &directory), best.as_ref());
        users.reverse();
        prop_assert_eq!(resolve(&users, &directory), best.as_ref(), "the result depends on the order");
    }
}

// Tests with a run.

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
fn rows_have_the_email_of_the_user_or_else_the_directory() {
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
fn the_result_for_a_directory_is_cached_for_a_run() {
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
