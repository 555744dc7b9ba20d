//! `bearward demo`: an issuer, an echo API and the gateway before it, in one process on loopback.

mod echo;
mod issuer;
mod loopback;
mod opaque;
mod script;

use std::{
    fs, io,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::PathBuf,
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

use self::{issuer::Issuer, loopback::Server};
use crate::{app::App, config, server::Address};

/// How long the gateway may take to get the issuer's keys: a matter of milliseconds.
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
    let issuer = Issuer::new(issuer_server.url())?;
    let places = script::Places { gateway_port: port, issuer: issuer_server.url(), echo: echo_server.url() };

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

    let yaml = script::configuration(&places);
    let file = write(&yaml).map_err(|error| format!("the configuration can't be written: {error}"))?;
    let loaded = config::load_str(&yaml, &file.display().to_string())
        .map_err(|errors| format!("the demo's own configuration is refused: {errors:?}"))?;
    let app = App::start(loaded.policy).map_err(|error| format!("{error} (--port moves the gateway)"))?;
    let gateway = app.addresses().first().and_then(Address::socket).ok_or("the gateway doesn't listen")?;
    let admin = app.admin_address().ok_or("the gateway has no admin listener")?;
    wait_until_ready(admin)?;

    let text = script::introduction(&places, gateway, admin, &file);
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

/// Writes the configuration into a new directory that is this user's alone. It stays: it is there to be read and changed.
fn write(yaml: &str) -> io::Result<PathBuf> {
    use std::os::unix::fs::DirBuilderExt;
    let mut random = [0; 8];
    aws_lc_rs::rand::fill(&mut random).map_err(io::Error::other)?;
    let directory = std::env::temp_dir().join(format!("bearward-demo-{:016x}", u64::from_ne_bytes(random)));
    fs::DirBuilder::new().mode(0o700).create(&directory)?;
    let file = directory.join("gateway.yaml");
    fs::write(&file, yaml)?;
    Ok(file)
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
