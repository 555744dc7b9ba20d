//! Where a request may carry its token (`token_from`), and how it is taken from there.

use std::borrow::Cow;

use hyper::{
    HeaderMap, Method,
    header::{AUTHORIZATION, COOKIE, HOST, HeaderName, HeaderValue, ORIGIN, UPGRADE},
};

use super::credential::{self, Credential};
use crate::{
    headers::DPOP,
    identity::is_alias,
    query::{Piece, compare, decode},
    refusal::Refusal,
    request::RequestView,
};

/// All places where a route takes a token from. A request has it in one of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenPlaces(Vec<TokenPlace>);

/// One place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenPlace {
    /// `Authorization: Bearer`, or `DPoP` with a proof (RFC 9449).
    Authorization,
    /// The query field of this name (RFC 6750, section 2.3).
    Query(String),
    /// The cookie of this name.
    Cookie(String),
    /// A header of its own: the token and nothing else.
    Header(HeaderName),
}

const TWO_PLACES: Refusal = Refusal::Credential("there is a token in more than one place");
const TWICE: Refusal = Refusal::Credential("the token is given more than once");

impl Default for TokenPlaces {
    fn default() -> TokenPlaces {
        TokenPlaces(vec![TokenPlace::Authorization])
    }
}

impl TokenPlaces {
    /// These; `Authorization` alone where there are none.
    pub fn new(places: Vec<TokenPlace>) -> TokenPlaces {
        if places.is_empty() { TokenPlaces::default() } else { TokenPlaces(places) }
    }

    /// The credential of a request. `max_token_bytes` from `server.max_token_bytes`.
    ///
    /// # Errors
    /// `NoCredential` (none, or another scheme), `Credential` (two, malformed), `Token(TooLong)`.
    pub fn credential(&self, view: &RequestView<'_>, max_token_bytes: usize) -> Result<Credential, Refusal> {
        let mut found = None;
        for place in &self.0 {
            if let Some(token) = place.find(view)?
                && found.replace((place, token)).is_some()
            {
                return Err(TWO_PLACES);
            }
        }
        let (place, token) = found.ok_or(Refusal::NoCredential)?;
        let credential = Credential::of(&token, max_token_bytes)?;
        Ok(match place {
            TokenPlace::Authorization if credential::asks_by_dpop(view.headers) => credential.by_dpop(),
            TokenPlace::Authorization => credential,
            TokenPlace::Query(_) | TokenPlace::Cookie(_) | TokenPlace::Header(_) => credential.found_elsewhere(),
        })
    }

    /// Where a client sends its token that has the choice.
    pub fn preferred(&self) -> Option<&TokenPlace> {
        let authorization = self.0.iter().find(|place| **place == TokenPlace::Authorization);
        authorization.or_else(|| self.0.first())
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &TokenPlace> {
        self.0.iter()
    }

    /// The names of the query fields among them.
    pub fn query_names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|place| match place {
            TokenPlace::Query(name) => Some(name.as_str()),
            _ => None,
        })
    }

    /// The headers of their own among them.
    pub fn header_names(&self) -> impl Iterator<Item = &HeaderName> {
        self.0.iter().filter_map(|place| match place {
            TokenPlace::Header(name) => Some(name),
            _ => None,
        })
    }

    /// Takes away what is or might be taken for a token: the upstream and the rules see none that wasn't verified here.
    /// `Authorization`, too, where it isn't one of the places: it says nothing on this route.
    pub fn strip(&self, headers: &mut HeaderMap) {
        if !self.0.contains(&TokenPlace::Authorization) {
            headers.remove(AUTHORIZATION);
            headers.remove(DPOP);
        }
        for place in &self.0 {
            match place {
                TokenPlace::Cookie(name) => remove_cookie(headers, name),
                TokenPlace::Header(name) => {
                    let aliases = headers.keys().filter(|other| is_alias(other.as_str(), name.as_str()));
                    for alias in aliases.cloned().collect::<Vec<_>>() {
                        headers.remove(alias);
                    }
                }
                TokenPlace::Authorization | TokenPlace::Query(_) => {}
            }
        }
    }

    /// The query without tokens, byte for byte apart from that; None where nothing is left of it.
    pub fn strip_query<'q>(&self, query: Option<&'q str>) -> Option<Cow<'q, str>> {
        let query = query?;
        let holds_token = |piece: &str| self.query_names().any(|name| compare(piece, name) != Piece::Other);
        if !query.split('&').any(holds_token) {
            return Some(Cow::Borrowed(query));
        }
        let left = query.split('&').filter(|piece| !holds_token(piece)).collect::<Vec<_>>().join("&");
        (!left.is_empty()).then_some(Cow::Owned(left))
    }
}

impl std::fmt::Display for TokenPlace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            TokenPlace::Authorization => f.write_str("Authorization"),
            TokenPlace::Query(name) => write!(f, "the query's {name}"),
            TokenPlace::Cookie(name) => write!(f, "the cookie {name}"),
            TokenPlace::Header(name) => write!(f, "the header {name}"),
        }
    }
}

impl TokenPlace {
    /// What stands there, if something does that counts.
    fn find<'v>(&self, view: &RequestView<'v>) -> Result<Option<Cow<'v, [u8]>>, Refusal> {
        match self {
            TokenPlace::Authorization => {
                Ok(credential::authorization(view.headers)?.map(|(_, token)| Cow::Borrowed(token)))
            }
            TokenPlace::Query(name) => in_query(view.query, name),
            TokenPlace::Cookie(name) if may_use_cookies(view) => in_cookies(view.headers, name),
            TokenPlace::Cookie(_) => Ok(None),
            TokenPlace::Header(name) => in_header(view.headers, name),
        }
    }
}

