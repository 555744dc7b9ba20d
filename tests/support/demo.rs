//! `bearward demo` as somebody runs it, and a shell to act in before it.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

use super::{
    binary::Binary,
    eventually,
    gateway::metric,
    http::{Fields, split_field},
    skipped,
};

/// The demo. Ends with its value.
pub(crate) struct Demo {
    binary: Binary,
    /// What it has printed.
    pub(crate) printed: String,
    /// The base URLs of its gateway, the echo API, the issuer and the admin listener.
    pub(crate) gateway: String,
    pub(crate) echo: String,
    pub(crate) issuer: String,
    admin: String,
    /// With its configuration.
    pub(crate) folder: PathBuf,
    temporary: tempfile::TempDir,
}

/// What came of a curl line.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) fields: Fields,
    pub(crate) body: String,
}

/// Whether there is curl; where there isn't, says what is skipped, or fails where nothing may be.
pub(crate) fn has_curl(what: &str) -> bool {
    let is_there = Command::new("curl").arg("--version").output().is_ok();
    if !is_there {
        skipped(&format!("there is no curl on this machine: {what}"));
    }
    is_there
}

impl Demo {
    #[track_caller]
    pub(crate) fn start() -> Demo {
        let temporary = tempfile::tempdir().unwrap();
        let folder = temporary.path().to_str().unwrap();
        let mut binary = Binary::spawn_with(&["demo", "--port", "0"], &[("TMPDIR", folder)]);
        eventually("the demo introduces itself", || {
            binary.stdout().contains("Ctrl-C ends it.") || !binary.is_running()
        });
        let printed = binary.stdout();
        let urls: Vec<_> = printed
            .split([' ', '\n', ',', '(', ')'])
            .filter(|word| word.starts_with("http://"))
            .take(4)
            .map(str::to_owned)
            .collect();
        let [gateway, echo, issuer, metrics] = urls.try_into().unwrap_or_else(|_| panic!("{}", binary.output()));
        let admin = metrics.trim_end_matches("/metrics").to_owned();
        let file = printed.split_whitespace().find(|word| word.ends_with("gateway.yaml")).expect("the file's place");
        let folder = Path::new(file).parent().unwrap().to_owned();
        // What is the tester's and not the document's: the status is shown, and no proxy is in between.
        std::fs::write(temporary.path().join(".curlrc"), "silent\ninclude\nnoproxy = \"*\"\n").unwrap();
        Demo { binary, printed, gateway, echo, issuer, admin, folder, temporary }
    }

    /// Where a base URL's server is.
    pub(crate) fn address(url: &str) -> SocketAddr {
        url.strip_prefix("http://").unwrap().parse().unwrap()
    }

    /// Runs a line with these variables besides; what curl says of the last answer.
    #[track_caller]
    pub(crate) fn sh(&self, line: &str, variables: &[(&str, &str)]) -> Answer {
        let mut command = Command::new("sh");
        command.args(["-c", line]).env("CURL_HOME", self.temporary.path()).env("no_proxy", "*");
        let output = command.envs(variables.iter().copied()).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        Answer::read(&text).unwrap_or_else(|| panic!("{line}\n{text}{}", String::from_utf8_lossy(&output.stderr)))
    }

    /// The value of the metric's line that begins so.
    #[track_caller]
    pub(crate) fn metric(&self, series: &str) -> f64 {
        metric(Demo::address(&self.admin), series)
    }

    /// Ctrl-C; its exit code.
    pub(crate) fn interrupt(mut self) -> Option<i32> {
        self.binary.signal("INT");
        self.binary.wait().code()
    }
}

impl Answer {
    fn read(text: &str) -> Option<Answer> {
        let (head, body) = text.split_once("\r\n\r\n")?;
        let mut lines = head.lines();
        let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
        if status < 200 {
            return Answer::read(body);
        }
        Some(Answer { status, fields: Fields(lines.filter_map(split_field).collect()), body: body.to_owned() })
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// A member that is a text.
    #[track_caller]
    pub(crate) fn text(&self, name: &str) -> String {
        self.json()[name].as_str().unwrap_or_else(|| panic!("no {name}: {self:?}")).to_owned()
    }

    /// The names of the body's members.
    #[track_caller]
    pub(crate) fn members(&self) -> Vec<String> {
        self.json().as_object().unwrap().keys().cloned().collect()
    }

    /// A field of the request that the echo API got.
    #[track_caller]
    pub(crate) fn echoed(&self, field: &str) -> Option<String> {
        assert_eq!(self.status, 200, "{self:?}");
        self.json()["headers"].get(field).map(|value| value.as_str().unwrap().to_owned())
    }
}
