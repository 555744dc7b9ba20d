//! bearward: a reverse-proxy API gateway that enforces OAuth 2.0 bearer tokens.
//!
//! The modules stand in the order in which a request meets them; [`gateway`] is the whole way on one screen.
//!
//! ```text
//! server -> gateway -> decision -> upstream        a request's way
//!              |          |- path, route            where does it lead?
//!              |          |- token                  who asks?
//!              |          '- policy                 may they?
//!              '-> respond                          every answer of our own
//! config -> snapshot                                what all of them go by
//! ```

pub mod app;
pub mod background;
pub mod config;
pub mod reload;
pub mod snapshot;

pub mod server;

pub mod answer;
pub mod cors;
pub mod exchange;
pub mod gateway;

pub mod path;
pub mod query;
pub mod request;

pub mod decide;
pub mod decision;
pub mod method;
pub mod policy;
pub mod route;
pub mod token;

pub mod assertion;
pub mod egress;
pub mod headers;
pub mod identity;
pub mod limit;
pub mod logout;
pub mod outgoing;
pub mod protected_resource;
pub mod upstream;

pub mod body;
pub mod notices;
pub mod refusal;
pub mod respond;
pub mod well_known;

pub mod explain;
pub mod rehearsal;
pub mod shadow;

pub mod admin;
pub mod descriptors;
pub mod fetch;
pub mod form;
pub mod memory;
pub mod moment;
pub mod observe;
pub mod shared_state;
pub mod signer;
pub mod single_flight;
pub mod state_dir;
pub mod systemd;
pub mod trace;
pub mod watch;

pub mod import;
pub mod policy_tests;

pub mod cli;
pub mod demo;

mod confidential;
mod der;
mod describe;
mod validity;
