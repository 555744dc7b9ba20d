//! How the gateway says who it is when it asks about a token, and the question itself.

use std::time::Duration;

use bytes::Bytes;
use hyper::{
    Method,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue},
};

use super::Way;
use crate::{
    fetch::{Call, Over},
    form::{FORM, Form, NOT_A_HEADER, basic, secret_value},
    signer::{Assertion, Signer},
    token::secret::Secret,
};

/// How long an assertion of ours is good (RFC 7523, section 3).
const ASSERTION_TTL: Duration = Duration::from_secs(60);

const SIGNED: HeaderValue = HeaderValue::from_static("application/token-introspection+jwt");

/// Who the gateway is to an issuer, and how it proves that (`introspection.auth`).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ClientSettings {
    /// `client_id`
    pub id: Option<String>,
    /// The proof.
    pub auth: ClientAuth,
    /// Whether the answer must be signed (RFC 9701).
    pub signed: bool,
}

/// How a client proves who it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ClientAuth {
    /// Name and secret in `Authorization`, each form-encoded first (RFC 6749, section 2.3.1).
    Basic(Secret),
    /// Name and secret in the form.
    Post(Secret),
    /// A bearer token (RFC 7662, section 2.1).
    Bearer(Secret),
    /// An assertion that it has signed (RFC 7523, section 2.2).
    PrivateKeyJwt(Signer),
    /// None; with mutual TLS, the certificate is the proof (RFC 8705, section 2).
    None,
}

/// The question about a token: of an introspection endpoint or of a userinfo endpoint. `audience` names the server in
/// an assertion. `now` in Unix seconds.
///
/// # Errors
/// A secret that can't stand in a header; in words for the operator.
pub(super) fn question(way: &Way, token: &str, audience: &str, now: i64) -> Result<Call, &'static str> {
    match way {
        Way::Userinfo => {
            let fields = vec![(AUTHORIZATION, secret_value(&["Bearer ", token])?)];
            Ok(Call { method: Method::GET, fields, body: Bytes::new(), over: Over::OpenConnection })
        }
        Way::Introspection(client) => introspection(client, token, audience, now),
    }
}