fn in_query<'q>(query: Option<&'q str>, name: &str) -> Result<Option<Cow<'q, [u8]>>, Refusal> {
    let (mut found, mut is_ambiguous) = (None, false);
    for piece in query.into_iter().flat_map(|query| query.split('&')) {
        match compare(piece, name) {
            Piece::Other => {}
            Piece::Named(value) => is_ambiguous |= found.replace(value).is_some(),
            Piece::Alike => is_ambiguous = true,
        }
    }
    match found {
        None => Ok(None),
        Some(_) if is_ambiguous => Err(TWICE),
        Some(value) => match decode(value, true) {
            Some(Cow::Borrowed(token)) => Ok(Some(Cow::Borrowed(token.as_bytes()))),
            Some(Cow::Owned(token)) => Ok(Some(Cow::Owned(token.into_bytes()))),
            None => Err(Refusal::Credential("the token in the query isn't text")),
        },
    }
}

fn in_header<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<Option<Cow<'h, [u8]>>, Refusal> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let is_alone = !headers.keys().any(|other| other != name && is_alias(other.as_str(), name.as_str()));
    if values.next().is_some() || !is_alone {
        return Err(TWICE);
    }
    Ok(Some(Cow::Borrowed(value.as_bytes())))
}

fn in_cookies<'h>(headers: &'h HeaderMap, name: &str) -> Result<Option<Cow<'h, [u8]>>, Refusal> {
    let lines = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes);
    let mut values = lines.flat_map(|line| line.split(|byte| *byte == b';')).filter_map(|pair| cookie(pair, name));
    let found = values.next();
    if values.next().is_some() { Err(TWICE) } else { Ok(found.map(Cow::Borrowed)) }
}

/// The value of a cookie of this name (RFC 6265, section 4.2.1).
fn cookie<'c>(pair: &'c [u8], name: &str) -> Option<&'c [u8]> {
    let pair = pair.trim_ascii();
    let equals = pair.iter().position(|byte| *byte == b'=').unwrap_or(pair.len());
    let (written, value) = pair.split_at(equals);
    (written.trim_ascii() == name.as_bytes()).then(|| value.get(1..).unwrap_or_default().trim_ascii())
}

/// Browsers send cookies along with requests that other sites have made up. What only reads may be asked by anybody, since
/// the other site can't see the answer; anything else must come from the same site, and say so. Whoever opens a tunnel
/// sees what comes out of it (WebSockets know no same-origin policy): there, a browser that says where it comes from is
/// taken at its word. Every browser does.
fn may_use_cookies(view: &RequestView<'_>) -> bool {
    let only_reads = [Method::GET, Method::HEAD, Method::OPTIONS].contains(view.method);
    let says_its_site = || ["sec-fetch-site", "origin"].iter().any(|name| view.headers.contains_key(*name));
    if only_reads && !(view.headers.contains_key(UPGRADE) && says_its_site()) {
        return true;
    }
    let only = |name: HeaderName| {
        let mut values = view.headers.get_all(name).iter();
        values.next().filter(|_| values.next().is_none())?.to_str().ok()
    };
    let site = only(HeaderName::from_static("sec-fetch-site"));
    if site.is_some_and(|site| ["same-origin", "same-site", "none"].contains(&site)) {
        return true;
    }
    let authority = only(HOST).or(view.host);
    only(ORIGIN).zip(authority).is_some_and(|(origin, authority)| is_of(origin, authority))
}

/// Whether an origin (RFC 6454, section 6.2) is of this authority; the port of the origin's scheme equals none.
fn is_of(origin: &str, authority: &str) -> bool {
    let (default_port, of_origin) = match origin.split_once("://") {
        Some(("https", rest)) => (":443", rest),
        Some(("http", rest)) => (":80", rest),
        _ => return false,
    };
    let plain = |authority: &str| {
        let lower = authority.to_ascii_lowercase();
        lower.strip_suffix(default_port).map(str::to_owned).unwrap_or(lower)
    };
    !of_origin.is_empty() && plain(of_origin) == plain(authority)
}

fn remove_cookie(headers: &mut HeaderMap, name: &str) {
    let pairs =
        |line: &'_ HeaderValue| line.as_bytes().split(|byte| *byte == b';').any(|pair| cookie(pair, name).is_some());
    if !headers.get_all(COOKIE).iter().any(pairs) {
        return;
    }
    let left = headers.get_all(COOKIE).iter().filter_map(|line| without_cookie(line, name)).collect::<Vec<_>>();
    headers.remove(COOKIE);
    for line in left {
        headers.append(COOKIE, line);
    }
}

/// None where no other is on the line.
fn without_cookie(line: &HeaderValue, name: &str) -> Option<HeaderValue> {
    let pairs = line.as_bytes().split(|byte| *byte == b';');
    let left = pairs.filter(|pair| cookie(pair, name).is_none()).collect::<Vec<_>>().join(&b';');
    let left = left.trim_ascii();
    // Parts of a header value are one.
    if left.is_empty() { None } else { HeaderValue::from_bytes(left).ok() }
}

#[cfg(test)]
mod tests;
