//! What was written: the tree read field by field into types, without a meaning given to it. A field that is None was
//! left out, or was wrong and the error is noted.

use std::time::Duration;

use serde_json::Value as Json;

mod allow;

pub(super) use self::allow::{Allow, ClaimTest, Rule};
use super::{
    reader::{At, Field, Fields, Reader},
    yaml::{Node, Value},
};
use crate::{observe::LogFormat, token::secret::Secret};

/// More threads than this help nobody.
const MOST_WORKERS: usize = 1024;

#[derive(Debug, Default)]
pub(super) struct ConfigFile {
    pub(super) listen: Option<Vec<Listener>>,
    pub(super) admin: Admin,
    pub(super) server: Server,
    pub(super) issuers: Vec<Issuer>,
    /// `issuers` is there and holds something that isn't an issuer.
    pub(super) broken_issuers: bool,
    pub(super) token_cache_bytes: Option<At<u64>>,
    pub(super) upstreams: Vec<Upstream>,
    pub(super) identity: Identity,
    pub(super) realm: Option<At<String>>,
    pub(super) routes: Vec<Route>,
    pub(super) logging: Logging,
}

#[derive(Debug)]
pub(super) struct Listener {
    pub(super) address: At<String>,
    pub(super) name: Option<At<String>>,
}

#[derive(Debug, Default)]
pub(super) enum Admin {
    #[default]
    Default,
    Off,
    Address(At<String>),
}

#[derive(Debug, Default)]
pub(super) struct Server {
    /// Inner None: auto.
    pub(super) workers: Option<Option<usize>>,
    pub(super) trusted_proxies: Vec<At<String>>,
    pub(super) max_header_bytes: Option<At<u64>>,
    pub(super) max_token_bytes: Option<At<u64>>,
    pub(super) max_body_bytes: Option<Option<At<u64>>>,
    pub(super) max_connections: Option<Option<usize>>,
    pub(super) header_timeout: Option<Duration>,
    pub(super) body_timeout: Option<Duration>,
    pub(super) idle_timeout: Option<Duration>,
    pub(super) ready_timeout: Option<At<Duration>>,
    pub(super) drain_delay: Option<At<Duration>>,
    pub(super) drain_timeout: Option<At<Duration>>,
}

#[derive(Debug)]
pub(super) struct Issuer {
    pub(super) name: At<String>,
    pub(super) issuer: Option<At<String>>,
    pub(super) audiences: Option<Audiences>,
    pub(super) jwt: Jwt,
    pub(super) claims: Claims,
    pub(super) http_timeout: Option<Duration>,
    pub(super) allow_http: Option<At<bool>>,
}

#[derive(Debug)]
pub(super) enum Audiences {
    Any(At<()>),
    OneOf(Vec<At<String>>),
}

#[derive(Debug, Default)]
pub(super) struct Jwt {
    pub(super) discovery: Option<At<bool>>,
    pub(super) jwks_uri: Option<At<String>>,
    pub(super) jwks_file: Option<At<String>>,
    pub(super) jwks: Option<At<Json>>,
    pub(super) public_keys: Option<At<Vec<At<String>>>>,
    pub(super) secret: Option<At<Secret>>,
    /// As written: base64.
    pub(super) secret_base64: Option<At<Secret>>,
    /// A key source was written and is wrong.
    pub(super) broken: bool,
    pub(super) algorithms: Option<At<Vec<At<String>>>>,
    pub(super) types: Option<At<Vec<At<String>>>>,
    pub(super) clock_skew: Option<At<Duration>>,
    pub(super) max_token_age: Option<Option<Duration>>,
    pub(super) require_claims: Option<At<Vec<At<String>>>>,
    pub(super) require_issuer: Option<bool>,
    pub(super) string_dates: Option<bool>,
    pub(super) refresh: Option<Duration>,
    pub(super) stale_keys: Option<At<Duration>>,
}

#[derive(Debug, Default)]
pub(super) struct Claims {
    pub(super) scopes: Option<At<Vec<At<String>>>>,
    pub(super) roles: Option<At<Vec<At<String>>>>,
    pub(super) subject: Option<At<String>>,
    pub(super) client: Option<At<Vec<At<String>>>>,
    pub(super) client_subjects: Option<At<String>>,
}

