//! What replicas share through Redis or Valkey (`state.redis`). No request waits for it: this process goes by what it
//! knows, and a task of the control thread brings what others know, and tells them.

mod limits;
mod link;
mod proofs;
mod revocations;

use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use tokio::{
    sync::Mutex,
    time::{sleep, timeout},
};

use self::{limits::Counts, proofs::Uses, revocations::Session};
use crate::{
    limit::Limiter,
    observe::{Observer, SharedStateMetrics},
    token::{proof::Proofs, revocation::Revocations, secret::Secret},
};

/// Between two looks for what others changed: with the time an answer may take, well below the second that is promised.
const POLL: Duration = Duration::from_millis(200);
/// After a failure; doubled with each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// Between two times that limits are told what was spent: what replicas may let through too much is what comes in so long.
const COUNT: Duration = Duration::from_millis(50);
/// Between two times that replicas tell each other of used proofs: for so long, each may take one that another has taken.
const USES: Duration = Duration::from_millis(100);
/// Between two sweeps of what is over.
const SWEEP: Duration = Duration::from_secs(60);
/// Who has ended something waits so long for the word to get out.
const TOLD_WITHIN: Duration = Duration::from_secs(1);

/// Where a Redis or Valkey server is, or several that are one: a cluster, or sentinels.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RedisSettings {
    /// rediss: TLS, the server's certificate verified.
    pub tls: bool,
    /// Where to ask first; the others if it isn't there. At least one.
    pub nodes: Vec<Node>,
    /// Of the masters that sentinels watch, which. None: there is one only.
    pub master: Option<String>,
    /// Who asks; None: the server's default user.
    pub username: Option<String>,
    /// None: no authentication.
    pub password: Option<Secret>,
    /// The database's number.
    pub database: u32,
}

/// One server's address.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Node {
    /// Name or address; IPv6 without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

/// The state that is shared, as this process sees it.
#[derive(Debug)]
pub struct SharedState {
    settings: RedisSettings,
    revocations: Arc<Revocations>,
    proofs: Arc<Proofs>,
    metrics: SharedStateMetrics,
    /// How far used proofs were exchanged; one at a time does so.
    uses: Mutex<Option<Uses>>,
    /// Whether what others had written was read once.
    read: AtomicBool,
    /// One of the below.
    server: AtomicU8,
    /// The limits of the configuration in force.
    limiters: ArcSwap<Vec<Arc<Limiter>>>,
    /// Even: at rest. Odd: maintained; each time has its own number.
    life: AtomicU64,
}

const NOT_ASKED: u8 = 0;
const UP: u8 = 1;
const DOWN: u8 = 2;

impl SharedState {
    /// Reads and tells nothing until `maintain` runs.
    pub fn new(
        settings: RedisSettings,
        revocations: Arc<Revocations>,
        proofs: Arc<Proofs>,
        observer: &Observer,
    ) -> Arc<SharedState> {
        let metrics = observer.shared_state();
        metrics.up(false);
        Arc::new(SharedState {
            settings,
            revocations,
            proofs,
            metrics,
            uses: Mutex::new(None),
            read: AtomicBool::new(false),
            server: AtomicU8::new(NOT_ASKED),
            limiters: ArcSwap::default(),
            life: AtomicU64::new(0),
        })
    }

    /// Whether what others had ended, and which proofs they had taken, before this process began is known here.
    pub fn is_read(&self) -> bool {
        self.read.load(Ordering::Relaxed)
    }

    /// Whether the server answered last time.
    pub fn is_up(&self) -> bool {
        self.server.load(Ordering::Relaxed) == UP
    }

    /// Waits, a second at most, until all changes so far are where the other replicas look; whether they are. Where
    /// they aren't, they will be when the server is back.
    pub async fn told(&self) -> bool {
        self.is_up() && timeout(TOLD_WITHIN, self.revocations.journal().all_sent()).await.is_ok()
    }

    /// Tells, within a second, what isn't told yet: the last that this process does. Whether the others know.
    pub async fn tell_the_last(&self) -> bool {
        let telling = async {
            self.revocations.journal().all_sent().await;
            self.exchange_uses().await.is_ok()
        };
        self.is_up() && timeout(TOLD_WITHIN, telling).await.unwrap_or(false)
    }

    /// From now on these are the limits that are shared.
    pub fn carry(&self, limiters: Vec<Arc<Limiter>>) {
        limiters.iter().for_each(|limiter| limiter.share());
        self.limiters.store(Arc::new(limiters));
    }

