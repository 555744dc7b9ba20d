//! Events in, metrics and lines out.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::{
    hint::black_box,
    thread,
    time::{Duration, Instant},
};

use insta::assert_snapshot;

use super::*;
use crate::token::credential::Fingerprint;

/// A request with a value in every field.
pub(super) fn a_request() -> RequestFinished<'static> {
    RequestFinished {
        request_id: "req-1",
        trace_id: "4bf92f3577b34da6a3ce929d0e0e4736",
        client_ip: "192.0.2.7".parse().unwrap(),
        method: "GET",
        host: Some("api.example.com"),
        path: "/rest/campaigns/7",
        query: Some("full=1&access_token=SECRET"),
        token_parameters: [&[], &[]],
        route: "campaigns",
        status: 200,
        duration: Duration::from_micros(12_345),
        overhead: Duration::from_micros(90),
        bytes_in: 0,
        bytes_out: 512,
        upstream: Some("campaigns"),
        endpoint: Some("127.0.0.1:9000"),
        attempts: 1,
        allowed: true,
        enforced: true,
        reason: "ok",
        issuer: Some("keycloak"),
        subject: Some("alice"),
        client: Some("web"),
        token: Some(Fingerprint([0x01, 0x23, 0x45, 0x67, 0x89, 0xab])),
        shadow: None,
    }
}

fn settings(access: bool) -> LoggingSettings {
    LoggingSettings { level: "debug".to_owned(), format: None, access }
}

/// The samples whose name begins so.
fn samples(observer: &Observer, name: &str) -> String {
    observer.render_metrics().lines().filter(|line| line.starts_with(name)).map(|line| format!("{line}\n")).collect()
}

#[test]
fn metric_names_are_these() {
    assert_snapshot!(Observer::silent().metric_names().join("\n"), @r"
    bearward_requests_total{route,method,status}
    bearward_request_duration_seconds{route}
    bearward_overhead_seconds{route}
    bearward_decisions_total{route,issuer,outcome,reason}
    bearward_token_cache_requests_total{result}
    bearward_token_cache_entries
    bearward_token_cache_bytes
    bearward_verifications_total{issuer,algorithm,result}
    bearward_verification_seconds
    bearward_jwks_fetches_total{issuer,result}
    bearward_jwks_age_seconds{issuer}
    bearward_jwks_keys{issuer}
    bearward_introspections_total{issuer,result}
    bearward_introspection_seconds{issuer}
    bearward_state_up
    bearward_rate_limited_total{route}
    bearward_revocations{source}
    bearward_egress_tokens_total{upstream,result}
    bearward_upstream_requests_total{upstream,endpoint,result}
    bearward_upstream_seconds{upstream}
    bearward_upstream_healthy{upstream,endpoint}
    bearward_upstream_connections{upstream,state}
    bearward_shadow_decisions_total{route,outcome,shadow_outcome}
    bearward_shadow_skipped_total
    bearward_connections{listener}
    bearward_spans_total{result}
    bearward_certificate_expiry_seconds{file}
    bearward_config_info{hash}
    bearward_config_reloads_total{result}
    bearward_config_last_reload_success
    bearward_log_lines_dropped_total
    bearward_build_info{version}
    process_cpu_seconds_total
    process_resident_memory_bytes
    process_virtual_memory_bytes
    process_threads
    process_open_fds
    process_max_fds
    process_start_time_seconds
    ");
}

#[test]
fn the_reference_knows_every_metric_and_no_other() {
    let reference = include_str!("../../docs/observability.md");
    let observer = Observer::silent();
    let names = observer.metric_names();
    for name in &names {
        assert!(reference.contains(&format!("| `{name}` |")), "{name} is not in docs/observability.md");
    }
    for prefix in ["| `bearward_", "| `process_"] {
        for (place, _) in reference.match_indices(prefix) {
            let name = reference[place..].split('`').nth(1).unwrap();
            assert!(names.contains(&name), "{name} is documented and doesn't exist");
        }
    }
}

#[test]
fn the_reference_shows_the_line_as_it_is() {
    let reference = include_str!("../../docs/observability.md");
    let (observer, log) = Observer::to_buffer(&settings(true)).unwrap();
    a_request().record(&observer, &observer.route("campaigns"));
    let line: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&log.take()).unwrap();
    for field in line.keys() {
        assert!(reference.contains(&format!("| `{field}` |")), "{field} is not in docs/observability.md");
    }
}