#[derive(Debug)]
pub(super) struct Upstream {
    pub(super) name: At<String>,
    pub(super) url: Option<At<String>>,
    pub(super) connect_timeout: Option<Duration>,
    pub(super) response_timeout: Option<Option<Duration>>,
    pub(super) idle_timeout: Option<Duration>,
    pub(super) max_connections: Option<Option<usize>>,
    pub(super) preserve_host: Option<bool>,
}

#[derive(Debug, Default)]
pub(super) struct Identity {
    pub(super) headers: Option<Vec<(At<String>, IdentityValue)>>,
    /// Whether the token goes on.
    pub(super) authorization: Option<bool>,
}

#[derive(Debug)]
pub(super) enum IdentityValue {
    Source(At<String>),
    Literal(At<String>),
}

#[derive(Debug)]
pub(super) struct Route {
    /// Where the route as a whole is.
    pub(super) at: At<()>,
    pub(super) name: Option<At<String>>,
    pub(super) listeners: Option<Vec<At<String>>>,
    pub(super) hosts: Option<Vec<At<String>>>,
    pub(super) paths: Option<Vec<At<String>>>,
    pub(super) methods: Option<Vec<At<String>>>,
    pub(super) upstream: Option<At<String>>,
    pub(super) respond: Option<Respond>,
    pub(super) redirect: Option<Redirect>,
    pub(super) strip_prefix: Option<At<String>>,
    pub(super) rewrite: Option<At<String>>,
    pub(super) allow: Option<Allow>,
    pub(super) enforce: Option<At<bool>>,
    pub(super) issuers: Option<At<Vec<At<String>>>>,
    pub(super) timeout: Option<Option<Duration>>,
    pub(super) max_body_bytes: Option<Option<At<u64>>>,
    pub(super) cors: Option<Cors>,
    pub(super) headers: Headers,
    pub(super) identity: Identity,
}

#[derive(Debug)]
pub(super) struct Cors {
    pub(super) origins: Option<Vec<At<String>>>,
    pub(super) methods: Option<Vec<At<String>>>,
    pub(super) headers: Option<Vec<At<String>>>,
    pub(super) credentials: Option<At<bool>>,
    pub(super) max_age: Option<Duration>,
}

#[derive(Debug)]
pub(super) struct Respond {
    pub(super) at: At<()>,
    pub(super) status: Option<At<u16>>,
    pub(super) body: Option<At<String>>,
    pub(super) headers: HeaderList,
}

#[derive(Debug)]
pub(super) struct Redirect {
    pub(super) at: At<()>,
    pub(super) to: Option<At<String>>,
    pub(super) status: Option<At<u16>>,
}

/// Names and values as they stand in a map of headers.
pub(super) type HeaderList = Vec<(At<String>, At<String>)>;

#[derive(Debug, Default)]
pub(super) struct Headers {
    pub(super) request: Changes,
    pub(super) response: Changes,
}

#[derive(Debug, Default)]
pub(super) struct Changes {
    pub(super) set: HeaderList,
    pub(super) remove: Vec<At<String>>,
}

#[derive(Debug, Default)]
pub(super) struct Logging {
    pub(super) level: Option<At<String>>,
    pub(super) format: Option<LogFormat>,
    pub(super) access: Option<bool>,
}

/// Reads the whole tree.
pub(super) fn read(root: &Node, r: &mut Reader<'_>) -> ConfigFile {
    let mut file = ConfigFile::default();
    let Some(top) = r.top(root) else { return file };
    if let Some(version) = r.field(&top, "version")
        && let Some(written) = r.text(&version)
        && written.value != "1"
    {
        r.findings
            .push(written.error(format!("{} is not a version of this format", written.shown())).hint("`version: 1`"));
    }
    file.listen = r.field(&top, "listen").and_then(|field| listen(&field, r));
    if let Some(field) = r.field(&top, "admin") {
        file.admin = admin(&field, r);
    }
    if let Some(fields) = section(&top, "server", r) {
        file.server = server(&fields, r);
    }
    for (name, field) in names(&top, "issuers", r) {
        file.issuers.extend(r.fields(&field).map(|fields| issuer(name, &fields, r)));
    }
    file.broken_issuers = file.issuers.is_empty() && top.has("issuers") && r.findings.failed();
    if let Some(fields) = section(&top, "token_cache", r) {
        file.token_cache_bytes = r.field(&fields, "max_bytes").and_then(|field| r.size(&field));
    }
    for (name, field) in names(&top, "upstreams", r) {
        file.upstreams.extend(r.fields(&field).map(|fields| upstream(name, &fields, r)));
    }
    if let Some(fields) = section(&top, "identity", r) {
        file.identity = identity(&fields, r);
    }
    if let Some(fields) = section(&top, "errors", r) {
        file.realm = r.field(&fields, "realm").and_then(|field| r.text(&field));
    }
    if let Some(fields) = section(&top, "logging", r) {
        file.logging = logging(&fields, r);
    }
    let routes = r.required(&top, "routes", "without a route there is nothing to protect");
    for item in routes.and_then(|field| r.items(&field)).unwrap_or_default() {
        file.routes.extend(r.fields(&item).map(|fields| route(&item, &fields, r)));
    }
    file
}

