//! Notices: tokens by which an issuer tells that sessions have ended. Logout tokens (OpenID Connect Back-Channel Logout
//! 1.0, section 2.4) and security event tokens (RFC 8417), verified as its access tokens are, with the same keys; neither
//! passes for an access token, and no access or ID token for one of them.

mod content;
mod event;
mod fault;
mod subject;

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use moka::sync::Cache;
use tokio::sync::Semaphore;

pub use self::fault::{NoticeFault, Refused};
use super::{
    Asking,
    check::{Check, Step},
    issuer::{Issuer, LogoutSettings},
    jwt::Jwt,
    key_set::KeySet,
    revocation::{Source, Target, TokenId, Wish},
};
use crate::{observe::Verified, refusal::TokenFault};

/// Notices at a time that may wait for keys.
const MOST_WAITING: usize = 256;
/// When it is worth to come again where that many wait.
const WHEN_BUSY: Duration = Duration::from_secs(1);
/// Notices that are remembered, and for how long: after that, they are too old.
const MOST_KNOWN: u64 = 100_000;
const LONGEST_KNOWN: Duration = Duration::from_secs(25 * 3600);
/// Of one user, so many sessions a day are ended each by itself; with the next, all of the user's are. Who logs in and out without
/// end takes no room from others.
const SESSIONS_A_DAY: u32 = 32;
const DAY: Duration = Duration::from_secs(24 * 3600);
/// Users whose sessions are counted.
const MOST_COUNTED: u64 = 100_000;

/// How an issuer tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Channel {
    /// By a logout token.
    BackChannel,
    /// By a security event token, pushed (RFC 8935).
    Events,
}

impl Channel {
    /// Those by which an issuer is to tell.
    pub fn of(logout: LogoutSettings) -> impl Iterator<Item = Channel> {
        let channels = [(logout.back_channel, Channel::BackChannel), (logout.events, Channel::Events)];
        channels.into_iter().filter_map(|(is_wanted, channel)| is_wanted.then_some(channel))
    }

    /// What it is called in paths and in the log.
    pub fn word(self) -> &'static str {
        match self {
            Channel::BackChannel => "logout",
            Channel::Events => "events",
        }
    }

    /// The canonical path at which the issuer of this name tells by it.
    pub fn place(self, issuer: &str) -> String {
        format!("/.well-known/bearward/{}/{issuer}", self.word())
    }
}

/// What an issuer has told: signed by it, for this gateway, lately.
#[derive(Debug)]
pub struct Notice {
    /// What is to be ended; nothing where it tells something else.
    pub wishes: Vec<Wish>,
    /// What it tells of, in words for the log that hold nothing of it.
    pub told: Vec<&'static str>,
    id: TokenId,
}

/// What is known of notices. One for the process.
pub struct Desk {
    waiting: Semaphore,
    /// Those that were seen through. A repeated one is answered as the first and does nothing (RFC 8935, section 2), also
    /// where what it ended was lifted since. Named by all that is signed: two that share a `jti` by mistake are two.
    known: Cache<TokenId, ()>,
    /// How many sessions of a user have ended today.
    sessions: Cache<TokenId, Arc<AtomicU32>>,
}

impl Notice {
    /// Whose sessions it ends, where it names somebody.
    pub fn subject(&self) -> Option<&str> {
        self.wishes.iter().find_map(|wish| match &wish.target {
            Target::Sub { sub, .. } => Some(sub.as_str()),
            _ => None,
        })
    }
}

impl Default for Desk {
    fn default() -> Desk {
        Desk {
            waiting: Semaphore::new(MOST_WAITING),
            known: Cache::builder().max_capacity(MOST_KNOWN).time_to_live(LONGEST_KNOWN).build(),
            sessions: Cache::builder().max_capacity(MOST_COUNTED).time_to_live(DAY).build(),
        }
    }
}

impl Desk {
    /// Whether this notice was seen through before.
    pub fn knows(&self, notice: &Notice) -> bool {
        self.known.contains_key(&notice.id)
    }

    /// It was seen through.
    pub fn remember(&self, notice: &Notice) {
        self.known.insert(notice.id, ());
    }

    /// What is to be ended by it: the session that it names, or all of its user's where too many of them have ended today.
    pub fn wishes(&self, notice: &Notice) -> Vec<Wish> {
        let user = notice.wishes.iter().find(|wish| matches!(wish.target, Target::Sub { without_sid: true, .. }));
        let Some(Wish { target: Target::Sub { sub, .. }, issuer, .. }) = user else { return notice.wishes.clone() };
        let authority = issuer.as_ref().map_or("", |issuer| &*issuer.authority);
        let name = TokenId::of_signed(format!("{} {authority}{sub}", authority.len()).as_bytes());
        let ended = self.sessions.get_with(name, Arc::default).fetch_add(1, Ordering::Relaxed);
        if ended < SESSIONS_A_DAY {
            return notice.wishes.clone();
        }
        let whole = |wish: &Wish| match &wish.target {
            Target::Sid(_) => None,
            Target::Sub { sub, .. } => {
                Some(Wish { target: Target::Sub { sub: sub.clone(), without_sid: false }, ..wish.clone() })
            }
            _ => Some(wish.clone()),
        };
        notice.wishes.iter().filter_map(whole).collect()
    }

