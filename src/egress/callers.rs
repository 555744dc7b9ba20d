//! Exchanged tokens, one for each caller's (RFC 8693). Callers' tokens are named by a keyed hash: who reads this memory
//! finds none, and nobody can make two that collide.

use std::{fmt, sync::Arc, time::Duration};

use aws_lc_rs::{
    hmac,
    rand::{SecureRandom, SystemRandom},
};
use moka::{policy::EvictionPolicy, sync::Cache};
use zeroize::Zeroizing;

use super::{
    access_token::AccessToken,
    slot::Slot,
    source::{Fault, TokenSource},
};
use crate::{memory, token::credential::Credential};

/// What all exchanged tokens of an upstream may take, where an eighth of what this process may take isn't less.
const MOST_BYTES: u64 = 32 * 1024 * 1024;
/// What an entry takes beside its token.
const ENTRY_BYTES: u32 = 1024;
/// A caller that is away for so long has its token exchanged anew.
const IDLE: Duration = Duration::from_secs(3600);

type Name = [u8; 32];

/// The exchanged tokens of one upstream. Bounded in bytes: those that were used last stay.
pub(super) struct Callers {
    secret: hmac::Key,
    slots: Cache<Name, Arc<Slot>>,
}

impl Callers {
    /// # Errors
    /// The system has no random numbers.
    pub(super) fn new() -> Result<Callers, String> {
        let mut secret = Zeroizing::new([0; 32]);
        SystemRandom::new().fill(&mut *secret).map_err(|_| "the system has no random numbers".to_owned())?;
        let slots = Cache::builder()
            .max_capacity(memory::at_most(MOST_BYTES, 8))
            .weigher(|_, slot: &Arc<Slot>| slot.bytes().saturating_add(ENTRY_BYTES))
            .eviction_policy(EvictionPolicy::lru())
            .time_to_idle(IDLE)
            .build();
        Ok(Callers { secret: hmac::Key::new(hmac::HMAC_SHA256, &*secret), slots })
    }

    /// What this caller's token is exchanged for.
    pub(super) async fn token(
        &self,
        source: &Arc<TokenSource>,
        caller: &Credential,
    ) -> Result<(Arc<AccessToken>, Arc<Slot>), Fault> {
        let name = self.name(caller);
        let slot = self.slots.get_with(name, Slot::new);
        let token = slot.token(source, Some(caller)).await?;
        if slot.weigh(&token) {
            self.slots.insert(name, slot.clone());
        }
        Ok((token, slot))
    }

    fn name(&self, caller: &Credential) -> Name {
        let mut name = [0; 32];
        let tag = hmac::sign(&self.secret, caller.expose().as_bytes());
        name.iter_mut().zip(tag.as_ref()).for_each(|(to, from)| *to = *from);
        name
    }
}

impl fmt::Debug for Callers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Callers").field("entries", &self.slots.entry_count()).finish_non_exhaustive()
    }
}
