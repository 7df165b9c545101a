//! Limits what one caller can use of the service at the same time, so that it cannot starve others.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use session_pipeline_pipeline::token::{AuthenticatedCaller, Credential};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

tokio::task_local! {
    /// The caller of the current request.
    static CALLER: CallerKey;
}

/// Identifies a caller: all tokens and sign-ins of a user are one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct CallerKey(Arc<str>);

impl From<&AuthenticatedCaller> for CallerKey {
    fn from(caller: &AuthenticatedCaller) -> Self {
        let key = match (&caller.user_id, &caller.credential) {
            (Some(user), _) => format!("user {user}"),
            (None, Credential::Token(id)) => format!("token {id}"),
            (None, Credential::SchedulerSecret) => "scheduler".to_owned(),
            (None, Credential::Proxy) => "proxy".to_owned(),
            (None, Credential::Local) => "local".to_owned(),
        };
        Self(key.into())
    }
}

impl CallerKey {
    /// Runs a request of this caller.
    pub(crate) async fn run<T>(self, request: impl Future<Output = T>) -> T {
        CALLER.scope(self, request).await
    }
}

/// A number of places for each caller.
#[derive(Debug)]
pub(super) struct Shares {
    places: usize,
    callers: Mutex<HashMap<CallerKey, Weak<Semaphore>>>,
}

impl Shares {
    /// At least one place for each caller.
    pub(super) fn new(places: usize) -> Self {
        Self {
            places: places.max(1),
            callers: Mutex::default(),
        }
    }

    /// A place for this caller, if one is free.
    pub(super) fn try_take(&self, caller: &CallerKey) -> Option<OwnedSemaphorePermit> {
        self.of(caller).try_acquire_owned().ok()
    }

    /// Waits for a place for the caller of the current request. `None`: the request has no caller.
    pub(super) async fn take(&self) -> Option<OwnedSemaphorePermit> {
        let caller = CALLER.try_with(CallerKey::clone).ok()?;
        self.of(&caller).acquire_owned().await.ok()
    }

    fn of(&self, caller: &CallerKey) -> Arc<Semaphore> {
        let mut callers = self.callers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(semaphore) = callers.get(caller).and_then(Weak::upgrade) {
            return semaphore;
        }
        // Callers without a request need no entry.
        callers.retain(|_, semaphore| semaphore.strong_count() > 0);
        let semaphore = Arc::new(Semaphore::new(self.places));
        callers.insert(caller.clone(), Arc::downgrade(&semaphore));
        semaphore
    }
}
