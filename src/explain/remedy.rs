//! The smallest changes that would let a request in, each a sentence.

use super::steps::{missing_claims, refused};
use crate::{
    moment,
    policy::{Access, RuleReport, audiences, listed},
    refusal::{Refusal, TokenFault},
    rehearsal::{Answer, Question},
    route::RouteSettings,
    snapshot::Snapshot,
    token::{
        issuer::Audiences,
        rehearsal::{Binding, Proof, Rehearsed, Step},
    },
};

/// All of them are needed, but for those that say "or". None where the request is let in.
pub(super) fn of(snapshot: &Snapshot, question: &Question, answer: &Answer) -> Vec<String> {
    let Some(refusal) = answer.refusal() else { return Vec::new() };
    let settings = answer.route(snapshot).map(|route| &route.settings);
    let mut all = Vec::new();
    match refusal {
        Refusal::NoRoute => all.push(
            "ask for a path and host that a route is for (the nearest are listed), or add a route for this one"
                .to_owned(),
        ),
        Refusal::Method { allow } if allow.is_empty() => all.push("use a method that the gateway passes on".to_owned()),
        Refusal::Method { allow } => {
            let route = settings.map(|settings| format!(" of {}", settings.name)).unwrap_or_default();
            let method = question.method();
            all.push(format!("use {allow}, or have a rule{route} take {method}"));
        }
        Refusal::Path(_) | Refusal::Framing(_) => all.push(path(answer)),
        Refusal::NoCredential => {
            all.push(format!("send a token as `Authorization: Bearer`{}", of_issuers(snapshot, settings)))
        }
        Refusal::Credential(why) => all.push(format!("send one token, as `Authorization: Bearer` alone: {why}")),
        Refusal::Token(TokenFault::TooLong) => {
            all.push("raise `server.max_token_bytes`, or have less in the token".to_owned())
        }
        _ => {}
    }
    if let Some(token) = &answer.decision.token {
        all.extend(token_remedies(snapshot, settings, token, question.now));
        if let Refusal::KeysUnavailable { .. } = refusal {
            all.push(keys(token));
        }
    }
    if let Some(Access::Rules(_)) = settings.map(|settings| &settings.allow)
        && !answer.decision.rules.is_empty()
    {
        all.extend(rules(&answer.decision.rules));
    }
    all
}

fn path(answer: &Answer) -> String {
    let readings = answer.path.iter().flat_map(|path| path.readings()).flatten().cloned().collect::<Vec<_>>();
    match readings.as_slice() {
        [] => "write the path in a form that has one meaning to every server".to_owned(),
        readings => format!("write the path so that no server can read it as {}", listed(readings, "or")),
    }
}

fn of_issuers(snapshot: &Snapshot, settings: Option<&RouteSettings>) -> String {
    let issuers = settings.map_or(&[][..], |settings| &settings.issuers);
    let names = issuers.iter().filter_map(|issuer| snapshot.issuers.get(*issuer));
    let names = names.map(|issuer| issuer.settings.name.to_string()).collect::<Vec<_>>();
    if names.is_empty() { String::new() } else { format!(", one of issuer {}", listed(&names, "or")) }
}

fn keys(token: &Rehearsed) -> String {
    let name = token.issuer.as_ref().map_or("the issuer", |issuer| &issuer.settings.name);
    match token.could_fetch {
        true => format!("have the keys of {name} within reach: `bearward check --online` says what is in the way"),
        false => {
            format!("let the keys of {name} be fetched (`explain` without `--offline`): none is at hand that fits")
        }
    }
}

fn token_remedies(snapshot: &Snapshot, settings: Option<&RouteSettings>, token: &Rehearsed, now: i64) -> Vec<String> {
    let failed = token.steps.iter().filter_map(|(step, answer)| answer.fault().map(|fault| (*step, fault)));
    failed.filter_map(|(step, fault)| for_step(snapshot, settings, token, step, fault, now)).collect()
}

fn for_step(
    snapshot: &Snapshot,
    settings: Option<&RouteSettings>,
    token: &Rehearsed,
    step: Step,
    fault: TokenFault,
    now: i64,
) -> Option<String> {
    let name = token.issuer.as_ref().map(|issuer| issuer.settings.name.to_string());
    let name = name.unwrap_or_else(|| "the issuer".to_owned());
    let header = token.header.as_ref();
    Some(match step {
        Step::Dates if token.claims.is_empty() => {
            format!("send a JWT{}, whole and as it was issued", of_issuers(snapshot, settings))
        }
        Step::Dates => "have exp, nbf and iat be numbers, or set `string_dates: true` in the issuer's `jwt`".to_owned(),
        Step::Algorithm => match header.map(|header| header.algorithm.as_str()) {
            Some(algorithm) if algorithm.eq_ignore_ascii_case("none") => "have the token signed".to_owned(),
            Some(algorithm) => format!("have {name} sign with an algorithm of its `jwt.algorithms`, not {algorithm}"),
            None => return None,
        },
        Step::Type if token.is_notice() => "send an access token: this one tells of something (`events`)".to_owned(),
        Step::Type => {
            let typ = header.map(|header| header.typ.as_str()).unwrap_or_default();
            format!(
                "send an access token: its `typ` is `{typ}`; if that is how {name} marks access tokens, add it to its `jwt.types`"
            )
        }
        Step::Critical => "send a token without `crit`: no extension is understood".to_owned(),
        Step::Issuer => issuer(snapshot, settings, token),
        Step::Key => match header.and_then(|header| header.kid.as_deref()) {
            Some(kid) => format!(
                "send a token signed with a key that {name} publishes: none has the kid {kid} and fits its algorithm"
            ),
            None => format!("send a token signed with a key that {name} publishes: none fits its algorithm"),
        },
        Step::Signature => {
            format!("send a token as {name} signed it: this one was changed, or signed with another key")
        }
        Step::Expiry if fault == TokenFault::Expired => {
            let ended = token.claims.get("exp").and_then(moment::of);
            let ended = ended.map(|end| format!(": it expired {}", moment::relative(end, now))).unwrap_or_default();
            format!("get a fresh token{ended}")
        }
        Step::NotBefore | Step::IssuedAt if fault == TokenFault::TooOld => {
            format!("get a fresh token: {name} has a `max_token_age`")
        }
        Step::NotBefore if fault == TokenFault::NotYetValid => {
            "wait until the token is valid, or set the clocks of issuer and gateway".to_owned()
        }
        Step::IssuedAt if fault == TokenFault::IssuedInFuture => {
            "set the clocks of issuer and gateway: the token is from the future".to_owned()
        }
        // What isn't a date was told of at the first step.
        Step::Expiry | Step::NotBefore | Step::IssuedAt => return None,
        Step::Audience => audience(token)?,
        Step::RequiredClaims => {
            let missing = listed(&missing_claims(token), "and");
            match header {
                Some(_) => {
                    format!("have {name} put {missing} into its tokens, or take it out of its `jwt.require_claims`")
                }
                None => format!("give a value for {missing}: {name} requires it, and no other claims are filled in"),
            }
        }
        Step::Revocation => {
            "get a fresh token, or lift the revocation (`DELETE /revocations/{id}` at the admin listener)".to_owned()
        }
        Step::Binding => binding(token, &name),
    })
}

