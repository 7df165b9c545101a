//! The plan of the folder as a pure function of its files and their history.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use session_pipeline_harness::cases;
use session_pipeline_pipeline::registry::plan::{
    ComponentFile, FileContent, FolderPlan, PlanRules,
};
use session_pipeline_store::LoadedComponent;

/// The name of a shipped processor.
const SHIPPED: &str = "usage";

fn component() -> impl Strategy<Value = LoadedComponent> {
    let name = prop::sample::select(vec![SHIPPED, "a", "b", "c"]);
    (name, 1_u32..4).prop_map(|(name, version)| LoadedComponent {
        name: name.to_owned(),
        version,
        digest: format!("{name}-{version}"),
    })
}

fn file_content() -> impl Strategy<Value = FileContent> {
    prop_oneof![
        3 => component().prop_map(FileContent::Component),
        1 => Just(FileContent::Unusable("broken".to_owned())),
        1 => Just(FileContent::Unexamined),
    ]
}

fn files() -> impl Strategy<Value = Vec<ComponentFile>> {
    vec((file_content(), option::of(component())), 0..6).prop_map(|files| {
        let files = files.into_iter().enumerate();
        let files = files.map(|(number, (content, last_good))| ComponentFile {
            file: format!("{number}.wasm"),
            content,
            last_good,
        });
        files.collect()
    })
}

fn plan(
    files: &[ComponentFile],
    highest: &BTreeMap<String, u32>,
    allows_lower: bool,
) -> FolderPlan {
    FolderPlan::decide(
        files,
        &PlanRules {
            is_taken: &|name| name == SHIPPED,
            highest_version: &|name| highest.get(name).copied(),
            allows_lower_version: &|_| allows_lower,
        },
    )
}

fn highest() -> impl Strategy<Value = BTreeMap<String, u32>> {
    prop::collection::btree_map(prop::sample::select(vec!["a", "b", "c"]), 1_u32..4, 0..3).prop_map(
        |highest| {
            let highest = highest.into_iter();
            highest
                .map(|(name, version)| (name.to_owned(), version))
                .collect()
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases() * 16))]

    /// Every file is in use, rejected or unexamined. Each processor has one file and a name that is
    /// not shipped.
    #[test]
    fn invariant_every_file_has_one_status_and_every_processor_one_file(
        files in files(), highest in highest(), allows_lower: bool,
    ) {
        let plan = plan(&files, &highest, allows_lower);
        for file in &files {
            let in_use = plan.running.values()
                .filter(|running| !running.is_last_good && running.file == file.file).count();
            let rejected = plan.rejected.iter().filter(|rejected| rejected.file == file.file).count();
            let unexamined = plan.unexamined.iter().filter(|name| **name == file.file).count();
            prop_assert_eq!(in_use + rejected + unexamined, 1, "{:?}: {:?}", file, plan);
        }
        for (name, running) in &plan.running {
            prop_assert_eq!(name, &running.component.name);
            prop_assert_ne!(name, SHIPPED);
            let file = files.iter().find(|file| file.file == running.file).unwrap();
            if running.is_last_good {
                prop_assert_eq!(file.last_good.as_ref(), Some(&running.component));
            } else {
                prop_assert_eq!(&file.content, &FileContent::Component(running.component.clone()));
            }
        }
    }

    /// A processor stays in use as long as its file exists and does not contain another processor.
    #[test]
    fn invariant_an_unusable_file_removes_no_processor(
        files in files(), highest in highest(), allows_lower: bool,
    ) {
        let plan = plan(&files, &highest, allows_lower);
        for file in &files {
            let Some(last_good) = &file.last_good else { continue };
            let is_in_use = plan.running.values()
                .any(|running| !running.is_last_good && running.file == file.file);
            if !is_in_use && last_good.name != SHIPPED {
                prop_assert!(plan.running.contains_key(&last_good.name), "{:?}: {:?}", file, plan);
            }
        }
    }

    /// A lower version runs only if it is allowed now or was already in use.
    #[test]
    fn invariant_a_version_decreases_only_if_that_is_allowed(
        files in files(), highest in highest(),
    ) {
        let plan = plan(&files, &highest, false);
        for running in plan.running.values().filter(|running| !running.is_last_good) {
            let file = files.iter().find(|file| file.file == running.file).unwrap();
            let was_running = file.last_good.as_ref() == Some(&running.component);
            let floor = highest.get(&running.component.name).copied().unwrap_or(0);
            prop_assert!(was_running || running.component.version >= floor);
        }
    }

    /// A usable file takes precedence over the last good component of another file.
    #[test]
    fn invariant_a_usable_file_takes_precedence_over_the_last_good_component_of_another(
        files in files(), highest in highest(), allows_lower: bool,
    ) {
        let plan = plan(&files, &highest, allows_lower);
        for file in &files {
            let FileContent::Component(component) = &file.content else { continue };
            let floor = highest.get(&component.name).copied().unwrap_or(0);
            let is_usable = allows_lower || component.version >= floor
                || file.last_good.as_ref() == Some(component);
            if component.name != SHIPPED && is_usable {
                prop_assert!(!plan.running[&component.name].is_last_good, "{:?}", plan);
            }
        }
    }
}
