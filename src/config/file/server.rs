//! `listen`, `admin`, `server`, `logging` and `tracing`.

use std::time::Duration;

use super::{count_or_none, duration, flag, secret, section, size_or_none, some_time, text, texts};
use crate::{
    config::{
        reader::{At, Field, Fields, Reader},
        units,
    },
    observe::LogFormat,
    server::RequestFrom,
    token::secret::Secret,
};

/// More threads than this help nobody.
const MOST_WORKERS: usize = 1024;

#[derive(Debug)]
pub(in crate::config) struct Listener {
    pub(in crate::config) address: At<String>,
    pub(in crate::config) name: Option<At<String>>,
    pub(in crate::config) mode: Mode,
    pub(in crate::config) request_from: Option<At<RequestFrom>>,
    pub(in crate::config) tls: Option<Tls>,
}

/// `listen.*.mode`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::config) enum Mode {
    #[default]
    Proxy,
    ForwardAuth,
    ExtAuthz,
}

#[derive(Debug)]
pub(in crate::config) struct Tls {
    pub(in crate::config) certificate: Option<At<String>>,
    pub(in crate::config) key: Option<At<String>>,
    pub(in crate::config) client_ca: Option<At<String>>,
    pub(in crate::config) client_required: Option<At<bool>>,
}

#[derive(Debug, Default)]
pub(in crate::config) enum Admin {
    #[default]
    Default,
    Off,
    Address(At<String>),
}

#[derive(Debug, Default)]
pub(in crate::config) struct Server {
    /// Inner None: auto.
    pub(in crate::config) workers: Option<Option<usize>>,
    pub(in crate::config) trusted_proxies: Vec<At<String>>,
    pub(in crate::config) max_header_bytes: Option<At<u64>>,
    pub(in crate::config) max_token_bytes: Option<At<u64>>,
    pub(in crate::config) max_body_bytes: Option<Option<At<u64>>>,
    pub(in crate::config) max_connections: Option<Option<usize>>,
    pub(in crate::config) header_timeout: Option<Duration>,
    pub(in crate::config) body_timeout: Option<Duration>,
    pub(in crate::config) idle_timeout: Option<Duration>,
    pub(in crate::config) ready_timeout: Option<At<Duration>>,
    pub(in crate::config) drain_delay: Option<At<Duration>>,
    pub(in crate::config) drain_timeout: Option<At<Duration>>,
}

#[derive(Debug, Default)]
pub(in crate::config) struct Logging {
    pub(in crate::config) level: Option<At<String>>,
    pub(in crate::config) format: Option<LogFormat>,
    pub(in crate::config) access: Option<bool>,
}

#[derive(Debug, Default)]
pub(in crate::config) struct Tracing {
    pub(in crate::config) otlp: Option<At<String>>,
    pub(in crate::config) sample: Option<f64>,
}

pub(super) fn listen(field: &Field<'_>, r: &mut Reader<'_>) -> Option<Vec<Listener>> {
    let items = r.items(field)?;
    if items.is_empty() {
        r.findings.push(field.at(()).error("an empty list").hint("leave `listen` out for 127.0.0.1:8080"));
    }
    let mut listeners = Vec::new();
    for item in items {
        if item.is_text() {
            listeners.extend(r.text(&item).map(|address| Listener {
                address,
                name: None,
                mode: Mode::Proxy,
                request_from: None,
                tls: None,
            }));
        } else if let Some(fields) = r.fields(&item) {
            let name = r.field(&fields, "name").and_then(|field| r.text(&field));
            let address = r.required(&fields, "address", "an address and a port: `address: 127.0.0.1:8080`");
            let address = address.and_then(|field| r.text(&field));
            let (mode, request_from) = mode(&fields, r);
            let tls = section(&fields, "tls", r).map(|fields| tls(&fields, r));
            listeners.extend(address.map(|address| Listener { address, name, mode, request_from, tls }));
        }
    }
    Some(listeners)
}

