//! A Redis server of Debian's, started, stopped and broken by the tests.

use std::{
    net::{SocketAddr, TcpListener},
    path::Path,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU16, Ordering},
};

use redis::{Client, Connection, FromRedisValue, cmd};

use super::{eventually, skipped};

/// A server on a port of its own that keeps nothing on disk. Killed with its value.
pub(crate) struct Redis {
    process: Option<Child>,
    pub(crate) port: u16,
    arguments: Vec<String>,
    folder: tempfile::TempDir,
}

impl Redis {
    /// None where there is none on this machine.
    pub(crate) fn start() -> Option<Redis> {
        Redis::start_with(&[])
    }

    /// With these lines of its configuration besides, as arguments.
    pub(crate) fn start_with(arguments: &[&str]) -> Option<Redis> {
        let mut redis = Redis::not_started(arguments)?;
        redis.run();
        // Another run of the tests may have taken the port since it was looked at.
        while !redis.is_own() {
            redis.kill();
            redis.port = port();
            redis.run();
        }
        Some(redis)
    }

    /// One with an address and nobody there.
    pub(crate) fn not_started(arguments: &[&str]) -> Option<Redis> {
        let version = Command::new("redis-server").arg("--version").stdout(Stdio::null()).status();
        if !version.is_ok_and(|status| status.success()) {
            skipped("there is no redis-server on this machine: what replicas share wasn't tested");
            return None;
        }
        let arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
        Some(Redis { process: None, port: port(), arguments, folder: tempfile::tempdir().unwrap() })
    }

    /// Starts it, empty, and returns when it answers.
    pub(crate) fn run(&mut self) {
        let port = self.port.to_string();
        let mut command = Command::new("redis-server");
        if !self.arguments.iter().any(|argument| argument == "--tls-port") {
            command.args(["--port", &port]);
        }
        command.args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir"]).arg(self.folder.path());
        command.args(&self.arguments).stdout(Stdio::null()).stderr(Stdio::null());
        self.process = Some(command.spawn().unwrap());
        eventually("Redis listens", || std::net::TcpStream::connect(self.address()).is_ok());
    }

    /// Whether who answers is this one; where it says nothing without a password or TLS, it is taken for it.
    fn is_own(&self) -> bool {
        let id = format!("process_id:{}\r", self.process.as_ref().unwrap().id());
        self.try_ask::<String>(&["INFO", "server"]).map_or(true, |told| told.contains(&id))
    }

    /// Starts it with these arguments alone: as a sentinel, say.
    pub(crate) fn run_as(&mut self, arguments: &[&str]) {
        let mut command = Command::new("redis-server");
        command.args(arguments).current_dir(self.folder.path()).stdout(Stdio::null()).stderr(Stdio::null());
        self.process = Some(command.spawn().unwrap());
        eventually("Redis listens", || std::net::TcpStream::connect(self.address()).is_ok());
    }

    /// Kills it: what it held is gone.
    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().ok();
            process.wait().ok();
        }
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, name: &str) {
        let command = format!("kill -s {name} {}", self.process.as_ref().unwrap().id());
        assert!(Command::new("sh").args(["-c", &command]).status().unwrap().success());
    }

    pub(crate) fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://{}", self.address())
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// One command; of `words`, the first is its name.
    #[track_caller]
    pub(crate) fn ask<T: FromRedisValue>(&self, words: &[&str]) -> T {
        self.try_ask(words).unwrap_or_else(|error| panic!("{words:?}: {error}"))
    }

    pub(crate) fn try_ask<T: FromRedisValue>(&self, words: &[&str]) -> redis::RedisResult<T> {
        let mut connection: Connection = Client::open(self.url())?.get_connection()?;
        let mut command = cmd(words[0]);
        for word in &words[1..] {
            command.arg(word);
        }
        command.query(&mut connection)
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A free one, below those that the system gives to outgoing connections: it stays free while nobody is there.
pub(crate) fn port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = u16::try_from(std::process::id() % 5000).unwrap();
    loop {
        let port = 20_000 + (start + NEXT.fetch_add(1, Ordering::Relaxed)) % 10_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
