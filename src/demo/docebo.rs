//! Docebo: opaque tokens of 40 hex digits with the scope `api`, by the grants password, client credentials, JWT bearer
//! and refresh.

use std::{fs, io, path::Path};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use bytes::Bytes;
use hyper::Request;
use serde_json::{Map, Value, json};

use super::{
    answers::{self, Answer, Client, NoToken, object},
    form::Form,
    private_file,
    signing::SigningKey,
    tokens::{Tokens, hex, now},
};

/// The document's own.
pub(super) const CLIENT: Client = Client { id: "My-Client-Name", secret: "ed8c18b099c1f9b8714aaef87001fa3de3a7183d" };
pub(super) const USERNAME: &str = "superadmin";
pub(super) const PASSWORD: &str = "superadmin-password";
/// The platform's hostname, which an assertion is for.
pub(super) const PLATFORM: &str = "lms.example.com";
pub(super) const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// In the demo's folder: the client's key pair, and an assertion that it signed.
pub(super) const PUBLIC_KEY_FILE: &str = "docebo-client.public.pem";
pub(super) const PRIVATE_KEY_FILE: &str = "docebo-client.pem";
pub(super) const ASSERTION_FILE: &str = "docebo-assertion.jwt";

/// Seconds that a token lives, and a refresh token.
const LIFETIME: u64 = 3600;
const REFRESH_LIFETIME: u64 = 14 * 24 * 3600;

pub(super) struct Docebo {
    /// Its public half was uploaded.
    client_key: SigningKey,
    access: Tokens<Owner>,
    refresh: Tokens<Owner>,
}

/// Whom a token speaks for: a user, or None: the client itself.
type Owner = Option<&'static str>;

impl Docebo {
    pub(super) fn new(client_key: SigningKey) -> Docebo {
        Docebo { client_key, access: Tokens::default(), refresh: Tokens::default() }
    }

    pub(super) fn answer(&self, request: &Request<Bytes>) -> Option<Answer> {
        match request.uri().path() {
            "/oauth2/token" => Some(answers::token(request, |form| self.token(form))),
            "/oauth2/introspect" => Some(answers::introspection(request, |token| self.introspect(token))),
            _ => None,
        }
    }

    /// Writes the client's key and an assertion of it, as a client would have them.
    ///
    /// # Errors
    /// A file can't be written.
    pub(super) fn write_files(&self, folder: &Path) -> io::Result<()> {
        let (public, private) = (self.client_key.public_pem(), self.client_key.private_pem());
        let (public, private) = public.zip(private).ok_or_else(|| io::Error::other("a key can't be encoded"))?;
        fs::write(folder.join(PUBLIC_KEY_FILE), public)?;
        private_file(&folder.join(PRIVATE_KEY_FILE), &private)?;
        let assertion = self.assertion().ok_or_else(|| io::Error::other("no random numbers"))?;
        private_file(&folder.join(ASSERTION_FILE), &assertion)
    }

