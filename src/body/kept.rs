//! What was read of a request's body, to be sent again.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http_body::Frame;
use hyper::HeaderMap;

/// Bytes of a body that are kept.
pub(super) const MOST_KEPT: usize = 64 * 1024;

/// What was read of a body, up to `MOST_KEPT`. Pieces are shared, not copied.
#[derive(Clone, Debug, Default)]
pub(crate) struct Kept(Arc<Mutex<Pieces>>);

#[derive(Debug, Default)]
struct Pieces {
    data: Vec<Bytes>,
    bytes: usize,
    trailers: Option<HeaderMap>,
    /// All of it was read, and all of it is here.
    is_whole: bool,
    /// It is larger than what is kept.
    is_over: bool,
}

impl Kept {
    fn lock(&self) -> MutexGuard<'_, Pieces> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add(&self, frame: &Frame<Bytes>) {
        let pieces = &mut *self.lock();
        if let Some(data) = frame.data_ref() {
            pieces.bytes = pieces.bytes.saturating_add(data.len());
            pieces.is_over |= pieces.bytes > MOST_KEPT;
            match pieces.is_over {
                true => pieces.data = Vec::new(),
                false => pieces.data.push(data.clone()),
            }
        }
        if let Some(trailers) = frame.trailers_ref() {
            pieces.trailers = Some(trailers.clone());
        }
    }

    pub(super) fn finish(&self) {
        let pieces = &mut *self.lock();
        pieces.is_whole = !pieces.is_over;
    }

    /// Pieces and trailers, if it is all.
    pub(super) fn whole(&self) -> Option<(Vec<Bytes>, Option<HeaderMap>)> {
        let pieces = &*self.lock();
        pieces.is_whole.then(|| (pieces.data.clone(), pieces.trailers.clone()))
    }
}
