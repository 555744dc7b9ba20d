//! bearward: a reverse-proxy API gateway that enforces OAuth 2.0 bearer tokens.
//!
//! The modules stand in the order in which a request meets them; `gateway` is the whole way on one screen.

pub mod config;

pub mod server;

pub mod gateway;

pub mod path;
pub mod request;
pub mod route;
pub mod method;

pub mod decision;
pub mod token;
pub mod policy;

pub mod headers;
pub mod identity;
pub mod upstream;

pub mod refusal;
pub mod respond;
pub mod body;

pub mod fetch;
pub mod snapshot;
pub mod observe;
pub mod admin;
pub mod cli;
pub mod demo;