fn section<'n>(fields: &Fields<'n>, key: &'static str, r: &mut Reader<'_>) -> Option<Fields<'n>> {
    let field = r.field(fields, key)?;
    r.fields(&field)
}

fn names<'n>(top: &Fields<'n>, key: &'static str, r: &mut Reader<'_>) -> Vec<(At<String>, Field<'n>)> {
    r.field(top, key).map(|field| r.named(&field)).unwrap_or_default()
}

fn listen(field: &Field<'_>, r: &mut Reader<'_>) -> Option<Vec<Listener>> {
    let items = r.items(field)?;
    if items.is_empty() {
        r.findings.push(field.at(()).error("an empty list").hint("leave `listen` out for 127.0.0.1:8080"));
    }
    let mut listeners = Vec::new();
    for item in items {
        if item.is_text() {
            listeners.extend(r.text(&item).map(|address| Listener { address, name: None }));
        } else if let Some(fields) = r.fields(&item) {
            let name = r.field(&fields, "name").and_then(|field| r.text(&field));
            let address = r.required(&fields, "address", "an address and a port: `address: 127.0.0.1:8080`");
            let address = address.and_then(|field| r.text(&field));
            listeners.extend(address.map(|address| Listener { address, name }));
        }
    }
    Some(listeners)
}

fn admin(field: &Field<'_>, r: &mut Reader<'_>) -> Admin {
    if field.is("off") {
        return Admin::Off;
    }
    if field.is_text() {
        r.findings.push(
            field.at(()).error("`admin` is a map or `off`").hint("`admin: off` or `admin: {address: 127.0.0.1:9901}`"),
        );
        return Admin::Default;
    }
    let Some(fields) = r.fields(field) else { return Admin::Default };
    r.field(&fields, "address").and_then(|field| r.text(&field)).map_or(Admin::Default, Admin::Address)
}

fn server(fields: &Fields<'_>, r: &mut Reader<'_>) -> Server {
    let workers = r.field(fields, "workers").and_then(|field| match field.is("auto") {
        true => Some(None),
        false => r.count(&field, MOST_WORKERS).map(Some),
    });
    Server {
        workers,
        trusted_proxies: texts(fields, "trusted_proxies", r).map(|list| list.value).unwrap_or_default(),
        max_header_bytes: r.field(fields, "max_header_bytes").and_then(|field| r.size(&field)),
        max_token_bytes: r.field(fields, "max_token_bytes").and_then(|field| r.size(&field)),
        max_body_bytes: size_or_none(fields, "max_body_bytes", r),
        max_connections: count_or_none(fields, "max_connections", r),
        header_timeout: some_time(fields, "header_timeout", r),
        body_timeout: some_time(fields, "body_timeout", r),
        idle_timeout: some_time(fields, "idle_timeout", r),
        ready_timeout: duration(fields, "ready_timeout", r),
        drain_delay: duration(fields, "drain_delay", r),
        drain_timeout: duration(fields, "drain_timeout", r),
    }
}

