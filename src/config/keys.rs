//! Every key of the configuration by its path, and whether it is in force. `*` stands for a name or a list's item.

/// Whether a key can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// In force.
    Live,
    /// Read, checked and compiled, and nothing acts on it yet: `run` refuses a file that has it, the rest warns of it.
    Pending,
}

use State::{Live, Pending};

/// The state of a key below `parent` (a path of the table; "" at the top). None: there is no such key.
pub(super) fn state(parent: &str, key: &str) -> Option<State> {
    below(parent).find(|(name, _)| *name == key).map(|(_, state)| state)
}

/// Whether a pending key stands at this path or above it: then those below it are no news.
pub(super) fn is_within_pending(path: &str) -> bool {
    let mut rest = Some(path);
    while let Some(path) = rest {
        if KEYS.iter().any(|(known, state)| *known == path && *state == Pending) {
            return true;
        }
        rest = path.rsplit_once('.').map(|(above, _)| above);
    }
    false
}

/// Whether what a pending key says is done anyway, so that it promises nothing.
pub(super) fn is_kept(parent: &str, key: &str, value: &str) -> bool {
    let path = path_of(parent, key);
    KEPT.iter().any(|(kept, values)| *kept == path && *values == value)
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
    let all = below(parent).map(|(name, _)| name).collect::<Vec<_>>();
    (!all.is_empty()).then(|| format!("the keys here are: {}", all.join(", ")))
}

/// The key that was probably meant by one that there isn't.
pub(super) fn meant(parent: &str, key: &str) -> Option<&'static str> {
    nearest_of(key, below(parent).map(|(name, _)| name))
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

fn below(parent: &str) -> impl Iterator<Item = (&'static str, State)> {
    let table = if parent.starts_with(POLICY_TESTS) { POLICY_TEST_KEYS } else { KEYS };
    table.iter().filter_map(move |(path, state)| {
        let rest = if parent.is_empty() { path } else { path.strip_prefix(parent)?.strip_prefix('.')? };
        (!rest.contains('.')).then_some((rest, *state))
    })
}

/// Values of pending keys that say what is done anyway.
pub(super) const KEPT: &[(&str, &str)] =
    &[("issuers.*.logout.back_channel", "false"), ("issuers.*.logout.events", "false")];

