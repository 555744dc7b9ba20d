//! What one request sees of the configuration from start to end, and what outlives it.

mod registry;

use std::{borrow::Cow, sync::Arc, time::Duration};

use hyper::header::HeaderName;

use crate::{
    assertion::{AssertionCache, Assertor, JWKS, PublishedKeys, RetiredKeys},
    confidential::Confidential,
    config::Policy,
    egress::{EgressSettings, Grant, TokenSource},
    headers::{SampledShare, TrustedProxies},
    identity::{AssertionPlan, IdentityPlan, ReservedNames},
    limit::{Limiter, RateLimit, RouteLimits},
    logout::Logouts,
    notices::NoticePlaces,
    observe::{Observer, RouteMetrics, TracingSettings, token_parameter},
    path::{CanonicalPath, Reading},
    respond::{DpopOffer, Realm},
    route::{RouteSettings, RouteTable},
    server::{ListenMode, ListenSettings},
    shadow::Shadow,
    shared_state::{RedisSettings, SharedState},
    state_dir::StateDir,
    token::{
        self,
        cache::TokenCache,
        extra_roots::ExtraRoots,
        issuer::{Issuer, IssuerSettings, KeySource},
        jwks::KeyStore,
        notice::Desk,
        place::TokenPlace,
        proof::Proofs,
        revocation::Revocations,
        secret::Secret,
    },
    trace::{Exporter, Tracing},
    upstream::{EndpointAddress, EndpointIdentity, EndpointParts, Standing, Upstream, UpstreamSettings},
    validity::first_end,
    well_known::{Document, WellKnown},
};
use registry::Registry;

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
    /// What each of them does with a request.
    pub modes: Vec<ListenMode>,
    /// Where a request comes in of which nothing is said: the first listener that forwards; the first one where none does.
    pub main_listener: usize,
    /// Logouts that are on their way.
    pub logouts: Logouts,
    /// Where issuers tell that sessions have ended.
    pub notices: NoticePlaces,
    /// What is known of what they told.
    pub desk: Arc<Desk>,
    /// Tokens verified before, maybe under another snapshot.
    pub tokens: Arc<TokenCache>,
    /// What has been ended before its time.
    pub revocations: Arc<Revocations>,
    /// Proofs that came with tokens.
    pub proofs: Arc<Proofs>,
    /// What replicas share; None: nothing.
    pub shared: Option<Arc<SharedState>>,
    /// What the admin listener asks of who wants more than health and metrics.
    pub admin_token: Option<Secret>,
    /// What the configuration has from files, in whatever key: no answer of the admin listener and no explanation shows it.
    pub confidential: Confidential,
    /// What no client may send.
    pub reserved: Arc<ReservedNames>,
    /// The identity headers that some route writes, and the default ones.
    pub identity_names: Vec<HeaderName>,
    /// Whose forwarding headers are believed.
    pub trusted_proxies: TrustedProxies,
    /// Of challenges.
    pub realm: Realm,
    /// Bytes of a credential.
    pub max_token_bytes: usize,
    /// Bytes of a request head.
    pub max_header_bytes: usize,
    /// Between two pieces of a request body.
    pub body_timeout: Duration,
    /// The query fields that are tokens on some route, for the log.
    pub token_parameters: Vec<Box<str>>,
    /// For requests that no route takes.
    pub no_route: RouteMetrics,
    /// Which requests are recorded, and where their spans go.
    pub tracing: Tracing,
    /// The keys of assertions; None: there are none.
    pub published_keys: Option<PublishedKeys>,
    /// Documents of the gateway's own.
    pub well_known: WellKnown,
    /// Whether a route leads to an upstream that ignores case in paths.
    pub ignores_case: bool,
    /// Who decides every request beside this, if somebody does.
    pub shadow: Option<Arc<Shadow>>,
}

