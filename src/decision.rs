//! The one place that says yes.

use std::{borrow::Cow, sync::Arc};

use hyper::{HeaderMap, Method};

use crate::{
    headers,
    policy::{Access, Facts},
    refusal::{Refusal, RuleFault},
    request::RequestView,
    route::{Found, Params},
    snapshot::{Route, Snapshot},
    token::{
        self,
        credential::{Credential, Fingerprint},
        principal::Principal,
    },
};

/// A yes. Made here alone; whoever sends a request upstream gives one up for it.
#[derive(Debug)]
pub struct Permit {
    route: usize,
    principal: Option<Arc<Principal>>,
    credential: Option<Credential>,
}

/// A no, with what had been found out by then: for the log, not for the client.
#[derive(Debug)]
pub struct Denial {
    /// Why.
    pub refusal: Refusal,
    /// Index of the route that matched.
    pub route: Option<usize>,
    /// The issuer that the token was put to.
    pub issuer: Option<Arc<str>>,
    /// Who it is, where the token was good and not enough.
    pub principal: Option<Arc<Principal>>,
    /// The token, where one was presented in good form.
    pub token: Option<Fingerprint>,
}

impl Permit {
    /// Index of the route.
    pub fn route(&self) -> usize {
        self.route
    }

    /// Who was let in; None on public routes.
    pub fn principal(&self) -> Option<&Arc<Principal>> {
        self.principal.as_ref()
    }

    /// The token, to be sent on; None on public routes.
    pub fn credential(&self) -> Option<&Credential> {
        self.credential.as_ref()
    }

    #[cfg(test)]
    pub(crate) fn for_test() -> Permit {
        Permit { route: 0, principal: None, credential: None }
    }
}

impl From<Refusal> for Denial {
    fn from(refusal: Refusal) -> Denial {
        Denial { refusal, route: None, issuer: None, principal: None, token: None }
    }
}

/// Decides a request: route and method, credential, token, rules, and all of that again for every other way to read
/// its path.
///
/// # Errors
/// The first thing that speaks against it. Whatever can't be decided is refused.
pub async fn decide(snapshot: &Snapshot, view: &RequestView<'_>) -> Result<Permit, Denial> {
    let place = as_written(snapshot, view)?;
    let index = place.route;
    let Some(route) = snapshot.routes.get(index) else { return Err(Refusal::NoRoute.into()) };
    let at_route = |refusal| Denial { route: Some(index), ..Denial::from(refusal) };

    let permit = match &route.settings.allow {
        Access::Public => Permit { route: index, principal: None, credential: None },
        Access::Authenticated | Access::Rules(_) => {
            let (credential, principal) = authenticate(snapshot, route, view).await.map_err(|mut denial| {
                denial.route = Some(index);
                denial
            })?;
            let rules = Rules { route, view, headers: headers_for_rules(snapshot, route, view), now: token::now() };
            let judged = rules.admit(&place, &principal).map_err(Refusal::Rule);
            let judged = judged.and_then(|()| same_in_every_reading(snapshot, view, index, Some((&rules, &principal))));
            if let Err(fault) = judged {
                return Err(Denial {
                    issuer: Some(principal.issuer().clone()),
                    token: Some(principal.fingerprint()),
                    principal: Some(principal),
                    ..at_route(fault)
                });
            }
            return Ok(Permit { route: index, principal: Some(principal), credential: Some(credential) });
        }
    };
    same_in_every_reading(snapshot, view, index, None).map_err(at_route)?;
    Ok(permit)
}

/// Where one reading of a path leads.
struct Place<'p> {
    path: &'p str,
    route: usize,
    /// Which of the route's paths it was.
    template: usize,
    params: Params,
}

/// The route for the path as it was written.
fn as_written<'v>(snapshot: &Snapshot, view: &RequestView<'v>) -> Result<Place<'v>, Denial> {
    let refused = |route, allow| Denial { route, ..Denial::from(Refusal::Method { allow }) };
    let path = view.path.as_str();
    match snapshot.table.find(view.host, path, view.method) {
        Found::Route { index, .. } if never_taken(view.method) => {
            let allow = snapshot.routes.get(index).map_or("", |route| &route.allow_header);
            Err(refused(Some(index), allow.into()))
        }
        Found::Route { index, template, params } => Ok(Place { path, route: index, template, params }),
        Found::OtherMethods { index, allow } => Err(refused(Some(index), allow)),
        Found::Nothing if leads_somewhere_else(snapshot, view) => {
            Err(Refusal::Path("the path can be read in more than one way").into())
        }
        Found::Nothing => Err(Refusal::NoRoute.into()),
    }
}

fn never_taken(method: &Method) -> bool {
    *method == Method::TRACE || *method == Method::CONNECT
}

fn leads_somewhere_else(snapshot: &Snapshot, view: &RequestView<'_>) -> bool {
    view.path
        .readings()
        .iter()
        .flatten()
        .any(|reading| snapshot.table.find(view.host, reading, view.method) != Found::Nothing)
}

async fn authenticate(
    snapshot: &Snapshot,
    route: &Route,
    view: &RequestView<'_>,
) -> Result<(Credential, Arc<Principal>), Denial> {
    let credential = Credential::from_headers(view.headers, snapshot.max_token_bytes)?;
    match token::verify(&credential, &route.issuers).await {
        Ok(principal) => Ok((credential, principal)),
        Err((refusal, issuer)) => {
            let token = Some(credential.fingerprint());
            Err(Denial { issuer, token, ..Denial::from(refusal) })
        }
    }
}

/// A route's rules, and what they may know of the request.
struct Rules<'d> {
    route: &'d Route,
    view: &'d RequestView<'d>,
    headers: Cow<'d, HeaderMap>,
    /// Unix seconds.
    now: i64,
}

impl Rules<'_> {
    fn admit(&self, place: &Place<'_>, principal: &Principal) -> Result<(), RuleFault> {
        self.route.settings.allow.judge(&Facts {
            principal,
            method: self.view.method,
            host: self.view.host,
            path: place.path,
            template: place.template,
            params: &place.params,
            query: self.view.query,
            headers: &self.headers,
            now: self.now,
        })
    }
}

/// Rules see what the upstream will see: not what clients may not send, and not what `Connection` takes away.
fn headers_for_rules<'v>(snapshot: &Snapshot, route: &Route, view: &RequestView<'v>) -> Cow<'v, HeaderMap> {
    if !route.reads_headers {
        return Cow::Borrowed(view.headers);
    }
    let mut fields = view.headers.clone();
    headers::remove_hop_by_hop(&mut fields);
    snapshot.reserved.strip(&mut fields, view.trusted_peer);
    Cow::Owned(fields)
}

/// Other servers may read the path otherwise: each reading must lead to the same route and be let in there.
fn same_in_every_reading(
    snapshot: &Snapshot,
    view: &RequestView<'_>,
    route: usize,
    rules: Option<(&Rules<'_>, &Principal)>,
) -> Result<(), Refusal> {
    for reading in view.path.readings() {
        let Ok(path) = reading else {
            return Err(Refusal::Path("the path can be read in a way that is not allowed"));
        };
        let place = match snapshot.table.find(view.host, path, view.method) {
            Found::Route { index, template, params } if index == route => Place { path, route, template, params },
            _ => return Err(Refusal::Path("the path can be read in more than one way")),
        };
        if rules.is_some_and(|(rules, principal)| rules.admit(&place, principal).is_err()) {
            return Err(Refusal::Path("the path can be read in a way that is not allowed"));
        }
    }
    Ok(())
}