/// All that the configuration's contract lists.
pub(super) const KEYS: &[(&str, State)] = &[
    ("version", Live),
    ("include", Live),
    ("listen", Live),
    ("listen.*.address", Live),
    ("listen.*.name", Live),
    ("listen.*.tls", Live),
    ("listen.*.tls.certificate", Live),
    ("listen.*.tls.key", Live),
    ("listen.*.tls.client_ca", Live),
    ("listen.*.tls.client_certificate", Live),
    ("listen.*.mode", Live),
    ("listen.*.request_from", Live),
    ("admin", Live),
    ("admin.address", Live),
    ("admin.token", Live),
    ("server", Live),
    ("server.workers", Live),
    ("server.trusted_proxies", Live),
    ("server.max_header_bytes", Live),
    ("server.max_token_bytes", Live),
    ("server.max_body_bytes", Live),
    ("server.max_connections", Live),
    ("server.header_timeout", Live),
    ("server.body_timeout", Live),
    ("server.idle_timeout", Live),
    ("server.ready_timeout", Live),
    ("server.drain_delay", Live),
    ("server.drain_timeout", Live),
    ("issuers", Live),
    ("issuers.*.issuer", Live),
    ("issuers.*.audiences", Live),
    ("issuers.*.jwt", Live),
    ("issuers.*.jwt.discovery", Live),
    ("issuers.*.jwt.jwks_uri", Live),
    ("issuers.*.jwt.jwks_file", Live),
    ("issuers.*.jwt.jwks", Live),
    ("issuers.*.jwt.public_keys", Live),
    ("issuers.*.jwt.secret", Live),
    ("issuers.*.jwt.secret_base64", Live),
    ("issuers.*.jwt.algorithms", Live),
    ("issuers.*.jwt.types", Live),
    ("issuers.*.jwt.clock_skew", Live),
    ("issuers.*.jwt.max_token_age", Live),
    ("issuers.*.jwt.require_claims", Live),
    ("issuers.*.jwt.require_issuer", Live),
    ("issuers.*.jwt.string_dates", Live),
    ("issuers.*.jwt.refresh", Live),
    ("issuers.*.jwt.stale_keys", Live),
    ("issuers.*.introspection", Live),
    ("issuers.*.introspection.endpoint", Live),
    ("issuers.*.introspection.client_id", Live),
    ("issuers.*.introspection.client_secret", Live),
    ("issuers.*.introspection.auth", Live),
    ("issuers.*.introspection.bearer_token", Live),
    ("issuers.*.introspection.private_key", Live),
    ("issuers.*.introspection.tokens", Live),
    ("issuers.*.introspection.timeout", Live),
    ("issuers.*.introspection.cache_ttl", Live),
    ("issuers.*.introspection.negative_ttl", Live),
    ("issuers.*.introspection.max_concurrent", Live),
    ("issuers.*.introspection.signed", Live),
    ("issuers.*.introspection.certificate", Live),
    ("issuers.*.introspection.key", Live),
    ("issuers.*.userinfo", Live),
    ("issuers.*.userinfo.endpoint", Live),
    ("issuers.*.userinfo.cache_ttl", Live),
    ("issuers.*.claims", Live),
    ("issuers.*.claims.scopes", Live),
    ("issuers.*.claims.roles", Live),
    ("issuers.*.claims.subject", Live),
    ("issuers.*.claims.client", Live),
    ("issuers.*.claims.token_kind", Live),
    ("issuers.*.claims.token_kind.client_if", Live),
    ("issuers.*.claims.token_kind.client_if.subject_matches", Live),
    ("issuers.*.dpop", Live),
    ("issuers.*.dpop.max_age", Live),
    ("issuers.*.dpop.nonce", Live),
    ("issuers.*.logout", Live),
    ("issuers.*.logout.back_channel", Pending),
    ("issuers.*.logout.events", Pending),
    ("issuers.*.sender_constraint", Live),
    ("issuers.*.tls_ca", Live),
    ("issuers.*.http_timeout", Live),
    ("issuers.*.allow_http", Live),
    ("token_cache", Live),
    ("token_cache.max_bytes", Live),
    ("state", Live),
    ("state.redis", Live),
    ("state.dir", Live),
    ("upstreams", Live),
    ("upstreams.*.url", Live),
    ("upstreams.*.endpoints", Live),
    ("upstreams.*.balance", Live),
    ("upstreams.*.http2", Live),
    ("upstreams.*.connect_timeout", Live),
    ("upstreams.*.response_timeout", Live),
    ("upstreams.*.idle_timeout", Live),
    ("upstreams.*.max_connections", Live),
    ("upstreams.*.health", Live),
    ("upstreams.*.health.path", Live),
    ("upstreams.*.health.interval", Live),
    ("upstreams.*.health.timeout", Live),
    ("upstreams.*.health.healthy", Live),
    ("upstreams.*.health.unhealthy", Live),
    ("upstreams.*.eject", Live),
    ("upstreams.*.eject.failures", Live),
    ("upstreams.*.eject.for", Live),
    ("upstreams.*.retry", Live),
    ("upstreams.*.retry.attempts", Live),
    ("upstreams.*.retry.on", Live),
    ("upstreams.*.retry.budget", Live),
    ("upstreams.*.tls", Live),
    ("upstreams.*.tls.ca", Live),
    ("upstreams.*.tls.server_name", Live),
    ("upstreams.*.tls.certificate", Live),
    ("upstreams.*.tls.key", Live),
    ("upstreams.*.preserve_host", Live),
    ("upstreams.*.paths", Live),
    ("upstreams.*.token", Live),
    ("upstreams.*.token.endpoint", Live),
    ("upstreams.*.token.grant", Live),
    ("upstreams.*.token.client_id", Live),
    ("upstreams.*.token.client_secret", Live),
    ("upstreams.*.token.scopes", Live),
    ("upstreams.*.token.audience", Live),
    ("upstreams.*.token.scope_separator", Live),
    ("upstreams.*.token.username", Live),
    ("upstreams.*.token.password", Live),
    ("upstreams.*.token.private_key", Live),
    ("upstreams.*.token.algorithm", Live),
    ("upstreams.*.token.assertion", Live),
    ("upstreams.*.token.assertion.iss", Live),
    ("upstreams.*.token.assertion.sub", Live),
    ("upstreams.*.token.assertion.aud", Live),
    ("upstreams.*.token.assertion.ttl", Live),
    ("upstreams.*.token.auth", Live),
    ("upstreams.*.token.expiry_margin", Live),
    ("identity", Live),
    ("identity.headers", Live),
    ("identity.headers.*.value", Live),
    ("identity.authorization", Live),
    ("identity.assertion", Live),
    ("identity.assertion.header", Live),
    ("identity.assertion.private_key", Live),
    ("identity.assertion.issuer", Live),
    ("identity.assertion.audience", Live),
    ("identity.assertion.ttl", Live),
    ("errors", Live),
    ("errors.realm", Live),
    ("routes", Live),
    ("routes.*.name", Live),
    ("routes.*.hosts", Live),
    ("routes.*.path", Live),
    ("routes.*.paths", Live),
    ("routes.*.methods", Live),
    ("routes.*.listeners", Live),
    ("routes.*.upstream", Live),
    ("routes.*.respond", Live),
    ("routes.*.respond.status", Live),
    ("routes.*.respond.body", Live),
    ("routes.*.respond.headers", Live),
    ("routes.*.redirect", Live),
    ("routes.*.redirect.to", Live),
    ("routes.*.redirect.status", Live),
    ("routes.*.strip_prefix", Live),
    ("routes.*.rewrite", Live),
    ("routes.*.allow", Live),
    ("routes.*.allow.*.methods", Live),
    ("routes.*.allow.*.scopes", Live),
    ("routes.*.allow.*.any_scope", Live),
    ("routes.*.allow.*.roles", Live),
    ("routes.*.allow.*.any_role", Live),
    ("routes.*.allow.*.issuers", Live),
    ("routes.*.allow.*.audiences", Live),
    ("routes.*.allow.*.token_kind", Live),
    ("routes.*.allow.*.claims", Live),
    ("routes.*.allow.*.claims.*.present", Live),
    ("routes.*.allow.*.claims.*.matches", Live),
    ("routes.*.allow.*.acr", Live),
    ("routes.*.allow.*.max_age", Live),
    ("routes.*.allow.*.when", Live),
    ("routes.*.issuers", Live),
    ("routes.*.token_from", Live),
    ("routes.*.token_from.*.query", Live),
    ("routes.*.token_from.*.cookie", Live),
    ("routes.*.token_from.*.header", Live),
    ("routes.*.enforce", Live),
    ("routes.*.rate_limit", Live),
    ("routes.*.rate_limit.*.rate", Live),
    ("routes.*.rate_limit.*.burst", Live),
    ("routes.*.rate_limit.*.per", Live),
    ("routes.*.max_body_bytes", Live),
    ("routes.*.timeout", Live),
    ("routes.*.cors", Live),
    ("routes.*.cors.origins", Live),
    ("routes.*.cors.methods", Live),
    ("routes.*.cors.headers", Live),
    ("routes.*.cors.credentials", Live),
    ("routes.*.cors.max_age", Live),
    ("routes.*.headers", Live),
    ("routes.*.headers.request", Live),
    ("routes.*.headers.request.set", Live),
    ("routes.*.headers.request.remove", Live),
    ("routes.*.headers.response", Live),
    ("routes.*.headers.response.set", Live),
    ("routes.*.headers.response.remove", Live),
    ("routes.*.identity", Live),
    ("routes.*.identity.headers", Live),
    ("routes.*.identity.headers.*.value", Live),
    ("routes.*.identity.authorization", Live),
    ("routes.*.identity.assertion", Live),
    ("routes.*.identity.assertion.header", Live),
    ("routes.*.identity.assertion.private_key", Live),
    ("routes.*.identity.assertion.issuer", Live),
    ("routes.*.identity.assertion.audience", Live),
    ("routes.*.identity.assertion.ttl", Live),
    ("routes.*.revokes", Live),
    ("routes.*.protected_resource", Live),
    ("routes.*.protected_resource.resource", Live),
    ("routes.*.protected_resource.scopes_supported", Live),
    ("logging", Live),
    ("logging.level", Live),
    ("logging.format", Live),
    ("logging.access", Live),
    ("tracing", Live),
    ("tracing.otlp", Live),
    ("tracing.sample", Live),
];

