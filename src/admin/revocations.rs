//! `/revocations`: what is ended before its time, listed, and lifted again.

use std::sync::Arc;

use http_body_util::{BodyExt, Limited};
use hyper::{
    Method, Request, Response, StatusCode,
    body::Incoming,
    header::{HeaderValue, LOCATION},
};
use serde_json::{Map, Value};

use super::{AdminState, LARGEST_BODY, not_allowed, page, shown, text};
use crate::{
    body::Body,
    moment,
    respond::problem,
    snapshot::Snapshot,
    token::{
        issuer::Issuer,
        json, now,
        revocation::{OfIssuer, Source, Target, Wish},
    },
};

/// Bytes of a name that is ended.
const LONGEST_NAME: usize = 1024;
const MEMBERS: [&str; 7] = ["jti", "subject", "client", "token", "issuer", "expires_at", "issued_before"];

/// `path` is what follows `/revocations`.
pub(super) async fn answer(request: Request<Incoming>, path: &str, state: &AdminState) -> Response<Body> {
    let head_only = request.method() == Method::HEAD;
    match (path.strip_prefix('/'), request.method()) {
        (None, &Method::GET | &Method::HEAD) => list(state, head_only),
        (None, &Method::POST) => add(request, state).await,
        (None, _) => not_allowed("GET, HEAD, POST"),
        (Some(id), &Method::DELETE) => lift(id, state).await,
        (Some(_), _) => not_allowed("DELETE"),
    }
}

fn list(state: &AdminState, head_only: bool) -> Response<Body> {
    let revocations = state.gateway.snapshot().revocations.list();
    let list: Value = revocations.iter().map(|revocation| revocation.to_json()).collect();
    let mut response = page(StatusCode::OK, "application/json", format!("{list}\n"));
    if head_only {
        *response.body_mut() = Body::Empty;
    }
    response
}

async fn add(request: Request<Incoming>, state: &AdminState) -> Response<Body> {
    let Ok(body) = Limited::new(request.into_body(), LARGEST_BODY).collect().await else {
        return problem(StatusCode::PAYLOAD_TOO_LARGE, "the body is too large, or broke off", None, false);
    };
    let snapshot = state.gateway.snapshot();
    let wish = match wish(&body.to_bytes(), &snapshot) {
        Ok(wish) => wish,
        Err(why) => return problem(StatusCode::UNPROCESSABLE_ENTITY, &why, None, false),
    };
    let revocation = match snapshot.revocations.add(wish) {
        Ok(revocation) => revocation,
        Err(why) => return problem(StatusCode::INSUFFICIENT_STORAGE, &why.to_string(), None, false),
    };
    let mut document = revocation.to_json();
    if !snapshot.revocations.keep().await {
        let warning = "in force, but it could not be written to state.dir: it ends with this process";
        document.insert("warning".to_owned(), warning.into());
    } else if !snapshot.is_told().await {
        let warning = "in force here; Redis doesn't answer: the other replicas learn of it when it is back";
        document.insert("warning".to_owned(), warning.into());
    }
    let mut response = page(StatusCode::CREATED, "application/json", format!("{}\n", Value::Object(document)));
    if let Ok(location) = HeaderValue::try_from(format!("/revocations/{}", revocation.id)) {
        response.headers_mut().insert(LOCATION, location);
    }
    response
}

async fn lift(id: &str, state: &AdminState) -> Response<Body> {
    let revocations = state.gateway.snapshot().revocations.clone();
    if !revocations.lift(id) {
        return problem(StatusCode::NOT_FOUND, "there is no such revocation", None, false);
    }
    if !revocations.keep().await {
        let why = "lifted, but that could not be written to state.dir: a restart brings it back";
        return problem(StatusCode::INTERNAL_SERVER_ERROR, why, None, false);
    }
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

/// # Errors
/// What can't be understood, in words.
fn wish(body: &[u8], snapshot: &Snapshot) -> Result<Wish, String> {
    // Where, not what: there may be a token in it.
    let asked = json::parse_object(body).map_err(|_| "the body is not a JSON object, or has a member twice")?;
    if let Some(unknown) = asked.keys().find(|key| !MEMBERS.contains(&key.as_str())) {
        return Err(format!("{} is not a member here; there are: {}", shown(unknown), MEMBERS.join(", ")));
    }
    let expires_at = moment(&asked, "expires_at")?;
    if expires_at.is_some_and(|end| end <= now()) {
        return Err("`expires_at` is over already".to_owned());
    }
    Ok(Wish {
        target: target(&asked)?,
        issuer: text(&asked, "issuer")?.map(|name| issuer(name, snapshot)).transpose()?,
        issued_before: moment(&asked, "issued_before")?,
        expires_at,
        source: Source::Admin,
    })
}

fn target(asked: &Map<String, Value>) -> Result<Target, String> {
    let targets = [
        name(asked, "jti")?.map(Target::Jti),
        name(asked, "subject")?.map(Target::Subject),
        name(asked, "client")?.map(Target::Client),
        match text(asked, "token")? {
            None => None,
            Some(token) => Some(Target::token(token).ok_or("`token` is not a bearer token")?),
        },
    ];
    let mut targets = targets.into_iter().flatten();
    match (targets.next(), targets.next()) {
        (Some(target), None) => Ok(target),
        (None, _) => Err("nothing is named: one of `jti`, `subject`, `client`, `token` is needed".to_owned()),
        _ => Err("only one of `jti`, `subject`, `client`, `token` at a time".to_owned()),
    }
}

fn name(asked: &Map<String, Value>, member: &str) -> Result<Option<String>, String> {
    match text(asked, member)? {
        Some("") => Err(format!("`{member}` is empty")),
        Some(name) if name.len() > LONGEST_NAME => Err(format!("`{member}` is longer than {LONGEST_NAME} bytes")),
        name => Ok(name.map(str::to_owned)),
    }
}

/// By its key in the configuration, or by what its tokens have as `iss`.
fn issuer(written: &str, snapshot: &Snapshot) -> Result<OfIssuer, String> {
    let is_its = |issuer: &&Arc<Issuer>| issuer.settings.issuer.as_deref() == Some(written);
    let found = snapshot.issuer(written).or_else(|| snapshot.issuers.iter().find(is_its));
    let issuer = found.ok_or_else(|| format!("no issuer is called {}", shown(written)))?;
    Ok(OfIssuer { written: written.to_owned(), authority: issuer.settings.authority().to_owned() })
}

fn moment(asked: &Map<String, Value>, member: &str) -> Result<Option<i64>, String> {
    let number = match asked.get(member) {
        None | Some(Value::Null) => return Ok(None),
        Some(number @ Value::Number(_)) => moment::of(number),
        Some(_) => None,
    };
    let seconds = number.filter(|seconds| moment::date(*seconds).is_some());
    seconds.map(Some).ok_or_else(|| format!("`{member}` is not a time in Unix seconds"))
}
