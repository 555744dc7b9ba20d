//! Exactly one credential out of a request, or a reason.

use std::cell::Cell;

use aws_lc_rs::digest;
use hyper::{HeaderMap, header::AUTHORIZATION};
use zeroize::Zeroize;

use crate::refusal::{Refusal, TokenFault};

/// A token as it was presented. Doesn't print; its memory is wiped when it goes.
pub struct Credential {
    token: String,
    way: Way,
}

/// How a token was presented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// `Authorization: Bearer` (RFC 6750, section 2.1).
    Bearer,
    /// `Authorization: DPoP` (RFC 9449, section 7.1).
    Dpop,
    /// Elsewhere than in `Authorization`.
    Elsewhere,
}

/// A scheme of `Authorization` that brings a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::token) enum Scheme {
    Bearer,
    Dpop,
}

/// The first 12 hex digits of a token's SHA-256: how logs name it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint(pub [u8; 6]);

impl Credential {
    /// The credential of a request: `Authorization: Bearer` with the scheme in any case (RFC 6750, section 2.1).
    /// `max_token_bytes` from `server.max_token_bytes`.
    ///
    /// # Errors
    /// `NoCredential` (none, or another scheme), `Credential` (two, malformed), `Token(TooLong)`.
    pub fn from_headers(headers: &HeaderMap, max_token_bytes: usize) -> Result<Credential, Refusal> {
        match authorization(headers)? {
            Some((Scheme::Bearer, token)) => Credential::of(token, max_token_bytes),
            Some((Scheme::Dpop, _)) | None => Err(Refusal::NoCredential),
        }
    }

    /// This token.
    ///
    /// # Errors
    /// It is too long or malformed.
    pub(in crate::token) fn of(token: &[u8], max_token_bytes: usize) -> Result<Credential, Refusal> {
        if token.len() > max_token_bytes {
            return Err(Refusal::Token(TokenFault::TooLong));
        }
        match std::str::from_utf8(token) {
            Ok(text) if is_b64token(token) => {
                let mut token = String::from_utf8(SPARE.take()).unwrap_or_default();
                token.push_str(text);
                Ok(Credential { token, way: Way::Bearer })
            }
            _ => Err(Refusal::Credential("the token is empty or has characters that no token has")),
        }
    }

    /// The same, found elsewhere than in `Authorization`.
    pub(in crate::token) fn found_elsewhere(mut self) -> Credential {
        self.way = Way::Elsewhere;
        self
    }

    /// The same, presented by the scheme DPoP.
    pub(in crate::token) fn by_dpop(mut self) -> Credential {
        self.way = Way::Dpop;
        self
    }

    /// Whether it was found elsewhere than in `Authorization`, so that a cache doesn't see that an answer is somebody's.
    pub fn is_from_elsewhere(&self) -> bool {
        self.way == Way::Elsewhere
    }

    /// Whether it was presented by the scheme DPoP, so that a proof goes with it.
    pub fn is_dpop(&self) -> bool {
        self.way == Way::Dpop
    }

    /// The token's text: for verification and for the upstream's `Authorization`, nothing else.
    pub fn expose(&self) -> &str {
        &self.token
    }

    /// How logs name it.
    pub fn fingerprint(&self) -> Fingerprint {
        let hash = digest::digest(&digest::SHA256, self.token.as_bytes());
        let mut first = [0; 6];
        first.iter_mut().zip(hash.as_ref()).for_each(|(to, from)| *to = *from);
        Fingerprint(first)
    }
}

/// What is in `Authorization`, and by which scheme; None where there is no such field, or another scheme.
///
/// # Errors
/// `Credential` (two fields, no token).
pub(in crate::token) fn authorization(headers: &HeaderMap) -> Result<Option<(Scheme, &[u8])>, Refusal> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Refusal::Credential("there is more than one Authorization header"));
    }
    let Some((scheme, rest)) = scheme(value.as_bytes()) else { return Ok(None) };
    match rest {
        [b' ', token @ ..] => {
            let spaces = token.iter().take_while(|byte| **byte == b' ').count();
            Ok(Some((scheme, token.get(spaces..).unwrap_or_default())))
        }
        _ => Err(Refusal::Credential("there is no token after the scheme")),
    }
}

/// Whether a request presents a token by the scheme DPoP, well-formed or not: its challenge is then of that scheme.
pub fn asks_by_dpop(headers: &HeaderMap) -> bool {
    headers.get(AUTHORIZATION).is_some_and(|value| matches!(scheme(value.as_bytes()), Some((Scheme::Dpop, _))))
}

/// The scheme, in any case (RFC 9110, section 11.1), and what follows it; None where it is neither.
fn scheme(value: &[u8]) -> Option<(Scheme, &[u8])> {
    let after = |name: &[u8]| {
        let (begin, rest) = value.split_at_checked(name.len())?;
        let is_whole = !rest.first().is_some_and(|byte| is_tchar(*byte));
        (is_whole && begin.eq_ignore_ascii_case(name)).then_some(rest)
    };
    let bearer = after(b"Bearer").map(|rest| (Scheme::Bearer, rest));
    bearer.or_else(|| after(b"DPoP").map(|rest| (Scheme::Dpop, rest)))
}

