//! What an issuer says of a token, held against what it may say (RFC 7662, section 2.2).

use serde_json::{Map, Value};

use super::Way;
use crate::{
    refusal::TokenFault,
    token::{
        check::is_notice,
        claims::audiences,
        date::{self, Round},
        issuer::{Audiences, IssuerSettings, SenderConstraint},
        jwt,
        proof::Binding,
    },
};

/// What an answer comes to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Judgment {
    /// The token is good until then (Unix seconds, no skew).
    Good(Option<i64>),
    /// It is no good.
    Bad(TokenFault),
}

/// An answer that can't be used: nothing is known of the token. Holds nothing of the answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Broken(pub(super) &'static str);

/// An issuer may say less of a JWT than that says of itself. Since it vouches for the JWT, whom this is bound to counts,
/// unless the answer says so itself.
pub(super) fn bound_as(token: &str, mut members: Map<String, Value>) -> Map<String, Value> {
    if members.get("cnf").is_none_or(Value::is_null)
        && let Some(confirmation) = jwt::confirmation(token)
    {
        members.insert("cnf".to_owned(), confirmation);
    }
    members
}

/// Judges an answer's members. `now` in Unix seconds.
///
/// # Errors
/// No `active` where there must be one, or a member of a wrong JSON type.
pub(super) fn judge(
    settings: &IssuerSettings,
    way: &Way,
    members: &Map<String, Value>,
    now: i64,
) -> Result<Judgment, Broken> {
    if let Way::Introspection(_) = way {
        match members.get("active") {
            None => return Err(Broken("the answer has no `active`")),
            Some(Value::Bool(true)) => {}
            Some(_) => return Ok(Judgment::Bad(TokenFault::Inactive)),
        }
    }
    let issuer = text(members, "iss")?;
    let string_dates = settings.jwt.string_dates;
    let date = |claim, round| {
        date::of(members, claim, round, string_dates).map_err(|_| Broken("the answer has a date that isn't a number"))
    };
    let (expires_at, begins_at, issued_at) =
        (date("exp", Round::Down)?, date("nbf", Round::Up)?, date("iat", Round::Up)?);
    let audiences = audiences(members).ok_or(Broken("the answer has an `aud` that isn't a text or a list of texts"))?;
    let has_audience = members.get("aud").is_some_and(|value| !value.is_null());
    let is_expected = match &settings.audiences {
        Audiences::Any => true,
        Audiences::OneOf(accepted) => audiences.iter().any(|audience| accepted.contains(audience)),
    };
    // The issuer's clock and ours are two; only an end is taken at its word.
    let is_told = matches!(way, Way::Introspection(_));
    let skew = i64::try_from(settings.jwt.clock_skew.as_secs()).unwrap_or(i64::MAX);
    let is_yet_to_come = |time: Option<i64>| time.is_some_and(|time| now < time.saturating_sub(skew));
    let faults = [
        (!is_access_token(members)? || is_told && is_notice(members), TokenFault::Type),
        (issuer.zip(settings.issuer.as_deref()).is_some_and(|(said, own)| said != own), TokenFault::Issuer),
        (expires_at.is_some_and(|end| now >= end), TokenFault::Expired),
        (is_yet_to_come(begins_at), TokenFault::NotYetValid),
        (is_yet_to_come(issued_at), TokenFault::IssuedInFuture),
        (has_audience && !is_expected, TokenFault::Audience),
        (!is_bound_well(settings, members)?, TokenFault::Binding),
    ];
    Ok(match faults.into_iter().find(|(is_so, _)| *is_so) {
        Some((_, fault)) => Judgment::Bad(fault),
        None => Judgment::Good(expires_at),
    })
}

/// Some servers answer for refresh and identity tokens, too, and say so here: no API takes those.
fn is_access_token(members: &Map<String, Value>) -> Result<bool, Broken> {
    Ok(text(members, "token_use")?.is_none_or(|purpose| matches!(purpose, "access" | "access_token")))
}

/// Whether it is bound as it must be. With `token_type` DPoP (RFC 9449, section 6.2), to a key.
fn is_bound_well(settings: &IssuerSettings, members: &Map<String, Value>) -> Result<bool, Broken> {
    let is_dpop = text(members, "token_type")?.is_some_and(|kind| kind.eq_ignore_ascii_case("DPoP"));
    let binding = Binding::of(members);
    let is_consistent = !is_dpop || binding.satisfies(Some(SenderConstraint::Dpop));
    Ok(is_consistent && binding.satisfies(settings.sender.constraint))
}

