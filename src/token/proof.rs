//! What proves that a token is presented by whom it was given to: the certificate of the connection (RFC 8705), or a proof that
//! the request brings (RFC 9449). A verdict about a token may be remembered; its proof is asked of each request.

mod address;
mod binding;
mod certificate;
mod dpop;
mod nonce;
mod seen;
mod thumbprint;

use std::sync::Arc;

use self::{
    nonce::Nonces,
    seen::{Refused, Seen},
};
use super::{
    credential::Credential,
    issuer::{Algorithm, Issuer, IssuerSettings},
    principal::Principal,
    secret::Secret,
};
use crate::{refusal::ProofFault, request::RequestView};

pub use self::{binding::Binding, nonce::Nonce, seen::Use, thumbprint::Thumbprint};

/// The algorithms that proofs may be signed with that come with these issuers' tokens, by all their names.
pub fn algorithm_names<'i>(issuers: impl Iterator<Item = &'i IssuerSettings> + Clone) -> Vec<&'static str> {
    let takes = |algorithm: &Algorithm| {
        issuers.clone().any(|issuer| issuer.proof_algorithms().any(|accepted| accepted == *algorithm))
    };
    let names = Algorithm::ALL.into_iter().filter(takes).flat_map(|algorithm| {
        let newer = (algorithm == Algorithm::EdDsa).then_some(dpop::ED25519);
        [algorithm.name()].into_iter().chain(newer)
    });
    names.collect()
}

/// What a process knows of proofs: those that were used, and the nonces that it gives. Outlives a reload.
#[derive(Debug)]
pub struct Proofs {
    seen: Seen,
    nonces: Arc<Nonces>,
}

impl Proofs {
    /// Nothing is known yet.
    ///
    /// # Errors
    /// The system has no random numbers.
    pub fn new() -> Result<Proofs, String> {
        Ok(Proofs { seen: Seen::default(), nonces: Arc::new(Nonces::new()?) })
    }

    /// For what decides the same requests beside this: the same nonces, and a memory of its own.
    #[must_use]
    pub fn beside(&self) -> Proofs {
        Proofs { seen: Seen::default(), nonces: self.nonces.clone() }
    }

    /// From now on proofs are remembered for as long as any of these issuers' settings accept them, at least.
    pub fn remember_for<'i>(&self, issuers: impl Iterator<Item = &'i IssuerSettings>) {
        self.seen.remember_for(issuers.map(dpop::window).max().unwrap_or_default());
    }

    /// Whether replicas are to be told of uses, from now on.
    pub fn tell(&self, is_told: bool) {
        self.seen.tell(is_told);
    }

    /// The first uses that replicas are to be told of, so many at most.
    pub fn untold(&self, most: usize) -> Vec<Use> {
        self.seen.untold(most)
    }

    /// These were told.
    pub fn told(&self, uses: &[Use]) {
        self.seen.told(uses);
    }

    /// Notes that another replica has accepted a proof. `now` in Unix seconds.
    pub fn learn(&self, used: Use, now: i64) {
        self.seen.learn(used, now);
    }

    /// What signs the nonces that are given now, for other replicas.
    pub fn nonce_secret(&self) -> Secret {
        self.nonces.secret()
    }

    /// From now on nonces are signed by this, as other replicas' are.
    pub fn share_nonces(&self, secret: &[u8]) {
        self.nonces.share(secret);
    }
}

/// What came of the proof in a rehearsal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// The token is nobody's, or no good anyway.
    NotAsked,
    /// The request shows nothing: nobody can make a proof up to ask why, so it counts as given.
    TakenAsGiven,
    /// The request comes from whom the token is bound to.
    Shown,
    /// It doesn't.
    Refused(ProofFault),
}

/// Whether the request that carries this token comes from whom it is bound to. `issuers`: those of the route, of which one has
/// issued it. `now` in Unix seconds.
///
/// # Errors
/// It doesn't, or doesn't show it.
pub(in crate::token) fn check(
    principal: &Principal,
    credential: &Credential,
    issuers: &[Arc<Issuer>],
    proofs: &Proofs,
    view: &RequestView<'_>,
    now: i64,
) -> Result<(), ProofFault> {
    let Some((key, proof)) = unused(principal, credential, issuers, proofs, view, now)? else { return Ok(()) };
    proofs.seen.take(key, &proof.jti, proof.issued, proof.window, now).map_err(|refused| match refused {
        Refused::Known => ProofFault::Proof("the DPoP proof was used before"),
        Refused::NoRoom => ProofFault::TooMany,
    })
}

/// The same in a rehearsal: that a proof is used isn't noted.
pub(in crate::token) fn rehearse(
    principal: &Principal,
    credential: &Credential,
    issuers: &[Arc<Issuer>],
    proofs: &Proofs,
    view: &RequestView<'_>,
    now: i64,
) -> Proof {
    match (unused(principal, credential, issuers, proofs, view, now), principal.binding) {
        (Err(ProofFault::NoCertificate | ProofFault::NotShown), _) => Proof::TakenAsGiven,
        (Err(fault), _) => Proof::Refused(fault),
        (Ok(_), Binding::Nobody) => Proof::NotAsked,
        (Ok(_), _) => Proof::Shown,
    }
}

/// All that can be asked without noting anything; a proof that holds is still to be used, once.
fn unused(
    principal: &Principal,
    credential: &Credential,
    issuers: &[Arc<Issuer>],
    proofs: &Proofs,
    view: &RequestView<'_>,
    now: i64,
) -> Result<Option<(Thumbprint, dpop::Good)>, ProofFault> {
    let (certificate, key) = match principal.binding {
        Binding::Unsupported => return Err(ProofFault::Unsupported),
        Binding::Nobody => (None, None),
        Binding::Sender { certificate, key } => (certificate, key),
    };
    if let Some(bound) = certificate {
        certificate::check(bound, view)?;
    }
    match (key, credential.is_dpop()) {
        (None, false) => Ok(None),
        (None, true) => Err(ProofFault::NotBound),
        (Some(_), false) => Err(ProofFault::NotShown),
        (Some(bound), true) => {
            let issuer = issuers.iter().find(|issuer| issuer.settings.name == *principal.issuer());
            let issuer = issuer.ok_or(ProofFault::Unsupported)?;
            let proof = dpop::check(bound, &issuer.settings, &proofs.nonces, credential, view, now)?;
            Ok(Some((bound, proof)))
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests;
