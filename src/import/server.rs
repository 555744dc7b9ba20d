//! Where an API is reached, as `servers` say.

use super::notes::listed;
use crate::{
    config::{Diagnostic, Part},
    route::HostPattern,
};

/// The first of some servers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Server {
    /// The beginning of every path; without a slash at its end.
    pub(super) base: String,
    /// As a route's host; None: any.
    pub(super) host: Option<String>,
    /// `https://api.example.com:8443`; None: the document doesn't say.
    pub(super) origin: Option<String>,
    /// What was decided here.
    pub(super) notes: Vec<String>,
}

impl Server {
    /// Of a list of servers. Without any it is `/` (OpenAPI 3.1, section 4.8.1.1).
    ///
    /// # Errors
    /// What of it is no server.
    pub(super) fn read(servers: Option<Part<'_>>) -> Result<Server, Box<Diagnostic>> {
        let Some(servers) = servers else { return Ok(Server::default()) };
        let Some(items) = servers.items() else { return Err(servers.error("`servers` is a list", "`- url: …`")) };
        let Some((first, others)) = items.split_first() else { return Ok(Server::default()) };
        let mut notes = Vec::new();
        let url = filled_in(*first, &mut notes)?;
        let others = others.iter().filter_map(|other| other.member("url")?.text()).collect::<Vec<_>>();
        if !others.is_empty() {
            notes.push(format!(
                "of the document's servers the first is meant, {url}; it has {} besides",
                listed(&others)
            ));
        }
        let (scheme, rest) = match url.split_once("://") {
            Some((scheme, rest)) => (Some(scheme.to_ascii_lowercase()), rest),
            None => (None, url.strip_prefix("//").unwrap_or_default()),
        };
        let path = match rest {
            "" => url.as_str(),
            rest => rest.find(['/', '?', '#']).and_then(|at| rest.get(at..)).unwrap_or_default(),
        };
        let authority = rest.strip_suffix(path).unwrap_or_default();
        let (path, dropped) = path.split_at(path.find(['?', '#']).unwrap_or(path.len()));
        if !dropped.is_empty() {
            notes.push(format!("`{dropped}` at the end of the server {url} is no part of a path"));
        }
        let path = path.strip_prefix("./").unwrap_or(path).trim_end_matches('/');
        let base = match path {
            "" | "." => String::new(),
            path if path.starts_with('/') => path.to_owned(),
            path => {
                notes.push(format!("the server {url} is relative to where the document is: it is taken for /{path}"));
                format!("/{path}")
            }
        };
        let mut server = Server { base, notes, ..Server::default() };
        server.place(scheme.as_deref(), authority, &url);
        Ok(server)
    }

    fn place(&mut self, scheme: Option<&str>, authority: &str, url: &str) {
        let authority = authority.rsplit('@').next().unwrap_or_default();
        if authority.is_empty() {
            return;
        }
        match scheme {
            Some(scheme @ ("http" | "https")) => self.origin = Some(format!("{scheme}://{authority}")),
            Some(scheme) => {
                self.notes.push(format!("`{scheme}` of the server {url} is nothing that requests are sent by"))
            }
            None => self.origin = Some(format!("https://{authority}")),
        }
        let host = without_port(authority);
        match HostPattern::parse(host) {
            Ok(HostPattern::Exact(host)) if is_of_one_machine(&host) => {}
            Ok(HostPattern::Exact(host)) => self.host = Some(host),
            Ok(HostPattern::Suffix(_)) | Err(_) => {
                self.origin = None;
                self.notes.push(format!("`{host}` of the server {url} is no host, so that its routes take any"));
            }
        }
    }
}

/// A server's URL with its variables' defaults.
fn filled_in(server: Part<'_>, notes: &mut Vec<String>) -> Result<String, Box<Diagnostic>> {
    let Some(url) = server.member("url").filter(|url| url.text().is_some()) else {
        return Err(server.error("a server without `url`", "`- url: https://api.example.com/v1`"));
    };
    let (mut filled, mut rest) = (String::new(), url.text().unwrap_or_default().trim());
    while let Some((before, after)) = rest.split_once('{') {
        let Some((name, after)) = after.split_once('}') else {
            return Err(url.error("`{` without its `}`", "a variable is written `{name}`"));
        };
        let variable = server.member("variables").and_then(|variables| variables.member(name));
        let Some(default) = variable.and_then(|variable| variable.member("default")?.text()) else {
            let message = format!("the server's variable `{name}` has no default");
            return Err(url.error(message, "give it one in `variables`: OpenAPI asks for it"));
        };
        notes.push(format!(
            "`{{{name}}}` in the server {} is `{default}` here, its default",
            url.text().unwrap_or_default()
        ));
        filled.push_str(before);
        filled.push_str(default);
        rest = after;
    }
    Ok(filled + rest)
}

fn without_port(authority: &str) -> &str {
    match authority.rfind(']') {
        Some(end) => authority.get(..=end).unwrap_or(authority),
        None => authority.split(':').next().unwrap_or_default(),
    }
}

/// A developer's own: no host that clients of a gateway would ask for.
fn is_of_one_machine(host: &str) -> bool {
    let address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback() || address.is_unspecified())
}
