//! Health: every branch of every check, over data dirs and a clock that stands still.

mod backlog;
mod cases;

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::Value;
use session_pipeline_harness::{DataDir, TestClock, TestPipeline, cases as case_count, clock};
use session_pipeline_host::clock::{Clock, UtcMicros};
use session_pipeline_pipeline::config::Config;
use session_pipeline_pipeline::health::{
    BuildInfo, CheckStatus, DatabaseFacts, DatabaseSource, DiskProbe, DiskSpace, Health,
    HealthFacts, HealthReport, HealthSources, OverallStatus, SchemaCache, SchemaStatus,
    SessionSurvey, SurveyCache, schema,
};
use session_pipeline_pipeline::registry::Registry;
use session_pipeline_pipeline::scheduler::SchedulerStatus;
use session_pipeline_pipeline::scheduler::timetable::{Job, JobResult};
use session_pipeline_store::{Actor, AuditEntry, Role, Store};

use crate::documents::names;
use crate::guests::{PANICS, POISON, misbehaving, panics, shipped, usage};

const DAY: Duration = Duration::from_secs(24 * 3600);

const BUILD: BuildInfo = BuildInfo {
    version: "1.2.3",
    channel: "stable",
    image_tag: "image",
    commit_sha: "commit",
    deployed_at: clock::START,
};

/// A disk that says what it is told to.
struct Disk(Option<u64>);

impl DiskProbe for Disk {
    fn space(&self, _: &Path) -> io::Result<DiskSpace> {
        let free_bytes = self.0.ok_or(io::ErrorKind::PermissionDenied)?;
        Ok(DiskSpace {
            free_bytes,
            total_bytes: 100 << 30,
        })
    }
}

/// Puts a state row in as the system before did, processed so many seconds ago.
fn row(dir: &DataDir, seconds_ago: u64, session_file: &str) {
    let processed_at = ago(seconds_ago).0;
    crate::database::execute(
        dir,
        &format!(
            "INSERT INTO session_processor_state
                (processor_name, session_file, username, processed_at, items_extracted, file_hash)
             VALUES ('verification', '{session_file}', 'x', make_timestamp({processed_at}), 0, 'deadbeef')"
        ),
    );
}

/// What a look finds, beside the data dir.
struct Look<'a> {
    registry: Registry,
    cadences: HashMap<String, Duration>,
    scheduler: Option<SchedulerStatus>,
    disk: Disk,
    schema: Option<SchemaStatus>,
    config: &'a dyn Fn(&mut Config),
}

impl Default for Look<'_> {
    fn default() -> Self {
        let (name, component) = usage();
        Self {
            registry: Registry::new([shipped(name, component)]),
            cadences: HashMap::from([("usage".to_owned(), Duration::from_secs(600))]),
            scheduler: None,
            disk: Disk(Some(50 << 30)),
            schema: None,
            config: &|_| {},
        }
    }
}

impl Look<'_> {
    fn report(self, dir: &DataDir) -> HealthReport {
        HealthReport::judge(&self.facts(dir))
    }

    fn facts(self, dir: &DataDir) -> HealthFacts {
        let mut config = dir.config();
        (self.config)(&mut config);
        let now = dir.clock().now();
        let store = Store::open_existing(&config.store_options(), now).unwrap();
        HealthFacts::collect(HealthSources {
            config: &config,
            registry: &self.registry,
            database: DatabaseSource::from(store.as_ref()),
            cadences: &self.cadences,
            scheduler: self.scheduler,
            disk: &self.disk,
            schema: self.schema,
            now,
        })
    }
}

/// The body that somebody of this role gets.
fn body(report: &HealthReport, role: Role) -> Value {
    serde_json::to_value(report.body(role, &BUILD)).unwrap()
}

/// One check of a data dir, as an admin sees it.
fn check(look: Look<'_>, dir: &DataDir, name: &str) -> Value {
    body(&look.report(dir), Role::Admin)["services"][name].clone()
}

fn text(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap()
}

fn migrated() -> DataDir {
    let dir = DataDir::new();
    drop(Store::open(&dir.config().store_options(), clock::START).unwrap());
    dir
}

// The whole.

#[test]
fn a_fresh_data_dir_is_healthy_and_nothing_is_made_by_looking() {
    let dir = DataDir::without_sessions_root();
    let report = Look::default().report(&dir);
    assert_eq!(report.headline(), OverallStatus::Healthy);
    insta::with_settings!({ prepend_module_to_snapshot => false }, {
        insta::assert_snapshot!(text(&body(&report, Role::Admin)));
    });
    assert!(!dir.path().join("state").exists());
    let migrated = Look::default().report(&migrated());
    assert_eq!(migrated.headline(), OverallStatus::Healthy);
}

