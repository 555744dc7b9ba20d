//! Where issuers tell that sessions have ended (`issuers.*.logout`): `/.well-known/bearward/logout/<issuer>` for logout tokens
//! (OpenID Connect Back-Channel Logout 1.0, section 2.5), `/.well-known/bearward/events/<issuer>` for security events
//! (RFC 8935). What they tell is a revocation like any other, in force before they are answered. Nothing there needs a permit:
//! a notice counts by its signature.

use std::{collections::HashMap, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::{
    HeaderMap, Method, Response, StatusCode,
    header::{CACHE_CONTROL, CONTENT_LANGUAGE, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, RETRY_AFTER},
};
use serde_json::{Value, json};

use crate::{
    body::{Arriving, Body, BodyError, BodyLimits, RequestBody},
    exchange::Exchange,
    observe::NoticeReceived,
    query::decode,
    refusal::{Refusal, UpstreamFault},
    respond::problem,
    server::{Alive, Arrival},
    snapshot::Snapshot,
    token::{
        issuer::Issuer,
        notice::{Channel, Notice, NoticeFault, Refused},
        now,
    },
    well_known::without_slash,
};

/// What a place takes.
const METHOD: &str = "POST";
/// Bytes of a body: notices that exist have about a thousand.
const LARGEST_BODY: u64 = 64 * 1024;
/// A body that takes longer isn't waited for.
const BODY_PATIENCE: Duration = Duration::from_secs(10);
/// Revocations that are over make room once a minute.
const AFTER_NO_ROOM: Duration = Duration::from_secs(60);

/// What came of a notice: what it tells, and the ids of the revocations that it comes to or why there are none; or why it isn't one.
type Told = Result<(Notice, Result<Vec<Arc<str>>, String>), Refused>;

/// The places of a configuration.
#[derive(Debug, Default)]
pub struct NoticePlaces {
    /// Those at which clients are answered.
    listeners: Vec<usize>,
    /// By canonical path, without a slash at its end.
    places: HashMap<Box<str>, NoticePlace>,
    /// Issuers that tell.
    issuers: usize,
}

/// Where one issuer tells by one channel.
#[derive(Clone, Debug)]
pub struct NoticePlace {
    issuer: Arc<Issuer>,
    channel: Channel,
}

impl NoticePlaces {
    /// Those that these issuers have asked for, on these listeners.
    pub fn of(issuers: &[Arc<Issuer>], listeners: Vec<usize>) -> NoticePlaces {
        let mut places = HashMap::new();
        for issuer in issuers {
            for channel in Channel::of(issuer.settings.logout) {
                let place = NoticePlace { issuer: issuer.clone(), channel };
                places.insert(channel.place(&issuer.settings.name).into(), place);
            }
        }
        let issuers = issuers.iter().filter(|issuer| issuer.settings.logout.is_wanted()).count();
        NoticePlaces { listeners, places, issuers }
    }

    /// The place at this canonical path.
    pub fn find(&self, listener: usize, path: &str) -> Option<&NoticePlace> {
        if self.places.is_empty() || !self.listeners.contains(&listener) {
            return None;
        }
        self.places.get(without_slash(path))
    }
}

impl NoticePlace {
    /// Whether a request of this method is looked at, and the status of the answer where what it brings is good.
    ///
    /// # Errors
    /// `Refusal::Method`
    pub fn takes(&self, method: &Method) -> Result<StatusCode, Refusal> {
        match (method == Method::POST, self.channel) {
            (false, _) => Err(Refusal::Method { allow: METHOD.into() }),
            (true, Channel::BackChannel) => Ok(StatusCode::OK),
            (true, Channel::Events) => Ok(StatusCode::ACCEPTED),
        }
    }

    /// Takes a notice: what it ends has ended when this returns.
    ///
    /// # Errors
    /// Of what the answer says nothing of the protocol's own: method, size and time of the body, keys that can't be had, no room.
    pub(crate) async fn receive(
        &self,
        snapshot: &Snapshot,
        exchange: &mut Exchange,
        (method, headers): (&Method, &HeaderMap),
        body: Arriving,
        arrival: &Arrival,
    ) -> Result<Response<Body>, Refusal> {
        let issuer = &self.issuer.settings.name;
        exchange.heard(issuer);
        let status = self.takes(method)?;
        let body = read(snapshot, exchange, body, arrival).await?;
        let token = match self.token(headers, &body) {
            Ok(token) => token.trim_ascii().to_owned(),
            Err(detail) => {
                exchange.heard_nothing("invalid_request");
                return Ok(self.refused(NoticeFault::Content(detail)));
            }
        };
        let told = self.clone().see_through(exchange.snapshot().clone(), token, arrival.alive.clone()).await?;
        let request_id = exchange.request_id().clone();
        let received = NoticeReceived { issuer, channel: self.channel.word(), request_id: request_id.as_str() };
        match told {
            Ok((notice, ended)) => {
                exchange.heard_well();
                received.taken(&notice.told, notice.subject(), &ended);
                Ok(if ended.is_ok() { empty(status) } else { no_room(request_id.as_str()) })
            }
            Err(refused) => {
                received.refused(refused.fault.detail(), refused.is_issuers);
                match refused.fault {
                    NoticeFault::KeysUnavailable { retry_after } => Err(Refusal::KeysUnavailable { retry_after }),
                    fault => {
                        exchange.heard_nothing(fault.reason());
                        Ok(self.refused(fault))
                    }
                }
            }
        }
    }

    /// Reads a notice and ends what it tells of, though its sender goes away: few wait for long, and fewer come again.
    async fn see_through(self, snapshot: Arc<Snapshot>, token: String, alive: Alive) -> Result<Told, Refusal> {
        let seeing = tokio::spawn(async move {
            let read = snapshot.desk.read(&token, &self.issuer, self.channel, now()).await;
            let told = match read {
                Ok(notice) => {
                    let ended = end(&snapshot, &notice).await;
                    Ok((notice, ended))
                }
                Err(refused) => Err(refused),
            };
            drop(alive);
            told
        });
        seeing.await.map_err(|_| Refusal::Upstream(UpstreamFault::Unavailable))
    }

    /// The token that a body brings.
    ///
    /// # Errors
    /// There isn't exactly one; in a clause.
    fn token<'b>(&self, headers: &HeaderMap, body: &'b Bytes) -> Result<&'b str, &'static str> {
        let text = std::str::from_utf8(body).map_err(|_| "the body is not text")?;
        match self.channel {
            Channel::BackChannel => {
                if !is_of_type(headers, "application/x-www-form-urlencoded") {
                    return Err("the body is not of the type application/x-www-form-urlencoded");
                }
                let named = |field: &&str| {
                    decode(field.split('=').next().unwrap_or_default(), true).as_deref() == Some("logout_token")
                };
                let mut fields = text.split('&').filter(named);
                match (fields.next(), fields.next()) {
                    // A token has no character that a form would encode.
                    (Some(field), None) => Ok(field.split_once('=').unwrap_or_default().1),
                    _ => Err("there is not exactly one logout_token in the form"),
                }
            }
            Channel::Events if is_of_type(headers, "application/secevent+jwt") => Ok(text),
            Channel::Events => Err("the body is not of the type application/secevent+jwt"),
        }
    }

    /// As the protocol says what is wrong: Back-Channel Logout, section 2.8; RFC 8935, section 2.3.
    fn refused(&self, fault: NoticeFault) -> Response<Body> {
        let mut response = match self.channel {
            Channel::BackChannel => told(&json!({"error": "invalid_request", "error_description": fault.detail()})),
            Channel::Events => told(&json!({"err": fault.code(), "description": fault.detail()})),
        };
        response.headers_mut().insert(CONTENT_LANGUAGE, HeaderValue::from_static("en"));
        response
    }
}

