//! The request path: decide, forward, answer.

use std::net::IpAddr;

use crate::refusal::Refusal;

/// What a connection knows about a request that isn't in its head.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// The other end of the connection.
    pub peer: IpAddr,
    /// Index into `Policy::listen`.
    pub listener: usize,
    /// Which worker serves it: picks the connection pool.
    pub worker: usize,
    /// http or https.
    pub scheme: &'static str,
    /// Set where the head was refused before it was parsed: the request is then a stand-in and only its answer matters.
    pub fault: Option<Refusal>,
    /// What the framing guard finds wrong in the body, later.
    pub body_fault: crate::body::BodyFault,
}
