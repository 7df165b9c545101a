//! Whose uploads are in progress.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::http::HttpLimits;
use crate::http::problem::ApiError;
use crate::problem::ProblemClass;

/// The uploads of each user, so that no user takes the places of others.
#[derive(Debug, Default)]
pub(in crate::http) struct Uploaders(Mutex<HashMap<String, UploadQueue>>);

/// The uploads of one user: those in progress, and those that wait.
#[derive(Clone, Debug)]
struct UploadQueue {
    running: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
}

impl Uploaders {
    /// The right to one more upload; waits a moment for another upload of the user to end.
    ///
    /// # Errors
    /// When none ends.
    pub(in crate::http) async fn turn(
        &self,
        user: &str,
        limits: &HttpLimits,
    ) -> Result<OwnedSemaphorePermit, ApiError> {
        let most = limits.uploads_per_user_max;
        let turns = {
            let mut users = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let turns = users.entry(user.to_owned()).or_insert_with(|| UploadQueue {
                running: Arc::new(Semaphore::new(most)),
                waiting: Arc::new(Semaphore::new(most)),
            });
            turns.clone()
        };
        let too_many = || {
            ApiError::new(
                ProblemClass::TooManyRequests,
                format!("you have {most} uploads in progress; wait for one to end, and try again"),
            )
        };
        // Those that wait hold a connection, so there is a limit for them, too.
        let _waiting = turns.waiting.try_acquire_owned().map_err(|_| too_many())?;
        match tokio::time::timeout(limits.body_time_max, turns.running.acquire_owned()).await {
            Ok(Ok(turn)) => Ok(turn),
            Ok(Err(_)) => Err(ApiError::stopping()),
            Err(_) => Err(too_many()),
        }
    }
}
