//! The sidecars of the examples: an application beside them calls without a token, and the demo's gateway, which wants
//! one, lets it in.

use std::path::Path;

use super::with_variables;
use crate::support::{demo::Demo, gateway::Gateway, raw::exchange};

/// The demo, and a system's sidecar before its gateway.
fn beside(system: &str, variables: &[(&str, &str)]) -> (Demo, Gateway) {
    let demo = Demo::start();
    let key = demo.folder.join("docebo-client.pem");
    let realm = format!("{}/auth/realms/cern", demo.issuer);
    let common = [
        ("LISTEN", "127.0.0.1:0"),
        ("ADMIN", "127.0.0.1:0"),
        ("AUTH_URL", demo.issuer.as_str()),
        ("ISSUER", &realm),
        ("API_URL", &demo.gateway),
        ("PLATFORM_URL", &demo.gateway),
        ("CLIENT_KEY", key.to_str().unwrap()),
    ];
    let file = Path::new(system).join("sidecar");
    let gateway = Gateway::start(&with_variables(&file, &[&common, variables].concat()));
    (demo, gateway)
}

/// What the echo API says of a call through the sidecar.
#[track_caller]
fn call(sidecar: &Gateway, path: &str) -> serde_json::Value {
    let answer = sidecar.get(path);
    assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    answer.json()["headers"].clone()
}

#[test]
fn docebo_by_password_and_by_assertion() {
    let secrets = [
        ("CLIENT_ID", "My-Client-Name"),
        ("CLIENT_SECRET", "ed8c18b099c1f9b8714aaef87001fa3de3a7183d"),
        ("DOCEBO_USER", "superadmin"),
        ("DOCEBO_PASSWORD", "superadmin-password"),
    ];
    let (_demo, sidecar) = beside("docebo", &secrets);
    for path in ["/learn/v1/courses", "/manage/v1/user"] {
        let echoed = call(&sidecar, path);
        assert_eq!(echoed["x-auth-subject"], "superadmin", "{path}");
        assert_eq!(call(&sidecar, path)["authorization"], echoed["authorization"], "one token for both calls");
    }
}

#[test]
fn digitaleo_by_client_credentials() {
    let secrets = [("CLIENT_ID", "large-account"), ("CLIENT_SECRET", "large-account-secret")];
    let (_demo, sidecar) = beside("digitaleo", &secrets);
    let bearer = call(&sidecar, "/rest/campaigns")["authorization"].as_str().unwrap().to_owned();
    assert!(bearer.starts_with("Bearer eyJ") && bearer.len() == "Bearer ".len() + 50_000, "{}", bearer.len());
}

#[test]
fn degreed_with_commas_and_after_a_logout() {
    let (demo, sidecar) = beside("degreed", &[("CLIENT_ID", "abcd"), ("CLIENT_SECRET", "efgh")]);
    let echoed = call(&sidecar, "/api/v2/users");
    assert_eq!(echoed["x-auth-scopes"], "users:read content:read");
    // Somebody logs the sidecar's token out: the call that finds out gets another one and passes.
    let bearer = format!("Authorization: {}\r\n", echoed["authorization"].as_str().unwrap());
    let address = Demo::address(&demo.gateway);
    assert_eq!(exchange(address, "POST", "/oauth/logout", &bearer).status, 200);
    assert_eq!(exchange(address, "GET", "/api/v2/users", &bearer).status, 401);
    let other = call(&sidecar, "/api/v2/users");
    assert_ne!(other["authorization"], echoed["authorization"]);
}

#[test]
fn cern_for_an_audience() {
    let secrets = [("CLIENT_ID", "my-client-id"), ("CLIENT_SECRET", "00000000-0000-0000-0000-000000000000")];
    let (_demo, sidecar) = beside("cern", &secrets);
    let echoed = call(&sidecar, "/target/runs");
    assert_eq!(echoed["x-auth-subject"], "service-account-my-client-id");
    assert_eq!(sidecar.call("POST", "/target/runs", "").status, 405);
}
