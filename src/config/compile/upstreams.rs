//! `upstreams`, and upstreams in place at a route.

use std::{sync::Arc, time::Duration};

use super::{Compiler, url::HttpUrl};
use crate::{
    config::{
        file::{Allow, ConfigFile, Upstream},
        reader::At,
    },
    path::CanonicalPath,
    route::RouteSettings,
    upstream::{EndpointAddress, UpstreamSettings},
};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(60);
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

impl Compiler<'_> {
    pub(super) fn upstream(&mut self, written: &Upstream) -> Option<UpstreamSettings> {
        let name = self.name(&written.name);
        if written.name.value.contains("://") {
            self.findings.push(written.name.error("a name with `://` would be taken for a URL"));
        }
        let endpoint = written.url.as_ref().and_then(|url| self.endpoint(url));
        let defaults = defaults(name?, endpoint?);
        Some(UpstreamSettings {
            connect_timeout: written.connect_timeout.unwrap_or(defaults.connect_timeout),
            response_timeout: written.response_timeout.unwrap_or(defaults.response_timeout),
            idle_timeout: written.idle_timeout.unwrap_or(defaults.idle_timeout),
            max_connections: written.max_connections.flatten(),
            preserve_host: written.preserve_host.unwrap_or(defaults.preserve_host),
            ignores_case: written.ignores_case.unwrap_or(defaults.ignores_case),
            ..defaults
        })
    }

    /// An upstream that a route has in place, under the route's name.
    pub(super) fn upstream_in_place(&mut self, route: Arc<str>, url: &At<String>) -> Option<UpstreamSettings> {
        self.endpoint(url).map(|endpoint| defaults(route, endpoint))
    }

    fn endpoint(&mut self, written: &At<String>) -> Option<EndpointAddress> {
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
        Some(EndpointAddress { tls: url.tls, host: url.host, port: url.port, base_path: base_path.to_owned() })
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
            if !forwards || warned.contains(&index) {
                continue;
            }
            let Some(Some(upstream)) = upstreams.get(index) else { continue };
            if upstream.endpoint.tls || is_loopback(&upstream.endpoint) {
                continue;
            }
            warned.push(index);
            let named = file.upstreams.get(index).and_then(|upstream| upstream.url.as_ref());
            if let Some(url) = named.or(written.upstream.as_ref()) {
                self.findings.push(
                    url.warning("tokens go to this upstream over plain http")
                        .hint("use https, or `authorization: remove` in `identity`"),
                );
            }
        }
    }
}

fn is_loopback(endpoint: &EndpointAddress) -> bool {
    let EndpointAddress { tls, host, port, .. } = endpoint.clone();
    HttpUrl { tls, host, port, path: String::new(), query: None }.is_loopback()
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
        ignores_case: false,
    }
}