/// A route at work.
#[derive(Debug)]
pub struct Route {
    /// As configured.
    pub settings: RouteSettings,
    /// The value of `Allow`.
    pub allow_header: String,
    /// Of its challenges.
    pub realm: Realm,
    /// Whose tokens it takes, in the file's order.
    pub issuers: Vec<Arc<Issuer>>,
    /// Whether its rules ask for a header of the request.
    pub reads_headers: bool,
    /// What its challenges say of DPoP.
    pub dpop: DpopOffer,
    /// What signs who calls, if that is wanted.
    pub assertor: Option<Arc<Assertor>>,
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
    desk: Arc<Desk>,
    shadow: Option<Arc<Shadow>>,
    state: Option<Arc<StateDir>>,
    revocations: Arc<Revocations>,
    proofs: Registry<(), Proofs>,
    keys: Registry<KeyStoreIdentity, KeyStore>,
    issuers: Registry<IssuerSettings, Issuer>,
    /// By its size.
    tokens: Registry<u64, TokenCache>,
    upstreams: Registry<UpstreamSettings, Upstream>,
    /// By the upstream's name, too: each has its own.
    egress: Registry<(Arc<str>, EgressSettings), TokenSource>,
    standings: Registry<EndpointIdentity, Standing>,
    shared: Registry<RedisSettings, SharedState>,
    /// By the collector's URL.
    exporters: Registry<String, Exporter>,
    /// By plan and audience.
    assertors: Registry<(AssertionPlan, String), Assertor>,
    assertions: AssertionCache,
    retired_keys: Arc<RetiredKeys>,
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

/// What the log calls an issuer: one that only a shadow has is told apart.
fn name_in_log(name: &Arc<str>, beside: Option<&Snapshot>) -> Arc<str> {
    if beside.is_some() { format!("shadow:{name}").into() } else { name.clone() }
}

impl LongLived {
    /// Empty. `workers` is how many threads serve: pools are per worker.
    pub fn new(observer: Arc<Observer>, workers: usize) -> LongLived {
        LongLived {
            workers,
            logouts: Logouts::default(),
            desk: Arc::default(),
            shadow: None,
            state: None,
            revocations: Arc::new(Revocations::new(&observer)),
            proofs: Registry::default(),
            keys: Registry::default(),
            issuers: Registry::default(),
            tokens: Registry::default(),
            upstreams: Registry::default(),
            egress: Registry::default(),
            standings: Registry::default(),
            shared: Registry::default(),
            exporters: Registry::default(),
            assertors: Registry::default(),
            assertions: AssertionCache::default(),
            retired_keys: Arc::default(),
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

    /// With a shadow, which every snapshot from now on is to have.
    #[must_use]
    pub fn with_shadow(self, shadow: Option<Arc<Shadow>>) -> LongLived {
        LongLived { shadow, ..self }
    }

    /// For what stands beside this: empty, of no worker and no folder, and counting for nobody. What has ended has ended
    /// there, too.
    #[must_use]
    pub fn beside(&self) -> LongLived {
        LongLived { revocations: self.revocations.clone(), ..LongLived::new(Observer::silent(), 0) }
    }

    /// The keys of this issuer, and whether they were made now: those of the snapshot beside which they are wanted, where
    /// they come from the same source.
    fn keys(&self, settings: &IssuerSettings, beside: Option<&Snapshot>) -> Result<(Arc<KeyStore>, bool), String> {
        let identity = KeyStoreIdentity::of(settings);
        let in_force = beside.into_iter().flat_map(|snapshot| &snapshot.issuers);
        let in_force: Vec<_> =
            in_force.map(|issuer| (KeyStoreIdentity::of(&issuer.settings), issuer.keys.clone())).collect();
        if let Some((_, keys)) = in_force.iter().find(|(other, _)| *other == identity) {
            return Ok((keys.clone(), false));
        }
        let kin = in_force.into_iter().find(|(other, _)| other.origin == identity.origin).map(|(_, keys)| keys);
        let earlier = self.keys.find(|other| other.origin == identity.origin).or(kin);
        let named = IssuerSettings { name: name_in_log(&settings.name, beside), ..settings.clone() };
        let (keys, new) = self.keys.get_or_make(identity, || {
            KeyStore::with_state(&named, self.observer.clone(), self.state.clone())
                .map_err(|why| format!("issuers.{}: {why}", settings.name))
        })?;
        if let Some(earlier) = earlier.filter(|_| new) {
            keys.take_over(&earlier);
        }
        Ok((keys, new))
    }

    /// The same issuer as before unless its settings changed: what it verified holds on. Beside a snapshot that has the
    /// same, that one.
    fn issuer(
        &self,
        settings: &IssuerSettings,
        keys: Arc<KeyStore>,
        beside: Option<&Snapshot>,
    ) -> Result<Arc<Issuer>, String> {
        let mut in_force = beside.into_iter().flat_map(|snapshot| &snapshot.issuers);
        if let Some(same) = in_force.find(|issuer| issuer.settings == *settings) {
            return Ok(same.clone());
        }
        let name = name_in_log(&settings.name, beside);
        let make = || Ok(Arc::new(Issuer::logged_as(name, settings.clone(), keys, &self.observer)));
        self.issuers.get_or_make(settings.clone(), make).map(|(issuer, _)| issuer)
    }

    /// The tokens that were verified; beside a snapshot: those that it knows, and more.
    fn tokens(&self, max_bytes: u64, beside: Option<&Snapshot>) -> Result<Arc<TokenCache>, String> {
        if let Some(snapshot) = beside {
            return Ok(Arc::new(TokenCache::beside(snapshot.tokens.clone(), max_bytes, &self.observer)));
        }
        let make = || TokenCache::new(max_bytes, &self.observer).map(Arc::new);
        self.tokens.get_or_make(max_bytes, make).map(|(tokens, _)| tokens)
    }

    /// What is known of proofs; beside a snapshot: a memory of its own, since each proof is used there once more.
    fn proofs(&self, beside: Option<&Snapshot>) -> Result<Arc<Proofs>, String> {
        let make = || beside.map_or_else(Proofs::new, |snapshot| Ok(snapshot.proofs.beside())).map(Arc::new);
        self.proofs.get_or_make((), make).map(|(proofs, _)| proofs)
    }

    /// The same as before unless what is said of the token changed: what was got is kept.
    fn token_source(&self, upstream: &UpstreamSettings) -> Result<Option<Arc<TokenSource>>, String> {
        let Some(settings) = &upstream.token else { return Ok(None) };
        let key = (upstream.name.clone(), settings.clone());
        let (source, _) =
            self.egress.get_or_make(key, || TokenSource::new(&upstream.name, settings, &self.observer))?;
        Ok(Some(source))
    }

    /// What was signed is sent on as long as nothing of the plan changes. None where nothing is to be signed.
    fn assertor(&self, route: &RouteSettings, upstream: Option<&str>) -> Result<Option<Arc<Assertor>>, String> {
        // A key that isn't there stands in a configuration that is only checked.
        let plan = route.identity.assertion.as_ref().filter(|plan| !plan.key.is_stand_in());
        let Some(plan) = plan else { return Ok(None) };
        // Who only decides has no upstream to name.
        let upstream = upstream.unwrap_or(&route.name);
        let key = (plan.clone(), plan.audience_for(upstream).to_owned());
        let make = || {
            let made = Assertor::new(plan, upstream, &self.assertions);
            made.map(Arc::new).map_err(|_| format!("routes {}: the key of `assertion` isn't there", route.name))
        };
        self.assertors.get_or_make(key, make).map(|(assertor, _)| Some(assertor))
    }

    /// What is on its way to a collector stays so, whatever else changes.
    fn tracing(&self, settings: &TracingSettings) -> Result<Tracing, String> {
        let exporter = settings.otlp.as_ref().map(|url| {
            self.exporters.get_or_make(url.clone(), || {
                Exporter::new(url, &self.observer).map(Arc::new).map_err(|why| format!("tracing.otlp: {why}"))
            })
        });
        let exporter = exporter.transpose()?.map(|(exporter, _)| exporter);
        Ok(Tracing::new(SampledShare::new(settings.sample), exporter))
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
        Snapshot::assembled(policy, long_lived, None)
    }

    /// The same beside another snapshot, whose issuers, keys and verified tokens serve here, too, as far as they are the
    /// same. `long_lived` is of those that stand beside.
    ///
    /// # Errors
    /// As `assemble`.
    pub fn assemble_beside(
        &self,
        policy: &Policy,
        long_lived: &LongLived,
    ) -> Result<(Snapshot, Vec<Arc<KeyStore>>), String> {
        Snapshot::assembled(policy, long_lived, Some(self))
    }

    fn assembled(
        policy: &Policy,
        long_lived: &LongLived,
        beside: Option<&Snapshot>,
    ) -> Result<(Snapshot, Vec<Arc<KeyStore>>), String> {
        let observer = &long_lived.observer;
        let mut new_stores = Vec::new();
        let mut issuers = Vec::new();
        for settings in &policy.issuers {
            let (keys, new) = long_lived.keys(settings, beside)?;
            if new {
                new_stores.push(keys.clone());
            }
            issuers.push(long_lived.issuer(settings, keys, beside)?);
        }
        let tokens = long_lived.tokens(policy.token_cache_bytes, beside)?;
        let proofs = long_lived.proofs(beside)?;
        proofs.remember_for(policy.issuers.iter());
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
        let realm = Realm::new(&policy.realm);
        let mut routes = Vec::new();
        for settings in &policy.routes {
            let upstream = settings.upstream().map(|index| {
                upstreams.get(index).cloned().ok_or_else(|| format!("route {} leads nowhere", settings.name))
            });
            let own_issuers =
                settings.issuers.iter().filter_map(|issuer| issuers.get(*issuer).cloned()).collect::<Vec<_>>();
            let in_authorization = settings.token_from.iter().any(|place| *place == TokenPlace::Authorization);
            let upstream = upstream.transpose()?;
            let name = upstream.as_ref().map(|upstream| &*upstream.settings().name);
            let assertor = long_lived.assertor(settings, name)?;
            routes.push(Route {
                dpop: DpopOffer::of(own_issuers.iter().map(|issuer| &issuer.settings), in_authorization),
                reads_headers: settings.allow.reads_headers(),
                allow_header: settings.methods.allow_header(settings.cors.is_some()),
                issuers: own_issuers,
                realm: match &settings.protected_resource {
                    Some(resource) => realm.with_metadata(resource.metadata_url()),
                    None => realm.clone(),
                },
                limits: long_lived.limits(settings)?,
                assertor,
                upstream,
                metrics: observer.route(&settings.name),
                settings: settings.clone(),
            });
        }
        let shared = policy.redis.as_ref().map(|redis| {
            let (revocations, proofs) = (long_lived.revocations.clone(), proofs.clone());
            long_lived.shared.get_or_make(redis.clone(), || {
                Ok::<_, String>(SharedState::new(redis.clone(), revocations, proofs, observer))
            })
        });
        let shared = shared.transpose()?.map(|(shared, _)| shared);
        let plans = || policy.routes.iter().map(|route| &route.identity).chain([&policy.identity]);
        let assertions = plans().filter_map(|plan| plan.assertion.as_ref());
        let published_keys = PublishedKeys::of(assertions, &long_lived.retired_keys);
        let well_known = well_known(&routes, published_keys.as_ref(), policy);
        let ignores_case = routes.iter().any(Route::ignores_case);
        let reserved = ReservedNames::new(plans().flat_map(IdentityPlan::names));
        let token_headers = policy.routes.iter().flat_map(|route| route.token_from.header_names());
        let reserved = Arc::new(reserved.with_credentials(token_headers));
        let forwarding = policy.listen.iter().enumerate().filter(|(_, listen)| listen.mode == ListenMode::Proxy);
        let snapshot = Snapshot {
            routes,
            table,
            upstreams,
            notices: NoticePlaces::of(&issuers, forwarding.map(|(index, _)| index).collect()),
            desk: long_lived.desk.clone(),
            issuers,
            listeners: policy.listen.iter().map(|listen| listen.name.clone()).collect(),
            modes: policy.listen.iter().map(|listen| listen.mode).collect(),
            main_listener: policy.listen.iter().position(|listen| listen.mode == ListenMode::Proxy).unwrap_or(0),
            logouts: long_lived.logouts.clone(),
            tokens,
            revocations: long_lived.revocations.clone(),
            proofs,
            shared,
            admin_token: policy.admin_token.clone(),
            confidential: policy.confidential.clone(),
            reserved,
            identity_names: IdentityPlan::names_of_all(policy.routes.iter().map(|route| &route.identity)),
            trusted_proxies: policy.server.trusted_proxies.clone(),
            realm,
            max_token_bytes: policy.server.max_token_bytes,
            max_header_bytes: policy.server.max_header_bytes,
            body_timeout: policy.server.body_timeout,
            token_parameters: policy
                .routes
                .iter()
                .flat_map(|route| route.token_from.query_names())
                .map(token_parameter)
                .collect(),
            no_route: observer.route(""),
            tracing: long_lived.tracing(&policy.tracing)?,
            published_keys,
            well_known,
            ignores_case,
            shadow: long_lived.shadow.clone(),
        };
        Ok((snapshot, new_stores))
    }
}

/// What is told of the routes' APIs (RFC 9728), and the keys of assertions.
fn well_known(routes: &[Route], keys: Option<&PublishedKeys>, policy: &Policy) -> WellKnown {
    // Where a proxy asks over HTTP whether a request may go on, an answer of our own would be a yes.
    let answers = |listen: &ListenSettings| !matches!(listen.mode, ListenMode::ForwardAuth(_));
    let listeners = || policy.listen.iter().enumerate().filter(|(_, listen)| answers(listen)).map(|(index, _)| index);
    let mut all = WellKnown::default();
    if let Some(keys) = keys {
        all.add(JWKS, listeners().collect(), Vec::new(), Document::Keys(keys.clone()));
    }
    for route in routes {
        let settings = &route.settings;
        let Some(resource) = &settings.protected_resource else { continue };
        let issuers = route.issuers.iter().map(|issuer| &issuer.settings);
        let document = resource.document(issuers, &settings.token_from);
        let listeners = listeners().filter(|index| settings.is_at(*index)).collect();
        all.add(resource.place(), listeners, settings.hosts.clone(), (&document).into());
    }
    all
}

impl Snapshot {
    /// Begins what goes on beside the requests, to the end of each part: checks of upstreams, spans, what replicas share.
    /// Parts of an earlier snapshot go on anyway. In a runtime of tokio.
    pub fn maintain(&self) {
        self.upstreams.iter().for_each(Upstream::maintain);
        self.tracing.maintain();
        if let Some(shared) = &self.shared {
            shared.carry(self.routes.iter().flat_map(|route| route.limits.limiters().cloned()).collect());
            shared.maintain();
        }
    }

    /// Ends what must not go on beside another snapshot's, however long requests and tunnels hold this one. What that
    /// one has in its place is maintained only after this.
    pub fn retire_for(&self, next: &Snapshot) {
        if let Some(keys) = &self.published_keys {
            keys.retire_for(next.published_keys.as_ref(), token::now());
        }
        if let Some(shared) = &self.shared
            && !next.shared.as_ref().is_some_and(|next| Arc::ptr_eq(shared, next))
        {
            shared.retire();
        }
    }

    /// Waits, a moment at most, until all replicas can know what has ended here; whether they can.
    pub async fn is_told(&self) -> bool {
        match &self.shared {
            Some(shared) => shared.told().await,
            None => true,
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

    /// What the listener of this index does with a request.
    pub fn mode(&self, listener: usize) -> ListenMode {
        self.modes.get(listener).copied().unwrap_or_default()
    }

    /// The issuer of this name in the configuration.
    pub fn issuer(&self, name: &str) -> Option<&Arc<Issuer>> {
        self.issuers.iter().find(|issuer| &*issuer.settings.name == name)
    }
}
