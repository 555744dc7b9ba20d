//! Identity headers: what a client may not send is removed, what a permit says is written.

mod reserved;

use std::{borrow::Cow, time::Duration};

use hyper::{
    HeaderMap,
    header::{AUTHORIZATION, HeaderName, HeaderValue},
};
use serde_json::Value;

use crate::{
    headers::DPOP,
    signer::Signer,
    token::{claims::ClaimPath, credential::Credential, principal::Principal},
};

pub use reserved::{ReservedNames, is_alias};

const X_AUTH_SUBJECT: HeaderName = HeaderName::from_static("x-auth-subject");
const X_AUTH_CLIENT: HeaderName = HeaderName::from_static("x-auth-client");
const X_AUTH_SCOPES: HeaderName = HeaderName::from_static("x-auth-scopes");
const X_AUTH_ROLES: HeaderName = HeaderName::from_static("x-auth-roles");
const X_AUTH_ISSUER: HeaderName = HeaderName::from_static("x-auth-issuer");

/// What an authorised request carries on to its upstream.
#[derive(Clone, Debug)]
pub struct IdentityPlan {
    /// Header and what it says.
    pub headers: Vec<(HeaderName, IdentitySource)>,
    /// Whether the token goes on as `Authorization`.
    pub forward_authorization: bool,
    /// A JWT of the gateway's own about the caller; None: none.
    pub assertion: Option<AssertionPlan>,
}

/// A short-lived JWT, signed here, that the upstream can verify.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AssertionPlan {
    /// Where it goes.
    pub header: HeaderName,
    /// What signs it.
    pub key: Signer,
    /// Keys that are published beside it and sign nothing, so that they are known before they do.
    pub announced: Vec<Signer>,
    /// `iss`
    pub issuer: String,
    /// `aud`; None: the upstream's key in the configuration, or the route's name where it leads to none of these.
    pub audience: Option<String>,
    /// From `iat` to `exp`.
    pub ttl: Duration,
}

impl AssertionPlan {
    /// `aud` for an upstream of this name.
    pub fn audience_for<'a>(&'a self, upstream: &'a str) -> &'a str {
        self.audience.as_deref().unwrap_or(upstream)
    }
}

/// The scopes as one text; None where there are none. What would read as a scope of its own is escaped.
pub fn scopes(principal: &Principal) -> Option<String> {
    list(principal.scopes(), b' ').and_then(|joined| joined.to_str().ok().map(str::to_owned))
}

/// What an identity header says.
#[derive(Clone, Debug)]
pub enum IdentitySource {
    /// `sub`, or what the issuer has in its place.
    Subject,
    /// The client's id.
    Client,
    /// Joined by spaces.
    Scopes,
    /// Joined by commas.
    Roles,
    /// The issuer's key in the configuration.
    Issuer,
    /// A claim; JSON for objects; absent: no header.
    Claim(ClaimPath),
    /// A literal.
    Literal(HeaderValue),
}

impl IdentityPlan {
    /// The default: the five headers, and the token forwarded.
    pub fn standard() -> IdentityPlan {
        IdentityPlan {
            headers: vec![
                (X_AUTH_SUBJECT, IdentitySource::Subject),
                (X_AUTH_CLIENT, IdentitySource::Client),
                (X_AUTH_SCOPES, IdentitySource::Scopes),
                (X_AUTH_ROLES, IdentitySource::Roles),
                (X_AUTH_ISSUER, IdentitySource::Issuer),
            ],
            forward_authorization: true,
            assertion: None,
        }
    }

    /// Nothing at all: what an upstream gets that is called with a token of the gateway's own.
    pub fn nothing() -> IdentityPlan {
        IdentityPlan { headers: Vec::new(), forward_authorization: false, assertion: None }
    }

    /// The headers that are ours to write.
    pub fn names(&self) -> impl Iterator<Item = &HeaderName> {
        self.headers.iter().map(|(name, _)| name).chain(self.assertion.iter().map(|assertion| &assertion.header))
    }

