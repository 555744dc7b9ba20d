//! CERN: the API access endpoint of its single sign-on, which gives an application's own token for other applications.

use bytes::Bytes;
use hyper::{Method, Request, StatusCode};
use serde_json::{Map, Value, json};

use super::{
    answers::{self, Answer, Client, NoToken, object},
    form::Form,
    loopback,
    signing::SigningKey,
    tokens::{hex, now},
};

/// The document's own.
pub(super) const CLIENT: Client = Client { id: "my-client-id", secret: "00000000-0000-0000-0000-000000000000" };
pub(super) const TARGET: &str = "the-target-api";
pub(super) const AUTHORIZATION_SERVICE: &str = "authorization-service-api";
/// Where the realm is.
pub(super) const REALM: &str = "/auth/realms/cern";

/// The applications, and the client's roles in them.
const APPLICATIONS: [(&str, &[&str]); 3] = [(TARGET, &["reader"]), (AUTHORIZATION_SERVICE, &[]), ("other-api", &[])];
const LIFETIME: u64 = 1200;
const KID: &str = "cern-1";

pub(super) struct Cern {
    issuer: String,
    key: SigningKey,
}

impl Cern {
    /// `origin` is where its server is.
    pub(super) fn new(origin: &str, key: SigningKey) -> Cern {
        Cern { issuer: format!("{origin}{REALM}"), key }
    }

    pub(super) fn answer(&self, request: &Request<Bytes>) -> Option<Answer> {
        let get = request.method() == Method::GET;
        match request.uri().path().strip_prefix(REALM)? {
            "/.well-known/openid-configuration" if get => {
                Some(loopback::json(StatusCode::OK, self.metadata().to_string()))
            }
            "/protocol/openid-connect/certs" if get => {
                Some(loopback::json(StatusCode::OK, json!({"keys": [self.key.jwk(Some(KID))]}).to_string()))
            }
            "/api-access/token" => Some(answers::token(request, |form| self.token(form))),
            _ => None,
        }
    }

    fn metadata(&self) -> Value {
        let issuer = &self.issuer;
        json!({
            "issuer": issuer,
            "jwks_uri": format!("{issuer}/protocol/openid-connect/certs"),
            "token_endpoint": format!("{issuer}/api-access/token"),
            "token_endpoint_auth_methods_supported": ["client_secret_post"],
            "grant_types_supported": ["client_credentials"],
            "response_types_supported": [],
        })
    }

    fn token(&self, form: &Form) -> Result<String, NoToken> {
        match form.one("grant_type")? {
            "client_credentials" => {}
            "" => return Err(NoToken::because("invalid_request", "Missing form parameter: grant_type")),
            _ => return Err(NoToken::because("unsupported_grant_type", "Unsupported grant_type")),
        }
        if (form.one("client_id")?, form.one("client_secret")?) != (CLIENT.id, CLIENT.secret) {
            return Err(NoToken::unauthorized("unauthorized_client", "Invalid client or Invalid client credentials"));
        }
        let audiences = form.all("audience");
        if audiences.is_empty() {
            return Err(NoToken::because("invalid_request", "Missing form parameter: audience"));
        }
        let applications = audiences.iter().map(|name| APPLICATIONS.into_iter().find(|(known, _)| known == name));
        let applications: Option<Vec<_>> = applications.collect();
        let applications = applications.ok_or_else(|| NoToken::because("invalid_request", "Audience not found"))?;
        Ok(object(&[
            ("access_token", self.jwt(&applications).ok_or_else(NoToken::no_random)?.into()),
            ("expires_in", LIFETIME.into()),
            ("refresh_expires_in", 0.into()),
            ("token_type", "Bearer".into()),
            ("not-before-policy", 0.into()),
            ("scope", "".into()),
        ]))
    }