#[test]
fn a_request_counts_once_everywhere() {
    let (observer, log) = Observer::to_buffer(&settings(true)).unwrap();
    let route = observer.route("campaigns");
    a_request().record(&observer, &route);
    let refused = RequestFinished { status: 401, allowed: false, reason: "expired", ..a_request() };
    refused.record(&observer, &route);
    refused.record(&observer, &route);
    RequestFinished { method: "BREW", status: 418, issuer: None, reason: "public", ..a_request() }
        .record(&observer, &route);

    assert_snapshot!(samples(&observer, "bearward_requests_total"), @r#"
    bearward_requests_total{method="GET",route="campaigns",status="200"} 1
    bearward_requests_total{method="GET",route="campaigns",status="401"} 2
    bearward_requests_total{method="OTHER",route="campaigns",status="418"} 1
    "#);
    assert_snapshot!(samples(&observer, "bearward_decisions_total"), @r#"
    bearward_decisions_total{issuer="",outcome="allow",reason="public",route="campaigns"} 1
    bearward_decisions_total{issuer="keycloak",outcome="allow",reason="ok",route="campaigns"} 1
    bearward_decisions_total{issuer="keycloak",outcome="deny",reason="expired",route="campaigns"} 2
    "#);
    assert_snapshot!(samples(&observer, "bearward_overhead_seconds_count"), @r#"bearward_overhead_seconds_count{route="campaigns"} 4"#);
    assert_snapshot!(samples(&observer, "bearward_request_duration_seconds_count"), @r#"bearward_request_duration_seconds_count{route="campaigns"} 4"#);
    assert_eq!(log.take().lines().count(), 4);
}

#[test]
fn clients_add_no_label_values() {
    let observer = Observer::silent();
    let nowhere = observer.route("");
    for number in 0..100 {
        let text = format!("X{number}\"\n");
        let request = RequestFinished {
            method: &text,
            host: Some(&text),
            path: &text,
            query: Some(&text),
            request_id: &text,
            trace_id: &text,
            subject: Some(&text),
            client: Some(&text),
            route: "",
            issuer: None,
            allowed: false,
            reason: "no_route",
            status: 404,
            ..a_request()
        };
        request.record(&observer, &nowhere);
    }
    assert_snapshot!(samples(&observer, "bearward_requests_total"), @r#"bearward_requests_total{method="OTHER",route="",status="404"} 100"#);
    assert_snapshot!(samples(&observer, "bearward_decisions_total"), @r#"bearward_decisions_total{issuer="",outcome="deny",reason="no_route",route=""} 100"#);
    assert!(!observer.render_metrics().contains("X1"));
}

#[test]
fn every_reason_status_and_issuer_counts_with_a_cell_or_without() {
    let observer = Observer::silent();
    let route = observer.route("r");
    let issuers = (0..20).map(|number| format!("issuer{number}")).collect::<Vec<_>>();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for issuer in &issuers {
                    route.count_decision(Some(issuer), true, "ok");
                    route.count_decision(Some(issuer), false, "a reason to come");
                }
                (100..600).for_each(|status| route.count_request("GET", status));
            });
        }
    });
    let decisions = samples(&observer, "bearward_decisions_total");
    assert_eq!(decisions.lines().count(), 40);
    assert!(decisions.lines().all(|line| line.ends_with(" 4")), "{decisions}");
    let requests = samples(&observer, "bearward_requests_total");
    assert_eq!(requests.lines().count(), 500);
    assert!(requests.lines().all(|line| line.ends_with(" 4")), "{requests}");
}

#[test]
fn a_route_bound_again_counts_on() {
    let observer = Observer::silent();
    let bind = || (observer.route("r"), observer.upstream("u", "e"));
    let mut bound = bind();
    for _ in 0..2 {
        let (route, upstream) = &bound;
        route.count_request("GET", 200);
        upstream.connections(1, 0);
        // As a reload does it: the new ones, then away with the old ones.
        bound = bind();
    }
    assert!(samples(&observer, "bearward_requests_total").ends_with(" 2\n"));
    assert!(samples(&observer, "bearward_upstream_connections{state=\"active\"").ends_with(" 2\n"));
}

#[test]
fn what_nobody_works_with_any_more_is_not_shown() {
    let observer = Observer::silent();
    let (kept, issuer) = (observer.route("kept"), observer.issuer("kept"));
    let (one, other) = (observer.upstream("u", "one"), observer.upstream("u", "other"));
    let count = || {
        for route in [&kept, &observer.route("gone")] {
            route.count_request("GET", 200);
            route.count_decision(Some("kept"), true, "ok");
        }
        for issuer in [&issuer, &observer.issuer("gone")] {
            Verified { algorithm: "RS256", result: "ok", took: Duration::ZERO }.record(issuer);
        }
        for upstream in [&one, &other] {
            UpstreamAttempt { result: "ok", took: Duration::ZERO }.record(upstream);
        }
    };
    count();
    let text = observer.render_metrics();
    assert!(!text.contains("gone") && text.contains("route=\"kept\"") && text.contains("issuer=\"kept\""), "{text}");
    drop(one);
    let text = observer.render_metrics();
    assert!(!text.contains("endpoint=\"one\"") && text.contains("endpoint=\"other\""), "{text}");
    drop(other);
    let text = observer.render_metrics();
    assert!(!text.contains("upstream=\"u\""), "{text}");
}

#[test]
fn fetches_of_keys() {
    let (observer, log) = Observer::to_buffer(&settings(false)).unwrap();
    let metrics = observer.issuer("keycloak");
    assert_eq!(samples(&observer, "bearward_jwks_age_seconds"), "");
    tracing::dispatcher::with_default(&observer.dispatch().unwrap(), || {
        for result in [Err("connection refused"), Ok(2), Ok(3), Err("status 500"), Err("status 500"), Ok(3), Ok(3)] {
            KeysFetched { issuer: "keycloak", result }.record(&metrics);
        }
    });
    let lines = log.take();
    let lines = lines.lines().map(|line| &line["{\"time\":\"2026-11-24T21:55:00.123Z\",".len()..]).collect::<Vec<_>>();
    assert_snapshot!(lines.join("\n"), @r#"
    "level":"warn","message":"keys could not be fetched","issuer":"keycloak","error":"connection refused"}
    "level":"info","message":"keys fetched","issuer":"keycloak","keys":2}
    "level":"debug","message":"keys fetched","issuer":"keycloak","keys":3}
    "level":"warn","message":"keys could not be fetched","issuer":"keycloak","error":"status 500"}
    "level":"warn","message":"keys could not be fetched","issuer":"keycloak","error":"status 500"}
    "level":"info","message":"keys fetched","issuer":"keycloak","keys":3}
    "level":"debug","message":"keys fetched","issuer":"keycloak","keys":3}
    "#);
    assert_snapshot!(samples(&observer, "bearward_jwks_fetches"), @r#"
    bearward_jwks_fetches_total{issuer="keycloak",result="error"} 3
    bearward_jwks_fetches_total{issuer="keycloak",result="ok"} 4
    "#);
    assert_snapshot!(samples(&observer, "bearward_jwks_keys"), @r#"bearward_jwks_keys{issuer="keycloak"} 3"#);
    assert!(
        samples(&observer, "bearward_jwks_age_seconds").starts_with("bearward_jwks_age_seconds{issuer=\"keycloak\"} 0")
    );
    // A snapshot after it shares the state; with the last one the issuer is gone.
    let again = observer.issuer("keycloak");
    drop(metrics);
    assert!(!samples(&observer, "bearward_jwks_age_seconds").is_empty());
    drop(again);
    assert_eq!(samples(&observer, "bearward_jwks_age_seconds") + &samples(&observer, "bearward_jwks_keys"), "");
}

#[test]
fn verifications_upstreams_and_connections() {
    let observer = Observer::silent();
    let issuer = observer.issuer("keycloak");
    for (algorithm, result) in [("RS256", "ok"), ("RS256", "ok"), ("", "malformed"), ("XX1", "ok"), ("ES256", "else")] {
        Verified { algorithm, result, took: Duration::from_micros(17) }.record(&issuer);
    }
    let upstream = observer.upstream("campaigns", "127.0.0.1:9000");
    for result in ["ok", "error", "ok"] {
        UpstreamAttempt { result, took: Duration::from_millis(3) }.record(&upstream);
    }
    upstream.connections(1, 0);
    upstream.connections(1, 0);
    upstream.connections(-1, 1);
    let listener = observer.listener("public");
    listener.connections(1);
    listener.connections(1);
    listener.connections(-1);
    observer.config_in_force("aa");
    observer.config_in_force("bb");
    let text = ["bearward_verif", "bearward_upstream", "bearward_conn", "bearward_config"]
        .map(|name| samples(&observer, name));
    let text = text
        .concat()
        .lines()
        .filter(|line| !line.contains("_bucket") && !line.contains("_sum"))
        .collect::<Vec<_>>()
        .join("\n");
    assert_snapshot!(text, @r#"
    bearward_verification_seconds_count 5
    bearward_verifications_total{algorithm="",issuer="keycloak",result="malformed"} 1
    bearward_verifications_total{algorithm="ES256",issuer="keycloak",result="else"} 1
    bearward_verifications_total{algorithm="RS256",issuer="keycloak",result="ok"} 2
    bearward_verifications_total{algorithm="XX1",issuer="keycloak",result="ok"} 1
    bearward_upstream_connections{state="active",upstream="campaigns"} 1
    bearward_upstream_connections{state="idle",upstream="campaigns"} 1
    bearward_upstream_requests_total{endpoint="127.0.0.1:9000",result="error",upstream="campaigns"} 1
    bearward_upstream_requests_total{endpoint="127.0.0.1:9000",result="ok",upstream="campaigns"} 2
    bearward_upstream_seconds_count{upstream="campaigns"} 3
    bearward_connections{listener="public"} 1
    bearward_config_info{hash="bb"} 1
    bearward_config_last_reload_success 1
    bearward_config_reloads_total{result="error"} 0
    bearward_config_reloads_total{result="ok"} 0
    "#);
}

#[test]
fn every_reason_of_a_refusal_has_a_cell() {
    use crate::refusal::TokenFault::*;
    let faults = [
        TooLong,
        Malformed,
        Algorithm,
        Type,
        Critical,
        Issuer,
        Key,
        Signature,
        Expired,
        NotYetValid,
        IssuedInFuture,
        TooOld,
        Audience,
        MissingClaim,
        Revoked,
        Binding,
    ];
    for fault in faults {
        assert!(handles::reason_index(fault.reason()).is_some(), "{fault:?}");
    }
}

#[test]
fn a_level_that_is_none_is_an_error() {
    let settings = LoggingSettings { level: "loud".to_owned(), format: None, access: true };
    assert!(Observer::new(&settings).unwrap_err().contains("`loud`"));
    assert!(Observer::to_buffer(&settings).is_err());
}

#[test]
fn levels_filter_events() {
    let settings =
        LoggingSettings { level: "warn,other=trace".to_owned(), format: Some(LogFormat::Text), access: true };
    let (observer, log) = Observer::to_buffer(&settings).unwrap();
    tracing::dispatcher::with_default(&observer.dispatch().unwrap(), || {
        tracing::info!("not shown");
        tracing::trace!(target: "other", "shown");
    });
    let text = log.take();
    assert!(text.contains("shown") && !text.contains("not shown"), "{text}");
}

/// Run by hand, in release: `cargo test --release observe::tests::cost -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
#[allow(clippy::print_stdout)]
fn cost() {
    let look = || Arc::new(Look::new(false, false));
    let to_null = || Sink::Background(Background::start(io::sink(), look(), Metrics::new().log_lines_dropped).unwrap());
    for (name, sink, access) in [
        ("metrics alone", Sink::Nowhere, false),
        ("metrics, line to nowhere", Sink::Nowhere, true),
        ("metrics and line", to_null(), true),
    ] {
        let observer = Observer::with_sink(Metrics::new(), sink, look(), &settings(access));
        let route = observer.route("campaigns");
        let request = a_request();
        let rounds = 1_000_000u32;
        let begin = Instant::now();
        for _ in 0..rounds {
            black_box(&request).record(&observer, &route);
        }
        println!("{name}: {} ns", begin.elapsed().as_nanos() / u128::from(rounds));
    }
}
