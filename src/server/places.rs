//! How many connections may be open at a time; the number may change while they are.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicUsize, Ordering},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError};

/// The places of all listeners together.
#[derive(Debug)]
pub(super) struct Places {
    free: Arc<Semaphore>,
    most: Mutex<usize>,
    /// So many of those that are taken don't come back: there are fewer by now.
    owed: AtomicUsize,
}

/// A connection's place; free again with its end.
#[derive(Debug)]
pub(super) struct Place {
    /// None once it is gone.
    permit: Option<OwnedSemaphorePermit>,
    places: Arc<Places>,
}

impl Places {
    /// None: as many as there may be.
    pub(super) fn new(most: Option<usize>) -> Places {
        let most = bounded(most);
        Places { free: Arc::new(Semaphore::new(most)), most: Mutex::new(most), owed: AtomicUsize::new(0) }
    }

    /// From now on there are so many. Nobody loses one: where more are taken, those that come free are gone.
    pub(super) fn resize(&self, most: Option<usize>) {
        let most = bounded(most);
        let mut before = self.most.lock().unwrap_or_else(PoisonError::into_inner);
        if most > *before {
            let more = most - *before;
            let owed =
                self.owed.fetch_update(Ordering::AcqRel, Ordering::Acquire, |owed| Some(owed.saturating_sub(more)));
            self.free.add_permits(more.saturating_sub(owed.unwrap_or(0)));
        } else {
            let less = *before - most;
            self.owed.fetch_add(less - self.free.forget_permits(less), Ordering::AcqRel);
        }
        *before = most;
    }

    /// Waits for a place. None: never, where there are none any more.
    pub(super) async fn take(self: &Arc<Self>) -> Option<Place> {
        let permit = self.free.clone().acquire_owned().await.ok()?;
        Some(Place { permit: Some(permit), places: self.clone() })
    }

    /// A place that is free now.
    pub(super) fn try_take(self: &Arc<Self>) -> Result<Place, TryAcquireError> {
        let permit = self.free.clone().try_acquire_owned()?;
        Ok(Place { permit: Some(permit), places: self.clone() })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let owed =
            self.places.owed.fetch_update(Ordering::AcqRel, Ordering::Acquire, |owed| owed.checked_sub(1)).is_ok();
        if let Some(permit) = self.permit.take().filter(|_| owed) {
            permit.forget();
        }
    }
}

fn bounded(most: Option<usize>) -> usize {
    most.unwrap_or(Semaphore::MAX_PERMITS).min(Semaphore::MAX_PERMITS)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn taken(places: &Arc<Places>) -> Vec<Place> {
        std::iter::from_fn(|| places.try_take().ok()).take(100).collect()
    }

    #[test]
    fn there_are_as_many_as_were_said_last() {
        let places = Arc::new(Places::new(Some(3)));
        let mut held = taken(&places);
        assert_eq!(held.len(), 3);
        // Fewer than are taken: two that end leave nothing.
        places.resize(Some(1));
        held.truncate(1);
        assert!(places.try_take().is_err());
        drop(held);
        assert_eq!(taken(&places).len(), 1);
        // More, while some are still too many.
        places.resize(Some(5));
        let mut held = taken(&places);
        assert_eq!(held.len(), 5);
        places.resize(Some(2));
        places.resize(Some(4));
        held.truncate(4);
        assert!(places.try_take().is_err());
        held.truncate(3);
        assert_eq!(taken(&places).len(), 1);
        drop(held);
        for most in [None, Some(0), None, Some(7), Some(usize::MAX), Some(2)] {
            places.resize(most);
        }
        assert_eq!(taken(&places).len(), 2);
    }
}
