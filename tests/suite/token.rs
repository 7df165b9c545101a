//! Tests the keyring: which tokens it accepts, and which it rejects.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use session_pipeline_harness::{DataDir, cases};
use session_pipeline_host::clock::{Clock, UtcMicros};
use session_pipeline_pipeline::token::{
    Keyring, Randomness, SchedulerSecret, TokenRejection, is_email,
};
use session_pipeline_store::{Actor, NewToken, Role, Store};

/// A deterministic source of distinct values.
#[derive(Default)]
struct Counter(AtomicU64);

impl Randomness for Counter {
    fn fill(&self, buffer: &mut [u8]) -> std::io::Result<()> {
        let number = self.0.fetch_add(1, Ordering::SeqCst).to_be_bytes();
        for (byte, digit) in buffer.iter_mut().zip(number.iter().cycle()) {
            *byte = *digit;
        }
        Ok(())
    }
}

/// A change of tokens. The number in `Revoke` is the position of the token in order of creation.
#[derive(Clone, Debug)]
enum Action {
    Create { role: Role, minutes: Option<u64> },
    Revoke(usize),
    Wait(u64),
    Restart,
}

fn action() -> impl Strategy<Value = Action> {
    let role = prop_oneof![Just(Role::Analyst), Just(Role::Admin)];
    prop_oneof![
        3 => (role, proptest::option::of(1..10_u64)).prop_map(|(role, minutes)| Action::Create { role, minutes }),
        2 => (0..6_usize).prop_map(Action::Revoke),
        2 => (1..6_u64).prop_map(Action::Wait),
        1 => Just(Action::Restart),
    ]
}

/// A token in the model.
struct ModelToken {
    id: String,
    text: String,
    role: Role,
    expires_at: Option<UtcMicros>,
    is_revoked: bool,
}

const MINUTE: Duration = Duration::from_secs(60);

proptest! {
    // Each case opens a database.
    #![proptest_config(ProptestConfig::with_cases(cases().div_ceil(8)))]

    #[test]
    fn invariant_a_token_is_valid_until_it_is_revoked_or_expires(actions in vec(action(), 1..20)) {
        let dir = DataDir::new();
        let store = Store::open(&dir.config().store_options(), dir.clock().now()).unwrap();
        let randomness = Counter::default();
        let mut keyring = Keyring::open(&store, None).unwrap();
        let mut model: Vec<ModelToken> = Vec::new();
        for action in actions {
            let now = dir.clock().now();
            match action {
                Action::Create { role, minutes } => {
                    let expires_at = minutes.map(|minutes| now.plus(MINUTE * u32::try_from(minutes).unwrap()));
                    let new = NewToken { role, email: None, label: None, expires_at };
                    let created = keyring.create(&store, &new, &randomness, Actor::cli(), now).unwrap();
                    model.push(ModelToken { id: created.token.id, text: created.text, role, expires_at, is_revoked: false });
                }
                Action::Revoke(place) => match model.get_mut(place) {
                    Some(token) => {
                        keyring.revoke(&store, &token.id, Actor::cli(), now).unwrap();
                        token.is_revoked = true;
                    }
                    None => prop_assert!(keyring.revoke(&store, "999", Actor::cli(), now).is_err()),
                },
                Action::Wait(minutes) => dir.clock().advance(MINUTE * u32::try_from(minutes).unwrap()),
                Action::Restart => keyring = Keyring::open(&store, None).unwrap(),
            }
            let now = dir.clock().now();
            for token in &model {
                let caller = keyring.authenticate(&token.text, now);
                let expected = match token {
                    ModelToken { is_revoked: true, .. } => Err(TokenRejection::Revoked),
                    ModelToken { expires_at: Some(at), .. } if *at <= now => Err(TokenRejection::Expired),
                    ModelToken { id, role, .. } => Ok((Some(id.clone()), *role)),
                };
                prop_assert_eq!(caller.map(|caller| (caller.token_id().map(str::to_owned), caller.role)), expected);
                let truncated = token.text.get(..token.text.len() - 1).unwrap();
                prop_assert_eq!(keyring.authenticate(truncated, now), Err(TokenRejection::Unknown));
            }
            prop_assert_eq!(keyring.is_empty(), model.iter().all(|token| token.is_revoked));
        }
    }
}

