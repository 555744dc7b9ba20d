//! A configuration that changes while the program runs: seen however it changes, taken over whole or not at all, at no cost
//! to anybody's request.

mod load;
mod refused;
mod state;
mod ways;

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use serde_json::Value;

use crate::support::{
    binary::Binary,
    certificates::Authority,
    eventually,
    gateway::metric,
    issuer::Issuer,
    keys::Key,
    raw::{Client, Response, exchange},
    upstream::Upstream,
};

/// The program with a configuration in a folder of its own.
struct Scene {
    issuer: Issuer,
    upstream: Upstream,
    folder: tempfile::TempDir,
    binary: Binary,
}

/// What every configuration here begins with.
fn head(issuer: &Issuer, upstream: &Upstream) -> String {
    format!(
        "listen: [\"127.0.0.1:0\"]\n\
         admin: {{address: \"127.0.0.1:0\"}}\n\
         server: {{workers: 2}}\n\
         logging: {{level: info, access: false}}\n\
         issuers:\n  main: {{issuer: \"{}\", audiences: [api]}}\n\
         upstreams:\n  echo: {{url: \"{}\"}}\n",
        issuer.url(),
        upstream.url()
    )
}

/// Routes of which one tells which configuration it is of.
fn routes(version: &str) -> String {
    format!(
        "routes:\n\
         - {{name: version, path: /version, respond: {{status: 200, body: \"{version}\"}}, allow: public}}\n\
         - {{name: open, path: \"/open/**\", upstream: echo, allow: public}}\n\
         - {{name: closed, path: \"/closed/**\", upstream: echo, allow: authenticated}}\n"
    )
}

impl Scene {
    fn new() -> Scene {
        Scene::with(|text, _| text)
    }

    /// `change` makes of the usual configuration the one that it begins with, and lays other files beside it.
    fn with(change: impl FnOnce(String, &Path) -> String) -> Scene {
        let (issuer, upstream) = (Issuer::start(&Key::es256("k1")), Upstream::start());
        let folder = tempfile::tempdir().unwrap();
        let text = change(head(&issuer, &upstream) + &routes("one"), folder.path());
        let path = folder.path().join("gateway.yaml");
        fs::write(&path, text).unwrap();
        let binary = Binary::run(&path);
        Scene { issuer, upstream, folder, binary }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// What the configuration says now.
    fn text(&self) -> String {
        fs::read_to_string(self.path("gateway.yaml")).unwrap()
    }

    /// Lays another configuration in the place of the one before, all at once: a slow machine would let a half be seen.
    fn save(&self, text: &str) {
        fs::write(self.path("next"), text).unwrap();
        fs::rename(self.path("next"), self.path("gateway.yaml")).unwrap();
    }

    /// Another configuration, in force when this returns.
    #[track_caller]
    fn reload_with(&self, text: &str) -> Value {
        self.save(text);
        self.reload(200)
    }

    /// `POST /reload`, which answers so.
    #[track_caller]
    fn reload(&self, status: u16) -> Value {
        let answer = exchange(self.binary.admin(), "POST", "/reload", "Content-Length: 0\r\n");
        assert_eq!(answer.status, status, "{}", answer.text());
        answer.json()
    }

    fn address(&self) -> SocketAddr {
        self.binary.address()
    }

    fn get(&self, target: &str) -> Response {
        exchange(self.address(), "GET", target, "")
    }

    fn get_with(&self, target: &str, token: &str) -> Response {
        exchange(self.address(), "GET", target, &format!("Authorization: Bearer {token}\r\n"))
    }

    fn version(&self) -> String {
        self.get("/version").text()
    }

    fn metric(&self, series: &str) -> f64 {
        metric(self.binary.admin(), series)
    }

    fn reloads(&self, result: &str) -> f64 {
        self.metric(&format!("bearward_config_reloads_total{{result=\"{result}\"}}"))
    }

    fn readiness(&self) -> (u16, Value) {
        let answer = exchange(self.binary.admin(), "GET", "/readyz", "");
        (answer.status, answer.json())
    }

    fn logged(&self, message: &str) -> usize {
        self.binary.lines().iter().filter(|line| line["message"] == message).count()
    }
}