#[test]
fn operators_detail_is_for_admins_only() {
    let dir = migrated();
    dir.write("ada/one.jsonl", "{}\n");
    dir.set_age("ada/one.jsonl", Duration::from_secs(7200));
    let look = Look {
        schema: Some(SchemaStatus::Mismatch { current: Some(28) }),
        ..Look::default()
    };
    let report = look.report(&dir);
    let admin = body(&report, Role::Admin);
    assert_eq!(
        names(&admin),
        [
            "caller_role",
            "channel",
            "commit_sha",
            "deployed_at",
            "image_tag",
            "overall_analyst",
            "schema_version",
            "services",
            "status",
            "timestamp",
            "version",
        ]
    );
    let analyst = body(&report, Role::Analyst);
    for name in ["image_tag", "commit_sha"] {
        assert!(analyst.get(name).is_none(), "{name}");
    }
    assert_eq!(analyst["status"], "unhealthy");
    assert_eq!(
        analyst["overall_analyst"], "healthy",
        "the schema is none of theirs"
    );
    for (name, service) in analyst["services"].as_object().unwrap() {
        if name == "duckdb_state" {
            assert_eq!(service, &admin["services"][name]);
        } else {
            assert_eq!(names(service), ["audience", "status"], "{name}");
            assert_eq!(service["audience"], "operator", "{name}");
        }
    }
    assert_eq!(analyst["services"]["session_pipeline"]["status"], "warning");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(case_count() * 8))]

    #[test]
    fn invariant_only_warnings_degrade_and_only_errors_are_unhealthy(
        statuses in vec(prop::sample::select(vec![
            CheckStatus::Ok, CheckStatus::Info, CheckStatus::Unknown, CheckStatus::Warning, CheckStatus::Error,
        ]), 0..6),
    ) {
        let expected = if statuses.contains(&CheckStatus::Error) {
            OverallStatus::Unhealthy
        } else if statuses.contains(&CheckStatus::Warning) {
            OverallStatus::Degraded
        } else {
            OverallStatus::Healthy
        };
        prop_assert_eq!(OverallStatus::worst_of(statuses.clone()), expected);
        // No other check makes a bad one better.
        for length in 0..statuses.len() {
            let fewer = statuses.iter().copied().take(length);
            prop_assert!(OverallStatus::worst_of(fewer) <= expected);
        }
    }
}

// The schema.

#[test]
fn the_schema_is_shown_only_where_it_was_asked_for_and_by_its_own_word() {
    let dir = migrated();
    assert_eq!(check(Look::default(), &dir, "db_schema"), Value::Null);
    let with = |schema| Look {
        schema: Some(schema),
        ..Look::default()
    };
    let unreachable = SchemaStatus::Unreachable {
        detail: "gone".to_owned(),
    };
    let no_version = "the database has no version; run `session-pipeline migrate`";
    for (schema, headline, detail) in [
        (SchemaStatus::Ok, OverallStatus::Healthy, None),
        (
            SchemaStatus::Mismatch { current: Some(28) },
            OverallStatus::Unhealthy,
            None,
        ),
        (
            SchemaStatus::Mismatch { current: None },
            OverallStatus::Unhealthy,
            Some(no_version),
        ),
        (unreachable, OverallStatus::Unhealthy, Some("gone")),
    ] {
        assert_eq!(
            with(schema.clone()).report(&dir).headline(),
            headline,
            "{schema:?}"
        );
        let entry = check(with(schema.clone()), &dir, "db_schema");
        assert!(entry.get("status").is_none(), "{entry}");
        assert_eq!(entry["detail"].as_str(), detail);
        assert_eq!(
            entry["db_schema"],
            serde_json::json!(Health::from(&schema).db_schema)
        );
    }
}

