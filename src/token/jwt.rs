//! The form of a JWT (RFC 7515, section 7.1; RFC 7519, section 7.2), read so strictly that one token has one text.

use std::sync::Arc;

use base64::{
    Engine, alphabet,
    engine::general_purpose::{GeneralPurpose, NO_PAD, URL_SAFE_NO_PAD},
};
use serde_json::{Map, Value};

use super::{
    claims::audiences,
    date::{self, Round},
    issuer::Algorithm,
    json,
};

/// A token taken apart. Nothing in it is believed yet.
pub(in crate::token) struct Jwt<'t> {
    signed: &'t str,
    signature: Vec<u8>,
    header: Arc<Header>,
    issuer: Option<String>,
    audiences: Vec<String>,
    claims: Arc<Map<String, Value>>,
}

/// What a header says, as far as it matters.
struct Header {
    algorithm: Option<Algorithm>,
    typ: String,
    kid: Option<String>,
    is_critical: bool,
}

/// The text isn't a JWT.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::token) struct NotAJwt;

/// Whether a text is a JWT at all, well-formed or not: three parts of base64url, of which the first is a JSON object
/// with `alg`. Anything else is opaque. Read generously, so that no second spelling of a JWT passes for an opaque token.
pub(in crate::token) fn is_one(text: &str) -> bool {
    let mut parts = text.split('.');
    let (Some(header), Some(_), Some(_), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
        return false;
    };
    let is_base64url = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'=' | b'.');
    let header = text.bytes().all(is_base64url).then(|| GENEROUS.decode(header.trim_end_matches('=')));
    let header = header.and_then(Result::ok);
    header.is_some_and(|header| {
        serde_json::from_slice::<Map<String, Value>>(&header).is_ok_and(|header| header.contains_key("alg"))
    })
}

/// Whom a JWT says that it is bound to (RFC 7800), of one that somebody else has verified: read as generously. None also where
/// the text is no JWT.
pub(in crate::token) fn confirmation(text: &str) -> Option<Value> {
    let payload = text.split('.').nth(1).filter(|_| is_one(text))?;
    let payload = GENEROUS.decode(payload.trim_end_matches('=')).ok()?;
    let mut claims = serde_json::from_slice::<Map<String, Value>>(&payload).ok()?;
    claims.remove("cnf").filter(|confirmation| !confirmation.is_null())
}

/// base64url that doesn't mind unused bits.
const GENEROUS: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, NO_PAD.with_decode_allow_trailing_bits(true));

impl<'t> Jwt<'t> {
    /// Takes a token apart. `jwk`, `jku`, `x5c`, `x5u` in the header are not looked at.
    ///
    /// # Errors
    /// Not three parts, not base64url in its one spelling, no objects, a member twice, `alg`, `typ`, `kid`, `iss` or
    /// `aud` of a wrong JSON type.
    pub(in crate::token) fn parse(text: &'t str) -> Result<Jwt<'t>, NotAJwt> {
        let (header, rest) = text.split_once('.').ok_or(NotAJwt)?;
        let header = match recent::find(header) {
            Some(known) => known,
            None => {
                let read = Arc::new(Header::of(&object(header)?)?);
                recent::keep(header, &read);
                read
            }
        };
        Jwt::of(text, rest, header)
    }

    /// The same, and all of its header: for proofs, which bring the key that they are signed with.
    ///
    /// # Errors
    /// As `parse`.
    pub(in crate::token) fn parse_with_header(text: &'t str) -> Result<(Jwt<'t>, Map<String, Value>), NotAJwt> {
        let (header, rest) = text.split_once('.').ok_or(NotAJwt)?;
        let header = object(header)?;
        let jwt = Jwt::of(text, rest, Arc::new(Header::of(&header)?))?;
        Ok((jwt, header))
    }

    /// `rest`: what follows its header.
    fn of(text: &'t str, rest: &'t str, header: Arc<Header>) -> Result<Jwt<'t>, NotAJwt> {
        let (payload, signature) = rest.split_once('.').ok_or(NotAJwt)?;
        // A dot is no part of base64url: there are three parts, or this is none.
        let signed = text.get(..text.len() - signature.len() - 1).ok_or(NotAJwt)?;
        let claims = object(payload)?;
        Ok(Jwt {
            signed,
            signature: decode(signature)?,
            header,
            issuer: optional_text(&claims, "iss")?.map(str::to_owned),
            audiences: audiences(&claims).ok_or(NotAJwt)?,
            claims: Arc::new(claims),
        })
    }

