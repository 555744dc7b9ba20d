//! What replicas tell each other of DPoP proofs: which were used, and the key that their nonces are signed by.
//!
//! In the server: a stream of batches of uses, each replica reading on from where it was, one that is new from the
//! beginning; and the key, which is the first replica's. A use is a hash: nothing of a proof or token is in it.

use redis::{cmd, pipe};

use super::{RedisSettings, link::Link};
use crate::token::{
    now,
    proof::{Proofs, Use},
};

const USED: &str = "{bearward:proofs}:used";
const NONCE_KEY: &str = "{bearward:proofs}:nonce-key";
/// Uses in one entry of the stream.
const BATCH: usize = 500;
/// Entries of the stream: of several minutes, where all replicas are busy.
const ENTRIES: usize = 20_000;
/// Entries that are read at once.
const READ: usize = 100;
/// In seconds. Nobody asks for older ones.
const KEPT: i64 = 24 * 3600;

/// A connection, and how far the uses were read.
pub(super) struct Uses {
    link: Link,
    last: String,
}

impl std::fmt::Debug for Uses {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Uses").field("last", &self.last).finish_non_exhaustive()
    }
}

/// Of the stream: its id, names and values.
type Entry = (String, Vec<(String, Vec<u8>)>);

impl Uses {
    /// # Errors
    /// In words for the operator.
    pub(super) async fn begin(settings: &RedisSettings) -> Result<Uses, String> {
        Ok(Uses { link: Link::connect(settings).await?, last: "0".to_owned() })
    }

    /// Tells what was used here, and learns what was used elsewhere.
    ///
    /// # Errors
    /// As `begin`. What wasn't told will be.
    pub(super) async fn exchange(&mut self, proofs: &Proofs) -> Result<(), String> {
        self.agree_on_nonces(proofs).await?;
        loop {
            let untold = proofs.untold(BATCH);
            if untold.is_empty() {
                break;
            }
            let bytes = untold.iter().flat_map(Use::to_bytes).collect::<Vec<u8>>();
            let mut tell = pipe();
            tell.cmd("XADD").arg(USED).arg("MAXLEN").arg("~").arg(ENTRIES).arg("*").arg("uses").arg(bytes).ignore();
            tell.cmd("EXPIRE").arg(USED).arg(KEPT).ignore();
            tell.query_async::<()>(&mut self.link).await.map_err(said)?;
            proofs.told(&untold);
        }
        loop {
            let mut ask = cmd("XREAD");
            ask.arg("COUNT").arg(READ).arg("STREAMS").arg(USED).arg(&self.last);
            let read: Option<Vec<(String, Vec<Entry>)>> = ask.query_async(&mut self.link).await.map_err(said)?;
            let entries = read.into_iter().flatten().flat_map(|(_, entries)| entries).collect::<Vec<_>>();
            let count = entries.len();
            for (id, fields) in entries {
                let uses = fields.iter().flat_map(|(_, bytes)| Use::all_of(bytes));
                uses.for_each(|used| proofs.learn(used, now()));
                self.last = id;
            }
            if count < READ {
                return Ok(());
            }
        }
    }

    /// Whoever comes first says by which key; a server that has forgotten it is told again.
    async fn agree_on_nonces(&mut self, proofs: &Proofs) -> Result<(), String> {
        let mut agree = pipe();
        agree.cmd("SET").arg(NONCE_KEY).arg(proofs.nonce_secret().expose()).arg("NX").ignore();
        agree.cmd("GET").arg(NONCE_KEY);
        let (secret,): (Vec<u8>,) = agree.query_async(&mut self.link).await.map_err(said)?;
        proofs.share_nonces(&secret);
        Ok(())
    }
}

fn said(error: redis::RedisError) -> String {
    error.to_string()
}