#[test]
fn liveness_says_which_version_there_is_and_which_is_expected() {
    let dir = DataDir::new();
    let now = clock::START;
    let store = Store::open_at(&dir.config().store_options(), now, Some(31)).unwrap();
    let behind = Health::from(&schema(&store));
    drop(store);
    let store = Store::open(&dir.config().store_options(), now).unwrap();
    let fits = Health::from(&schema(&store));
    let unreachable = Health::from(&SchemaStatus::Unreachable {
        detail: "gone".to_owned(),
    });
    let lines = [fits, behind, unreachable];
    let lines = lines.map(|liveness| serde_json::to_string(&liveness).unwrap());
    insta::assert_snapshot!(lines.join("\n"), @r#"
    {"status":"ok","db_schema":"ok","current":37,"expected":37}
    {"status":"unhealthy","db_schema":"mismatch","current":31,"expected":37}
    {"status":"unhealthy","db_schema":"unreachable","detail":"gone"}
    "#);
}

#[test]
fn the_schema_is_looked_at_once_in_half_a_minute_and_never_again_while_it_is_gone() {
    let clock = TestClock::default();
    let memo = SchemaCache::default();
    let gone = || SchemaStatus::Unreachable {
        detail: "gone".to_owned(),
    };
    assert_eq!(memo.get(&clock, gone), gone());
    assert_eq!(
        memo.get(&clock, || SchemaStatus::Ok),
        SchemaStatus::Ok,
        "what is gone may come back"
    );
    clock.advance(Duration::from_secs(29));
    assert_eq!(memo.get(&clock, gone), SchemaStatus::Ok);
    clock.advance(Duration::from_secs(1));
    let other = SchemaStatus::Mismatch { current: None };
    assert_eq!(memo.get(&clock, || other.clone()), other);
}

#[test]
fn one_survey_is_made_at_a_time_and_those_who_come_meanwhile_get_the_last_one() {
    use std::sync::mpsc::channel;
    let dir = migrated();
    let memo = SurveyCache::default();
    let clock = TestClock::default();
    let survey = || {
        let config = dir.config();
        let registry = Registry::new([]);
        let now = clock.now();
        SessionSurvey::collect(&HealthSources {
            config: &config,
            registry: &registry,
            database: DatabaseSource::Absent,
            cadences: &HashMap::new(),
            scheduler: None,
            disk: &Disk(None),
            schema: None,
            now,
        })
    };
    let first = memo.get(&clock, survey);
    clock.advance(DAY);
    let (begun, has_begun) = channel();
    let (go, held) = channel::<()>();
    std::thread::scope(|scope| {
        let second = scope.spawn(|| {
            memo.get(&clock, move || {
                begun.send(()).unwrap();
                let _ = held.recv();
                survey()
            })
        });
        has_begun.recv().unwrap();
        let meanwhile = memo.get(&clock, || panic!("never two at once"));
        assert!(std::sync::Arc::ptr_eq(&meanwhile, &first));
        go.send(()).unwrap();
        assert!(!std::sync::Arc::ptr_eq(&second.join().unwrap(), &first));
    });
}

// The other checks.

#[test]
fn a_sessions_root_that_can_not_be_read_degrades() {
    let dir = DataDir::without_sessions_root();
    drop(Store::open(&dir.config().store_options(), clock::START).unwrap());
    assert_eq!(
        check(Look::default(), &dir, "sessions")["status"],
        "ok",
        "there is none yet"
    );
    std::fs::write(dir.sessions_root(), "a file").unwrap();
    assert_eq!(
        check(Look::default(), &dir, "sessions")["status"],
        "warning"
    );
    assert_eq!(
        Look::default().report(&dir).headline(),
        OverallStatus::Degraded
    );
}

#[test]
fn a_database_that_is_gone_although_commits_were_made_is_an_error() {
    let dir = DataDir::new();
    dir.write("ada/one.jsonl", "{}\n");
    TestPipeline::open(&dir, &[usage()]).run("usage");
    assert_eq!(
        Look::default().report(&dir).headline(),
        OverallStatus::Healthy
    );
    std::fs::remove_file(dir.database_path()).unwrap();
    let entry = check(Look::default(), &dir, "duckdb_state");
    assert_eq!(entry["status"], "error", "{entry}");
    let detail = entry["detail"].as_str().unwrap();
    assert!(detail.contains("is missing, although"), "{detail}");
    std::fs::remove_file(dir.path().join("state/commits")).unwrap();
    assert_eq!(
        Look::default().report(&dir).headline(),
        OverallStatus::Healthy,
        "started over"
    );
}

#[test]
fn a_file_in_the_place_of_the_state_folder_is_an_error() {
    let dir = DataDir::new();
    std::fs::write(dir.path().join("state"), "a file").unwrap();
    let error = Store::open_existing(&dir.config().store_options(), clock::START).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("state`; check that it exists"), "{text}");
}

