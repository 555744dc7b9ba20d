//! `upstreams`, and upstreams in place at a route.

use std::{sync::Arc, time::Duration};

use hyper::http::uri::PathAndQuery;

use super::{Compiler, url::HttpUrl};
use crate::{
    config::{
        analysis,
        file::{Allow, ConfigFile, Health, Retry as WrittenRetry, Upstream},
        reader::At,
    },
    path::CanonicalPath,
    route::RouteSettings,
    upstream::{Balance, Ejection, EndpointAddress, HealthCheck, Retry, UpstreamSettings, UpstreamTls},
};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(60);
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
const HEALTH_INTERVAL: Duration = Duration::from_secs(5);
const HEALTH_TIMEOUT: Duration = Duration::from_secs(1);
const EJECT: Ejection = Ejection { failures: 5, rest: Duration::from_secs(10) };
/// What the system's socket addresses hold, less the final zero.
const LONGEST_SOCKET_PATH: usize = 107;

impl Compiler<'_> {
    pub(super) fn upstream(&mut self, written: &Upstream) -> Option<UpstreamSettings> {
        let name = self.name(&written.name);
        if written.name.value.contains("://") {
            self.findings.push(written.name.error("a name with `://` would be taken for a URL"));
        }
        let endpoints = self.endpoints(written);
        let is_tls = endpoints.as_ref().is_none_or(|(first, further)| first.tls || further.iter().any(|one| one.tls));
        let tls = self.upstream_tls(written.tls.as_ref(), is_tls);
        let health = self.health(written.health.as_ref());
        let retry = self.retry(written.retry.as_ref());
        let token = match &written.token {
            None => Some(None),
            Some(token) => self.egress(token).map(Some),
        };
        let (endpoint, further_endpoints) = endpoints?;
        let defaults = defaults(name?, endpoint);
        let eject = written.eject.as_ref();
        Some(UpstreamSettings {
            balance: written.balance.unwrap_or_default(),
            http2: written.http2.unwrap_or(false),
            health: health?,
            eject: (eject.is_some() || !further_endpoints.is_empty()).then(|| Ejection {
                failures: eject.and_then(|eject| eject.failures).unwrap_or(EJECT.failures),
                rest: eject.and_then(|eject| eject.rest).unwrap_or(EJECT.rest),
            }),
            further_endpoints,
            retry: retry?,
            tls: tls?,
            ignores_case: written.ignores_case.unwrap_or(false),
            token: token?,
            connect_timeout: written.connect_timeout.unwrap_or(defaults.connect_timeout),
            response_timeout: written.response_timeout.unwrap_or(defaults.response_timeout),
            idle_timeout: written.idle_timeout.unwrap_or(defaults.idle_timeout),
            max_connections: written.max_connections.flatten(),
            preserve_host: written.preserve_host.unwrap_or(defaults.preserve_host),
            ..defaults
        })
    }

    /// An upstream that a route has in place, under the route's name.
    pub(super) fn upstream_in_place(&mut self, route: Arc<str>, url: &At<String>) -> Option<UpstreamSettings> {
        self.endpoint(url).map(|endpoint| defaults(route, endpoint))
    }

    /// The first one, and the others.
    fn endpoints(&mut self, written: &Upstream) -> Option<(EndpointAddress, Vec<EndpointAddress>)> {
        let many = written.endpoints.as_ref();
        if let (Some(url), Some(many)) = (&written.url, many) {
            let message = format!("`endpoints` beside `url` (at {})", self.source.place(url.span));
            return self.fail(many.error(message).hint("keep one; `endpoints` can hold all of them"));
        }
        let urls = written.url.iter().chain(many.iter().flat_map(|many| &many.value)).collect::<Vec<_>>();
        self.unique("the endpoint", many.iter().flat_map(|many| &many.value));
        let all = urls.iter().map(|url| self.endpoint(url)).collect::<Vec<_>>();
        let mut all = all.into_iter().collect::<Option<Vec<_>>>()?.into_iter();
        Some((all.next()?, all.collect()))
    }

    fn health(&mut self, written: Option<&Health>) -> Option<Option<HealthCheck>> {
        let Some(written) = written else { return Some(None) };
        let path = written.path.as_ref()?;
        if !path.value.starts_with('/') || path.value.parse::<PathAndQuery>().is_err() || path.value.contains('#') {
            return self.fail(path.error(format!("{} is not a path", path.shown())).hint("`path: /healthz`"));
        }
        Some(Some(HealthCheck {
            path: path.value.clone(),
            interval: written.interval.unwrap_or(HEALTH_INTERVAL),
            timeout: written.timeout.unwrap_or(HEALTH_TIMEOUT),
            healthy: written.healthy.unwrap_or(2),
            unhealthy: written.unhealthy.unwrap_or(3),
        }))
    }

    fn retry(&mut self, written: Option<&WrittenRetry>) -> Option<Retry> {
        let mut retry = no_more_than_connect();
        let Some(written) = written else { return Some(retry) };
        if let Some(on) = &written.on {
            retry.on_connect = false;
            let mut good = true;
            for what in &on.value {
                match what.value.parse::<u16>() {
                    _ if what.value == "connect" => retry.on_connect = true,
                    Ok(status @ (408 | 425 | 429 | 500..=599)) => retry.on_status.push(status),
                    _ => {
                        good = false;
                        let finding = what.error(format!("{} is nothing that is tried again", what.shown()));
                        self.findings.push(finding.hint("`connect`, 408, 425, 429, or a status from 500 to 599"));
                    }
                }
            }
            if !good {
                return None;
            }
        }
        retry.attempts = written.attempts.unwrap_or(retry.attempts);
        retry.budget_percent = written.budget_percent.unwrap_or(retry.budget_percent);
        Some(retry)
    }

    fn endpoint(&mut self, written: &At<String>) -> Option<EndpointAddress> {
        if let Some(path) = written.value.strip_prefix("unix:") {
            return self.unix_endpoint(written, path);
        }
        let url = match HttpUrl::parse(&written.value) {
            Ok(url) => url,
            Err(words) => return self.fail(written.error(words)),
        };
        if url.query.is_some() {
            return self.fail(written.error("an upstream's URL has no query"));
        }
        let base_path = url.path.trim_end_matches('/');
        if !base_path.is_empty() {
            let canonical = CanonicalPath::parse(base_path).ok();
            let plain = canonical.filter(|path| path.as_str() == base_path && path.readings().is_empty());
            if plain.is_none() {
                return self.fail(
                    written.error("the path in this URL is not canonical, or not read the same by every server"),
                );
            }
        }
        Some(EndpointAddress {
            tls: url.tls,
            host: url.host,
            port: url.port,
            base_path: base_path.to_owned(),
            socket: None,
        })
    }

    fn unix_endpoint(&mut self, written: &At<String>, path: &str) -> Option<EndpointAddress> {
        let path = self.source.folder(written.span).join(path.strip_prefix("//").unwrap_or(path));
        let bytes = path.as_os_str().len();
        if written.value.len() == "unix:".len() || written.value.contains('\0') || bytes > LONGEST_SOCKET_PATH {
            let finding = written.error(format!("a Unix socket's path has 1 to {LONGEST_SOCKET_PATH} bytes"));
            return self.fail(finding.hint("`unix:/run/orders.sock`"));
        }
        Some(EndpointAddress {
            tls: false,
            host: "localhost".to_owned(),
            port: 80,
            base_path: String::new(),
            socket: Some(path),
        })
    }

    /// Tokens that cross a network in clear.
    pub(super) fn warn_of_plain_upstreams(
        &mut self,
        file: &ConfigFile,
        routes: &[Option<RouteSettings>],
        upstreams: &[Option<UpstreamSettings>],
    ) {
        let mut warned = Vec::new();
        for (route, written) in routes.iter().zip(&file.routes) {
            let Some(route) = route else { continue };
            let forwards = route.identity.forward_authorization && !matches!(written.allow, Some(Allow::Public));
            let Some(index) = route.upstream() else { continue };
            let Some(Some(upstream)) = upstreams.get(index) else { continue };
            let has_own = upstream.token.is_some();
            if !(forwards || has_own) || warned.contains(&index) {
                continue;
            }
            if upstream.endpoints().all(|endpoint| endpoint.tls || is_local(endpoint)) {
                continue;
            }
            warned.push(index);
            let named = file.upstreams.get(index).and_then(|upstream| {
                let endpoints = upstream.endpoints.as_ref().and_then(|endpoints| endpoints.value.first());
                upstream.url.as_ref().or(endpoints)
            });
            if let Some(url) = named.or(written.upstream.as_ref()) {
                let request = analysis::request_to(route, written);
                let example = request.map_or_else(String::new, |request| format!(", as that of {request}"));
                let hint = if has_own { "use https" } else { "use https, or `authorization: remove` in `identity`" };
                self.findings
                    .push(url.warning(format!("tokens go to this upstream over plain http{example}")).hint(hint));
            }
        }
    }
}

fn is_local(endpoint: &EndpointAddress) -> bool {
    let EndpointAddress { tls, host, port, .. } = endpoint.clone();
    endpoint.socket.is_some() || HttpUrl { tls, host, port, path: String::new(), query: None }.is_loopback()
}

fn defaults(name: Arc<str>, endpoint: EndpointAddress) -> UpstreamSettings {
    UpstreamSettings {
        name,
        endpoint,
        connect_timeout: CONNECT_TIMEOUT,
        response_timeout: Some(RESPONSE_TIMEOUT),
        idle_timeout: IDLE_TIMEOUT,
        max_connections: None,
        preserve_host: false,
        further_endpoints: Vec::new(),
        balance: Balance::default(),
        http2: false,
        health: None,
        // There is no other to go to.
        eject: None,
        retry: no_more_than_connect(),
        tls: UpstreamTls::default(),
        ignores_case: false,
        token: None,
    }
}

/// One more attempt, where the connection failed before anything was sent.
fn no_more_than_connect() -> Retry {
    Retry { attempts: 2, on_connect: true, on_status: Vec::new(), budget_percent: 20 }
}
