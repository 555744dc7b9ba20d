//! Every key of the configuration by its path. `*` stands for a name or a list's item.

/// Whether there is such a key below `parent` (a path of the table; "" at the top).
pub(super) fn is_known(parent: &str, key: &str) -> bool {
    below(parent).any(|name| name == key)
}

/// Whether keys stand below this one, so that `{}` is a value for it.
pub(super) fn has_children(parent: &str, key: &str) -> bool {
    below(&path_of(parent, key)).next().is_some()
}

fn path_of(parent: &str, key: &str) -> String {
    if parent.is_empty() { key.to_owned() } else { format!("{parent}.{key}") }
}

/// What to say of a key that there isn't: the one that was probably meant, or those that there are.
pub(super) fn suggestion(parent: &str, key: &str) -> Option<String> {
    if let Some(near) = meant(parent, key) {
        return Some(format!("did you mean `{near}`?"));
    }
    let all = below(parent).collect::<Vec<_>>();
    (!all.is_empty()).then(|| format!("the keys here are: {}", all.join(", ")))
}

/// The key that was probably meant by one that there isn't.
pub(super) fn meant(parent: &str, key: &str) -> Option<&'static str> {
    nearest_of(key, below(parent))
}

/// The name that was probably meant, out of those that there are.
pub(super) fn nearest_of<'n>(name: &str, names: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    let lower = name.to_lowercase();
    names
        .into_iter()
        .map(|known| (likeness(&lower, &known.to_lowercase()), known))
        .filter(|(likeness, _)| *likeness > 0.87)
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, known)| known)
}

/// By Jaro and Winkler; the last word of a name counts nearly as much as the whole (`timout`, `connect_timeout`).
fn likeness(name: &str, known: &str) -> f64 {
    let last_word = known.rsplit('_').next().unwrap_or(known);
    strsim::jaro_winkler(name, known).max(strsim::jaro_winkler(name, last_word) * 0.95)
}

/// For a name that there isn't: the one that was probably meant, or those that there are.
pub(crate) fn did_you_mean<'n>(name: &str, names: impl Iterator<Item = &'n str> + Clone, all: &str) -> Option<String> {
    match nearest_of(name, names.clone()) {
        Some(near) => Some(format!("did you mean `{near}`?")),
        None => {
            let names = names.map(|name| format!("`{name}`")).collect::<Vec<_>>();
            (!names.is_empty()).then(|| format!("{all} {}", names.join(", ")))
        }
    }
}

fn below(parent: &str) -> impl Iterator<Item = &'static str> {
    let table = if parent.starts_with(POLICY_TESTS) { POLICY_TEST_KEYS } else { KEYS };
    table.iter().filter_map(move |path| {
        let rest = if parent.is_empty() { path } else { path.strip_prefix(parent)?.strip_prefix('.')? };
        (!rest.contains('.')).then_some(rest)
    })
}

