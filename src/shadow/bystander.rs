//! A snapshot that stands beside the one in force: it says what it would decide, and can do nothing else.

use std::sync::Arc;

use super::{Copied, says};
use crate::{
    config::Policy,
    decision::{self, Decided},
    gateway,
    limit::Counted,
    observe::ShadowSays,
    server::ListenSettings,
    snapshot::{LongLived, Snapshot},
    token::jwks::KeyStore,
};

/// What is decided by it opens nothing: the permit ends in here. It has no limits, shares nothing with replicas, and
/// nobody maintains its upstreams.
#[derive(Debug)]
pub struct Bystander {
    snapshot: Snapshot,
    /// Its own listener for each of those in force.
    listeners: Vec<usize>,
}

impl Bystander {
    /// Puts a policy to work beside a snapshot, and the policy of that one. `long_lived` is of those that stand beside. The
    /// key stores that are new need their `KeyStore::maintain` spawned.
    ///
    /// # Errors
    /// As `Snapshot::assemble`.
    pub fn assemble(
        policy: &Policy,
        (in_force, snapshot): (&Policy, &Snapshot),
        long_lived: &LongLived,
    ) -> Result<(Bystander, Vec<Arc<KeyStore>>), String> {
        let mut policy = policy.clone();
        (policy.admin, policy.admin_token, policy.redis, policy.state_dir) = (None, None, None, None);
        policy.server = in_force.server.clone();
        for route in &mut policy.routes {
            route.rate_limits.clear();
        }
        let (own, stores) = snapshot.assemble_beside(&policy, long_lived)?;
        let places = in_force.listen.iter().map(|listen| place(listen, &policy.listen));
        let listeners = places.map(|place| place.unwrap_or(own.main_listener)).collect();
        Ok((Bystander { snapshot: own, listeners }, stores))
    }

    /// The query fields that are tokens on some route of its own.
    pub(super) fn token_parameters(&self) -> &[Box<str>] {
        &self.snapshot.token_parameters
    }

    /// What it says of a request that another policy has decided.
    pub(super) async fn decide(&self, request: &Copied) -> ShadowSays {
        let listener = self.listeners.get(request.listener).copied().unwrap_or(self.snapshot.main_listener);
        let view = request.view(listener);
        if let Some(document) = self.snapshot.well_known.find(listener, view.host, view.path.as_str()) {
            return says(&self.snapshot, Decided::document(&document.answer(view.method)));
        }
        if let Some(place) = self.snapshot.notices.find(listener, view.path.as_str()) {
            return says(&self.snapshot, Decided::document(&place.takes(view.method)));
        }
        let asked = (view.method, view.headers);
        let decided = match gateway::preflight_route(&self.snapshot, listener, view.host, view.path, asked) {
            Some(route) => Decided::preflight(route),
            // It has no limits: there is nothing to count by.
            None => Decided::of(&decision::decide(&self.snapshot, &view, &mut Counted::default()).await),
        };
        says(&self.snapshot, decided)
    }
}

/// The one of the same name, else of the same address.
fn place(listen: &ListenSettings, own: &[ListenSettings]) -> Option<usize> {
    let by_name = own.iter().position(|other| other.name == listen.name);
    by_name.or_else(|| own.iter().position(|other| other.address == listen.address))
}