fn binding(token: &Rehearsed, name: &str) -> String {
    let wanted = token.issuer.as_ref().and_then(|issuer| issuer.settings.sender.constraint);
    match (token.proof, Binding::of(&token.claims), wanted) {
        (Proof::Refused(fault), ..) => format!("send the token as whom it is bound to: {}", refused(fault)),
        (_, Binding::Unsupported, _) | (_, _, None) => {
            format!(
                "have {name} bind tokens by `x5t#S256` or `jkt`, or to nobody: nobody can prove the `cnf` of this one"
            )
        }
        (_, _, Some(wanted)) => {
            let member = wanted.member();
            format!(
                "have {name} bind this client's tokens by `{member}` in `cnf`: its `sender_constraint` asks for that"
            )
        }
    }
}

fn issuer(snapshot: &Snapshot, settings: Option<&RouteSettings>, token: &Rehearsed) -> String {
    let own = of_issuers(snapshot, settings);
    let Some(named) = token.claims.get("iss").and_then(serde_json::Value::as_str) else {
        return format!("send a token that names its issuer in `iss`{own}");
    };
    let known = snapshot.issuers.iter().find(|issuer| issuer.settings.issuer.as_deref() == Some(named));
    let nearly = |issuer: &str| issuer.trim_end_matches('/').eq_ignore_ascii_case(named.trim_end_matches('/'));
    let near = snapshot
        .issuers
        .iter()
        .find_map(|issuer| Some(issuer).zip(issuer.settings.issuer.as_deref().filter(|own| nearly(own))));
    match (known, near) {
        (Some(known), _) => {
            let name = &known.settings.name;
            let route = settings.map_or("the route", |settings| &settings.name);
            format!("send a token{own}, or add {name} to `issuers` of {route}: this token is of {name}")
        }
        (None, Some((near, own))) => format!(
            "write `issuer` of {} to the letter as its tokens have it: `{named}`, not `{}`",
            near.settings.name, own
        ),
        (None, None) => format!("send a token{own}: this one is of `{named}`, which no issuer of the file is"),
    }
}

/// Of the commonest first failure, with its remedy: Keycloak's tokens are for `account` unless a mapper says otherwise.
fn audience(token: &Rehearsed) -> Option<String> {
    let issuer = &token.issuer.as_ref()?.settings;
    let Audiences::OneOf(accepted) = &issuer.audiences else { return None };
    let got = audiences(token.claimed.as_ref()?.principal());
    let (name, first) = (&issuer.name, accepted.first()?);
    Some(match got.as_str() {
        "account" => format!(
            "add an audience mapper at Keycloak: `aud` is `account`, its default, until the client has one. Clients > (the \
             client that gets the token) > Client scopes > (its dedicated scope, or one that is shared) > Add mapper > \
             By configuration > Audience, with `{first}` as included client or custom audience and \"Add to access token\" \
             on. (`audiences: [account]` in issuers.{name} would take the tokens of every client of the realm.)"
        ),
        "none" => format!("have {name} put `{first}` into `aud`: the token has none"),
        got => format!(
            "have {name} issue the token for {}, or add what it is for to `audiences` in issuers.{name}: {got}",
            listed(accepted, "or")
        ),
    })
}

/// The rules that are closest: the fewest conditions unmet.
fn rules(reports: &[RuleReport]) -> Vec<String> {
    if reports.iter().any(RuleReport::admits) {
        return Vec::new();
    }
    let candidates = || reports.iter().enumerate().filter(|(_, report)| report.takes_method);
    let unmet = |report: &RuleReport| report.conditions.iter().filter(|condition| !condition.holds).count();
    let Some(least) = candidates().map(|(_, report)| unmet(report)).min() else { return Vec::new() };
    let closest = candidates().filter(|(_, report)| unmet(report) == least);
    let wishes = closest.map(|(index, report)| {
        let unmet = report.conditions.iter().filter(|condition| !condition.holds);
        let wishes = unmet.map(|condition| condition.wish.as_str()).collect::<Vec<_>>();
        format!("{} (rule {})", listed(&wishes, "and"), index + 1)
    });
    let wishes = wishes.collect::<Vec<_>>();
    vec![format!("send a token {}", wishes.join(", or "))]
}
