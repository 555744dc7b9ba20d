//! An authorization server that is asked about tokens: introspection, userinfo, discovery; and faults on demand.

use std::{
    collections::HashMap,
    io::{self, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use serde_json::{Value, json};

use super::{
    ClosedPort, PATIENCE,
    http::{Request, read_body, read_head, reader},
    upstream::respond,
};

/// The server. Ends with its value.
pub(crate) struct AuthorizationServer {
    pub(crate) address: SocketAddr,
    state: Arc<State>,
}

struct State {
    url: String,
    /// By token; what isn't there is inactive.
    answers: Mutex<HashMap<String, Value>>,
    /// Instead of an answer: status, fields and body.
    instead: Mutex<Option<(u16, String, String)>>,
    is_held: Mutex<bool>,
    is_discovery_held: Mutex<bool>,
    discovery_changed: Condvar,
    connections: AtomicUsize,
    changed: Condvar,
    questions: Mutex<Vec<Request>>,
    discoveries: AtomicUsize,
    jwks: Mutex<String>,
    stopped: AtomicBool,
}

impl AuthorizationServer {
    pub(crate) fn start() -> AuthorizationServer {
        AuthorizationServer::on(TcpListener::bind("127.0.0.1:0").unwrap())
    }

    /// One where nobody listens yet.
    pub(crate) fn at(port: ClosedPort) -> AuthorizationServer {
        AuthorizationServer::on(port.open())
    }

    fn on(listener: TcpListener) -> AuthorizationServer {
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State {
            url: format!("http://{address}"),
            answers: Mutex::default(),
            instead: Mutex::default(),
            is_held: Mutex::default(),
            is_discovery_held: Mutex::default(),
            discovery_changed: Condvar::new(),
            connections: AtomicUsize::new(0),
            changed: Condvar::new(),
            questions: Mutex::default(),
            discoveries: AtomicUsize::new(0),
            jwks: Mutex::default(),
            stopped: AtomicBool::new(false),
        });
        let serving = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if serving.stopped.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                serving.connections.fetch_add(1, Ordering::SeqCst);
                let state = Arc::clone(&serving);
                // A gateway that gives up is part of some tests.
                std::thread::spawn(move || serve(&state, stream).ok());
            }
        });
        AuthorizationServer { address, state }
    }

    pub(crate) fn url(&self) -> &str {
        &self.state.url
    }

    pub(crate) fn introspection(&self) -> String {
        format!("{}/introspect", self.state.url)
    }

    pub(crate) fn userinfo(&self) -> String {
        format!("{}/userinfo", self.state.url)
    }

    /// From now on this token is active, with these members besides.
    pub(crate) fn active(&self, token: &str, members: Value) {
        let mut answer = json!({"active": true});
        answer.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        self.say(token, answer);
    }

    /// From now on the answer about this token is this.
    pub(crate) fn say(&self, token: &str, answer: Value) {
        self.state.answers.lock().unwrap().insert(token.to_owned(), answer);
    }

    /// The answer about this token.
    pub(crate) fn answer_about(&self, token: &str) -> Value {
        self.state.answers.lock().unwrap()[token].clone()
    }

    pub(crate) fn forget(&self, token: &str) {
        self.state.answers.lock().unwrap().remove(token);
    }

    /// Answers everything so, until `recover`.
    pub(crate) fn answer_instead(&self, status: u16, fields: &str, body: &str) {
        *self.state.instead.lock().unwrap() = Some((status, fields.to_owned(), body.to_owned()));
    }

    pub(crate) fn recover(&self) {
        *self.state.instead.lock().unwrap() = None;
    }

    /// While held, questions arrive and aren't answered.
    pub(crate) fn hold(&self, is_held: bool) {
        *self.state.is_held.lock().unwrap() = is_held;
        self.state.changed.notify_all();
    }

    /// While held, whoever asks for metadata isn't answered.
    pub(crate) fn hold_discovery(&self, is_held: bool) {
        *self.state.is_discovery_held.lock().unwrap() = is_held;
        self.state.discovery_changed.notify_all();
    }

    /// Connections that were ever made.
    pub(crate) fn connections(&self) -> usize {
        self.state.connections.load(Ordering::SeqCst)
    }

    /// What `/jwks` answers.
    pub(crate) fn publish(&self, jwks: &str) {
        jwks.clone_into(&mut self.state.jwks.lock().unwrap());
    }

    /// All questions about tokens so far.
    pub(crate) fn questions(&self) -> Vec<Request> {
        self.state.questions.lock().unwrap().clone()
    }

    pub(crate) fn asked(&self) -> usize {
        self.state.questions.lock().unwrap().len()
    }

    pub(crate) fn discoveries(&self) -> usize {
        self.state.discoveries.load(Ordering::SeqCst)
    }
}

