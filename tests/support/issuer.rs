//! An OAuth issuer: discovery, a key set that changes at run time, and faults on demand.

use std::{
    io::{self, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};

use super::{
    ClosedPort, PATIENCE,
    http::{read_head, reader},
    keys::Key,
    token::Token,
    upstream::respond,
};

/// How its endpoints behave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    Good,
    /// Answers well, so much later.
    Slow(Duration),
    /// Answers well once `Issuer::release` is called.
    Held,
    /// Answers with this status and, apart from that, well.
    Status(u16),
    /// Takes the connection and closes it.
    HangUp,
    /// Discovery names another issuer.
    OtherIssuer,
    /// Answers 200 with what isn't JSON.
    Nonsense,
    /// Answers 200 with an empty key set.
    NoKeys,
    /// Redirects to this place.
    Redirect(String),
    /// Answers well, with a few megabytes of padding.
    Huge,
}

/// The issuer. Ends with its value.
pub(crate) struct Issuer {
    pub(crate) address: SocketAddr,
    state: Arc<State>,
}

struct State {
    url: String,
    mood: Mutex<Mood>,
    changed: Condvar,
    keys: Mutex<Vec<Value>>,
    /// The first key: what `token` signs with.
    signing: Mutex<Key>,
    discoveries: AtomicUsize,
    fetches: AtomicUsize,
    stopped: AtomicBool,
}

impl Issuer {
    /// One that publishes this key and signs with it.
    pub(crate) fn start(key: &Key) -> Issuer {
        Issuer::on(TcpListener::bind("127.0.0.1:0").unwrap(), key)
    }

    /// One whose port refuses connections until it is opened.
    pub(crate) fn gone(key: &Key) -> (ClosedPort, Token) {
        let port = ClosedPort::reserve();
        let token = Token::new(&format!("http://{}", port.address), key);
        (port, token)
    }

    pub(crate) fn on(listener: TcpListener, key: &Key) -> Issuer {
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State {
            url: format!("http://{address}"),
            mood: Mutex::new(Mood::Good),
            changed: Condvar::new(),
            keys: Mutex::new(vec![key.jwk()]),
            signing: Mutex::new(key.clone()),
            discoveries: AtomicUsize::new(0),
            fetches: AtomicUsize::new(0),
            stopped: AtomicBool::new(false),
        });
        let serving = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if serving.stopped.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let state = Arc::clone(&serving);
                // A client that gives up is part of some tests.
                std::thread::spawn(move || serve(&state, stream).ok());
            }
        });
        Issuer { address, state }
    }

    /// Its issuer identifier.
    pub(crate) fn url(&self) -> &str {
        &self.state.url
    }

    pub(crate) fn jwks_uri(&self) -> String {
        format!("{}/jwks", self.state.url)
    }

    /// A good token of its key, to be made worse.
    pub(crate) fn token(&self) -> Token {
        Token::new(&self.state.url, &self.state.signing.lock().unwrap())
    }

    /// Publishes this key alone and signs with it.
    pub(crate) fn rotate(&self, key: &Key) {
        *self.state.keys.lock().unwrap() = vec![key.jwk()];
        *self.state.signing.lock().unwrap() = key.clone();
    }

    /// Publishes this key as well.
    pub(crate) fn publish(&self, jwk: Value) {
        self.state.keys.lock().unwrap().push(jwk);
    }

    /// What it publishes, as text.
    pub(crate) fn jwks(&self) -> String {
        json!({"keys": *self.state.keys.lock().unwrap()}).to_string()
    }

    pub(crate) fn be(&self, mood: Mood) {
        *self.state.mood.lock().unwrap() = mood;
        self.state.changed.notify_all();
    }

    /// Ends `Mood::Held`.
    pub(crate) fn release(&self) {
        self.be(Mood::Good);
    }

    /// How often the key set was asked for.
    pub(crate) fn fetches(&self) -> usize {
        self.state.fetches.load(Ordering::SeqCst)
    }

    /// How often the discovery document was asked for.
    pub(crate) fn discoveries(&self) -> usize {
        self.state.discoveries.load(Ordering::SeqCst)
    }
}

