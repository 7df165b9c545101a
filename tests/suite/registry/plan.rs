//! The plan of the folder as a pure function: any files, any memory of them.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use session_pipeline_harness::cases;
use session_pipeline_pipeline::registry::plan::{
    ComponentFile, FileContent, FolderPlan, PlanRules,
};
use session_pipeline_store::LoadedComponent;

/// The name that ships.
const TAKEN: &str = "usage";

fn component() -> impl Strategy<Value = LoadedComponent> {
    let name = prop::sample::select(vec![TAKEN, "a", "b", "c"]);
    (name, 1_u32..4).prop_map(|(name, version)| LoadedComponent {
        name: name.to_owned(),
        version,
        digest: format!("{name}-{version}"),
    })
}

fn holds() -> impl Strategy<Value = FileContent> {
    prop_oneof![
        3 => component().prop_map(FileContent::Component),
        1 => Just(FileContent::Unusable("broken".to_owned())),
        1 => Just(FileContent::Unexamined),
    ]
}

fn files() -> impl Strategy<Value = Vec<ComponentFile>> {
    vec((holds(), option::of(component())), 0..6).prop_map(|files| {
        let files = files.into_iter().enumerate();
        let files = files.map(|(number, (holds, last_good))| ComponentFile {
            file: format!("{number}.wasm"),
            content: holds,
            last_good,
        });
        files.collect()
    })
}

fn plan(files: &[ComponentFile], highest: &BTreeMap<String, u32>, may_go_back: bool) -> FolderPlan {
    FolderPlan::decide(
        files,
        &PlanRules {
            is_taken: &|name| name == TAKEN,
            highest_version: &|name| highest.get(name).copied(),
            allows_lower_version: &|_| may_go_back,
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

    /// Every file runs as it is, or is refused, or was not looked at; and each processor is of one
    /// file, under a name that is free.
    #[test]
    fn invariant_every_file_has_one_fate_and_every_processor_one_file(
        files in files(), highest in highest(), may_go_back: bool,
    ) {
        let plan = plan(&files, &highest, may_go_back);
        for known in &files {
            let as_it_is = plan.running.values()
                .filter(|running| !running.is_last_good && running.file == known.file).count();
            let refused = plan.rejected.iter().filter(|refused| refused.file == known.file).count();
            let unexamined = plan.unexamined.iter().filter(|file| **file == known.file).count();
            prop_assert_eq!(as_it_is + refused + unexamined, 1, "{:?}: {:?}", known, plan);
        }
        for (name, running) in &plan.running {
            prop_assert_eq!(name, &running.component.name);
            prop_assert_ne!(name, TAKEN);
            let known = files.iter().find(|known| known.file == running.file).unwrap();
            if running.is_last_good {
                prop_assert_eq!(known.last_good.as_ref(), Some(&running.component));
            } else {
                prop_assert_eq!(&known.content, &FileContent::Component(running.component.clone()));
            }
        }
    }

    /// A processor that a file stood for runs on, as long as the file is there and is not another
    /// processor now.
    #[test]
    fn invariant_a_file_that_can_not_be_used_costs_no_processor(
        files in files(), highest in highest(), may_go_back: bool,
    ) {
        let plan = plan(&files, &highest, may_go_back);
        for known in &files {
            let Some(last_good) = &known.last_good else { continue };
            let runs_as_it_is = plan.running.values()
                .any(|running| !running.is_last_good && running.file == known.file);
            if !runs_as_it_is && last_good.name != TAKEN {
                prop_assert!(plan.running.contains_key(&last_good.name), "{:?}: {:?}", known, plan);
            }
        }
    }

    /// No version goes down unless somebody asked for it, now or when it began to run.
    #[test]
    fn invariant_a_version_goes_down_only_where_it_was_asked_for(
        files in files(), highest in highest(),
    ) {
        let plan = plan(&files, &highest, false);
        for running in plan.running.values().filter(|running| !running.is_last_good) {
            let known = files.iter().find(|known| known.file == running.file).unwrap();
            let was_running = known.last_good.as_ref() == Some(&running.component);
            let floor = highest.get(&running.component.name).copied().unwrap_or(0);
            prop_assert!(was_running || running.component.version >= floor);
        }
    }

    /// What was not looked at yet changes nothing of what could be used before.
    #[test]
    fn invariant_a_good_file_goes_before_the_memory_of_another(
        files in files(), highest in highest(), may_go_back: bool,
    ) {
        let plan = plan(&files, &highest, may_go_back);
        for known in &files {
            let FileContent::Component(component) = &known.content else { continue };
            let floor = highest.get(&component.name).copied().unwrap_or(0);
            let may = may_go_back || component.version >= floor
                || known.last_good.as_ref() == Some(component);
            if component.name != TAKEN && may {
                prop_assert!(!plan.running[&component.name].is_last_good, "{:?}", plan);
            }
        }
    }
}
