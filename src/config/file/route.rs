//! `routes`.

use std::time::Duration;

use super::{
    ConfigFile, Identity, Listener, TokenFrom, allow, allow::Allow, duration, identity, section, size_or_none,
    some_texts, text, texts, time_or_none, token_from,
};
use crate::{
    config::{
        diagnostic::Finding,
        reader::{At, Field, Fields, Reader},
        units,
    },
    limit::Rate,
};

#[derive(Debug)]
pub(in crate::config) struct Route {
    /// Where the route as a whole is.
    pub(in crate::config) at: At<()>,
    pub(in crate::config) name: Option<At<String>>,
    pub(in crate::config) listeners: Option<Vec<At<String>>>,
    pub(in crate::config) hosts: Option<Vec<At<String>>>,
    pub(in crate::config) paths: Option<Vec<At<String>>>,
    pub(in crate::config) methods: Option<Vec<At<String>>>,
    pub(in crate::config) upstream: Option<At<String>>,
    /// Where its requests go isn't said: neither by `upstream`, nor by a key in its place.
    pub(in crate::config) leads_nowhere: bool,
    pub(in crate::config) respond: Option<Respond>,
    pub(in crate::config) redirect: Option<Redirect>,
    pub(in crate::config) strip_prefix: Option<At<String>>,
    pub(in crate::config) rewrite: Option<At<String>>,
    pub(in crate::config) allow: Option<Allow>,
    pub(in crate::config) token_from: Option<TokenFrom>,
    pub(in crate::config) enforce: Option<At<bool>>,
    pub(in crate::config) issuers: Option<At<Vec<At<String>>>>,
    pub(in crate::config) timeout: Option<Option<Duration>>,
    pub(in crate::config) max_body_bytes: Option<Option<At<u64>>>,
    pub(in crate::config) cors: Option<Cors>,
    pub(in crate::config) headers: Headers,
    pub(in crate::config) identity: Identity,
    /// `revokes: token`
    pub(in crate::config) revokes: Option<At<()>>,
    pub(in crate::config) rate_limits: Vec<RateLimit>,
    pub(in crate::config) protected_resource: Option<ProtectedResource>,
}

#[derive(Debug)]
pub(in crate::config) struct RateLimit {
    pub(in crate::config) rate: Option<Rate>,
    pub(in crate::config) burst: Option<u32>,
    pub(in crate::config) per: Option<At<String>>,
}

#[derive(Debug)]
pub(in crate::config) struct ProtectedResource {
    pub(in crate::config) resource: Option<At<String>>,
    pub(in crate::config) scopes_supported: Option<At<Vec<At<String>>>>,
}

#[derive(Debug)]
pub(in crate::config) struct Cors {
    pub(in crate::config) origins: Option<Vec<At<String>>>,
    pub(in crate::config) methods: Option<Vec<At<String>>>,
    pub(in crate::config) headers: Option<Vec<At<String>>>,
    pub(in crate::config) credentials: Option<At<bool>>,
    pub(in crate::config) max_age: Option<Duration>,
}

#[derive(Debug)]
pub(in crate::config) struct Respond {
    pub(in crate::config) at: At<()>,
    pub(in crate::config) status: Option<At<u16>>,
    pub(in crate::config) body: Option<At<String>>,
    pub(in crate::config) headers: HeaderList,
}

#[derive(Debug)]
pub(in crate::config) struct Redirect {
    pub(in crate::config) at: At<()>,
    pub(in crate::config) to: Option<At<String>>,
    pub(in crate::config) status: Option<At<u16>>,
}

/// Names and values as they stand in a map of headers.
pub(in crate::config) type HeaderList = Vec<(At<String>, At<String>)>;

#[derive(Debug, Default)]
pub(in crate::config) struct Headers {
    pub(in crate::config) request: Changes,
    pub(in crate::config) response: Changes,
}

#[derive(Debug, Default)]
pub(in crate::config) struct Changes {
    pub(in crate::config) set: HeaderList,
    pub(in crate::config) remove: Vec<At<String>>,
}

