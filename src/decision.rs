//! The one place that says yes.

pub mod rehearsal;

use std::{borrow::Cow, sync::Arc};

use hyper::{HeaderMap, Method};

use crate::{
    cors, headers,
    limit::Counted,
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
    caller: Option<Caller>,
    overruled: Option<Box<Denial>>,
}

/// A token that was verified, and who it speaks for.
#[derive(Debug)]
struct Caller {
    credential: Credential,
    principal: Arc<Principal>,
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

    /// Whose token was verified. None on public routes, and where the route goes on without one.
    pub fn principal(&self) -> Option<&Arc<Principal>> {
        self.caller.as_ref().map(|caller| &caller.principal)
    }

    /// The token, to be sent on; None where none was verified: what the client sent as `Authorization` is then nobody's
    /// affair here.
    pub fn credential(&self) -> Option<&Credential> {
        self.caller.as_ref().map(|caller| &caller.credential)
    }

    /// The no that this would have been on a route that is enforced (`enforce: false`).
    pub fn overruled(&self) -> Option<&Denial> {
        self.overruled.as_deref()
    }

    #[cfg(test)]
    pub(crate) fn for_test() -> Permit {
        Permit { route: 0, caller: None, overruled: None }
    }
}

/// A decision in the words of log and metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decided {
    /// Index of the route that it was about.
    pub route: Option<usize>,
    /// `deny`, too, where the route isn't enforced and the request goes on.
    pub allowed: bool,
    /// One of the contract's reasons.
    pub reason: &'static str,
}

impl Decided {
    /// Of a decision.
    pub fn of(decision: &Result<Permit, Denial>) -> Decided {
        let denied = |denial: &Denial| (false, denial.refusal.reason());
        let (route, (allowed, reason)) = match decision {
            Err(denial) => (denial.route, denied(denial)),
            Ok(Permit { route, caller, overruled }) => {
                let reason = if caller.is_some() { "ok" } else { "public" };
                (Some(*route), overruled.as_deref().map_or((true, reason), denied))
            }
        };
        Decided { route, allowed, reason }
    }

    /// Of a preflight that is answered for this route: nobody is asked who they are.
    pub fn preflight(route: usize) -> Decided {
        Decided { route: Some(route), allowed: true, reason: "public" }
    }
}

impl Decided {
    /// Of a request for a document of the gateway's own: no route was asked.
    pub fn document<T>(answer: &Result<T, Refusal>) -> Decided {
        let reason = answer.as_ref().map_or_else(Refusal::reason, |_| "public");
        Decided { route: None, allowed: answer.is_ok(), reason }
    }
}

impl From<Refusal> for Denial {
    fn from(refusal: Refusal) -> Denial {
        Denial { refusal, route: None, issuer: None, principal: None, token: None }
    }
}

/// Decides a request: route and method, credential, token, rules, and all of that again for every other way to read
/// its path. Where the route isn't enforced, a no to the credential, the token or by the rules lets the request go on,
/// and the permit tells.
///
/// The route's limits count it, as far as it comes; `counted` has what they said, whatever the decision.
///
/// # Errors
/// The first thing that speaks against it. Whatever can't be decided is refused.
pub async fn decide(snapshot: &Snapshot, view: &RequestView<'_>, counted: &mut Counted) -> Result<Permit, Denial> {
    let place = as_written(snapshot, view)?;
    let Some(route) = snapshot.routes.get(place.route) else { return Err(Refusal::NoRoute.into()) };
    let limits = &route.limits;
    limits.count_early(view.client_ip, counted).map_err(|refusal| Denial::of(refusal, place.route, None))?;
    let (caller, refused) = match authenticate(snapshot, route, view).await {
        Ok(caller) => (caller, None),
        Err(denial) => (None, Some(Denial { route: Some(place.route), ..denial })),
    };
    let refused = match refused {
        Some(denial) if route.settings.enforce => return Err(denial),
        overruled => overruled.map(Box::new),
    };
    let denial = |refusal| Denial::of(refusal, place.route, caller.as_ref());
    let principal = caller.as_ref().map(|caller| &*caller.principal);
    let judged = judge(snapshot, route, view, &place, principal, token::now()).map_err(denial)?;
    limits.count_late(view.client_ip, principal, counted).map_err(denial)?;
    let overruled = refused.or_else(|| judged.map(denial).map(Box::new));
    Ok(Permit { route: place.route, caller, overruled })
}

/// What speaks against somebody who is known, or not asked for, at this place: the rules, or another way to read the
/// path. Where the route isn't enforced, a no by the rules is only told. `now` in Unix seconds.
fn judge(
    snapshot: &Snapshot,
    route: &Route,
    view: &RequestView<'_>,
    place: &Place<'_>,
    principal: Option<&Principal>,
    now: i64,
) -> Result<Option<Refusal>, Refusal> {
    if principal.is_none() && lends_to_page(route, view) {
        return Err(Refusal::ForeignPage);
    }
    let rules = Rules::of(snapshot, route, view, now);
    let overruled = match principal.map(|principal| rules.admit(place, principal)) {
        Some(Err(fault)) if route.settings.enforce => return Err(Refusal::Rule(fault)),
        Some(Err(fault)) => Some(Refusal::Rule(fault)),
        Some(Ok(())) | None => None,
    };
    // A caller that the rules refused is refused by them in other readings, too.
    let judged = principal.filter(|_| overruled.is_none());
    same_in_every_reading(snapshot, &rules, place.route, judged)?;
    Ok(overruled)
}

