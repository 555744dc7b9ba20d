//! What a notice says, held against what it may say, and what is to be ended by it.

use std::time::Duration;

use serde_json::{Map, Value};

use super::{Channel, NoticeFault, event, subject};
use crate::{
    refusal::TokenFault,
    token::{
        date::Round,
        introspection::Way,
        issuer::{Audiences, IssuerSettings},
        jwt::Jwt,
        revocation::{AFTER_EXPIRY, OfIssuer, Target, Wish},
    },
};

/// The member of `events` that makes a token a logout token (OpenID Connect Back-Channel Logout 1.0, section 2.4).
const LOGOUT: &str = "http://schemas.openid.net/event/backchannel-logout";
/// A logout token that is older than this was kept by somebody.
const LONGEST_LOGOUT: Duration = Duration::from_secs(5 * 60);
/// Events are sent again to who was away (RFC 8935, section 2), with the `iat` that they had.
const LONGEST_EVENT: Duration = Duration::from_secs(24 * 3600);
/// How long tokens are taken to live where nothing bounds it.
const LONGEST_LIFE: Duration = Duration::from_secs(30 * 24 * 3600);

/// What is to be done.
#[derive(Debug)]
pub(super) struct Content {
    pub(super) wishes: Vec<Wish>,
    pub(super) told: Vec<&'static str>,
}

/// What has ended, and when, in Unix seconds.
pub(super) type Ended = (Target, i64);

/// Reads a notice whose form, issuer and signature are good. `now` in Unix seconds.
pub(super) fn read(
    settings: &IssuerSettings,
    channel: Channel,
    jwt: &Jwt<'_>,
    now: i64,
) -> Result<Content, NoticeFault> {
    let issued = issued_at(settings, channel, jwt, now)?;
    if !is_for_us(settings, channel, jwt.audiences()) {
        return Err(NoticeFault::Token(TokenFault::Audience));
    }
    let claims = jwt.claims();
    if subject::name(claims, "jti")?.is_none() {
        return Err(NoticeFault::Token(TokenFault::MissingClaim));
    }
    let Some(Value::Object(events)) = claims.get("events") else {
        return Err(NoticeFault::Content("there is no events claim that is an object"));
    };
    let (ended, told) = match channel {
        Channel::BackChannel => (logged_out(claims, events, issued)?, vec!["backchannel-logout"]),
        Channel::Events => event::read(settings, claims, events, issued)?,
    };
    let wishes = ended.into_iter().map(|ended| wish(settings, channel, ended));
    // What is over already: no token is so old.
    let wishes = wishes.filter(|wish| wish.expires_at.is_none_or(|end| end > now)).collect();
    Ok(Content { wishes, told })
}

fn issued_at(settings: &IssuerSettings, channel: Channel, jwt: &Jwt<'_>, now: i64) -> Result<i64, NoticeFault> {
    let date = |round| jwt.date("iat", round, settings.jwt.string_dates).ok().flatten();
    let (Some(issued), Some(latest)) = (date(Round::Down), date(Round::Up)) else {
        return Err(NoticeFault::Token(TokenFault::MissingClaim));
    };
    let skew = seconds(settings.jwt.clock_skew);
    if latest > now.saturating_add(skew) {
        return Err(NoticeFault::Token(TokenFault::IssuedInFuture));
    }
    let longest = match channel {
        Channel::BackChannel => LONGEST_LOGOUT,
        Channel::Events => LONGEST_EVENT,
    };
    if issued < now.saturating_sub(seconds(longest)).saturating_sub(skew) {
        return Err(NoticeFault::Token(TokenFault::TooOld));
    }
    Ok(issued)
}

/// Whom the issuer's tokens are for, or the client that it knows this gateway as.
fn is_for_us(settings: &IssuerSettings, channel: Channel, audiences: &[String]) -> bool {
    let client = settings.introspection.as_ref().and_then(|introspection| match &introspection.way {
        Way::Introspection(client) => client.id.as_deref(),
        Way::Userinfo => None,
    });
    match &settings.audiences {
        Audiences::Any => channel == Channel::Events || !audiences.is_empty(),
        Audiences::OneOf(accepted) => {
            audiences.iter().any(|audience| accepted.contains(audience) || client == Some(audience))
        }
    }
}

fn logged_out(claims: &Map<String, Value>, events: &Map<String, Value>, at: i64) -> Result<Vec<Ended>, NoticeFault> {
    if !matches!(events.get(LOGOUT), Some(Value::Object(_))) {
        return Err(NoticeFault::Content("the events claim does not tell of a logout"));
    }
    if claims.contains_key("nonce") {
        return Err(NoticeFault::Content("a logout token has no nonce"));
    }
    let targets = subject::of_claims(claims)?.ok_or(NoticeFault::Token(TokenFault::MissingClaim))?;
    Ok(targets.into_iter().map(|target| (target, at)).collect())
}

/// What was issued up to that second has ended; what is issued later is a session begun anew. It holds for as long as such tokens
/// may live, and as much longer as other revocations do.
fn wish(settings: &IssuerSettings, channel: Channel, (target, at): Ended) -> Wish {
    // What the issuer is asked about has no age here.
    let bound = settings.jwt.max_token_age.filter(|_| settings.introspection.is_none());
    let life = seconds(bound.unwrap_or(LONGEST_LIFE).saturating_add(settings.jwt.clock_skew));
    Wish {
        target,
        issuer: Some(OfIssuer { written: settings.name.to_string(), authority: settings.authority().to_owned() }),
        issued_before: Some(at.saturating_add(1)),
        expires_at: Some(at.saturating_add(life).saturating_add(AFTER_EXPIRY)),
        source: channel.source(),
    }
}

/// Unix seconds when an event happened, as far as that can be believed: it doesn't come after what tells of it, nor long
/// before. Else when it was told, which ends more.
pub(super) fn moment(happened: Option<&Value>, told: i64) -> i64 {
    let happened = happened.and_then(Value::as_f64).filter(|seconds| seconds.is_finite());
    // A conversion from a float saturates.
    let happened = happened.map(|seconds| seconds.floor() as i64);
    happened.filter(|at| *at <= told && *at >= told.saturating_sub(seconds(LONGEST_LIFE))).unwrap_or(told)
}

fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}