fn introspection(client: &ClientSettings, token: &str, audience: &str, now: i64) -> Result<Call, &'static str> {
    let mut form = Form::with_room_for(token.len());
    form.push("token", token.as_bytes());
    form.push("token_type_hint", b"access_token");
    let id = client.id.as_deref().unwrap_or_default();
    let mut fields = vec![(CONTENT_TYPE, FORM)];
    if client.signed {
        fields.push((ACCEPT, SIGNED));
    }
    match &client.auth {
        ClientAuth::Basic(secret) => fields.push((AUTHORIZATION, basic(id, secret)?)),
        ClientAuth::Post(secret) => {
            form.push("client_id", id.as_bytes());
            form.push("client_secret", secret.expose());
        }
        ClientAuth::Bearer(secret) => {
            let token = std::str::from_utf8(secret.expose()).map_err(|_| NOT_A_HEADER)?;
            fields.push((AUTHORIZATION, secret_value(&["Bearer ", token])?));
        }
        ClientAuth::PrivateKeyJwt(signer) => {
            form.push("client_id", id.as_bytes());
            form.push("client_assertion_type", b"urn:ietf:params:oauth:client-assertion-type:jwt-bearer");
            let assertion =
                Assertion { iss: id.to_owned(), sub: id.to_owned(), aud: audience.to_owned(), ttl: ASSERTION_TTL };
            let assertion = signer.assertion(&assertion, now).map_err(|_| "the client's key can't sign")?;
            form.push("client_assertion", assertion.as_bytes());
        }
        ClientAuth::None => {
            if let Some(id) = &client.id {
                form.push("client_id", id.as_bytes());
            }
        }
    }
    Ok(Call { method: Method::POST, fields, body: form.into_body(), over: Over::OpenConnection })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use base64::{
        Engine,
        engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
    };
    use serde_json::json;

    use super::*;

    fn asked(auth: ClientAuth, id: Option<&str>) -> (Vec<(String, String)>, String) {
        let client = ClientSettings { id: id.map(str::to_owned), auth, signed: false };
        let call = question(&Way::Introspection(client), "a+b/c~d==", "https://as.example", 1_000).unwrap();
        assert_eq!(call.method, Method::POST);
        let fields = call.fields.iter().map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()));
        (fields.collect(), String::from_utf8(call.body.to_vec()).unwrap())
    }

    fn secret(text: &str) -> Secret {
        Secret::new(text.as_bytes().to_vec())
    }

    const TOKEN: &str = "token=a%2Bb%2Fc%7Ed%3D%3D&token_type_hint=access_token";

    #[test]
    fn names_and_secrets_are_form_encoded_inside_basic() {
        for (id, password, pair) in [
            ("gateway", "s3cret", "gateway:s3cret"),
            ("a:b", "c:d", "a%3Ab:c%3Ad"),
            ("100%", "a%20b", "100%25:a%2520b"),
            ("a+b c", "+ +", "a%2Bb+c:%2B+%2B"),
            ("zoë", "pässwörd €", "zo%C3%AB:p%C3%A4ssw%C3%B6rd+%E2%82%AC"),
            ("https://app.example/?x=1&y", "~!*'()", "https%3A%2F%2Fapp.example%2F%3Fx%3D1%26y:%7E%21*%27%28%29"),
            ("a-b_c.d", "", "a-b_c.d:"),
        ] {
            let (fields, body) = asked(ClientAuth::Basic(secret(password)), Some(id));
            let expected = format!("Basic {}", STANDARD.encode(pair));
            assert!(fields.contains(&("authorization".to_owned(), expected)), "{id}: {fields:?}");
            assert_eq!(body, TOKEN);
        }
    }

    #[test]
    fn the_other_ways() {
        let (fields, body) = asked(ClientAuth::Post(secret("p w:%é")), Some("g&w"));
        assert_eq!(body, format!("{TOKEN}&client_id=g%26w&client_secret=p+w%3A%25%C3%A9"));
        assert_eq!(fields, [("content-type".to_owned(), "application/x-www-form-urlencoded".to_owned())]);

        let (fields, body) = asked(ClientAuth::Bearer(secret("opaque-1")), None);
        assert!(fields.contains(&("authorization".to_owned(), "Bearer opaque-1".to_owned())));
        assert_eq!(body, TOKEN);

        assert_eq!(asked(ClientAuth::None, None).1, TOKEN);
        assert_eq!(asked(ClientAuth::None, Some("gw")).1, format!("{TOKEN}&client_id=gw"));
    }

    #[test]
    fn an_assertion_names_client_and_server_and_ends_soon() {
        let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
        let signer = Signer::from_pem(&secret(&pair.serialize_pem())).unwrap();
        let (_, body) = asked(ClientAuth::PrivateKeyJwt(signer.clone()), Some("gw"));
        let (form, assertion) = body.split_once("&client_assertion=").unwrap();
        let kind = "urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer";
        assert_eq!(form, format!("{TOKEN}&client_id=gw&client_assertion_type={kind}"));
        let claims = URL_SAFE_NO_PAD.decode(assertion.split('.').nth(1).unwrap()).unwrap();
        let claims: serde_json::Value = serde_json::from_slice(&claims).unwrap();
        assert_eq!(
            (&claims["iss"], &claims["sub"], &claims["aud"]),
            (&json!("gw"), &json!("gw"), &json!("https://as.example"))
        );
        assert_eq!((&claims["iat"], &claims["exp"]), (&json!(1_000), &json!(1_060)));
        let (_, other) = asked(ClientAuth::PrivateKeyJwt(signer), Some("gw"));
        assert_ne!(body, other, "an assertion is used once");
    }

    #[test]
    fn userinfo_is_asked_with_the_token_itself() {
        let call = question(&Way::Userinfo, "a+b/c~d==", "", 0).unwrap();
        assert_eq!((call.method.as_str(), call.body.len()), ("GET", 0));
        assert_eq!(call.fields, [(AUTHORIZATION, HeaderValue::from_static("Bearer a+b/c~d=="))]);
        assert!(call.fields[0].1.is_sensitive());
    }

    #[test]
    fn nothing_prints() {
        let client = ClientSettings { id: None, auth: ClientAuth::Post(secret("swordfish")), signed: true };
        let call = question(&Way::Introspection(client.clone()), "swordfish", "", 0).unwrap();
        assert!(!format!("{client:?} {call:?} {:?}", call.fields).contains("swordfish"));
        assert!(call.fields.contains(&(ACCEPT, SIGNED)));
    }
}