/// Whether somebody who need not say who they are would spend the gateway's own token from a page of another origin:
/// whoever uses a browser on this machine may look at one.
fn lends_to_page(route: &Route, view: &RequestView<'_>) -> bool {
    route.sends_own_token(false) && cors::is_foreign_page(view.headers, route.settings.cors.as_ref())
}

impl Denial {
    fn of(refusal: Refusal, route: usize, caller: Option<&Caller>) -> Denial {
        let principal = caller.map(|caller| caller.principal.clone());
        Denial {
            refusal,
            route: Some(route),
            issuer: principal.as_ref().map(|principal| principal.issuer().clone()),
            token: principal.as_ref().map(|principal| principal.fingerprint()),
            principal,
        }
    }
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
    match snapshot.table.find(view.listener, view.host, path, view.method) {
        Found::Route { index, .. } if never_taken(view.method) => {
            let allow = snapshot.routes.get(index).map_or("", |route| &route.allow_header);
            Err(refused(Some(index), allow.into()))
        }
        Found::Route { index, template, params } => Ok(Place { path, route: index, template, params }),
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
    let find = |reading: &String| snapshot.table.find(view.listener, view.host, reading, view.method);
    let ignores_case = |reading: &String| match find(reading) {
        Found::Route { index, .. } | Found::OtherMethods { index, .. } => {
            snapshot.routes.get(index).is_some_and(Route::ignores_case)
        }
        Found::Nothing => false,
    };
    view.path.readings().iter().flatten().any(|reading| find(reading) != Found::Nothing)
        || snapshot.ignores_case && view.path.readings_ignoring_case().iter().flatten().any(ignores_case)
}

/// Who asks, by a verified token. None where none is asked for, or none was sent and the route goes on without.
async fn authenticate(snapshot: &Snapshot, route: &Route, view: &RequestView<'_>) -> Result<Option<Caller>, Denial> {
    let allow = &route.settings.allow;
    if matches!(allow, Access::Public) {
        return Ok(None);
    }
    let credential = match route.settings.token_from.credential(view, snapshot.max_token_bytes) {
        Err(Refusal::NoCredential) if matches!(allow, Access::Optional) => return Ok(None),
        other => other?,
    };
    let Snapshot { tokens, revocations, proofs, .. } = snapshot;
    match token::verify(&credential, &route.issuers, tokens, revocations, proofs, view).await {
        Ok(principal) => Ok(Some(Caller { credential, principal })),
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
    /// Without tokens.
    query: Option<Cow<'d, str>>,
    /// Unix seconds.
    now: i64,
}

impl<'d> Rules<'d> {
    fn of(snapshot: &Snapshot, route: &'d Route, view: &'d RequestView<'d>, now: i64) -> Rules<'d> {
        Rules {
            route,
            view,
            headers: headers_for_rules(snapshot, route, view),
            query: route.settings.token_from.strip_query(view.query),
            now,
        }
    }

    fn admit(&self, place: &Place<'_>, principal: &Principal) -> Result<(), RuleFault> {
        self.route.settings.allow.judge(&self.facts(place, principal))
    }

    fn facts<'f>(&'f self, place: &'f Place<'_>, principal: &'f Principal) -> Facts<'f> {
        Facts {
            principal,
            method: self.view.method,
            host: self.view.host,
            scheme: self.view.scheme,
            client_ip: self.view.client_ip,
            path: place.path,
            template: place.template,
            params: &place.params,
            query: self.query.as_deref(),
            headers: &self.headers,
            now: self.now,
        }
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
    route.settings.token_from.strip(&mut fields);
    Cow::Owned(fields)
}

/// Other servers may read the path otherwise: each reading must lead to the same route and be let in there.
fn same_in_every_reading(
    snapshot: &Snapshot,
    rules: &Rules<'_>,
    route: usize,
    principal: Option<&Principal>,
) -> Result<(), Refusal> {
    let view = rules.view;
    for reading in rules.route.readings(view.path).iter() {
        let Ok(path) = reading else {
            return Err(Refusal::Path("the path can be read in a way that is not allowed"));
        };
        let place = match snapshot.table.find(view.listener, view.host, path, view.method) {
            Found::Route { index, template, params } if index == route => Place { path, route, template, params },
            _ => return Err(Refusal::Path("the path can be read in more than one way")),
        };
        if principal.is_some_and(|principal| rules.admit(&place, principal).is_err()) {
            return Err(Refusal::Path("the path can be read in a way that is not allowed"));
        }
    }
    Ok(())
}
