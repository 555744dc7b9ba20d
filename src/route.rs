//! Host, path and method to a route: compiled at load, looked up per request.

use std::{
    collections::{HashMap, HashSet},
    ops::Range,
    sync::Arc,
    time::Duration,
};

use hyper::Method;

use self::trie::{Leaf, Node, split_segment};
use crate::{
    answer::OwnAnswer, cors::Cors, headers::HeaderRules, identity::IdentityPlan, limit::RateLimit, method::MethodSet,
    policy::Access, protected_resource::ProtectedResource, token::place::TokenPlaces,
};

mod host;
mod redirection;
mod rewrite;
mod template;
#[cfg(test)]
mod tests;
mod trie;

pub use self::{
    host::HostPattern,
    redirection::Redirection,
    rewrite::PathRewrite,
    template::{PathTemplate, Segment},
};

/// A route as the configuration gives it, compiled.
#[derive(Clone, Debug)]
pub struct RouteSettings {
    /// Unique; names the route in logs and metrics.
    pub name: Arc<str>,
    /// Indices into `Policy::listen`; None: all of them. To a request on another listener the route isn't there.
    pub listeners: Option<Vec<usize>>,
    /// Empty: any host.
    pub hosts: Vec<HostPattern>,
    /// At least one.
    pub paths: Vec<PathTemplate>,
    /// The methods written at the route: what tells routes of one path apart.
    pub declared_methods: MethodSet,
    /// What the route takes: `declared_methods` that a rule takes too.
    pub methods: MethodSet,
    /// Who is let in.
    pub allow: Access,
    /// Index into `Policy::issuers`: whose tokens the route takes, in the file's order.
    pub issuers: Vec<usize>,
    /// Where its requests may carry their token.
    pub token_from: TokenPlaces,
    /// Whether a no to the credential, the token or by the rules keeps a request out. If not, it is told and counted.
    pub enforce: bool,
    /// Where its requests go.
    pub destination: Destination,
    /// What becomes of the path on its way there; None: it is sent as it was decided.
    pub rewrite: Option<PathRewrite>,
    /// What goes on with an authorised request.
    pub identity: IdentityPlan,
    /// Which pages of other origins may read its answers; None: the upstream says.
    pub cors: Option<Cors>,
    /// What is set and removed on the way there and back.
    pub headers: HeaderRules,
    /// The whole exchange; None: no end.
    pub timeout: Option<Duration>,
    /// Bytes; None: no limit.
    pub max_body_bytes: Option<u64>,
    /// Whether a 2xx of the upstream ends the token that was presented.
    pub revokes: bool,
    /// How many requests go on; all of them must hold.
    pub rate_limits: Vec<RateLimit>,
    /// What clients are told about its API.
    pub protected_resource: Option<ProtectedResource>,
}

/// Where the requests go that a route lets in.
#[derive(Clone, Debug)]
pub enum Destination {
    /// Index into `Policy::upstreams`.
    Upstream(usize),
    /// Nowhere: the gateway answers them itself.
    Answer(OwnAnswer),
    /// Nowhere: every listener of the route only decides.
    Decision,
}

impl RouteSettings {
    /// Whether it is there on this listener, an index into `Policy::listen`.
    pub fn is_at(&self, listener: usize) -> bool {
        self.listeners.as_ref().is_none_or(|own| own.contains(&listener))
    }

    /// The path of the route that this one fits.
    pub fn template_of(&self, path: &str) -> Option<&PathTemplate> {
        self.paths.iter().find(|template| template.params_in(path).is_some())
    }

    /// Index into `Policy::upstreams`; None where the gateway answers itself.
    pub fn upstream(&self) -> Option<usize> {
        match self.destination {
            Destination::Upstream(index) => Some(index),
            Destination::Answer(_) | Destination::Decision => None,
        }
    }
}

/// The compiled matcher over all routes.
#[derive(Debug, Default)]
pub struct RouteTable {
    /// By listener, as far as routes are bound to any.
    bound: Vec<Hosts>,
    /// On every other listener: the routes that are bound to none.
    elsewhere: Hosts,
}

/// The routes of one listener.
#[derive(Debug, Default)]
struct Hosts {
    exact: HashMap<String, Node>,
    /// The longest first.
    suffixes: Vec<(HostPattern, Node)>,
    any: Node,
}

/// Two routes that take the same requests with the same rank.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// Index of the first route.
    pub first: usize,
    /// Index of the second.
    pub second: usize,
    /// The path that both have, as the second writes it.
    pub path: String,
}

/// What a host, path and method lead to.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    /// The route, which of its paths it was, and where that path's parameters are.
    Route {
        /// Index into the routes that the table was made from.
        index: usize,
        /// Which of the route's paths it was: an index into `RouteSettings::paths`.
        template: usize,
        /// In the order of the template.
        params: Params,
    },
    /// The most specific path takes other methods: the value of `Allow`. `index` is one of the routes there (for the log).
    OtherMethods {
        /// Index of a route there.
        index: usize,
        /// The union of what the routes there take.
        allow: Arc<str>,
    },
    /// Nothing is here.
    Nothing,
}

/// The byte ranges of a path's parameters, in the order of the template that matched.
pub type Params = Vec<Range<usize>>;

