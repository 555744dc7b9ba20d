//! The whole gateway on real sockets, a file per behaviour.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::print_stderr)]

#[path = "../support/mod.rs"]
mod support;

#[path = "../../fuzz/mod.rs"]
mod fuzz;

mod admission;
mod agreement;
mod beyond_answers;
mod bound_certificates;
mod broken_off;
mod challenges;
mod chaos;
mod command_line;
mod console;
mod decisions;
mod demo;
mod documents;
mod downgrade;
mod dpop;
mod drain;
mod dry_run;
mod early_answers;
mod egress;
mod egress_attacks;
mod egress_grants;
mod explain;
mod framing;
mod framing_table;
mod http2;
mod http2_floods;
mod identity;
mod identity_attacks;
mod interim;
mod kept_keys;
mod keys;
mod limits;
mod links;
mod listeners;
mod metrics;
mod no_leaks;
mod oauth_peers;
mod opaque;
mod operations;
mod path_corpus;
mod paths;
mod peers;
mod policy_tests;
mod rate_limits;
mod reload;
mod replicas;
mod revocation;
mod rotation;
mod routes;
mod rules;
mod schema;
mod shadow;
mod stalls;
mod status;
mod streaming;
mod streaming_http2;
mod systemd;
mod systems;
mod tidy;
mod tls;
mod token_from;
mod tracing;
mod tracing_delivery;
mod trailers;
mod upgrade;
mod upstreams;
mod upstreams_refusing;
mod upstreams_tls;
mod watched;
