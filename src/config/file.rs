//! What was written: the tree read field by field into types, without a meaning given to it. A field that is None was
//! left out, or was wrong and the error is noted.

use std::time::Duration;

mod allow;
mod egress;
mod identity;
mod introspection;
mod issuer;
mod route;
mod server;
mod token_from;
mod upstream;

pub(super) use self::{
    allow::{Allow, ClaimTest, Rule},
    egress::{Egress, GrantWord},
    identity::{Assertion, Identity, IdentityValue},
    introspection::{AuthWord, Introspection, Userinfo},
    issuer::{Audiences, Claims, Issuer, Jwt, json},
    route::{Changes, Cors, HeaderList, Headers, RateLimit, Redirect, Respond, Route},
    server::{Admin, Listener, Logging, Mode, Server, Tls, Tracing},
    token_from::{TokenFrom, TokenPlace},
    upstream::{Health, Retry, Tls as UpstreamTls, Upstream},
};
use super::{
    reader::{At, Field, Fields, Reader},
    yaml::Node,
};
use crate::token::secret::Secret;

#[derive(Debug, Default)]
pub(super) struct ConfigFile {
    /// Those of the first file.
    pub(super) include: Vec<At<String>>,
    /// A file that it includes couldn't be read, so that names may seem to be missing.
    pub(super) incomplete: bool,
    /// It is only checked: files of private keys may be missing.
    pub(super) with_placeholders: bool,
    pub(super) listen: Option<Vec<Listener>>,
    pub(super) admin: Admin,
    pub(super) admin_token: Option<At<Secret>>,
    pub(super) server: Server,
    pub(super) issuers: Vec<Issuer>,
    /// `issuers` is there and holds something that isn't an issuer.
    pub(super) broken_issuers: bool,
    pub(super) token_cache_bytes: Option<At<u64>>,
    /// `state.redis`
    pub(super) redis: Option<At<Secret>>,
    pub(super) state_dir: Option<At<String>>,
    pub(super) upstreams: Vec<Upstream>,
    pub(super) identity: Identity,
    pub(super) realm: Option<At<String>>,
    pub(super) routes: Vec<Route>,
    pub(super) logging: Logging,
    pub(super) tracing: Tracing,
}

/// Reads the whole tree.
pub(super) fn read(root: &Node, r: &mut Reader<'_>) -> ConfigFile {
    let mut file = ConfigFile::default();
    let Some(top) = r.top(root) else { return file };
    file.include = version_and_include(&top, r);
    file.listen = r.field(&top, "listen").and_then(|field| server::listen(&field, r));
    if let Some(field) = r.field(&top, "admin") {
        (file.admin, file.admin_token) = server::admin(&field, r);
    }
    if let Some(fields) = section(&top, "server", r) {
        file.server = server::server(&fields, r);
    }
    if let Some(fields) = section(&top, "token_cache", r) {
        file.token_cache_bytes = r.field(&fields, "max_bytes").and_then(|field| r.size(&field));
    }
    if let Some(fields) = section(&top, "state", r) {
        file.redis = secret(&fields, "redis", r);
        file.state_dir = text(&fields, "dir", r);
    }
    if let Some(fields) = section(&top, "identity", r) {
        file.identity = identity::identity(&fields, r);
    }
    if let Some(fields) = section(&top, "errors", r) {
        file.realm = r.field(&fields, "realm").and_then(|field| r.text(&field));
    }
    if let Some(fields) = section(&top, "logging", r) {
        file.logging = server::logging(&fields, r);
    }
    if let Some(fields) = section(&top, "tracing", r) {
        file.tracing = server::tracing(&fields, r);
    }
    if !top.has("include") {
        r.required(&top, "routes", "without a route there is nothing to protect");
    }
    mergeable(&top, &mut file, r);
    file
}

/// Reads an included file's tree into what is there already. Returns what it includes itself.
pub(super) fn read_included(root: &Node, file: &mut ConfigFile, r: &mut Reader<'_>) -> Vec<At<String>> {
    const TAKEN: [&str; 5] = ["issuers", "upstreams", "routes", "include", "version"];
    let Some(top) = r.top(root) else { return Vec::new() };
    for (key, at) in top.known().filter(|(key, _)| !TAKEN.contains(key)) {
        let finding = at.error(format!("`{key}` can't be in an included file"));
        r.findings.push(finding.hint(
            "an included file has `issuers`, `upstreams`, `routes` and `include`; the rest is in the first file",
        ));
    }
    let include = version_and_include(&top, r);
    mergeable(&top, file, r);
    include
}

