//! Another policy that decides beside the one in force (`run --shadow`): what would change is told, and nothing changes.
//!
//! A shadow has no `Permit` to give, no limits to count by, and no upstream that it could reach. What it has in common
//! with the policy in force (issuers, keys, verified tokens) it reads; what it asks over the network beyond that is bounded apart.

mod bystander;
mod differences;

use std::{
    net::IpAddr,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker},
    time::SystemTime,
};

use arc_swap::ArcSwapOption;
use hyper::{HeaderMap, Method, Uri};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::{
    config::{Diagnostic, Severity},
    decision::Decided,
    headers::RequestId,
    observe::{Observer, ShadowCompared, ShadowDiffers, ShadowMetrics, ShadowSays, path_without_tokens, rfc_3339},
    path::CanonicalPath,
    request::{self as requests, RequestView},
    snapshot::Snapshot,
    token::proof::Thumbprint,
    trace::Span,
};

pub use bystander::Bystander;
use differences::Differences;

/// Decisions that wait for an answer of the network at the same time; each holds a copy of its request's head.
const MOST_WAITING: usize = 64;
/// What a shadow does is no part of a request's trace.
static UNRECORDED: Span = Span::none();

/// A policy that decides beside the one in force. One for the process.
#[derive(Debug)]
pub struct Shadow {
    file: Box<str>,
    put_to_work: ArcSwapOption<PutToWork>,
    /// What is wrong with what was read last; the one before goes on. Empty: nothing.
    wrong: Mutex<Vec<String>>,
    waiting: Arc<Semaphore>,
    metrics: ShadowMetrics,
}

/// The policy that a shadow goes by, and what has come of it. Another policy on either side begins anew.
#[derive(Debug)]
struct PutToWork {
    bystander: Bystander,
    hash: Arc<str>,
    loaded_at: SystemTime,
    token_parameters: Arc<[Box<str>]>,
    compared: AtomicU64,
    skipped: AtomicU64,
    differences: Differences,
}

/// A request as it came, for a decision that may outlive it. Holds its credential, and doesn't print.
pub struct Copied {
    /// Index into the listeners in force.
    pub listener: usize,
    /// The method, as sent.
    pub method: Method,
    /// The target, as sent.
    pub uri: Uri,
    /// Lower-case, without port and final dot.
    pub host: Option<String>,
    /// `http` or `https`, as far as trusted proxies tell.
    pub scheme: &'static str,
    /// The path in its canonical form.
    pub path: Arc<CanonicalPath>,
    /// The fields of the head, as sent.
    pub headers: HeaderMap,
    /// Who asks, as far as trusted proxies tell.
    pub client_ip: IpAddr,
    /// Whether the peer's forwarding headers are believed.
    pub trusted_peer: bool,
    /// The certificate of its connection, as the client has proved.
    pub certificate: Option<Thumbprint>,
    /// For the log.
    pub request_id: RequestId,
    /// What it was decided by.
    pub snapshot: Arc<Snapshot>,
    /// What was decided.
    pub decided: Decided,
}

impl Shadow {
    /// One of this file, which says nothing until it goes by something.
    pub fn new(file: &str, observer: &Observer) -> Arc<Shadow> {
        Arc::new(Shadow {
            file: file.into(),
            put_to_work: ArcSwapOption::empty(),
            wrong: Mutex::default(),
            waiting: Arc::new(Semaphore::new(MOST_WAITING)),
            metrics: observer.shadow(),
        })
    }

    /// From now on requests are put to this policy; those that are under way end with the one before.
    pub fn go_by(&self, bystander: Bystander, hash: Arc<str>) {
        self.put_to_work.store(Some(Arc::new(PutToWork {
            token_parameters: bystander.token_parameters().into(),
            bystander,
            hash,
            loaded_at: SystemTime::now(),
            compared: AtomicU64::new(0),
            skipped: AtomicU64::new(0),
            differences: Differences::default(),
        })));
    }

    /// The query fields that it takes tokens from, and whatever is in force may not: the log leaves their values out, too.
    pub fn token_parameters(&self) -> Option<Arc<[Box<str>]>> {
        self.put_to_work.load().as_ref().map(|work| work.token_parameters.clone())
    }

    /// What is wrong with what was read last: nothing, if it is empty.
    pub fn found_wrong(&self, wrong: &[Diagnostic]) {
        let errors = wrong.iter().filter(|problem| problem.severity == Severity::Error);
        *self.wrong.lock().unwrap_or_else(PoisonError::into_inner) = errors.map(Diagnostic::in_a_line).collect();
    }

