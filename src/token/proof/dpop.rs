//! Proofs that come with a request: that who sends it has the key that its token is bound to (RFC 9449, section 4.3).

use serde_json::{Map, Value};

use super::{Thumbprint, address, nonce::Nonces};
use crate::{
    headers::DPOP,
    refusal::ProofFault,
    request::RequestView,
    token::{
        credential::Credential,
        date::{self, Round},
        issuer::{Algorithm, IssuerSettings},
        jwt::Jwt,
        key_set::{self, Verifier},
    },
};

/// A longer one is none: there is a key and a signature in it, and little else.
const LONGEST: usize = 8 * 1024;
const TYPE: &str = "dpop+jwt";
/// EdDSA with its one curve, as newer clients call it (RFC 9864, section 2.2).
pub(super) const ED25519: &str = "Ed25519";

/// A proof that holds, but for that it may have been used before.
#[derive(Debug)]
pub(super) struct Good {
    pub(super) jti: String,
    /// Its `iat`, in Unix seconds.
    pub(super) issued: i64,
    /// It is accepted for so many seconds from then on at most.
    pub(super) window: i64,
}

/// Holds the proof that a request brings against the request, its token, and the key `bound` that this is bound to. `now` in
/// Unix seconds.
///
/// # Errors
/// There is none, or it isn't of this request, now, by that key.
pub(super) fn check(
    bound: Thumbprint,
    issuer: &IssuerSettings,
    nonces: &Nonces,
    credential: &Credential,
    view: &RequestView<'_>,
    now: i64,
) -> Result<Good, ProofFault> {
    let text = only(view)?;
    let (proof, header) = Jwt::parse_with_header(text).map_err(|_| MALFORMED)?;
    if proof.typ() != TYPE {
        return Err(ProofFault::Proof("the DPoP proof is of another type than dpop+jwt"));
    }
    if proof.is_critical() {
        return Err(ProofFault::Proof("the DPoP proof has a critical header that is not understood"));
    }
    check_signature(bound, &proof, &header, issuer)?;
    let claims = proof.claims();
    if text_of(claims, "htm")? != view.method.as_str() {
        return Err(ProofFault::Proof("the DPoP proof is for another method"));
    }
    if !address::is_of(text_of(claims, "htu")?, view) {
        return Err(ProofFault::Proof("the DPoP proof is for another address"));
    }
    let jti = text_of(claims, "jti")?;
    if text_of(claims, "ath")? != Thumbprint::of(credential.expose().as_bytes()).to_string() {
        return Err(ProofFault::Proof("the DPoP proof is for another token"));
    }
    if issuer.sender.dpop_nonce && !nonce(claims).is_some_and(|nonce| nonces.is_good(nonce, now)) {
        return Err(ProofFault::NonceNeeded(nonces.give(now)));
    }
    Ok(Good { jti: jti.to_owned(), issued: issued(claims, issuer, now)?, window: window(issuer) })
}

const MALFORMED: ProofFault = ProofFault::Proof("the DPoP proof is malformed");

/// The text of the request's one proof.
fn only<'v>(view: &RequestView<'v>) -> Result<&'v str, ProofFault> {
    let mut lines = view.headers.get_all(DPOP).iter();
    match (lines.next(), lines.next()) {
        (None, _) => Err(ProofFault::Proof("a DPoP proof is needed")),
        (Some(_), Some(_)) => Err(ProofFault::Proof("there is more than one DPoP proof")),
        (Some(line), None) if line.len() > LONGEST => Err(MALFORMED),
        (Some(line), None) => line.to_str().map_err(|_| MALFORMED),
    }
}

/// Whether a proof is signed by the key in its header, and that is the one that the token is bound to: this first, so that nobody
/// has other keys tried here.
fn check_signature(
    bound: Thumbprint,
    proof: &Jwt<'_>,
    header: &Map<String, Value>,
    issuer: &IssuerSettings,
) -> Result<(), ProofFault> {
    let is_accepted = |algorithm: &Algorithm| issuer.proof_algorithms().any(|accepted| accepted == *algorithm);
    let algorithm = match header.get("alg") {
        Some(name) if name == ED25519 => Some(Algorithm::EdDsa),
        _ => proof.algorithm(),
    };
    let algorithm = algorithm
        .filter(is_accepted)
        .ok_or(ProofFault::Proof("the DPoP proof is signed with an algorithm that is not accepted"))?;
    let Some(Value::Object(jwk)) = header.get("jwk") else {
        return Err(ProofFault::Proof("the DPoP proof has no public key"));
    };
    let unusable = ProofFault::Proof("the key of the DPoP proof can not be used");
    if thumbprint(jwk).ok_or(unusable)? != bound {
        return Err(ProofFault::OtherKey);
    }
    let verifier = verifier(jwk, algorithm).ok_or(unusable)?;
    match verifier.is_signed(proof.signed(), proof.signature()) {
        true => Ok(()),
        false => Err(ProofFault::Proof("the signature of the DPoP proof does not verify")),
    }
}

