//! What systemd does with a service, acted out: sockets that are passed, words that are listened to.
#![cfg(target_os = "linux")]

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    os::{
        fd::OwnedFd,
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr as UnixAddress, UnixDatagram, UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::support::{
    PATIENCE,
    binary::Binary,
    certificates::get,
    raw::{Client, exchange},
    skipped,
};

fn configuration(listen: &str, folder: &Path) -> PathBuf {
    let path = folder.join("gateway.yaml");
    let text = format!(
        "listen: {listen}\nadmin: {{address: \"127.0.0.1:0\"}}\nserver: {{workers: 2}}\nissuers: {{}}\n\
         logging: {{level: info, access: false, format: json}}\n\
         routes: [{{name: own, path: \"/**\", respond: {{status: 200, body: here}}, allow: public}}]\n"
    );
    fs::write(&path, text).unwrap();
    path
}

/// A service manager's ear.
struct Manager(UnixDatagram);

impl Manager {
    fn at(address: &UnixAddress) -> Manager {
        let socket = UnixDatagram::bind_addr(address).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Manager(socket)
    }

    /// What it is told next, line by line.
    #[track_caller]
    fn hears(&self) -> Vec<String> {
        let mut buffer = [0; 4096];
        let count = self.0.recv(&mut buffer).expect("to be told something");
        String::from_utf8_lossy(&buffer[..count]).lines().map(str::to_owned).collect()
    }
}

#[test]
fn it_says_when_it_is_ready_reloads_and_stops() {
    let folder = tempfile::tempdir().unwrap();
    let path = configuration("[\"127.0.0.1:0\"]", folder.path());
    let file = folder.path().join("notify");
    let name = format!("bearward-test-{}", std::process::id());
    let abstractly = UnixAddress::from_abstract_name(&name).unwrap();
    for (address, variable) in [
        (UnixAddress::from_pathname(&file).unwrap(), file.to_str().unwrap().to_owned()),
        (abstractly, format!("@{name}")),
    ] {
        let manager = Manager::at(&address);
        let arguments = ["run", "--config", path.to_str().unwrap()];
        let mut binary = Binary::spawn_with(&arguments, &[("NOTIFY_SOCKET", &variable)]);
        assert_eq!(manager.hears(), ["READY=1", "STATUS=serving"]);
        assert_eq!(exchange(binary.admin(), "GET", "/readyz", "").status, 200);

        let good = fs::read_to_string(&path).unwrap();
        for (text, status) in [
            (good.clone() + "errors: {realm: other}\n", "STATUS=serving"),
            (good.clone() + "erors: {}\n", "STATUS=serving; the changed configuration can't be used"),
            (good, "STATUS=serving"),
        ] {
            let before = uptime();
            fs::write(&path, text).unwrap();
            binary.signal("HUP");
            let words = manager.hears();
            assert_eq!(words[0], "RELOADING=1");
            let since: u128 = words[1].strip_prefix("MONOTONIC_USEC=").unwrap().parse().unwrap();
            assert!((before..=uptime()).contains(&since), "{since} is between {before} and now");
            assert_eq!(manager.hears(), ["READY=1", status]);
        }
        binary.signal("TERM");
        assert_eq!(manager.hears(), ["STOPPING=1", "STATUS=draining"]);
        assert_eq!(binary.wait().code(), Some(0));
    }
}

/// The monotonic clock in microseconds.
fn uptime() -> u128 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    u128::try_from(now.tv_sec).unwrap() * 1_000_000 + u128::try_from(now.tv_nsec).unwrap() / 1000
}

#[test]
fn a_manager_that_can_not_be_told_is_no_reason_to_run() {
    let folder = tempfile::tempdir().unwrap();
    let path = configuration("[\"127.0.0.1:0\"]", folder.path());
    let long = "/".repeat(200);
    let mut binary =
        Binary::spawn_with(&["run", "--config", path.to_str().unwrap()], &[("NOTIFY_SOCKET", long.as_str())]);
    assert_eq!(binary.wait().code(), Some(1));
    assert!(binary.output().contains("NOTIFY_SOCKET"), "{}", binary.output());
}

/// The program with these sockets as its descriptors 3 and 4, as systemd passes them.
fn activated(path: &Path, names: &str, first: OwnedFd, second: OwnedFd) -> Binary {
    let script = "exec 3<&0 4<&2 0</dev/null 2>&1; export LISTEN_PID=$$ LISTEN_FDS=2; exec \"$@\"";
    let mut command = Command::new("sh");
    command.args(["-c", script, "sh", env!("CARGO_BIN_EXE_bearward"), "run", "--config"]).arg(path);
    command.env("LISTEN_FDNAMES", names).env_remove("RUST_LOG");
    // Which of the shell's descriptors they are until then doesn't matter.
    command.stdin(Stdio::from(first)).stderr(Stdio::from(second)).stdout(Stdio::piped());
    Binary::collected(command)
}

