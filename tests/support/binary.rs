//! The program itself, as an operator runs it.

use std::{
    io::{BufRead, BufReader, Read},
    net::SocketAddr,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex},
};

use serde_json::Value;

use super::eventually;

/// `bearward` running with everything that it writes collected. Killed with its value.
pub(crate) struct Binary {
    child: Child,
    stdout: Arc<Mutex<String>>,
    stderr: Arc<Mutex<String>>,
}

impl Binary {
    pub(crate) fn command() -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bearward"));
        command.env_remove("RUST_LOG").stdin(Stdio::null());
        command
    }

    /// `bearward` with these arguments.
    #[track_caller]
    pub(crate) fn spawn(arguments: &[&str]) -> Binary {
        Binary::spawn_with(arguments, &[])
    }

    /// The same with these variables set.
    #[track_caller]
    pub(crate) fn spawn_with(arguments: &[&str], variables: &[(&str, &str)]) -> Binary {
        let mut command = Binary::command();
        command.args(arguments).envs(variables.iter().copied()).stderr(Stdio::piped());
        Binary::collected(command)
    }

    /// The same by this command, which runs it in the end.
    #[track_caller]
    pub(crate) fn collected(mut command: Command) -> Binary {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let stdout = collect(child.stdout.take().unwrap());
        let stderr = child.stderr.take().map(collect).unwrap_or_default();
        Binary { child, stdout, stderr }
    }

    /// `bearward run` with this file's path, ready.
    #[track_caller]
    pub(crate) fn run(config: &std::path::Path) -> Binary {
        let binary = Binary::spawn(&["run", "--config", config.to_str().unwrap()]);
        binary.line("ready");
        binary
    }

    /// The same under limits of the shell's `ulimit`.
    #[track_caller]
    pub(crate) fn run_limited(limits: &str, config: &std::path::Path) -> Binary {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("ulimit {limits} && exec \"$@\""), "sh", env!("CARGO_BIN_EXE_bearward"), "run"]);
        command.arg("--config").arg(config).env_remove("RUST_LOG").stdin(Stdio::null()).stderr(Stdio::piped());
        let binary = Binary::collected(command);
        binary.line("ready");
        binary
    }

    /// Where the first listener for clients is.
    #[track_caller]
    pub(crate) fn address(&self) -> SocketAddr {
        let line = self.line_where("listening", |line| line["message"] == "listening" && line["listener"] != "admin");
        line["address"].as_str().expect("an address").parse().unwrap()
    }

    /// Where the admin listener is.
    #[track_caller]
    pub(crate) fn admin(&self) -> SocketAddr {
        let line = self.line_where("listening", |line| line["message"] == "listening" && line["listener"] == "admin");
        line["address"].as_str().expect("an address").parse().unwrap()
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// A file of its folder under /proc.
    pub(crate) fn proc(&self, file: &str) -> String {
        std::fs::read_to_string(format!("/proc/{}/{file}", self.child.id())).unwrap()
    }

    /// Its memory in RAM, in bytes: now (`VmRSS`), or the most that it ever was (`VmHWM`).
    pub(crate) fn memory(&self, which: &str) -> u64 {
        let status = self.proc("status");
        let line = status.lines().find_map(|line| line.strip_prefix(which)?.strip_prefix(':')).expect("a line");
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }

    /// The first log line with this message, once it is there.
    #[track_caller]
    pub(crate) fn line(&self, message: &str) -> Value {
        self.line_where(message, |line| line["message"] == message)
    }

    /// The first log line of this kind, once it is there.
    #[track_caller]
    pub(crate) fn line_where(&self, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let mut found = None;
        eventually(&format!("a log line: {what}"), || {
            found = self.lines().into_iter().find(&holds);
            found.is_some()
        });
        found.unwrap()
    }

    /// All lines of its log so far.
    pub(crate) fn lines(&self) -> Vec<Value> {
        self.stdout.lock().unwrap().lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    pub(crate) fn stdout(&self) -> String {
        self.stdout.lock().unwrap().clone()
    }

    /// Everything that it has written.
    pub(crate) fn output(&self) -> String {
        format!("{}{}", self.stdout(), self.stderr.lock().unwrap())
    }

    /// Sends SIGTERM, SIGINT…
    pub(crate) fn signal(&self, name: &str) {
        let command = format!("kill -s {name} {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &command]).status().unwrap().success());
    }

    /// Until it has ended.
    #[track_caller]
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let mut status = None;
        eventually("the program ends", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }
}

impl Drop for Binary {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn collect(from: impl Read + Send + 'static) -> Arc<Mutex<String>> {
    let text = Arc::new(Mutex::new(String::new()));
    let into = Arc::clone(&text);
    std::thread::spawn(move || {
        let mut from = BufReader::new(from);
        let mut line = Vec::new();
        while from.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
            into.lock().unwrap().push_str(&String::from_utf8_lossy(&line));
            line.clear();
        }
    });
    text
}
