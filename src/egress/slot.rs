//! One token and its renewal: the old one serves while one question brings the next.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError, Weak,
    atomic::{AtomicU32, Ordering},
};

use arc_swap::ArcSwapOption;
use tokio::time::Instant;

use super::{
    access_token::AccessToken,
    source::{Fault, TokenSource, UNAVAILABLE},
    trouble::{Endings, Trouble},
};
use crate::{
    single_flight::{Look, SingleFlight},
    token::{credential::Credential, secret::Secret},
};

type Outcome = Result<Arc<AccessToken>, Fault>;

/// The place of a token. Shared by all workers; who finds a good one takes no lock.
#[derive(Debug)]
pub(super) struct Slot {
    kept: ArcSwapOption<AccessToken>,
    renewal: Arc<SingleFlight<Outcome>>,
    state: Mutex<State>,
    /// Bytes of the token, as a cache was last told.
    bytes: AtomicU32,
}

#[derive(Debug)]
struct State {
    trouble: Trouble,
    endings: Endings,
    /// For the next renewal, which takes it: none is used twice.
    refresh: Option<Secret>,
}

impl Slot {
    pub(super) fn new() -> Arc<Slot> {
        let state = State { trouble: Trouble::default(), endings: Endings::new(Instant::now()), refresh: None };
        Arc::new(Slot {
            kept: ArcSwapOption::empty(),
            renewal: Arc::default(),
            state: Mutex::new(state),
            bytes: AtomicU32::new(0),
        })
    }

    /// A token that can be sent: the one at hand, or the next one where that is over. `subject` is the caller's, where
    /// it is exchanged.
    pub(super) async fn token(
        self: &Arc<Slot>,
        source: &Arc<TokenSource>,
        subject: Option<&Credential>,
    ) -> Result<Arc<AccessToken>, Fault> {
        let now = Instant::now();
        let token = match self.kept.load_full() {
            Some(token) if now < token.renew_at => token,
            Some(token) if now < token.ends_at => {
                // What comes of it is the next requests' affair.
                drop(self.renewal.join(|| self.look(source, subject)));
                token
            }
            _ => self.renewal.ask(|| self.look(source, subject)).await.unwrap_or(Err(UNAVAILABLE))?,
        };
        token.note_use();
        Ok(token)
    }

    /// Renews the token that is kept when its time comes, if it was used by then: one that nobody wants ends by itself.
    fn renew_in_time(self: &Arc<Slot>, source: &Arc<TokenSource>, token: &AccessToken) {
        let (slot, source, renew_at) = (Arc::downgrade(self), Arc::downgrade(source), token.renew_at);
        tokio::spawn(async move {
            tokio::time::sleep_until(renew_at).await;
            let (Some(slot), Some(source)) = (Weak::upgrade(&slot), Weak::upgrade(&source)) else { return };
            if slot.kept.load().as_ref().is_some_and(|token| token.was_used()) {
                drop(slot.renewal.join(|| slot.look(&source, None)));
            }
        });
    }

    fn look(
        self: &Arc<Slot>,
        source: &Arc<TokenSource>,
        subject: Option<&Credential>,
    ) -> Look<Outcome, impl Future<Output = Outcome> + Send + 'static> {
        let now = Instant::now();
        if let Some(token) = self.kept.load_full().filter(|token| now < token.renew_at) {
            return Look::There(Ok(token));
        }
        if let Some(fault) = self.state().trouble.rests(now) {
            return Look::There(Err(fault));
        }
        let Some(permit) = source.permit() else { return Look::There(Err(UNAVAILABLE)) };
        let (slot, source) = (self.clone(), source.clone());
        let subject = subject.map(|credential| Secret::new(credential.expose().as_bytes().to_vec()));
        Look::Begin(async move {
            let outcome = slot.renew(&source, subject.as_ref()).await;
            drop(permit);
            // What is a caller's is exchanged when that caller asks, and is known to be let in.
            if let (Ok(token), None) = (&outcome, &subject) {
                slot.renew_in_time(&source, token);
            }
            outcome
        })
    }

    async fn renew(&self, source: &TokenSource, subject: Option<&Secret>) -> Outcome {
        let refresh = self.state().refresh.take();
        let granted = source.obtain(subject, refresh).await;
        let mut state = self.state();
        match granted {
            Ok(granted) => {
                let token = Arc::new(granted.token);
                state.trouble.is_over();
                state.refresh = granted.refresh;
                self.kept.store(Some(token.clone()));
                Ok(token)
            }
            Err(fault) => Err(state.trouble.failed(fault, Instant::now())),
        }
    }

    /// The upstream doesn't take this token: it isn't sent any more. Whether it is worth to ask for another one now.
    pub(super) fn end(&self, token: &Arc<AccessToken>) -> bool {
        let kept = self.kept.load_full();
        if kept.as_ref().is_none_or(|kept| !Arc::ptr_eq(kept, token)) {
            return true;
        }
        let mut state = self.state();
        let may_end = state.endings.take(Instant::now());
        if may_end {
            // Whoever took the token back may have left what it is refreshed with.
            state.refresh = None;
            self.kept.compare_and_swap(&kept, None);
        }
        may_end
    }

    /// Bytes of the token, as last told to `weigh`.
    pub(super) fn bytes(&self) -> u32 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Notes how large the token is. Whether it was another size before.
    pub(super) fn weigh(&self, token: &AccessToken) -> bool {
        let bytes = u32::try_from(token.value.len()).unwrap_or(u32::MAX);
        self.bytes.swap(bytes, Ordering::Relaxed) != bytes
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
