//! `bearward run`

use std::{io, path::Path, process::ExitCode, thread};

use tokio::{
    runtime::Runtime,
    signal::unix::{Signal, SignalKind, signal},
};

use super::{UNUSABLE_CONFIGURATION, complain, complain_of, environment};
use crate::{
    app::{App, Drainer, StartError},
    config::{Attempt, Loaded, Origin},
    descriptors,
    observe::Observer,
    reload::{self, ReloadHandle},
};

/// Serves until it is told to end.
pub(super) fn run(path: &Path) -> ExitCode {
    let origin = Origin { path: path.to_owned(), environment };
    let Attempt { files, outcome } = origin.read();
    let loaded = match outcome.and_then(Loaded::in_force) {
        Ok(loaded) => loaded,
        Err(diagnostics) => {
            complain_of(&diagnostics);
            return ExitCode::from(UNUSABLE_CONFIGURATION);
        }
    };
    let observer = match Observer::new(&loaded.policy.logging) {
        Ok(observer) => observer,
        Err(why) => {
            complain(format_args!("error: logging: {why}"));
            return ExitCode::from(UNUSABLE_CONFIGURATION);
        }
    };
    if let Err(why) = observer.install_log() {
        complain(format_args!("error: logging: {why}"));
        return ExitCode::FAILURE;
    }
    observer.config_in_force(&loaded.hash);
    descriptors::raise_limit();
    reload::log_warnings(&loaded.warnings);
    let app = Signals::listen().map_err(StartError::Thread).and_then(|signals| {
        let app = App::start_from(origin, &loaded, files, observer.clone())?;
        signals.obey(app.drainer(), app.reloads());
        Ok(app)
    });
    let app = match app {
        Ok(app) => app,
        Err(why) => {
            observer.flush();
            complain(format_args!("error: {why}"));
            return ExitCode::FAILURE;
        }
    };
    if !app.wait() {
        tracing::warn!("drain_timeout is over: requests that were still running were cut off");
    }
    tracing::info!("stopped");
    observer.flush();
    ExitCode::SUCCESS
}

/// SIGTERM, SIGINT and SIGHUP, caught from the moment that this is made.
struct Signals {
    runtime: Runtime,
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn listen() -> io::Result<Signals> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let entered = runtime.enter();
        let (terminate, interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let hangup = signal(SignalKind::hangup())?;
        drop(entered);
        Ok(Signals { runtime, terminate, interrupt, hangup })
    }

    /// SIGHUP reads the configuration again. The first other signal drains; the second one ends the process as it stands.
    fn obey(self, drainer: Drainer, reloads: Option<ReloadHandle>) {
        let Signals { runtime, mut terminate, mut interrupt, hangup } = self;
        thread::spawn(move || {
            runtime.block_on(async {
                tokio::spawn(reload_at(hangup, reloads));
                // Not in the event, which isn't evaluated where its level is off.
                let signal = next(&mut terminate, &mut interrupt).await;
                tracing::info!(signal, "draining");
                drainer.drain();
                next(&mut terminate, &mut interrupt).await;
                std::process::exit(130);
            });
        });
    }
}

async fn reload_at(mut hangup: Signal, reloads: Option<ReloadHandle>) {
    while hangup.recv().await.is_some() {
        tracing::info!(signal = "SIGHUP", "reading the configuration again");
        if let Some(reloads) = &reloads {
            // What comes of it is logged.
            drop(reloads.reload().await);
        }
    }
}

async fn next(terminate: &mut Signal, interrupt: &mut Signal) -> &'static str {
    tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    }
}
