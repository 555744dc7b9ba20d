//! What one request sees of the configuration from start to end, and what outlives it.

use std::{
    borrow::Cow,
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use crate::{
    config::Policy,
    egress::{EgressSettings, Grant, TokenSource},
    headers::TrustedProxies,
    identity::{IdentityPlan, ReservedNames},
    limit::{Limiter, RateLimit, RouteLimits},
    logout::Logouts,
    observe::{Observer, RouteMetrics, token_parameter},
    path::{CanonicalPath, Reading},
    respond::Realm,
    route::{RouteSettings, RouteTable},
    server::ListenMode,
    shared_state::{RedisSettings, SharedState},
    state_dir::StateDir,
    token::{
        cache::TokenCache,
        extra_roots::ExtraRoots,
        issuer::{Issuer, IssuerSettings, KeySource},
        jwks::KeyStore,
        revocation::Revocations,
        secret::Secret,
    },
    upstream::{EndpointAddress, EndpointIdentity, EndpointParts, Standing, Upstream, UpstreamSettings},
    validity::first_end,
};

/// A policy put to work. Immutable; swapped as a whole.
#[derive(Debug)]
pub struct Snapshot {
    /// By the indices that `table` gives.
    pub routes: Vec<Route>,
    /// From host, path and method to a route.
    pub table: RouteTable,
    /// All upstreams, in the file's order, and those that routes have in place. Each is to be maintained.
    pub upstreams: Vec<Arc<Upstream>>,
    /// All issuers, in the file's order.
    pub issuers: Vec<Arc<Issuer>>,
    /// The listeners' names, by their indices.
    pub listeners: Vec<Arc<str>>,
    /// Where a request comes in of which nothing is said: the first listener that forwards; the first one where none does.
    pub main_listener: usize,
    /// Logouts that are on their way.
    pub logouts: Logouts,
    /// Tokens verified before, maybe under another snapshot.
    pub tokens: Arc<TokenCache>,
    /// What has been ended before its time.
    pub revocations: Arc<Revocations>,
    /// What replicas share; None: nothing.
    pub shared: Option<Arc<SharedState>>,
    /// What the admin listener asks of who wants more than health and metrics.
    pub admin_token: Option<Secret>,
    /// What the configuration has from files, in whatever key: no answer of the admin listener shows it.
    pub confidential: Vec<Secret>,
    /// What no client may send.
    pub reserved: Arc<ReservedNames>,
    /// Whose forwarding headers are believed.
    pub trusted_proxies: TrustedProxies,
    /// Of challenges.
    pub realm: Realm,
    /// Bytes of a credential.
    pub max_token_bytes: usize,
    /// Between two pieces of a request body.
    pub body_timeout: Duration,
    /// The query fields that are tokens on some route, for the log.
    pub token_parameters: Vec<Box<str>>,
    /// For requests that no route takes.
    pub no_route: RouteMetrics,
    /// Whether a route leads to an upstream that ignores case in paths.
    pub ignores_case: bool,
}

/// A route at work.
#[derive(Debug)]
pub struct Route {
    /// As configured.
    pub settings: RouteSettings,
    /// The value of `Allow`.
    pub allow_header: String,
    /// Whose tokens it takes, in the file's order.
    pub issuers: Vec<Arc<Issuer>>,
    /// Whether its rules ask for a header of the request.
    pub reads_headers: bool,
    /// How often it may be called.
    pub limits: RouteLimits,
    /// Where it leads; None where the gateway answers itself.
    pub upstream: Option<Arc<Upstream>>,
    /// Its counters.
    pub metrics: RouteMetrics,
}

impl Route {
    /// Whether its upstream takes paths that differ in case for one.
    pub fn ignores_case(&self) -> bool {
        self.upstream.as_ref().is_some_and(|upstream| upstream.settings().ignores_case)
    }

    /// Whether its upstream is called with a token of the gateway's own: who asks is then nobody's affair there.
    pub fn has_own_token(&self) -> bool {
        self.upstream.as_ref().is_some_and(|upstream| upstream.settings().token.is_some())
    }

    /// Whether a request goes on with such a token: a caller's can't be exchanged where there is none.
    pub fn sends_own_token(&self, has_caller: bool) -> bool {
        let token = self.upstream.as_ref().and_then(|upstream| upstream.settings().token.as_ref());
        token.is_some_and(|token| has_caller || token.grant != Grant::TokenExchange)
    }

    /// How servers may read a path that this route takes, its upstream among them.
    pub fn readings<'p>(&self, path: &'p CanonicalPath) -> Cow<'p, [Reading]> {
        if self.ignores_case() { path.readings_ignoring_case().into() } else { path.readings().into() }
    }
}