    /// Puts a request that is decided to the shadow. What can be said at once is said now, without waiting for anything;
    /// what has to be asked over the network goes on beside the request, or not at all where that much goes on already.
    ///
    /// What the shadow says, where it is said now and otherwise than what was decided. A request that was refused by a limit isn't
    /// compared: shadows have none.
    pub fn compare(&self, request: Copied) -> Option<Arc<ShadowSays>> {
        if request.decided.reason == "rate_limit" {
            return None;
        }
        let work = self.put_to_work.load_full()?;
        let mut deciding = Box::pin(async move {
            let says = work.bystander.decide(&request).await;
            (work, request, says)
        });
        match deciding.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready((work, request, says)) => work.note(&request, says),
            Poll::Pending => {
                self.wait(deciding);
                None
            }
        }
    }

    fn wait(&self, deciding: Pin<Box<impl Future<Output = (Arc<PutToWork>, Copied, ShadowSays)> + Send + 'static>>) {
        let Ok(place) = self.waiting.clone().try_acquire_owned() else {
            self.metrics.skipped();
            if let Some(work) = &*self.put_to_work.load() {
                work.skipped.fetch_add(1, Ordering::Relaxed);
            }
            return;
        };
        tokio::spawn(async move {
            let (work, request, says) = deciding.await;
            work.note(&request, says);
            drop(place);
        });
    }

    /// What it has come to, for `/status`.
    pub fn to_json(&self) -> Value {
        let work = self.put_to_work.load_full();
        let work = work.as_deref();
        let count = |count: Option<&AtomicU64>| count.map_or(0, |count| count.load(Ordering::Relaxed));
        let wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (different, unlisted, differences) = work.map(|work| work.differences.to_json()).unwrap_or_default();
        json!({
            "file": self.file,
            "hash": work.map(|work| &*work.hash),
            "loaded_at": work.map(|work| rfc_3339(work.loaded_at)),
            "last_reload": if wrong.is_empty() { "ok" } else { "error" },
            "errors": wrong,
            "compared": count(work.map(|work| &work.compared)),
            "different": different,
            "skipped": count(work.map(|work| &work.skipped)),
            "unlisted": unlisted,
            "differences": differences,
        })
    }
}

impl PutToWork {
    /// Counts what the shadow says, and tells where it says otherwise.
    fn note(&self, request: &Copied, shadow: ShadowSays) -> Option<Arc<ShadowSays>> {
        let in_force = says(&request.snapshot, request.decided);
        let route = request.decided.route.and_then(|route| request.snapshot.routes.get(route));
        ShadowCompared { allowed: in_force.allowed, shadow_allowed: shadow.allowed }
            .record(route.map_or(&request.snapshot.no_route, |route| &route.metrics));
        self.compared.fetch_add(1, Ordering::Relaxed);
        if !differ(&in_force, &shadow) {
            return None;
        }
        let shadow = Arc::new(shadow);
        let (method, path) = (request.method.as_str(), &*path_without_tokens(request.path.as_str()));
        if let Some(count) = self.differences.add(&in_force, &shadow, method, path) {
            let request_id = request.request_id.as_str();
            ShadowDiffers { request_id, method, path, in_force: &in_force, shadow: &shadow, count }.record();
        }
        Some(shadow)
    }
}

/// Whether a client, or whoever reads the log, would see another decision: yes or no, the route, and why not.
fn differ(one: &ShadowSays, other: &ShadowSays) -> bool {
    one.allowed != other.allowed || one.route != other.route || !one.allowed && one.reason != other.reason
}

/// A decision in the names of the configuration that it was made by.
fn says(snapshot: &Snapshot, Decided { route, allowed, reason }: Decided) -> ShadowSays {
    let route = route.and_then(|route| snapshot.routes.get(route)).map(|route| route.settings.name.clone());
    ShadowSays { route: route.unwrap_or_default(), allowed, reason }
}

impl Copied {
    /// As a decision sees it, at this listener.
    fn view(&self, listener: usize) -> RequestView<'_> {
        RequestView {
            listener,
            method: &self.method,
            host: self.host.as_deref(),
            authority: requests::authority_of(&self.uri, &self.headers),
            scheme: self.scheme,
            path: &self.path,
            query: self.uri.query(),
            headers: &self.headers,
            client_ip: self.client_ip,
            trusted_peer: self.trusted_peer,
            certificate: self.certificate,
            span: &UNRECORDED,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests;
