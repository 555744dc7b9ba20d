//! Work that many ask for at the same time and that is done once.

use std::{
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;

/// The work that is under way, if any. No lock is held while somebody waits.
#[derive(Debug)]
pub struct SingleFlight<T>(Mutex<Option<Waiting<T>>>);

/// What a look comes to, taken under the lock: whoever finds nothing there begins.
#[derive(Debug)]
pub enum Look<T, F> {
    /// What was asked for.
    There(T),
    /// The work that brings it.
    Begin(F),
}

/// How somebody comes to what they asked for.
#[derive(Debug)]
pub enum Joined<T> {
    /// It is there.
    There(T),
    /// It is being worked on.
    UnderWay(Waiting<T>),
}

/// For the end of work that is under way.
#[derive(Clone, Debug)]
pub struct Waiting<T>(watch::Receiver<Option<T>>);

impl<T> Default for SingleFlight<T> {
    fn default() -> SingleFlight<T> {
        SingleFlight(Mutex::new(None))
    }
}

impl<T: Clone + Send + Sync + 'static> SingleFlight<T> {
    /// Joins the work that is under way, or looks and perhaps begins it, in a task of its own: others may wait for it
    /// when who asked first has gone. The work has to leave what it brings where `look` finds it.
    pub fn join<F>(self: &Arc<Self>, look: impl FnOnce() -> Look<T, F>) -> Joined<T>
    where
        F: Future<Output = T> + Send + 'static,
    {
        let mut under_way = self.under_way();
        if let Some(waiting) = &*under_way {
            return Joined::UnderWay(waiting.clone());
        }
        let work = match look() {
            Look::There(found) => return Joined::There(found),
            Look::Begin(work) => work,
        };
        let (tell, waiting) = watch::channel(None);
        let waiting = Waiting(waiting);
        *under_way = Some(waiting.clone());
        drop(under_way);
        let landing = Landing(self.clone());
        tokio::spawn(async move {
            let done = work.await;
            drop(landing);
            tell.send_replace(Some(done));
        });
        Joined::UnderWay(waiting)
    }

    /// The same, to its end. None where the worker that did it has ended.
    pub async fn ask<F>(self: &Arc<Self>, look: impl FnOnce() -> Look<T, F>) -> Option<T>
    where
        F: Future<Output = T> + Send + 'static,
    {
        match self.join(look) {
            Joined::There(found) => Some(found),
            Joined::UnderWay(waiting) => waiting.end().await,
        }
    }
}

impl<T> SingleFlight<T> {
    fn under_way(&self) -> MutexGuard<'_, Option<Waiting<T>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Clone> Waiting<T> {
    /// What came of it. None where the worker that did it has ended.
    pub async fn end(mut self) -> Option<T> {
        self.0.wait_for(Option::is_some).await.ok().and_then(|done| done.clone())
    }
}

/// Takes the work away with its end, however it ends.
struct Landing<T>(Arc<SingleFlight<T>>);

impl<T> Drop for Landing<T> {
    fn drop(&mut self) {
        *self.0.under_way() = None;
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn many_who_ask_cause_one_piece_of_work() {
        let (flight, begun) = (Arc::new(SingleFlight::default()), Arc::new(AtomicU32::new(0)));
        let (go, wait) = oneshot::channel::<()>();
        let wait = Mutex::new(Some(wait));
        let ask = || {
            flight.join(|| {
                let (begun, wait) = (begun.clone(), wait.lock().unwrap().take().unwrap());
                Look::Begin(async move {
                    wait.await.unwrap();
                    begun.fetch_add(1, Ordering::SeqCst) + 1
                })
            })
        };
        let waiting: Vec<_> = (0..100).map(|_| ask()).collect();
        go.send(()).unwrap();
        for joined in waiting {
            let Joined::UnderWay(waiting) = joined else { panic!("there already") };
            assert_eq!(waiting.end().await, Some(1));
        }
        assert_eq!(begun.load(Ordering::SeqCst), 1);
        assert_eq!(flight.ask(|| Look::<_, std::future::Ready<u32>>::There(7)).await, Some(7));
        assert_eq!(flight.ask(|| Look::Begin(std::future::ready(8))).await, Some(8), "it is over");
    }

    #[test]
    fn work_that_ends_without_an_end_holds_nobody_up() {
        let runtime = || tokio::runtime::Builder::new_current_thread().build().unwrap();
        let flight = Arc::new(SingleFlight::<u32>::default());
        let gone = runtime();
        let begun = gone.block_on(async { flight.join(|| Look::Begin(std::future::pending())) });
        let Joined::UnderWay(waiting) = begun else { panic!("there already") };
        drop(gone);
        runtime().block_on(async {
            assert_eq!(waiting.end().await, None);
            assert_eq!(flight.ask(|| Look::Begin(std::future::ready(1))).await, Some(1));
        });
    }
}
