//! `bearward run`

use std::{io, path::Path, process::ExitCode, thread};

use tokio::{
    runtime::Runtime,
    signal::unix::{Signal, SignalKind, signal},
};

use super::{UNUSABLE_CONFIGURATION, complain, complain_of, environment};
use crate::{
    app::{App, Drainer, StartError},
    config::{self, Loaded},
    descriptors,
    observe::Observer,
};

/// Serves until it is told to end.
pub(super) fn run(path: &Path) -> ExitCode {
    let loaded = match config::load(path, &environment).and_then(Loaded::in_force) {
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
    for warning in &loaded.warnings {
        tracing::warn!(file = %warning.file, line = warning.line, key = %warning.path, "{}", warning.message);
    }
    let app = Signals::listen().map_err(StartError::Thread).and_then(|signals| {
        let app = App::start_observed(&loaded.policy, observer.clone())?;
        signals.drain(app.drainer());
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

/// SIGTERM and SIGINT, caught from the moment that this is made.
struct Signals {
    runtime: Runtime,
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> io::Result<Signals> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let entered = runtime.enter();
        let (terminate, interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        drop(entered);
        Ok(Signals { runtime, terminate, interrupt })
    }

    /// The first signal drains; the second one ends the process as it stands.
    fn drain(mut self, drainer: Drainer) {
        thread::spawn(move || {
            self.runtime.block_on(async {
                // Not in the event, which isn't evaluated where its level is off.
                let signal = next(&mut self.terminate, &mut self.interrupt).await;
                tracing::info!(signal, "draining");
                drainer.drain();
                next(&mut self.terminate, &mut self.interrupt).await;
                std::process::exit(130);
            });
        });
    }
}

async fn next(terminate: &mut Signal, interrupt: &mut Signal) -> &'static str {
    tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    }
}
