//! `protected_resource` of a route, and whether what is told at one place is one thing. Also of the key set of assertions.

use super::{Compiler, url::HttpUrl};
use crate::{
    assertion::JWKS,
    config::{
        file::{ConfigFile, Route},
        reader::At,
    },
    protected_resource::ProtectedResource,
    route::{HostPattern, RouteSettings, Segment},
    server::{ListenMode, ListenSettings},
    token::issuer::IssuerSettings,
    well_known::rank,
};

/// What a document says beside the resource, in the order in which two that differ are told apart.
const TOLD: [&str; 6] = [
    "scopes_supported",
    "authorization_servers",
    "bearer_methods_supported",
    "tls_client_certificate_bound_access_tokens",
    "dpop_bound_access_tokens_required",
    "dpop_signing_alg_values_supported",
];

/// A route whose API is described, and how.
struct Described<'r> {
    written: &'r Route,
    route: &'r RouteSettings,
    resource: &'r ProtectedResource,
    document: serde_json::Value,
}

impl Compiler<'_> {
    /// Inner None: nothing is told.
    pub(super) fn protected_resource(&mut self, route: &Route) -> Option<Option<ProtectedResource>> {
        let Some(written) = &route.protected_resource else { return Some(None) };
        let scopes = match &written.scopes_supported {
            None => Some(Vec::new()),
            Some(list) => self.scopes(list),
        };
        let resource = written.resource.as_ref()?;
        match HttpUrl::parse(&resource.value) {
            Err(words) => return self.fail(resource.error(words)),
            Ok(url) if !url.tls && !url.is_loopback() => {
                return self.fail(resource.error("a resource's identifier is an https URL (RFC 9728, section 1.2)"));
            }
            Ok(_) => {}
        }
        let scopes_supported = scopes?.iter().map(ToString::to_string).collect();
        match ProtectedResource::new(&resource.value, scopes_supported) {
            Ok(made) => Some(Some(made)),
            Err(words) => self.fail(resource.error(words)),
        }
    }

    /// Whoever asks where a challenge sends them must find what is said of that API, and nothing else.
    pub(super) fn check_metadata(
        &mut self,
        file: &ConfigFile,
        routes: &[Option<RouteSettings>],
        issuers: &[Option<IssuerSettings>],
        listen: &[Option<ListenSettings>],
    ) {
        let Some(issuers) = issuers.iter().map(Option::as_ref).collect::<Option<Vec<_>>>() else { return };
        let described = file.routes.iter().zip(routes).filter_map(|(written, route)| {
            let route = route.as_ref()?;
            let resource = route.protected_resource.as_ref()?;
            let own = route.issuers.iter().filter_map(|index| issuers.get(*index).copied());
            Some(Described { written, route, resource, document: resource.document(own, &route.token_from) })
        });
        let described = described.collect::<Vec<_>>();
        for (place, one) in described.iter().enumerate() {
            if let Some(other) = described.iter().take(place).find(|other| one.contradicts(other)) {
                self.find_contradiction(other, one);
            }
            self.warn_of_lost_metadata(one);
            self.warn_of_metadata_nowhere(one, listen);
        }
        for (written, route) in file.routes.iter().zip(routes) {
            let Some(route) = route else { continue };
            if let Some(told) = described.iter().find(|told| told.takes_all_of(route)) {
                let name = written.name.as_ref().map_or_else(String::new, At::shown);
                let message =
                    format!("route {name} would never be asked: what route {} tells is served there", told.name());
                let hint = "leave one of the two out: this route, or `protected_resource`";
                self.findings.push(written.at.error(message).hint(hint));
            }
        }
    }

    /// The keys of assertions are published for whoever verifies them.
    pub(super) fn check_key_set(
        &mut self,
        file: &ConfigFile,
        routes: &[Option<RouteSettings>],
        listen: &[Option<ListenSettings>],
    ) {
        let of_routes = || file.routes.iter().find_map(|route| route.identity.assertion.as_ref());
        let Some(assertion) = file.identity.assertion.as_ref().or_else(of_routes) else { return };
        for (written, route) in file.routes.iter().zip(routes) {
            if route.as_ref().is_some_and(|route| is_for_nothing_but(route, JWKS)) {
                let name = written.name.as_ref().map_or_else(String::new, At::shown);
                let message = format!("route {name} would never be asked: the keys of assertions are published there");
                self.findings
                    .push(written.at.error(message).hint("leave this route out, or `assertion` in `identity`"));
            }
        }
        if !listen.iter().flatten().any(answers_clients) {
            let message = "no listener answers clients, so that the keys of assertions are published nowhere";
            let hint = "add a listener without `mode`: upstreams fetch the keys there";
            self.findings.push(assertion.at.warning(message).hint(hint));
        }
    }

    fn find_contradiction(&mut self, first: &Described<'_>, second: &Described<'_>) {
        let place = self.source.place(first.written.at.span);
        let (one, other) = (&first.document, &second.document);
        let differs = |name: &&&str| one.get(**name) != other.get(**name);
        let what = match TOLD.iter().find(differs) {
            _ if one.get("resource") != other.get("resource") => "different resources".to_owned(),
            Some(name) => format!("different `{name}`"),
            None => "different things".to_owned(),
        };
        let message = format!(
            "routes {} (at {place}) and {} say {what} in one document: both are served at the same place",
            first.name(),
            second.name()
        );
        let hint = "write the same in both, or tell them apart by `hosts` or by the path in `resource`";
        self.findings.push(second.written.at.error(message).hint(hint));
    }

    fn warn_of_lost_metadata(&mut self, told: &Described<'_>) {
        let Some(at) = told.at() else { return };
        if rank(&told.route.hosts, Some(told.resource.host())).is_none() {
            let message =
                "challenges send clients to the host of this identifier, which isn't one of the route's `hosts`";
            let hint = "the metadata is served on the route's hosts alone: name that host, too";
            self.findings.push(at.warning(message).hint(hint));
        }
        if told.document.get("authorization_servers").is_none() {
            let message =
                "no issuer of this route has an `issuer`, so that clients are told of no authorization server";
            self.findings.push(at.warning(message).hint("give one of `issuers` its `issuer`"));
        }
    }

    /// A listener that is wrong may be one that answers.
    fn warn_of_metadata_nowhere(&mut self, told: &Described<'_>, listen: &[Option<ListenSettings>]) {
        let Some(at) = told.at() else { return };
        let mut own = listen.iter().enumerate().filter(|(index, _)| told.route.is_at(*index));
        if !own.any(|(_, one)| one.as_ref().is_none_or(answers_clients)) {
            let message =
                "no listener of this route answers clients, so that challenges send them to a document that is nowhere";
            let hint = "give the route a listener without `mode`, and have the document's path sent there";
            self.findings.push(at.warning(message).hint(hint));
        }
    }
}