fn issuer(name: At<String>, fields: &Fields<'_>, r: &mut Reader<'_>) -> Issuer {
    let url = r.required(fields, "issuer", "what its tokens have in `iss`, to the letter");
    let audiences = r.required(
        fields,
        "audiences",
        "what its tokens must have in `aud`: `audiences: [my-api]`; `audiences: any` accepts every token of the issuer",
    );
    Issuer {
        name,
        issuer: url.and_then(|field| r.text(&field)),
        audiences: audiences.and_then(|field| audiences_of(&field, r)),
        jwt: section(fields, "jwt", r).map(|fields| jwt(&fields, r)).unwrap_or_default(),
        claims: section(fields, "claims", r).map(|fields| claims(&fields, r)).unwrap_or_default(),
        http_timeout: some_time(fields, "http_timeout", r),
        allow_http: r.field(fields, "allow_http").and_then(|field| r.flag(&field).map(|flag| field.at_key(flag))),
    }
}

fn audiences_of(field: &Field<'_>, r: &mut Reader<'_>) -> Option<Audiences> {
    if field.is("any") {
        return Some(Audiences::Any(field.at_key(())));
    }
    r.some_texts(field, "name one audience at least, or accept every one with `audiences: any`")
        .map(|list| Audiences::OneOf(list.value))
}

fn jwt(fields: &Fields<'_>, r: &mut Reader<'_>) -> Jwt {
    let discovery = r.field(fields, "discovery").and_then(|field| r.flag(&field).map(|flag| field.at_key(flag)));
    let text_at_key = |key, r: &mut Reader<'_>| r.field(fields, key).and_then(|field| r.text(&field));
    let jwks_uri = text_at_key("jwks_uri", r);
    let jwks_file = text_at_key("jwks_file", r);
    let jwks = r.field(fields, "jwks").and_then(|field| {
        if !matches!(field.node.value, Value::Map(_)) {
            r.findings.push(field.at(()).error("a JSON Web Key Set is a map: `jwks: {keys: […]}`"));
            return None;
        }
        Some(field.at_key(json(field.node)))
    });
    let public_keys = some_texts(fields, "public_keys", "name one file at least", r);
    let secret_at_key = |key, r: &mut Reader<'_>| {
        let text = r.field(fields, key).and_then(|field| r.text(&field))?;
        Some(text.with(Secret::new(text.value.clone().into_bytes())))
    };
    let secret = secret_at_key("secret", r);
    let secret_base64 = secret_at_key("secret_base64", r);
    let found = [
        discovery.is_some(),
        jwks_uri.is_some(),
        jwks_file.is_some(),
        jwks.is_some(),
        public_keys.is_some(),
        secret.is_some(),
        secret_base64.is_some(),
    ];
    let keys = ["discovery", "jwks_uri", "jwks_file", "jwks", "public_keys", "secret", "secret_base64"];
    let written = keys.map(|key| fields.has(key));
    Jwt {
        discovery,
        jwks_uri,
        jwks_file,
        jwks,
        public_keys,
        secret,
        secret_base64,
        broken: found != written,
        algorithms: some_texts(fields, "algorithms", "leave it out for all algorithms of good repute", r),
        types: some_texts(fields, "types", "leave it out for `[at+jwt, JWT]`", r),
        clock_skew: duration(fields, "clock_skew", r),
        max_token_age: time_or_none(fields, "max_token_age", r),
        require_claims: texts(fields, "require_claims", r),
        require_issuer: flag(fields, "require_issuer", r),
        string_dates: flag(fields, "string_dates", r),
        refresh: some_time(fields, "refresh", r),
        stale_keys: duration(fields, "stale_keys", r),
    }
}

fn claims(fields: &Fields<'_>, r: &mut Reader<'_>) -> Claims {
    let token_kind = section(fields, "token_kind", r);
    let client_if = token_kind.and_then(|fields| section(&fields, "client_if", r));
    let client_subjects = client_if.and_then(|fields| r.field(&fields, "subject_matches"));
    Claims {
        scopes: texts(fields, "scopes", r),
        roles: texts(fields, "roles", r),
        subject: r.field(fields, "subject").and_then(|field| r.text(&field)),
        client: texts(fields, "client", r),
        client_subjects: client_subjects.and_then(|field| r.text(&field)),
    }
}

fn upstream(name: At<String>, fields: &Fields<'_>, r: &mut Reader<'_>) -> Upstream {
    // With `endpoints` the file is refused already: that `url` is missing besides would be no news.
    let url = match fields.has("endpoints") {
        true => r.field(fields, "url"),
        false => r.required(fields, "url", "where it is: `url: http://127.0.0.1:9000`"),
    };
    Upstream {
        name,
        url: url.and_then(|field| r.text(&field)),
        connect_timeout: some_time(fields, "connect_timeout", r),
        response_timeout: time_or_none(fields, "response_timeout", r),
        idle_timeout: some_time(fields, "idle_timeout", r),
        max_connections: count_or_none(fields, "max_connections", r),
        preserve_host: flag(fields, "preserve_host", r),
    }
}

