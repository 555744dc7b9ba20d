//! Every key that the configuration has, as its reference lists them, in files that differ where keys exclude each
//! other.

use super::*;

const TOP: &str = r#"
version: 1
listen:
  - address: 0.0.0.0:8080
    name: public
  - address: 0.0.0.0:8443
    tls: {certificate: tls.crt, key: tls.key, client_ca: clients.pem, client_certificate: optional}
  - {address: 127.0.0.1:9191, mode: forward_auth, request_from: x_forwarded}
  - {address: 127.0.0.1:9192, mode: ext_authz}
  - {address: "unix:/tmp/bearward.sock", name: local}
admin: {address: 127.0.0.1:9901, token: "${ADMIN_TOKEN}"}
server:
  workers: auto
  trusted_proxies: [10.0.0.0/8]
  max_header_bytes: 128KiB
  max_token_bytes: 64KiB
  max_body_bytes: none
  max_connections: none
  header_timeout: 10s
  body_timeout: 30s
  idle_timeout: 75s
  ready_timeout: 30s
  drain_delay: 0s
  drain_timeout: 30s
token_cache: {max_bytes: 64MiB}
state: {redis: "redis://127.0.0.1:6379", dir: /var/lib/bearward}
errors: {realm: bearward}
logging: {level: info, format: json, access: true}
tracing: {otlp: "http://127.0.0.1:4317", sample: 1.0}
identity:
  headers:
    X-Auth-Subject: subject
    X-Auth-Client: client
    X-Auth-Scopes: scopes
    X-Auth-Roles: roles
    X-Auth-Issuer: issuer
    X-Tenant: claims.tenant
    X-Env: {value: production}
  authorization: forward
  assertion: {header: X-Auth-Assertion, private_key: gateway.pem, issuer: "https://gateway.example", audience: upstream, ttl: 60s}
"#;

const ISSUERS: &str = r#"
issuers:
  cern:
    issuer: https://auth.example.org/realms/cern
    audiences: [the-target-api]
    jwt:
      JWT
      types: [at+jwt, JWT]
      clock_skew: 30s
      max_token_age: none
      require_claims: [exp]
      require_issuer: true
      string_dates: false
      refresh: 10m
      stale_keys: 24h
    OPAQUE
    claims:
      scopes: [scope, scp]
      roles: [roles, realm_access.roles, resource_access.*.roles]
      subject: sub
      client: [client_id, azp, cid]
      token_kind: {client_if: {subject_matches: "^service-account-"}}
    dpop: {max_age: 60s, nonce: false}
    logout: {back_channel: false, events: false}
    sender_constraint: none
    tls_ca: ca.pem
    http_timeout: 5s
    allow_http: true
  digitaleo: {issuer: "https://digitaleo.example", audiences: any}
"#;

const UPSTREAMS: &str = r#"
upstreams:
  campaigns:
    PLACE
    balance: least_request
    http2: false
    connect_timeout: 2s
    response_timeout: 60s
    idle_timeout: 60s
    max_connections: none
    health: {path: /healthz, interval: 5s, timeout: 1s, healthy: 2, unhealthy: 3}
    eject: {failures: 5, for: 10s}
    retry: {attempts: 2, on: [connect, 502, 503], budget: 20%}
    preserve_host: false
    paths: exact
  secure:
    url: https://internal.example
    tls: {ca: upstream-ca.pem, server_name: internal.example, certificate: client.crt, key: client.key}
  called_as_ourselves:
    url: http://127.0.0.1:9001
    token: TOKEN
"#;

const ROUTES: &str = r#"
routes:
  - name: campaigns
    hosts: [api.example.com, "*.example.org"]
    path: /rest/campaigns/{id}
    methods: [GET, POST, DELETE]
    listeners: [public]
    upstream: campaigns
    REWRITE
    allow:
      - methods: [GET, HEAD]
        scopes: [campaigns:read]
      - methods: [POST]
        any_scope: [campaigns:write, campaigns:admin]
        any_role: [editor, owner]
        roles: [staff]
        issuers: [digitaleo]
        audiences: [campaigns-api]
        token_kind: user
        claims:
          tenant: "{path.id}"
          provider_id: {present: true}
          email: {matches: "@example\\.com$"}
        acr: [urn:mace:silver]
        max_age: 5m
        when: 'claims.plan in ["pro", "team"] && request.method != "DELETE"'
    issuers: [digitaleo]
    token_from: [header, {query: access_token}, {cookie: name}, {header: X-Api-Token}]
    enforce: true
    rate_limit:
      - {rate: 100/s, burst: 200, per: client}
      - {rate: 600/m, per: ip}
    max_body_bytes: 1MiB
    timeout: 30s
    cors:
      origins: ["https://app.example.com"]
      methods: [GET, POST]
      headers: [Authorization, Content-Type]
      credentials: true
      max_age: 10m
    headers:
      request: {set: {X-Stage: prod}, remove: [X-Debug]}
      response: {set: {Strict-Transport-Security: max-age=31536000}}
    identity: {authorization: remove}
    revokes: token
    protected_resource: {resource: "https://api.example.com/rest", scopes_supported: [campaigns:read]}
  - {name: in-place, paths: [/a, "/b/**"], upstream: "https://b.example", allow: optional}
  - {name: secure, path: /secure, upstream: secure, allow: authenticated}
  - {name: egress, path: /egress, upstream: called_as_ourselves, allow: authenticated}
  - {name: fixed, path: /fixed, respond: {status: 200, body: "…", headers: {X-A: b}}, allow: public}
  - {name: moved, path: /moved, redirect: {to: /fixed, status: 308}, allow: public}