fn text<'m>(members: &'m Map<String, Value>, name: &str) -> Result<Option<&'m str>, Broken> {
    match members.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(Broken("the answer has a member that should be a text and isn't")),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::token::{
        introspection::{ClientAuth, ClientSettings},
        issuer::KeySource,
        tests::settings,
    };

    const NOW: i64 = 1_800_000_000;
    /// A thumbprint.
    const KEY: &str = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I";

    fn introspection() -> Way {
        Way::Introspection(ClientSettings { id: None, auth: ClientAuth::None, signed: false })
    }

    fn asked(members: &Value, way: &Way) -> Result<Judgment, Broken> {
        judge(&settings("a", KeySource::Nowhere), way, members.as_object().unwrap(), NOW)
    }

    /// An active one with these members besides.
    fn active(more: Value) -> Result<Judgment, Broken> {
        let mut members = json!({"active": true});
        members.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        asked(&members, &introspection())
    }

    #[test]
    fn only_the_boolean_true_is_active() {
        assert_eq!(active(json!({})), Ok(Judgment::Good(None)));
        for value in
            [json!(false), json!("true"), json!("false"), json!(1), json!(null), json!([true]), json!({"a": true})]
        {
            let answer = asked(&json!({"active": value, "sub": "joe"}), &introspection());
            assert_eq!(answer, Ok(Judgment::Bad(TokenFault::Inactive)), "{value}");
        }
        for members in [json!({}), json!({"Active": true}), json!({"sub": "joe", "exp": NOW + 10})] {
            assert!(asked(&members, &introspection()).is_err(), "{members}");
            assert!(matches!(asked(&members, &Way::Userinfo), Ok(Judgment::Good(_))), "{members}");
        }
    }

    #[test]
    fn what_is_said_must_fit() {
        for (members, expected) in [
            (json!({"exp": NOW + 1}), Ok(Some(NOW + 1))),
            (json!({"exp": f64::from(1_800_000_000) + 1.9}), Ok(Some(NOW + 1))),
            (json!({"exp": NOW}), Err(TokenFault::Expired)),
            (json!({"exp": NOW - 1}), Err(TokenFault::Expired)),
            (json!({"exp": 0}), Err(TokenFault::Expired)),
            (json!({"exp": null}), Ok(None)),
            (json!({"nbf": NOW + 30}), Ok(None)),
            (json!({"nbf": NOW + 31}), Err(TokenFault::NotYetValid)),
            (json!({"iat": NOW + 31}), Err(TokenFault::IssuedInFuture)),
            (json!({"iss": "https://a.example"}), Ok(None)),
            (json!({"iss": "https://a.example/"}), Err(TokenFault::Issuer)),
            (json!({"iss": "https://b.example", "exp": 0}), Err(TokenFault::Issuer)),
            (json!({"aud": "api"}), Ok(None)),
            (json!({"aud": ["x", "api-2"]}), Ok(None)),
            (json!({"aud": "x"}), Err(TokenFault::Audience)),
            (json!({"aud": []}), Err(TokenFault::Audience)),
            (json!({"aud": null}), Ok(None)),
            (json!({"cnf": {"jkt": "x"}}), Err(TokenFault::Binding)),
            (json!({"cnf": {}}), Err(TokenFault::Binding)),
            (json!({"cnf": null}), Ok(None)),
            (json!({"cnf": {"jkt": KEY}}), Ok(None)),
            (json!({"cnf": {"x5t#S256": KEY}}), Ok(None)),
            (json!({"cnf": {"jkt": KEY}, "token_type": "DPoP"}), Ok(None)),
            (json!({"cnf": {"x5t#S256": KEY}, "token_type": "DPoP"}), Err(TokenFault::Binding)),
            (json!({"cnf": {"jkt": KEY, "jwk": {}}}), Err(TokenFault::Binding)),
            (json!({"token_type": "dpop"}), Err(TokenFault::Binding)),
            (json!({"token_type": "bearer", "token_use": "access_token"}), Ok(None)),
            (json!({"token_use": "refresh_token"}), Err(TokenFault::Type)),
            (json!({"token_use": "id"}), Err(TokenFault::Type)),
            (json!({"events": {}}), Err(TokenFault::Type)),
            (json!({"events": ["concert"]}), Ok(None)),
        ] {
            let expected = expected.map_or_else(Judgment::Bad, Judgment::Good);
            assert_eq!(active(members.clone()), Ok(expected), "{members}");
        }
    }

    #[test]
    fn an_issuer_may_have_to_bind_its_tokens() {
        let judged = |constraint, members: Value| {
            let mut settings = settings("a", KeySource::Nowhere);
            settings.sender.constraint = constraint;
            judge(&settings, &introspection(), members.as_object().unwrap(), NOW) == Ok(Judgment::Good(None))
        };
        let by = |name: &str| json!({"active": true, "cnf": {name: KEY}});
        for (members, bound) in
            [(by("x5t#S256"), [true, false]), (by("jkt"), [false, true]), (json!({"active": true}), [false, false])]
        {
            let asked = [SenderConstraint::Mtls, SenderConstraint::Dpop]
                .map(|constraint| judged(Some(constraint), members.clone()));
            assert_eq!(asked, bound, "{members}");
        }
    }

    #[test]
    fn a_member_of_another_type_breaks_the_answer() {
        for members in [
            json!({"exp": "1800000100"}),
            json!({"exp": true}),
            json!({"nbf": "x"}),
            json!({"iat": []}),
            json!({"iss": 5}),
            json!({"aud": 5}),
            json!({"aud": ["api", 5]}),
            json!({"token_type": 5}),
            json!({"token_use": ["access_token"]}),
        ] {
            assert!(active(members.clone()).is_err(), "{members}");
        }
    }

    proptest! {
        #[test]
        fn nothing_but_true_is_good(value in "\\PC{0,8}", number in any::<i64>()) {
            for active in [json!(value), json!(number)] {
                let answer = asked(&json!({"active": active}), &introspection());
                prop_assert_eq!(answer, Ok(Judgment::Bad(TokenFault::Inactive)));
            }
        }
    }
}
