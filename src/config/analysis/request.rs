//! Requests that show something.

use std::fmt;

use hyper::Method;

use crate::{
    config::file::{Allow, Route},
    route::{HostPattern, PathTemplate, RouteSettings, Segment},
};

/// What stands for a parameter.
pub(super) const SAMPLE: &str = "7";

/// A request that shows something.
#[derive(Clone, Debug)]
pub(in crate::config) struct Request<'a> {
    pub(super) listener: usize,
    pub(super) host: Option<String>,
    pub(super) path: String,
    pub(super) method: &'a Method,
}

/// A request that this route takes, unless another is more specific; None where that isn't ours to show.
pub(in crate::config) fn request_to<'a>(route: &'a RouteSettings, written: &Route) -> Option<Request<'a>> {
    let template = route.paths.first().filter(|_| may_be_shown(written))?;
    Some(Request::new(route, template, ""))
}

/// Whether no part of a request to this route comes from a variable or a file.
pub(super) fn may_be_shown(written: &Route) -> bool {
    let rules = match &written.allow {
        Some(Allow::Rules(rules)) => rules.as_slice(),
        _ => &[],
    };
    let own = written.paths.iter().chain(&written.hosts).chain(&written.methods);
    let mut texts = own.chain(rules.iter().filter_map(|rule| rule.methods.as_ref())).flatten();
    texts.all(|text| !text.foreign)
}

impl<'a> Request<'a> {
    /// `below`: what is added to the path.
    pub(super) fn new(route: &'a RouteSettings, template: &PathTemplate, below: &str) -> Request<'a> {
        Request {
            listener: route.listeners.as_ref().and_then(|own| own.first()).copied().unwrap_or(0),
            host: route.hosts.first().map(sample_host),
            path: sample_path(template, below),
            method: route.methods.named().next().unwrap_or(&Method::GET),
        }
    }
}

impl fmt::Display for Request<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{} {}{}`", self.method, self.host.as_deref().unwrap_or_default(), self.path)
    }
}

pub(super) fn sample_path(template: &PathTemplate, below: &str) -> String {
    let mut path = String::new();
    for segment in template.segments() {
        path.push('/');
        path.push_str(match segment {
            Segment::Literal(literal) => literal,
            Segment::Param(_) => SAMPLE,
        });
    }
    path.push_str(below);
    if path.is_empty() { "/".to_owned() } else { path }
}

pub(super) fn sample_host(host: &HostPattern) -> String {
    match host {
        HostPattern::Exact(name) => name.clone(),
        HostPattern::Suffix(suffix) => format!("a{suffix}"),
    }
}
