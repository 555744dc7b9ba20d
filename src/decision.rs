//! The one place that says yes.

use std::sync::Arc;

use hyper::Method;

use crate::{
    policy::Access,
    refusal::Refusal,
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
    let (index, _) = as_written(snapshot, view)?;
    let Some(route) = snapshot.routes.get(index) else { return Err(Refusal::NoRoute.into()) };
    let at_route = |refusal| Denial { route: Some(index), ..Denial::from(refusal) };

    let permit = match &route.settings.allow {
        Access::Public => Permit { route: index, principal: None, credential: None },
        Access::Authenticated | Access::Rules(_) => {
            let (credential, principal) = authenticate(snapshot, route, view).await.map_err(|mut denial| {
                denial.route = Some(index);
                denial
            })?;
            if let Err(fault) = admit(route, view, &principal) {
                return Err(Denial {
                    issuer: Some(principal.issuer().clone()),
                    token: Some(principal.fingerprint()),
                    principal: Some(principal),
                    ..at_route(fault)
                });
            }
            Permit { route: index, principal: Some(principal), credential: Some(credential) }
        }
    };
    same_in_every_reading(snapshot, view, &permit).map_err(at_route)?;
    Ok(permit)
}

/// The route for the path as it was written.
fn as_written(snapshot: &Snapshot, view: &RequestView<'_>) -> Result<(usize, Params), Denial> {
    let refused = |route, allow| Denial { route, ..Denial::from(Refusal::Method { allow }) };
    match snapshot.table.find(view.host, view.path.as_str(), view.method) {
        Found::Route { index, .. } if never_taken(view.method) => {
            let allow = snapshot.routes.get(index).map_or("", |route| &route.allow_header);
            Err(refused(Some(index), allow.into()))
        }
        Found::Route { index, params } => Ok((index, params)),
        Found::Nothing if never_taken(view.method) => Err(refused(None, "".into())),
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
    match token::verify(&credential, &route.issuers, &snapshot.tokens).await {
        Ok(principal) => Ok((credential, principal)),
        Err((refusal, issuer)) => {
            let token = Some(credential.fingerprint());
            Err(Denial { issuer, token, ..Denial::from(refusal) })
        }
    }
}

fn admit(route: &Route, view: &RequestView<'_>, principal: &Principal) -> Result<(), Refusal> {
    route.settings.allow.judge(view.method, principal).map_err(Refusal::Rule)
}

/// Other servers may read the path otherwise: each reading must lead to the same route and be let in there.
fn same_in_every_reading(snapshot: &Snapshot, view: &RequestView<'_>, permit: &Permit) -> Result<(), Refusal> {
    for reading in view.path.readings() {
        let Ok(path) = reading else {
            return Err(Refusal::Path("the path can be read in a way that is not allowed"));
        };
        match snapshot.table.find(view.host, path, view.method) {
            Found::Route { index, .. } if index == permit.route => {}
            _ => return Err(Refusal::Path("the path can be read in more than one way")),
        }
    }
    Ok(())
}
