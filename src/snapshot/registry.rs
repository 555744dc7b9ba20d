//! What outlives a snapshot, found again by how it was configured.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, PoisonError, Weak},
};

/// Parts by the identity of their configuration. Holds none of them alive.
#[derive(Debug)]
pub(super) struct Registry<K, T>(Mutex<HashMap<K, Weak<T>>>);

impl<K, T> Default for Registry<K, T> {
    fn default() -> Self {
        Registry(Mutex::default())
    }
}

impl<K: Eq + Hash, T> Registry<K, T> {
    /// A part that is in use, of an identity of this kind.
    pub(super) fn find(&self, is_kin: impl Fn(&K) -> bool) -> Option<Arc<T>> {
        let parts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        parts.iter().filter(|(key, _)| is_kin(key)).find_map(|(_, part)| part.upgrade())
    }

    /// The part of this identity, and whether it was made now.
    pub(super) fn get_or_make<E>(&self, key: K, make: impl FnOnce() -> Result<Arc<T>, E>) -> Result<(Arc<T>, bool), E> {
        let mut parts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(part) = parts.get(&key).and_then(Weak::upgrade) {
            return Ok((part, false));
        }
        let part = make()?;
        parts.retain(|_, part| part.strong_count() > 0);
        parts.insert(key, Arc::downgrade(&part));
        Ok((part, true))
    }
}
