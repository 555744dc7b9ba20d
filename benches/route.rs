//! What a path and its route cost: `cargo bench --bench route`. Nanoseconds for one call, the best of several runs.

#![allow(clippy::print_stdout, reason = "this is what it is for")]

use std::{hint::black_box, time::Instant};

use bearward::{
    headers::HeaderRules,
    identity::IdentityPlan,
    method::MethodSet,
    path::CanonicalPath,
    policy::Access,
    route::{Destination, HostPattern, PathTemplate, RouteSettings, RouteTable},
    token::place::TokenPlaces,
};
use hyper::Method;

const RUNS: usize = 7;
const CALLS: u32 = 20_000;

fn main() -> Result<(), String> {
    for path in ["/rest/campaigns/42", "/rest/a%20b/42", "/users/me%40example.org", "/a;x/b", "/rest//campaigns"] {
        report(&format!("parse {path}"), CALLS, || black_box(CanonicalPath::parse(black_box(path))).is_ok());
    }
    for piece in ["a", "%20", "/..;", "//;a%3B%252541", "/a;/..;//%252e"] {
        let path = format!("/{}", piece.repeat((128 << 10) / piece.len()));
        report(&format!("parse 128 KiB of {piece}"), 10, || black_box(CanonicalPath::parse(black_box(&path))).is_ok());
    }
    for count in [10, 1_000, 10_000] {
        let any = RouteTable::new(&routes(count, false)?).map_err(|conflicts| format!("{conflicts:?}"))?;
        let hosts = RouteTable::new(&routes(count, true)?).map_err(|conflicts| format!("{conflicts:?}"))?;
        let (literal, param) = (format!("/rest/c{}/all", count / 2), format!("/rest/c{}/42/x", count / 2));
        let find = |table: &RouteTable, path: &str| {
            black_box(table.find(0, black_box(Some("api.example.com")), black_box(path), &Method::GET));
            true
        };
        report(&format!("find among {count}"), CALLS, || find(&any, &literal));
        report(&format!("find among {count}, with a parameter"), CALLS, || find(&any, &param));
        report(&format!("find among {count}, of a host"), CALLS, || find(&hosts, &literal));
    }
    Ok(())
}

fn report(what: &str, calls: u32, call: impl Fn() -> bool) {
    let run = || {
        let begin = Instant::now();
        for _ in 0..calls {
            black_box(call());
        }
        begin.elapsed() / calls
    };
    let best = (0..RUNS).map(|_| run()).min().unwrap_or_default();
    println!("{:>10} ns  {what}", best.as_nanos());
}

fn routes(count: usize, of_host: bool) -> Result<Vec<RouteSettings>, String> {
    let hosts = if of_host { vec![HostPattern::parse("api.example.com")?] } else { Vec::new() };
    (0..count)
        .map(|index| {
            Ok(RouteSettings {
                name: format!("r{index}").into(),
                listeners: None,
                hosts: hosts.clone(),
                paths: vec![
                    PathTemplate::parse(&format!("/rest/c{index}/all"))?,
                    PathTemplate::parse(&format!("/rest/c{index}/{{id}}/**"))?,
                ],
                declared_methods: MethodSet::ANY,
                methods: MethodSet::ANY,
                allow: Access::Authenticated,
                issuers: Vec::new(),
                token_from: TokenPlaces::default(),
                enforce: true,
                destination: Destination::Upstream(0),
                rewrite: None,
                identity: IdentityPlan { headers: Vec::new(), forward_authorization: true, assertion: None },
                cors: None,
                headers: HeaderRules::default(),
                timeout: None,
                max_body_bytes: None,
                revokes: false,
                rate_limits: Vec::new(),
                protected_resource: None,
            })
        })
        .collect()
}
