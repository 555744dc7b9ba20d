//! Revocations by what they name. A look-up takes no lock; a change copies one part of many.

use std::{
    collections::{HashMap, hash_map::RandomState},
    hash::BuildHasher,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use arc_swap::ArcSwap;

use super::Revocation;

const PARTS: usize = 256;

type Part = HashMap<Box<[u8]>, Vec<Arc<Revocation>>>;

/// Whoever changes it holds the ledger's lock, so that changes don't meet.
pub(super) struct Index {
    count: AtomicUsize,
    /// Its keys are the process's own secret: nobody chooses names that meet in one part.
    hasher: RandomState,
    parts: Box<[ArcSwap<Part>]>,
}

impl Default for Index {
    fn default() -> Index {
        Index {
            count: AtomicUsize::new(0),
            hasher: RandomState::new(),
            parts: (0..PARTS).map(|_| ArcSwap::default()).collect(),
        }
    }
}

impl Index {
    pub(super) fn is_empty(&self) -> bool {
        self.count.load(Ordering::Acquire) == 0
    }

    /// Whether one of those under this name is such a one.
    pub(super) fn has(&self, name: &[u8], is_one: impl Fn(&Revocation) -> bool) -> bool {
        if self.is_empty() {
            return false;
        }
        let Some(part) = self.part(name) else { return false };
        part.load().get(name).is_some_and(|all| all.iter().any(|revocation| is_one(revocation)))
    }

    /// The one of those under this name that is such a one.
    pub(super) fn find(&self, name: &[u8], is_one: impl Fn(&Revocation) -> bool) -> Option<Arc<Revocation>> {
        let part = self.part(name)?.load();
        part.get(name)?.iter().find(|revocation| is_one(revocation)).cloned()
    }

    /// All of those under this name that are such ones.
    pub(super) fn all(&self, name: &[u8], is_one: impl Fn(&Revocation) -> bool) -> Vec<Arc<Revocation>> {
        let Some(part) = self.part(name).map(ArcSwap::load) else { return Vec::new() };
        part.get(name).into_iter().flatten().filter(|revocation| is_one(revocation)).cloned().collect()
    }

    pub(super) fn insert(&self, revocation: &Arc<Revocation>) {
        let name = revocation.target.key();
        let Some(part) = self.part(name) else { return };
        let mut changed = Part::clone(&part.load());
        changed.entry(name.into()).or_default().push(revocation.clone());
        part.store(Arc::new(changed));
        self.count.fetch_add(1, Ordering::Release);
    }

    /// Many at once: each part is copied once.
    pub(super) fn insert_all<'r>(&self, revocations: impl Iterator<Item = &'r Arc<Revocation>>) {
        let mut changed: Vec<Part> = self.parts.iter().map(|part| Part::clone(&part.load())).collect();
        for revocation in revocations {
            let name = revocation.target.key();
            if let Some(part) = self.place(name).and_then(|place| changed.get_mut(place)) {
                part.entry(name.into()).or_default().push(revocation.clone());
                self.count.fetch_add(1, Ordering::Release);
            }
        }
        for (part, changed) in self.parts.iter().zip(changed) {
            part.store(Arc::new(changed));
        }
    }

    pub(super) fn remove(&self, revocation: &Revocation) {
        let name = revocation.target.key();
        let Some(part) = self.part(name) else { return };
        let mut changed = Part::clone(&part.load());
        let Some(all) = changed.get_mut(name) else { return };
        all.retain(|other| other.id != revocation.id);
        if all.is_empty() {
            changed.remove(name);
        }
        part.store(Arc::new(changed));
        self.count.fetch_sub(1, Ordering::Release);
    }

    fn part(&self, name: &[u8]) -> Option<&ArcSwap<Part>> {
        self.parts.get(self.place(name)?)
    }

    fn place(&self, name: &[u8]) -> Option<usize> {
        usize::try_from(self.hasher.hash_one(name) % PARTS as u64).ok()
    }
}
