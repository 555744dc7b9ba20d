//! `upstreams`.

use std::time::Duration;

use super::{
    count_or_none,
    egress::{self, Egress},
    flag, some_texts, some_time, text, time_or_none,
};
use crate::{
    config::{
        reader::{At, Field, Fields, Reader},
        units,
    },
    upstream::Balance,
};

#[derive(Debug)]
pub(in crate::config) struct Upstream {
    pub(in crate::config) name: At<String>,
    pub(in crate::config) url: Option<At<String>>,
    pub(in crate::config) endpoints: Option<At<Vec<At<String>>>>,
    pub(in crate::config) balance: Option<Balance>,
    pub(in crate::config) http2: Option<bool>,
    pub(in crate::config) connect_timeout: Option<Duration>,
    pub(in crate::config) response_timeout: Option<Option<Duration>>,
    pub(in crate::config) idle_timeout: Option<Duration>,
    pub(in crate::config) max_connections: Option<Option<usize>>,
    pub(in crate::config) health: Option<Health>,
    pub(in crate::config) eject: Option<Eject>,
    pub(in crate::config) retry: Option<Retry>,
    pub(in crate::config) tls: Option<Tls>,
    pub(in crate::config) preserve_host: Option<bool>,
    /// `paths: case_insensitive`
    pub(in crate::config) ignores_case: Option<bool>,
    pub(in crate::config) token: Option<Egress>,
}

#[derive(Debug)]
pub(in crate::config) struct Health {
    pub(in crate::config) path: Option<At<String>>,
    pub(in crate::config) interval: Option<Duration>,
    pub(in crate::config) timeout: Option<Duration>,
    pub(in crate::config) healthy: Option<u32>,
    pub(in crate::config) unhealthy: Option<u32>,
}

#[derive(Debug)]
pub(in crate::config) struct Eject {
    pub(in crate::config) failures: Option<u32>,
    pub(in crate::config) rest: Option<Duration>,
}

#[derive(Debug)]
pub(in crate::config) struct Retry {
    pub(in crate::config) attempts: Option<u32>,
    pub(in crate::config) on: Option<At<Vec<At<String>>>>,
    pub(in crate::config) budget_percent: Option<u8>,
}

#[derive(Debug)]
pub(in crate::config) struct Tls {
    pub(in crate::config) at: At<()>,
    pub(in crate::config) ca: Option<At<String>>,
    pub(in crate::config) server_name: Option<At<String>>,
    pub(in crate::config) certificate: Option<At<String>>,
    pub(in crate::config) key: Option<At<String>>,
}

pub(super) fn upstream(name: At<String>, fields: &Fields<'_>, r: &mut Reader<'_>) -> Upstream {
    let url = match fields.has_or_means("endpoints") {
        true => r.field(fields, "url"),
        false => r.required(fields, "url", "where it is: `url: http://127.0.0.1:9000`"),
    };
    let balance = r.field(fields, "balance");
    let paths = r.field(fields, "paths");
    Upstream {
        name,
        url: url.and_then(|field| r.text(&field)),
        endpoints: some_texts(fields, "endpoints", "name one URL at least", r),
        balance: balance.and_then(|field| r.word(&field, &BALANCES)),
        http2: flag(fields, "http2", r),
        connect_timeout: some_time(fields, "connect_timeout", r),
        response_timeout: time_or_none(fields, "response_timeout", r),
        idle_timeout: some_time(fields, "idle_timeout", r),
        max_connections: count_or_none(fields, "max_connections", r),
        health: r.field(fields, "health").and_then(|field| health(&field, r)),
        eject: r.field(fields, "eject").and_then(|field| eject(&field, r)),
        retry: r.field(fields, "retry").and_then(|field| retry(&field, r)),
        tls: r.field(fields, "tls").and_then(|field| tls(&field, r)),
        preserve_host: flag(fields, "preserve_host", r),
        ignores_case: paths.and_then(|field| r.word(&field, &[("exact", false), ("case_insensitive", true)])),
        token: r.field(fields, "token").and_then(|field| egress::egress(&field, r)),
    }
}

const BALANCES: [(&str, Balance); 4] = [
    ("least_request", Balance::LeastRequest),
    ("round_robin", Balance::RoundRobin),
    ("random", Balance::Random),
    ("hash", Balance::Hash),
];

fn health(field: &Field<'_>, r: &mut Reader<'_>) -> Option<Health> {
    let fields = r.fields(field)?;
    let path = r.required(&fields, "path", "what is asked for: `path: /healthz`");
    Some(Health {
        path: path.and_then(|field| r.text(&field)),
        interval: some_time(&fields, "interval", r),
        timeout: some_time(&fields, "timeout", r),
        healthy: count(&fields, "healthy", 100, r),
        unhealthy: count(&fields, "unhealthy", 100, r),
    })
}

fn eject(field: &Field<'_>, r: &mut Reader<'_>) -> Option<Eject> {
    let fields = r.fields(field)?;
    Some(Eject { failures: count(&fields, "failures", 10_000, r), rest: some_time(&fields, "for", r) })
}

fn retry(field: &Field<'_>, r: &mut Reader<'_>) -> Option<Retry> {
    let fields = r.fields(field)?;
    let budget = r.field(&fields, "budget");
    Some(Retry {
        attempts: count(&fields, "attempts", 10, r),
        on: some_texts(&fields, "on", "leave it out for `[connect]`", r),
        budget_percent: budget.and_then(|field| r.unit(&field, "a percentage", units::percent)).map(|at| at.value),
    })
}

fn tls(field: &Field<'_>, r: &mut Reader<'_>) -> Option<Tls> {
    let fields = r.fields(field)?;
    Some(Tls {
        at: field.at_key(()),
        ca: text(&fields, "ca", r),
        server_name: text(&fields, "server_name", r),
        certificate: text(&fields, "certificate", r),
        key: text(&fields, "key", r),
    })
}

fn count(fields: &Fields<'_>, key: &'static str, most: usize, r: &mut Reader<'_>) -> Option<u32> {
    let field = r.field(fields, key)?;
    r.count(&field, most).and_then(|count| u32::try_from(count).ok())
}