impl Described<'_> {
    /// Whether the route is for the very path at which this is told.
    fn takes_all_of(&self, route: &RouteSettings) -> bool {
        shares_listeners(route, self.route)
            && shares_hosts(route, self.route)
            && is_for_nothing_but(route, self.resource.place())
    }

    fn name(&self) -> String {
        self.written.name.as_ref().map_or_else(String::new, At::shown)
    }

    fn at(&self) -> Option<&At<String>> {
        self.written.protected_resource.as_ref()?.resource.as_ref()
    }

    /// Whether somebody who asks for what one says would find what the other does.
    fn contradicts(&self, other: &Described<'_>) -> bool {
        self.resource.place() == other.resource.place()
            && self.document != other.document
            && shares_listeners(self.route, other.route)
            && (same_rank(&self.route.hosts, &other.route.hosts) || self.hides(other) || other.hides(self))
    }

    /// Whether this one is found on the host of the other's identifier.
    fn hides(&self, other: &Described<'_>) -> bool {
        let host = Some(other.resource.host());
        let (own, others) = (rank(&self.route.hosts, host), rank(&other.route.hosts, host));
        own.zip(others).is_some_and(|(own, others)| own >= others)
    }
}

fn shares_listeners(one: &RouteSettings, other: &RouteSettings) -> bool {
    match (&one.listeners, &other.listeners) {
        (Some(one), Some(other)) => one.iter().any(|listener| other.contains(listener)),
        _ => true,
    }
}

fn shares_hosts(one: &RouteSettings, other: &RouteSettings) -> bool {
    let either_takes_any = one.hosts.is_empty() || other.hosts.is_empty();
    either_takes_any || one.hosts.iter().any(|host| other.hosts.iter().any(|other| host.overlaps(other)))
}

/// Whether there are hosts for which both are as good.
fn same_rank(one: &[HostPattern], other: &[HostPattern]) -> bool {
    one.is_empty() && other.is_empty() || one.iter().any(|host| other.contains(host))
}

/// Where a proxy asks over HTTP whether a request may go on, an answer of our own would be a yes.
fn answers_clients(listen: &ListenSettings) -> bool {
    !matches!(listen.mode, ListenMode::ForwardAuth(_))
}

fn is_for_nothing_but(route: &RouteSettings, place: &str) -> bool {
    route.paths.iter().any(|path| {
        let is_literal = path.segments().iter().all(|segment| matches!(segment, Segment::Literal(_)));
        is_literal && !path.takes_rest() && path.params_in(place).is_some()
    })
}