/// What outlives a snapshot: each part is keyed by what it was configured with and lives as long as a snapshot uses it.
#[derive(Debug)]
pub struct LongLived {
    observer: Arc<Observer>,
    workers: usize,
    logouts: Logouts,
    state: Option<Arc<StateDir>>,
    revocations: Arc<Revocations>,
    keys: Registry<KeyStoreIdentity, KeyStore>,
    issuers: Registry<IssuerSettings, Issuer>,
    /// By its size.
    tokens: Registry<u64, TokenCache>,
    upstreams: Registry<UpstreamSettings, Upstream>,
    /// By the upstream's name, too: each has its own.
    egress: Registry<(Arc<str>, EgressSettings), TokenSource>,
    standings: Registry<EndpointIdentity, Standing>,
    shared: Registry<RedisSettings, SharedState>,
    /// By the limit's name among replicas, and what it allows.
    limiters: Registry<(String, RateLimit), Limiter>,
}

/// What a key store depends on; a change to anything else of an issuer keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct KeyStoreIdentity {
    origin: KeysOrigin,
    refresh: Duration,
    stale_keys: Duration,
    http_timeout: Duration,
}

/// Where keys come from and who vouches for it: a store that differs in how it fetches begins with the keys of the one
/// before.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct KeysOrigin {
    name: Arc<str>,
    issuer: Option<String>,
    keys: KeySource,
    allow_http: bool,
    tls_ca: Option<ExtraRoots>,
}

impl KeyStoreIdentity {
    fn of(settings: &IssuerSettings) -> KeyStoreIdentity {
        KeyStoreIdentity {
            origin: KeysOrigin {
                name: settings.name.clone(),
                issuer: settings.issuer.clone(),
                keys: settings.jwt.keys.clone(),
                allow_http: settings.allow_http,
                tls_ca: settings.tls_ca.clone(),
            },
            refresh: settings.jwt.refresh,
            stale_keys: settings.jwt.stale_keys,
            http_timeout: settings.http_timeout,
        }
    }
}

impl LongLived {
    /// Empty. `workers` is how many threads serve: pools are per worker.
    pub fn new(observer: Arc<Observer>, workers: usize) -> LongLived {
        LongLived {
            workers,
            logouts: Logouts::default(),
            state: None,
            revocations: Arc::new(Revocations::new(&observer)),
            keys: Registry::default(),
            issuers: Registry::default(),
            tokens: Registry::default(),
            upstreams: Registry::default(),
            egress: Registry::default(),
            standings: Registry::default(),
            shared: Registry::default(),
            limiters: Registry::default(),
            observer,
        }
    }

    /// With a folder for what outlives the process, and what is in it.
    ///
    /// # Errors
    /// The revocations that are in it can't be read.
    pub fn with_state(self, state: Option<StateDir>) -> Result<LongLived, String> {
        let Some(state) = state.map(Arc::new) else { return Ok(self) };
        let revocations = Arc::new(Revocations::restored(&self.observer, state.clone())?);
        Ok(LongLived { state: Some(state), revocations, ..self })
    }

    /// The same as before unless what is said of the token changed: what was got is kept.
    fn token_source(&self, upstream: &UpstreamSettings) -> Result<Option<Arc<TokenSource>>, String> {
        let Some(settings) = &upstream.token else { return Ok(None) };
        let key = (upstream.name.clone(), settings.clone());
        let (source, _) =
            self.egress.get_or_make(key, || TokenSource::new(&upstream.name, settings, &self.observer))?;
        Ok(Some(source))
    }