    /// One for the user, with the document's dates.
    fn assertion(&self) -> Option<String> {
        let claims = object(&[
            ("iss", CLIENT.id.into()),
            ("sub", USERNAME.into()),
            ("aud", PLATFORM.into()),
            ("iat", "1510649850".into()),
            ("exp", "2554329600".into()),
        ]);
        self.client_key.jwt(r#"{"alg":"RS256","typ":"JWT"}"#, &claims)
    }

    fn token(&self, form: &Form) -> Result<String, NoToken> {
        let grant = form.one("grant_type")?;
        let owner = match grant {
            "" => return Err(NoToken::because("invalid_request", "The grant type was not specified in the request")),
            JWT_BEARER => Some(self.asserted(form.one("assertion")?, now())?),
            "password" | "client_credentials" | "refresh_token" => {
                is_client(form)?;
                match grant {
                    "password" => Some(user(form)?),
                    "client_credentials" => None,
                    _ => self.refreshed(form)?,
                }
            }
            _ => return Err(NoToken::because("unsupported_grant_type", "This grant type is not supported")),
        };
        if !matches!(form.one("scope")?, "" | "api") {
            return Err(NoToken::because("invalid_scope", "The only scope is api"));
        }
        let (token, now) = (hex::<20>().ok_or_else(NoToken::no_random)?, now());
        self.access.keep(&token, owner, now, LIFETIME);
        let mut members = vec![
            ("access_token", token.into()),
            ("expires_in", LIFETIME.into()),
            ("token_type", "Bearer".into()),
            ("scope", "api".into()),
        ];
        if matches!(grant, "password" | "refresh_token") {
            let refresh_token = hex::<20>().ok_or_else(NoToken::no_random)?;
            self.refresh.keep(&refresh_token, owner, now, REFRESH_LIFETIME);
            members.push(("refresh_token", refresh_token.into()));
        }
        Ok(object(&members))
    }

    /// Whom a refresh token speaks for; it is good once.
    fn refreshed(&self, form: &Form) -> Result<Owner, NoToken> {
        let kept = self.refresh.take(form.one("refresh_token")?, now());
        kept.map(|kept| kept.meaning).ok_or_else(|| NoToken::because("invalid_grant", "Invalid refresh token"))
    }

    /// The user that an assertion is about (RFC 7523, section 3). Its dates may be texts.
    fn asserted(&self, assertion: &str, now: u64) -> Result<&'static str, NoToken> {
        let malformed = NoToken::because("invalid_request", "The assertion is not a JWT");
        let (message, signature) = assertion.rsplit_once('.').ok_or(malformed.clone())?;
        let (header, claims) = message.split_once('.').ok_or(malformed.clone())?;
        let (Some(header), Some(claims)) = (json_part(header), json_part(claims)) else {
            return Err(malformed);
        };
        let text = |name: &str| claims.get(name).and_then(Value::as_str);
        let date = |name: &str| match claims.get(name)? {
            Value::String(text) => text.parse::<u64>().ok(),
            value => value.as_u64(),
        };
        let is_signed = header.get("alg").and_then(Value::as_str) == Some("RS256")
            && BASE64_URL_SAFE_NO_PAD.decode(signature).is_ok_and(|octets| self.client_key.signed(message, &octets));
        let no = |description| Err(NoToken::because("invalid_grant", description));
        match (text("sub"), date("iat"), date("exp")) {
            _ if text("iss") != Some(CLIENT.id) => no("The assertion's iss is not a client with an uploaded key"),
            _ if !is_signed => no("The assertion is not signed by the client's key with RS256"),
            _ if text("aud") != Some(PLATFORM) => no("The assertion's aud is not this platform's hostname"),
            (_, Some(issued), _) if issued > now => no("The assertion's iat is to come"),
            (_, None, _) => no("The assertion has no iat"),
            (_, _, ends) if ends.is_none_or(|ends| ends <= now) => no("The assertion has expired"),
            (Some(USERNAME), ..) => Ok(USERNAME),
            _ => no("The assertion's sub is not a user"),
        }
    }

    fn introspect(&self, token: &str) -> Option<Value> {
        let kept = self.access.find(token, now())?;
        let mut said = json!({
            "active": true, "token_type": "Bearer", "client_id": CLIENT.id, "scope": "api", "aud": PLATFORM,
            "iat": kept.issued_at, "exp": kept.ends_at,
        });
        if let (Some(user), Some(members)) = (kept.meaning, said.as_object_mut()) {
            members.extend([("sub".to_owned(), user.into()), ("username".to_owned(), user.into())]);
        }
        Some(said)
    }
}

fn is_client(form: &Form) -> Result<(), NoToken> {
    match (form.one("client_id")?, form.one("client_secret")?) == (CLIENT.id, CLIENT.secret) {
        true => Ok(()),
        false => Err(NoToken::because("invalid_client", "The client credentials are invalid")),
    }
}

fn user(form: &Form) -> Result<&'static str, NoToken> {
    match (form.one("username")?, form.one("password")?) {
        (USERNAME, PASSWORD) => Ok(USERNAME),
        ("", _) | (_, "") => Err(NoToken::because("invalid_request", "username and password are needed")),
        _ => Err(NoToken::unauthorized("invalid_grant", "Invalid username and password combination")),
    }
}