/// RFC 9110, section 5.6.2.
fn is_tchar(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// RFC 6750, section 2.1.
fn is_b64token(token: &[u8]) -> bool {
    let padding = token.iter().rev().take_while(|byte| **byte == b'=').count();
    let body = token.get(..token.len() - padding).unwrap_or_default();
    // Without an early end or a table: the compiler makes wide compares of it.
    let is_good = |byte: u8| byte.is_ascii_alphanumeric() | matches!(byte, b'-' | b'.' | b'_' | b'~' | b'+' | b'/');
    !body.is_empty() && body.iter().fold(true, |good, byte| good & is_good(*byte))
}

/// What a thread keeps for the next credential.
const MOST_SPARE: usize = 4 * 1024;

thread_local! {
    /// Empty, and wiped.
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

impl Drop for Credential {
    fn drop(&mut self) {
        let mut token = std::mem::take(&mut self.token).into_bytes();
        // What is beyond its end was wiped with the token before.
        token.as_mut_slice().zeroize();
        token.clear();
        if token.capacity() <= MOST_SPARE {
            // It is gone where the thread ends.
            let _ = SPARE.try_with(|spare| spare.set(token));
        }
    }
}

impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credential(…)")
    }
}

impl std::fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl std::fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use hyper::header::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn read(values: &[&[u8]], max: usize) -> Result<Credential, Refusal> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, HeaderValue::from_bytes(value).unwrap());
        }
        Credential::from_headers(&headers, max)
    }

    #[test]
    fn takes_a_bearer_token_in_any_case_of_the_scheme() {
        for value in ["Bearer a.b-c_~+/9==", "bearer a.b-c_~+/9==", "BEARER a.b-c_~+/9==", "bEaReR    a.b-c_~+/9=="] {
            assert_eq!(read(&[value.as_bytes()], 100).unwrap().expose(), "a.b-c_~+/9==");
        }
    }

    #[test]
    fn no_credential() {
        assert_eq!(read(&[], 100).unwrap_err(), Refusal::NoCredential);
        for value in ["", "Basic YTpi", "DPoP abc", "Bearerabc", "Bearer-x abc", "abc", "\"Bearer\" abc", "Bear er abc"]
        {
            assert_eq!(read(&[value.as_bytes()], 100).unwrap_err(), Refusal::NoCredential, "{value}");
        }
    }

    #[test]
    fn malformed() {
        for value in [
            &b"Bearer"[..],
            b"bearer",
            b"Bearer ",
            b"Bearer      ",
            b"Bearer a b",
            b"Bearer a ",
            b"Bearer a\t",
            b"Bearer\ta",
            b"Bearer \ta",
            b"Bearer a,b",
            b"Bearer a, Bearer b",
            b"Bearer =",
            b"Bearer ==",
            b"Bearer a=b",
            b"Bearer a%20",
            b"Bearer \"a\"",
            b"Bearer a\xff",
            b"Bearer \xc3\xa9",
            b"Bearer,a",
            b"Bearer: a",
            b"Bearer=a",
            b"Bearer a;b",
            b"Bearer a:b",
        ] {
            assert!(matches!(read(&[value], 100), Err(Refusal::Credential(_))), "{}", value.escape_ascii());
        }
    }

    #[test]
    fn two_authorization_headers_whatever_they_say() {
        for values in
            [["Bearer a", "Bearer b"], ["Bearer a", "Bearer a"], ["Basic a", "Bearer a"], ["Bearer a", ""], ["", ""]]
        {
            let values = values.map(str::as_bytes);
            assert!(matches!(read(&values, 100), Err(Refusal::Credential(_))));
        }
    }

    #[test]
    fn too_long_is_said_before_the_token_is_looked_at() {
        assert!(read(&[b"Bearer 12345"], 5).is_ok());
        assert_eq!(read(&[b"Bearer 123456"], 5).unwrap_err(), Refusal::Token(TokenFault::TooLong));
        assert_eq!(read(&[b"Bearer \"\"\"\"\"\""], 5).unwrap_err(), Refusal::Token(TokenFault::TooLong));
        let long = format!("Bearer {}", "a".repeat(50_000));
        assert_eq!(read(&[long.as_bytes()], 64 * 1024).unwrap().expose().len(), 50_000);
    }

    #[test]
    fn never_prints() {
        let credential = read(&[b"Bearer abc"], 5).unwrap();
        assert_eq!(format!("{credential:?}"), "Credential(…)");
        // printf abc | sha256sum
        assert_eq!(credential.fingerprint().to_string(), "ba7816bf8f01");
    }

    proptest! {
        #[test]
        fn what_is_taken_is_a_b64token(value in proptest::collection::vec((0x20u8..=0xff).prop_filter("DEL", |b| *b != 0x7f), 0..60)) {
            let value = [b"Bearer ", value.as_slice()].concat();
            if let Ok(credential) = read(&[&value], 40) {
                let body = credential.expose().trim_end_matches('=');
                prop_assert!(!body.is_empty() && credential.expose().len() <= 40);
                prop_assert!(body.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~+/".contains(&b)));
            }
        }
    }
}