    /// A limit keeps its counts as long as it stays as it is.
    fn limits(&self, route: &RouteSettings) -> Result<RouteLimits, String> {
        let limits = route.rate_limits.iter().enumerate().map(|(place, limit)| {
            let same = route.rate_limits.iter().take(place).filter(|other| *other == limit).count();
            let RateLimit { rate, burst, per } = limit;
            let id = format!("{}:{per}:{}/{}s:{burst}:{same}", route.name, rate.requests, rate.per.as_secs());
            let (limiter, _) = self
                .limiters
                .get_or_make((id.clone(), limit.clone()), || Ok::<_, String>(Arc::new(Limiter::new(&id, limit))))?;
            Ok((limit.clone(), limiter))
        });
        Ok(RouteLimits::new(limits.collect::<Result<Vec<_>, String>>()?))
    }

    /// An endpoint keeps its standing when anything else of its upstream changes.
    fn endpoint(&self, settings: &UpstreamSettings, address: &EndpointAddress) -> Result<EndpointParts, String> {
        let label = address.label();
        let (standing, _) = self.standings.get_or_make(EndpointIdentity::of(settings, address), || {
            Ok::<_, String>(Arc::new(Standing::new(self.observer.endpoint_health(&settings.name, &label))))
        })?;
        Ok(EndpointParts { metrics: self.observer.upstream(&settings.name, &label), standing })
    }
}

impl Snapshot {
    /// Puts a policy to work with the parts that are there already; the key stores that are new need their
    /// `KeyStore::maintain` spawned, the snapshot its own `maintain`.
    ///
    /// # Errors
    /// A local key set that can't be used, routes that contradict each other: in words for the configuration's author.
    pub fn assemble(policy: &Policy, long_lived: &LongLived) -> Result<(Snapshot, Vec<Arc<KeyStore>>), String> {
        let observer = &long_lived.observer;
        let mut new_stores = Vec::new();
        let mut issuers = Vec::new();
        for settings in &policy.issuers {
            let identity = KeyStoreIdentity::of(settings);
            let earlier = long_lived.keys.find(|other| other.origin == identity.origin);
            let (keys, new) = long_lived.keys.get_or_make(identity, || {
                KeyStore::with_state(settings, observer.clone(), long_lived.state.clone())
                    .map_err(|why| format!("issuers.{}: {why}", settings.name))
            })?;
            if new {
                if let Some(earlier) = earlier {
                    keys.take_over(&earlier);
                }
                new_stores.push(keys.clone());
            }
            // The same issuer as before unless its settings changed: what it verified holds on.
            let (issuer, _) = long_lived.issuers.get_or_make(settings.clone(), || {
                Ok::<_, String>(Arc::new(Issuer::new(settings.clone(), keys, observer)))
            })?;
            issuers.push(issuer);
        }
        let (tokens, _) = long_lived.tokens.get_or_make(policy.token_cache_bytes, || {
            TokenCache::new(policy.token_cache_bytes, observer).map(Arc::new)
        })?;
        let mut upstreams = Vec::new();
        for settings in &policy.upstreams {
            let (upstream, _) = long_lived.upstreams.get_or_make(settings.clone(), || {
                let parts = settings.endpoints().map(|address| long_lived.endpoint(settings, address));
                let parts = parts.collect::<Result<Vec<_>, _>>()?;
                let token = long_lived.token_source(settings)?;
                Ok::<_, String>(Upstream::new(settings.clone(), long_lived.workers, parts, token))
            })?;
            upstreams.push(upstream);
        }
        let table = RouteTable::new(&policy.routes).map_err(|conflicts| format!("{conflicts:?}"))?;
        let mut routes = Vec::new();
        for settings in &policy.routes {
            let upstream = settings.upstream().map(|index| {
                upstreams.get(index).cloned().ok_or_else(|| format!("route {} leads nowhere", settings.name))
            });
            routes.push(Route {
                reads_headers: settings.allow.reads_headers(),
                allow_header: settings.methods.allow_header(settings.cors.is_some()),
                issuers: settings.issuers.iter().filter_map(|issuer| issuers.get(*issuer).cloned()).collect(),
                limits: long_lived.limits(settings)?,
                upstream: upstream.transpose()?,
                metrics: observer.route(&settings.name),
                settings: settings.clone(),
            });
        }
        let shared = policy.redis.as_ref().map(|redis| {
            let revocations = long_lived.revocations.clone();
            long_lived
                .shared
                .get_or_make(redis.clone(), || Ok::<_, String>(SharedState::new(redis.clone(), revocations, observer)))
        });
        let shared = shared.transpose()?.map(|(shared, _)| shared);
        let ignores_case = routes.iter().any(Route::ignores_case);
        let plans = policy.routes.iter().map(|route| &route.identity).chain([&policy.identity]);
        let reserved = ReservedNames::new(plans.flat_map(IdentityPlan::names));
        let token_headers = policy.routes.iter().flat_map(|route| route.token_from.header_names());
        let reserved = Arc::new(reserved.with_credentials(token_headers));
        let snapshot = Snapshot {
            routes,
            table,
            upstreams,
            issuers,
            listeners: policy.listen.iter().map(|listen| listen.name.clone()).collect(),
            main_listener: policy.listen.iter().position(|listen| listen.mode == ListenMode::Proxy).unwrap_or(0),
            logouts: long_lived.logouts.clone(),
            tokens,
            revocations: long_lived.revocations.clone(),
            shared,
            admin_token: policy.admin_token.clone(),
            confidential: policy.confidential.clone(),
            reserved,
            trusted_proxies: policy.server.trusted_proxies.clone(),
            realm: Realm::new(&policy.realm),
            max_token_bytes: policy.server.max_token_bytes,
            body_timeout: policy.server.body_timeout,
            token_parameters: policy
                .routes
                .iter()
                .flat_map(|route| route.token_from.query_names())
                .map(token_parameter)
                .collect(),
            no_route: observer.route(""),
            ignores_case,
        };
        Ok((snapshot, new_stores))
    }
}

