//! What a service manager is told: that the process serves, reloads or ends (sd_notify(3)).

use std::{
    env,
    ffi::OsStr,
    io,
    os::unix::net::{SocketAddr, UnixDatagram},
};

use rustix::time::{ClockId, clock_gettime};

/// Tells the service manager, if there is one that wants to know.
#[derive(Debug)]
pub struct Notifier(Option<(UnixDatagram, SocketAddr)>);

impl Notifier {
    /// By `NOTIFY_SOCKET`.
    ///
    /// # Errors
    /// It is set to what is no socket's address.
    pub fn from_environment() -> io::Result<Notifier> {
        let Some(place) = env::var_os("NOTIFY_SOCKET").filter(|place| !place.is_empty()) else {
            return Ok(Notifier(None));
        };
        Ok(Notifier(Some((UnixDatagram::unbound()?, address(&place)?))))
    }

    /// It serves.
    pub fn ready(&self) {
        self.say("READY=1\nSTATUS=serving");
    }

    /// It reads its configuration again.
    pub fn reloading(&self) {
        // Later than the signal that asked for it: so systemd knows which reload is meant.
        let now = clock_gettime(ClockId::Monotonic);
        let microseconds = i128::from(now.tv_sec) * 1_000_000 + i128::from(now.tv_nsec) / 1000;
        self.say(&format!("RELOADING=1\nMONOTONIC_USEC={microseconds}"));
    }

    /// It has read its configuration, and serves by it or by the one before.
    pub fn reloaded(&self, is_good: bool) {
        let status = if is_good { "serving" } else { "serving; the changed configuration can't be used" };
        self.say(&format!("READY=1\nSTATUS={status}"));
    }

    /// It takes no new connections soon, and ends once it has answered.
    pub fn stopping(&self) {
        self.say("STOPPING=1\nSTATUS=draining");
    }

    fn say(&self, words: &str) {
        if let Some((socket, manager)) = &self.0
            && let Err(error) = socket.send_to_addr(words.as_bytes(), manager)
        {
            tracing::warn!(%error, "the service manager can't be told");
        }
    }
}

/// A path or, on Linux, a name in the abstract namespace after an `@`.
fn address(place: &OsStr) -> io::Result<SocketAddr> {
    #[cfg(target_os = "linux")]
    {
        use std::os::{linux::net::SocketAddrExt, unix::ffi::OsStrExt};
        if let Some(name) = place.as_bytes().strip_prefix(b"@") {
            return SocketAddr::from_abstract_name(name);
        }
    }
    SocketAddr::from_pathname(place)
}
