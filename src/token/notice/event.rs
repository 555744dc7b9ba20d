//! Security events (RFC 8417, section 2.2): which of them end what.

use serde_json::{Map, Value};

use super::{
    NoticeFault,
    content::{Ended, moment},
    subject::{self, Subject},
};
use crate::{refusal::TokenFault, token::issuer::IssuerSettings};

/// Events in a notice, and what all of them together may end.
const MOST: usize = 16;

/// What an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A session; all of a user's where none is named.
    Session,
    /// All that a user has.
    Account,
    /// Nothing that ends.
    Nothing,
}

/// Those that are acted on, or expected: what follows their common beginning, and how the log calls them.
const KNOWN: [(&str, &str, Kind); 8] = [
    // Continuous Access Evaluation Profile 1.0, section 3.1.
    ("caep/event-type/session-revoked", "session-revoked", Kind::Session),
    // RISC Profile 1.0, section 2.
    ("risc/event-type/sessions-revoked", "sessions-revoked", Kind::Account),
    ("risc/event-type/account-disabled", "account-disabled", Kind::Account),
    ("risc/event-type/account-purged", "account-purged", Kind::Account),
    // OAuth Event Types 1.0: all of a user's tokens.
    ("oauth/event-type/tokens-revoked", "tokens-revoked", Kind::Account),
    // Shared Signals Framework 1.0, section 8.1.4; before that, of RISC.
    ("ssf/event-type/verification", "verification", Kind::Nothing),
    ("risc/event-type/verification", "verification", Kind::Nothing),
    ("ssf/event-type/stream-updated", "stream-updated", Kind::Nothing),
];
const BEGINNING: &str = "https://schemas.openid.net/secevent/";

/// What these events end, and what they are. `told`: when, in Unix seconds.
pub(super) fn read(
    settings: &IssuerSettings,
    claims: &Map<String, Value>,
    events: &Map<String, Value>,
    told: i64,
) -> Result<(Vec<Ended>, Vec<&'static str>), NoticeFault> {
    if events.is_empty() || events.len() > MOST {
        return Err(NoticeFault::Content("there is no event, or there are too many"));
    }
    let mut ended = Vec::new();
    let mut names = Vec::new();
    for (uri, event) in events {
        let Value::Object(event) = event else {
            return Err(NoticeFault::Content("an event is not an object"));
        };
        let (name, kind) = known(uri);
        names.push(name);
        if kind == Kind::Nothing {
            continue;
        }
        let at = moment(event.get("event_timestamp").or_else(|| claims.get("toe")), told);
        let targets = match subject_of(claims, event)? {
            Some(subject) => {
                let subject = Subject::read(subject, settings.issuer.as_deref().unwrap_or_default())?;
                if subject.is_anothers() {
                    names.push("of another issuer's subject");
                }
                subject.targets(kind == Kind::Account)
            }
            None => subject::of_claims(claims)?.ok_or(NoticeFault::Token(TokenFault::MissingClaim))?,
        };
        ended.extend(targets.into_iter().map(|target| (target, at)));
    }
    if ended.len() > MOST {
        return Err(NoticeFault::Content("there are too many subjects"));
    }
    Ok((ended, names))
}

fn known(uri: &str) -> (&'static str, Kind) {
    let known = uri.strip_prefix(BEGINNING).and_then(|rest| KNOWN.iter().find(|(known, ..)| *known == rest));
    known.map_or(("an event that ends nothing here", Kind::Nothing), |(_, name, kind)| (name, *kind))
}

/// `sub_id` (RFC 9493, section 4), or the event's own `subject`, where it was before.
fn subject_of<'c>(
    claims: &'c Map<String, Value>,
    event: &'c Map<String, Value>,
) -> Result<Option<&'c Map<String, Value>>, NoticeFault> {
    match claims.get("sub_id").or_else(|| event.get("subject")) {
        None => Ok(None),
        Some(Value::Object(subject)) => Ok(Some(subject)),
        Some(_) => Err(NoticeFault::Content("the subject is not an object")),
    }
}
