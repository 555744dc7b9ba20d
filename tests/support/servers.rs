//! Other people's servers, as upstreams: programs of the machine, each with a small application that says under which of
//! its locations a request came.

use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
};

use super::{eventually, skipped};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/servers");
const TOMCAT: &str = "/usr/share/java/tomcat10-embed-core.jar";

/// A running one. Ends with its value.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
    /// It ends when this does, if the test is killed.
    _input: Option<ChildStdin>,
    _folder: Option<tempfile::TempDir>,
    /// Addresses are kept from others as long as it runs.
    _ports: Vec<socket2::Socket>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Server {
    /// Python's own WSGI server; None where there is none.
    pub(crate) fn wsgi() -> Option<Server> {
        announced("python3", &["--version"], Command::new("python3").arg(file("wsgi.py")), None)
    }

    /// Node's; None where there is none.
    pub(crate) fn node() -> Option<Server> {
        announced("node", &["--version"], Command::new("node").arg(file("node.js")), None)
    }

    /// Tomcat; None where it, or Java, isn't there.
    pub(crate) fn tomcat() -> Option<Server> {
        if !Path::new(TOMCAT).exists() {
            lacks("Tomcat (libtomcat10-embed-java)");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("java");
        command.args(["-XX:TieredStopAtLevel=1", "-cp", TOMCAT, &file("Tomcat.java")]).arg(folder.path());
        announced("java", &["-version"], &mut command, Some(folder))
    }

    /// nginx in its four parts; None where there is none. `behind` is what the fourth is in front of.
    pub(crate) fn nginx(behind: SocketAddr) -> Option<Nginx> {
        let program = ["nginx", "/usr/sbin/nginx"].into_iter().find(|program| runs(program, &["-v"]));
        let Some(program) = program else {
            lacks("nginx");
            return None;
        };
        let folder = tempfile::tempdir().unwrap();
        let ports: Vec<socket2::Socket> = (0..4).map(|_| reserve()).collect();
        let address = |place: usize| ports[place].local_addr().unwrap().as_socket().unwrap();
        let addresses = [address(0), address(1), address(2), address(3)];
        let mut text = std::fs::read_to_string(file("nginx.conf")).unwrap();
        let names = [":PLAIN", ":ANEW", ":ANY_CASE", ":BEFORE", ":BEHIND"];
        for (name, address) in names.into_iter().zip(addresses.into_iter().chain([behind])) {
            text = text.replace(name, &format!(":{}", address.port()));
        }
        let config = folder.path().join("nginx.conf");
        std::fs::write(&config, text).unwrap();
        let log = folder.path().join("error.log");
        let mut command = Command::new(program);
        command.arg("-p").arg(folder.path()).arg("-c").arg(&config).arg("-e").arg(&log);
        let child = command.stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let server = Server { child, address: address(0), _input: None, _folder: Some(folder), _ports: ports };
        eventually("nginx listens", || addresses.iter().all(|address| std::net::TcpStream::connect(address).is_ok()));
        let [plain, anew, any_case, before] = addresses;
        Some(Nginx { _server: server, plain, anew, any_case, before })
    }
}

/// nginx, four times.
pub(crate) struct Nginx {
    _server: Server,
    pub(crate) plain: SocketAddr,
    /// Writes the path anew, for the first.
    pub(crate) anew: SocketAddr,
    /// Its locations ignore case.
    pub(crate) any_case: SocketAddr,
    /// Writes the path anew, for another server.
    pub(crate) before: SocketAddr,
}

fn file(name: &str) -> String {
    format!("{FOLDER}/{name}")
}

fn runs(program: &str, arguments: &[&str]) -> bool {
    let status = Command::new(program).args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

/// A server that prints its port on its first line.
fn announced(
    program: &str,
    version: &[&str],
    command: &mut Command,
    folder: Option<tempfile::TempDir>,
) -> Option<Server> {
    if !runs(program, version) {
        lacks(program);
        return None;
    }
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let port: u16 = line.trim().parse().unwrap_or_else(|_| panic!("{program} prints no port: {line:?}"));
    let input = child.stdin.take();
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    Some(Server { child, address, _input: input, _folder: folder, _ports: Vec::new() })
}

/// A port that only those get who share it: sockets that share one must all say so.
fn reserve() -> socket2::Socket {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_reuse_address(true).unwrap();
    socket.set_reuse_port(true).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    socket
}

/// Says that a server wasn't tested.
fn lacks(what: &str) {
    skipped(&format!("there is no {what} on this machine: it wasn't tested as an upstream"));
}
