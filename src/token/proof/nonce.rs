//! Nonces that clients put into their proofs (RFC 9449, section 9). Nothing is kept of them: each is a span of time, signed by
//! this process, or by all replicas.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use aws_lc_rs::{
    constant_time::verify_slices_are_equal,
    hmac,
    rand::{SecureRandom, SystemRandom},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use zeroize::Zeroizing;

use crate::token::secret::Secret;

/// In seconds. A nonce is good in the span that it was given in, and in the next one.
const SPAN: i64 = 150;
/// Of the span's number, and of what signs it.
const NUMBER: usize = 8;
const TAG: usize = 16;
/// In base64url.
const LENGTH: usize = 32;

/// A nonce as it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nonce([u8; LENGTH]);

/// Gives nonces, and knows its own again.
pub(super) struct Nonces {
    own: Signing,
    /// What other replicas sign by, too.
    shared: ArcSwapOption<Signing>,
}

struct Signing {
    secret: Secret,
    key: hmac::Key,
}

impl Signing {
    fn by(secret: &[u8]) -> Signing {
        Signing { secret: Secret::new(secret.to_vec()), key: hmac::Key::new(hmac::HMAC_SHA256, secret) }
    }
}

impl Nonces {
    /// With a key that nobody else has.
    ///
    /// # Errors
    /// The system has no random numbers.
    pub(super) fn new() -> Result<Nonces, String> {
        let mut secret = Zeroizing::new([0; 32]);
        SystemRandom::new().fill(&mut *secret).map_err(|_| "the system has no random numbers".to_owned())?;
        Ok(Nonces { own: Signing::by(&*secret), shared: ArcSwapOption::empty() })
    }

    /// What new ones are signed by.
    pub(super) fn secret(&self) -> Secret {
        self.shared.load().as_deref().unwrap_or(&self.own).secret.clone()
    }

    /// From now on nonces are signed by this; those of before stay good.
    pub(super) fn share(&self, secret: &[u8]) {
        if self.secret().expose() != secret {
            self.shared.store(Some(Arc::new(Signing::by(secret))));
        }
    }

    /// A new one, as of `now`, in Unix seconds.
    pub(super) fn give(&self, now: i64) -> Nonce {
        let shared = self.shared.load();
        nonce(&shared.as_deref().unwrap_or(&self.own).key, now.div_euclid(SPAN))
    }

    /// Whether it is one of ours and not too old. Clocks of replicas may differ by a span.
    pub(super) fn is_good(&self, text: &str, now: i64) -> bool {
        let (span, shared) = (now.div_euclid(SPAN), self.shared.load());
        [Some(&self.own), shared.as_deref()].into_iter().flatten().any(|Signing { key, .. }| {
            (span - 1..=span + 1).any(|span| verify_slices_are_equal(&nonce(key, span).0, text.as_bytes()).is_ok())
        })
    }
}

fn nonce(key: &hmac::Key, span: i64) -> Nonce {
    let number = span.to_be_bytes();
    let tag = hmac::sign(key, &number);
    let mut bytes = [0; NUMBER + TAG];
    bytes.iter_mut().zip(number.iter().chain(tag.as_ref())).for_each(|(to, from)| *to = *from);
    let mut nonce = [0; LENGTH];
    // 24 bytes are 32 characters.
    let _ = URL_SAFE_NO_PAD.encode_slice(bytes, &mut nonce);
    Nonce(nonce)
}

impl Nonce {
    /// Base64url: a header value as it is.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl std::fmt::Debug for Nonces {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Nonces(…)")
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use super::*;

    const NOW: i64 = 1_800_000_000;

    fn text(nonce: Nonce) -> String {
        String::from_utf8(nonce.as_bytes().to_vec()).unwrap()
    }

    #[test]
    fn a_nonce_is_good_for_a_while() {
        let nonces = Nonces::new().unwrap();
        let given = text(nonces.give(NOW));
        assert_eq!(given.len(), LENGTH);
        assert!(given.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)), "{given}");
        for (later, is_good) in [(0, true), (149, true), (2 * SPAN, false), (100_000, false), (-2 * SPAN, false)] {
            assert_eq!(nonces.is_good(&given, NOW + later), is_good, "{later}");
        }
        assert!(nonces.is_good(&given, (NOW / SPAN + 2) * SPAN - 1));
    }

    #[test]
    fn nobody_elses_is() {
        let nonces = Nonces::new().unwrap();
        let given = text(nonces.give(NOW));
        let others = text(Nonces::new().unwrap().give(NOW));
        for wrong in ["", "x", &given[1..], &given.to_lowercase(), &(given.clone() + "A"), &others] {
            assert!(!nonces.is_good(wrong, NOW), "{wrong}");
        }
    }

    #[test]
    fn replicas_know_each_others() {
        let replicas = [Nonces::new().unwrap(), Nonces::new().unwrap()];
        let before = text(replicas[0].give(NOW));
        for replica in &replicas {
            replica.share(b"a secret that both have");
        }
        assert!(replicas[1].is_good(&text(replicas[0].give(NOW)), NOW));
        assert!(replicas[0].is_good(&before, NOW) && !replicas[1].is_good(&before, NOW));
    }
}
