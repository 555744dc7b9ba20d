//! A token endpoint that counts, and an API that takes its tokens alone.

use std::{
    collections::HashMap,
    io,
    net::TcpStream,
    sync::{Arc, Condvar, Mutex},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::{
    ClosedPort, PATIENCE,
    authorization_server::field,
    http::Request,
    upstream::{After, Upstream, respond},
};

/// The endpoint. Gives `token-1`, `token-2`… Ends with its value.
pub(crate) struct TokenEndpoint {
    server: Upstream,
    state: Arc<State>,
}

struct State {
    given: Mutex<Given>,
    changed: Condvar,
}

#[derive(Default)]
struct Given {
    count: usize,
    /// Until when each is good.
    tokens: HashMap<String, Instant>,
    /// Members besides `access_token`, or in its place.
    members: Value,
    /// Instead of tokens: status, fields and body.
    instead: Option<(u16, String, String)>,
    /// A `grant_type` that is answered so instead: status and body.
    refused_grant: Option<(String, u16, String)>,
    is_held: bool,
    at_once: usize,
    most_at_once: usize,
}

impl TokenEndpoint {
    /// One that gives tokens for an hour.
    pub(crate) fn start() -> TokenEndpoint {
        TokenEndpoint::of(Upstream::start())
    }

    /// One where nobody listens yet.
    pub(crate) fn at(port: ClosedPort) -> TokenEndpoint {
        TokenEndpoint::of(Upstream::on(port.open()))
    }

    fn of(server: Upstream) -> TokenEndpoint {
        let given = Given { members: json!({"token_type": "Bearer", "expires_in": 3600}), ..Given::default() };
        let state = Arc::new(State { given: Mutex::new(given), changed: Condvar::new() });
        let answering = Arc::clone(&state);
        server.answer(move |request, stream| answering.answer(request, stream));
        TokenEndpoint { server, state }
    }

    pub(crate) fn url(&self) -> String {
        format!("{}/token", self.server.url())
    }

    /// What answers have besides the token.
    pub(crate) fn gives(&self, members: Value) {
        self.state.given.lock().unwrap().members = members;
    }

    /// Answers so instead of giving tokens, until `recover`.
    pub(crate) fn answer_instead(&self, status: u16, fields: &str, body: &str) {
        self.state.given.lock().unwrap().instead = Some((status, fields.to_owned(), body.to_owned()));
    }

    pub(crate) fn recover(&self) {
        self.state.given.lock().unwrap().instead = None;
    }

    /// Answers questions with this `grant_type` with 400.
    pub(crate) fn refuse_grant(&self, grant: &str) {
        self.refuse_grant_with(grant, 400, &json!({"error": "invalid_grant"}).to_string());
    }

    pub(crate) fn refuse_grant_with(&self, grant: &str, status: u16, body: &str) {
        self.state.given.lock().unwrap().refused_grant = Some((grant.to_owned(), status, body.to_owned()));
    }

    /// While held, questions arrive and aren't answered.
    pub(crate) fn hold(&self, is_held: bool) {
        self.state.given.lock().unwrap().is_held = is_held;
        self.state.changed.notify_all();
    }

    /// Takes all tokens back that were given so far.
    pub(crate) fn revoke_all(&self) {
        self.state.given.lock().unwrap().tokens.clear();
    }

    /// All questions so far.
    pub(crate) fn questions(&self) -> Vec<Request> {
        self.server.requests()
    }

    pub(crate) fn asked(&self) -> usize {
        self.server.requests().len()
    }

    /// The most questions that were there at the same time.
    pub(crate) fn most_at_once(&self) -> usize {
        self.state.given.lock().unwrap().most_at_once
    }

    /// An API that answers 401 to whatever isn't one of this endpoint's good tokens.
    pub(crate) fn api(&self) -> Upstream {
        let (api, state) = (Upstream::start(), Arc::clone(&self.state));
        api.answer(move |request, stream| {
            let mut sent = request.fields.all("authorization");
            let token = sent.next().and_then(|value| value.strip_prefix("Bearer "));
            let is_good = |token: &str| {
                let given = state.given.lock().unwrap();
                given.tokens.get(token).is_some_and(|until| Instant::now() < *until)
            };
            if token.is_some_and(is_good) && sent.next().is_none() {
                respond(stream, 200, "", b"hello")
            } else {
                respond(stream, 401, "WWW-Authenticate: Bearer realm=\"api\"\r\n", b"no")
            }
        });
        api
    }
}

impl Drop for TokenEndpoint {
    fn drop(&mut self) {
        self.hold(false);
    }
}

impl State {
    fn answer(&self, request: &Request, stream: &mut TcpStream) -> io::Result<After> {
        let mut given = self.given.lock().unwrap();
        given.at_once += 1;
        given.most_at_once = given.most_at_once.max(given.at_once);
        let mut given = self.changed.wait_timeout_while(given, PATIENCE, |given| given.is_held).unwrap().0;
        given.at_once -= 1;
        let grant = field(&request.body, "grant_type").unwrap_or_default();
        let refused = given.refused_grant.clone().filter(|(refused, ..)| *refused == grant);
        let (status, fields, body) = match (given.instead.clone(), refused) {
            (Some(instead), _) => instead,
            (None, Some((_, status, body))) => (status, String::new(), body),
            (None, None) => {
                (200, "Content-Type: application/json\r\nCache-Control: no-store\r\n".to_owned(), given.next())
            }
        };
        drop(given);
        respond(stream, status, &fields, body.as_bytes())
    }
}

impl Given {
    fn next(&mut self) -> String {
        self.count += 1;
        let mut answer = json!({"access_token": format!("token-{}", self.count)});
        let members = self.members.as_object().unwrap().clone();
        answer.as_object_mut().unwrap().extend(members);
        if answer.get("refresh_token").is_some() {
            answer["refresh_token"] = json!(format!("refresh-{}", self.count));
        }
        let life = answer.get("expires_in").and_then(Value::as_f64).unwrap_or(3600.0);
        let until = Instant::now() + Duration::from_secs_f64(life.max(0.0));
        self.tokens.insert(answer["access_token"].as_str().unwrap().to_owned(), until);
        answer.to_string()
    }
}

#[test]
fn it_gives_counts_and_takes_back() {
    use super::raw::Client;
    let endpoint = TokenEndpoint::start();
    let api = endpoint.api();
    let ask = || {
        let mut client = Client::connect(endpoint.server.address);
        client.send("POST /token HTTP/1.1\r\nHost: x\r\nContent-Length: 12\r\n\r\ngrant_type=a");
        client.receive()
    };
    let status = |token: &str| {
        super::raw::exchange(api.address, "GET", "/", &format!("Authorization: Bearer {token}\r\n")).status
    };
    assert_eq!(ask().json(), json!({"access_token": "token-1", "token_type": "Bearer", "expires_in": 3600}));
    assert_eq!((status("token-1"), status("token-2"), status("")), (200, 401, 401));
    endpoint.gives(json!({"refresh_token": "", "expires_in": 0}));
    assert_eq!(ask().json(), json!({"access_token": "token-2", "refresh_token": "refresh-2", "expires_in": 0}));
    assert_eq!(status("token-2"), 401, "it is over");
    endpoint.revoke_all();
    assert_eq!(status("token-1"), 401);
    endpoint.refuse_grant("a");
    assert_eq!((ask().status, endpoint.asked(), endpoint.most_at_once()), (400, 3, 1));
    endpoint.answer_instead(503, "", "x");
    assert_eq!(ask().status, 503);
    endpoint.recover();
}