    /// Begins to keep both sides up to date, until nobody holds the state any more or it is retired; nothing where that goes on
    /// already. In a runtime of tokio.
    pub fn maintain(self: &Arc<Self>) {
        let life = self.life.load(Ordering::Acquire);
        let next = life + 1;
        if life.is_multiple_of(2) && self.life.compare_exchange(life, next, Ordering::AcqRel, Ordering::Relaxed).is_ok()
        {
            self.revocations.journal().open();
            tokio::spawn(SharedState::follow(Arc::downgrade(self), next));
            tokio::spawn(SharedState::count(Arc::downgrade(self), next));
            self.proofs.tell(true);
            tokio::spawn(SharedState::use_proofs(Arc::downgrade(self), next));
        }
    }

    /// Another takes its place: no step of it begins any more, so that no change is told to its server alone. To be called
    /// before the other is maintained. It may be maintained again.
    pub fn retire(&self) {
        let life = self.life.load(Ordering::Acquire);
        if !life.is_multiple_of(2)
            && self.life.compare_exchange(life, life + 1, Ordering::AcqRel, Ordering::Relaxed).is_ok()
        {
            self.revocations.journal().close();
            self.proofs.tell(false);
        }
    }

    async fn follow(this: Weak<SharedState>, life: u64) {
        let mut session = None;
        let mut pause = FIRST_PAUSE;
        let mut swept = Instant::now();
        while let Some(shared) = this.upgrade() {
            // One at a time tells changes: what follows one that is retired begins after its last step.
            let turn = shared.revocations.journal().turn().await;
            if shared.life.load(Ordering::Acquire) != life {
                return;
            }
            let result = shared.step(&mut session, &mut swept).await;
            drop(turn);
            shared.note(result.as_ref().err());
            let revocations = shared.revocations.clone();
            drop(shared);
            match result {
                Ok(()) => {
                    pause = FIRST_PAUSE;
                    // Elapsed or something to tell: either way it goes on.
                    let _ = timeout(POLL, revocations.journal().waiting()).await;
                }
                Err(_) => {
                    session = None;
                    sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    /// Failures are those that `follow` sees and tells of.
    async fn count(this: Weak<SharedState>, life: u64) {
        let mut counts: Option<Counts> = None;
        while let Some(shared) = this.upgrade().filter(|shared| shared.life.load(Ordering::Acquire) == life) {
            let limiters = shared.limiters.load_full();
            let counted = match &mut counts {
                _ if limiters.is_empty() => Ok(()),
                Some(counts) => counts.exchange(&limiters).await,
                None => Counts::begin(&shared.settings).await.map(|begun| counts = Some(begun)),
            };
            drop((shared, limiters));
            match counted {
                Ok(()) => sleep(COUNT).await,
                Err(error) => {
                    tracing::debug!(error, "limits are counted by this process alone");
                    counts = None;
                    sleep(LONGEST_PAUSE).await;
                }
            }
        }
    }

    /// Failures are those that `follow` sees and tells of.
    async fn use_proofs(this: Weak<SharedState>, life: u64) {
        while let Some(shared) = this.upgrade().filter(|shared| shared.life.load(Ordering::Acquire) == life) {
            // Where the server is away, `follow` finds out when it is back, and exchanges what there is then.
            if shared.is_up()
                && let Err(error) = shared.exchange_uses().await
            {
                tracing::debug!(error, "used proofs are known to this process alone");
            }
            drop(shared);
            sleep(USES).await;
        }
    }

    /// Tells which proofs were taken here, and learns which were elsewhere.
    async fn exchange_uses(&self) -> Result<(), String> {
        let mut held = self.uses.lock().await;
        let mut uses = match held.take() {
            Some(uses) => uses,
            None => Uses::begin(&self.settings).await?,
        };
        uses.exchange(&self.proofs).await?;
        *held = Some(uses);
        Ok(())
    }

    async fn step(&self, session: &mut Option<Session>, swept: &mut Instant) -> Result<(), String> {
        match session {
            Some(session) => session.go_on(&self.revocations).await?,
            None => {
                *session = Some(Session::begin(&self.settings, &self.revocations).await?);
                self.exchange_uses().await?;
            }
        }
        if let Some(session) = session
            && swept.elapsed() >= SWEEP
        {
            session.sweep().await?;
            *swept = Instant::now();
        }
        Ok(())
    }

    fn note(&self, error: Option<&String>) {
        let state = if error.is_none() { UP } else { DOWN };
        let before = self.server.swap(state, Ordering::Relaxed);
        self.metrics.up(state == UP);
        self.read.fetch_or(state == UP, Ordering::Relaxed);
        if state == before {
            return;
        }
        match error {
            Some(error) => tracing::warn!(
                error,
                "Redis can't be used: this process goes by what it knows, and tells the others when it is back"
            ),
            None if before == DOWN => tracing::info!("Redis is back: what changed meanwhile has been exchanged"),
            None => tracing::info!("Redis is there: what others have ended is known here"),
        }
    }
}

impl Drop for SharedState {
    fn drop(&mut self) {
        self.retire();
    }
}
