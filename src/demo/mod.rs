//! `bearward demo`: four systems that give out tokens, an echo API and the gateway before it, in one process on
//! loopback.

mod answers;
mod cern;
mod degreed;
mod digitaleo;
mod docebo;
mod echo;
mod form;
mod issuer;
mod loopback;
mod script;
mod signing;
mod tokens;

use std::{
    fs, io,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

use self::{issuer::Issuer, loopback::Server};
use crate::{app::App, config, server::Address};

/// How long the gateway may take to get the issuers' keys: a matter of milliseconds.
const READY_WITHIN: Duration = Duration::from_secs(10);

/// Runs the demo until it is interrupted. The gateway listens on `port` (0: any that is free), the others on any.
pub fn run(port: u16) -> ExitCode {
    match demonstrate(port) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn demonstrate(port: u16) -> Result<(), String> {
    let issuer_server = Server::bind().map_err(|error| format!("the issuer can't listen: {error}"))?;
    let echo_server = Server::bind().map_err(|error| format!("the echo API can't listen: {error}"))?;
    let issuer = Issuer::new(&issuer_server.url())?;
    let (issuer_url, echo_url) = (issuer_server.url(), echo_server.url());
    let yaml = script::configuration(port, &issuer_url, &echo_url);
    let folder = folder().map_err(|error| format!("no folder for the configuration can be made: {error}"))?;
    let file = folder.join("gateway.yaml");
    let written = issuer.write_files(&folder).and_then(|()| fs::write(&file, yaml));
    written.map_err(|error| format!("the configuration can't be written: {error}"))?;

    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| error.to_string())?;
    let behind = thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                () = issuer_server.serve(move |request| issuer.answer(request)) => Ok(()),
                () = echo_server.serve(echo::answer) => Ok(()),
                interrupted = interruption() => interrupted,
            }
        })
    });

    let loaded = config::load(&file, &|_| None)
        .map_err(|errors| format!("the demo's own configuration is refused: {errors:?}"))?;
    let app = App::start(loaded.policy).map_err(|error| format!("{error} (--port moves the gateway)"))?;
    let gateway = app.addresses().first().and_then(Address::socket).ok_or("the gateway doesn't listen")?;
    let admin = app.admin_address().ok_or("the gateway has no admin listener")?;
    wait_until_ready(admin)?;

    let text = script::introduction(&script::Places { gateway, admin, issuer_url, echo_url, folder: &folder });
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(|error| error.to_string())?;
    drop(out);

    let ended = behind.join().map_err(|_| "the issuer and the echo API stopped")?;
    drop(app);
    ended.map_err(|error| error.to_string())
}

/// Ctrl-C, or SIGTERM.
async fn interruption() -> io::Result<()> {
    let mut terminated = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted,
        _ = terminated.recv() => Ok(()),
    }
}

/// A new folder that is this user's alone. It stays: what is in it is there to be read and changed.
fn folder() -> io::Result<PathBuf> {
    let mut random = [0; 8];
    aws_lc_rs::rand::fill(&mut random).map_err(io::Error::other)?;
    let folder = std::env::temp_dir().join(format!("bearward-demo-{:016x}", u64::from_ne_bytes(random)));
    fs::DirBuilder::new().mode(0o700).create(&folder)?;
    Ok(folder)
}

/// Writes a new file that is this user's alone.
fn private_file(path: &Path, text: &str) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())
}

fn wait_until_ready(admin: SocketAddr) -> Result<(), String> {
    let start = Instant::now();
    while !is_ready(admin).unwrap_or(false) {
        if start.elapsed() > READY_WITHIN {
            return Err("the gateway doesn't become ready".to_owned());
        }
        thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

fn is_ready(admin: SocketAddr) -> io::Result<bool> {
    let mut stream = TcpStream::connect(admin)?;
    stream.set_read_timeout(Some(READY_WITHIN))?;
    write!(stream, "GET /readyz HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n")?;
    let mut status = [0; 12];
    stream.read_exact(&mut status)?;
    Ok(status.ends_with(b" 200"))
}
