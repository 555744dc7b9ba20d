//! What a listener does with a request.

/// `listen.*.mode`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ListenMode {
    /// Matches, decides, forwards.
    #[default]
    Proxy,
    /// Decides a request that another proxy describes, and answers that proxy.
    ForwardAuth(RequestFrom),
    /// The same by Envoy's gRPC service.
    ExtAuthz,
}

impl ListenMode {
    /// As the configuration calls it.
    pub fn name(self) -> &'static str {
        match self {
            ListenMode::Proxy => "proxy",
            ListenMode::ForwardAuth(_) => "forward_auth",
            ListenMode::ExtAuthz => "ext_authz",
        }
    }
}

/// Where a request to be decided is described; nothing else is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestFrom {
    /// `X-Forwarded-Method`, `-Proto`, `-Host` and `-Uri`.
    XForwarded,
    /// `X-Original-Method` and `X-Original-URL`, or `X-Original-URI` with `Host`.
    XOriginal,
    /// The check request's own method, path and `Host`.
    Own,
}