async fn read(
    snapshot: &Snapshot,
    exchange: &mut Exchange,
    body: Arriving,
    arrival: &Arrival,
) -> Result<Bytes, Refusal> {
    let limits = BodyLimits {
        max_bytes: Some(LARGEST_BODY),
        idle: snapshot.body_timeout,
        deadline: exchange.began().checked_add(BODY_PATIENCE).map(Into::into),
    };
    let body = RequestBody::new(body, limits, arrival.body_fault.clone(), snapshot.reserved.clone());
    body.check_declared()?;
    exchange.uploads(body.upload());
    match body.collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(BodyError::Fault(fault)) => Err(fault),
        Err(_) => Err(arrival.body_fault.get().cloned().unwrap_or(Refusal::Framing("the body broke off"))),
    }
}

/// The ids of the revocations that it comes to; none where it came before.
///
/// # Errors
/// There is no room; in words for the operator.
async fn end(snapshot: &Snapshot, notice: &Notice) -> Result<Vec<Arc<str>>, String> {
    if snapshot.desk.knows(notice) {
        return Ok(Vec::new());
    }
    let mut ids = Vec::new();
    for wish in snapshot.desk.wishes(notice) {
        let revocation =
            snapshot.revocations.add_among(wish, snapshot.notices.issuers).map_err(|why| why.to_string())?;
        ids.push(revocation.id.clone());
    }
    if ids.is_empty() || snapshot.revocations.keep().await && snapshot.is_told().await {
        snapshot.desk.remember(notice);
    }
    Ok(ids)
}

/// Whether the body is said to be of this media type (RFC 9110, section 8.3), and of no other.
fn is_of_type(headers: &HeaderMap, wanted: &str) -> bool {
    let mut types = headers.get_all(CONTENT_TYPE).iter();
    let (Some(said), None) = (types.next(), types.next()) else { return false };
    let said = said.to_str().ok().and_then(|said| said.split(';').next());
    said.is_some_and(|said| said.trim().eq_ignore_ascii_case(wanted))
}

/// Who sends it again may have more luck.
fn no_room(request_id: &str) -> Response<Body> {
    let refusal = Refusal::Upstream(UpstreamFault::TokenNotEnded);
    let mut response = problem(refusal.status(), refusal.detail(), Some(request_id), false);
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(AFTER_NO_ROOM.as_secs()));
    response
}

fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn told(document: &Value) -> Response<Body> {
    let text = document.to_string();
    let mut response = empty(StatusCode::BAD_REQUEST);
    let headers = response.headers_mut();
    headers.insert(CONTENT_LENGTH, HeaderValue::from(text.len()));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.map(|_| Body::full(text))
}
