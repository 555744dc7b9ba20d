//! What a proxy is to change in a request that may go on, so that its upstream gets what the gateway's own would.

use hyper::{
    HeaderMap,
    header::{AUTHORIZATION, COOKIE, GetAll, HeaderName, HeaderValue},
    http::request,
};

use crate::{
    decision::Permit,
    exchange::Exchange,
    headers::{self, DPOP},
    refusal::Refusal,
    snapshot::{Route, Snapshot},
    token::{credential::Credential, place::TokenPlace},
};

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The fields that the gateway has a say in, and what they are to be.
#[derive(Debug)]
pub(super) struct GoOn {
    /// All fields that an upstream would get.
    fields: HeaderMap,
    /// Those that the gateway has a say in, each once.
    ours: Vec<HeaderName>,
    has_aliases: bool,
    is_private: bool,
}

impl GoOn {
    /// Gives the permit up for what it says of the caller.
    ///
    /// # Errors
    /// `Refusal::Upstream` where what is to be said of the caller can't be signed.
    pub(super) fn new(
        snapshot: &Snapshot,
        exchange: &Exchange,
        route: &Route,
        permit: Permit,
        head: &request::Parts,
    ) -> Result<GoOn, Refusal> {
        let settings = &route.settings;
        let mut fields = head.headers.clone();
        headers::remove_hop_by_hop(&mut fields);
        snapshot.reserved.strip(&mut fields, true);
        settings.token_from.strip(&mut fields);
        if route.has_own_token() {
            fields.remove(AUTHORIZATION);
            fields.remove(DPOP);
        }
        settings.headers.request.change_request(&mut fields);
        if let (Some(principal), Some(credential)) = (permit.principal(), permit.credential()) {
            settings.identity.write_authorization(credential, None, &mut fields);
            settings.identity.write(principal, &mut fields);
            if let Some(assertor) = &route.assertor {
                assertor.write(principal, &mut fields)?;
            }
        }
        exchange.request_id().write(&mut fields);
        let is_private = permit.credential().is_some_and(Credential::is_from_elsewhere);
        let mut ours = ours(snapshot, route);
        if head.headers.contains_key(DPOP) && !ours.contains(&DPOP) {
            ours.push(DPOP);
        }
        let changes = &settings.headers.request;
        let is_alias = |name: &&HeaderName| changes.concerns(name) && !ours.contains(name);
        let aliases: Vec<HeaderName> = head.headers.keys().filter(is_alias).cloned().collect();
        let has_aliases = !aliases.is_empty();
        ours.extend(aliases);
        Ok(GoOn { fields, ours, has_aliases, is_private })
    }

    /// Each field that the gateway has a say in with its values; none: it is not to go on, whoever has sent it.
    pub(super) fn fields(&self) -> impl Iterator<Item = (&HeaderName, GetAll<'_, HeaderValue>)> {
        self.ours.iter().map(|name| (name, self.fields.get_all(name)))
    }

    /// Whether the gateway has a say in this field.
    pub(super) fn has(&self, name: &HeaderName) -> bool {
        self.ours.contains(name)
    }

    /// Whether a field has another spelling of a name that the route sets or removes: a proxy that copies fields by their names
    /// would send it on.
    pub(super) fn has_aliases(&self) -> bool {
        self.has_aliases
    }

    /// Whether the token was found elsewhere than in `Authorization`, so that caches don't see that the answer is somebody's.
    pub(super) fn is_private(&self) -> bool {
        self.is_private
    }
}

fn ours(snapshot: &Snapshot, route: &Route) -> Vec<HeaderName> {
    let settings = &route.settings;
    let changes = &settings.headers.request;
    let cookie = settings.token_from.iter().any(|place| matches!(place, TokenPlace::Cookie(_))).then_some(&COOKIE);
    let mut ours: Vec<HeaderName> = snapshot.identity_names.clone();
    ours.extend([AUTHORIZATION, X_REQUEST_ID]);
    let others = cookie.into_iter().chain(settings.token_from.header_names());
    for name in others.chain(changes.set.iter().map(|(name, _)| name)).chain(&changes.remove) {
        if !ours.contains(name) {
            ours.push(name.clone());
        }
    }
    ours
}
