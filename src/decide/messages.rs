//! The part of Envoy's external authorization that is used here (envoy.service.auth.v3, envoy.config.core.v3, envoy.type.v3,
//! google.rpc): names, field numbers and types are the protocol's. By hand, since a crate of all that Envoy has is ninety
//! thousand lines for every build; the tests hold it against Envoy itself.

use std::collections::BTreeMap;

use prost::{Message, Oneof};

/// What Envoy asks.
#[derive(Clone, PartialEq, Message)]
pub(super) struct CheckRequest {
    #[prost(message, optional, tag = "1")]
    pub(super) attributes: Option<AttributeContext>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct AttributeContext {
    #[prost(message, optional, tag = "1")]
    pub(super) source: Option<Peer>,
    #[prost(message, optional, tag = "4")]
    pub(super) request: Option<Request>,
}

/// Who connects to Envoy.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Peer {
    #[prost(message, optional, tag = "1")]
    pub(super) address: Option<Address>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Address {
    /// None where it isn't of TCP.
    #[prost(message, optional, tag = "1")]
    pub(super) socket_address: Option<SocketAddress>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct SocketAddress {
    #[prost(string, tag = "2")]
    pub(super) address: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Request {
    #[prost(message, optional, tag = "2")]
    pub(super) http: Option<HttpRequest>,
}

/// The request that it is about.
#[derive(Clone, PartialEq, Message)]
pub(super) struct HttpRequest {
    #[prost(string, tag = "2")]
    pub(super) method: String,
    /// Lines of one name are joined by commas. Empty with `header_map`.
    #[prost(btree_map = "string, string", tag = "3")]
    pub(super) headers: BTreeMap<String, String>,
    /// With the query.
    #[prost(string, tag = "4")]
    pub(super) path: String,
    #[prost(string, tag = "5")]
    pub(super) host: String,
    #[prost(string, tag = "6")]
    pub(super) scheme: String,
    /// Always empty, says the protocol: it is in `path`.
    #[prost(string, tag = "7")]
    pub(super) query: String,
    /// Always empty.
    #[prost(string, tag = "8")]
    pub(super) fragment: String,
    /// Of the body; -1 where it isn't known.
    #[prost(int64, tag = "9")]
    pub(super) size: i64,
    /// Line by line, where Envoy is told so (`encode_raw_headers`).
    #[prost(message, optional, tag = "13")]
    pub(super) header_map: Option<HeaderLines>,
}

/// `HeaderMap`
#[derive(Clone, PartialEq, Message)]
pub(super) struct HeaderLines {
    #[prost(message, repeated, tag = "1")]
    pub(super) headers: Vec<HeaderLine>,
}

/// `HeaderValue`
#[derive(Clone, PartialEq, Message)]
pub(super) struct HeaderLine {
    #[prost(string, tag = "1")]
    pub(super) key: String,
    #[prost(string, tag = "2")]
    pub(super) value: String,
    /// In the place of `value`.
    #[prost(bytes = "vec", tag = "3")]
    pub(super) raw_value: Vec<u8>,
}

/// What Envoy is told.
#[derive(Clone, PartialEq, Message)]
pub(super) struct CheckResponse {
    #[prost(message, optional, tag = "1")]
    pub(super) status: Option<Status>,
    #[prost(oneof = "Told", tags = "2, 3")]
    pub(super) http_response: Option<Told>,
}

/// `google.rpc.Status`
#[derive(Clone, PartialEq, Message)]
pub(super) struct Status {
    #[prost(int32, tag = "1")]
    pub(super) code: i32,
}

#[derive(Clone, PartialEq, Oneof)]
pub(super) enum Told {
    #[prost(message, tag = "2")]
    Denied(DeniedHttpResponse),
    #[prost(message, tag = "3")]
    Ok(OkHttpResponse),
}

/// What its client is answered.
#[derive(Clone, PartialEq, Message)]
pub(super) struct DeniedHttpResponse {
    #[prost(message, optional, tag = "1")]
    pub(super) status: Option<HttpStatus>,
    #[prost(message, repeated, tag = "2")]
    pub(super) headers: Vec<HeaderChange>,
    #[prost(string, tag = "3")]
    pub(super) body: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct HttpStatus {
    /// An enumeration whose values are the statuses.
    #[prost(int32, tag = "1")]
    pub(super) code: i32,
}

/// What is changed on the way to the upstream, and back.
#[derive(Clone, PartialEq, Message)]
pub(super) struct OkHttpResponse {
    #[prost(message, repeated, tag = "2")]
    pub(super) headers: Vec<HeaderChange>,
    #[prost(string, repeated, tag = "5")]
    pub(super) headers_to_remove: Vec<String>,
    #[prost(message, repeated, tag = "6")]
    pub(super) response_headers_to_add: Vec<HeaderChange>,
    #[prost(string, repeated, tag = "8")]
    pub(super) query_parameters_to_remove: Vec<String>,
}

/// `HeaderValueOption`
#[derive(Clone, PartialEq, Message)]
pub(super) struct HeaderChange {
    #[prost(message, optional, tag = "1")]
    pub(super) header: Option<HeaderLine>,
    /// `HeaderAppendAction`: one of the constants here.
    #[prost(int32, tag = "3")]
    pub(super) append_action: i32,
    #[prost(bool, tag = "4")]
    pub(super) keep_empty_value: bool,
}

/// `APPEND_IF_EXISTS_OR_ADD`
pub(super) const APPEND: i32 = 0;
/// `OVERWRITE_IF_EXISTS_OR_ADD`
pub(super) const OVERWRITE: i32 = 2;
