//! What has ended before its time. Asked about every token, those that were verified before too, without a lock.
//!
//! A JWT is named by its header and payload alone: an ECDSA signature has a second form that verifies as well, and a
//! token that was ended must not come back in it.

mod index;
mod journal;
mod kept;
mod reach;
mod shares;
mod target;
mod written;

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

pub(crate) use self::journal::{Change, Journal};
pub use self::target::{OfIssuer, Source, Target, TokenId, Wish};
use self::{index::Index, kept::Kept, shares::Shares};
use super::{
    date::{self, Round},
    now,
    principal::Principal,
};
use crate::{
    observe::{Observer, RevocationMetrics},
    state_dir::StateDir,
};

/// Revocations at a time.
const MOST: usize = 100_000;
/// Between two looks for those that are over.
const SWEEP: Duration = Duration::from_secs(60);
/// Between two looks for what was learned from other replicas and isn't kept yet.
const KEEP_LEARNED: Duration = Duration::from_secs(1);
/// A revocation of a token that expires stays so many seconds longer: `clock_skew` may be raised meanwhile.
pub(in crate::token) const AFTER_EXPIRY: i64 = 24 * 3600;

/// One revocation, in force until it is lifted or over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// By which it is lifted.
    pub id: Arc<str>,
    /// What has ended.
    pub target: Target,
    /// Whose tokens alone. None: anybody's.
    pub issuer: Option<OfIssuer>,
    /// Of those, the ones issued before (Unix seconds); a token that doesn't say when counts as such. None: all.
    pub issued_before: Option<i64>,
    /// When it is over, in Unix seconds. None: never.
    pub expires_at: Option<i64>,
    /// Unix seconds.
    pub created_at: i64,
    /// Who asked for it.
    pub source: Source,
}

/// Why there is no new revocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotRevoked {
    /// There are as many as are kept.
    Full,
    /// The system has no random numbers.
    NoId,
}

/// By their ids.
type Ledger = HashMap<Arc<str>, Arc<Revocation>>;

/// All revocations of a process. They outlive every snapshot.
pub struct Revocations {
    tokens: Index,
    jtis: Index,
    subjects: Index,
    clients: Index,
    sids: Index,
    subs: Index,
    /// Writers take turns with it; who asks about a token doesn't.
    ledger: Mutex<Ledger>,
    shares: Shares,
    /// Tells those who wait for a token's end.
    added: watch::Sender<()>,
    /// Counts changes.
    version: AtomicU64,
    kept: Option<Kept>,
    /// For other replicas.
    journal: Journal,
    most: usize,
    metrics: RevocationMetrics,
}

impl Revocations {
    /// None, and none outlives the process.
    pub fn new(observer: &Observer) -> Revocations {
        Revocations {
            tokens: Index::default(),
            jtis: Index::default(),
            subjects: Index::default(),
            clients: Index::default(),
            sids: Index::default(),
            subs: Index::default(),
            ledger: Mutex::default(),
            shares: Shares::default(),
            added: watch::Sender::new(()),
            version: AtomicU64::new(0),
            kept: None,
            journal: Journal::default(),
            most: MOST,
            metrics: observer.revocations(),
        }
    }

    /// Those of an earlier run; what changes is kept in the same folder.
    ///
    /// # Errors
    /// They can't be read, so that what had ended would be let in; in words for the operator.
    pub fn restored(observer: &Observer, dir: Arc<StateDir>) -> Result<Revocations, String> {
        let (kept, earlier) = Kept::load(dir, now())?;
        Ok(Revocations::of(observer, kept, earlier))
    }

    fn of(observer: &Observer, kept: Kept, earlier: Vec<Arc<Revocation>>) -> Revocations {
        let revocations = Revocations { kept: Some(kept), ..Revocations::new(observer) };
        revocations.insert_all(earlier);
        if let Some(kept) = &revocations.kept {
            kept.fold(|| revocations.state());
        }
        revocations
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        let all = [&self.tokens, &self.jtis, &self.subjects, &self.clients, &self.sids, &self.subs];
        all.into_iter().all(Index::is_empty)
    }

    /// Whether a token has been ended. `now` in Unix seconds.
    pub(in crate::token) fn has_ended(&self, principal: &Principal, now: i64) -> bool {
        let ends = |revocation: &Revocation| revocation.ends(principal, now);
        let has = |index: &Index, key: Option<&str>| key.is_some_and(|key| index.has(key.as_bytes(), ends));
        self.tokens.has(&principal.id.0, ends)
            || has(&self.subjects, principal.subject())
            || has(&self.clients, principal.client())
            || [(&self.jtis, "jti"), (&self.sids, "sid"), (&self.subs, "sub")]
                .into_iter()
                .any(|(index, claim)| !index.is_empty() && has(index, principal.named(claim).as_deref()))
    }