/// All that the configuration's contract lists.
pub(super) const KEYS: &[&str] = &[
    "version",
    "include",
    "listen",
    "listen.*.address",
    "listen.*.name",
    "listen.*.tls",
    "listen.*.tls.certificate",
    "listen.*.tls.key",
    "listen.*.tls.client_ca",
    "listen.*.tls.client_certificate",
    "listen.*.mode",
    "listen.*.request_from",
    "admin",
    "admin.address",
    "admin.token",
    "server",
    "server.workers",
    "server.trusted_proxies",
    "server.max_header_bytes",
    "server.max_token_bytes",
    "server.max_body_bytes",
    "server.max_connections",
    "server.header_timeout",
    "server.body_timeout",
    "server.idle_timeout",
    "server.ready_timeout",
    "server.drain_delay",
    "server.drain_timeout",
    "issuers",
    "issuers.*.issuer",
    "issuers.*.audiences",
    "issuers.*.jwt",
    "issuers.*.jwt.discovery",
    "issuers.*.jwt.jwks_uri",
    "issuers.*.jwt.jwks_file",
    "issuers.*.jwt.jwks",
    "issuers.*.jwt.public_keys",
    "issuers.*.jwt.secret",
    "issuers.*.jwt.secret_base64",
    "issuers.*.jwt.algorithms",
    "issuers.*.jwt.types",
    "issuers.*.jwt.clock_skew",
    "issuers.*.jwt.max_token_age",
    "issuers.*.jwt.require_claims",
    "issuers.*.jwt.require_issuer",
    "issuers.*.jwt.string_dates",
    "issuers.*.jwt.refresh",
    "issuers.*.jwt.stale_keys",
    "issuers.*.introspection",
    "issuers.*.introspection.endpoint",
    "issuers.*.introspection.client_id",
    "issuers.*.introspection.client_secret",
    "issuers.*.introspection.auth",
    "issuers.*.introspection.bearer_token",
    "issuers.*.introspection.private_key",
    "issuers.*.introspection.tokens",
    "issuers.*.introspection.timeout",
    "issuers.*.introspection.cache_ttl",
    "issuers.*.introspection.negative_ttl",
    "issuers.*.introspection.max_concurrent",
    "issuers.*.introspection.signed",
    "issuers.*.introspection.certificate",
    "issuers.*.introspection.key",
    "issuers.*.userinfo",
    "issuers.*.userinfo.endpoint",
    "issuers.*.userinfo.cache_ttl",
    "issuers.*.claims",
    "issuers.*.claims.scopes",
    "issuers.*.claims.roles",
    "issuers.*.claims.subject",
    "issuers.*.claims.client",
    "issuers.*.claims.token_kind",
    "issuers.*.claims.token_kind.client_if",
    "issuers.*.claims.token_kind.client_if.subject_matches",
    "issuers.*.dpop",
    "issuers.*.dpop.max_age",
    "issuers.*.dpop.nonce",
    "issuers.*.logout",
    "issuers.*.logout.back_channel",
    "issuers.*.logout.events",
    "issuers.*.sender_constraint",
    "issuers.*.tls_ca",
    "issuers.*.http_timeout",
    "issuers.*.allow_http",
    "token_cache",
    "token_cache.max_bytes",
    "state",
    "state.redis",
    "state.dir",
    "upstreams",
    "upstreams.*.url",
    "upstreams.*.endpoints",
    "upstreams.*.balance",
    "upstreams.*.http2",
    "upstreams.*.connect_timeout",
    "upstreams.*.response_timeout",
    "upstreams.*.idle_timeout",
    "upstreams.*.max_connections",
    "upstreams.*.health",
    "upstreams.*.health.path",
    "upstreams.*.health.interval",
    "upstreams.*.health.timeout",
    "upstreams.*.health.healthy",
    "upstreams.*.health.unhealthy",
    "upstreams.*.eject",
    "upstreams.*.eject.failures",
    "upstreams.*.eject.for",
    "upstreams.*.retry",
    "upstreams.*.retry.attempts",
    "upstreams.*.retry.on",
    "upstreams.*.retry.budget",
    "upstreams.*.tls",
    "upstreams.*.tls.ca",
    "upstreams.*.tls.server_name",
    "upstreams.*.tls.certificate",
    "upstreams.*.tls.key",
    "upstreams.*.preserve_host",
    "upstreams.*.paths",
    "upstreams.*.token",
    "upstreams.*.token.endpoint",
    "upstreams.*.token.grant",
    "upstreams.*.token.client_id",
    "upstreams.*.token.client_secret",
    "upstreams.*.token.scopes",
    "upstreams.*.token.audience",
    "upstreams.*.token.scope_separator",
    "upstreams.*.token.username",
    "upstreams.*.token.password",
    "upstreams.*.token.private_key",
    "upstreams.*.token.algorithm",
    "upstreams.*.token.assertion",
    "upstreams.*.token.assertion.iss",
    "upstreams.*.token.assertion.sub",
    "upstreams.*.token.assertion.aud",
    "upstreams.*.token.assertion.ttl",
    "upstreams.*.token.auth",
    "upstreams.*.token.expiry_margin",
    "identity",
    "identity.headers",
    "identity.headers.*.value",
    "identity.authorization",
    "identity.assertion",
    "identity.assertion.header",
    "identity.assertion.private_key",
    "identity.assertion.issuer",
    "identity.assertion.audience",
    "identity.assertion.ttl",
    "errors",
    "errors.realm",
    "routes",
    "routes.*.name",
    "routes.*.hosts",
    "routes.*.path",
    "routes.*.paths",
    "routes.*.methods",
    "routes.*.listeners",
    "routes.*.upstream",
    "routes.*.respond",
    "routes.*.respond.status",
    "routes.*.respond.body",
    "routes.*.respond.headers",
    "routes.*.redirect",
    "routes.*.redirect.to",
    "routes.*.redirect.status",
    "routes.*.strip_prefix",
    "routes.*.rewrite",
    "routes.*.allow",
    "routes.*.allow.*.methods",
    "routes.*.allow.*.scopes",
    "routes.*.allow.*.any_scope",
    "routes.*.allow.*.roles",
    "routes.*.allow.*.any_role",
    "routes.*.allow.*.issuers",
    "routes.*.allow.*.audiences",
    "routes.*.allow.*.token_kind",
    "routes.*.allow.*.claims",
    "routes.*.allow.*.claims.*.present",
    "routes.*.allow.*.claims.*.matches",
    "routes.*.allow.*.acr",
    "routes.*.allow.*.max_age",
    "routes.*.allow.*.when",
    "routes.*.issuers",
    "routes.*.token_from",
    "routes.*.token_from.*.query",
    "routes.*.token_from.*.cookie",
    "routes.*.token_from.*.header",
    "routes.*.enforce",
    "routes.*.rate_limit",
    "routes.*.rate_limit.*.rate",
    "routes.*.rate_limit.*.burst",
    "routes.*.rate_limit.*.per",
    "routes.*.max_body_bytes",
    "routes.*.timeout",
    "routes.*.cors",
    "routes.*.cors.origins",
    "routes.*.cors.methods",
    "routes.*.cors.headers",
    "routes.*.cors.credentials",
    "routes.*.cors.max_age",
    "routes.*.headers",
    "routes.*.headers.request",
    "routes.*.headers.request.set",
    "routes.*.headers.request.remove",
    "routes.*.headers.response",
    "routes.*.headers.response.set",
    "routes.*.headers.response.remove",
    "routes.*.identity",
    "routes.*.identity.headers",
    "routes.*.identity.headers.*.value",
    "routes.*.identity.authorization",
    "routes.*.identity.assertion",
    "routes.*.identity.assertion.header",
    "routes.*.identity.assertion.private_key",
    "routes.*.identity.assertion.issuer",
    "routes.*.identity.assertion.audience",
    "routes.*.identity.assertion.ttl",
    "routes.*.revokes",
    "routes.*.protected_resource",
    "routes.*.protected_resource.resource",
    "routes.*.protected_resource.scopes_supported",
    "logging",
    "logging.level",
    "logging.format",
    "logging.access",
    "tracing",
    "tracing.otlp",
    "tracing.sample",
];

/// The first part of the paths of a file of policy tests: a table of its own.
pub(super) const POLICY_TESTS: &str = "policy tests";

/// All keys of a file of policy tests.
const POLICY_TEST_KEYS: &[&str] = &[
    "policy tests.config",
    "policy tests.tests",
    "policy tests.tests.*.name",
    "policy tests.tests.*.request",
    "policy tests.tests.*.request.method",
    "policy tests.tests.*.request.url",
    "policy tests.tests.*.request.headers",
    "policy tests.tests.*.token",
    "policy tests.tests.*.token.issuer",
    "policy tests.tests.*.token.claims",
    "policy tests.tests.*.token.raw",
    "policy tests.tests.*.client_ip",
    "policy tests.tests.*.listener",
    "policy tests.tests.*.expect",
    "policy tests.tests.*.expect.decision",
    "policy tests.tests.*.expect.status",
    "policy tests.tests.*.expect.route",
    "policy tests.tests.*.expect.reason",
    "policy tests.tests.*.expect.rule",
    "policy tests.tests.*.expect.scope",
    "policy tests.tests.*.expect.upstream_headers",
    "policy tests.tests.*.expect.upstream_headers.*.present",
];
