//! `routes`.

use std::{collections::HashMap, net::SocketAddr};

use hyper::Method;

use super::{Compiler, rules::RulesOf};
use crate::{
    config::{
        analysis,
        file::{Allow, Audiences, ConfigFile, Route},
        reader::At,
    },
    egress::{EgressSettings, Grant},
    identity::IdentityPlan,
    method::MethodSet,
    path::is_in_small_letters,
    policy::Access,
    route::{Destination, HostPattern, PathTemplate, RouteSettings, RouteTable, Segment},
    upstream::UpstreamSettings,
};

impl Compiler<'_> {
    /// One result for each route of the file. Upstreams in place are added to `upstreams`.
    pub(super) fn routes(
        &mut self,
        file: &ConfigFile,
        upstreams: &mut Vec<Option<UpstreamSettings>>,
        identity: Option<&IdentityPlan>,
    ) -> Vec<Option<RouteSettings>> {
        if file.routes.is_empty() && !self.findings.failed() {
            self.findings.push(super::Finding::file("there are no routes: every request gets 404").into_warning());
        }
        self.unique("the route", file.routes.iter().filter_map(|route| route.name.as_ref()));
        let default_identity = IdentityPlan::standard();
        let identity = identity.unwrap_or(&default_identity);
        let routes = file.routes.iter().map(|route| self.route(route, file, upstreams, identity)).collect::<Vec<_>>();
        self.find_reserved_headers(file);
        self.find_conflicts(file, &routes);
        self.find_shared_audiences(file, &routes);
        routes
    }

    fn route(
        &mut self,
        written: &Route,
        file: &ConfigFile,
        upstreams: &mut Vec<Option<UpstreamSettings>>,
        identity: &IdentityPlan,
    ) -> Option<RouteSettings> {
        let name = written.name.as_ref().and_then(|name| self.name(name));
        let listeners = self.route_listeners(written, file);
        let hosts = self.hosts(written.hosts.as_deref().unwrap_or_default());
        let paths = written.paths.as_ref().and_then(|paths| self.paths(paths));
        let rewrite = self.rewrite(written, paths.as_deref());
        let declared_methods = self.methods(written.methods.as_deref());
        let issuers = self.route_issuers(written, file);
        let of_route = RulesOf { written, file, paths: paths.as_deref(), issuers: issuers.as_deref() };
        let access = match &written.allow {
            None => None,
            Some(Allow::Public) => Some((Access::Public, MethodSet::ANY)),
            Some(Allow::Optional) => Some((Access::Optional, MethodSet::ANY)),
            Some(Allow::Authenticated) => Some((Access::Authenticated, MethodSet::ANY)),
            Some(Allow::Rules(rules)) => self.rules(rules, declared_methods.as_ref(), &of_route),
        };
        let enforce = written.enforce.as_ref().is_none_or(|enforce| enforce.value);
        let destination = self.destination(written, name.as_ref(), paths.as_deref(), file, upstreams);
        if let Some(destination) = &destination {
            self.find_capitals(written, destination, upstreams);
        }
        let egress = match &destination {
            Some(Destination::Upstream(index)) => {
                upstreams.get(*index).and_then(|found| found.as_ref()?.token.as_ref())
            }
            _ => None,
        };
        let identity = match egress {
            None => self.identity(&written.identity, identity, identity.assertion.as_ref()),
            Some(token) => {
                self.find_misused_token(written, token, file);
                self.identity(&written.identity, &IdentityPlan::nothing(), identity.assertion.as_ref())
            }
        };
        let rate_limits = self.rate_limits(written);
        let protected_resource = self.protected_resource(written);
        let headers = self.headers(&written.headers);
        let max_body_bytes = written.max_body_bytes.as_ref().or(file.server.max_body_bytes.as_ref());
        let methods = access.as_ref().zip(declared_methods.as_ref()).map(|((_, rules), own)| own.intersection(rules));
        let cors = self.cors(written, methods.as_ref());
        let token_from = self.token_places(written, file);
        let (allow, _) = access?;
        let route = RouteSettings {
            name: name?,
            listeners: listeners?,
            hosts: hosts?,
            paths: paths?,
            methods: methods?,
            declared_methods: declared_methods?,
            allow,
            issuers: issuers?,
            token_from: token_from?,
            enforce,
            destination: destination?,
            rewrite: rewrite?,
            identity: identity?,
            headers: headers?,
            cors: cors?,
            timeout: written.timeout.flatten(),
            revokes: self.revokes(written),
            rate_limits: rate_limits?,
            protected_resource: protected_resource?,
            max_body_bytes: max_body_bytes.and_then(|size| size.as_ref().map(|size| size.value)),
        };
        self.warn_of_dry_run(written, &route);
        Some(route)
    }

    /// Requests for an upstream that ignores case are decided in small letters too, so that a path with capital ones
    /// would take none, and would protect nothing of what the upstream takes for it.
    fn find_capitals(&mut self, written: &Route, destination: &Destination, upstreams: &[Option<UpstreamSettings>]) {
        let ignores_case = |upstream: &Option<UpstreamSettings>| upstream.as_ref().is_some_and(|one| one.ignores_case);
        let concerned = match destination {
            Destination::Upstream(index) => upstreams.get(*index).is_some_and(ignores_case),
            Destination::Answer(_) => upstreams.iter().any(ignores_case),
            Destination::Decision => false,
        };
        for path in written.paths.iter().flatten().filter(|_| concerned) {
            let Ok(template) = PathTemplate::parse(&path.value) else { continue };
            let capital = template.segments().iter().any(|segment| match segment {
                Segment::Literal(literal) => !is_in_small_letters(literal),
                Segment::Param(_) => false,
            });
            if capital {
                let message = format!("{} has capital letters, before an upstream that ignores case", path.shown());
                self.findings.push(path.error(message).hint("write it in small letters: requests are read so, too"));
            }
        }
    }

    /// Inner None: all.
    fn route_listeners(&mut self, written: &Route, file: &ConfigFile) -> Option<Option<Vec<usize>>> {
        let Some(names) = &written.listeners else { return Some(None) };
        let known = file.listen.iter().flatten().map(|listener| listener.name.as_ref().unwrap_or(&listener.address));
        let known = known.collect::<Vec<_>>();
        let found = names.iter().map(|name| self.resolve("listener", name, &known)).collect::<Vec<_>>();
        found.into_iter().collect::<Option<Vec<_>>>().map(Some)
    }

    fn warn_of_dry_run(&mut self, written: &Route, route: &RouteSettings) {
        let Some(enforce) = written.enforce.as_ref().filter(|_| !route.enforce) else { return };
        let finding = match &route.allow {
            Access::Public => enforce.warning("`allow: public` refuses nobody anyway"),
            _ => {
                let request = analysis::request_to(route, written);
                let example = request.map_or_else(String::new, |request| format!(", as {request} with a wrong token"));
                enforce.warning(format!("this route is open to everybody: what it would refuse goes on{example}"))
            }
        };
        self.findings.push(finding);
    }

    /// What would lend the gateway's own token to somebody, or take its place.
    fn find_misused_token(&mut self, written: &Route, token: &EgressSettings, file: &ConfigFile) {
        let at = written.upstream.as_ref().map_or_else(|| written.at.clone(), |upstream| upstream.with(()));
        if let Some(forward) = written.identity.authorization.as_ref().filter(|forward| forward.value) {
            let finding = forward.error("the upstream is called with a token of its own, so the caller's can't go on");
            self.findings.push(finding.hint("leave `authorization` out"));
        }
        let is_public = matches!(written.allow, Some(Allow::Public));
        if token.grant == Grant::TokenExchange {
            if is_public {
                let finding =
                    at.error("`grant: token_exchange` behind a public route: there is no caller's token to exchange");
                self.findings.push(finding.hint("`allow: authenticated`, or another grant"));
            }
            return;
        }
        // Whoever has no token at all gets through all three.
        let who = match &written.allow {
            Some(Allow::Public) => "a public route",
            Some(Allow::Optional) => "a route with `allow: optional`",
            Some(_) if written.enforce.as_ref().is_some_and(|enforce| !enforce.value) => {
                "a route with `enforce: false`"
            }
            _ => return,
        };
        let open = written.listeners_in(file).find(|listener| !is_local(&listener.address.value));
        if let Some(listener) = open {
            let message = format!("{who} to an upstream with `token` lends the gateway's own token to everybody");
            let place = self.source.place(listener.address.span);
            self.findings.push(at.error(message).hint(format!(
                "give the route `listeners` that are on loopback or Unix sockets; the one at {place} isn't"
            )));
        }
    }

    fn revokes(&mut self, written: &Route) -> bool {
        if let (Some(at), Some(Allow::Public)) = (&written.revokes, &written.allow) {
            let finding = at.error("on a public route nobody looks at the token, so none is revoked");
            self.findings.push(finding.hint("`allow: authenticated`"));
        }
        written.revokes.is_some()
    }

    fn hosts(&mut self, written: &[At<String>]) -> Option<Vec<HostPattern>> {
        let hosts = written.iter().map(|host| {
            HostPattern::parse(&host.value).map_err(|words| self.findings.push(host.error_about(&words))).ok()
        });
        let hosts = hosts.collect::<Vec<_>>();
        hosts.into_iter().collect()
    }

    fn paths(&mut self, written: &[At<String>]) -> Option<Vec<PathTemplate>> {
        let paths = written.iter().map(|path| {
            PathTemplate::parse(&path.value).map_err(|words| self.findings.push(path.error_about(&words))).ok()
        });
        let paths = paths.collect::<Vec<_>>();
        paths.into_iter().collect()
    }

    pub(super) fn methods(&mut self, written: Option<&[At<String>]>) -> Option<MethodSet> {
        let Some(written) = written else { return Some(MethodSet::ANY) };
        let methods = written.iter().map(|method| self.method(method)).collect::<Vec<_>>();
        methods.into_iter().collect::<Option<Vec<_>>>().map(MethodSet::of)
    }

    pub(super) fn method(&mut self, written: &At<String>) -> Option<Method> {
        let shown = written.shown();
        let upper = written.value.to_ascii_uppercase();
        let standard = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"].contains(&upper.as_str());
        match Method::from_bytes(written.value.as_bytes()) {
            Ok(Method::TRACE | Method::CONNECT) => {
                self.fail(written.error(format!("{shown} is never taken, by no route")))
            }
            Ok(_) if standard && upper != written.value => self.fail(
                written
                    .error(format!("{shown} is not a method that anyone sends"))
                    .hint(format!("did you mean `{upper}`?")),
            ),
            Ok(_) if matches!(upper.as_str(), "*" | "ANY" | "ALL") => {
                self.fail(written.error(format!("{shown} is not a method")).hint("leave `methods` out for any method"))
            }
            Ok(method) => Some(method),
            Err(_) => self.fail(written.error(format!("{shown} is not a method"))),
        }
    }

    fn route_issuers(&mut self, written: &Route, file: &ConfigFile) -> Option<Vec<usize>> {
        let names = file.issuers.iter().map(|issuer| &issuer.name).collect::<Vec<_>>();
        let mut issuers = match &written.issuers {
            None => (0..names.len()).collect(),
            Some(list) => {
                let found = list.value.iter().map(|name| self.resolve("issuer", name, &names)).collect::<Vec<_>>();
                found.into_iter().collect::<Option<Vec<_>>>()?
            }
        };
        issuers.sort_unstable();
        issuers.dedup();
        if matches!(written.allow, Some(Allow::Public)) {
            return Some(issuers);
        }
        if names.is_empty() && (file.broken_issuers || file.incomplete) {
            return None;
        }
        if names.is_empty() && written.allow.is_some() {
            let finding = written.at.error("a route that needs a token, where the file defines no issuer");
            return self.fail(finding.hint("define one in `issuers`; `allow: public` is open to everybody"));
        }
        self.find_equal_issuers(written, file, &issuers);
        Some(issuers)
    }

    fn find_equal_issuers(&mut self, route: &Route, file: &ConfigFile, issuers: &[usize]) {
        let mut seen = HashMap::new();
        for one in issuers.iter().filter_map(|index| file.issuers.get(*index)) {
            let Some(url) = &one.issuer else { continue };
            let Some((other, other_url)) = seen.insert(url.value.as_str(), (one, url)) else { continue };
            let at = route.issuers.as_ref().map_or_else(|| route.at.clone(), |list| list.with(()));
            let message = format!(
                "issuers {} and {} have the same `issuer` (at {} and {}), so a token could be of either",
                other.name.shown(),
                one.name.shown(),
                self.source.place(other_url.span),
                self.source.place(url.span)
            );
            // The first two are enough: each further one would be the same mistake.
            return self.findings.push(at.error(message).hint("give the route `issuers` with one of them"));
        }
    }

    fn find_conflicts(&mut self, file: &ConfigFile, routes: &[Option<RouteSettings>]) {
        let (places, compiled): (Vec<_>, Vec<_>) =
            file.routes.iter().zip(routes).filter_map(|(written, route)| Some((written, route.clone()?))).unzip();
        let Err(conflicts) = RouteTable::new(&compiled) else { return };
        for conflict in conflicts {
            let (Some(first), Some(second)) = (places.get(conflict.first), places.get(conflict.second)) else {
                continue;
            };
            let name = |route: &Route| route.name.as_ref().map_or_else(String::new, At::shown);
            let foreign = second.paths.iter().flatten().any(|path| path.foreign);
            let path = if foreign { String::new() } else { format!(" at `{}`", conflict.path) };
            let message = format!(
                "routes {} (at {}) and {} take the same requests{path}",
                name(first),
                self.source.place(first.at.span),
                name(second),
            );
            self.findings
                .push(second.at.error(message).hint("tell them apart by `listeners`, `hosts`, `path` or `methods`"));
        }
    }

    /// Issuers whose tokens prove less than they seem to.
    pub(super) fn warn_of_issuers(&mut self, file: &ConfigFile, routes: &[Option<RouteSettings>]) {
        for (index, issuer) in file.issuers.iter().enumerate() {
            let takes =
                |route: &RouteSettings| !matches!(route.allow, Access::Public) && route.issuers.contains(&index);
            let request = routes.iter().zip(&file.routes).find_map(|(route, written)| {
                route.as_ref().filter(|route| takes(route)).and_then(|route| analysis::request_to(route, written))
            });
            let example = |with: &str| {
                request.as_ref().map_or_else(String::new, |request| format!(", as for {request} with {with}"))
            };
            if let Some(flag) = issuer.allow_http.as_ref().filter(|flag| flag.value) {
                let message = format!(
                    "whoever is between here and this issuer can change its keys{}",
                    example("a token of their own")
                );
                let hint = "`allow_http` accepts endpoints over plain http; use https";
                self.findings.push(flag.warning(message).hint(hint));
            }
            if let Some(Audiences::Any(at)) = &issuer.audiences {
                let message = format!(
                    "a token that this issuer made for any other API is accepted here{}",
                    example("`aud: another-api`")
                );
                self.findings.push(at.warning(message).hint("name the audiences of this API"));
            }
        }
    }

    /// What the file defines and no route uses.
    pub(super) fn warn_of_unused(&mut self, file: &ConfigFile, routes: &[Option<RouteSettings>]) {
        if self.findings.failed() {
            return;
        }
        for (index, upstream) in file.upstreams.iter().enumerate() {
            if !routes.iter().flatten().any(|route| route.upstream() == Some(index)) {
                self.findings.push(upstream.name.warning("no route leads to this upstream"));
            }
        }
        for (index, issuer) in file.issuers.iter().enumerate() {
            let used = |route: &RouteSettings| !matches!(route.allow, Access::Public) && route.issuers.contains(&index);
            if !routes.iter().flatten().any(used) {
                self.findings.push(issuer.name.warning("no route takes this issuer's tokens"));
            }
        }
    }
}

/// Whether only this machine can connect to a listener's address.
fn is_local(address: &str) -> bool {
    address.starts_with("unix:") || address.parse::<SocketAddr>().is_ok_and(|address| address.ip().is_loopback())
}
