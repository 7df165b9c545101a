//! Limits the concurrent uploads of each user.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::http::HttpLimits;
use crate::http::problem::ApiError;
use crate::problem::ProblemClass;

/// The uploads of each user. Users are limited separately, so that one cannot block the others.
#[derive(Debug, Default)]
pub(in crate::http) struct Uploaders(Mutex<HashMap<String, UploadQueue>>);

/// The uploads of one user, in progress and waiting.
#[derive(Clone, Debug)]
struct UploadQueue {
    running: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
}

impl Uploaders {
    /// Returns a permit for an upload. If the user has too many uploads in progress, waits for one
    /// to end.
    ///
    /// # Errors
    /// No upload of the user ended in time, too many are waiting, or the service is stopping.
    pub(in crate::http) async fn acquire(
        &self,
        user: &str,
        limits: &HttpLimits,
    ) -> Result<OwnedSemaphorePermit, ApiError> {
        let uploads_max = limits.uploads_per_user_max;
        let queue = {
            let mut users = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let queue = users.entry(user.to_owned()).or_insert_with(|| UploadQueue {
                running: Arc::new(Semaphore::new(uploads_max)),
                waiting: Arc::new(Semaphore::new(uploads_max)),
            });
            queue.clone()
        };
        let too_many = || {
            ApiError::new(
                ProblemClass::TooManyRequests,
                format!(
                    "too many uploads in progress: the limit for a user is {uploads_max}; retry when one has ended"
                ),
            )
        };
        // A waiting upload occupies a connection, so the number of waiting uploads is also limited.
        let _waiting = queue.waiting.try_acquire_owned().map_err(|_| too_many())?;
        match tokio::time::timeout(limits.body_time_max, queue.running.acquire_owned()).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) => Err(ApiError::stopping()),
            Err(_) => Err(too_many()),
        }
    }
}
