//! Listening sockets that a process is started with: systemd's socket activation (sd_listen_fds(3)). They stay open while
//! the process is replaced, so that clients wait instead of being refused.

use std::{env, net::SocketAddr};

use listenfd::ListenFd;

use super::{Address, listener::Listener};

/// Sockets that wait for whoever listens at their addresses.
#[derive(Debug, Default)]
pub struct Inherited(Vec<Passed>);

#[derive(Debug)]
struct Passed {
    /// `FileDescriptorName=`; empty where none is given.
    name: String,
    address: Address,
    listener: Listener,
}

impl Inherited {
    /// Those of this process, taken out of its environment. To be called once, before there are other threads.
    ///
    /// # Errors
    /// One that isn't a listening socket of TCP or a Unix socket, in words for the operator.
    pub fn from_environment() -> Result<Inherited, String> {
        let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut names = names.split(':');
        let mut sockets = ListenFd::from_env();
        let mut passed = Vec::new();
        for place in 0..sockets.len() {
            let name = names.next().unwrap_or_default().to_owned();
            let wrong = |why: String| format!("socket {} that the service manager passes ({name}): {why}", place + 1);
            passed.push(match tcp(&mut sockets, place).or_else(|_| unix(&mut sockets, place)) {
                Ok((address, listener)) => Passed { name, address, listener },
                Err(why) => return Err(wrong(why)),
            });
        }
        Ok(Inherited(passed))
    }

    /// The one for a listener of this name or, if none has it, of this address.
    pub(super) fn take(&mut self, name: &str, address: &Address) -> Option<(Address, Listener)> {
        let by_name = self.0.iter().position(|passed| passed.name == name);
        let place = by_name.or_else(|| self.0.iter().position(|passed| passed.address == *address))?;
        let Passed { address, listener, .. } = self.0.remove(place);
        Some((address, listener))
    }

    /// The one for the admin listener: of this address, or of the name `admin`.
    pub fn take_admin(&mut self, address: SocketAddr) -> Option<std::net::TcpListener> {
        match self.take("admin", &Address::Tcp(address))? {
            (_, Listener::Tcp(listener)) => Some(listener),
            (_, Listener::Unix(_)) => None,
        }
    }

    /// Nothing that was passed is left: clients of such a socket would wait for ever.
    ///
    /// # Errors
    /// What is left, in words for the operator.
    pub(super) fn all_taken(&self) -> Result<(), String> {
        let Some(Passed { name, address, .. }) = self.0.first() else { return Ok(()) };
        Err(format!(
            "the service manager passes a socket at {address} ({name}), where the configuration has no listener: \
             give one this address or, by `FileDescriptorName=`, the socket a listener's name"
        ))
    }
}

fn tcp(sockets: &mut ListenFd, place: usize) -> Result<(Address, Listener), String> {
    let listener = sockets.take_tcp_listener(place).map_err(|error| error.to_string())?.ok_or("it is used twice")?;
    let address = listener.local_addr().and_then(|address| {
        listener.set_nonblocking(true)?;
        Ok(address)
    });
    Ok((Address::Tcp(address.map_err(|error| error.to_string())?), Listener::Tcp(listener)))
}

fn unix(sockets: &mut ListenFd, place: usize) -> Result<(Address, Listener), String> {
    let listener = sockets.take_unix_listener(place).map_err(|error| error.to_string())?.ok_or("it is used twice")?;
    let address = listener.local_addr().and_then(|address| {
        listener.set_nonblocking(true)?;
        Ok(address)
    });
    let address = address.map_err(|error| error.to_string())?;
    let path = address.as_pathname().ok_or("a Unix socket without a path")?;
    Ok((Address::Unix(path.into()), Listener::Unix(listener)))
}