/// Half of the threads create tokens and revoke them at once, the others only create tokens. A
/// stale list of tokens must never undo a revocation.
#[test]
fn concurrent_changes_never_restore_a_revoked_token() {
    const THREADS: usize = 8;
    const PAIRS: usize = 50;
    let dir = DataDir::new();
    let now = dir.clock().now();
    let store = Store::open(&dir.config().store_options(), now).unwrap();
    let keyring = Keyring::open(&store, None).unwrap();
    let randomness = Counter::default();
    let new = NewToken {
        role: Role::Analyst,
        email: None,
        label: None,
        expires_at: None,
    };
    let create = || keyring.create(&store, &new, &randomness, Actor::cli(), now);
    let worker = |thread: usize| {
        let mut texts = Vec::new();
        for _ in 0..PAIRS {
            let created = create().unwrap();
            assert!(keyring.authenticate(&created.text, now).is_ok());
            if thread.is_multiple_of(2) {
                let id = &created.token.id;
                keyring.revoke(&store, id, Actor::cli(), now).unwrap();
                let denied = keyring.authenticate(&created.text, now);
                assert_eq!(denied, Err(TokenRejection::Revoked), "token {id}");
            }
            texts.push(created.text);
        }
        (thread, texts)
    };
    let created: Vec<(usize, Vec<String>)> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..THREADS)
            .map(|thread| scope.spawn(move || worker(thread)))
            .collect();
        workers
            .into_iter()
            .map(|worker| worker.join().unwrap())
            .collect()
    });
    let after_restart = Keyring::open(&store, None).unwrap();
    for ring in [&keyring, &after_restart] {
        for (thread, texts) in &created {
            for text in texts {
                let is_accepted = ring.authenticate(text, now).is_ok();
                assert_eq!(is_accepted, !thread.is_multiple_of(2));
            }
        }
    }
}

#[test]
fn a_revocation_takes_effect_even_if_the_database_fails() {
    let (dir, elsewhere) = (DataDir::new(), DataDir::new());
    let now = dir.clock().now();
    let store = Store::open(&dir.config().store_options(), now).unwrap();
    let keyring = Keyring::open(&store, None).unwrap();
    let new = NewToken {
        role: Role::Admin,
        email: None,
        label: None,
        expires_at: None,
    };
    let created = keyring.create(&store, &new, &Counter::default(), Actor::cli(), now);
    let created = created.unwrap();
    // Revoking fails because this database does not contain the token.
    let broken = Store::open(&elsewhere.config().store_options(), now).unwrap();
    let failed = keyring.revoke(&broken, &created.token.id, Actor::cli(), now);
    assert!(failed.is_err(), "{failed:?}");
    let denied = keyring.authenticate(&created.text, now);
    assert_eq!(denied, Err(TokenRejection::Revoked));
}

#[test]
fn a_blank_scheduler_secret_is_ignored_and_a_short_one_is_rejected() {
    for none in [None, Some(""), Some("  \n")] {
        assert!(SchedulerSecret::parse(none).unwrap().is_none(), "{none:?}");
    }
    let long = "x".repeat(32);
    assert!(SchedulerSecret::parse(Some(&long)).unwrap().is_some());
    assert!(SchedulerSecret::parse(Some(&long[1..])).is_err());
    assert!(
        SchedulerSecret::parse(Some(&format!(" {} ", &long[1..]))).is_err(),
        "whitespace around the secret does not count towards its length"
    );
}

#[test]
fn an_empty_token_is_rejected_even_without_a_scheduler_secret() {
    let dir = DataDir::new();
    let store = Store::open(&dir.config().store_options(), dir.clock().now()).unwrap();
    let keyring = Keyring::open(&store, SchedulerSecret::parse(Some("")).unwrap()).unwrap();
    for text in ["", " ", "sp_"] {
        assert_eq!(
            keyring.authenticate(text, dir.clock().now()),
            Err(TokenRejection::Unknown),
            "{text:?}"
        );
    }
}

#[test]
fn an_email_has_one_at_sign_and_no_special_characters() {
    for good in [
        "ada@example.com",
        "a.b-c_d+e@sub.example.org",
        "ülli@example.com",
        "x@y",
    ] {
        assert!(is_email(good), "{good}");
    }
    let long = format!("{}@example.com", "a".repeat(254));
    for bad in [
        "",
        "ada",
        "@example.com",
        "ada@",
        "a@b@c",
        "a b@c",
        "a/b@c",
        "a@c\n",
        "a\u{1b}@c",
        &long,
    ] {
        assert!(!is_email(bad), "{bad:?}");
    }
}
