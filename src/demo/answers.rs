//! What an authorization server answers.

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    HeaderMap, Request, Response, StatusCode,
    header::{ALLOW, AUTHORIZATION, HeaderValue, WWW_AUTHENTICATE},
};
use serde_json::Value;

use super::{
    form::{Form, NotAForm},
    loopback,
};

pub(super) type Answer = Response<Full<Bytes>>;

/// Who may have tokens. Its secret is no secret: it is printed, or stands in the system's document.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Client {
    pub(super) id: &'static str,
    pub(super) secret: &'static str,
}

/// Who may ask about tokens: the gateway.
pub(super) const GATEWAY: Client = Client { id: "gateway", secret: "gateway-secret" };

/// Why there is no token (RFC 6749, section 5.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NoToken {
    pub(super) status: StatusCode,
    pub(super) error: &'static str,
    pub(super) description: &'static str,
}

impl NoToken {
    /// With 400.
    pub(super) fn because(error: &'static str, description: &'static str) -> NoToken {
        NoToken { status: StatusCode::BAD_REQUEST, error, description }
    }

    /// With 401.
    pub(super) fn unauthorized(error: &'static str, description: &'static str) -> NoToken {
        NoToken { status: StatusCode::UNAUTHORIZED, error, description }
    }

    /// The system has no random numbers.
    pub(super) fn no_random() -> NoToken {
        NoToken { status: StatusCode::INTERNAL_SERVER_ERROR, error: "server_error", description: "No random numbers" }
    }
}

impl From<NotAForm> for NoToken {
    fn from(_: NotAForm) -> NoToken {
        NoToken::because("invalid_request", "The body is not a form, or a field is in it twice")
    }
}

/// A JSON object with its members in this order, as a system's document shows it.
pub(super) fn object(members: &[(&str, Value)]) -> String {
    let members: Vec<_> = members.iter().map(|(name, value)| format!("{}:{value}", Value::from(*name))).collect();
    format!("{{{}}}", members.join(","))
}

/// A token endpoint's answer to a request; `issue` makes the 200's body of the form.
pub(super) fn token(request: &Request<Bytes>, issue: impl FnOnce(&Form) -> Result<String, NoToken>) -> Answer {
    if request.method() != hyper::Method::POST {
        let mut answer = refusal(&NoToken::because("invalid_request", "A token is asked for with POST"));
        *answer.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
        answer.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
        return answer;
    }
    match Form::read(request).map_err(NoToken::from).and_then(|form| issue(&form)) {
        Ok(body) => loopback::json(StatusCode::OK, body),
        Err(why) => refusal(&why),
    }
}

/// An introspection endpoint's answer (RFC 7662, section 2); `say` tells of a token, None: it is no good.
pub(super) fn introspection(request: &Request<Bytes>, say: impl FnOnce(&str) -> Option<Value>) -> Answer {
    let expected = format!("Basic {}", BASE64_STANDARD.encode(format!("{}:{}", GATEWAY.id, GATEWAY.secret)));
    if request.headers().get(AUTHORIZATION).is_none_or(|value| value.as_bytes() != expected.as_bytes()) {
        return refusal(&NoToken::unauthorized("invalid_client", "Only the gateway may ask about tokens"));
    }
    let token = Form::read(request).and_then(|form| form.one("token").map(str::to_owned));
    match token {
        Ok(token) => {
            let said = say(&token).unwrap_or_else(|| serde_json::json!({"active": false}));
            loopback::json(StatusCode::OK, said.to_string())
        }
        Err(why) => refusal(&why.into()),
    }
}

/// 401 for a token that is no good (RFC 6750, section 3).
pub(super) fn invalid_token() -> Answer {
    let mut answer = refusal(&NoToken::unauthorized("invalid_token", "The access token is invalid or has expired"));
    answer.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer error=\"invalid_token\""));
    answer
}

/// The bearer token of a request.
pub(super) fn bearer(headers: &HeaderMap) -> Option<&str> {
    headers.get(AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")
}

fn refusal(why: &NoToken) -> Answer {
    let body = object(&[("error_description", why.description.into()), ("error", why.error.into())]);
    loopback::json(why.status, body)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
pub(super) mod tests {
    use http_body_util::BodyExt;
    use serde_json::json;

    use super::*;

    /// An answer's status and JSON.
    pub(crate) async fn read(answer: Answer) -> (u16, Value) {
        let status = answer.status().as_u16();
        (status, serde_json::from_slice(&answer.into_body().collect().await.unwrap().to_bytes()).unwrap())
    }

    /// A form to this path.
    pub(crate) fn post(path: &str, form: &str) -> Request<Bytes> {
        let kind = "application/x-www-form-urlencoded";
        Request::post(path).header("content-type", kind).body(Bytes::copy_from_slice(form.as_bytes())).unwrap()
    }

    #[test]
    fn members_keep_their_order() {
        let text = object(&[("b", json!("x\"y")), ("a", json!([1, null])), ("n\"", json!({}))]);
        assert_eq!(text, r#"{"b":"x\"y","a":[1,null],"n\"":{}}"#);
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap()["b"], "x\"y");
    }

    #[tokio::test]
    async fn only_the_gateway_asks_about_tokens() {
        let say = |token: &str| (token == "a+b").then(|| json!({"active": true}));
        let (status, answer) = read(introspection(&post("/", "token=a%2Bb"), say)).await;
        assert_eq!((status, answer["error"].as_str()), (401, Some("invalid_client")));
        let mut request = post("/", "token=a%2Bb");
        let basic = format!("Basic {}", BASE64_STANDARD.encode("gateway:gateway-secret"));
        request.headers_mut().insert(AUTHORIZATION, basic.parse().unwrap());
        assert_eq!(read(introspection(&request, say)).await, (200, json!({"active": true})));
        *request.body_mut() = Bytes::from_static(b"token=other");
        assert_eq!(read(introspection(&request, say)).await, (200, json!({"active": false})));
        *request.body_mut() = Bytes::from_static(b"token=a&token=a");
        assert_eq!(read(introspection(&request, say)).await.0, 400);
    }

    #[tokio::test]
    async fn a_token_is_asked_for_with_a_form() {
        let get = token(&Request::get("/token").body(Bytes::new()).unwrap(), |_| Ok("{}".to_owned()));
        assert_eq!((get.status().as_u16(), get.headers()[ALLOW].to_str().unwrap()), (405, "POST"));
        let json = Request::post("/").header("content-type", "application/json").body(Bytes::from_static(b"{}"));
        assert_eq!(read(token(&json.unwrap(), |_| Ok("{}".to_owned()))).await.0, 400);
        assert_eq!(read(token(&post("/", "a=b"), |form| Ok(object(&[("a", form.one("a")?.into())])))).await.0, 200);
    }
}
