//! Tokens below the service: who is recognised, and who no more.

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

#[derive(Default)]
struct Counting(AtomicU64);

impl Randomness for Counting {
    fn fill(&self, buffer: &mut [u8]) -> std::io::Result<()> {
        let number = self.0.fetch_add(1, Ordering::SeqCst).to_be_bytes();
        for (byte, digit) in buffer.iter_mut().zip(number.iter().cycle()) {
            *byte = *digit;
        }
        Ok(())
    }
}

/// What can happen to tokens; they are meant by their place in the order of their making.
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

/// What the model knows of a token.
struct Known {
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
    fn invariant_a_token_is_good_until_it_is_revoked_or_expires(actions in vec(action(), 1..20)) {
        let dir = DataDir::new();
        let store = Store::open(&dir.config().store_options(), dir.clock().now()).unwrap();
        let randomness = Counting::default();
        let mut keyring = Keyring::open(&store, None).unwrap();
        let mut known: Vec<Known> = Vec::new();
        for action in actions {
            let now = dir.clock().now();
            match action {
                Action::Create { role, minutes } => {
                    let expires_at = minutes.map(|minutes| now.plus(MINUTE * u32::try_from(minutes).unwrap()));
                    let new = NewToken { role, email: None, label: None, expires_at };
                    let created = keyring.create(&store, &new, &randomness, Actor::cli(), now).unwrap();
                    known.push(Known { id: created.token.id, text: created.text, role, expires_at, is_revoked: false });
                }
                Action::Revoke(place) => match known.get_mut(place) {
                    Some(known) => {
                        keyring.revoke(&store, &known.id, Actor::cli(), now).unwrap();
                        known.is_revoked = true;
                    }
                    None => prop_assert!(keyring.revoke(&store, "999", Actor::cli(), now).is_err()),
                },
                Action::Wait(minutes) => dir.clock().advance(MINUTE * u32::try_from(minutes).unwrap()),
                Action::Restart => keyring = Keyring::open(&store, None).unwrap(),
            }
            let now = dir.clock().now();
            for known in &known {
                let recognised = keyring.authenticate(&known.text, now);
                let expected = match known {
                    Known { is_revoked: true, .. } => Err(TokenRejection::Revoked),
                    Known { expires_at: Some(at), .. } if *at <= now => Err(TokenRejection::Expired),
                    Known { id, role, .. } => Ok((Some(id.clone()), *role)),
                };
                prop_assert_eq!(recognised.map(|caller| (caller.token_id, caller.role)), expected);
                let almost = known.text.get(..known.text.len() - 1).unwrap();
                prop_assert_eq!(keyring.authenticate(almost, now), Err(TokenRejection::Unknown));
            }
            prop_assert_eq!(keyring.is_empty(), known.iter().all(|known| known.is_revoked));
        }
    }
}

/// Half of the threads revoke what they just created, the others only create: an older list of
/// tokens must never win over a revocation.
#[test]
fn no_concurrent_change_brings_a_revoked_token_back() {
    const THREADS: usize = 8;
    const PAIRS: usize = 50;
    let dir = DataDir::new();
    let now = dir.clock().now();
    let store = Store::open(&dir.config().store_options(), now).unwrap();
    let keyring = Keyring::open(&store, None).unwrap();
    let randomness = Counting::default();
    let new = NewToken {
        role: Role::Analyst,
        email: None,
        label: None,
        expires_at: None,
    };
    let make = || keyring.create(&store, &new, &randomness, Actor::cli(), now);
    let worker = |thread: usize| {
        let mut texts = Vec::new();
        for _ in 0..PAIRS {
            let created = make().unwrap();
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
    let done: Vec<(usize, Vec<String>)> = std::thread::scope(|scope| {
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
        for (thread, texts) in &done {
            for text in texts {
                let is_good = ring.authenticate(text, now).is_ok();
                assert_eq!(is_good, !thread.is_multiple_of(2));
            }
        }
    }
}

#[test]
fn a_revocation_that_the_database_fails_is_in_force_all_the_same() {
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
    let created = keyring.create(&store, &new, &Counting::default(), Actor::cli(), now);
    let created = created.unwrap();
    // A database that has lost the token stands for every failure.
    let broken = Store::open(&elsewhere.config().store_options(), now).unwrap();
    let failed = keyring.revoke(&broken, &created.token.id, Actor::cli(), now);
    assert!(failed.is_err(), "{failed:?}");
    let denied = keyring.authenticate(&created.text, now);
    assert_eq!(denied, Err(TokenRejection::Revoked));
}

#[test]
fn nothing_and_blanks_are_no_secret_and_a_short_one_is_a_mistake() {
    for none in [None, Some(""), Some("  \n")] {
        assert!(SchedulerSecret::parse(none).unwrap().is_none(), "{none:?}");
    }
    let long = "x".repeat(32);
    assert!(SchedulerSecret::parse(Some(&long)).unwrap().is_some());
    assert!(SchedulerSecret::parse(Some(&long[1..])).is_err());
    assert!(
        SchedulerSecret::parse(Some(&format!(" {} ", &long[1..]))).is_err(),
        "blanks around it do not count"
    );
}

#[test]
fn an_empty_token_is_nobodys_even_without_a_secret() {
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
fn an_e_mail_has_two_plain_parts() {
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