    /// Claims that nobody has signed: no key fits them, no algorithm is theirs.
    ///
    /// # Errors
    /// `iss` or `aud` of a wrong JSON type.
    pub(in crate::token) fn assumed(claims: Map<String, Value>) -> Result<Jwt<'static>, NotAJwt> {
        Ok(Jwt {
            signed: "",
            signature: vec![],
            header: Arc::new(Header { algorithm: None, typ: media_type("JWT"), kid: None, is_critical: false }),
            issuer: optional_text(&claims, "iss")?.map(str::to_owned),
            audiences: audiences(&claims).ok_or(NotAJwt)?,
            claims: Arc::new(claims),
        })
    }

    /// What the signature is about (RFC 7515, section 5.2).
    pub(in crate::token) fn signed(&self) -> &[u8] {
        self.signed.as_bytes()
    }
    pub(in crate::token) fn signature(&self) -> &[u8] {
        &self.signature
    }
    /// None: one that is never accepted.
    pub(in crate::token) fn algorithm(&self) -> Option<Algorithm> {
        self.header.algorithm
    }
    /// Lower-case, without `application/`; `jwt` where there is none.
    pub(in crate::token) fn typ(&self) -> &str {
        &self.header.typ
    }
    pub(in crate::token) fn kid(&self) -> Option<&str> {
        self.header.kid.as_deref()
    }
    /// Whether there is a `crit`, whatever is in it: no extension is understood.
    pub(in crate::token) fn is_critical(&self) -> bool {
        self.header.is_critical
    }
    pub(in crate::token) fn issuer(&self) -> Option<&str> {
        self.issuer.as_deref()
    }
    pub(in crate::token) fn audiences(&self) -> &[String] {
        &self.audiences
    }
    pub(in crate::token) fn claims(&self) -> &Map<String, Value> {
        &self.claims
    }
    /// The same, to be kept.
    pub(in crate::token) fn shared_claims(&self) -> Arc<Map<String, Value>> {
        self.claims.clone()
    }
    /// `date::of` its claims.
    ///
    /// # Errors
    /// As there.
    pub(in crate::token) fn date(&self, claim: &str, round: Round, string_dates: bool) -> Result<Option<i64>, NotAJwt> {
        date::of(&self.claims, claim, round, string_dates).map_err(|_| NotAJwt)
    }
}

impl Header {
    /// # Errors
    /// No `alg`, or `alg`, `typ`, `kid` of a wrong JSON type.
    fn of(members: &Map<String, Value>) -> Result<Header, NotAJwt> {
        let algorithm = optional_text(members, "alg")?.ok_or(NotAJwt)?;
        Ok(Header {
            algorithm: Algorithm::from_name(algorithm),
            typ: media_type(optional_text(members, "typ")?.unwrap_or("JWT")),
            kid: optional_text(members, "kid")?.map(str::to_owned),
            is_critical: members.contains_key("crit"),
        })
    }
}

/// Headers that a thread has read last: all tokens that a key signs have the same one, as a rule.
mod recent {
    use std::{cell::RefCell, sync::Arc};

    use super::Header;

    const MOST: usize = 8;
    const LONGEST: usize = 512;

    thread_local! {
        static KNOWN: RefCell<Vec<(Box<str>, Arc<Header>)>> = const { RefCell::new(Vec::new()) };
    }

    /// What this text says, where it is one of them.
    pub(super) fn find(text: &str) -> Option<Arc<Header>> {
        KNOWN.with_borrow(|known| known.iter().find(|(of, _)| **of == *text).map(|(_, header)| header.clone()))
    }

    /// Keeps it in the place of the oldest.
    pub(super) fn keep(text: &str, header: &Arc<Header>) {
        if text.len() <= LONGEST {
            KNOWN.with_borrow_mut(|known| {
                if known.len() >= MOST {
                    known.remove(0);
                }
                known.push((text.into(), header.clone()));
            });
        }
    }
}

/// base64url without padding, whitespace or unused bits that are set.
fn decode(part: &str) -> Result<Vec<u8>, NotAJwt> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| NotAJwt)
}

fn object(part: &str) -> Result<Map<String, Value>, NotAJwt> {
    json::parse_object(&decode(part)?).map_err(|_| NotAJwt)
}

fn optional_text<'m>(members: &'m Map<String, Value>, name: &str) -> Result<Option<&'m str>, NotAJwt> {
    match members.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(NotAJwt),
    }
}

/// RFC 7515, section 4.1.9.
fn media_type(typ: &str) -> String {
    let lower = typ.to_ascii_lowercase();
    lower.strip_prefix("application/").map(str::to_owned).unwrap_or(lower)
}

impl std::fmt::Debug for Jwt<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Jwt(…)")
    }
}
