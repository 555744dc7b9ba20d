//! The places that connections to the admin listener take: who asks for nothing makes room for who comes.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// So many at a time.
pub(super) struct Places {
    free: Arc<Semaphore>,
    next: AtomicU64,
    /// Those that have been at their stage for longest come first.
    taken: Mutex<Vec<Taken>>,
}

struct Taken {
    number: u64,
    stage: Stage,
    leave: Arc<Notify>,
}

/// How far a connection is. The first have to leave first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    /// It has sent no whole head yet.
    Silent,
    /// What it asked for last is answered, and may be on its way.
    Answered,
    /// It is being answered.
    Asked,
}

/// One that is taken; it is free again when this goes.
pub(super) struct Place {
    places: Arc<Places>,
    number: u64,
    leave: Arc<Notify>,
    _slot: OwnedSemaphorePermit,
}

impl Places {
    pub(super) fn new(most: usize) -> Arc<Places> {
        Arc::new(Places {
            free: Arc::new(Semaphore::new(most)),
            next: AtomicU64::new(0),
            taken: Mutex::new(Vec::with_capacity(most)),
        })
    }

    /// A place for a new connection. If there is none, another connection has to leave. None: never.
    pub(super) async fn take(self: &Arc<Places>) -> Option<Place> {
        if self.free.available_permits() == 0 {
            self.dismiss();
        }
        let slot = self.free.clone().acquire_owned().await.ok()?;
        let (number, leave) = (self.next.fetch_add(1, Ordering::Relaxed), Arc::new(Notify::new()));
        self.taken().push(Taken { number, stage: Stage::Silent, leave: leave.clone() });
        Some(Place { places: self.clone(), number, leave, _slot: slot })
    }

    fn dismiss(&self) {
        let mut taken = self.taken();
        let first = taken.iter().enumerate().min_by_key(|(_, taken)| taken.stage).map(|(index, _)| index);
        if let Some(first) = first {
            taken.remove(first).leave.notify_one();
        }
    }

    /// Nothing that holds it can panic.
    fn taken(&self) -> MutexGuard<'_, Vec<Taken>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// The connection is at this stage from now on.
    pub(super) fn is_at(&self, stage: Stage) {
        let mut taken = self.places.taken();
        if let Some(index) = taken.iter().position(|taken| taken.number == self.number) {
            let mine = taken.remove(index);
            taken.push(Taken { stage, ..mine });
        }
    }

    /// Ends when the connection has to leave.
    pub(super) async fn dismissed(&self) {
        self.leave.notified().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.taken().retain(|taken| taken.number != self.number);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_asks_for_least_leaves_first() {
        let places = Places::new(4);
        let mut held = Vec::new();
        for stages in [&[Stage::Asked][..], &[Stage::Asked, Stage::Answered], &[], &[]] {
            let place = places.take().await.unwrap();
            stages.iter().for_each(|stage| place.is_at(*stage));
            held.push((held.len(), place));
        }
        let mut left = Vec::new();
        for _ in 0..4 {
            let (places, moment) = (places.clone(), std::time::Duration::from_secs(1));
            let next = tokio::spawn(async move { places.take().await.unwrap() });
            for index in (0..held.len()).rev() {
                if timeout(moment, held[index].1.dismissed()).await.is_ok() {
                    left.push(held.remove(index).0);
                }
            }
            // It asks at once, and goes on asking.
            let place = next.await.unwrap();
            place.is_at(Stage::Asked);
            held.push((9, place));
        }
        assert_eq!(left, [2, 3, 1, 0]);
    }
}
