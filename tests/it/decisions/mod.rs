//! Listeners that only decide: what they are asked and what they say; and the proxies that ask them.

mod agreement;
mod bound;
pub(crate) mod ext_authz;
mod fields;
mod forward_auth;
mod proxies;
mod watched;

use crate::support::{gateway::Gateway, issuer::Issuer, keys::Key, raw::Response, upstream::Upstream};

/// A gateway whose listeners only decide, an issuer, and an upstream that nothing may come to.
struct Scene {
    issuer: Issuer,
    upstream: Upstream,
    gateway: Gateway,
}

/// The places that a request is read from, in the order of the listeners.
const PLACES: [&str; 3] = ["x_forwarded", "x_original", "self"];

impl Scene {
    /// One listener for each place, one that forwards, and one that Envoy asks. `more` are further sections, `routes` is the list under
    /// `routes:`.
    #[track_caller]
    fn start(more: &str, routes: &str) -> Scene {
        let (issuer, upstream) = (Issuer::start(&Key::es256("k1")), Upstream::start());
        let listeners = PLACES.map(|place| {
            format!("  - {{address: \"127.0.0.1:0\", name: {place}, mode: forward_auth, request_from: {place}}}\n")
        });
        let yaml = format!(
            "listen:\n{}  - {{address: \"127.0.0.1:0\", name: proxy}}\n\
             \x20 - {{address: \"127.0.0.1:0\", name: envoy, mode: ext_authz}}\nadmin: {{address: \"127.0.0.1:0\"}}\n\
             logging: {{level: error, access: false}}\nissuers:\n  main: {{issuer: \"{}\", audiences: [api]}}\n\
             upstreams: {{echo: {{url: \"{}\"}}}}\n{more}routes:\n{routes}",
            listeners.concat(),
            issuer.url(),
            upstream.url()
        );
        let gateway = Gateway::start(&yaml);
        Scene { issuer, upstream, gateway }
    }

    /// Asks about this request in the way of the listener at this place. `fields` are whole lines, each ended by CRLF.
    #[track_caller]
    fn ask(&self, place: usize, method: &str, target: &str, fields: &str) -> Response {
        let address = self.gateway.address_of(place);
        let host = "api.example";
        let description = match PLACES[place] {
            "x_forwarded" => format!(
                "X-Forwarded-Method: {method}\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: {host}\r\nX-Forwarded-Uri: {target}\r\n"
            ),
            "x_original" => format!("X-Original-Method: {method}\r\nX-Original-URL: http://{host}{target}\r\n"),
            _ => String::new(),
        };
        let (method, target, host) =
            if PLACES[place] == "self" { (method, target, host) } else { ("GET", "/check", "bearward") };
        let mut client = crate::support::raw::Client::connect(address);
        client.send(format!(
            "{method} {target} HTTP/1.1\r\nHost: {host}\r\n{description}{fields}Connection: close\r\n\r\n"
        ));
        client.try_receive(method).unwrap().expect("an answer")
    }
}

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\n")
}

/// The status that is meant: x_original has some in a field.
fn meant(answer: &Response) -> u16 {
    match answer.fields.get("x-auth-status") {
        Some(status) => {
            assert_eq!(answer.status, 403, "it stands for another");
            status.parse().unwrap()
        }
        None => answer.status,
    }
}
