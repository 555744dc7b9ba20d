//! The gateway in the test's own process, on ports of its own.

use std::{net::SocketAddr, sync::Mutex};

use bearward::{app::App, config};

use super::{
    eventually,
    issuer::Issuer,
    raw::{Client, Response, exchange},
    upstream::Upstream,
};

/// A running gateway. Stops with its value.
pub(crate) struct Gateway {
    // Some of the app's parts can't be shared; tests call from several threads.
    app: Mutex<App>,
    pub(crate) address: SocketAddr,
    pub(crate) admin: SocketAddr,
}

impl Gateway {
    /// One with this configuration, ready.
    #[track_caller]
    pub(crate) fn start(yaml: &str) -> Gateway {
        let gateway = Gateway::start_unready(yaml);
        eventually("the gateway is ready", || gateway.admin("/readyz").status == 200);
        gateway
    }

    /// One that listens and perhaps isn't ready.
    #[track_caller]
    pub(crate) fn start_unready(yaml: &str) -> Gateway {
        let loaded = config::load_str(yaml, "gateway.yaml").unwrap_or_else(|errors| panic!("{errors:?}\n{yaml}"));
        let app = App::start(loaded.policy).unwrap_or_else(|error| panic!("{error:?}"));
        let address = app.addresses().iter().find_map(|address| address.socket()).expect("a listener");
        let admin = app.admin_address().expect("an admin listener");
        Gateway { app: Mutex::new(app), address, admin }
    }

    pub(crate) fn client(&self) -> Client {
        Client::connect(self.address)
    }

    /// Where the listener at this place of `listen` is.
    pub(crate) fn address_of(&self, listener: usize) -> SocketAddr {
        self.app.lock().unwrap().addresses()[listener].socket().expect("of TCP")
    }

    /// GET without a token.
    #[track_caller]
    pub(crate) fn get(&self, target: &str) -> Response {
        exchange(self.address, "GET", target, "")
    }

    /// GET with a token.
    #[track_caller]
    pub(crate) fn get_with(&self, target: &str, token: &str) -> Response {
        self.call("GET", target, &format!("Authorization: Bearer {token}\r\n"))
    }

    /// One request; `fields` are whole lines, each ended by CRLF.
    #[track_caller]
    pub(crate) fn call(&self, method: &str, target: &str, fields: &str) -> Response {
        exchange(self.address, method, target, fields)
    }

    /// GET at the admin listener.
    #[track_caller]
    pub(crate) fn admin(&self, path: &str) -> Response {
        exchange(self.admin, "GET", path, "")
    }

    /// POST of a JSON text at the admin listener, which answers with JSON.
    #[track_caller]
    pub(crate) fn ask_admin(&self, path: &str, body: &str) -> serde_json::Value {
        let answer = self.admin_call("POST", path, "Content-Type: application/json\r\n", body);
        assert_eq!(answer.status, 200, "{}: {body}", answer.text());
        answer.json()
    }

    /// One request at the admin listener, with a body; `fields` are whole lines, each ended by CRLF.
    #[track_caller]
    pub(crate) fn admin_call(&self, method: &str, path: &str, fields: &str, body: &str) -> Response {
        let mut client = Client::connect(self.admin);
        let (host, length) = (self.admin, body.len());
        client.send(format!(
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\n{fields}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        ));
        client.try_receive(method).unwrap().expect("a response")
    }

    /// The value of the metric's line that begins so, labels and all; 0 where there is none.
    #[track_caller]
    pub(crate) fn metric(&self, series: &str) -> f64 {
        metric(self.admin, series)
    }

    pub(crate) fn drain(&self) {
        self.app.lock().unwrap().drain();
    }

    /// Until it has stopped; whether all requests ended.
    pub(crate) fn wait(self) -> bool {
        self.app.into_inner().unwrap().wait()
    }
}

/// The value of the metric's line that begins so, at this admin listener; 0 where there is none.
#[track_caller]
pub(crate) fn metric(admin: SocketAddr, series: &str) -> f64 {
    let metrics = exchange(admin, "GET", "/metrics", "").text();
    let value = metrics.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    value.map_or(0.0, |value| value.trim().parse().unwrap_or_else(|_| panic!("{value:?}")))
}

/// A configuration with issuer `main` (by discovery, audience `api`) and upstream `echo`.
/// `routes` is the list under `routes:`, indented by two.
pub(crate) fn configuration(issuer: &Issuer, upstream: &Upstream, routes: &str) -> String {
    let jwt = format!("  main: {{issuer: \"{}\", audiences: [api], http_timeout: 30s}}\n", issuer.url());
    configuration_of(&jwt, &upstream.url(), routes)
}

/// The same with the lines under `issuers:` written out.
pub(crate) fn configuration_of(issuers: &str, upstream_url: &str, routes: &str) -> String {
    format!(
        "listen: [\"127.0.0.1:0\"]\n\
         admin: {{address: \"127.0.0.1:0\"}}\n\
         logging: {{level: error, access: false}}\n\
         server: {{workers: 2}}\n\
         issuers:\n{issuers}\
         upstreams:\n  echo: {{url: \"{upstream_url}\"}}\n\
         routes:\n{routes}"
    )
}

/// One without issuers, whose only route is open and leads there. `more` goes into the upstream's entry: `, http2: true`.
pub(crate) fn public_configuration(upstream_url: &str, more: &str) -> String {
    format!(
        "listen: [\"127.0.0.1:0\"]\nadmin: {{address: \"127.0.0.1:0\"}}\nlogging: {{level: error, access: false}}\n\
         server: {{workers: 2}}\nissuers: {{}}\nupstreams: {{api: {{url: \"{upstream_url}\"{more}}}}}\n\
         routes: [{{name: open, path: \"/**\", upstream: api, allow: public}}]\n"
    )
}