impl Snapshot {
    /// Begins what goes on beside the requests, to the end of each part: checks of upstreams, and what replicas share.
    /// Parts of an earlier snapshot go on anyway. In a runtime of tokio.
    pub fn maintain(&self) {
        self.upstreams.iter().for_each(Upstream::maintain);
        if let Some(shared) = &self.shared {
            shared.carry(self.routes.iter().flat_map(|route| route.limits.limiters().cloned()).collect());
            shared.maintain();
        }
    }

    /// Ends what must not go on beside another snapshot's, however long requests and tunnels hold this one. What that
    /// one has in its place is maintained only after this.
    pub fn retire_for(&self, next: &Snapshot) {
        if let Some(shared) = &self.shared
            && !next.shared.as_ref().is_some_and(|next| Arc::ptr_eq(shared, next))
        {
            shared.retire();
        }
    }

    /// The files of the certificates that the gateway shows to upstreams and issuers, and when each ends, in Unix seconds.
    pub fn client_certificates(&self) -> Vec<(String, i64)> {
        let upstreams = self.upstreams.iter().filter_map(|upstream| {
            let (certificate, _) = upstream.settings().tls.identity.as_ref()?;
            Some((certificate.path.display().to_string(), first_end(certificate.text.as_bytes())?))
        });
        let issuers = self.issuers.iter().filter_map(|issuer| {
            let introspection = issuer.settings.introspection.as_ref()?;
            introspection.certificate.as_ref()?.end()
        });
        upstreams.chain(issuers).collect()
    }

    /// The issuer of this name in the configuration.
    pub fn issuer(&self, name: &str) -> Option<&Arc<Issuer>> {
        self.issuers.iter().find(|issuer| &*issuer.settings.name == name)
    }
}

/// Parts by the identity of their configuration. Holds none of them alive.
#[derive(Debug)]
struct Registry<K, T>(Mutex<HashMap<K, Weak<T>>>);

impl<K, T> Default for Registry<K, T> {
    fn default() -> Self {
        Registry(Mutex::default())
    }
}

impl<K: Eq + Hash, T> Registry<K, T> {
    /// A part that is in use, of an identity of this kind.
    fn find(&self, is_kin: impl Fn(&K) -> bool) -> Option<Arc<T>> {
        let parts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        parts.iter().filter(|(key, _)| is_kin(key)).find_map(|(_, part)| part.upgrade())
    }

    /// The part of this identity, and whether it was made now.
    fn get_or_make<E>(&self, key: K, make: impl FnOnce() -> Result<Arc<T>, E>) -> Result<(Arc<T>, bool), E> {
        let mut parts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(part) = parts.get(&key).and_then(Weak::upgrade) {
            return Ok((part, false));
        }
        let part = make()?;
        parts.retain(|_, part| part.strong_count() > 0);
        parts.insert(key, Arc::downgrade(&part));
        Ok((part, true))
    }
}