    /// The default identity headers and those of these plans, each once.
    pub fn names_of_all<'p>(plans: impl Iterator<Item = &'p IdentityPlan>) -> Vec<HeaderName> {
        let mut names: Vec<HeaderName> = Vec::new();
        let standard = IdentityPlan::standard();
        for name in standard.names().cloned().chain(plans.flat_map(IdentityPlan::names).cloned()) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }

    /// Writes the identity headers of this principal. Values are escaped: nothing in a token can add a header. A
    /// header without a value is not sent, and none that was there before stays.
    pub fn write(&self, principal: &Principal, headers: &mut HeaderMap) {
        for (name, source) in &self.headers {
            match source.value(principal) {
                Some(value) => headers.insert(name.clone(), value),
                None => headers.remove(name),
            };
        }
    }

    /// Writes the token as `Authorization`, with the scheme in exactly this case: `DPoP` where it was presented so, its proof
    /// beside it as it came, else `Bearer`. Or takes both away.
    /// `sent`: what the client had there, which may be just that.
    pub fn write_authorization(&self, credential: &Credential, sent: Option<HeaderValue>, headers: &mut HeaderMap) {
        self.write_token(credential.is_dpop(), headers, |scheme| authorization(scheme, credential, sent));
    }

    /// The same for whoever only wants to see what would go on: no token is in it.
    pub fn write_masked_authorization(&self, is_dpop: bool, headers: &mut HeaderMap) {
        self.write_token(is_dpop, headers, |_| Some(masked_authorization(is_dpop)));
    }

    fn write_token(
        &self,
        is_dpop: bool,
        headers: &mut HeaderMap,
        value: impl FnOnce(&'static str) -> Option<HeaderValue>,
    ) {
        let scheme = if is_dpop { "DPoP " } else { "Bearer " };
        match self.forward_authorization.then(|| value(scheme)).flatten() {
            Some(value) => drop(headers.insert(AUTHORIZATION, value)),
            None => {
                headers.remove(AUTHORIZATION);
                headers.remove(DPOP);
            }
        }
    }
}

/// Stands for an `Authorization` that isn't to be shown.
pub fn masked_authorization(is_dpop: bool) -> HeaderValue {
    HeaderValue::from_static(if is_dpop { "DPoP (masked)" } else { "Bearer (masked)" })
}

