//! `listen`, `admin`, `server`, `errors` and `logging`.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, OnceLock},
    time::Duration,
};

use tracing_subscriber::EnvFilter;

use super::{Compiler, Span, url::HttpUrl};
use crate::{
    config::{
        file::{Admin, ConfigFile, Listener, Logging, Mode, Server, Tls, Tracing},
        keys,
        reader::At,
    },
    headers::TrustedProxies,
    observe::{LoggingSettings, TracingSettings},
    server::{self, Address, ClientCertificate, ListenMode, ListenSettings, ServerSettings, TlsFault, TlsSettings},
    token::secret::Secret,
};

const LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);
const ADMIN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9901);

const MAX_HEADER_BYTES: u64 = 128 << 10;
const MAX_TOKEN_BYTES: u64 = 64 << 10;
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
const BODY_TIMEOUT: Duration = Duration::from_secs(30);
const IDLE_TIMEOUT: Duration = Duration::from_secs(75);
const READY_TIMEOUT: Duration = Duration::from_secs(30);
const DRAIN_DELAY: Duration = Duration::ZERO;
const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);

/// Whether one of two addresses takes the connections of the other, so that the system doesn't give both.
fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let covers = |wide: SocketAddr, of: SocketAddr| wide.ip().is_unspecified() && (wide.is_ipv6() || of.is_ipv4());
    one.port() != 0
        && one.port() == other.port()
        && (one.ip() == other.ip() || covers(one, other) || covers(other, one))
}

fn collide(one: &Address, other: &Address) -> bool {
    match (one, other) {
        (Address::Tcp(one), Address::Tcp(other)) => overlap(*one, *other),
        (one, other) => one == other,
    }
}

fn overlap_hint(one: SocketAddr, other: SocketAddr) -> Option<String> {
    let both = one.ip().is_unspecified() && other.ip().is_unspecified() && one.is_ipv4() != other.is_ipv4();
    both.then(|| format!("`\"[::]:{}\"` alone takes IPv4, too", one.port()))
}

/// What `auto` means: as long as a process lives the same, since what starts threads can't be changed.
fn cores() -> usize {
    static CORES: OnceLock<usize> = OnceLock::new();
    *CORES.get_or_init(|| std::thread::available_parallelism().map_or(1, std::num::NonZero::get))
}

