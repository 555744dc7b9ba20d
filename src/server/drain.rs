//! The end of serving: told to every worker and connection, and waited for.

use std::convert::Infallible;

use tokio::sync::{mpsc, watch};

/// How far the end has come. Only ever goes forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    Serving,
    /// No new connections; those that there are end with the answer under way.
    Draining,
    /// Everything that is left is cut off.
    Aborted,
}

/// Where a worker or a connection reads the phase.
#[derive(Clone, Debug)]
pub(super) struct Phases(watch::Receiver<Phase>);

/// Says the phase.
#[derive(Debug)]
pub(super) struct PhaseSender(watch::Sender<Phase>);

pub(super) fn phases() -> (PhaseSender, Phases) {
    let (sender, receiver) = watch::channel(Phase::Serving);
    (PhaseSender(sender), Phases(receiver))
}

impl PhaseSender {
    pub(super) fn advance(&self, to: Phase) {
        self.0.send_if_modified(|phase| {
            let forward = to > *phase;
            if forward {
                *phase = to;
            }
            forward
        });
    }
}

impl Phases {
    /// Whether it has come so far.
    pub(super) fn are_at(&self, phase: Phase) -> bool {
        // Nobody has said anything else than at first, mostly.
        !matches!(self.0.has_changed(), Ok(false)) && *self.0.borrow() >= phase
    }

    /// Ends when the phase is reached, or when nobody can say it any more.
    pub(super) async fn reached(&mut self, phase: Phase) {
        let _ = self.0.wait_for(|now| *now >= phase).await;
    }
}

/// Held by everything that must end before a drain is over.
#[derive(Clone, Debug)]
pub struct Alive {
    _sender: mpsc::Sender<Infallible>,
}

/// Waits until the last `Alive` is dropped.
#[derive(Debug)]
pub(super) struct AllGone(mpsc::Receiver<Infallible>);

pub(super) fn alive() -> (Alive, AllGone) {
    let (sender, receiver) = mpsc::channel(1);
    (Alive { _sender: sender }, AllGone(receiver))
}

impl AllGone {
    pub(super) async fn wait(&mut self) {
        let _ = self.0.recv().await;
    }
}
