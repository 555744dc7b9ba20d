//! Each step of a token's verification, in words.

use std::sync::Arc;

use serde_json::Value;

use super::{StepPart, StepResult};
use crate::{
    moment,
    policy::{audiences, listed},
    refusal::{ProofFault, TokenFault},
    token::{
        issuer::{Audiences, Issuer},
        rehearsal::{Answer, Binding, Proof, Rehearsed, Step},
    },
};

/// In the order in which faults are named. `issuers`: those of the route.
pub(super) fn of(token: &Rehearsed, issuers: &[Arc<Issuer>], now: i64) -> Vec<StepPart> {
    token.steps.iter().map(|(step, answer)| part(token, issuers, *step, *answer, now)).collect()
}

fn part(token: &Rehearsed, issuers: &[Arc<Issuer>], step: Step, answer: Answer, now: i64) -> StepPart {
    let Words { got, wanted, note } = words(token, issuers, step, answer.fault(), now);
    let (result, detail) = match answer {
        Answer::NotAsked(why) => (StepResult::NotAsked, format!("not asked: {why}")),
        Answer::Held => (StepResult::Held, note.or_else(|| got.clone()).unwrap_or_default()),
        Answer::Failed(fault) => (StepResult::Failed, failed(fault, got.as_deref(), wanted.as_deref(), note)),
    };
    match result {
        StepResult::NotAsked => StepPart { name: name(step), result, detail, got: None, wanted: None },
        _ => StepPart { name: name(step), result, detail, got, wanted },
    }
}

fn failed(fault: TokenFault, got: Option<&str>, wanted: Option<&str>, note: Option<String>) -> String {
    match (note, got, wanted) {
        (Some(note), _, _) => note,
        (None, Some(got), Some(wanted)) => format!("got {got}; wanted {wanted}"),
        _ => fault.detail().to_owned(),
    }
}

fn name(step: Step) -> &'static str {
    match step {
        Step::Dates => "form",
        Step::Algorithm => "algorithm",
        Step::Type => "typ",
        Step::Critical => "crit",
        Step::Issuer => "issuer",
        Step::Key => "key",
        Step::Signature => "signature",
        Step::Expiry => "exp",
        Step::NotBefore => "nbf",
        Step::IssuedAt => "iat",
        Step::Audience => "audience",
        Step::RequiredClaims => "required claims",
        Step::Revocation => "revocation",
        Step::Binding => "binding",
    }
}

#[derive(Default)]
struct Words {
    got: Option<String>,
    wanted: Option<String>,
    /// Says it better than both.
    note: Option<String>,
}

fn words(token: &Rehearsed, issuers: &[Arc<Issuer>], step: Step, fault: Option<TokenFault>, now: i64) -> Words {
    let settings = token.issuer.as_ref().map(|issuer| &issuer.settings);
    let jwt = settings.map(|settings| &settings.jwt);
    let header = token.header.as_ref();
    let got = |got: Option<String>| Words { got, ..Words::default() };
    let note = |note: String| Words { note: Some(note), ..Words::default() };
    match step {
        Step::Dates if token.claims.is_empty() && header.is_none() => {
            note("not a JWT in its one right form".to_owned())
        }
        Step::Dates if fault.is_some() => note("exp, nbf or iat is not a number".to_owned()),
        Step::Dates => note("as it should be".to_owned()),
        Step::Algorithm => Words {
            got: header.map(|header| header.algorithm.clone()),
            wanted: jwt
                .map(|jwt| listed(&jwt.algorithms.iter().map(|algorithm| algorithm.name()).collect::<Vec<_>>(), "or")),
            note: None,
        },
        Step::Type if token.is_notice() => {
            note("it has events, as what tells of something: that is no access token".to_owned())
        }
        Step::Type => Words {
            got: header.map(|header| header.typ.clone()),
            wanted: jwt.map(|jwt| listed(&jwt.types, "or")),
            note: None,
        },
        Step::Critical if fault.is_some() => Words::default(),
        Step::Critical => note("none".to_owned()),
        Step::Issuer => Words {
            got: Some(match token.claims.get("iss") {
                None | Some(Value::Null) => "no iss".to_owned(),
                Some(Value::String(named)) => named.clone(),
                Some(other) => other.to_string(),
            }),
            wanted: Some(listed(
                &issuers.iter().filter_map(|issuer| issuer.settings.issuer.as_deref()).collect::<Vec<_>>(),
                "or",
            )),
            note: None,
        },
        Step::Key => got(header.map(|header| match &header.kid {
            Some(kid) => format!("kid {kid}"),
            None => "no kid: every fitting key is tried".to_owned(),
        })),
        Step::Signature if fault.is_some() => Words::default(),
        Step::Signature => note("good".to_owned()),
        Step::Expiry | Step::NotBefore | Step::IssuedAt => date(token, step, fault, now),
        Step::Audience => Words {
            got: token.claimed.as_ref().map(|claimed| audiences(claimed.principal())),
            wanted: settings.map(|settings| match &settings.audiences {
                Audiences::Any => "any".to_owned(),
                Audiences::OneOf(accepted) => listed(accepted, "or"),
            }),
            note: None,
        },
        Step::RequiredClaims => {
            let required = jwt.map_or(&[][..], |jwt| &jwt.require_claims);
            let has = |name: &&String| token.claims.get(*name).is_some_and(|value| !value.is_null());
            let there = required.iter().filter(has).collect::<Vec<_>>();
            let missing = missing_claims(token);
            Words {
                got: None,
                wanted: Some(listed(required, "and")),
                note: Some(match missing.is_empty() {
                    true if there.is_empty() => "none are asked for".to_owned(),
                    true => format!("{} there", listed(&there, "and")),
                    false => format!("{} missing", listed(&missing, "and")),
                }),
            }
        }
        Step::Revocation => Words::default(),
        Step::Binding => note(binding(token)),
    }
}

