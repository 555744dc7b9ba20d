//! Host, path and method to a route: compiled at load, looked up per request.

use std::{ops::Range, sync::Arc, time::Duration};

use hyper::Method;

use crate::{identity::IdentityPlan, method::MethodSet, policy::Access};

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
    /// Index into `Policy::upstreams`.
    pub upstream: usize,
    /// What goes on with an authorised request.
    pub identity: IdentityPlan,
    /// The whole exchange; None: no end.
    pub timeout: Option<Duration>,
    /// Bytes; None: no limit.
    pub max_body_bytes: Option<u64>,
}

/// A host that a route is for: lower-case, without port and final dot.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HostPattern {
    /// This host.
    Exact(String),
    /// `*.example.org`: the text after the star, with its dot (`.example.org`). At least one label stands for the star.
    Suffix(String),
}

/// A path with `{name}` segments and perhaps a `/**` at its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathTemplate {
    segments: Vec<Segment>,
    rest: bool,
}

/// One segment of a template.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Segment {
    /// In canonical form.
    Literal(String),
    /// `{name}`: any one segment that isn't empty.
    Param(String),
}

impl PathTemplate {
    /// Reads `/rest/{id}/**`.
    ///
    /// # Errors
    /// What is wrong, in words for the configuration's author.
    pub fn parse(_text: &str) -> Result<PathTemplate, String> {
        let _ = (Vec::<Segment>::new(), PathTemplate { segments: vec![], rest: false });
        todo!()
    }
}

impl HostPattern {
    /// Reads `api.example.com` or `*.example.org`.
    ///
    /// # Errors
    /// What is wrong, in words for the configuration's author.
    pub fn parse(_text: &str) -> Result<HostPattern, String> {
        todo!()
    }
}

/// The compiled matcher over all routes.
#[derive(Debug)]
pub struct RouteTable {}

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
    /// All pairs of routes with the same host, path shape and a common declared method.
    pub fn new(_routes: &[RouteSettings]) -> Result<RouteTable, Vec<Conflict>> {
        todo!()
    }

    /// The most specific route for this host, canonical path and method.
    pub fn find(&self, _host: Option<&str>, _path: &str, _method: &Method) -> Found {
        todo!()
    }
}
