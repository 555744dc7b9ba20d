//! The documents that may be long: rendered off the control runtime, few at a time, so that no probe waits for them.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use bytes::Bytes;
use hyper::{Response, StatusCode};
use tokio::sync::Semaphore;

use super::{AdminState, connections::Place, metrics, page, routes, status};
use crate::{body::Body, respond::problem, snapshot::Snapshot};

/// Documents that are rendered at the same time.
const MOST_AT_A_TIME: usize = 2;

/// What is rendered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Document {
    Metrics,
    Status,
    Routes,
}

/// Whoever renders. One for the listener.
pub(super) struct Rendering {
    state: Arc<AdminState>,
    turns: Arc<Semaphore>,
    /// Nothing of it changes without another configuration.
    routes: Mutex<Option<Routes>>,
}

/// `/routes`, and what it was made of.
struct Routes {
    snapshot: Weak<Snapshot>,
    hash: Arc<str>,
    text: Bytes,
}

impl Rendering {
    pub(super) fn new(state: Arc<AdminState>) -> Arc<Rendering> {
        Arc::new(Rendering { state, turns: Arc::new(Semaphore::new(MOST_AT_A_TIME)), routes: Mutex::default() })
    }

    pub(super) fn state(&self) -> &AdminState {
        &self.state
    }

    /// A document for this connection.
    pub(super) async fn answer(self: &Arc<Self>, document: Document, place: &Arc<Place>) -> Response<Body> {
        if document == Document::Routes
            && let Some(text) = self.known_routes()
        {
            return page(StatusCode::OK, "application/json", text);
        }
        let Ok(turn) = self.turns.clone().acquire_owned().await else { return failed() };
        let own = self.clone();
        let rendered = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            own.render(document)
        });
        let Ok(response) = rendered.await else { return failed() };
        match document {
            // One for all.
            Document::Routes => response,
            Document::Metrics | Document::Status => response.map(|body| Body::full(place.holding(body.at_hand()))),
        }
    }

    fn render(&self, document: Document) -> Response<Body> {
        match document {
            Document::Metrics => metrics(&self.state),
            Document::Status => status::page(&self.state),
            Document::Routes => page(StatusCode::OK, "application/json", self.routes()),
        }
    }

    /// Another may have rendered it meanwhile.
    fn routes(&self) -> Bytes {
        if let Some(text) = self.known_routes() {
            return text;
        }
        // Before it is rendered: what takes over meanwhile is rendered anew.
        let (snapshot, hash) = self.in_force();
        let text = routes::page(&self.state).into_body().at_hand();
        let rendered = Routes { snapshot: Arc::downgrade(&snapshot), hash, text: text.clone() };
        *self.routes.lock().unwrap_or_else(PoisonError::into_inner) = Some(rendered);
        text
    }

    fn known_routes(&self) -> Option<Bytes> {
        let (snapshot, hash) = self.in_force();
        let known = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
        let known = known.as_ref()?;
        (known.hash == hash && known.snapshot.ptr_eq(&Arc::downgrade(&snapshot))).then(|| known.text.clone())
    }

    fn in_force(&self) -> (Arc<Snapshot>, Arc<str>) {
        (self.state.gateway.snapshot(), self.state.health.in_force().hash)
    }
}

fn failed() -> Response<Body> {
    problem(StatusCode::INTERNAL_SERVER_ERROR, "the document could not be rendered", None, false)
}
