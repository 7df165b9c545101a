//! Tests every branch of every health check, with real data directories and a test clock.

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
use crate::guests::{PANICS, POISON, misbehaving, panics, shipped, usage, verification};

const DAY: Duration = Duration::from_secs(24 * 3600);

const BUILD: BuildInfo = BuildInfo {
    version: "1.2.3",
    channel: "stable",
    image_tag: "image",
    commit_sha: "commit",
    deployed_at: clock::START,
};

/// A disk with this much free space. `None`: the probe fails.
struct FakeDisk(Option<u64>);

impl DiskProbe for FakeDisk {
    fn space(&self, _: &Path) -> io::Result<DiskSpace> {
        let free_bytes = self.0.ok_or(io::ErrorKind::PermissionDenied)?;
        Ok(DiskSpace {
            free_bytes,
            total_bytes: 100 << 30,
        })
    }
}

/// Inserts a state row in the form of the legacy system, processed this many seconds ago.
fn insert_row(dir: &DataDir, seconds_ago: u64, session_file: &str) {
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

/// The inputs of a health check besides the data directory.
struct HealthInputs<'a> {
    registry: Registry,
    cadences: HashMap<String, Duration>,
    scheduler: Option<SchedulerStatus>,
    disk: FakeDisk,
    schema: Option<SchemaStatus>,
    config: &'a dyn Fn(&mut Config),
}

/// The registry of a program that ships these processors and `verification`.
fn registry_with<const N: usize>(processors: [(&'static str, &'static [u8]); N]) -> Registry {
    let processors = processors.into_iter().chain([verification()]);
    Registry::new(processors.map(|(name, component)| shipped(name, component)))
}

impl Default for HealthInputs<'_> {
    fn default() -> Self {
        Self {
            registry: registry_with([usage()]),
            cadences: HashMap::from([("usage".to_owned(), Duration::from_secs(600))]),
            scheduler: None,
            disk: FakeDisk(Some(50 << 30)),
            schema: None,
            config: &|_| {},
        }
    }
}

impl HealthInputs<'_> {
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

/// The response body for a role.
fn body(report: &HealthReport, role: Role) -> Value {
    serde_json::to_value(report.body(role, &BUILD)).unwrap()
}

/// One check of a data directory in the response for an admin.
fn check(inputs: HealthInputs<'_>, dir: &DataDir, name: &str) -> Value {
    body(&inputs.report(dir), Role::Admin)["services"][name].clone()
}

fn text(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap()
}

fn migrated() -> DataDir {
    let dir = DataDir::new();
    drop(Store::open(&dir.config().store_options(), clock::START).unwrap());
    dir
}

// The whole report.

#[test]
fn a_fresh_data_dir_is_healthy_and_the_check_creates_no_files() {
    let dir = DataDir::without_sessions_root();
    let report = HealthInputs::default().report(&dir);
    assert_eq!(report.headline(), OverallStatus::Healthy);
    insta::with_settings!({ prepend_module_to_snapshot => false }, {
        insta::assert_snapshot!(text(&body(&report, Role::Admin)));
    });
    assert!(!dir.path().join("state").exists());
    let migrated = HealthInputs::default().report(&migrated());
    assert_eq!(migrated.headline(), OverallStatus::Healthy);
}

#[test]
fn details_for_operators_are_visible_only_to_admins() {
    let dir = migrated();
    dir.write("ada/one.jsonl", "{}\n");
    dir.set_age("ada/one.jsonl", Duration::from_secs(7200));
    let inputs = HealthInputs {
        schema: Some(SchemaStatus::Mismatch { current: Some(28) }),
        ..HealthInputs::default()
    };
    let report = inputs.report(&dir);
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
        "the schema affects only the status for operators"
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
        // Adding a check never improves the overall status.
        for length in 0..statuses.len() {
            let fewer = statuses.iter().copied().take(length);
            prop_assert!(OverallStatus::worst_of(fewer) <= expected);
        }
    }
}

// The schema.