impl Drop for AuthorizationServer {
    fn drop(&mut self) {
        self.state.stopped.store(true, Ordering::SeqCst);
        self.hold(false);
        self.hold_discovery(false);
        TcpStream::connect(self.address).ok();
    }
}

/// The value of a form's field, decoded.
pub(crate) fn field(form: &[u8], name: &str) -> Option<String> {
    let form = std::str::from_utf8(form).unwrap();
    let value = form.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))?;
    let mut bytes = Vec::new();
    let mut rest = value.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits = [rest.next().unwrap(), rest.next().unwrap()];
                u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap()
            }
            byte => byte,
        });
    }
    Some(String::from_utf8(bytes).unwrap())
}

fn serve(state: &State, mut stream: TcpStream) -> io::Result<()> {
    let mut input = reader(&stream)?;
    while let Some(mut request) = read_head(&mut input)? {
        read_body(&mut input, &mut request)?;
        if state.stopped.load(Ordering::SeqCst) {
            return Ok(());
        }
        answer(state, request, &mut stream)?;
        stream.flush()?;
    }
    Ok(())
}

fn answer(state: &State, request: Request, stream: &mut TcpStream) -> io::Result<()> {
    let json = "Content-Type: application/json\r\n";
    let target = request.target.clone();
    let token = match target.as_str() {
        "/introspect" => field(&request.body, "token"),
        "/userinfo" => {
            request.fields.get("authorization").and_then(|value| value.strip_prefix("Bearer ")).map(str::to_owned)
        }
        _ => None,
    };
    if token.is_some() {
        state.questions.lock().unwrap().push(request);
        let held = state.is_held.lock().unwrap();
        drop(state.changed.wait_timeout_while(held, PATIENCE, |is_held| *is_held).unwrap());
    }
    let instead = state.instead.lock().unwrap().clone();
    if let Some((status, fields, body)) = instead {
        return respond(stream, status, &fields, body.as_bytes()).map(drop);
    }
    let (status, body) = match (target.as_str(), token) {
        ("/.well-known/openid-configuration", _) => {
            state.discoveries.fetch_add(1, Ordering::SeqCst);
            let held = state.is_discovery_held.lock().unwrap();
            drop(state.discovery_changed.wait_timeout_while(held, PATIENCE, |is_held| *is_held).unwrap());
            let url = &state.url;
            let metadata = json!({
                "issuer": url,
                "jwks_uri": format!("{url}/jwks"),
                "introspection_endpoint": format!("{url}/introspect"),
                "userinfo_endpoint": format!("{url}/userinfo"),
            });
            (200, metadata.to_string())
        }
        ("/jwks", _) => (200, state.jwks.lock().unwrap().clone()),
        (_, Some(token)) => match (state.answers.lock().unwrap().get(&token), target.as_str()) {
            (Some(Value::String(text)), _) => {
                return respond(stream, 200, "Content-Type: application/token-introspection+jwt\r\n", text.as_bytes())
                    .map(drop);
            }
            (Some(answer), _) => (200, answer.to_string()),
            (None, "/userinfo") => (401, String::new()),
            (None, _) => (200, json!({"active": false}).to_string()),
        },
        _ => (404, "{}".to_owned()),
    };
    respond(stream, status, json, body.as_bytes()).map(drop)
}

#[test]
fn it_answers_counts_and_fails_as_told() {
    use super::raw::Client;
    let server = AuthorizationServer::start();
    server.active("a+b", json!({"sub": "joe"}));
    let ask = |token: &str| {
        let form = format!("token={token}");
        let mut client = Client::connect(server.address);
        client.send(format!("POST /introspect HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{form}", form.len()));
        client.receive()
    };
    assert_eq!(ask("a%2Bb").json(), json!({"active": true, "sub": "joe"}));
    assert_eq!(ask("a+b").json(), json!({"active": false}));
    server.answer_instead(500, "", "x");
    assert_eq!(ask("a%2Bb").status, 500);
    server.recover();
    server.forget("a+b");
    assert_eq!(ask("a%2Bb").json(), json!({"active": false}));
    assert_eq!((server.asked(), server.discoveries()), (4, 0));
}