fn identity(fields: &Fields<'_>, r: &mut Reader<'_>) -> Identity {
    let authorization = r.field(fields, "authorization");
    Identity {
        headers: r.field(fields, "headers").map(|field| identity_headers(&field, r)),
        authorization: authorization.and_then(|field| r.word(&field, &[("forward", true), ("remove", false)])),
    }
}

fn identity_headers(field: &Field<'_>, r: &mut Reader<'_>) -> Vec<(At<String>, IdentityValue)> {
    let mut headers = Vec::new();
    for (name, field) in r.named(field) {
        let value = if field.is_text() {
            r.text(&field).map(IdentityValue::Source)
        } else {
            let literal =
                r.fields(&field).and_then(|fields| r.required(&fields, "value", "a literal: `{value: production}`"));
            literal.and_then(|field| r.text(&field)).map(IdentityValue::Literal)
        };
        headers.extend(value.map(|value| (name, value)));
    }
    headers
}

fn route(item: &Field<'_>, fields: &Fields<'_>, r: &mut Reader<'_>) -> Route {
    let name = r.required(fields, "name", "it names the route in logs and metrics");
    let upstream = match fields.has("respond") || fields.has("redirect") {
        true => r.field(fields, "upstream"),
        false => r.required(fields, "upstream", "the name of one of `upstreams`, or a URL"),
    };
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
        upstream: upstream.and_then(|field| r.text(&field)),
        respond: r.field(fields, "respond").and_then(|field| respond(&field, r)),
        redirect: r.field(fields, "redirect").and_then(|field| redirect(&field, r)),
        strip_prefix: r.field(fields, "strip_prefix").and_then(|field| r.text(&field)),
        rewrite: r.field(fields, "rewrite").and_then(|field| r.text(&field)),
        allow: allow.and_then(|field| allow::access(&field, r)),
        enforce: r.field(fields, "enforce").and_then(|field| r.flag(&field).map(|flag| field.at_key(flag))),
        issuers: some_texts(fields, "issuers", "leave it out for every issuer", r),
        timeout: time_or_none(fields, "timeout", r),
        max_body_bytes: size_or_none(fields, "max_body_bytes", r),
        cors: section(fields, "cors", r).map(|fields| cors(&fields, r)),
        headers: section(fields, "headers", r).map(|fields| headers(&fields, r)).unwrap_or_default(),
        identity: section(fields, "identity", r).map(|fields| identity(&fields, r)).unwrap_or_default(),
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
            r.findings.push(
                super::diagnostic::Finding::error(one, &fields.path, message).hint("write all of them in `paths`"),
            );
            None
        }
        (false, true) => some_texts(fields, "paths", "name one path at least", r).map(|list| list.value),
        _ => {
            let field = r.required(fields, "path", "`path: /orders/{id}`, or `path: /**` for everything")?;
            r.text(&field).map(|path| vec![path])
        }
    }
}

fn logging(fields: &Fields<'_>, r: &mut Reader<'_>) -> Logging {
    let format = r.field(fields, "format");
    Logging {
        level: r.field(fields, "level").and_then(|field| r.text(&field)),
        format: format.and_then(|field| r.word(&field, &[("json", LogFormat::Json), ("text", LogFormat::Text)])),
        access: flag(fields, "access", r),
    }
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

/// A tree as JSON, by the core schema of YAML.
fn json(node: &Node) -> Json {
    match &node.value {
        Value::List(items) => items.iter().map(json).collect(),
        Value::Map(entries) => entries
            .iter()
            .map(|entry| (entry.key.text.to_string(), json(&entry.value)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
        Value::Text(text) if text.is_null() => Json::Null,
        Value::Text(text) => match (text.as_bool(), text.text.parse::<serde_json::Number>()) {
            (Some(flag), _) => flag.into(),
            (None, Ok(number)) if text.plain => number.into(),
            _ => (*text.text).into(),
        },
        Value::Broken => Json::Null,
    }
}
