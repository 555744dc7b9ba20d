//! Other people's clients and servers of WebSocket and gRPC: Python programs of which one serves and one calls it, through
//! the gateway.

use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
};

use super::skipped;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peers");

/// A program of `tests/peers`, and a Python that has what it needs.
pub(crate) struct Peer {
    python: &'static str,
    script: &'static str,
}

/// One that serves. Ends with its value.
pub(crate) struct Served {
    child: Child,
    pub(crate) address: SocketAddr,
    /// It ends when this does, if the test is killed.
    _input: Option<ChildStdin>,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Peer {
    /// None, said aloud, where no Python has this module. Debian's packages are for its own, whichever comes first in PATH.
    pub(crate) fn find(script: &'static str, module: &str) -> Option<Peer> {
        let has_it = |python: &&str| {
            let mut command = Command::new(python);
            command.args(["-c", &format!("import {module}")]).stdout(Stdio::null()).stderr(Stdio::null());
            command.status().is_ok_and(|status| status.success())
        };
        let python = ["python3", "/usr/bin/python3"].into_iter().find(has_it);
        if python.is_none() {
            skipped(&format!("no python3 on this machine has the module {module}: it wasn't tested as a peer"));
        }
        Some(Peer { python: python?, script })
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.python);
        command.arg(format!("{FOLDER}/{}", self.script)).args(arguments);
        // Connections of tests go to this machine.
        for variable in ["http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "grpc_proxy"] {
            command.env_remove(variable);
        }
        command
    }

    /// Serves, with TLS by the files in this folder if there is one.
    #[track_caller]
    pub(crate) fn serve(&self, tls: Option<&Path>) -> Served {
        let mut command = self.command(&["serve"]);
        command.args(tls).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let port: u16 = line.trim().parse().unwrap_or_else(|_| panic!("{} prints no port: {line:?}", self.script));
        let input = child.stdin.take();
        Served { child, address: SocketAddr::from(([127, 0, 0, 1], port)), _input: input }
    }

    /// Calls, until all is said.
    #[track_caller]
    pub(crate) fn call(&self, arguments: &[&str]) {
        let output = self.command(arguments).stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}
