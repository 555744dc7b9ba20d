//! What a client says to an authorization server: a form, and who it is.

use std::fmt::Write;

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use hyper::header::HeaderValue;
use zeroize::Zeroizing;

use crate::token::secret::Secret;

/// The type of a form's body.
pub const FORM: HeaderValue = HeaderValue::from_static("application/x-www-form-urlencoded");

/// Why a secret can't be sent; in words for the operator.
pub const NOT_A_HEADER: &str = "a secret has characters that can't stand in a header";

/// `application/x-www-form-urlencoded` (RFC 6749, appendix B), wiped when it goes.
pub struct Form(Zeroizing<Vec<u8>>);

impl Form {
    /// One with room for a secret of so many bytes besides names and other values, so that no copy is left behind by
    /// growing.
    pub fn with_room_for(bytes: usize) -> Form {
        Form(Zeroizing::new(Vec::with_capacity(3 * bytes + 16 * 1024)))
    }

    /// Adds a field. The name stands for itself.
    pub fn push(&mut self, name: &str, value: &[u8]) {
        if !self.0.is_empty() {
            self.0.push(b'&');
        }
        let mut encoded = Zeroizing::new(String::with_capacity(3 * value.len()));
        encode(&mut encoded, value);
        self.0.extend_from_slice(name.as_bytes());
        self.0.push(b'=');
        self.0.extend_from_slice(encoded.as_bytes());
    }

    /// As a body.
    pub fn into_body(self) -> Bytes {
        Bytes::from_owner(self.0)
    }
}

/// Name and secret of a client as `Authorization`, each form-encoded first (RFC 6749, section 2.3.1).
///
/// # Errors
/// None that a name and a secret can cause: what is encoded can stand in a header.
pub fn basic(id: &str, secret: &Secret) -> Result<HeaderValue, &'static str> {
    let mut pair = Zeroizing::new(String::with_capacity(3 * (id.len() + secret.expose().len()) + 1));
    encode(&mut pair, id.as_bytes());
    pair.push(':');
    encode(&mut pair, secret.expose());
    let encoded = Zeroizing::new(STANDARD.encode(pair.as_bytes()));
    secret_value(&["Basic ", &encoded])
}

/// A header's value whose memory is wiped when it goes.
///
/// # Errors
/// `NOT_A_HEADER`
pub fn secret_value(parts: &[&str]) -> Result<HeaderValue, &'static str> {
    let bytes = Bytes::from_owner(Zeroizing::new(parts.concat().into_bytes()));
    let mut value = HeaderValue::from_maybe_shared(bytes).map_err(|_| NOT_A_HEADER)?;
    value.set_sensitive(true);
    Ok(value)
}

fn encode(into: &mut String, bytes: &[u8]) {
    for byte in bytes {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'*' => into.push(char::from(*byte)),
            b' ' => into.push('+'),
            // Writing to a String doesn't fail.
            byte => drop(write!(into, "%{byte:02X}")),
        }
    }
}
