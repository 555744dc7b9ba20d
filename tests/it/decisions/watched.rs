//! What is told of requests that others forward: spans and a shadow's differences, as of any.

use std::fs;

use super::{
    Scene, bearer,
    ext_authz::{Check, ask},
};
use crate::support::{binary::Binary, collector::Collector, eventually, gateway::metric, raw::exchange};

#[test]
fn a_decision_is_a_span_of_the_request_that_it_is_about() {
    let collector = Collector::start();
    let routes = "  - {name: closed, path: \"/closed/{id}\", upstream: echo, allow: authenticated}\n";
    let scene = Scene::start(&format!("tracing: {{otlp: \"{}\", sample: 1.0}}\n", collector.url()), routes);
    let good = bearer(&scene.issuer.token().build());
    for (place, id) in ["forwarded", "original", "own", "envoy"].into_iter().enumerate() {
        let fields = format!("X-Request-Id: {id}\r\n{good}");
        if id == "envoy" {
            let address = scene.gateway.address_of(4);
            assert_eq!(ask(address, &Check::new("PUT", "/closed/7?a", &fields)).denied, None);
        } else {
            assert_eq!(scene.ask(place, "PUT", "/closed/7?a", &fields).status, 200);
        }
        let trace = collector.request(id);
        assert_eq!(trace.server.span.name, "PUT /closed/{id}");
        trace.server.is(&[
            ("http.request.method", "PUT"),
            ("http.route", "/closed/{id}"),
            ("url.path", "/closed/7"),
            ("server.address", "api.example"),
            ("http.response.status_code", "200"),
        ]);
    }
}

#[test]
fn a_shadow_decides_beside_it() {
    let scene = Scene::start("", "  - {name: r, path: /r, upstream: echo, allow: public}\n");
    let folder = tempfile::tempdir().unwrap();
    let text = |allow: &str| {
        format!(
            "listen: [{{address: \"127.0.0.1:0\", name: ask, mode: forward_auth, request_from: x_forwarded}}]\n\
             admin: {{address: \"127.0.0.1:0\"}}\nissuers: {{main: {{issuer: \"{}\", audiences: [api]}}}}\n\
             routes: [{{name: r, path: /r, allow: {allow}}}]\n",
            scene.issuer.url()
        )
    };
    let [config, shadow] = [("gateway.yaml", "authenticated"), ("next.yaml", "public")].map(|(name, allow)| {
        let path = folder.path().join(name);
        fs::write(&path, text(allow)).unwrap();
        path
    });
    let binary = Binary::spawn(&["run", "--config", config.to_str().unwrap(), "--shadow", shadow.to_str().unwrap()]);
    binary.line("ready");
    let described =
        "X-Forwarded-Method: GET\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: a\r\nX-Forwarded-Uri: /r\r\n";
    assert_eq!(exchange(binary.address(), "GET", "/", described).status, 401);
    let series = "bearward_shadow_decisions_total{outcome=\"deny\",route=\"r\",shadow_outcome=\"allow\"}";
    eventually("the shadow has decided", || metric(binary.admin(), series) == 1.0);
}