#[test]
fn sockets_that_are_passed_are_served_from_one_process_to_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let file = folder.path().join("gateway.sock");
    let unix = UnixListener::bind(&file).unwrap();
    let address = tcp.local_addr().unwrap();
    // One is known by its address, the other by its name.
    let listen = format!("[\"{address}\", {{address: \"unix:elsewhere.sock\", name: inner}}]");
    let path = configuration(&listen, folder.path());
    let start = || {
        let passed = (OwnedFd::from(tcp.try_clone().unwrap()), OwnedFd::from(unix.try_clone().unwrap()));
        let binary = activated(&path, "bearward.socket:inner", passed.0, passed.1);
        binary.line("ready");
        binary
    };
    let mut binary = start();
    assert_eq!(binary.address(), address);
    for _ in 0..8 {
        assert_eq!(exchange(address, "GET", "/", "").text(), "here");
        let answer = get(UnixStream::connect(&file).unwrap(), "/").unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    binary.signal("TERM");
    assert_eq!(binary.wait().code(), Some(0), "{}", binary.output());

    // Nobody serves: who connects waits.
    let mut waits = Client::connect(address);
    waits.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(file.exists(), "the file of a socket that was passed is left alone");
    let _next = start();
    assert_eq!(waits.receive().text(), "here");
}

#[test]
fn a_socket_that_nobody_listens_at_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let (one, other) = (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
    let (known, unknown): (SocketAddr, SocketAddr) = (one.local_addr().unwrap(), other.local_addr().unwrap());
    let path = configuration(&format!("[\"{known}\"]"), folder.path());
    let mut binary = activated(&path, "a:b", one.into(), other.into());
    assert_eq!(binary.wait().code(), Some(1), "{}", binary.output());
    let output = binary.output();
    assert!(output.contains(&format!("passes a socket at {unknown} (b)")), "{output}");

    // What is no socket at all.
    let file = || OwnedFd::from(fs::File::open(&path).unwrap());
    let mut binary = activated(&path, "a:b", file(), file());
    assert_eq!(binary.wait().code(), Some(1));
    assert!(binary.output().contains("socket 1 that the service manager passes (a)"), "{}", binary.output());
}

/// What is for this machine alone, such as a route that lends a token of the gateway's own, would be everybody's.
#[test]
fn a_socket_that_others_reach_is_no_listeners_that_is_on_loopback() {
    let folder = tempfile::tempdir().unwrap();
    for (listen, is_named) in [("127.0.0.1:0", false), ("unix:gateway.sock", false), ("0.0.0.0:0", true)] {
        let (open, admin) = (TcpListener::bind("0.0.0.0:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
        let address = open.local_addr().unwrap();
        let path = configuration(&format!("[{{address: \"{listen}\", name: outer}}]"), folder.path());
        let mut binary = activated(&path, "outer:admin", open.into(), admin.into());
        if is_named {
            binary.line("ready");
            continue;
        }
        assert_eq!(binary.wait().code(), Some(1), "{listen}: {}", binary.output());
        let output = binary.output();
        assert!(output.contains(&format!("passes a socket at {address} for the listener outer")), "{output}");
    }
}

#[test]
fn sockets_of_another_process_are_not_touched() {
    let folder = tempfile::tempdir().unwrap();
    let path = configuration("[\"127.0.0.1:0\"]", folder.path());
    let variables = [("LISTEN_PID", "1"), ("LISTEN_FDS", "2")];
    let binary = Binary::spawn_with(&["run", "--config", path.to_str().unwrap()], &variables);
    binary.line("ready");
    assert_eq!(exchange(binary.address(), "GET", "/", "").status, 200);
}

#[test]
fn the_units_that_are_shipped_are_understood() {
    let Ok(version) = Command::new("systemd-analyze").arg("--version").output() else {
        return skipped("there is no systemd-analyze on this machine: the units were not verified");
    };
    let version = String::from_utf8_lossy(&version.stdout).into_owned();
    let version: u32 = version.split_whitespace().nth(1).and_then(|number| number.parse().ok()).unwrap_or_default();
    let folder = tempfile::tempdir().unwrap();
    let units = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/systemd");
    let mut command = Command::new("systemd-analyze");
    command.arg("verify");
    for name in ["bearward.service", "bearward.socket"] {
        let text = fs::read_to_string(units.join(name)).unwrap();
        let text = text.replace("=bearward ", concat!("=", env!("CARGO_BIN_EXE_bearward"), " "));
        fs::write(folder.path().join(name), text).unwrap();
        command.arg(folder.path().join(name));
    }
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    // As the unit's first lines say.
    let is_known =
        |line: &&str| version < 253 && line.ends_with("Failed to parse service type, ignoring: notify-reload");
    let problems: Vec<_> = said.lines().filter(|line| !is_known(line)).collect();
    assert!(output.status.success() && problems.is_empty(), "{said}");
}