fn json_part(part: &str) -> Option<Map<String, Value>> {
    serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(part).ok()?).ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use super::{
        super::answers::tests::{post, read},
        *,
    };

    const CREDENTIALS: &str = "client_id=My-Client-Name&client_secret=ed8c18b099c1f9b8714aaef87001fa3de3a7183d";

    fn docebo() -> Docebo {
        Docebo::new(SigningKey::generate().unwrap())
    }

    async fn ask(docebo: &Docebo, form: &str) -> (u16, Value) {
        read(docebo.answer(&post("/oauth2/token", form)).unwrap()).await
    }

    #[tokio::test]
    async fn each_grant_gives_what_the_document_shows() {
        let docebo = docebo();
        let assertion = docebo.assertion().unwrap();
        let password =
            format!("grant_type=password&scope=api&username=superadmin&password=superadmin-password&{CREDENTIALS}");
        let (_, given) = ask(&docebo, &password).await;
        let refresh = given["refresh_token"].as_str().unwrap();
        for (form, user, is_refreshed) in [
            (password, Some("superadmin"), true),
            (format!("grant_type=client_credentials&scope=api&{CREDENTIALS}"), None, false),
            (format!("grant_type={JWT_BEARER}&scope=api&assertion={assertion}"), Some("superadmin"), false),
            (format!("grant_type=refresh_token&refresh_token={refresh}&{CREDENTIALS}"), Some("superadmin"), true),
        ] {
            let (status, answer) = ask(&docebo, &form).await;
            assert_eq!(status, 200, "{form}: {answer}");
            let token = answer["access_token"].as_str().unwrap();
            assert!(token.len() == 40 && token.bytes().all(|byte| byte.is_ascii_hexdigit()), "{token}");
            let expected = json!([3600, "Bearer", "api"]);
            assert_eq!(json!([answer["expires_in"], answer["token_type"], answer["scope"]]), expected);
            assert_eq!(answer.get("refresh_token").is_some(), is_refreshed, "{form}");
            let said = docebo.introspect(token).unwrap();
            assert_eq!((said.get("sub").and_then(Value::as_str), &said["active"]), (user, &json!(true)));
        }
        let spent = ask(&docebo, &format!("grant_type=refresh_token&refresh_token={refresh}&{CREDENTIALS}")).await;
        assert_eq!((spent.0, &spent.1["error"]), (400, &json!("invalid_grant")));
        assert_eq!(docebo.introspect(refresh), None, "a refresh token is no access token");
    }

    #[tokio::test]
    async fn a_bad_request_has_its_error() {
        let docebo = docebo();
        for (form, status, error) in [
            ("", 400, "invalid_request"),
            ("grant_type=client_credentials", 400, "invalid_client"),
            ("grant_type=client_credentials&client_id=My-Client-Name&client_secret=x", 400, "invalid_client"),
            ("grant_type=authorization_code", 400, "unsupported_grant_type"),
            (&format!("grant_type=client_credentials&scope=admin&{CREDENTIALS}"), 400, "invalid_scope"),
            (&format!("grant_type=client_credentials&{CREDENTIALS}&{CREDENTIALS}"), 400, "invalid_request"),
            (&format!("grant_type=password&{CREDENTIALS}"), 400, "invalid_request"),
            (&format!("grant_type=password&username=superadmin&password=x&{CREDENTIALS}"), 401, "invalid_grant"),
            (&format!("grant_type=refresh_token&{CREDENTIALS}"), 400, "invalid_grant"),
            (&format!("grant_type={JWT_BEARER}"), 400, "invalid_request"),
            (&format!("grant_type={JWT_BEARER}&assertion=a.b.c"), 400, "invalid_request"),
        ] {
            let (got, answer) = ask(&docebo, form).await;
            assert_eq!((got, answer["error"].as_str()), (status, Some(error)), "{form}");
            assert!(answer["error_description"].is_string() && answer.get("access_token").is_none());
        }
    }

    #[test]
    fn an_assertion_is_taken_for_what_it_says() {
        let docebo = docebo();
        let with = |header: &str, name: &str, value: Value| {
            let mut claims = json!({
                "iss": CLIENT.id, "sub": USERNAME, "aud": PLATFORM, "iat": "1510649850", "exp": "2554329600",
            });
            claims[name] = value;
            docebo.client_key.jwt(header, &claims.to_string()).unwrap()
        };
        let header = r#"{"alg":"RS256","typ":"JWT"}"#;
        let now = 1_800_000_000;
        for (name, value) in [("x", json!(1)), ("iat", json!(1_510_649_850)), ("exp", json!(1_800_000_001))] {
            assert_eq!(docebo.asserted(&with(header, name, value), now), Ok(USERNAME), "{name}");
        }
        for (name, value) in [
            ("iss", json!("DoceboOEM")),
            ("sub", json!("somebody")),
            ("sub", json!(null)),
            ("aud", json!("elsewhere.docebosaas.com")),
            ("iat", json!("1800000001")),
            ("iat", json!(null)),
            ("exp", json!("1800000000")),
            ("exp", json!("soon")),
            ("exp", json!(null)),
        ] {
            let refused = docebo.asserted(&with(header, name, value.clone()), now).unwrap_err();
            assert_eq!(refused.error, "invalid_grant", "{name}: {value}");
        }
        assert!(docebo.asserted(&with(r#"{"alg":"RS512"}"#, "x", json!(1)), now).is_err());
        let other = Docebo::new(SigningKey::generate().unwrap());
        assert!(other.asserted(&with(header, "x", json!(1)), now).is_err(), "another key");
    }
}