    /// Waits until a token is ended: for ever, mostly.
    pub async fn ended(&self, principal: &Principal) {
        // Before the first look, so that none is missed.
        let mut added = self.added.subscribe();
        while !self.has_ended(principal, now()) {
            // The sender is in self: this can't fail.
            let _ = added.changed().await;
        }
    }

    /// Ends something: in force when this returns. One that is there already is handed back; those of an issuer's that end
    /// nothing more than the new one does go.
    ///
    /// # Errors
    /// There is no room for it.
    pub fn add(&self, wish: Wish) -> Result<Arc<Revocation>, NotRevoked> {
        self.add_among(wish, 1)
    }

    /// The same where so many issuers may ask: each has an equal share of the room.
    ///
    /// # Errors
    /// As `add`.
    pub fn add_among(&self, wish: Wish, issuers: usize) -> Result<Arc<Revocation>, NotRevoked> {
        let now = now();
        let mut ledger = self.ledger();
        let (index, wanted) = (self.index(&wish.target), wish.reach());
        let does = |there: &Revocation| there.reach().is(&wanted) || there.reach().makes_needless(&wanted);
        if let Some(same) = index.find(wish.target.key(), does) {
            return Ok(same);
        }
        let needless = index.all(wish.target.key(), |there| wanted.makes_needless(&there.reach()));
        // One that takes another's place needs none.
        let fits = |held: usize| !needless.is_empty() || self.shares.have_room(&wish, held, self.most, issuers);
        if !fits(ledger.len()) {
            self.sweep_ledger(&mut ledger, now);
            if !fits(ledger.len()) {
                return Err(NotRevoked::Full);
            }
        }
        let Wish { target, issuer, issued_before, expires_at, source } = wish;
        let id = random_id().ok_or(NotRevoked::NoId)?;
        let revocation = Revocation { id, target, issuer, issued_before, expires_at, created_at: now, source };
        let revocation = Arc::new(revocation);
        let change = self.replace(&mut ledger, &revocation, &needless);
        self.journal.push(change);
        drop(ledger);
        self.added.send_replace(());
        Ok(revocation)
    }

    /// One that another replica has added: in force when this returns, unless it is known or over. It takes the place of
    /// those that it makes needless here, which need no lifting for it: where it isn't in force, they stay.
    ///
    /// # Errors
    /// There is no room for it.
    pub(crate) fn learn(&self, revocation: Revocation) -> Result<(), NotRevoked> {
        let now = now();
        let mut ledger = self.ledger();
        if revocation.is_over(now) || ledger.contains_key(&revocation.id) {
            return Ok(());
        }
        let reach = revocation.reach();
        let needless =
            self.index(&revocation.target).all(revocation.target.key(), |there| reach.makes_needless(&there.reach()));
        let fits = |held: usize| !needless.is_empty() || held < self.most;
        if !fits(ledger.len()) {
            self.sweep_ledger(&mut ledger, now);
            if !fits(ledger.len()) {
                return Err(NotRevoked::Full);
            }
        }
        self.replace(&mut ledger, &Arc::new(revocation), &needless);
        drop(ledger);
        self.added.send_replace(());
        Ok(())
    }

    /// Ends the token that has been verified as this principal's, for as long as it would be good, and returns when
    /// that is kept.
    ///
    /// # Errors
    /// There is no room for it.
    pub async fn end_token(self: &Arc<Self>, principal: &Principal) -> Result<(), NotRevoked> {
        let expiry = date::of(&principal.claims, "exp", Round::Up, true).ok().flatten();
        self.add(Wish {
            target: Target::Token { id: principal.id, fingerprint: principal.fingerprint },
            issuer: None,
            issued_before: None,
            expires_at: expiry.map(|end| end.saturating_add(AFTER_EXPIRY)),
            source: Source::Route,
        })?;
        self.keep().await;
        Ok(())
    }

    /// Lifts a revocation; whether there was one of this id.
    pub fn lift(&self, id: &str) -> bool {
        let mut ledger = self.ledger();
        let Some(revocation) = ledger.remove(id) else { return false };
        self.forget(&revocation);
        let change = Change::Lifted(revocation.id.clone());
        self.note(&change);
        self.journal.push(change);
        !revocation.is_over(now())
    }

    /// Lifts one that another replica has lifted.
    pub(crate) fn lift_here(&self, id: &str) {
        let mut ledger = self.ledger();
        if let Some(revocation) = ledger.remove(id) {
            self.forget(&revocation);
            self.note(&Change::Lifted(revocation.id.clone()));
        }
    }

    /// What was changed here, for other replicas.
    pub(crate) fn journal(&self) -> &Journal {
        &self.journal
    }

    /// How many are in force.
    pub fn count(&self) -> usize {
        let now = now();
        self.ledger().values().filter(|revocation| !revocation.is_over(now)).count()
    }