"#;

/// What keys exclude each other, in turn.
const VARIANTS: [[&str; 5]; 7] = [
    ["discovery: true", "", "url: http://127.0.0.1:9000", "strip_prefix: /rest", CLIENT],
    [
        "jwks_uri: https://auth.example.org/certs",
        "introspection: {endpoint: \"https://a.example/i\", client_id: gateway, client_secret: \"${S}\", auth: basic, tokens: \"^[0-9a-f]{40}$\", \
         timeout: 2s, cache_ttl: 60s, negative_ttl: 5s, max_concurrent: 64, signed: false}",
        "endpoints: [http://127.0.0.1:9000, http://127.0.0.2:9000]",
        "rewrite: /v2/{id}",
        "{endpoint: \"https://a.example/t\", grant: password, client_id: a, client_secret: \"${S}\", username: u, password: \"${S}\", auth: basic}",
    ],
    [
        "jwks_file: keys.json",
        "",
        "url: unix:/path.sock",
        "timeout: 31s",
        "{endpoint: \"https://a.example/t\", grant: jwt_bearer, private_key: gateway.pem, algorithm: ES256, assertion: {iss: a, sub: b, aud: c, ttl: 60s}}",
    ],
    [
        "jwks: {keys: [{kty: OKP, crv: Ed25519, x: 11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo}]}",
        "",
        "url: http://127.0.0.1:9000/base",
        "timeout: none",
        "{endpoint: \"https://a.example/t\", grant: token_exchange, audience: x, scopes: [y]}",
    ],
    ["public_keys: [a.pem]", "", "url: https://[::1]:9000", "timeout: 1m", CLIENT],
    ["secret: \"${HS_SECRET}\"", "", "url: http://localhost", "timeout: 1m", CLIENT],
    ["secret_base64: \"${HS_SECRET}\"", "", "url: http://localhost", "timeout: 1m", CLIENT],
];

const CLIENT: &str = "{endpoint: \"https://a.example/t\", grant: client_credentials, client_id: a, client_secret: \"${S}\", \
                      scopes: [x], audience: y, scope_separator: \",\", auth: post, expiry_margin: 30s}";

#[test]
fn the_whole_reference_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    let made = rcgen::generate_simple_self_signed(["internal.example".to_owned()]).unwrap();
    for name in ["tls.crt", "clients.pem", "ca.pem", "upstream-ca.pem", "client.crt", "a.pem"] {
        write(name, &made.cert.pem());
    }
    for name in ["tls.key", "client.key", "gateway.pem"] {
        write(name, &made.signing_key.serialize_pem());
    }
    write("keys.json", r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#);
    let environment = |name: &str| match name {
        "ADMIN_TOKEN" | "S" => Some("swordfish".to_owned()),
        "HS_SECRET" => Some("0123456789abcdef".repeat(4)),
        _ => None,
    };
    for [jwt, opaque, place, rewrite, token] in VARIANTS {
        // `timeout` stands in the place of a rewrite that isn't there: a route has it once.
        let routes = match rewrite.starts_with("timeout") {
            true => ROUTES.replace("    timeout: 30s\n", ""),
            false => ROUTES.to_owned(),
        };
        let text = [TOP, ISSUERS, UPSTREAMS, &routes].concat();
        let text = text.replace("JWT\n      types", &format!("{jwt}\n      types")).replace("OPAQUE", opaque);
        let text = text
            .replace("PLACE", place)
            .replace("REWRITE", rewrite)
            .replace("token: TOKEN", &format!("token: {token}"));
        write("gateway.yaml", &text);
        let found = match load(&folder.path().join("gateway.yaml"), &environment) {
            Ok(loaded) => {
                assert!(!format!("{loaded:?}").contains("swordfish"), "{jwt}");
                loaded.warnings
            }
            Err(found) => found,
        };
        let errors = found.iter().filter(|one| one.severity == Severity::Error).collect::<Vec<_>>();
        assert!(errors.is_empty(), "{jwt}: {errors:?}");
    }
}
