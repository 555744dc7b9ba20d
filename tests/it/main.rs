//! The whole gateway on real sockets, a file per behaviour.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::print_stderr)]

#[path = "../support/mod.rs"]
mod support;

#[path = "../../fuzz/mod.rs"]
mod fuzz;

mod admission;
mod command_line;
mod demo;
mod documents;
mod dry_run;
mod framing;
mod framing_table;
mod identity;
mod identity_attacks;
mod keys;
mod listeners;
mod no_leaks;
mod operations;
mod path_corpus;
mod paths;
mod policy_tests;
mod routes;
mod rules;
mod schema;
mod streaming;
mod tidy;