fn verifier(jwk: &Map<String, Value>, algorithm: Algorithm) -> Option<Verifier> {
    if algorithm == Algorithm::EdDsa && jwk.get("alg").is_some_and(|name| name == ED25519) {
        let mut jwk = jwk.clone();
        jwk.insert("alg".to_owned(), algorithm.name().into());
        return key_set::verifier(&jwk, algorithm);
    }
    key_set::verifier(jwk, algorithm)
}

/// RFC 7638, section 3. The members of a key that is good besides are texts without anything to escape.
fn thumbprint(jwk: &Map<String, Value>) -> Option<Thumbprint> {
    let member = |name: &str| jwk.get(name)?.as_str();
    let text = match member("kty")? {
        "EC" => {
            let (curve, x, y) = (member("crv")?, member("x")?, member("y")?);
            format!(r#"{{"crv":"{curve}","kty":"EC","x":"{x}","y":"{y}"}}"#)
        }
        "OKP" => format!(r#"{{"crv":"{}","kty":"OKP","x":"{}"}}"#, member("crv")?, member("x")?),
        "RSA" => format!(r#"{{"e":"{}","kty":"RSA","n":"{}"}}"#, member("e")?, member("n")?),
        _ => return None,
    };
    Some(Thumbprint::of(text.as_bytes()))
}

/// When the proof was made, if it is accepted now.
fn issued(claims: &Map<String, Value>, issuer: &IssuerSettings, now: i64) -> Result<i64, ProofFault> {
    let skew = seconds(issuer.jwt.clock_skew.as_secs());
    let date = |name, round| date::of(claims, name, round, false).map_err(|_| MALFORMED);
    let issued = date("iat", Round::Up)?.ok_or(MALFORMED)?;
    let begins = |begin: i64| now >= begin.saturating_sub(skew);
    if !begins(issued) || !date("nbf", Round::Up)?.is_none_or(begins) {
        return Err(ProofFault::Proof("the DPoP proof is from the future"));
    }
    let has_ended = date("exp", Round::Down)?.is_some_and(|end| now >= end.saturating_add(skew));
    if has_ended || now > issued.saturating_add(window(issuer)) {
        return Err(ProofFault::Proof("the DPoP proof is too old"));
    }
    Ok(issued)
}

/// For how many seconds from its `iat` on a proof is accepted that comes with a token of this issuer.
pub(super) fn window(issuer: &IssuerSettings) -> i64 {
    seconds(issuer.sender.dpop_max_age.as_secs()).saturating_add(seconds(issuer.jwt.clock_skew.as_secs()))
}

/// A member that must be there and say something.
fn text_of<'c>(claims: &'c Map<String, Value>, name: &str) -> Result<&'c str, ProofFault> {
    claims.get(name).and_then(Value::as_str).filter(|text| !text.is_empty()).ok_or(MALFORMED)
}

fn nonce(claims: &Map<String, Value>) -> Option<&str> {
    claims.get("nonce")?.as_str()
}

fn seconds(seconds: u64) -> i64 {
    i64::try_from(seconds).unwrap_or(i64::MAX)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use serde_json::json;

    use super::*;

    /// RFC 7638, section 3.1; RFC 8037, appendix A.3; RFC 9449, section 6.1.
    #[test]
    fn thumbprints() {
        let rsa = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw";
        for (jwk, expected) in [
            (
                json!({"kty": "RSA", "n": rsa, "e": "AQAB", "alg": "RS256", "kid": "2011-04-29"}),
                "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs",
            ),
            (
                json!({"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}),
                "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k",
            ),
            (
                json!({
                    "kty": "EC", "crv": "P-256",
                    "x": "l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFs",
                    "y": "9VE4jf_Ok_o64zbTTlcuNJajHmt6v9TDVrU0CdvGRDA",
                }),
                "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I",
            ),
        ] {
            assert_eq!(thumbprint(jwk.as_object().unwrap()).unwrap().to_string(), expected);
        }
        assert_eq!(thumbprint(json!({"kty": "oct", "k": "AA"}).as_object().unwrap()), None);
    }
}