fn version_and_include(top: &Fields<'_>, r: &mut Reader<'_>) -> Vec<At<String>> {
    if let Some(written) = text(top, "version", r).filter(|written| written.value != "1") {
        let finding = written.error(format!("{} is not a version of this format", written.shown()));
        r.findings.push(finding.hint("`version: 1`"));
    }
    some_texts(top, "include", "name one file at least, or leave `include` out", r)
        .map(|list| list.value)
        .unwrap_or_default()
}

/// What every file may have a part of.
fn mergeable(top: &Fields<'_>, file: &mut ConfigFile, r: &mut Reader<'_>) {
    let known = file.issuers.len();
    for (name, field) in names(top, "issuers", r) {
        file.issuers.extend(r.fields(&field).map(|fields| issuer::issuer(name, &fields, r)));
    }
    file.broken_issuers |= file.issuers.len() == known && top.has("issuers") && r.findings.failed();
    for (name, field) in names(top, "upstreams", r) {
        file.upstreams.extend(r.fields(&field).map(|fields| upstream::upstream(name, &fields, r)));
    }
    let routes = r.field(top, "routes").and_then(|field| r.items(&field)).unwrap_or_default();
    for item in routes {
        file.routes.extend(r.fields(&item).map(|fields| route::route(&item, &fields, r)));
    }
}

fn section<'n>(fields: &Fields<'n>, key: &'static str, r: &mut Reader<'_>) -> Option<Fields<'n>> {
    let field = r.field(fields, key)?;
    r.fields(&field)
}

fn names<'n>(top: &Fields<'n>, key: &'static str, r: &mut Reader<'_>) -> Vec<(At<String>, Field<'n>)> {
    r.field(top, key).map(|field| r.named(&field)).unwrap_or_default()
}

fn text(fields: &Fields<'_>, key: &'static str, r: &mut Reader<'_>) -> Option<At<String>> {
    let field = r.field(fields, key)?;
    r.text(&field)
}

/// A text in a type that doesn't print.
fn secret(fields: &Fields<'_>, key: &'static str, r: &mut Reader<'_>) -> Option<At<Secret>> {
    let text = text(fields, key, r)?;
    Some(text.with(Secret::new(text.value.clone().into_bytes())))
}

fn texts(fields: &Fields<'_>, key: &'static str, r: &mut Reader<'_>) -> Option<At<Vec<At<String>>>> {
    let field = r.field(fields, key)?;
    r.texts(&field)
}

fn some_texts(fields: &Fields<'_>, key: &'static str, hint: &str, r: &mut Reader<'_>) -> Option<At<Vec<At<String>>>> {
    let field = r.field(fields, key)?;
    r.some_texts(&field, hint)
}

fn flag(fields: &Fields<'_>, key: &'static str, r: &mut Reader<'_>) -> Option<bool> {
    let field = r.field(fields, key)?;
    r.flag(&field)
}

fn duration(fields: &Fields<'_>, key: &'static str, r: &mut Reader<'_>) -> Option<At<Duration>> {
    let field = r.field(fields, key)?;
    r.duration(&field)
}

fn some_time(fields: &Fields<'_>, key: &'static str, r: &mut Reader<'_>) -> Option<Duration> {
    let field = r.field(fields, key)?;
    r.some_time(&field)
}

fn time_or_none(fields: &Fields<'_>, key: &'static str, r: &mut Reader<'_>) -> Option<Option<Duration>> {
    let field = r.field(fields, key)?;
    r.or_none(&field, |r, field| r.some_time(field))
}

fn size_or_none(fields: &Fields<'_>, key: &'static str, r: &mut Reader<'_>) -> Option<Option<At<u64>>> {
    let field = r.field(fields, key)?;
    r.or_none(&field, |r, field| r.size(field))
}

fn count_or_none(fields: &Fields<'_>, key: &'static str, r: &mut Reader<'_>) -> Option<Option<usize>> {
    let field = r.field(fields, key)?;
    r.or_none(&field, |r, field| r.count(field, 10_000_000))
}
