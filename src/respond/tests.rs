//! What a refused client sees.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::Arc;

use insta::assert_snapshot;
use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::refusal::{TokenFault, UpstreamFault};

const TOKEN_FAULTS: [TokenFault; 16] = [
    TokenFault::TooLong,
    TokenFault::Malformed,
    TokenFault::Algorithm,
    TokenFault::Type,
    TokenFault::Critical,
    TokenFault::Issuer,
    TokenFault::Key,
    TokenFault::Signature,
    TokenFault::Expired,
    TokenFault::NotYetValid,
    TokenFault::IssuedInFuture,
    TokenFault::TooOld,
    TokenFault::Audience,
    TokenFault::MissingClaim,
    TokenFault::Revoked,
    TokenFault::Binding,
];

fn all_refusals() -> Vec<Refusal> {
    let mut all = vec![
        Refusal::Path("the path has an encoded slash"),
        Refusal::Framing("both Content-Length and Transfer-Encoding"),
        Refusal::HeadTooLarge,
        Refusal::HeadTooSlow,
        Refusal::BodyTooLarge,
        Refusal::BodyTooSlow,
        Refusal::UploadTimedOut,
        Refusal::NoRoute,
        Refusal::Method { allow: "GET, HEAD".into() },
        Refusal::NoCredential,
        Refusal::Credential("there is more than one Authorization header"),
        Refusal::KeysUnavailable { retry_after: Duration::from_millis(4200) },
        Refusal::Rule(RuleFault::Scope("campaigns:read campaigns:write".into())),
        Refusal::Rule(RuleFault::Role),
        Refusal::Upstream(UpstreamFault::Broken),
        Refusal::Upstream(UpstreamFault::TimedOut),
        Refusal::Upstream(UpstreamFault::Unavailable),
        Refusal::Upstream(UpstreamFault::TokenNotEnded),
        Refusal::Upstream(UpstreamFault::TokenUnavailable { retry_after: Duration::from_millis(250) }),
        Refusal::Upstream(UpstreamFault::TokenRefused),
        Refusal::ForeignPage,
    ];
    all.extend(TOKEN_FAULTS.map(Refusal::Token));
    let proofs = [
        ProofFault::Unsupported,
        ProofFault::NoCertificate,
        ProofFault::OtherCertificate,
        ProofFault::UnclearCertificate,
        ProofFault::NotShown,
        ProofFault::NotBound,
        ProofFault::OtherKey,
        ProofFault::Proof("a DPoP proof is needed"),
        ProofFault::TooMany,
    ];
    all.extend(proofs.map(Refusal::Proof));
    all
}

fn body(response: &Response<Body>) -> &str {
    match response.body() {
        Body::Full(Some(bytes)) => std::str::from_utf8(bytes).unwrap(),
        _ => "",
    }
}

fn header<'r>(response: &'r Response<Body>, name: &str) -> Option<&'r str> {
    assert!(response.headers().get_all(name).iter().count() < 2, "{name} twice");
    response.headers().get(name).map(|value| value.to_str().unwrap())
}

/// One challenge of RFC 9110, section 11.6.1, parsed to the letter: the scheme, then auth-params in quotes, each name once.
fn parse_challenge(text: &str) -> Result<(String, Vec<(String, String)>), String> {
    let is_token = |text: &str| {
        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
    };
    let (scheme, mut rest) = text.split_once(' ').ok_or("no parameter")?;
    if !is_token(scheme) {
        return Err(format!("scheme {scheme:?}"));
    }
    let mut params: Vec<(String, String)> = Vec::new();
    loop {
        let (name, value) = rest.split_once("=\"").ok_or("no quoted value")?;
        if !is_token(name) || params.iter().any(|(known, _)| known == name) {
            return Err(format!("name {name:?}"));
        }
        let mut unquoted = String::new();
        let mut chars = value.char_indices();
        let end = loop {
            match chars.next().ok_or("no end of a quoted value")? {
                (at, '"') => break at + 1,
                (_, '\\') => match chars.next() {
                    Some((_, char @ ('\t' | ' '..='~'))) => unquoted.push(char),
                    other => return Err(format!("quoted pair {other:?}")),
                },
                (_, char @ ('\t' | ' ' | '!' | '#'..='[' | ']'..='~')) => unquoted.push(char),
                (_, char) => return Err(format!("character {char:?}")),
            }
        };
        params.push((name.to_owned(), unquoted));
        rest = match &value[end..] {
            "" => return Ok((scheme.to_owned(), params)),
            more => more.strip_prefix(", ").ok_or("junk after a value")?,
        };
    }
}

