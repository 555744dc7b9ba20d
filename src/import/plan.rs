//! Routes for an API: operations of one path together, those that ask for the same in one rule.

use std::collections::BTreeSet;

use super::{
    Wanted,
    access::Need,
    api::{Api, Path},
    names::Names,
    notes::{Notes, listed},
    place::Places,
    template::Template,
};
use crate::config::Diagnostic;

/// A configuration to be written.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) title: String,
    /// Name and `iss`. Empty: nobody needs a token.
    pub(super) issuers: Vec<(String, String)>,
    pub(super) audiences: Vec<String>,
    /// Name and address.
    pub(super) upstreams: Vec<(String, String)>,
    /// Whether the upstream's address is the document's word.
    pub(super) is_upstream_of_document: bool,
    /// Where the document says that all of the API is, if the routes don't.
    pub(super) host_left_out: Option<String>,
    pub(super) routes: Vec<Route>,
    /// About all of it.
    pub(super) notes: Notes,
}

#[derive(Debug)]
pub(super) struct Route {
    pub(super) name: String,
    pub(super) host: Option<String>,
    pub(super) template: Template,
    /// Empty: those of its rules, or any.
    pub(super) methods: Vec<&'static str>,
    /// An index into the plan's.
    pub(super) upstream: usize,
    pub(super) allow: Allow,
    /// Lines about its operations.
    pub(super) about: Vec<String>,
    pub(super) notes: Notes,
}

#[derive(Debug)]
pub(super) enum Allow {
    Public,
    Optional,
    Authenticated,
    Rules(Vec<Rule>),
}

#[derive(Debug)]
pub(super) struct Rule {
    /// Empty: any.
    pub(super) methods: Vec<&'static str>,
    /// None: nobody has it.
    pub(super) need: Option<Need>,
    /// Lines about its operations.
    pub(super) about: Vec<String>,
}

impl Plan {
    /// Plans routes.
    ///
    /// # Errors
    /// What neither the document says nor anybody else.
    pub(super) fn of(api: Api, name: &str, wanted: &Wanted) -> Result<Plan, Vec<Diagnostic>> {
        let mut notes = api.notes;
        let hosts = hosts(&api.paths);
        // Of one host, requests come by whatever name the gateway has; of several, each has paths of its own.
        let keeps_hosts = wanted.hosts || hosts.len() > 1;
        let host_left_out = hosts.into_iter().next().flatten().filter(|_| !keeps_hosts).map(str::to_owned);
        let mut places = Places::new(keeps_hosts);
        for path in &api.paths {
            places.add(path, &mut notes);
        }
        if places.list.is_empty() {
            let message = "no path of the document can be a route's".to_owned();
            let hint = notes.texts().last();
            return Err(vec![Diagnostic::about(name, "", message, hint)]);
        }
        let ids = api.paths.iter().flat_map(|path| &path.operations).filter_map(|operation| operation.id.as_deref());
        let mut names = Names::new(ids);
        let mut upstreams = Upstreams { given: wanted.upstream.as_deref(), ..Upstreams::default() };
        let mut routes = Vec::new();
        for place in places.list {
            place.into_routes(&mut names, &mut upstreams, &mut routes);
        }
        let needs_tokens = routes.iter().any(|route| !matches!(route.allow, Allow::Public));
        let issuers = match &wanted.issuer {
            Some(issuer) => vec![("login".to_owned(), issuer.clone())],
            None => issuers(api.schemes.issuers),
        };
        let mut lacking = Vec::new();
        let mut lacks = |message: &str, hint: String| {
            lacking.push(Diagnostic::about(name, "", message.to_owned(), Some(hint)));
        };
        if needs_tokens && issuers.is_empty() {
            let servers = &api.schemes.token_servers;
            let perhaps = match servers.is_empty() {
                true => String::new(),
                false => format!("; it has them from {}", listed(servers)),
            };
            lacks(
                "the document doesn't say who issues the tokens",
                format!("`--issuer URL`: what they have in `iss`{perhaps}"),
            );
        }
        if needs_tokens && wanted.audiences.is_empty() {
            lacks(
                "a document can't say whom the tokens are for",
                "`--audience NAME`: what they have in `aud`".to_owned(),
            );
        }
        if upstreams.is_lacking {
            lacks("the document doesn't say where the API is", "`--upstream URL`: where requests are to go".to_owned());
        }
        if !lacking.is_empty() {
            return Err(lacking);
        }
        if !needs_tokens && (wanted.issuer.is_some() || !wanted.audiences.is_empty()) {
            notes.push("no operation needs a token, so that no issuer is written");
        }
        Ok(Plan {
            host_left_out,
            title: api.title,
            issuers: if needs_tokens { issuers } else { Vec::new() },
            audiences: wanted.audiences.clone(),
            upstreams: upstreams.list,
            is_upstream_of_document: wanted.upstream.is_none(),
            routes,
            notes,
        })
    }
}

/// Where operations are, as servers say; paths without any count as they are placed.
fn hosts(paths: &[Path]) -> BTreeSet<Option<&str>> {
    let servers = paths.iter().flat_map(|path| {
        let of_path = Some(&path.server).filter(|_| path.operations.is_empty());
        path.operations.iter().map(|operation| &operation.server).chain(of_path)
    });
    servers.map(|server| server.host.as_deref()).collect()
}

/// Those of a document, named by their schemes where there are several.
fn issuers(found: Vec<(String, String)>) -> Vec<(String, String)> {
    if let [(_, issuer)] = &*found {
        return vec![("login".to_owned(), issuer.clone())];
    }
    let mut names = Names::new([]);
    found.into_iter().map(|(scheme, issuer)| (names.unique(&scheme), issuer)).collect()
}

/// Where requests go.
#[derive(Default)]
pub(super) struct Upstreams<'w> {
    given: Option<&'w str>,
    list: Vec<(String, String)>,
    is_lacking: bool,
}

impl Upstreams<'_> {
    /// The index of where requests to this server go.
    pub(super) fn find(&mut self, origin: Option<&str>) -> usize {
        let url = self.given.or(origin).unwrap_or_default();
        if let Some(known) = self.list.iter().position(|(_, known)| known == url) {
            return known;
        }
        if !super::is_upstream(url) {
            self.is_lacking = true;
            return 0;
        }
        let number = self.list.len() + 1;
        let name = if number == 1 { "api".to_owned() } else { format!("api-{number}") };
        self.list.push((name, url.to_owned()));
        number - 1
    }
}