#[test]
fn the_schema_is_reported_only_on_request_and_with_its_own_status_values() {
    let dir = migrated();
    assert_eq!(
        check(HealthInputs::default(), &dir, "db_schema"),
        Value::Null
    );
    let with = |schema| HealthInputs {
        schema: Some(schema),
        ..HealthInputs::default()
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
fn liveness_reports_the_current_and_the_expected_schema_version() {
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
    {"status":"ok","db_schema":"ok","current":40,"expected":40}
    {"status":"unhealthy","db_schema":"mismatch","current":31,"expected":40}
    {"status":"unhealthy","db_schema":"unreachable","detail":"gone"}
    "#);
}

#[test]
fn the_schema_status_is_cached_for_30_seconds_unless_it_is_unreachable() {
    let clock = TestClock::default();
    let cache = SchemaCache::default();
    let gone = || SchemaStatus::Unreachable {
        detail: "gone".to_owned(),
    };
    assert_eq!(cache.get(&clock, gone), gone());
    assert_eq!(
        cache.get(&clock, || SchemaStatus::Ok),
        SchemaStatus::Ok,
        "an unreachable schema is not cached"
    );
    clock.advance(Duration::from_secs(29));
    assert_eq!(cache.get(&clock, gone), SchemaStatus::Ok);
    clock.advance(Duration::from_secs(1));
    let other = SchemaStatus::Mismatch { current: None };
    assert_eq!(cache.get(&clock, || other.clone()), other);
}

#[test]
fn only_one_survey_runs_at_a_time_and_concurrent_callers_get_the_previous_one() {
    use std::sync::mpsc::channel;
    let dir = migrated();
    let cache = SurveyCache::default();
    let clock = TestClock::default();
    let survey = || {
        let config = dir.config();
        let registry = registry_with([]);
        let now = clock.now();
        SessionSurvey::collect(&HealthSources {
            config: &config,
            registry: &registry,
            database: DatabaseSource::Absent,
            cadences: &HashMap::new(),
            scheduler: None,
            disk: &FakeDisk(None),
            schema: None,
            now,
        })
    };
    let first = cache.get(&clock, survey);
    clock.advance(DAY);
    let (start_sender, start_receiver) = channel();
    let (release_sender, release_receiver) = channel::<()>();
    std::thread::scope(|scope| {
        let second = scope.spawn(|| {
            cache.get(&clock, move || {
                start_sender.send(()).unwrap();
                let _ = release_receiver.recv();
                survey()
            })
        });
        start_receiver.recv().unwrap();
        let concurrent = cache.get(&clock, || panic!("a survey is already running"));
        assert!(std::sync::Arc::ptr_eq(&concurrent, &first));
        release_sender.send(()).unwrap();
        assert!(!std::sync::Arc::ptr_eq(&second.join().unwrap(), &first));
    });
}

// The other checks.

#[test]
fn an_unreadable_sessions_root_is_degraded() {
    let dir = DataDir::without_sessions_root();
    drop(Store::open(&dir.config().store_options(), clock::START).unwrap());
    assert_eq!(
        check(HealthInputs::default(), &dir, "sessions")["status"],
        "ok",
        "the root does not exist yet"
    );
    std::fs::write(dir.sessions_root(), "a file").unwrap();
    assert_eq!(
        check(HealthInputs::default(), &dir, "sessions")["status"],
        "warning"
    );
    assert_eq!(
        HealthInputs::default().report(&dir).headline(),
        OverallStatus::Degraded
    );
}

#[test]
fn a_database_that_is_missing_after_commits_is_an_error() {
    let dir = DataDir::new();
    dir.write("ada/one.jsonl", "{}\n");
    TestPipeline::open(&dir, &[usage()]).run("usage");
    assert_eq!(
        HealthInputs::default().report(&dir).headline(),
        OverallStatus::Healthy
    );
    std::fs::remove_file(dir.database_path()).unwrap();
    let entry = check(HealthInputs::default(), &dir, "duckdb_state");
    assert_eq!(entry["status"], "error", "{entry}");
    let detail = entry["detail"].as_str().unwrap();
    assert!(detail.contains("is missing, although"), "{detail}");
    std::fs::remove_file(dir.path().join("state/commits")).unwrap();
    assert_eq!(
        HealthInputs::default().report(&dir).headline(),
        OverallStatus::Healthy,
        "without the number of commits, the database is new"
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
        let registry = registry_with([]);
        let headline = || {
            let facts = HealthFacts::collect(HealthSources {
                config: &config,
                registry: &registry,
                database: DatabaseSource::Open(&store),
                cadences: &HashMap::new(),
                scheduler: None,
                disk: &FakeDisk(Some(50 << 30)),
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
    let disk = |free| HealthInputs {
        disk: FakeDisk(free),
        ..HealthInputs::default()
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
fn the_disk_of_a_missing_data_dir_is_that_of_its_nearest_existing_parent() {
    struct ExistingFoldersOnly;
    impl DiskProbe for ExistingFoldersOnly {
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
        let registry = registry_with([]);
        let facts = HealthFacts::collect(HealthSources {
            config: &Config::new(data_dir),
            registry: &registry,
            database: DatabaseSource::Absent,
            cadences: &HashMap::new(),
            scheduler: None,
            disk: &ExistingFoldersOnly,
            schema: None,
            now: clock::START,
        });
        assert!(facts.disk.is_ok());
    }
}

#[test]
fn a_scheduler_that_stopped_ticking_is_a_warning() {
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
    let inputs = |scheduler| HealthInputs {
        scheduler,
        ..HealthInputs::default()
    };
    for (scheduler, status, headline) in [
        (None, "info", OverallStatus::Healthy),
        (Some(ticked(None)), "info", OverallStatus::Healthy),
        (Some(ticked(Some(0))), "ok", OverallStatus::Healthy),
        (Some(ticked(Some(300))), "ok", OverallStatus::Healthy),
        (Some(ticked(Some(301))), "warning", OverallStatus::Degraded),
    ] {
        let entry = check(inputs(scheduler.clone()), &dir, "scheduler");
        assert_eq!(entry["status"], status, "{entry}");
        assert_eq!(inputs(scheduler).report(&dir).headline(), headline);
    }
    let entry = check(inputs(Some(ticked(Some(301)))), &dir, "scheduler");
    insta::with_settings!({ prepend_module_to_snapshot => false }, {
        insta::assert_snapshot!(text(&entry));
    });
}

#[test]
fn quarantined_sessions_are_reported_and_a_processor_without_success_degrades() {
    let dir = DataDir::new();
    let inputs = |(name, component): (&'static str, &'static [u8])| HealthInputs {
        registry: registry_with([(name, component)]),
        ..HealthInputs::default()
    };
    for number in 0..4 {
        dir.write(&format!("ada/{number}.jsonl"), POISON);
    }
    let pipeline = TestPipeline::open(&dir, &[panics()]);
    for _ in 0..5 {
        pipeline.run(PANICS);
    }
    drop(pipeline);
    // A day later, the failures are no longer recent, and the recent sessions have no failures.
    dir.clock().advance(DAY + Duration::from_micros(1));
    let four = check(inputs(panics()), &dir, "quarantine");
    insta::with_settings!({ prepend_module_to_snapshot => false }, {
        insta::assert_snapshot!(text(&four));
    });

    dir.write("ada/4.jsonl", POISON);
    TestPipeline::open(&dir, &[panics()]).run(PANICS);
    let five = check(inputs(panics()), &dir, "quarantine");
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
    let with_a_success = check(inputs(panics()), &dir, "quarantine");
    assert_eq!(with_a_success["status"], "info");
    assert_eq!(with_a_success["failing"], 5);
    assert_eq!(misbehaving("panics").0, PANICS);
}

#[test]
fn more_than_five_percent_of_sessions_quarantined_in_the_last_day_is_degraded() {
    let dir = DataDir::new();
    let inputs = || HealthInputs {
        registry: registry_with([panics()]),
        ..HealthInputs::default()
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
    let failing = check(inputs(), &dir, "quarantine");
    assert_eq!(
        (&failing["status"], &failing["failing"]),
        (&"ok".into(), &1.into()),
        "no session is quarantined yet"
    );
    run(1);
    // One of 19 is more than 5 %.
    let entry = check(inputs(), &dir, "quarantine");
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
    assert_eq!(inputs().report(&dir).headline(), OverallStatus::Degraded);
    // One of 20 is not.
    dir.write("ada/19.jsonl", "fine\n");
    run(1);
    let entry = check(inputs(), &dir, "quarantine");
    assert_eq!(
        (&entry["status"], &entry["sessions_last_day"]),
        (&"info".into(), &20.into())
    );
    assert_eq!(inputs().report(&dir).headline(), OverallStatus::Healthy);
    // A session that succeeded and then failed on the same day counts once.
    dir.append("ada/19.jsonl", POISON);
    run(1);
    let entry = check(inputs(), &dir, "quarantine");
    assert_eq!(
        (&entry["sessions_last_day"], &entry["failing"]),
        (&20.into(), &2.into())
    );
    run(4);
    assert_eq!(
        check(inputs(), &dir, "quarantine")["status"],
        "warning",
        "two of 20 are quarantined"
    );
    // Sessions read exactly a day ago are counted, and earlier ones are not.
    dir.clock().advance(DAY);
    assert_eq!(check(inputs(), &dir, "quarantine")["sessions_last_day"], 20);
    dir.clock().advance(Duration::from_micros(1));
    let entry = check(inputs(), &dir, "quarantine");
    assert_eq!(
        (&entry["status"], &entry["sessions_last_day"]),
        (&"info".into(), &0.into())
    );
}

#[test]
fn a_quarantined_session_whose_file_is_gone_is_not_counted() {
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
    let entry = check(HealthInputs::default(), &dir, "quarantine");
    assert_eq!(
        (&entry["status"], &entry["failing"]),
        (&"ok".into(), &0.into())
    );
}

#[test]
fn a_database_that_does_not_respond_is_unhealthy_for_all_roles() {
    let dir = migrated();
    let db_error = || "the database refused".to_owned();
    let facts = HealthFacts {
        database: DatabaseFacts::Open {
            is_in_place: true,
            answer: Err(db_error()),
            lost_commits: Err(db_error()),
            log_bytes: Err(db_error()),
            users: Err(db_error()),
            failures: Err(db_error()),
        },
        ..HealthInputs::default().facts(&dir)
    };
    let report = HealthReport::judge(&facts);
    let body = body(&report, Role::Analyst);
    assert_eq!(body["status"], "unhealthy");
    assert_eq!(body["overall_analyst"], "unhealthy");
    let state = &body["services"]["duckdb_state"];
    assert_eq!(
        (&state["status"], &state["detail"]),
        (&"error".into(), &db_error().into())
    );
    assert_eq!(body["services"]["users"]["status"], "error");
    assert_eq!(body["services"]["quarantine"]["status"], "unknown");
}

#[test]
fn a_large_database_log_is_a_warning() {
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
            ..HealthInputs::default().facts(&dir)
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
    assert_eq!(check(HealthInputs::default(), &dir, "users")["count"], 0);
    crate::database::execute(
        &dir,
        "INSERT INTO users VALUES ('1', 'ada@example.com', 'Ada', true, now(), now())",
    );
    let entry = check(HealthInputs::default(), &dir, "users");
    assert_eq!(
        (&entry["count"], &entry["status"]),
        (&1.into(), &"ok".into())
    );
}

/// A time before the start time of the clock.
fn ago(seconds: u64) -> UtcMicros {
    clock::START.minus(Duration::from_secs(seconds))
}

#[test]
fn disabled_certificate_verification_is_a_warning() {
    let dir = migrated();
    let mut config = dir.config();
    let report = |config: &Config| {
        HealthInputs::default()
            .report(&dir)
            .with_model_config(&config.llm)
    };
    let model_check =
        |config: &Config| body(&report(config), Role::Admin)["services"]["language_model"].clone();
    assert_eq!(model_check(&config), Value::Null);
    config.llm.verify_ssl = false;
    let entry = model_check(&config);
    assert_eq!(entry["status"], "warning");
    assert!(text(&entry).contains("`llm.verify_ssl = true`"), "{entry}");
}