impl Compiler<'_> {
    pub(super) fn listeners(&mut self, file: &ConfigFile) -> Vec<Option<ListenSettings>> {
        let Some(written) = &file.listen else {
            let name = Arc::from(LISTEN.to_string());
            return vec![Some(ListenSettings {
                name,
                address: Address::Tcp(LISTEN),
                tls: None,
                mode: ListenMode::Proxy,
            })];
        };
        self.unique("the listener", written.iter().filter_map(|listener| listener.name.as_ref()));
        let mut places = Vec::new();
        let mut listeners = Vec::new();
        for listener in written {
            let address = self.listen_address(&listener.address);
            if let Some(address) = &address {
                self.note_place(&mut places, address, listener);
            }
            let tls = match &listener.tls {
                Some(tls) => self.tls(tls).map(Some),
                None => Some(None),
            };
            let name = self.name(listener.name.as_ref().unwrap_or(&listener.address));
            let mode = self.mode(listener);
            let place = address.zip(name).zip(tls).zip(mode);
            listeners.push(place.map(|(((address, name), tls), mode)| ListenSettings { name, address, tls, mode }));
        }
        listeners
    }

    fn mode(&mut self, written: &Listener) -> Option<ListenMode> {
        match (written.mode, &written.request_from) {
            (Mode::ForwardAuth, place) => place.as_ref().map(|at| ListenMode::ForwardAuth(at.value)),
            (_, Some(at)) => {
                let finding = at.error("`request_from` is of listeners with `mode: forward_auth` alone");
                self.fail(finding.hint("leave it out"))
            }
            (Mode::Proxy, None) => Some(ListenMode::Proxy),
            (Mode::ExtAuthz, None) => Some(ListenMode::ExtAuthz),
        }
    }

    /// Inner None: everything but health and metrics is for loopback alone. Clients send it as a Bearer token.
    pub(super) fn admin_token(&mut self, written: Option<&At<Secret>>) -> Option<Option<Secret>> {
        let Some(written) = written else { return Some(None) };
        // RFC 6750, section 2.1: b64token.
        let good = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(byte);
        match written.value.expose().iter().all(good) {
            true => Some(Some(written.value.clone())),
            false => self.fail(
                written.error("this can't be sent as a Bearer token").hint("letters, digits and `-._~+/`; no spaces"),
            ),
        }
    }

    /// Notes where a listener is, or that another is there.
    fn note_place(&mut self, places: &mut Vec<(Address, Span)>, address: &Address, listener: &Listener) {
        let Some((other, first)) = places.iter().find(|(other, _)| collide(address, other)) else {
            places.push((address.clone(), listener.address.span));
            return;
        };
        let how = if address == other { "is there twice" } else { "overlaps with another" };
        let message = format!("this address {how}, first at {}", self.source.place(*first));
        let hint = address.socket().zip(other.socket()).and_then(|(one, other)| overlap_hint(one, other));
        self.findings.push(listener.address.error(message).hint_if(hint));
    }

    fn listen_address(&mut self, written: &At<String>) -> Option<Address> {
        let Some(path) = written.value.strip_prefix("unix:") else {
            return self.address(written).map(Address::Tcp);
        };
        if path.is_empty() || path.contains('\0') {
            return self.fail(written.error("the path of a Unix socket is missing").hint("`unix:/run/bearward.sock`"));
        }
        let path = self.source.folder(written.span).join(path);
        // What the system's socket addresses hold, less the final zero.
        if path.as_os_str().len() > 107 {
            return self.fail(written.error("the path of a Unix socket has up to 107 bytes"));
        }
        Some(Address::Unix(path.into()))
    }

    /// The files are read now, so that what is wrong with them is known before anything serves.
    fn tls(&mut self, written: &Tls) -> Option<TlsSettings> {
        if let (None, Some(required)) = (&written.client_ca, &written.client_required) {
            let message = "`client_certificate` without `client_ca`: nobody could vouch for a client";
            self.findings.push(required.error(message).hint("give the authorities' certificates in `client_ca`"));
        }
        let (certificate, key) = (written.certificate.as_ref()?, written.key.as_ref()?);
        let clients = written.client_ca.as_ref().map(|authorities| ClientCertificate {
            authorities: self.path(authorities.span, &authorities.value),
            required: written.client_required.as_ref().is_some_and(|required| required.value),
        });
        let settings = TlsSettings {
            certificate: self.path(certificate.span, &certificate.value),
            key: self.path(key.span, &key.value),
            clients,
        };
        let Err(fault) = server::Tls::load(settings.clone()) else {
            return Some(settings);
        };
        let at = match &fault {
            TlsFault::Certificate(_) => certificate,
            TlsFault::Key(_) => key,
            TlsFault::ClientCa(_) => written.client_ca.as_ref()?,
        };
        self.fail(at.error(format!("{}: {}", at.shown(), fault.words())))
    }

    /// Inner None: off.
    pub(super) fn admin(&mut self, file: &ConfigFile, listen: &[Option<ListenSettings>]) -> Option<Option<SocketAddr>> {
        let taken = |admin: &SocketAddr| {
            listen
                .iter()
                .flatten()
                .filter_map(|listener| listener.address.socket())
                .any(|address| overlap(address, *admin))
        };
        match &file.admin {
            Admin::Off => Some(None),
            Admin::Default if taken(&ADMIN) => {
                let listener = file
                    .listen
                    .iter()
                    .flatten()
                    .find(|listener| listener.address.value.parse().is_ok_and(|address| overlap(address, ADMIN)));
                let message = format!("{ADMIN} is the admin address, too");
                let finding = match listener {
                    Some(listener) => listener.address.error(message),
                    None => super::Finding::file(message),
                };
                self.fail(finding.hint("give `admin.address` another one, or write `admin: off`"))
            }
            Admin::Default => Some(Some(ADMIN)),
            Admin::Address(written) => {
                let address = self.address(written)?;
                if taken(&address) {
                    return self.fail(written.error("`listen` takes this address, too"));
                }
                Some(Some(address))
            }
        }
    }

    fn address(&mut self, written: &At<String>) -> Option<SocketAddr> {
        if written.value.starts_with("unix:") {
            return self.fail(written.error("a TCP address is expected here"));
        }
        written.value.parse().ok().or_else(|| {
            let finding = written.error(format!("{} is not an address with a port", written.shown()));
            self.fail(
                finding.hint("an IP address, a colon, a port: `127.0.0.1:8080`, `0.0.0.0:8080` or `\"[::]:8080\"`"),
            )
        })
    }

    pub(super) fn server(&mut self, written: &Server) -> Option<ServerSettings> {
        let workers = written.workers.flatten().unwrap_or_else(cores);
        let trusted_proxies = self.trusted_proxies(&written.trusted_proxies);
        let max_header_bytes = self.bytes(written.max_header_bytes.as_ref(), MAX_HEADER_BYTES, 1 << 10, 16 << 20);
        let max_token_bytes = self.bytes(written.max_token_bytes.as_ref(), MAX_TOKEN_BYTES, 1, 16 << 20);
        let time = |written: &Option<At<Duration>>, default| written.as_ref().map_or(default, |time| time.value);
        Some(ServerSettings {
            workers,
            trusted_proxies: trusted_proxies?,
            max_header_bytes: max_header_bytes?,
            max_token_bytes: max_token_bytes?,
            max_connections: written.max_connections.flatten(),
            header_timeout: written.header_timeout.unwrap_or(HEADER_TIMEOUT),
            body_timeout: written.body_timeout.unwrap_or(BODY_TIMEOUT),
            idle_timeout: written.idle_timeout.unwrap_or(IDLE_TIMEOUT),
            ready_timeout: time(&written.ready_timeout, READY_TIMEOUT),
            drain_delay: time(&written.drain_delay, DRAIN_DELAY),
            drain_timeout: time(&written.drain_timeout, DRAIN_TIMEOUT),
        })
    }

    fn trusted_proxies(&mut self, written: &[At<String>]) -> Option<TrustedProxies> {
        let mut good = true;
        for network in written {
            if let Err(words) = TrustedProxies::parse([network.value.as_str()]) {
                self.findings
                    .push(network.error_about(&words).hint("a network or an address: `10.0.0.0/8`, `192.0.2.7`"));
                good = false;
            } else if network.value.ends_with("/0") {
                self.findings.push(network.warning("everybody is believed about whom a request comes from"));
            }
        }
        let all = written.iter().map(|network| network.value.as_str());
        good.then(|| TrustedProxies::parse(all).ok()).flatten()
    }

    fn bytes(&mut self, written: Option<&At<u64>>, default: u64, least: u64, most: u64) -> Option<usize> {
        let bytes = written.map_or(default, |size| size.value);
        match written {
            Some(size) if !(least..=most).contains(&bytes) => {
                self.fail(size.error(format!("this must be from {least} to {most} bytes")))
            }
            _ => usize::try_from(bytes).ok(),
        }
    }

    pub(super) fn realm(&mut self, written: Option<&At<String>>) -> Option<Arc<str>> {
        match written {
            Some(realm) if !realm.value.bytes().all(|byte| matches!(byte, b' '..=b'~')) => {
                self.fail(realm.error("a realm is printable ASCII"))
            }
            Some(realm) => Some(Arc::from(realm.value.as_str())),
            None => Some(Arc::from("bearward")),
        }
    }

    pub(super) fn logging(&mut self, written: &Logging) -> Option<LoggingSettings> {
        let level = match &written.level {
            None => "info".to_owned(),
            Some(level) => self.log_level(level)?,
        };
        Some(LoggingSettings { level, format: written.format, access: written.access.unwrap_or(true) })
    }

    pub(super) fn tracing(&mut self, written: &Tracing) -> Option<TracingSettings> {
        if let Some(Err((at, words))) =
            written.otlp.as_ref().map(|at| HttpUrl::parse(&at.value).map_err(|why| (at, why)))
        {
            return self.fail(at.error(words));
        }
        let otlp = written.otlp.as_ref().map(|at| at.value.clone());
        // Who wants no spans begins no traces for others, unless they say so.
        let all_or_none = if otlp.is_some() { 1.0 } else { 0.0 };
        Some(TracingSettings { sample: written.sample.unwrap_or(all_or_none), otlp })
    }

    fn log_level(&mut self, written: &At<String>) -> Option<String> {
        const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
        let text = written.value.as_str();
        // A single word that is no level would be read as a module's name, and silence all others.
        let is_filter = text.contains(['=', ',', '[']);
        if LEVELS.contains(&text.to_ascii_lowercase().as_str()) || is_filter && EnvFilter::try_new(text).is_ok() {
            return Some(text.to_owned());
        }
        let hint = match keys::nearest_of(text, LEVELS) {
            Some(near) if !written.foreign => format!("did you mean `{near}`?"),
            _ => "`info`, or RUST_LOG syntax such as `info,bearward=debug`".to_owned(),
        };
        self.fail(written.error(format!("{} is not a log level", written.shown())).hint(hint))
    }
}
