//! What a token endpoint is asked, to the byte.

use hyper::{
    Method,
    header::{AUTHORIZATION, CONTENT_TYPE},
};

use super::{ClientAuth, EgressSettings, Grant, ScopeSeparator};
use crate::{
    fetch::{Call, Over},
    form::{FORM, Form, basic},
    token::secret::Secret,
};

/// Asks for a token by the grant itself; `subject` is the caller's token where that is exchanged. `now` in Unix seconds.
///
/// # Errors
/// What can't be sent, in words for the operator.
pub(super) fn grant(settings: &EgressSettings, subject: Option<&Secret>, now: i64) -> Result<Call, &'static str> {
    let mut form = Form::with_room_for(subject.map_or(0, |token| token.expose().len()));
    match &settings.grant {
        Grant::ClientCredentials => form.push("grant_type", b"client_credentials"),
        Grant::Password { username, password } => {
            form.push("grant_type", b"password");
            form.push("username", username.as_bytes());
            form.push("password", password.expose());
        }
        Grant::JwtBearer { key, assertion } => {
            form.push("grant_type", b"urn:ietf:params:oauth:grant-type:jwt-bearer");
            let assertion = key.assertion(assertion, now).map_err(|_| "the private key can't sign")?;
            form.push("assertion", assertion.as_bytes());
        }
        Grant::TokenExchange => {
            let subject = subject.ok_or("there is no token to exchange")?;
            form.push("grant_type", b"urn:ietf:params:oauth:grant-type:token-exchange");
            form.push("subject_token", subject.expose());
            form.push("subject_token_type", b"urn:ietf:params:oauth:token-type:access_token");
        }
    }
    if !settings.scopes.is_empty() {
        form.push("scope", settings.scopes.join(settings.scope_separator.text()).as_bytes());
    }
    if let Some(audience) = &settings.audience {
        form.push("audience", audience.as_bytes());
    }
    // An assertion counts once.
    let is_once = matches!(settings.grant, Grant::JwtBearer { .. });
    from_client(settings, form, if is_once { Over::NewConnection } else { Over::OpenConnection })
}

/// Asks for a token by an earlier answer's refresh token (RFC 6749, section 6): scopes and audience are what they were.
///
/// # Errors
/// What can't be sent, in words for the operator.
pub(super) fn refresh(settings: &EgressSettings, token: &Secret) -> Result<Call, &'static str> {
    let mut form = Form::with_room_for(token.expose().len());
    form.push("grant_type", b"refresh_token");
    form.push("refresh_token", token.expose());
    // Many servers take one that comes twice for stolen.
    from_client(settings, form, Over::NewConnection)
}

/// The form as the client sends it (RFC 6749, section 2.3.1).
fn from_client(settings: &EgressSettings, mut form: Form, over: Over) -> Result<Call, &'static str> {
    let mut fields = vec![(CONTENT_TYPE, FORM)];
    match (&settings.client, settings.auth) {
        (None, _) => {}
        (Some(client), ClientAuth::Basic) => fields.push((AUTHORIZATION, basic(&client.id, &client.secret)?)),
        (Some(client), ClientAuth::Post) => {
            form.push("client_id", client.id.as_bytes());
            form.push("client_secret", client.secret.expose());
        }
    }
    Ok(Call { method: Method::POST, fields, body: form.into_body(), over })
}

impl ScopeSeparator {
    fn text(self) -> &'static str {
        match self {
            ScopeSeparator::Space => " ",
            ScopeSeparator::Comma => ",",
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use std::time::Duration;

    use hyper::header::HeaderValue;

    use super::*;
    use crate::egress::Client;

    fn settings(grant: Grant, auth: ClientAuth) -> EgressSettings {
        EgressSettings {
            endpoint: "https://as.example/token".to_owned(),
            grant,
            client: Some(Client { id: "app".to_owned(), secret: secret("swordfish") }),
            auth,
            scopes: vec!["a".to_owned(), "b".to_owned()],
            scope_separator: ScopeSeparator::Comma,
            audience: Some("api".to_owned()),
            expiry_margin: Duration::from_secs(30),
        }
    }

    fn secret(text: &str) -> Secret {
        Secret::new(text.as_bytes().to_vec())
    }

    #[test]
    fn a_refresh_asks_for_what_was_granted() {
        let post = refresh(&settings(Grant::ClientCredentials, ClientAuth::Post), &secret("r&1")).unwrap();
        assert_eq!(
            &post.body[..],
            b"grant_type=refresh_token&refresh_token=r%261&client_id=app&client_secret=swordfish"
        );
        assert_eq!((post.fields, post.over), (vec![(CONTENT_TYPE, FORM)], Over::NewConnection));
        let basic = refresh(&settings(Grant::ClientCredentials, ClientAuth::Basic), &secret("r")).unwrap();
        assert_eq!(&basic.body[..], b"grant_type=refresh_token&refresh_token=r");
        assert!(basic.fields.contains(&(AUTHORIZATION, HeaderValue::from_static("Basic YXBwOnN3b3JkZmlzaA=="))));
    }

    #[test]
    fn nothing_is_exchanged_where_there_is_nothing() {
        assert!(super::grant(&settings(Grant::TokenExchange, ClientAuth::Post), None, 0).is_err());
    }

    #[test]
    fn nothing_prints() {
        let grant = Grant::Password { username: "joe".to_owned(), password: secret("swordfish") };
        let settings = settings(grant, ClientAuth::Basic);
        let call = super::grant(&settings, None, 0).unwrap();
        assert!(!format!("{settings:?} {call:?} {:?}", call.fields).contains("swordfish"));
    }
}