impl Drop for Issuer {
    fn drop(&mut self) {
        self.state.stopped.store(true, Ordering::SeqCst);
        self.release();
        TcpStream::connect(self.address).ok();
    }
}

fn serve(state: &State, mut stream: TcpStream) -> io::Result<()> {
    let mut input = reader(&stream)?;
    while let Some(request) = read_head(&mut input)? {
        let document = match request.target.as_str() {
            "/.well-known/openid-configuration" => {
                state.discoveries.fetch_add(1, Ordering::SeqCst);
                Some(Document::Metadata)
            }
            "/jwks" => {
                state.fetches.fetch_add(1, Ordering::SeqCst);
                Some(Document::Keys)
            }
            _ => None,
        };
        match document {
            Some(document) => answer(state, document, &mut stream)?,
            None => respond(&mut stream, 404, "", b"{}").map(|_| ())?,
        }
    }
    Ok(())
}

#[derive(Clone, Copy)]
enum Document {
    Metadata,
    Keys,
}

fn answer(state: &State, document: Document, stream: &mut TcpStream) -> io::Result<()> {
    let mut mood = state.mood.lock().unwrap().clone();
    if mood == Mood::Held {
        let held = state.mood.lock().unwrap();
        drop(state.changed.wait_timeout_while(held, PATIENCE, |mood| *mood == Mood::Held).unwrap());
        mood = Mood::Good;
    }
    let content = match document {
        Document::Metadata => {
            let issuer = if mood == Mood::OtherIssuer { "https://elsewhere.example" } else { &state.url };
            json!({"issuer": issuer, "jwks_uri": format!("{}/jwks", state.url)})
        }
        Document::Keys if mood == Mood::NoKeys => json!({"keys": []}),
        Document::Keys => json!({"keys": *state.keys.lock().unwrap()}),
    };
    let json = "Content-Type: application/json\r\n";
    match mood {
        Mood::HangUp => {
            stream.shutdown(std::net::Shutdown::Both)?;
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        Mood::Slow(delay) => {
            std::thread::sleep(delay);
            respond(stream, 200, json, content.to_string().as_bytes())?;
        }
        Mood::Status(status) => {
            respond(stream, status, json, content.to_string().as_bytes())?;
        }
        Mood::Nonsense => {
            respond(stream, 200, json, b"<html>busy")?;
        }
        Mood::Redirect(to) => {
            respond(stream, 302, &format!("Location: {to}\r\n"), b"")?;
        }
        Mood::Huge => {
            let padded = format!("{content}{}", " ".repeat(4 * 1024 * 1024));
            respond(stream, 200, json, padded.as_bytes())?;
        }
        Mood::Good | Mood::Held | Mood::OtherIssuer | Mood::NoKeys => {
            respond(stream, 200, json, content.to_string().as_bytes())?;
        }
    }
    stream.flush()
}

#[test]
fn an_issuer_publishes_rotates_and_fails_as_told() {
    use super::raw::exchange;
    let issuer = Issuer::start(&Key::es256("k1"));
    let metadata = exchange(issuer.address, "GET", "/.well-known/openid-configuration", "").json();
    assert_eq!(metadata["issuer"], json!(issuer.url()));
    assert_eq!(metadata["jwks_uri"], json!(issuer.jwks_uri()));
    assert_eq!(exchange(issuer.address, "GET", "/jwks", "").json()["keys"][0]["kid"], json!("k1"));
    issuer.rotate(&Key::eddsa("k2"));
    assert_eq!(exchange(issuer.address, "GET", "/jwks", "").json()["keys"][0]["kid"], json!("k2"));
    issuer.be(Mood::Status(500));
    assert_eq!(exchange(issuer.address, "GET", "/jwks", "").status, 500);
    assert_eq!((issuer.discoveries(), issuer.fetches()), (1, 3));

    let port = ClosedPort::reserve();
    let address = port.address;
    assert!(TcpStream::connect(address).is_err());
    let issuer = Issuer::on(port.open(), &Key::es256("k1"));
    assert_eq!(exchange(address, "GET", "/jwks", "").status, 200);
    drop(issuer);
}