impl Route {
    /// Those of its listeners that are defined: all, where none are named.
    pub(in crate::config) fn listeners_in<'f>(&'f self, file: &'f ConfigFile) -> impl Iterator<Item = &'f Listener> {
        let names = self.listeners.as_deref();
        let is_named = move |listener: &&Listener| {
            let name = listener.name.as_ref().unwrap_or(&listener.address);
            names.is_none_or(|names| names.iter().any(|named| named.value == name.value))
        };
        file.listen.iter().flatten().filter(is_named)
    }
}

pub(super) fn route(item: &Field<'_>, fields: &Fields<'_>, r: &mut Reader<'_>) -> Route {
    let name = r.required(fields, "name", "it names the route in logs and metrics");
    let allow = r.required(
        fields,
        "allow",
        "nothing is open by omission: `public`, `optional`, `authenticated`, or a list of rules",
    );
    Route {
        at: item.at_key(()),
        name: name.and_then(|field| r.text(&field)),
        listeners: some_texts(fields, "listeners", "leave it out for every listener", r).map(|list| list.value),
        hosts: some_texts(fields, "hosts", "leave it out for any host", r).map(|list| list.value),
        paths: paths(fields, r),
        methods: some_texts(fields, "methods", "leave it out for any method", r).map(|list| list.value),
        upstream: text(fields, "upstream", r),
        leads_nowhere: !["upstream", "respond", "redirect"].iter().any(|key| fields.has_or_means(key)),
        respond: r.field(fields, "respond").and_then(|field| respond(&field, r)),
        redirect: r.field(fields, "redirect").and_then(|field| redirect(&field, r)),
        strip_prefix: r.field(fields, "strip_prefix").and_then(|field| r.text(&field)),
        rewrite: r.field(fields, "rewrite").and_then(|field| r.text(&field)),
        allow: allow.and_then(|field| allow::access(&field, r)),
        token_from: r.field(fields, "token_from").map(|field| token_from::token_from(&field, r)),
        enforce: r.field(fields, "enforce").and_then(|field| r.flag(&field).map(|flag| field.at_key(flag))),
        issuers: some_texts(fields, "issuers", "leave it out for every issuer", r),
        timeout: time_or_none(fields, "timeout", r),
        max_body_bytes: size_or_none(fields, "max_body_bytes", r),
        cors: section(fields, "cors", r).map(|fields| cors(&fields, r)),
        headers: section(fields, "headers", r).map(|fields| headers(&fields, r)).unwrap_or_default(),
        identity: section(fields, "identity", r).map(|fields| identity::identity(&fields, r)).unwrap_or_default(),
        rate_limits: rate_limits(fields, r),
        protected_resource: section(fields, "protected_resource", r).map(|fields| protected_resource(&fields, r)),
        revokes: r
            .field(fields, "revokes")
            .and_then(|field| r.word(&field, &[("token", ())]).map(|()| field.at_key(()))),
    }
}

fn rate_limits(fields: &Fields<'_>, r: &mut Reader<'_>) -> Vec<RateLimit> {
    let Some(field) = r.field(fields, "rate_limit") else { return Vec::new() };
    let items = r.one_or_more(&field).unwrap_or_default();
    if items.is_empty() {
        r.findings.push(field.at(()).error("an empty list").hint("leave `rate_limit` out for no limit"));
    }
    items.iter().filter_map(|item| rate_limit(item, r)).collect()
}

fn rate_limit(item: &Field<'_>, r: &mut Reader<'_>) -> Option<RateLimit> {
    let fields = r.fields(item)?;
    let rate = r.required(&fields, "rate", "how many requests go on: `rate: 100/s`");
    let burst = r.field(&fields, "burst").and_then(|field| r.count(&field, 10_000_000));
    Some(RateLimit {
        rate: rate.and_then(|field| r.unit(&field, "a rate", units::rate)).map(|at| at.value),
        burst: burst.and_then(|burst| u32::try_from(burst).ok()),
        per: text(&fields, "per", r),
    })
}

