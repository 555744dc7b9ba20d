//! `bearward run`

use std::{io, path::Path, pin::pin, process::ExitCode, sync::Arc, thread};

use tokio::{
    runtime::Runtime,
    signal::unix::{Signal, SignalKind, signal},
    sync::oneshot,
};

use super::{UNUSABLE_CONFIGURATION, complain, complain_of, environment};
use crate::{
    app::{App, Drainer, StartError},
    config::{Attempt, Diagnostic, FileRead, Loaded, Origin},
    descriptors, memory,
    observe::Observer,
    reload::{self, ReloadHandle},
    server::Inherited,
    systemd::Notifier,
};

/// Serves until it is told to end. `shadow`: a configuration that decides beside.
pub(super) fn run(path: &Path, shadow: Option<&Path>) -> ExitCode {
    // While this is the only thread: it changes the environment.
    let inherited = match Inherited::from_environment() {
        Ok(inherited) => inherited,
        Err(why) => {
            complain(format_args!("error: {why}"));
            return ExitCode::FAILURE;
        }
    };
    let ((origin, loaded, files), shadow) = match (read(path), shadow.map(read).transpose()) {
        (Ok(own), Ok(shadow)) => (own, shadow),
        (own, shadow) => {
            let wrong = own.err().into_iter().chain(shadow.err()).flatten();
            complain_of(&wrong.collect::<Vec<_>>());
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
    tracing::info!(
        workers = loaded.policy.server.workers,
        token_cache_bytes = loaded.policy.token_cache_bytes,
        memory_limit_bytes = memory::limit(),
        "sized"
    );
    let app = Signals::listen().map_err(StartError::Thread).and_then(|signals| {
        let notifier = Notifier::from_environment().map_err(StartError::Notify)?;
        let mut app = App::start_from(origin, &loaded, files, shadow, observer.clone(), inherited)?;
        signals.obey(Told { drainer: app.drainer(), reloads: app.reloads(), ready: app.when_ready(), notifier });
        Ok(app)
    });
    let app = match app {
        Ok(app) => app,
        Err(why) => {
            observer.flush();
            complain(format_args!("error: {why}"));
            return match why {
                StartError::Shadow { .. } => ExitCode::from(UNUSABLE_CONFIGURATION),
                _ => ExitCode::FAILURE,
            };
        }
    };
    if !app.wait() {
        tracing::warn!("drain_timeout is over: requests that were still running were cut off");
    }
    tracing::info!("stopped");
    observer.flush();
    ExitCode::SUCCESS
}

/// A configuration that can be served by, where it is from, and all files that it was read from.
///
/// # Errors
/// All that is wrong with it.
fn read(path: &Path) -> Result<(Origin, Loaded, Vec<FileRead>), Vec<Diagnostic>> {
    let origin = Origin { path: path.to_owned(), environment };
    let Attempt { files, outcome } = origin.read();
    Ok((origin, outcome?, files))
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
    fn obey(self, told: Told) {
        let Signals { runtime, mut terminate, mut interrupt, hangup } = self;
        let Told { drainer, reloads, ready, notifier } = told;
        let notifier = Arc::new(notifier);
        thread::spawn(move || {
            runtime.block_on(async {
                let serving = tokio::spawn(serve(hangup, reloads, ready, notifier.clone()));
                // Not in the event, which isn't evaluated where its level is off.
                let signal = next(&mut terminate, &mut interrupt).await;
                serving.abort();
                notifier.stopping();
                tracing::info!(signal, "draining");
                drainer.drain();
                next(&mut terminate, &mut interrupt).await;
                std::process::exit(130);
            });
        });
    }
}

/// Who is told of signals, and of what comes of them.
struct Told {
    drainer: Drainer,
    reloads: Option<ReloadHandle>,
    ready: Option<oneshot::Receiver<()>>,
    notifier: Notifier,
}

/// Until it is told to end.
async fn serve(
    mut hangup: Signal,
    reloads: Option<ReloadHandle>,
    ready: Option<oneshot::Receiver<()>>,
    notifier: Arc<Notifier>,
) {
    let ready = async {
        let is_ready = match ready {
            Some(ready) => ready.await.is_ok(),
            None => false,
        };
        // If not, it ends before it was.
        if !is_ready {
            std::future::pending::<()>().await;
        }
    };
    let mut ready = pin!(ready);
    let mut is_ready = false;
    loop {
        tokio::select! {
            () = ready.as_mut(), if !is_ready => {
                is_ready = true;
                notifier.ready();
            }
            came = hangup.recv() => {
                if came.is_none() {
                    return;
                }
                reload(reloads.as_ref(), &notifier).await;
            }
        }
    }
}

async fn reload(reloads: Option<&ReloadHandle>, notifier: &Notifier) {
    notifier.reloading();
    tracing::info!(signal = "SIGHUP", "reading the configuration again");
    let outcome = match reloads {
        Some(reloads) => reloads.reload().await,
        None => None,
    };
    // What is wrong is logged.
    notifier.reloaded(outcome.is_some_and(|outcome| outcome.result.is_ok()));
}

async fn next(terminate: &mut Signal, interrupt: &mut Signal) -> &'static str {
    tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    }
}