    /// `cern_roles` doesn't say of which application they are, so it is there for one alone.
    fn jwt(&self, applications: &[(&str, &[&str])]) -> Option<String> {
        let now = now();
        let audiences: Vec<_> = applications.iter().map(|(name, _)| *name).collect();
        let access: Map<_, _> =
            applications.iter().map(|(name, roles)| ((*name).to_owned(), json!({"roles": roles}))).collect();
        let mut claims = vec![
            ("exp", (now + LIFETIME).into()),
            ("iat", now.into()),
            ("jti", hex::<16>()?.into()),
            ("iss", self.issuer.as_str().into()),
            ("aud", audiences.into()),
            ("sub", format!("service-account-{}", CLIENT.id).into()),
            ("typ", "Bearer".into()),
            ("azp", CLIENT.id.into()),
            ("resource_access", access.into()),
        ];
        if let [(_, roles)] = applications {
            claims.push(("cern_roles", (*roles).into()));
        }
        let header = object(&[("alg", "RS256".into()), ("typ", "JWT".into()), ("kid", KID.into())]);
        self.key.jwt(&header, &object(&claims))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};

    use super::{
        super::answers::tests::{post, read},
        *,
    };

    fn cern() -> Cern {
        Cern::new("http://127.0.0.1:1", SigningKey::generate().unwrap())
    }

    async fn ask(cern: &Cern, form: &str) -> (u16, Value) {
        read(cern.answer(&post("/auth/realms/cern/api-access/token", form)).unwrap()).await
    }

    #[tokio::test]
    async fn a_token_names_its_applications_and_roles() {
        let cern = cern();
        let form = format!("grant_type=client_credentials&client_id={}&client_secret={}", CLIENT.id, CLIENT.secret);
        let reader = json!(["reader"]);
        for (asked, audiences, roles) in [
            ("&audience=the-target-api", json!(["the-target-api"]), Some(&reader)),
            ("&audience=authorization-service-api", json!(["authorization-service-api"]), Some(&json!([]))),
            ("&audience=other-api&audience=the-target-api", json!(["other-api", "the-target-api"]), None),
        ] {
            let (status, answer) = ask(&cern, &format!("{form}{asked}")).await;
            assert_eq!((status, &answer["token_type"], &answer["expires_in"]), (200, &json!("Bearer"), &json!(1200)));
            let claims = answer["access_token"].as_str().unwrap().split('.').nth(1).unwrap();
            let claims: Value = serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap();
            assert_eq!((&claims["aud"], claims.get("cern_roles")), (&audiences, roles));
            assert_eq!(claims["sub"], "service-account-my-client-id");
            let is_target = asked.contains(TARGET);
            assert_eq!(claims["resource_access"].get(TARGET), is_target.then(|| json!({"roles": reader})).as_ref());
        }
        for (form, status, error) in [
            (String::new(), 400, "invalid_request"),
            ("grant_type=password".to_owned(), 400, "unsupported_grant_type"),
            (format!("{form}x&audience=the-target-api"), 401, "unauthorized_client"),
            (form.clone(), 400, "invalid_request"),
            (format!("{form}&audience=unknown"), 400, "invalid_request"),
            (format!("{form}&audience=the-target-api&audience=unknown"), 400, "invalid_request"),
        ] {
            let (got, answer) = ask(&cern, &form).await;
            assert_eq!((got, answer["error"].as_str()), (status, Some(error)), "{form}");
        }
    }

    #[tokio::test]
    async fn the_metadata_lead_to_the_keys() {
        let cern = cern();
        let get = |path: &str| cern.answer(&Request::get(path).body(Bytes::new()).unwrap()).unwrap();
        let (_, metadata) = read(get("/auth/realms/cern/.well-known/openid-configuration")).await;
        assert_eq!(metadata["issuer"], "http://127.0.0.1:1/auth/realms/cern");
        let keys = metadata["jwks_uri"].as_str().unwrap().strip_prefix("http://127.0.0.1:1").unwrap();
        assert_eq!(read(get(keys)).await.1["keys"][0]["kid"], KID);
    }
}