impl RouteTable {
    /// Compiles the routes.
    ///
    /// # Errors
    /// All pairs of routes with the same host, path shape and a common listener and declared method. A route that has one
    /// path twice is such a pair with itself.
    pub fn new(routes: &[RouteSettings]) -> Result<RouteTable, Vec<Conflict>> {
        let mut conflicts = Conflicts::default();
        let named = routes.iter().filter_map(|route| route.listeners.as_ref()).flatten();
        let listeners = named.max().map_or(0, |last| last + 1);
        let elsewhere = Hosts::new(routes, None, &mut conflicts);
        let bound = (0..listeners).map(|listener| Hosts::new(routes, Some(listener), &mut conflicts)).collect();
        if conflicts.found.is_empty() { Ok(RouteTable { bound, elsewhere }) } else { Err(conflicts.found) }
    }

    /// The most specific route for this listener, host, canonical path and method. The host's rank comes first (this
    /// host, the longest wildcard, shorter ones, any host), then the path, then the method: what a more specific path
    /// refuses, no other takes.
    pub fn find(&self, listener: usize, host: Option<&str>, path: &str, method: &Method) -> Found {
        match self.bound.get(listener).unwrap_or(&self.elsewhere).leaf(host, path) {
            Some(leaf) => leaf.take(path, method),
            None => Found::Nothing,
        }
    }
}

impl RouteTable {
    /// Where this host and path lead, the most specific first, up to `most` places: at each the routes, and which of
    /// their paths it is. `find` takes the first; the others are around it.
    pub fn fitting(&self, listener: usize, host: Option<&str>, path: &str, most: usize) -> Vec<Vec<(usize, usize)>> {
        let hosts = self.bound.get(listener).unwrap_or(&self.elsewhere);
        let mut found = Vec::new();
        if path.starts_with('/') {
            let own = host.into_iter().flat_map(|host| hosts.of_host(host));
            own.chain([&hosts.any]).for_each(|node| node.fitting(path, most, &mut found));
        }
        let routes = |leaf: &Leaf| leaf.routes.iter().map(|route| (route.index, route.template)).collect();
        found.into_iter().map(routes).collect()
    }
}

/// Each conflict once, on however many listeners it is.
#[derive(Default)]
struct Conflicts<'r> {
    found: Vec<Conflict>,
    told: HashSet<(usize, usize, &'r PathTemplate)>,
}

impl RouteSettings {
    /// Whether it is there on this listener; None: on one that no route is bound to.
    fn is_on(&self, listener: Option<usize>) -> bool {
        self.listeners.as_ref().is_none_or(|own| listener.is_some_and(|listener| own.contains(&listener)))
    }
}

impl Hosts {
    fn new<'r>(routes: &'r [RouteSettings], listener: Option<usize>, conflicts: &mut Conflicts<'r>) -> Hosts {
        let mut table = Hosts::default();
        for (index, route) in routes.iter().enumerate().filter(|(_, route)| route.is_on(listener)) {
            for (place, template) in route.paths.iter().enumerate() {
                let mut add = |node: &mut Node| {
                    for first in node.insert(place, index, route) {
                        if conflicts.told.insert((first, index, template)) {
                            conflicts.found.push(Conflict { first, second: index, path: template.to_string() });
                        }
                    }
                };
                if route.hosts.is_empty() {
                    add(&mut table.any);
                }
                for (place, host) in route.hosts.iter().enumerate() {
                    if !route.hosts.iter().take(place).any(|before| before == host) {
                        add(table.for_host(host));
                    }
                }
            }
        }
        table
    }

    fn for_host(&mut self, host: &HostPattern) -> &mut Node {
        let length = |pattern: &HostPattern| match pattern {
            HostPattern::Exact(name) | HostPattern::Suffix(name) => name.len(),
        };
        if let HostPattern::Exact(name) = host {
            return self.exact.entry(name.clone()).or_default();
        }
        let place = self.suffixes.iter().position(|(known, _)| known == host).unwrap_or_else(|| {
            let place = self.suffixes.partition_point(|(known, _)| length(known) >= length(host));
            self.suffixes.insert(place, (host.clone(), Node::default()));
            place
        });
        #[expect(clippy::indexing_slicing, reason = "found or inserted at this place")]
        &mut self.suffixes[place].1
    }

    fn leaf(&self, host: Option<&str>, path: &str) -> Option<&Leaf> {
        if !path.starts_with('/') {
            return None;
        }
        host.and_then(|host| self.leaf_of_host(host, path)).or_else(|| self.any.find(path))
    }

    fn leaf_of_host(&self, host: &str, path: &str) -> Option<&Leaf> {
        self.of_host(host).find_map(|node| node.find(path))
    }

    /// By rank.
    fn of_host<'n, 'h>(&'n self, host: &'h str) -> impl Iterator<Item = &'n Node> + use<'n, 'h> {
        let exact = if self.exact.is_empty() { None } else { self.exact.get(host) };
        let fitting = self.suffixes.iter().filter(move |(pattern, _)| pattern.fits(host)).map(|(_, node)| node);
        exact.into_iter().chain(fitting)
    }
}

impl Leaf {
    fn take(&self, path: &str, method: &Method) -> Found {
        match self.routes.iter().find(|route| route.methods.contains(method)) {
            Some(route) => Found::Route { index: route.index, template: route.template, params: self.params_of(path) },
            None => match self.routes.first() {
                Some(route) => Found::OtherMethods { index: route.index, allow: self.allow.clone() },
                None => Found::Nothing,
            },
        }
    }

    fn params_of(&self, path: &str) -> Params {
        let mut params = Vec::with_capacity(self.params.len());
        let mut rest = path;
        for place in 0..self.params.last().map_or(0, |last| last + 1) {
            let Some((segment, after)) = split_segment(rest) else { break };
            if self.params.contains(&place) {
                let end = path.len() - after.len();
                params.push(end - segment.len()..end);
            }
            rest = after;
        }
        params
    }
}