    /// What an issuer tells by this token. `now` in Unix seconds.
    ///
    /// # Errors
    /// It isn't one that the issuer has signed for this gateway, it can't be understood, or the keys can't be had now.
    pub async fn read(&self, text: &str, issuer: &Arc<Issuer>, channel: Channel, now: i64) -> Result<Notice, Refused> {
        let Ok(jwt) = Jwt::parse(text) else {
            return Err(NoticeFault::Token(TokenFault::Malformed).of_nobody());
        };
        let began = Instant::now();
        let mut waited = Duration::ZERO;
        let reading = Reading { issuer, channel, jwt: &jwt, now };
        let result = match reading.with(issuer.keys.at_hand(), issuer.keys.is_remote()) {
            Ok(Read::Notice(notice)) => Ok(notice),
            Err(refused) => Err(refused),
            Ok(Read::UnknownKey) => {
                let result = self.with_fetched_keys(&reading).await;
                waited = began.elapsed();
                result
            }
        };
        Verified {
            algorithm: jwt.algorithm().map_or("", |algorithm| algorithm.name()),
            result: result.as_ref().map_or_else(|refused| refused.fault.reason(), |_| "ok"),
            took: began.elapsed().saturating_sub(waited),
        }
        .record(&issuer.metrics);
        result
    }

    /// By the rules of tokens with a `kid` that isn't known: one fetch in 5 s, for all who wait. Where the last one began before the
    /// notice came, its `kid` may be newer, and nobody sends a logout twice: the next one is waited for.
    async fn with_fetched_keys(&self, reading: &Reading<'_>) -> Result<Notice, Refused> {
        let unavailable = |retry_after| NoticeFault::KeysUnavailable { retry_after }.of_nobody();
        let Ok(_place) = self.waiting.try_acquire() else { return Err(unavailable(WHEN_BUSY)) };
        let keys = &reading.issuer.keys;
        let begun = keys.begun();
        let mut fetched = keys.after_fetch(Asking::InForce).await;
        if let Ok(known) = &fetched
            && keys.begun() == begun
        {
            match reading.with(Some(known.clone()), true)? {
                Read::Notice(notice) => return Ok(notice),
                Read::UnknownKey => fetched = keys.after_next_fetch(Asking::InForce).await,
            }
        }
        let (at_hand, failed) = match fetched {
            Ok(fetched) => (Some(fetched), None),
            // Keys of an earlier run may be at hand by now.
            Err(failed) => (keys.at_hand(), Some(failed)),
        };
        match reading.with(at_hand, failed.is_some())? {
            Read::Notice(notice) => Ok(notice),
            Read::UnknownKey => Err(match failed {
                Some(failed) => unavailable(failed.retry_after),
                None => NoticeFault::Token(TokenFault::Key).of_nobody(),
            }),
        }
    }
}

/// A token that is read as a notice of an issuer's.
struct Reading<'r> {
    issuer: &'r Arc<Issuer>,
    channel: Channel,
    jwt: &'r Jwt<'r>,
    /// Unix seconds.
    now: i64,
}

enum Read {
    Notice(Notice),
    /// It may have been signed by a key that would have to be fetched; nothing else speaks against it.
    UnknownKey,
}

impl Reading<'_> {
    /// In the order in which faults are named of any token. Where a key might be found by a fetch, all else comes first: it
    /// may spare it.
    fn with(&self, keys: Option<Arc<KeySet>>, may_fetch: bool) -> Result<Read, Refused> {
        let check = Check::by(self.issuer, keys, self.jwt, self.now);
        let form = check.first_fault(&[Step::Dates, Step::Algorithm]);
        let form = form.or_else(|| (!self.channel.takes(self.jwt.typ())).then_some(TokenFault::Type));
        let form = form.or_else(|| check.first_fault(&[Step::Critical]));
        let named = self.jwt.issuer();
        let is_its = named.is_some() && named == self.issuer.settings.issuer.as_deref();
        if let Some(fault) = form.or_else(|| (!is_its).then_some(TokenFault::Issuer)) {
            return Err(NoticeFault::Token(fault).of_nobody());
        }
        let fault = check.first_fault(&Step::SIGNATURE);
        match (fault, check.signer()) {
            (None, Some(_)) => self.says(&check).map(Read::Notice).map_err(NoticeFault::of_issuer),
            _ if may_fetch && !check.is_kid_known() => {
                self.says(&check).map(|_| Read::UnknownKey).map_err(NoticeFault::of_nobody)
            }
            (fault, _) => Err(NoticeFault::Token(fault.unwrap_or(TokenFault::Signature)).of_nobody()),
        }
    }

    fn says(&self, check: &Check<'_>) -> Result<Notice, NoticeFault> {
        if let Some(fault) = check.first_fault(&[Step::Expiry, Step::NotBefore]) {
            return Err(NoticeFault::Token(fault));
        }
        let content = content::read(&self.issuer.settings, self.channel, self.jwt, self.now)?;
        Ok(Notice { wishes: content.wishes, told: content.told, id: TokenId::of_signed(self.jwt.signed()) })
    }
}

impl Channel {
    /// The source of the revocations that come by it.
    pub fn source(self) -> Source {
        match self {
            Channel::BackChannel => Source::BackChannel,
            Channel::Events => Source::Events,
        }
    }

    /// Whether tokens of this `typ` come by it: lower-case, without `application/`. Logout tokens without one are older than it;
    /// their `events` tell them from others (OpenID Connect Back-Channel Logout 1.0, section 2.4).
    fn takes(self, typ: &str) -> bool {
        match self {
            Channel::BackChannel => matches!(typ, "logout+jwt" | "jwt"),
            Channel::Events => typ == "secevent+jwt",
        }
    }
}

impl fmt::Debug for Desk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Desk(…)")
    }
}

#[cfg(test)]
mod tests;