fn binding(token: &Rehearsed) -> String {
    let constraint = token.issuer.as_ref().and_then(|issuer| issuer.settings.sender.constraint);
    let binding = Binding::of(&token.claims);
    let bound = match binding {
        Binding::Nobody if constraint.is_none() => return "bound to no sender".to_owned(),
        Binding::Unsupported => return "bound to a sender (cnf) in a way that isn't understood".to_owned(),
        Binding::Nobody => "bound to no sender".to_owned(),
        Binding::Sender { certificate, key } => {
            let certificate = certificate.map(|certificate| format!("the certificate {certificate}"));
            let key = key.map(|key| format!("the key {key}"));
            format!("bound to {}", listed(&certificate.into_iter().chain(key).collect::<Vec<_>>(), "and"))
        }
    };
    match (token.proof, constraint.filter(|_| !binding.satisfies(constraint))) {
        (_, Some(wanted)) => format!("{bound}; wanted {} in cnf", wanted.member()),
        (Proof::Refused(fault), _) => format!("{bound}: {}", refused(fault)),
        (Proof::Shown, _) => format!("{bound}, and the request comes from there"),
        (Proof::TakenAsGiven, _) => format!("{bound}; that the request comes from there is taken as given"),
        (Proof::NotAsked, _) => bound,
    }
}

/// What is wrong with a proof. A nonce is known to who gave it: the command line gives none.
pub(super) fn refused(fault: ProofFault) -> &'static str {
    match fault {
        ProofFault::NonceNeeded(_) => {
            "the DPoP proof needs a nonce that the gateway has given, which that one alone knows (ask its admin listener)"
        }
        fault => fault.detail(),
    }
}

/// The claims that the issuer's tokens must have, and this one hasn't.
pub(super) fn missing_claims(token: &Rehearsed) -> Vec<String> {
    let Some(issuer) = &token.issuer else { return Vec::new() };
    let jwt = &issuer.settings.jwt;
    let age = jwt.max_token_age.map(|_| "iat".to_owned());
    let required = jwt.require_claims.iter().cloned().chain(age);
    required.filter(|name| token.claims.get(name).is_none_or(Value::is_null)).collect()
}

fn date(token: &Rehearsed, step: Step, fault: Option<TokenFault>, now: i64) -> Words {
    let claim = name(step);
    let value = match token.claims.get(claim) {
        None | Some(Value::Null) => return Words { note: Some(format!("no {claim}")), ..Words::default() },
        Some(value) => value,
    };
    let Some(moment) = moment::of(value) else {
        return Words { note: Some("not a date".to_owned()), ..Words::default() };
    };
    let date = moment::date(moment).unwrap_or_else(|| "a date that is far off".to_owned());
    let from_now = moment::relative(moment, now);
    let jwt = token.issuer.as_ref().map(|issuer| &issuer.settings.jwt);
    let skew = moment::length(jwt.map_or(0, |jwt| jwt.clock_skew.as_secs()));
    let note = match fault {
        Some(TokenFault::Expired) => format!("expired {from_now}: {date} ({skew} are allowed for clocks)"),
        Some(TokenFault::NotYetValid) => format!("good only {from_now}: {date} ({skew} are allowed for clocks)"),
        Some(TokenFault::IssuedInFuture) => format!("issued {from_now}: {date} ({skew} are allowed for clocks)"),
        Some(TokenFault::TooOld) => {
            let limit = jwt.and_then(|jwt| jwt.max_token_age).map_or(0, |limit| limit.as_secs());
            format!("issued {from_now}: {date}, and {} is the limit", moment::length(limit))
        }
        _ => format!("{date}, {from_now}"),
    };
    Words { got: Some(date), wanted: None, note: Some(note) }
}
