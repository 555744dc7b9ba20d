//! `POST /explain`: why a request would be let in, or not, by the configuration in force.

use http_body_util::{BodyExt, Limited};
use hyper::{
    HeaderMap, Method, Request, Response, StatusCode,
    body::Incoming,
    header::{HeaderName, HeaderValue},
};
use serde_json::Value;

use super::{AdminState, LARGEST_BODY, not_allowed, page, shown, text};
use crate::{
    body::Body,
    decision::rehearsal::Presented,
    explain::Explanation,
    rehearsal::{Question, rehearse},
    respond::problem,
    snapshot::Snapshot,
    token::json,
};

const MEMBERS: [&str; 6] = ["method", "url", "headers", "token", "claims", "issuer"];

/// The answer of `explain --json`; a body that can't be understood is a 422 that says why.
pub(super) async fn answer(request: Request<Incoming>, state: &AdminState) -> Response<Body> {
    if request.method() != Method::POST {
        return not_allowed("POST");
    }
    let Ok(body) = Limited::new(request.into_body(), LARGEST_BODY).collect().await else {
        return problem(StatusCode::PAYLOAD_TOO_LARGE, "the body is too large, or broke off", None, false);
    };
    let snapshot = state.gateway.snapshot();
    match explained(&body.to_bytes(), &snapshot).await {
        Ok(answer) => page(StatusCode::OK, "application/json", format!("{answer}\n")),
        Err(why) => problem(StatusCode::UNPROCESSABLE_ENTITY, &why, None, false),
    }
}

/// # Errors
/// What can't be understood, in words.
async fn explained(body: &[u8], snapshot: &Snapshot) -> Result<Value, String> {
    let asked = json::parse_object(body).map_err(|why| format!("the body is not a JSON object: {why}"))?;
    if let Some(unknown) = asked.keys().find(|key| !MEMBERS.contains(&key.as_str())) {
        return Err(format!("{} is not a member here; there are: {}", shown(unknown), MEMBERS.join(", ")));
    }
    let url = text(&asked, "url")?.ok_or("`url` is missing")?;
    let mut question = Question::new(text(&asked, "method")?.unwrap_or("GET"), url, headers(asked.get("headers"))?)?;
    let sent = Presented::Sent { may_fetch: true };
    let presented = match (text(&asked, "token")?, asked.get("claims"), text(&asked, "issuer")?) {
        (None, None, None) => sent,
        (Some(token), None, None) => {
            question.present(token)?;
            sent
        }
        (None, Some(Value::Object(claims)), Some(name)) => {
            let issuer = snapshot.issuer(name).ok_or_else(|| format!("no issuer is called {}", shown(name)))?;
            Presented::Assumed { issuer, claims }
        }
        (None, Some(Value::Object(_)), None) => return Err("`claims` need an `issuer`".to_owned()),
        (None, Some(_), _) => return Err("`claims` is not an object".to_owned()),
        (None, None, Some(_)) => return Err("`issuer` needs `claims`".to_owned()),
        (Some(_), ..) => return Err("either `token`, or `claims` and `issuer`".to_owned()),
    };
    let answer = rehearse(snapshot, &question, presented).await;
    Ok(Explanation::new(snapshot, &question, &answer).to_json())
}

/// An object of texts, or of lists of texts.
fn headers(written: Option<&Value>) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    let members = match written {
        None | Some(Value::Null) => return Ok(headers),
        Some(Value::Object(members)) => members,
        Some(_) => return Err("`headers` is not an object".to_owned()),
    };
    for (name, values) in members {
        let values = match values {
            Value::Array(values) => values.as_slice(),
            one => std::slice::from_ref(one),
        };
        for value in values {
            let read = HeaderName::from_bytes(name.as_bytes()).ok();
            let value = value.as_str().and_then(|value| HeaderValue::from_str(value).ok());
            let (Some(name), Some(value)) = (read, value) else {
                return Err(format!("`{name}` in `headers` is not a header field"));
            };
            headers.append(name, value);
        }
    }
    Ok(headers)
}