fn authorization(scheme: &str, credential: &Credential, sent: Option<HeaderValue>) -> Option<HeaderValue> {
    let token = credential.expose();
    let is_same = |sent: &HeaderValue| sent.as_bytes().strip_prefix(scheme.as_bytes()) == Some(token.as_bytes());
    if let Some(mut same) = sent.filter(is_same) {
        same.set_sensitive(true);
        return Some(same);
    }
    let mut text = Vec::with_capacity(scheme.len() + token.len());
    text.extend_from_slice(scheme.as_bytes());
    text.extend_from_slice(token.as_bytes());
    let mut value = HeaderValue::try_from(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

impl IdentitySource {
    fn value(&self, principal: &Principal) -> Option<HeaderValue> {
        match self {
            IdentitySource::Subject => principal.subject().and_then(text),
            IdentitySource::Client => principal.client().and_then(text),
            IdentitySource::Scopes => list(principal.scopes(), b' '),
            IdentitySource::Roles => list(principal.roles(), b','),
            IdentitySource::Issuer => text(principal.issuer()),
            IdentitySource::Claim(path) => claim(&path.find(principal.claims())),
            IdentitySource::Literal(value) => Some(value.clone()),
        }
    }
}

/// A single value. Most need no escape and are copied once.
fn text(value: &str) -> Option<HeaderValue> {
    if !needs_escape(value, None) {
        return HeaderValue::from_str(value).ok();
    }
    let mut escaped = Vec::with_capacity(value.len() + 16);
    escape(value, None, &mut escaped);
    HeaderValue::try_from(escaped).ok()
}

/// The elements that aren't empty, joined; None if there are none.
fn list(elements: &[String], separator: u8) -> Option<HeaderValue> {
    let mut joined = Vec::with_capacity(elements.iter().map(|element| element.len() + 1).sum());
    for element in elements.iter().filter(|element| !element.is_empty()) {
        if !joined.is_empty() {
            joined.push(separator);
        }
        escape(element, Some(separator), &mut joined);
    }
    if joined.is_empty() { None } else { HeaderValue::try_from(joined).ok() }
}

/// One value is written as it is, several (a path with `*`) as a JSON array.
fn claim(found: &[&Value]) -> Option<HeaderValue> {
    let written = match found {
        [] | [Value::Null] => return None,
        [Value::String(value)] => Cow::Borrowed(value.as_str()),
        [other] => Cow::Owned(other.to_string()),
        several => Cow::Owned(serde_json::to_string(several).ok()?),
    };
    text(&written)
}

/// What stands for itself in a header value. Spaces at the ends don't: whoever reads a field, or an element of a
/// list, trims them, and ` admin` must not arrive as `admin`.
fn plain(byte: u8, separator: Option<u8>) -> bool {
    matches!(byte, b' '..=b'~') && byte != b'%' && Some(byte) != separator
}

fn needs_escape(value: &str, separator: Option<u8>) -> bool {
    value.starts_with(' ') || value.ends_with(' ') || value.bytes().any(|byte| !plain(byte, separator))
}

fn escape(value: &str, separator: Option<u8>, into: &mut Vec<u8>) {
    if !needs_escape(value, separator) {
        into.extend_from_slice(value.as_bytes());
        return;
    }
    let last = value.len() - value.bytes().rev().take_while(|byte| *byte == b' ').count();
    let first = value.bytes().take_while(|byte| *byte == b' ').count();
    for (place, byte) in value.bytes().enumerate() {
        if plain(byte, separator) && (first..last).contains(&place) {
            into.push(byte);
        } else {
            into.extend_from_slice(&[b'%', hex_digit(byte >> 4), hex_digit(byte & 0xf)]);
        }
    }
}

fn hex_digit(nibble: u8) -> u8 {
    if nibble < 10 { b'0' + nibble } else { b'A' + nibble - 10 }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn shown(value: Option<HeaderValue>) -> Option<String> {
        value.map(|value| value.to_str().unwrap().to_owned())
    }

    fn strings(elements: &[&str]) -> Vec<String> {
        elements.iter().map(|element| (*element).to_owned()).collect()
    }

    #[test]
    fn single_values() {
        for (value, written) in [
            ("alice", "alice"),
            ("https://auth.example/u?id=1,2", "https://auth.example/u?id=1,2"),
            ("Alice Doe", "Alice Doe"),
            (" admin", "%20admin"),
            ("admin  ", "admin%20%20"),
            (" ", "%20"),
            ("100%", "100%25"),
            ("a%0d%0ab", "a%250d%250ab"),
            ("a\r\nX-Auth-Roles: admin", "a%0D%0AX-Auth-Roles: admin"),
            ("a\0b\tc\u{7f}", "a%00b%09c%7F"),
            ("Zoë", "Zo%C3%AB"),
            ("\u{202e}x", "%E2%80%AEx"),
            ("\"q\" \\ ;", "\"q\" \\ ;"),
        ] {
            assert_eq!(shown(text(value)).unwrap(), written, "{value:?}");
        }
    }

    #[test]
    fn lists() {
        for (elements, separator, written) in [
            (&["a", "b:c"][..], b' ', Some("a b:c")),
            (&["a b", "c"], b' ', Some("a%20b c")),
            (&["a,b", "c"], b' ', Some("a,b c")),
            (&["editor", "owner"], b',', Some("editor,owner")),
            (&["x,admin"], b',', Some("x%2Cadmin")),
            (&["x", " admin"], b',', Some("x,%20admin")),
            (&["team lead"], b',', Some("team lead")),
            (&["a\nb", "%2C", "ü"], b',', Some("a%0Ab,%252C,%C3%BC")),
            (&[], b',', None),
            (&["", ""], b',', None),
            (&["", "a", "", "b"], b',', Some("a,b")),
        ] {
            assert_eq!(shown(list(&strings(elements), separator)).as_deref(), written, "{elements:?}");
        }
    }

    #[test]
    fn claims() {
        for (found, written) in [
            (vec![], None),
            (vec![json!(null)], None),
            (vec![json!("acme")], Some("acme")),
            (vec![json!("")], Some("")),
            (vec![json!("a\r\nb")], Some("a%0D%0Ab")),
            (vec![json!(42)], Some("42")),
            (vec![json!(1.5)], Some("1.5")),
            (vec![json!(true)], Some("true")),
            (vec![json!(["a", "b\n"])], Some(r#"["a","b\n"]"#)),
            (vec![json!({"a": "é%"})], Some(r#"{"a":"%C3%A9%25"}"#)),
            (vec![json!("a"), json!(1)], Some(r#"["a",1]"#)),
        ] {
            let found: Vec<&Value> = found.iter().collect();
            assert_eq!(shown(claim(&found)).as_deref(), written, "{found:?}");
        }
    }

    fn decoded(written: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut rest = written.iter();
        while let Some(byte) = rest.next() {
            if *byte == b'%' {
                let digits = [*rest.next().unwrap(), *rest.next().unwrap()];
                bytes.push(u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap());
            } else {
                bytes.push(*byte);
            }
        }
        bytes
    }

    proptest! {
        /// Any text becomes one value that can be read back, also after the trim that every reader does.
        #[test]
        fn values_survive(value in "\\PC*|[\\x00-\\x20%]{0,20}") {
            let written = text(&value).unwrap();
            let seen = written.as_bytes().trim_ascii();
            prop_assert_eq!(decoded(seen), value.as_bytes());
            prop_assert!(seen.iter().all(|byte| matches!(byte, b' '..=b'~')));
        }

        #[test]
        fn elements_survive(
            elements in proptest::collection::vec("\\PC{1,8}|[ ,%\\r\\n]{1,4}", 1..5),
            comma in any::<bool>(),
        ) {
            let separator = if comma { b',' } else { b' ' };
            let written = list(&elements, separator).unwrap();
            let seen: Vec<Vec<u8>> = written
                .as_bytes()
                .split(|byte| *byte == separator)
                .map(|element| decoded(element.trim_ascii()))
                .collect();
            prop_assert_eq!(seen, elements.iter().map(|element| element.as_bytes().to_vec()).collect::<Vec<_>>());
        }
    }
}
