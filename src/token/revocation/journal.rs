//! What this process has changed of its revocations and other replicas haven't been told.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::Revocation;

/// More isn't kept: what was added is told anyway when the other side is there again, and what was lifted comes back,
/// which lets nobody in.
const MOST: usize = 200_000;

/// One change.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    /// With the ids of those whose place it takes: one change, so that nobody loses these without having that.
    Added {
        revocation: Arc<Revocation>,
        instead_of: Vec<Arc<str>>,
    },
    Lifted(Arc<str>),
}

/// The changes, the oldest first. Keeps none while nobody is to be told.
#[derive(Debug)]
pub(crate) struct Journal {
    changes: Mutex<Changes>,
    /// How many there are; tells those who wait.
    waiting: watch::Sender<usize>,
    /// Whoever tells them.
    turn: Arc<Semaphore>,
}

#[derive(Debug, Default)]
struct Changes {
    /// How many want to know.
    readers: usize,
    /// How many were before the first of the queue.
    before: u64,
    queue: VecDeque<Change>,
}

impl Default for Journal {
    fn default() -> Journal {
        Journal { changes: Mutex::default(), waiting: watch::Sender::new(0), turn: Arc::new(Semaphore::new(1)) }
    }
}

impl Journal {
    /// Waits until nobody else tells changes, and keeps others from it until it is dropped.
    pub(crate) async fn turn(&self) -> Option<OwnedSemaphorePermit> {
        self.turn.clone().acquire_owned().await.ok()
    }

    /// From now on changes are kept.
    pub(crate) fn open(&self) {
        self.changes().readers += 1;
    }

    /// Undoes one `open`.
    pub(crate) fn close(&self) {
        let mut changes = self.changes();
        changes.readers = changes.readers.saturating_sub(1);
        if changes.readers == 0 {
            changes.skip(u64::MAX);
            self.waiting.send_replace(0);
        }
    }

    pub(super) fn push(&self, change: Change) {
        let mut changes = self.changes();
        if changes.readers == 0 {
            return;
        }
        if changes.queue.len() >= MOST {
            let next = changes.before + 1;
            changes.skip(next);
        }
        changes.queue.push_back(change);
        self.waiting.send_replace(changes.queue.len());
    }

    /// The first of them, at most so many, and where they end. They stay until they are `sent`.
    pub(crate) fn first(&self, most: usize) -> (Vec<Change>, u64) {
        let changes = self.changes();
        let first: Vec<Change> = changes.queue.iter().take(most).cloned().collect();
        let end = changes.before + first.len() as u64;
        (first, end)
    }

    /// Those up to there are told.
    pub(crate) fn sent(&self, end: u64) {
        let mut changes = self.changes();
        changes.skip(end);
        self.waiting.send_replace(changes.queue.len());
    }

    /// Waits until there is one.
    pub(crate) async fn waiting(&self) {
        // The sender is in self: this can't fail.
        let _ = self.waiting.subscribe().wait_for(|count| *count > 0).await;
    }

    /// Waits until there is none.
    pub(crate) async fn all_sent(&self) {
        let _ = self.waiting.subscribe().wait_for(|count| *count == 0).await;
    }

    fn changes(&self) -> MutexGuard<'_, Changes> {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Changes {
    fn skip(&mut self, end: u64) {
        while self.before < end && self.queue.pop_front().is_some() {
            self.before += 1;
        }
    }
}

impl Change {
    pub(crate) fn is_added(&self) -> bool {
        matches!(self, Change::Added { .. })
    }

    /// What was added, and whose place it takes.
    pub(crate) fn added(&self) -> Option<(&Revocation, &[Arc<str>])> {
        match self {
            Change::Added { revocation, instead_of } => Some((revocation, instead_of)),
            Change::Lifted(_) => None,
        }
    }

    pub(crate) fn lifted(&self) -> Option<&str> {
        match self {
            Change::Added { .. } => None,
            Change::Lifted(id) => Some(id),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn lifted(changes: &[Change]) -> Vec<&str> {
        changes.iter().filter_map(Change::lifted).collect()
    }

    #[test]
    fn what_is_told_goes_and_what_came_meanwhile_stays() {
        let journal = Journal::default();
        journal.push(Change::Lifted("nobody listens".into()));
        journal.open();
        for id in ["a", "b", "c"] {
            journal.push(Change::Lifted(id.into()));
        }
        let (first, end) = journal.first(2);
        assert_eq!(lifted(&first), ["a", "b"]);
        journal.push(Change::Lifted("d".into()));
        journal.sent(end);
        assert_eq!(lifted(&journal.first(9).0), ["c", "d"]);
        // Told twice, by two who were reading.
        journal.sent(end);
        assert_eq!(lifted(&journal.first(9).0), ["c", "d"]);
        journal.close();
        assert!(journal.first(9).0.is_empty());
    }

    #[test]
    fn the_oldest_go_when_there_are_too_many() {
        let journal = Journal::default();
        journal.open();
        let (_, end) = {
            (0..MOST).for_each(|id| journal.push(Change::Lifted(id.to_string().into())));
            journal.first(1)
        };
        journal.push(Change::Lifted("last".into()));
        // The one that is said to be told is gone already; no other goes with it.
        journal.sent(end);
        let (all, _) = journal.first(usize::MAX);
        assert_eq!((all.len(), lifted(&all).first().copied()), (MOST, Some("1")));
        assert_eq!(lifted(&all).last().copied(), Some("last"));
    }
}
