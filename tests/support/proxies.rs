//! Other people's proxies before an API, each with the configuration that is shipped for it, which asks the gateway about
//! every request.

use std::{
    fs,
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use super::{PATIENCE, skipped};

/// Where `.ci/run` puts those that Debian doesn't have.
const INSTALLED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/proxies/bin");
const SHIPPED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy");

/// A running one. Ends with its value.
pub(crate) struct Proxy {
    child: Child,
    pub(crate) address: SocketAddr,
    folder: tempfile::TempDir,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Which, and how it is started with which of its files in the current folder.
struct Kind {
    program: &'static str,
    files: &'static [&'static str],
    arguments: &'static [&'static str],
}

impl Proxy {
    /// nginx, which asks with a subrequest; None where there is none.
    pub(crate) fn nginx(gateway: SocketAddr, api: SocketAddr) -> Option<Proxy> {
        // One process, which ends when it is killed.
        let arguments = &["-p", ".", "-e", "error.log", "-c", "nginx.conf", "-g", "master_process off;"];
        start(&Kind { program: "nginx", files: &["nginx/nginx.conf"], arguments }, gateway, api)
    }

    /// Traefik; None where there is none.
    pub(crate) fn traefik(gateway: SocketAddr, api: SocketAddr) -> Option<Proxy> {
        let files = &["traefik/traefik.yaml", "traefik/routes.yaml"];
        start(&Kind { program: "traefik", files, arguments: &["--configFile=traefik.yaml"] }, gateway, api)
    }

    /// Caddy; None where there is none.
    pub(crate) fn caddy(gateway: SocketAddr, api: SocketAddr) -> Option<Proxy> {
        let arguments = &["run", "--config", "Caddyfile", "--adapter", "caddyfile"];
        start(&Kind { program: "caddy", files: &["caddy/Caddyfile"], arguments }, gateway, api)
    }

    /// Envoy, which asks over HTTP; None where there is none.
    pub(crate) fn envoy_http(gateway: SocketAddr, api: SocketAddr) -> Option<Proxy> {
        let arguments = &["-c", "envoy-http.yaml", "--disable-hot-restart", "--concurrency", "1", "-l", "warn"];
        start(&Kind { program: "envoy", files: &["envoy/envoy-http.yaml"], arguments }, gateway, api)
    }

    /// Envoy, which asks over gRPC; None where there is none.
    pub(crate) fn envoy(gateway: SocketAddr, api: SocketAddr) -> Option<Proxy> {
        let arguments = &["-c", "envoy.yaml", "--disable-hot-restart", "--concurrency", "1", "-l", "warn"];
        start(&Kind { program: "envoy", files: &["envoy/envoy.yaml"], arguments }, gateway, api)
    }

    /// What it has said.
    pub(crate) fn said(&self) -> String {
        said(self.folder.path())
    }
}

/// Somebody else may take the port before the proxy has it: then it is tried again.
fn start(kind: &Kind, gateway: SocketAddr, api: SocketAddr) -> Option<Proxy> {
    let Some(program) = found(kind.program) else {
        skipped(&format!("there is no {} on this machine: it wasn't tested as a proxy that asks", kind.program));
        return None;
    };
    let mut reports = Vec::new();
    for _ in 0..5 {
        match begin(&program, kind, gateway, api) {
            Ok(proxy) => return Some(proxy),
            Err(report) => reports.push(report),
        }
    }
    panic!("{} doesn't start: {}", kind.program, reports.join("\n"));
}

fn begin(program: &Path, kind: &Kind, gateway: SocketAddr, api: SocketAddr) -> Result<Proxy, String> {
    let folder = tempfile::tempdir().unwrap();
    let address = free_address();
    for file in kind.files {
        let mut text = fs::read_to_string(Path::new(SHIPPED).join(file)).unwrap();
        for (shipped, own) in [("8080", address), ("9191", gateway), ("9000", api)] {
            assert!(text.contains(shipped) || file.ends_with("traefik.yaml") || file.ends_with("routes.yaml"));
            text = text.replace(shipped, &own.port().to_string());
        }
        fs::write(folder.path().join(Path::new(file).file_name().unwrap()), text).unwrap();
    }
    let log = fs::File::create(folder.path().join("said")).unwrap();
    let mut command = Command::new(program);
    command.args(kind.arguments).current_dir(folder.path()).stdin(Stdio::null());
    command.stdout(log.try_clone().unwrap()).stderr(log);
    // What it keeps between its runs is its own.
    command.env("HOME", folder.path()).env("XDG_DATA_HOME", folder.path()).env("XDG_CONFIG_HOME", folder.path());
    let mut proxy = Proxy { child: command.spawn().unwrap(), address, folder };
    let began = Instant::now();
    while TcpStream::connect(address).is_err() {
        if proxy.child.try_wait().unwrap().is_some() || began.elapsed() > PATIENCE {
            return Err(proxy.said());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(proxy)
}

fn said(folder: &Path) -> String {
    let files = ["said", "error.log"].iter().filter_map(|file| fs::read_to_string(folder.join(file)).ok());
    files.collect()
}

fn found(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin"), PathBuf::from(INSTALLED)]);
    folders.map(|folder| folder.join(program)).find(|file| file.is_file())
}

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}
