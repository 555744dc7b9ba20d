//! A way to a server that can be cut, held up or spoilt while it is used.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

/// What it does with connections, those that are there too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// Hands on what comes.
    Open,
    /// Ends them at once.
    Cut,
    /// Takes what comes and hands nothing on.
    Held,
    /// Answers what comes with bytes that are no answer.
    Spoilt,
    /// Hands each piece on so much later.
    Slow(Duration),
    /// Ends a connection as soon as its client says this.
    Until(&'static str),
}

/// A relay; it goes on until the tests end.
pub(crate) struct Relay {
    pub(crate) address: SocketAddr,
    state: Arc<Mutex<State>>,
}

struct State {
    way: Way,
    connections: Vec<TcpStream>,
    /// How many were ended for what was said.
    ended: usize,
}

impl Relay {
    pub(crate) fn to(server: SocketAddr) -> Relay {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State { way: Way::Open, connections: Vec::new(), ended: 0 }));
        let shared = state.clone();
        thread::spawn(move || {
            while let Ok((client, _)) = listener.accept() {
                let shared = shared.clone();
                thread::spawn(move || carry(client, server, &shared));
            }
        });
        Relay { address, state }
    }

    /// From now on, for whoever is connected, too.
    pub(crate) fn be(&self, way: Way) {
        let mut state = self.state.lock().unwrap();
        state.way = way;
        for connection in state.connections.drain(..) {
            connection.shutdown(Shutdown::Both).ok();
        }
    }

    /// How many connections were ended for what was said.
    pub(crate) fn ended(&self) -> usize {
        self.state.lock().unwrap().ended
    }
}

fn carry(mut client: TcpStream, server: SocketAddr, state: &Mutex<State>) {
    let way = {
        let mut state = state.lock().unwrap();
        state.connections.retain(|connection| connection.take_error().is_ok() && connection.peer_addr().is_ok());
        state.connections.push(client.try_clone().unwrap());
        state.way
    };
    let delay = match way {
        Way::Open | Way::Until(_) => Duration::ZERO,
        Way::Slow(delay) => delay,
        Way::Cut => return drop(client.shutdown(Shutdown::Both)),
        Way::Held => return drop(std::io::copy(&mut client, &mut std::io::sink())),
        Way::Spoilt => {
            let mut piece = [0; 4096];
            while client.read(&mut piece).is_ok_and(|length| length > 0) {
                if client.write_all(b"\x00\xff no answer\r\n\r\n").is_err() {
                    return;
                }
            }
            return;
        }
    };
    let Ok(server) = TcpStream::connect(server) else { return drop(client.shutdown(Shutdown::Both)) };
    let (from, to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
    let word = match way {
        Way::Until(word) => Some(word),
        _ => None,
    };
    let down = thread::spawn(move || hand_on(to, from, delay, None));
    if hand_on(client, server, delay, word) {
        state.lock().unwrap().ended += 1;
    }
    down.join().ok();
}

/// Whether the word was said.
fn hand_on(mut from: TcpStream, mut to: TcpStream, delay: Duration, word: Option<&str>) -> bool {
    let mut piece = [0; 16 << 10];
    let mut is_said = false;
    while let Ok(length) = from.read(&mut piece) {
        thread::sleep(delay);
        let said = |word: &str| piece[..length].windows(word.len()).any(|part| part == word.as_bytes());
        is_said = word.is_some_and(said);
        if is_said || length == 0 || to.write_all(&piece[..length]).is_err() {
            break;
        }
    }
    from.shutdown(Shutdown::Both).ok();
    to.shutdown(Shutdown::Both).ok();
    is_said
}
