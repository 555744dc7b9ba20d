//! The whole gateway on real sockets, a file per behaviour.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::print_stderr)]

#[path = "../support/mod.rs"]
mod support;

mod admission;
mod challenges;
mod command_line;
mod demo;
mod documents;
mod dry_run;
mod explain;
mod framing;
mod http2;
mod identity;
mod kept_keys;
mod keys;
mod listeners;
mod no_leaks;
mod opaque;
mod operations;
mod paths;
mod policy_tests;
mod revocation;
mod rotation;
mod routes;
mod rules;
mod schema;
mod streaming;
mod tidy;
mod tls;
mod token_from;
mod upgrade;
mod upstreams_tls;