#[test]
fn a_database_removed_or_replaced_while_it_is_open_is_an_error() {
    for is_replaced in [false, true] {
        let dir = migrated();
        let config = dir.config();
        let store = Store::open(&config.store_options(), clock::START).unwrap();
        let registry = Registry::new([]);
        let headline = || {
            let facts = HealthFacts::collect(HealthSources {
                config: &config,
                registry: &registry,
                database: DatabaseSource::Open(&store),
                cadences: &HashMap::new(),
                scheduler: None,
                disk: &Disk(Some(50 << 30)),
                schema: None,
                now: clock::START,
            });
            HealthReport::judge(&facts).headline()
        };
        assert_eq!(headline(), OverallStatus::Healthy);
        let aside = dir.path().join("aside");
        std::fs::rename(dir.path().join("state"), &aside).unwrap();
        if is_replaced {
            std::fs::create_dir(dir.path().join("state")).unwrap();
            std::fs::copy(aside.join("system.duckdb"), dir.database_path()).unwrap();
        }
        assert_eq!(headline(), OverallStatus::Unhealthy, "{is_replaced}");
    }
}

#[test]
fn the_disk_warns_before_it_is_full() {
    let dir = migrated();
    let disk = |free| Look {
        disk: Disk(free),
        ..Look::default()
    };
    let lines: Vec<String> = [
        Some(50 << 30),
        Some(512 << 20),
        Some((512 << 20) - 1),
        Some(1 << 20),
        None,
    ]
    .map(|free| check(disk(free), &dir, "disk").to_string())
    .into();
    insta::assert_snapshot!(lines.join("\n"), @r#"
    {"audience":"operator","free_bytes":53687091200,"status":"ok","total_bytes":107374182400}
    {"audience":"operator","free_bytes":536870912,"status":"ok","total_bytes":107374182400}
    {"audience":"operator","detail":"512.0 MiB are free for the data directory","free_bytes":536870911,"next_action":"free space on the disk of the data directory","status":"warning","total_bytes":107374182400}
    {"audience":"operator","detail":"1.0 MiB are free for the data directory","free_bytes":1048576,"next_action":"free space on the disk of the data directory","status":"error","total_bytes":107374182400}
    {"audience":"operator","detail":"permission denied","status":"unknown"}
    "#);
    assert_eq!(
        disk(Some(1 << 20)).report(&dir).headline(),
        OverallStatus::Unhealthy
    );
    assert_eq!(disk(None).report(&dir).headline(), OverallStatus::Healthy);
}

#[test]
fn the_disk_of_a_data_dir_that_is_not_there_yet_is_the_one_it_would_lie_on() {
    struct OnlyThere;
    impl DiskProbe for OnlyThere {
        fn space(&self, folder: &Path) -> io::Result<DiskSpace> {
            assert!(folder.is_dir(), "{}", folder.display());
            Ok(DiskSpace {
                free_bytes: 1 << 40,
                total_bytes: 1 << 40,
            })
        }
    }
    let dir = DataDir::new();
    for data_dir in [dir.path().join("not/there/yet"), "not-there-either".into()] {
        let registry = Registry::new([]);
        let facts = HealthFacts::collect(HealthSources {
            config: &Config::new(data_dir),
            registry: &registry,
            database: DatabaseSource::Absent,
            cadences: &HashMap::new(),
            scheduler: None,
            disk: &OnlyThere,
            schema: None,
            now: clock::START,
        });
        assert!(facts.disk.is_ok());
    }
}

#[test]
fn the_scheduler_is_no_news_unless_it_stands_still() {
    let dir = migrated();
    let job = Job {
        name: "session-processor:usage".to_owned(),
        processor: "usage".to_owned(),
        schedule: "every 10m".parse().unwrap(),
        last_run_at: Some(clock::START),
        last_end: Some(JobResult::Rejected("it is not installed".to_owned())),
        running_since: None,
    };
    let ticked = |seconds: Option<u64>| SchedulerStatus {
        tick: Duration::from_secs(30),
        last_tick_at: seconds.map(|seconds| clock::START.minus(Duration::from_secs(seconds))),
        jobs: vec![job.clone()],
    };
    let look = |scheduler| Look {
        scheduler,
        ..Look::default()
    };
    for (scheduler, status, headline) in [
        (None, "info", OverallStatus::Healthy),
        (Some(ticked(None)), "info", OverallStatus::Healthy),
        (Some(ticked(Some(0))), "ok", OverallStatus::Healthy),
        (Some(ticked(Some(300))), "ok", OverallStatus::Healthy),
        (Some(ticked(Some(301))), "warning", OverallStatus::Degraded),
    ] {
        let entry = check(look(scheduler.clone()), &dir, "scheduler");
        assert_eq!(entry["status"], status, "{entry}");
        assert_eq!(look(scheduler).report(&dir).headline(), headline);
    }
    let entry = check(look(Some(ticked(Some(301)))), &dir, "scheduler");
    insta::with_settings!({ prepend_module_to_snapshot => false }, {
        insta::assert_snapshot!(text(&entry));
    });
}

#[test]
fn quarantine_is_told_and_a_processor_that_fails_everywhere_degrades() {
    let dir = DataDir::new();
    let look = |way: (&'static str, &'static [u8])| Look {
        registry: Registry::new([shipped(way.0, way.1)]),
        ..Look::default()
    };
    for number in 0..4 {
        dir.write(&format!("ada/{number}.jsonl"), POISON);
    }
    let pipeline = TestPipeline::open(&dir, &[panics()]);
    for _ in 0..5 {
        pipeline.run(PANICS);
    }
    drop(pipeline);
    // A day later: it is no news, and nothing is wrong with today's sessions.
    dir.clock().advance(DAY + Duration::from_micros(1));
    let four = check(look(panics()), &dir, "quarantine");
    insta::with_settings!({ prepend_module_to_snapshot => false }, {
        insta::assert_snapshot!(text(&four));
    });

    dir.write("ada/4.jsonl", POISON);
    TestPipeline::open(&dir, &[panics()]).run(PANICS);
    let five = check(look(panics()), &dir, "quarantine");
    assert_eq!(five["status"], "warning");
    assert!(
        five["detail"]
            .as_str()
            .unwrap()
            .contains("and succeeded on none"),
        "{five}"
    );

    dir.write("ada/5.jsonl", "fine\n");
    TestPipeline::open(&dir, &[panics()]).run(PANICS);
    let one_is_well = check(look(panics()), &dir, "quarantine");
    assert_eq!(one_is_well["status"], "info");
    assert_eq!(one_is_well["failing"], 5);
    assert_eq!(misbehaving("panics").0, PANICS);
}

#[test]
fn a_session_in_quarantine_is_told_and_more_than_one_in_twenty_of_the_last_day_degrade() {
    let dir = DataDir::new();
    let look = || Look {
        registry: Registry::new([shipped(PANICS, panics().1)]),
        ..Look::default()
    };
    dir.write("ada/poison.jsonl", POISON);
    for number in 0..18 {
        dir.write(&format!("ada/{number}.jsonl"), "fine\n");
    }
    let run = |times| {
        let pipeline = TestPipeline::open(&dir, &[panics()]);
        for _ in 0..times {
            pipeline.run(PANICS);
        }
    };
    run(4);
    let failing = check(look(), &dir, "quarantine");
    assert_eq!(
        (&failing["status"], &failing["failing"]),
        (&"ok".into(), &1.into()),
        "nobody is in it yet"
    );
    run(1);
    // One of 19 is more than 5 %.
    let entry = check(look(), &dir, "quarantine");
    insta::assert_snapshot!(text(&entry), @r#"
    {
      "audience": "operator",
      "detail": "`faulty-panics` quarantined 1 of the 19 sessions of the last day, more than 5%",
      "failing": 1,
      "next_action": "session-pipeline quarantine list",
      "quarantined": 1,
      "quarantined_last_day": 1,
      "sessions_last_day": 19,
      "status": "warning"
    }
    "#);
    assert_eq!(look().report(&dir).headline(), OverallStatus::Degraded);
    // One of 20 is not.
    dir.write("ada/19.jsonl", "fine\n");
    run(1);
    let entry = check(look(), &dir, "quarantine");
    assert_eq!(
        (&entry["status"], &entry["sessions_last_day"]),
        (&"info".into(), &20.into())
    );
    assert_eq!(look().report(&dir).headline(), OverallStatus::Healthy);
    // One that did well today and fails now counts once.
    dir.append("ada/19.jsonl", POISON);
    run(1);
    let entry = check(look(), &dir, "quarantine");
    assert_eq!(
        (&entry["sessions_last_day"], &entry["failing"]),
        (&20.into(), &2.into())
    );
    run(4);
    assert_eq!(
        check(look(), &dir, "quarantine")["status"],
        "warning",
        "two of 20"
    );
    // What was read just a day ago still counts, and nothing before it.
    dir.clock().advance(DAY);
    assert_eq!(check(look(), &dir, "quarantine")["sessions_last_day"], 20);
    dir.clock().advance(Duration::from_micros(1));
    let entry = check(look(), &dir, "quarantine");
    assert_eq!(
        (&entry["status"], &entry["sessions_last_day"]),
        (&"info".into(), &0.into())
    );
}

#[test]
fn what_is_in_quarantine_and_gone_is_nobodys_trouble() {
    let dir = DataDir::new();
    dir.write("ada/poison.jsonl", POISON);
    dir.write("ada/fine.jsonl", "fine\n");
    let pipeline = TestPipeline::open(&dir, &[panics()]);
    for _ in 0..5 {
        pipeline.run(PANICS);
    }
    dir.delete("ada/poison.jsonl");
    pipeline.run(PANICS);
    drop(pipeline);
    let entry = check(Look::default(), &dir, "quarantine");
    assert_eq!(
        (&entry["status"], &entry["failing"]),
        (&"ok".into(), &0.into())
    );
}

#[test]
fn a_database_that_does_not_answer_is_unhealthy_for_everybody() {
    let dir = migrated();
    let refused = || "the database refused".to_owned();
    let facts = HealthFacts {
        database: DatabaseFacts::Open {
            is_in_place: true,
            answer: Err(refused()),
            lost_commits: Err(refused()),
            log_bytes: Err(refused()),
            users: Err(refused()),
            failures: Err(refused()),
        },
        ..Look::default().facts(&dir)
    };
    let report = HealthReport::judge(&facts);
    let body = body(&report, Role::Analyst);
    assert_eq!(body["status"], "unhealthy");
    assert_eq!(body["overall_analyst"], "unhealthy");
    let state = &body["services"]["duckdb_state"];
    assert_eq!(
        (&state["status"], &state["detail"]),
        (&"error".into(), &refused().into())
    );
    assert_eq!(body["services"]["users"]["status"], "error");
    assert_eq!(body["services"]["quarantine"]["status"], "unknown");
}

#[test]
fn a_log_that_is_never_brought_into_the_database_is_a_warning() {
    let dir = migrated();
    let state = |log_bytes: u64| {
        let facts = HealthFacts {
            database: DatabaseFacts::Open {
                is_in_place: true,
                answer: Ok(()),
                lost_commits: Ok(0),
                log_bytes: Ok(log_bytes),
                users: Ok(0),
                failures: Ok(Vec::new()),
            },
            ..Look::default().facts(&dir)
        };
        body(&HealthReport::judge(&facts), Role::Analyst)["services"]["duckdb_state"].clone()
    };
    assert_eq!(state(511_999_999)["status"], "ok");
    let state = state(512_000_000);
    assert_eq!(state["status"], "warning");
    let detail = state["detail"].as_str().unwrap();
    assert!(detail.contains("has grown to 512 MB"), "{detail}");
    assert!(state["next_action"].is_string());
}

#[test]
fn the_log_of_the_database_is_measured() {
    let dir = migrated();
    let store = Store::open(&dir.config().store_options(), clock::START).unwrap();
    store.checkpoint().unwrap();
    assert_eq!(store.log_bytes().unwrap(), 0);
    let entry = AuditEntry::new("measure", "database", Actor::cli(), clock::START);
    store.audit(entry).unwrap();
    assert!(store.log_bytes().unwrap() > 0);
}

#[test]
fn users_are_counted() {
    let dir = migrated();
    assert_eq!(check(Look::default(), &dir, "users")["count"], 0);
    crate::database::execute(
        &dir,
        "INSERT INTO users VALUES ('1', 'ada@example.com', 'Ada', true, now(), now())",
    );
    let entry = check(Look::default(), &dir, "users");
    assert_eq!(
        (&entry["count"], &entry["status"]),
        (&1.into(), &"ok".into())
    );
}

/// A time before the clock's.
fn ago(seconds: u64) -> UtcMicros {
    clock::START.minus(Duration::from_secs(seconds))
}

#[test]
fn a_certificate_that_nobody_verifies_is_a_warning() {
    let dir = migrated();
    let mut config = dir.config();
    let report = |config: &Config| Look::default().report(&dir).with_model_config(&config.llm);
    let checked =
        |config: &Config| body(&report(config), Role::Admin)["services"]["language_model"].clone();
    assert_eq!(checked(&config), Value::Null);
    config.llm.verify_ssl = false;
    let found = checked(&config);
    assert_eq!(found["status"], "warning");
    assert!(text(&found).contains("`llm.verify_ssl = true`"), "{found}");
}
