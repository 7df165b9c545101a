//! A pass of a run: the scan and the work on its candidates.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use session_pipeline_host::fault::printable;
use session_pipeline_host::manifest::Order;
use session_pipeline_host::processor::{Grants, Processor};
use session_pipeline_host::sandbox::{ModelGrant, WorkerSlot};
use session_pipeline_host::sessions::{SessionsRoot, SkippedPath, WalkReport};
use session_pipeline_store::kill_point::kill_point;
use session_pipeline_store::{RunStats, StoreError};

use crate::identity::Identities;
use crate::report::session_starts;
use crate::run::dispatch::Progress;
use crate::run::work::Pass;
use crate::run::{Pipeline, RunError, RunRequest};
use crate::scan::{ScanContext, ScanPlan};

/// The results of a pass, in addition to its stats.
pub(super) struct PassReport {
    pub(super) notes: Vec<SkippedPath>,
    pub(super) opens: u64,
}

impl Pipeline {
    pub(super) fn pass(
        &self,
        processor: &Processor,
        request: &RunRequest,
        run_id: &str,
        stats: &Mutex<RunStats>,
        progress: &dyn Progress,
    ) -> Result<PassReport, RunError> {
        let Some(root) = &self.sessions_root()? else {
            let path = printable(&self.config.sessions_root.display().to_string());
            let reason =
                "this folder does not exist, so there are no sessions; check the path".to_owned();
            return Ok(PassReport {
                notes: vec![SkippedPath { path, reason }],
                opens: 0,
            });
        };
        let name = processor.manifest().name.as_str();
        // Must start before the state rows are read.
        let requests = self.store.watch_requests(name);
        let scanned_at = self.clock.now();
        let (mut plan, walk) = self.plan(root, processor, request.is_started_by_person)?;
        kill_point("scan done");
        if processor.manifest().redacts_secrets {
            let redacted = self.store.redact_rows(processor.manifest())?;
            if redacted > 0 {
                tracing::info!(redacted, "removed secrets from stored rows");
            }
        }
        let suspects = self.put_suspects_first(processor, &mut plan);
        {
            let mut stats = stats.lock().unwrap_or_else(PoisonError::into_inner);
            stats.scanned = plan.candidates.len() as u64;
            (stats.waiting, stats.quarantined) = (plan.waiting, plan.quarantined);
        }
        self.store
            .mark_missing(name, &plan.presence, self.clock.now())?;
        if let Some(days) = self.config.keep_missing_days {
            // After an incomplete or empty walk, missing sessions could still exist.
            if walk.is_complete && walk.found > 0 {
                let kept = Duration::from_secs(u64::from(days) * 24 * 3600);
                let before = self.clock.now().minus(kept);
                let forgotten = self
                    .store
                    .delete_missing_sessions(processor.manifest(), before)?;
                tracing::info!(processor = %name, forgotten, "sessions missing for {days} days");
            }
        }
        let bytes = plan
            .candidates
            .iter()
            .map(|candidate| candidate.observed.size)
            .sum();
        progress.planned(plan.candidates.len() as u64, bytes);
        let pass = Pass {
            pipeline: self,
            root,
            processor,
            suspects,
            request,
            run_id,
            requests,
            identities: Identities::new(&self.store),
            grants: self.grants(processor, run_id)?,
            // Started after loading and scanning. Otherwise a time budget that they exhaust would
            // leave all sessions to the next run, which would exhaust it too.
            started: self.clock.monotonic(),
        };
        let handed_out = pass.work_through(&plan.candidates, stats, progress)?;
        let left = plan.candidates.iter().skip(handed_out);
        let left: Vec<&str> = left.map(|candidate| candidate.key.as_str()).collect();
        self.store
            .record_waits(name, &plan.waits, &left, scanned_at)?;
        Ok(PassReport {
            notes: walk.all_skipped(),
            opens: root.sessions_opened(),
        })
    }

    /// What the sessions of a run can access.
    fn grants(&self, processor: &Processor, run_id: &str) -> Result<Grants, RunError> {
        let model = processor.imports_llm().then(|| ModelGrant {
            model: self.model.clone(),
            clock: Arc::clone(&self.clock),
            slot: Arc::clone(&self.permits) as Arc<dyn WorkerSlot>,
            run_id: run_id.into(),
        });
        Ok(Grants {
            shared: self.store.shared_rows(processor.manifest())?,
            model,
            randomness: None,
            checkpoint_bytes_max: 0,
        })
    }

    /// Scans the sessions and plans a run.
    ///
    /// # Errors
    /// If the sessions root or the database can't be read.
    pub fn plan(
        &self,
        root: &SessionsRoot,
        processor: &Processor,
        is_started_by_person: bool,
    ) -> Result<(ScanPlan, WalkReport), RunError> {
        let manifest = processor.manifest();
        let now = self.clock.now();
        let (looked, walk) = root.walk_ahead(|found| {
            let mut known = self.store.state_rows(&manifest.name)?;
            let failures = self.store.failures(&manifest.name)?;
            let versions = self.store.component_versions(&manifest.name)?;
            let waits = self.store.session_waits(&manifest.name)?;
            let context = ScanContext {
                failures: &failures,
                digest: processor.digest(),
                version: manifest.version,
                versions: known
                    .digests
                    .iter()
                    .map(|digest| versions.get(digest).copied())
                    .collect(),
                now,
                is_started_by_person,
            };
            let mut plan = ScanPlan::after(waits);
            found.each(|key, observed| plan.visit(key, observed, &mut known, &context));
            Ok::<_, StoreError>((plan, known, failures))
        });
        let (mut plan, known, failures) = looked?;
        let mut walk = walk.map_err(|source| RunError::Sessions {
            path: root.path().display().to_string(),
            source,
        })?;
        plan.finish(&walk, &known, &failures);
        // The rows of a serial processor depend on those of earlier sessions.
        if manifest.order == Order::Serial && plan.candidates.len() > 1 {
            plan.sort_by_start(|each| session_starts(&self.store, each))?;
        }
        if walk.found == 0 && !known.is_empty() {
            let path = printable(&root.path().display().to_string());
            let reason =
                "no sessions found, although some were processed before; their rows are kept; check the path"
                    .to_owned();
            walk.skipped.push(SkippedPath { path, reason });
        }
        Ok((plan, walk))
    }

    /// Moves suspects to the front of the candidates. Returns their number.
    fn put_suspects_first(&self, processor: &Processor, plan: &mut ScanPlan) -> usize {
        let name = &processor.manifest().name;
        let candidates = &plan.candidates;
        let is_candidate = |key: &str| candidates.iter().any(|candidate| candidate.key == key);
        let suspects = self.in_flight.suspects_among(name, is_candidate);
        if !suspects.is_empty() {
            plan.candidates
                .sort_by_key(|candidate| !suspects.contains(&candidate.key));
        }
        suspects.len()
    }
}