    /// Those in force, the oldest first.
    pub fn list(&self) -> Vec<Arc<Revocation>> {
        let now = now();
        let mut all: Vec<_> = self.ledger().values().filter(|revocation| !revocation.is_over(now)).cloned().collect();
        all.sort_by(|one, other| (one.created_at, &one.id).cmp(&(other.created_at, &other.id)));
        all
    }

    /// Returns when the state is on disk, if there is a folder for it; whether it is. What goes wrong is logged: it
    /// doesn't change what is in force.
    pub async fn keep(self: &Arc<Self>) -> bool {
        if self.kept.is_none() {
            return true;
        }
        let this = self.clone();
        let version = self.version.load(Ordering::Acquire);
        tokio::task::spawn_blocking(move || this.save(version)).await.unwrap_or(false)
    }

    /// Keeps what was learned from other replicas, and forgets those that are over, now and then, to the end of the process.
    pub async fn maintain(self: Arc<Self>) {
        let mut swept = Instant::now();
        loop {
            sleep(KEEP_LEARNED).await;
            if self.kept.as_ref().is_some_and(Kept::has_waiting) {
                self.keep().await;
            }
            if swept.elapsed() >= SWEEP {
                swept = Instant::now();
                self.sweep_ledger(&mut self.ledger(), now());
            }
        }
    }

    /// Many who wait for it are served by one writing.
    fn save(&self, version: u64) -> bool {
        let Some(kept) = &self.kept else { return true };
        match kept.save(version, || self.state()) {
            Ok(()) => true,
            Err(error) => {
                tracing::error!(%error, "revocations could not be kept in state.dir: they end with this process");
                false
            }
        }
    }

    /// What is in force, and the version of that.
    fn state(&self) -> (u64, MutexGuard<'_, Ledger>) {
        let ledger = self.ledger();
        (self.version.load(Ordering::Acquire), ledger)
    }

    fn sweep_ledger(&self, ledger: &mut Ledger, now: i64) {
        let over = ledger.values().filter(|revocation| revocation.is_over(now)).cloned().collect::<Vec<_>>();
        for revocation in over {
            ledger.remove(&revocation.id);
            self.forget(&revocation);
        }
    }

    /// Takes one in, and those out whose place it takes. In this order: there is no moment without either.
    fn replace(&self, ledger: &mut Ledger, revocation: &Arc<Revocation>, needless: &[Arc<Revocation>]) -> Change {
        self.index(&revocation.target).insert(revocation);
        self.enter(ledger, revocation.clone());
        for old in needless {
            if ledger.remove(&old.id).is_some() {
                self.forget(old);
            }
        }
        let instead_of = needless.iter().map(|old| old.id.clone()).collect();
        let change = Change::Added { revocation: revocation.clone(), instead_of };
        self.note(&change);
        change
    }

    /// Takes in those of an earlier run, before anybody asks.
    fn insert_all(&self, revocations: Vec<Arc<Revocation>>) {
        for index in [&self.tokens, &self.jtis, &self.subjects, &self.clients, &self.sids, &self.subs] {
            index.insert_all(revocations.iter().filter(|one| std::ptr::eq(self.index(&one.target), index)));
        }
        let mut ledger = self.ledger();
        for revocation in revocations {
            self.enter(&mut ledger, revocation);
        }
    }

    fn enter(&self, ledger: &mut Ledger, revocation: Arc<Revocation>) {
        self.shares.add(&revocation);
        self.version.fetch_add(1, Ordering::Release);
        self.metrics.held(revocation.source.name(), 1);
        ledger.insert(revocation.id.clone(), revocation);
    }

    /// Keeps a change for the next writing. Whoever made it still holds the ledger's lock, so that they are in order.
    fn note(&self, change: &Change) {
        if let Some(kept) = &self.kept {
            kept.note(change.clone());
        }
    }

    fn forget(&self, revocation: &Revocation) {
        self.index(&revocation.target).remove(revocation);
        self.shares.remove(revocation);
        self.version.fetch_add(1, Ordering::Release);
        self.metrics.held(revocation.source.name(), -1);
    }

    fn index(&self, target: &Target) -> &Index {
        match target {
            Target::Token { .. } => &self.tokens,
            Target::Jti(_) => &self.jtis,
            Target::Subject(_) => &self.subjects,
            Target::Client(_) => &self.clients,
            Target::Sid(_) => &self.sids,
            Target::Sub { .. } => &self.subs,
        }
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn random_id() -> Option<Arc<str>> {
    let mut random = [0; 16];
    SystemRandom::new().fill(&mut random).ok()?;
    Some(random.iter().map(|byte| format!("{byte:02x}")).collect::<String>().into())
}

impl fmt::Display for NotRevoked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            NotRevoked::Full => "there are as many revocations as are kept: lift some, or give them `expires_at`",
            NotRevoked::NoId => "the system has no random numbers",
        })
    }
}

impl fmt::Debug for Revocations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Revocations(…)")
    }
}

#[cfg(test)]
mod tests;