#[test]
fn the_table_of_refusals() {
    let realm = Realm::new("bearward");
    let mut table = String::new();
    for refusal in all_refusals() {
        let response = refuse(&refusal, &realm, "req-1", false);
        table += response.status().as_str();
        for name in ["www-authenticate", "retry-after", "allow", "connection"] {
            if let Some(value) = header(&response, name) {
                table += &format!(" | {name}: {value}");
            }
        }
        table += "\n";
    }
    assert_snapshot!(table, @r#"
    400
    400 | connection: close
    431 | connection: close
    408 | connection: close
    413 | connection: close
    408 | connection: close
    408 | connection: close
    404
    405 | allow: GET, HEAD
    401 | www-authenticate: Bearer realm="bearward"
    400 | www-authenticate: Bearer realm="bearward", error="invalid_request", error_description="there is more than one Authorization header"
    503 | retry-after: 5
    403 | www-authenticate: Bearer realm="bearward", error="insufficient_scope", error_description="the token lacks a scope that is needed here", scope="campaigns:read campaigns:write"
    403 | www-authenticate: Bearer realm="bearward", error="insufficient_scope", error_description="the token lacks a role that is needed here"
    502
    504
    503
    503
    503 | retry-after: 1
    502
    403
    401 | www-authenticate: Bearer realm="bearward", error="invalid_token", error_description="the token is too long"
    401 | www-authenticate: Bearer realm="bearward", error="invalid_token", error_description="the token is malformed"
    401 | www-authenticate: Bearer realm="bearward", error="invalid_token", error_description="the token is signed with an algorithm that is not accepted"
    401 | www-authenticate: Bearer realm="bearward", error="invalid_token", error_description="the token is of a type that is not accepted"
    401 | www-authenticate: Bearer realm="bearward", error="invalid_token", error_description="the token has a critical header that is not understood"
    401 | www-authenticate: Bearer realm="bearward", error="invalid_token", error_description="the token is from an issuer that is not accepted here"
    401 | www-authenticate: Bearer realm="bearward", error="invalid_token", error_description="the token is signed with a key that the issuer does not publish"
    401 | www-authenticate: Bearer realm="bearward", error="invalid_token", error_description="the signature of the token does not verify"
    401 | www-authenticate: Bearer realm="bearward", error="invalid_token", error_description="the token has expired"
    401 | www-authenticate: Bearer realm="bearward", error="invalid_token", error_description="the token is not valid yet"
    401 | www-authenticate: Bearer realm="bearward", error="invalid_token", error_description="the token was issued in the future"
    401 | www-authenticate: Bearer realm="bearward", error="invalid_token", error_description="the token is too old"
    401 | www-authenticate: Bearer realm="bearward", error="invalid_token", error_description="the token is for another audience"
    401 | www-authenticate: Bearer realm="bearward", error="invalid_token", error_description="the token lacks a claim that is needed"
    401 | www-authenticate: Bearer realm="bearward", error="invalid_token", error_description="the token has been revoked"
    401 | www-authenticate: Bearer realm="bearward", error="invalid_token", error_description="the token is not bound to its sender as is needed here"
    401 | www-authenticate: Bearer realm="bearward", error="invalid_token", error_description="the token is not bound to its sender as is needed here"
    401 | www-authenticate: Bearer realm="bearward", error="invalid_token", error_description="the token is bound to a client certificate and the request comes without one"
    401 | www-authenticate: Bearer realm="bearward", error="invalid_token", error_description="the token is bound to another client certificate"
    401 | www-authenticate: Bearer realm="bearward", error="invalid_token", error_description="the client certificate is not passed on in a form that is understood"
    401 | www-authenticate: Bearer realm="bearward", error="invalid_token", error_description="the token is bound to a key and comes without a DPoP proof"
    401 | www-authenticate: Bearer realm="bearward", error="invalid_token", error_description="the token is not bound to a key and can not be presented by DPoP"
    401 | www-authenticate: Bearer realm="bearward", error="invalid_token", error_description="the token is bound to another key than that of the DPoP proof"
    401 | www-authenticate: Bearer realm="bearward", error="invalid_dpop_proof", error_description="a DPoP proof is needed"
    429 | retry-after: 5
    "#);
}

#[test]
fn every_answer_is_a_problem_document_that_is_not_stored() {
    for refusal in all_refusals() {
        let response = refuse(&refusal, &Realm::new("bearward"), "req-1", false);
        let text = body(&response);
        let value: Value = serde_json::from_str(text).unwrap();
        assert_eq!(header(&response, "content-type"), Some("application/problem+json"));
        assert_eq!(header(&response, "content-length"), Some(&*text.len().to_string()));
        assert_eq!(header(&response, "cache-control"), Some("no-store"));
        assert_eq!(value["status"], response.status().as_u16());
        assert_eq!(value["title"], response.status().canonical_reason().unwrap());
        assert_eq!((&value["type"], &value["request_id"]), (&"about:blank".into(), &"req-1".into()));
        assert_eq!(value["detail"], refusal.detail());
        assert_eq!(value.as_object().unwrap().len(), 5);
    }
}

#[test]
fn problem_bodies() {
    let body_of = |refusal| body(&refuse(&refusal, &Realm::new("bearward"), "req-1", false)).to_owned();
    assert_snapshot!(body_of(Refusal::NoCredential), @r#"{"type":"about:blank","title":"Unauthorized","status":401,"detail":"a bearer token is needed","request_id":"req-1"}"#);
    assert_snapshot!(body_of(Refusal::Upstream(UpstreamFault::Broken)), @r#"{"type":"about:blank","title":"Bad Gateway","status":502,"detail":"the service behind the gateway failed to answer","request_id":"req-1"}"#);
}

#[test]
fn head_gets_the_same_fields_and_no_body() {
    for refusal in all_refusals() {
        let realm = Realm::new("bearward");
        let (full, head) = (refuse(&refusal, &realm, "req-1", false), refuse(&refusal, &realm, "req-1", true));
        assert_eq!((full.status(), full.headers()), (head.status(), head.headers()));
        assert!(matches!(head.body(), Body::Empty));
    }
}

#[test]
fn challenges_parse_and_name_the_error_that_belongs_to_the_status() {
    for refusal in all_refusals() {
        let response = refuse(&refusal, &Realm::new("a \"quoted\" \\ realm"), "req-1", false);
        let Some(challenge) = header(&response, "www-authenticate") else {
            // No token would help a page.
            let is_open = matches!(response.status().as_u16(), 401 | 403) && refusal != Refusal::ForeignPage;
            assert!(!is_open, "{refusal:?}");
            continue;
        };
        let (scheme, params) = parse_challenge(challenge).unwrap();
        assert_eq!(
            (scheme.as_str(), &params[0]),
            ("Bearer", &("realm".to_owned(), "a \"quoted\" \\ realm".to_owned()))
        );
        let error = params.iter().find(|(name, _)| name == "error").map(|(_, error)| error.as_str());
        let status = match error {
            None | Some("invalid_token" | "invalid_dpop_proof") => 401,
            Some("invalid_request") => 400,
            Some("insufficient_scope") => 403,
            other => panic!("{other:?}"),
        };
        assert_eq!(response.status().as_u16(), status);
        assert_eq!(error.is_none(), params.len() == 1, "nothing but the realm where there is no error: {params:?}");
    }
}

/// What is wrong comes first, in the scheme that it is about, then what would do as well; each says where the metadata is.
#[test]
fn the_schemes_that_a_route_takes() {
    let realm = Realm::new("bearward").with_metadata("https://api.example/.well-known/oauth-protected-resource");
    let told = |refusal: &Refusal, offer: Option<(bool, bool)>, asked_by_dpop: bool| {
        let offer = offer.map(|(is_offered, is_required)| DpopOffer {
            challenge: "DPoP algs=\"ES256\"".to_owned(),
            is_offered,
            is_required,
        });
        let response = refuse(refusal, Schemes { realm: &realm, dpop: offer.as_ref(), asked_by_dpop }, "req-1", false);
        let challenges = response.headers().get_all("www-authenticate").iter().map(|challenge| {
            let (scheme, params) = parse_challenge(challenge.to_str().unwrap()).unwrap();
            let known = if scheme == "DPoP" { ("algs", "ES256") } else { ("realm", "bearward") };
            assert_eq!((params[0].0.as_str(), params[0].1.as_str()), known);
            let end = params.last().unwrap();
            assert_eq!(end.0, "resource_metadata");
            assert_eq!(end.1, "https://api.example/.well-known/oauth-protected-resource");
            match params.iter().find(|(name, _)| name == "error") {
                Some((_, error)) => format!("{scheme} {error}"),
                None => scheme,
            }
        });
        challenges.collect::<Vec<_>>().join(", ")
    };
    let (silent, offered, required) = (Some((false, false)), Some((true, false)), Some((true, true)));
    let proof = Refusal::Proof(ProofFault::Proof("a DPoP proof is needed"));
    let not_shown = Refusal::Proof(ProofFault::NotShown);
    let certificate = Refusal::Proof(ProofFault::NoCertificate);
    let (expired, unbound) = (Refusal::Token(TokenFault::Expired), Refusal::Token(TokenFault::Binding));
    let (scope, two) = (Refusal::Rule(RuleFault::Scope("a".into())), Refusal::Credential("two"));
    for (refusal, offer, asked_by_dpop, expected) in [
        (&Refusal::NoCredential, None, false, "Bearer"),
        (&Refusal::NoCredential, None, true, "Bearer"),
        (&Refusal::NoCredential, silent, false, "Bearer"),
        (&Refusal::NoCredential, offered, false, "Bearer, DPoP"),
        (&Refusal::NoCredential, required, false, "DPoP"),
        (&expired, silent, false, "Bearer invalid_token"),
        (&expired, silent, true, "DPoP invalid_token, Bearer"),
        (&expired, offered, false, "Bearer invalid_token, DPoP"),
        (&expired, offered, true, "DPoP invalid_token, Bearer"),
        (&expired, required, true, "DPoP invalid_token"),
        (&unbound, offered, false, "Bearer invalid_token, DPoP"),
        (&unbound, required, false, "DPoP invalid_token"),
        (&not_shown, silent, false, "DPoP invalid_token, Bearer"),
        (&not_shown, required, false, "DPoP invalid_token"),
        (&proof, silent, true, "DPoP invalid_dpop_proof, Bearer"),
        (&proof, required, true, "DPoP invalid_dpop_proof"),
        (&certificate, silent, false, "Bearer invalid_token"),
        (&certificate, offered, false, "Bearer invalid_token, DPoP"),
        (&certificate, offered, true, "DPoP invalid_token, Bearer"),
        (&two, offered, false, "Bearer invalid_request"),
        (&two, offered, true, "DPoP invalid_request"),
        (&scope, offered, false, "Bearer insufficient_scope"),
        (&scope, required, true, "DPoP insufficient_scope"),
        (&Refusal::NoRoute, required, true, ""),
        (&Refusal::Proof(ProofFault::TooMany), required, true, ""),
    ] {
        assert_eq!(told(refusal, offer, asked_by_dpop), expected, "{refusal:?} {offer:?} {asked_by_dpop}");
    }
}

#[test]
fn retry_after_is_never_early_and_never_zero() {
    for (millis, seconds) in [(0, 1), (1, 1), (1000, 1), (1001, 2), (4999, 5)] {
        assert_eq!(whole_seconds(Duration::from_millis(millis)), seconds);
    }
    assert_eq!(whole_seconds(Duration::MAX), u64::from(u32::MAX));
}

proptest! {
    #[test]
    fn nothing_in_realm_scope_or_id_adds_a_header_or_a_parameter(realm in any::<String>(), scope in any::<String>(), id in any::<String>()) {
        let refusal = Refusal::Rule(RuleFault::Scope(Arc::from(&*scope)));
        let response = refuse(&refusal, &Realm::new(&realm), &id, false);
        let (_, params) = parse_challenge(header(&response, "www-authenticate").unwrap()).unwrap();
        let names: Vec<_> = params.iter().map(|(name, _)| name.as_str()).collect();
        prop_assert_eq!(names, ["realm", "error", "error_description", "scope"]);
        let value: Value = serde_json::from_str(body(&response)).unwrap();
        prop_assert_eq!(value["request_id"].as_str(), Some(&*id));
    }

    #[test]
    fn plain_realms_and_scopes_read_back(realm in "[ -~]{0,30}", scope in "[!#-\\[\\]-~]{1,8}( [!#-\\[\\]-~]{1,8}){0,3}") {
        let refusal = Refusal::Rule(RuleFault::Scope(Arc::from(&*scope)));
        let response = refuse(&refusal, &Realm::new(&realm), "id", false);
        let (_, params) = parse_challenge(header(&response, "www-authenticate").unwrap()).unwrap();
        prop_assert_eq!((&params[0].1, &params[3].1), (&realm, &scope));
    }
}