fn protected_resource(fields: &Fields<'_>, r: &mut Reader<'_>) -> ProtectedResource {
    let resource = r.required(fields, "resource", "the API's identifier: `resource: https://api.example.com/rest`");
    ProtectedResource {
        resource: resource.and_then(|field| r.text(&field)),
        scopes_supported: some_texts(fields, "scopes_supported", "leave it out to tell none", r),
    }
}

fn cors(fields: &Fields<'_>, r: &mut Reader<'_>) -> Cors {
    const HINT: &str = "the pages that may call this route: `origins: [https://app.example.com]`";
    let origins = r.required(fields, "origins", HINT);
    let credentials = r.field(fields, "credentials");
    Cors {
        origins: origins.and_then(|field| r.some_texts(&field, HINT)).map(|list| list.value),
        methods: some_texts(fields, "methods", "leave it out for what the route takes", r).map(|list| list.value),
        headers: some_texts(fields, "headers", "leave it out for none", r).map(|list| list.value),
        credentials: credentials.and_then(|field| r.flag(&field).map(|flag| field.at_key(flag))),
        max_age: duration(fields, "max_age", r).map(|age| age.value),
    }
}

fn respond(field: &Field<'_>, r: &mut Reader<'_>) -> Option<Respond> {
    let fields = r.fields(field)?;
    let headers = r.field(&fields, "headers").map(|field| header_list(&field, r));
    Some(Respond {
        at: field.at_key(()),
        status: status(&fields, r),
        body: r.field(&fields, "body").and_then(|field| r.text(&field)),
        headers: headers.unwrap_or_default(),
    })
}

fn redirect(field: &Field<'_>, r: &mut Reader<'_>) -> Option<Redirect> {
    let fields = r.fields(field)?;
    let to = r.required(&fields, "to", "where to: `to: /new/{id}` or `to: https://new.example/{id}`");
    Some(Redirect { at: field.at_key(()), to: to.and_then(|field| r.text(&field)), status: status(&fields, r) })
}

fn status(fields: &Fields<'_>, r: &mut Reader<'_>) -> Option<At<u16>> {
    let field = r.field(fields, "status")?;
    let status = r.count(&field, 599)?;
    u16::try_from(status).ok().map(|status| field.at(status))
}

fn headers(fields: &Fields<'_>, r: &mut Reader<'_>) -> Headers {
    let changes = |key, r: &mut Reader<'_>| {
        let Some(fields) = section(fields, key, r) else { return Changes::default() };
        let set = r.field(&fields, "set").map(|field| header_list(&field, r));
        Changes {
            set: set.unwrap_or_default(),
            remove: texts(&fields, "remove", r).map(|list| list.value).unwrap_or_default(),
        }
    };
    Headers { request: changes("request", r), response: changes("response", r) }
}

fn header_list(field: &Field<'_>, r: &mut Reader<'_>) -> HeaderList {
    let named = r.named(field);
    named.into_iter().filter_map(|(name, value)| Some((name, r.text(&value)?))).collect()
}

fn paths(fields: &Fields<'_>, r: &mut Reader<'_>) -> Option<Vec<At<String>>> {
    match (fields.has("path"), fields.has("paths")) {
        (true, true) => {
            let one = r.field(fields, "path").map_or(fields.span, |field| field.key_span);
            let many = r.field(fields, "paths").map_or(fields.span, |field| field.key_span);
            let message = format!("`path` beside `paths` (at {})", r.place(many));
            r.findings.push(Finding::error(one, &fields.path, message).hint("write all of them in `paths`"));
            None
        }
        (false, true) => some_texts(fields, "paths", "name one path at least", r).map(|list| list.value),
        _ => {
            let field = r.required(fields, "path", "`path: /orders/{id}`, or `path: /**` for everything")?;
            r.text(&field).map(|path| vec![path])
        }
    }
}
