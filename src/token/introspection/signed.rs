//! Signed answers (RFC 9701, section 5).

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::token::{
    Asking,
    check::{Check, Step},
    date::{self, Round},
    issuer::Issuer,
    jwt::Jwt,
    key_set::KeySet,
};

const TYPE: &str = "token-introspection+jwt";

/// What a signed answer says, if this issuer has signed it, for this client, since `asked_at` (Unix seconds).
///
/// # Errors
/// It doesn't hold, or the issuer's keys can't be had; in words for the operator, with nothing of the answer.
pub(super) async fn members(
    issuer: &Arc<Issuer>,
    client_id: &str,
    text: &str,
    asked_at: i64,
) -> Result<Map<String, Value>, &'static str> {
    let jwt = Jwt::parse(text).map_err(|_| "the answer isn't a signed one")?;
    if jwt.typ() != TYPE {
        return Err("the answer is signed, and its `typ` isn't that of an introspection's answer");
    }
    if jwt.issuer().is_none() || jwt.issuer() != issuer.settings.issuer.as_deref() {
        return Err("the answer is signed, and its `iss` isn't the issuer");
    }
    if !jwt.audiences().iter().any(|audience| audience == client_id) {
        return Err("the answer is signed for another client");
    }
    let skew = i64::try_from(issuer.settings.jwt.clock_skew.as_secs()).unwrap_or(i64::MAX);
    match date::of(jwt.claims(), "iat", Round::Down, false) {
        Ok(Some(issued)) if issued >= asked_at.saturating_sub(skew) => {}
        _ => return Err("the answer is signed without `iat`, or before it was asked for"),
    }
    if !is_signed(issuer, issuer.keys.at_hand(), &jwt, asked_at)? {
        let keys = issuer
            .keys
            .after_fetch(Asking::InForce)
            .await
            .map_err(|_| "the keys to verify the signed answer can't be had")?;
        if !is_signed(issuer, Some(keys), &jwt, asked_at)? {
            return Err("the signature of the answer doesn't verify");
        }
    }
    match jwt.claims().get("token_introspection") {
        Some(Value::Object(members)) => Ok(members.clone()),
        _ => Err("the answer is signed and has no `token_introspection`"),
    }
}

/// False: not with these keys, and others may be had.
fn is_signed(issuer: &Arc<Issuer>, keys: Option<Arc<KeySet>>, jwt: &Jwt<'_>, now: i64) -> Result<bool, &'static str> {
    let check = Check::by(issuer, keys, jwt, now);
    if check.first_fault(&[Step::Algorithm, Step::Critical]).is_some() {
        return Err("the answer is signed with an algorithm that isn't accepted, or has a `crit`");
    }
    match check.signer() {
        Some(_) => Ok(true),
        None if check.is_kid_known() => Err("the signature of the answer doesn't verify"),
        None => Ok(false),
    }
}