/// The first part of the paths of a file of policy tests: a table of its own.
pub(super) const POLICY_TESTS: &str = "policy tests";

/// All keys of a file of policy tests.
const POLICY_TEST_KEYS: &[(&str, State)] = &[
    ("policy tests.config", Live),
    ("policy tests.tests", Live),
    ("policy tests.tests.*.name", Live),
    ("policy tests.tests.*.request", Live),
    ("policy tests.tests.*.request.method", Live),
    ("policy tests.tests.*.request.url", Live),
    ("policy tests.tests.*.request.headers", Live),
    ("policy tests.tests.*.token", Live),
    ("policy tests.tests.*.token.issuer", Live),
    ("policy tests.tests.*.token.claims", Live),
    ("policy tests.tests.*.token.raw", Live),
    ("policy tests.tests.*.client_ip", Live),
    ("policy tests.tests.*.listener", Live),
    ("policy tests.tests.*.expect", Live),
    ("policy tests.tests.*.expect.decision", Live),
    ("policy tests.tests.*.expect.status", Live),
    ("policy tests.tests.*.expect.route", Live),
    ("policy tests.tests.*.expect.reason", Live),
    ("policy tests.tests.*.expect.rule", Live),
    ("policy tests.tests.*.expect.scope", Live),
    ("policy tests.tests.*.expect.upstream_headers", Live),
    ("policy tests.tests.*.expect.upstream_headers.*.present", Live),
];
