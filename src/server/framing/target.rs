//! The request target, as far as framing and hyper go; its path is made canonical elsewhere.

use std::ops::Range;

use memchr::memchr;

use super::authority::Authority;
use crate::refusal::Refusal;

/// hyper's own limit; a longer target would get a bare 414.
const MAX_BYTES: usize = 65_534;

/// Refuses a target that is in none of the four forms of RFC 9112, section 3.2, or that hyper would refuse or cut. Gives
/// the place of an absolute-form's authority and its scheme's port.
pub(in crate::server) fn check(method: &[u8], target: &[u8]) -> Result<Option<(Range<usize>, u16)>, Refusal> {
    if target.len() > MAX_BYTES {
        return Err(Refusal::HeadTooLarge);
    }
    let mut in_query = false;
    for &byte in target {
        match byte {
            b'?' => in_query = true,
            b'#' => return Err(Refusal::Path("the request target has a fragment")),
            b' ' => return Err(Refusal::Path("the request target has a space in it")),
            b'`' if !in_query => {
                return Err(Refusal::Path("the request target has a character that must be encoded"));
            }
            b'<' | b'>' => {
                return Err(Refusal::Path("the request target has a character that must be encoded"));
            }
            b'"' if in_query => {
                return Err(Refusal::Path("the query has a character that must be encoded"));
            }
            0x21..=0x7e => {}
            _ => {
                return Err(Refusal::Path("the request target has a control or non-ASCII character in it"));
            }
        }
    }
    if method == b"CONNECT" {
        return match Authority::parse(target) {
            Some(authority) if authority.has_port() => Ok(None),
            _ => Err(Refusal::Path("the target of CONNECT is not a host and a port")),
        };
    }
    if target.first() == Some(&b'/') || (target == b"*" && method == b"OPTIONS") {
        return Ok(None);
    }
    let (scheme, default_port) = if has_scheme(target, b"http://") {
        (7, 80)
    } else if has_scheme(target, b"https://") {
        (8, 443)
    } else {
        return Err(Refusal::Path("the request target is neither a path nor an http address"));
    };
    let rest = target.get(scheme..).unwrap_or_default();
    let length = rest.iter().position(|byte| matches!(byte, b'/' | b'?')).unwrap_or(rest.len());
    let authority = rest.get(..length).unwrap_or_default();
    if memchr(b'@', authority).is_some() {
        return Err(Refusal::Path("the request target has user information in it"));
    }
    if Authority::parse(authority).is_none() {
        return Err(Refusal::Path("the host of the request target is malformed"));
    }
    Ok(Some((scheme..scheme + length, default_port)))
}

fn has_scheme(target: &[u8], scheme: &[u8]) -> bool {
    target.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme))
}