fn mode(fields: &Fields<'_>, r: &mut Reader<'_>) -> (Mode, Option<At<RequestFrom>>) {
    const PLACES: [(&str, RequestFrom); 3] =
        [("x_forwarded", RequestFrom::XForwarded), ("x_original", RequestFrom::XOriginal), ("self", RequestFrom::Own)];
    const HINT: &str = "where the request is described: `x_forwarded`, `x_original` or `self`";
    const MODES: [(&str, Mode); 3] =
        [("proxy", Mode::Proxy), ("forward_auth", Mode::ForwardAuth), ("ext_authz", Mode::ExtAuthz)];
    let mode = r.field(fields, "mode").and_then(|field| r.word(&field, &MODES)).unwrap_or_default();
    let place = match mode {
        Mode::ForwardAuth => r.required(fields, "request_from", HINT),
        _ => r.field(fields, "request_from"),
    };
    (mode, place.and_then(|field| r.word(&field, &PLACES).map(|place| field.at_key(place))))
}

fn tls(fields: &Fields<'_>, r: &mut Reader<'_>) -> Tls {
    let certificate = r.required(fields, "certificate", "a PEM file: the certificate, then those that vouch for it");
    let certificate = certificate.and_then(|field| r.text(&field));
    let key = r.required(fields, "key", "a PEM file: the certificate's private key").and_then(|field| r.text(&field));
    let client_required = r.field(fields, "client_certificate").and_then(|field| {
        r.word(&field, &[("optional", false), ("required", true)]).map(|required| field.at(required))
    });
    Tls { certificate, key, client_ca: r.field(fields, "client_ca").and_then(|field| r.text(&field)), client_required }
}

/// And its token.
pub(super) fn admin(field: &Field<'_>, r: &mut Reader<'_>) -> (Admin, Option<At<Secret>>) {
    if field.is("off") {
        return (Admin::Off, None);
    }
    if field.is_text() {
        r.findings.push(
            field.at(()).error("`admin` is a map or `off`").hint("`admin: off` or `admin: {address: 127.0.0.1:9901}`"),
        );
        return (Admin::Default, None);
    }
    let Some(fields) = r.fields(field) else { return (Admin::Default, None) };
    (text(&fields, "address", r).map_or(Admin::Default, Admin::Address), secret(&fields, "token", r))
}

pub(super) fn server(fields: &Fields<'_>, r: &mut Reader<'_>) -> Server {
    let workers = r.field(fields, "workers").and_then(|field| match field.is("auto") {
        true => Some(None),
        false => r.count(&field, MOST_WORKERS).map(Some),
    });
    Server {
        workers,
        trusted_proxies: texts(fields, "trusted_proxies", r).map(|list| list.value).unwrap_or_default(),
        max_header_bytes: r.field(fields, "max_header_bytes").and_then(|field| r.size(&field)),
        max_token_bytes: r.field(fields, "max_token_bytes").and_then(|field| r.size(&field)),
        max_body_bytes: size_or_none(fields, "max_body_bytes", r),
        max_connections: count_or_none(fields, "max_connections", r),
        header_timeout: some_time(fields, "header_timeout", r),
        body_timeout: some_time(fields, "body_timeout", r),
        idle_timeout: some_time(fields, "idle_timeout", r),
        ready_timeout: duration(fields, "ready_timeout", r),
        drain_delay: duration(fields, "drain_delay", r),
        drain_timeout: duration(fields, "drain_timeout", r),
    }
}

pub(super) fn logging(fields: &Fields<'_>, r: &mut Reader<'_>) -> Logging {
    let format = r.field(fields, "format");
    Logging {
        level: r.field(fields, "level").and_then(|field| r.text(&field)),
        format: format.and_then(|field| r.word(&field, &[("json", LogFormat::Json), ("text", LogFormat::Text)])),
        access: flag(fields, "access", r),
    }
}

pub(super) fn tracing(fields: &Fields<'_>, r: &mut Reader<'_>) -> Tracing {
    let sample = r.field(fields, "sample");
    Tracing {
        otlp: text(fields, "otlp", r),
        sample: sample.and_then(|field| r.unit(&field, "a share from 0.0 to 1.0", units::share)).map(|at| at.value),
    }
}
