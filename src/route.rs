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
    answer::OwnAnswer, cors::Cors, headers::HeaderRules, identity::IdentityPlan, method::MethodSet, policy::Access,
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
}

/// Where the requests go that a route lets in.
#[derive(Clone, Debug)]
pub enum Destination {
    /// Index into `Policy::upstreams`.
    Upstream(usize),
    /// Nowhere: the gateway answers them itself.
    Answer(OwnAnswer),
}

impl RouteSettings {
    /// Index into `Policy::upstreams`; None where the gateway answers itself.
    pub fn upstream(&self) -> Option<usize> {
        match self.destination {
            Destination::Upstream(index) => Some(index),
            Destination::Answer(_) => None,
        }
    }
}

/// The compiled matcher over all routes.
#[derive(Debug, Default)]
pub struct RouteTable {
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
    /// Index of the route, and where its parameters are in the path.
    Route {
        /// Index into the routes that the table was made from.
        index: usize,
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
    /// All pairs of routes with the same host, path shape and a common declared method. A route that has one path twice
    /// is such a pair with itself.
    pub fn new(routes: &[RouteSettings]) -> Result<RouteTable, Vec<Conflict>> {
        let mut table = RouteTable::default();
        let mut conflicts = Vec::new();
        let mut told = HashSet::new();
        for (index, route) in routes.iter().enumerate() {
            for template in &route.paths {
                let mut add = |node: &mut Node| {
                    for first in node.insert(template, index, route) {
                        if told.insert((first, index, template)) {
                            conflicts.push(Conflict { first, second: index, path: template.to_string() });
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
        if conflicts.is_empty() { Ok(table) } else { Err(conflicts) }
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

    /// The most specific route for this host, canonical path and method. The host's rank comes first (this host, the
    /// longest wildcard, shorter ones, any host), then the path, then the method: what a more specific path refuses,
    /// no other takes.
    pub fn find(&self, host: Option<&str>, path: &str, method: &Method) -> Found {
        match self.leaf(host, path) {
            Some(leaf) => leaf.take(path, method),
            None => Found::Nothing,
        }
    }

    fn leaf(&self, host: Option<&str>, path: &str) -> Option<&Leaf> {
        if !path.starts_with('/') {
            return None;
        }
        host.and_then(|host| self.leaf_of_host(host, path)).or_else(|| self.any.find(path))
    }

    fn leaf_of_host(&self, host: &str, path: &str) -> Option<&Leaf> {
        let exact = if self.exact.is_empty() { None } else { self.exact.get(host) };
        let fitting = self.suffixes.iter().filter(|(pattern, _)| pattern.fits(host)).map(|(_, node)| node);
        exact.into_iter().chain(fitting).find_map(|node| node.find(path))
    }
}

impl Leaf {
    fn take(&self, path: &str, method: &Method) -> Found {
        match self.routes.iter().find(|route| route.methods.contains(method)) {
            Some(route) => Found::Route { index: route.index, params: self.params_of(path) },
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
