//! What the author of a bad file is told, whole.

use super::*;

macro_rules! bad {
    ($($name:ident: $text:expr;)*) => {
        $(#[test]
        fn $name() {
            insta::with_settings!({ description => $text, omit_expression => true, prepend_module_to_snapshot => false }, {
                insta::assert_snapshot!(stringify!($name), shown($text));
            });
        })*
    };
}

bad! {
    unknown_keys: "\
upstreams:
  orders:
    url: http://127.0.0.1:9000
    timout: 5s
    conect_timeout: 5s
    zzz: 1
rotues: []
";
    logouts: "\
issuers:
  a/b:
    issuer: https://a.example
    audiences: [api]
    logout: {back_channel: true}
  c:
    audiences: [api]
    introspection: {endpoint: \"https://c.example/ask\", client_id: gateway, client_secret: swordfish}
    logout: {events: true}
  d:
    issuer: http://d.example
    audiences: [api]
    introspection: {endpoint: \"https://d.example/ask\", client_id: gateway, client_secret: swordfish}
    logout: {events: true}
routes: []
";
    opaque_tokens: "\
issuers:
  a:
    audiences: [api]
    introspection: {client_id: gateway, client_secret: swordfish}
  b:
    audiences: [api]
    introspection: {endpoint: \"http://as.example/ask\", auth: digest}
  c:
    issuer: https://c.example
    audiences: [api]
    jwt: {}
    userinfo: {}
  d:
    audiences: [api]
    introspection:
      endpoint: https://as.example/ask
      auth: bearer
      client_secret: swordfish
      tokens: \"(\"
      max_concurrent: 0
      timeout: 0s
  e:
    audiences: [api]
    jwt: {}
    introspection: {endpoint: https://as.example/ask, auth: none, signed: true}
  f:
    audiences: [api]
    introspection: {endpoint: https://as.example/ask, auth: private_key_jwt, client_id: a, private_key: no.pem}
  g:
    audiences: [api]
    introspection: {endpoint: https://as.example/ask}
  h:
    audiences: [api]
    introspection: {endpoint: https://as.example/ask, auth: bearer, bearer_token: sword fish}
  i:
    audiences: any
    userinfo: {cache_ttl: 1s}
  j:
    audiences: [api]
    introspection: {endpoint: https://as.example/ask, auth: post, client_id: a, bearer_token: swordfish, private_key: swordfish}
routes:
  - {name: r, path: /, upstream: \"http://127.0.0.1:1\", allow: authenticated}
";
    token_places: "\
issuers:
  a: {issuer: https://a.example, audiences: [api]}
routes:
  - {name: a, path: /a, upstream: \"http://127.0.0.1:1\", allow: authenticated, token_from: []}
  - {name: b, path: /b, upstream: \"http://127.0.0.1:1\", allow: authenticated, token_from: cookie}
  - {name: c, path: /c, upstream: \"http://127.0.0.1:1\", allow: authenticated, token_from: {query: \"a b\"}}
  - {name: d, path: /d, upstream: \"http://127.0.0.1:1\", allow: authenticated, token_from: [{cookie: \"a=b\"}]}
  - {name: e, path: /e, upstream: \"http://127.0.0.1:1\", allow: authenticated, token_from: [{header: Authorization}, {header: Host}, {header: X_Auth_Subject}, {header: \"a b\"}]}
  - {name: f, path: /f, upstream: \"http://127.0.0.1:1\", allow: authenticated, token_from: [{cookie: a, query: b}, {}, {body: c}]}
  - {name: g, path: /g, upstream: \"http://127.0.0.1:1\", allow: authenticated, token_from: [{header: X-Token}, {header: x_token}]}
  - {name: h, path: /h, upstream: \"http://127.0.0.1:1\", allow: public, token_from: [header, {query: access_token}]}
";
    authorities_of_an_issuer: "\
issuers:
  a: {issuer: https://a.example, audiences: [api], tls_ca: /dev/null}
  b: {issuer: https://b.example, audiences: [api], tls_ca: Cargo.toml}
  c: {issuer: https://c.example, audiences: [api], tls_ca: nowhere.pem}
routes:
  - {name: a, path: /a, upstream: \"http://127.0.0.1:1\", allow: authenticated}
";
    keys_without_a_value: "\
issuers:
  a:
    issuer: https://a.example
    audiences: [api]
    jwt:
  b:
server:
routes:
  -
  - name: x
    path: /x
    upstream: http://h
    allow:
";
    nothing_is_open_by_omission: "\
routes:
  - name: a
    path: /a
    upstream: http://127.0.0.1:1
  - name: b
    path: /b
    upstream: http://127.0.0.1:1
    allow: []
  - name: c
    path: /c
    upstream: http://127.0.0.1:1
    allow: [public]
  - name: d
    path: /d
    upstream: http://127.0.0.1:1
    allow: [{}]
  - name: e
    path: /e
    upstream: http://127.0.0.1:1
    allow: authenticated
  - name: f
    path: /f
    upstream: http://127.0.0.1:1
    allow: true
";
    empty_lists: "\
listen: []
issuers:
  a: {issuer: \"https://a.example\", audiences: [], jwt: {algorithms: []}}
routes:
  - {name: r, path: /, methods: [], issuers: [], upstream: \"http://127.0.0.1\", allow: [{scopes: [], any_role: []}]}
";
    where_yaml_bites: "\
upstreams:
  a: {url: \"http://127.0.0.1\"}
routes:
  - name: a
    path: {id}
    hosts: [*.example.org]
    upstream: a
    allow: public
  - name: a
    name: b
    path: !x /b
    upstream: a
    allow: public
admin: off
logging: {access: on}
";
    a_star_at_the_beginning: "routes:\n  - path: *\n";
    a_variable_in_braces: "server: {workers: ${N}}\n";
    a_tab: "routes:\n\t- name: a\n";
    a_second_document: "routes: []\n---\nroutes: []\n";
    listeners: "\
listen:
  - {address: \"127.0.0.1:8080\", mode: forward_auth}
  - {address: \"127.0.0.1:8081\", request_from: self}
  - {address: \"127.0.0.1:8082\", mode: ext_authz, request_from: x_original}
  - {address: \"127.0.0.1:8083\", mode: forwardauth}
  - {address: \"127.0.0.1:8084\", mode: forward_auth, request_from: header, name: deciding}
admin: {token: \"two words\"}
routes:
  - {name: a, path: /a, listeners: [deciding], allow: public}
  - {name: b, path: /b, listeners: [deciding], allow: public, strip_prefix: /b}
  - {name: c, path: /c, allow: public}
";
    upstreams: "\
upstreams:
  a: {url: \"http://127.0.0.1:1\", endpoints: [\"http://127.0.0.1:2\"]}
  b: {endpoints: []}
  c: {endpoints: [\"http://127.0.0.1:2\", \"http://127.0.0.1:2\", h]}
  d: {endponts: [\"http://127.0.0.1:2\"]}
  e: {url: \"unix:\", balance: fastest, http2: on, paths: insensitive}
  f: {url: \"http://127.0.0.1\", health: {path: healthz, interval: 0s, healthy: 0}, eject: {failures: many, for: 0s}}
  g: {url: \"http://127.0.0.1\", health: {}, retry: {attempts: 11, on: [conect, 200, 404], budget: 0.2}}
  h: {url: \"http://127.0.0.1\", tls: {ca: none.pem, server_name: \"a b\"}}
  i: {url: \"https://127.0.0.1\", tls: {certificate: a.crt}}
  j: {url: \"https://127.0.0.1\", tls: {certificate: a.crt, key: a.key}}
  k: {url: \"https://127.0.0.1\", tls: {key: a.key}}
routes: []
";
    egress_tokens: "\
upstreams:
  a: {url: \"http://127.0.0.1\", token: {}}
  b: {url: \"http://127.0.0.1\", token: {endpoint: \"http://a.example\", grant: client_credentials}}
  c: {url: \"http://127.0.0.1\", token: {endpoint: \"https://a.example\", grant: password, client_id: a, client_secret: hunter2, username: b, assertion: {}}}
  d: {url: \"http://127.0.0.1\", token: {endpoint: \"https://a.example\", grant: jwt_bearer, private_key: none.pem, assertion: {}, client_id: a}}
  e: {url: \"http://127.0.0.1\", token: {endpoint: \"https://a.example\", grant: token_exchange, auth: basic, password: hunter2}}
  f: {url: \"http://127.0.0.1\", token: {endpoint: \"https://a.example\", grant: client_credentials, client_id: a, client_secrt: hunter2, scopes: [], scope_separator: \";\"}}
  g: {url: \"http://127.0.0.1\", token: {endpoint: \"https://a.example\", grant: authorization_code}}
routes: []
";
    whom_an_egress_token_serves: "\
listen: [\"127.0.0.1:8080\", {address: \"0.0.0.0:8081\", name: open}]
issuers: {a: {issuer: \"https://a.example\", audiences: [api]}}
upstreams:
  exchanged: {url: \"http://127.0.0.1\", token: {endpoint: \"https://a.example\", grant: token_exchange}}
  own: {url: \"http://127.0.0.1\", token: {endpoint: \"https://a.example\", grant: client_credentials, client_id: a, client_secret: b}}
routes:
  - {name: a, path: /a, upstream: exchanged, listeners: [\"127.0.0.1:8080\"], allow: public}
  - {name: b, path: /b, upstream: own, allow: public}
  - {name: c, path: /c, upstream: own, listeners: [\"127.0.0.1:8080\"], allow: public}
  - {name: d, path: /d, upstream: own, allow: authenticated, identity: {authorization: forward}}
  - {name: e, path: /e, upstream: own, allow: optional}
  - {name: f, path: /f, upstream: own, allow: authenticated, enforce: false}
  - {name: g, path: /g, upstream: own, listeners: [\"127.0.0.1:8080\"], allow: authenticated, enforce: false}
  - {name: h, path: /h, upstream: exchanged, allow: optional}
  - {name: i, path: /i, upstream: own, allow: authenticated}
";
    limits: "\
issuers: {a: {issuer: \"https://a.example\", audiences: [api], sender_constraint: tls, dpop: {max_age: 0s, nonce: 1}, logout: {back_channel: yes}}}
state: {redis: \"http://user:hunter2@h\"}
tracing: {otlp: collector, sample: 2}
routes:
  - {name: a, path: /a, upstream: \"http://127.0.0.1\", allow: authenticated, rate_limit: []}
  - {name: b, path: /b, upstream: \"http://127.0.0.1\", allow: authenticated, rate_limit: [{rate: 100, burst: 0, per: user}, {per: claims.}]}
  - {name: c, path: /c, upstream: \"http://127.0.0.1\", allow: public, rate_limit: {rate: 1/s, per: subject}, revokes: token}
  - {name: d, path: /d, upstream: \"http://127.0.0.1\", allow: authenticated, revokes: all, protected_resource: {resource: \"http://a.example\", scopes_supported: [\"a b\"]}}
  - {name: e, path: /e, upstream: \"http://127.0.0.1\", allow: authenticated, protected_resource: {}, rate_limit: 1/s}
";
    metadata: "\
listen: [{address: \"127.0.0.1:0\", name: public}, {address: \"127.0.0.1:1\", name: private}]
issuers:
  a: {issuer: https://a.example, audiences: [api]}
  b: {issuer: https://b.example, audiences: [api]}
  c: {audiences: any, userinfo: {endpoint: https://c.example/userinfo}}
  d: {issuer: https://d.example, audiences: [api], sender_constraint: dpop}
upstreams: {u: {url: \"http://127.0.0.1:1\"}}
routes:
  - {name: a, path: /a, upstream: u, allow: authenticated, issuers: [a], protected_resource: &api {resource: https://api.example/rest}}
  - {name: same, path: /same, upstream: u, allow: authenticated, issuers: [a], protected_resource: *api}
  - {name: other, path: /other, upstream: u, allow: authenticated, issuers: [a], protected_resource: {resource: https://other.example/rest}}
  - {name: scopes, path: /scopes, upstream: u, allow: authenticated, issuers: [a], protected_resource: {resource: https://api.example/rest/, scopes_supported: [x]}}
  - {name: issuers, path: /issuers, upstream: u, allow: authenticated, issuers: [b], protected_resource: *api}
  - {name: query, path: /query, upstream: u, allow: authenticated, issuers: [a], token_from: [{query: access_token}], protected_resource: *api}
  - {name: own, path: /.well-known/oauth-protected-resource/rest/, upstream: u, allow: public}
  - {name: elsewhere, path: /elsewhere, hosts: [\"*.internal\"], upstream: u, allow: authenticated, issuers: [a], protected_resource: {resource: https://api.example/elsewhere}}
  - {name: hidden, path: /hidden, upstream: u, allow: authenticated, issuers: [a], protected_resource: {resource: https://x.example/hidden}}
  - {name: hides, path: /hides, hosts: [\"*.example\"], upstream: u, allow: authenticated, issuers: [a], protected_resource: {resource: https://y.example/hidden}}
  - {name: apart, path: /apart, hosts: [z.test], upstream: u, allow: authenticated, issuers: [a], protected_resource: {resource: https://z.test/rest}}
  - {name: bound, path: /bound, listeners: [public], upstream: u, allow: authenticated, issuers: [a], protected_resource: {resource: https://l.example/bound}}
  - {name: bound-apart, path: /bound, listeners: [private], upstream: u, allow: authenticated, issuers: [a], protected_resource: {resource: https://m.example/bound}}
  - {name: bound-own, path: /.well-known/oauth-protected-resource/elsewhere, hosts: [api.example], upstream: u, allow: public}
  - {name: nobody, path: /nobody, upstream: u, allow: authenticated, issuers: [c], protected_resource: {resource: https://api.example/nobody}}
  - {name: encoded, path: /encoded, upstream: u, allow: authenticated, protected_resource: {resource: https://api.example/a%2Fb}}
  - {name: quoted, path: /quoted, upstream: u, allow: authenticated, protected_resource: {resource: 'https://api.example/?\"'}}
  - {name: twice, path: /twice, upstream: u, allow: authenticated, protected_resource: {resource: https://api.example//x}}
  - {name: demands, path: /demands, upstream: u, allow: authenticated, issuers: [d], protected_resource: {resource: https://api.example/proofs}}
  - {name: takes, path: /takes, upstream: u, allow: authenticated, issuers: [d, c], protected_resource: {resource: https://api.example/proofs}}
";
    assertions: "\
identity: {assertion: {header: Cookie, private_key: none.pem, ttl: 0s}}
routes:
  - {name: a, path: /a, upstream: \"http://127.0.0.1\", allow: public, identity: {assertion: {}}}
  - {name: b, path: /b, upstream: \"http://127.0.0.1\", allow: public, identity: {assertion: {header: X_Auth_Subject, private_key: \"-----BEGIN PRIVATE KEY-----hunter2\", issuer: i}}}
";
    units: "\
server:
  header_timeout: 10
  body_timeout: 1.5s
  idle_timeout: 0s
  drain_timeout: none
  max_header_bytes: 128KB
  max_token_bytes: 1GiB
  max_connections: many
  workers: 0
routes: []
";
    variables: "\
listen: [\"${NOWHERE}\"]
errors: {realm: \"${file:none}\"}
upstreams:
  a: {url: \"http://${HOST}:x\"}
  b: {url: \"${EMPTY}\"}
  c: {url: \"${a b}\"}
routes: []
";
    rules: "\
issuers:
  main: {issuer: \"https://a.example\", audiences: [api]}
  other: {issuer: \"https://b.example\", audiences: [api]}
routes:
  - name: r
    path: /{tenant}
    issuers: [main]
    upstream: http://127.0.0.1
    allow:
      - issuers: [other, mian]
      - audiences: []
      - claims: {tenant: {path.tenant}}
      - claims: {tenant: \"{path.tenat}\"}
      - claims: {tenant: \"{tenant\"}
      - claims: {tenant: [], team: \"\", unit: {}, email: {present: true, matches: x}, plan: {equals: x}}
      - claims: {email: {matches: \"(\"}, x: {present: yes}, a..b: 1}
      - claims: {}
      - claims: {tenant: \"{claims.x}\"}
      - {acr: [], max_age: 1500ms, token_kind: machine}
      - {acr: [\"a b\"], max_age: none}
";
    expressions: r#"
issuers:
  main: {issuer: "https://a.example", audiences: [api]}
routes:
  - name: r
    path: /{tenant}/{id}
    upstream: http://127.0.0.1
    allow:
      - when: 'claims.plan in ["pro", "team"] and request.method != "DELETE"'
      - when: request.methd == "GET" && claim.plan == path.tenat
      - when: "claims.plan == \"pro\" && request.host = \"a\""
      - when: |
          claims.plan == "pro" &&
            token.scopes == "a"
      - when: >
          claims.groups.exists(g, claims.teams.exists(t, t == g))
          || claims.email.matches(claims.pattern)
          || claims.email.matches("(")
      - when: query.x
      - when: claims.level > "3" && 3 > "3"
      - when: "sise(claims.groups) > 2 || claims.email.startWith('a') || size(3) == 1"
      - when: query["a"] == query[claims.k] || query == {}
      - when: true &&
      - when: "((((((((((((((((((((((((((((((((((((((((((1))))))))))))))))))))))))))))))))))))))))))"
      - when: ${URL}
      - when: ""
"#;
    names: "\
listen: [{address: \"127.0.0.1:8080\", name: public}, \"127.0.0.1:8081\"]
issuers:
  main: {issuer: \"https://a.example\", audiences: [api]}
upstreams:
  orders: {url: \"http://127.0.0.1\"}
routes:
  - {name: a, path: /a, upstream: ordres, allow: public}
  - {name: a, path: /b, upstream: orders, issuers: [mian, x], allow: authenticated}
  - {name: c, path: /c, upstream: orders, listeners: [publik, \"127.0.0.1:8081\"], allow: public}
  - {name: d, path: /c, upstream: orders, listeners: [public], allow: public}
  - {name: e, path: /c, upstream: orders, listeners: [\"127.0.0.1:8081\"], allow: public}
  - {name: f, path: /d, upstream: orders, listeners: [\"127.0.0.1:8081\", public], allow: public}
  - {name: g, path: /d, upstream: orders, allow: public}
";
    contradictions: "\
listen: [\"127.0.0.1:8080\", {address: 127.0.0.1:8080, name: a}, {address: \"127.0.0.1:0\", name: a}, \"127.0.0.1:0\", \"localhost:80\"]
admin: {address: 127.0.0.1:8080}
issuers:
  one: {issuer: \"https://a.example\", audiences: [api], jwt: {jwks_uri: \"http://keys.example/k\", discovery: true}}
  two: {issuer: \"https://a.example\", audiences: [api], jwt: {jwks_uri: \"http://keys.example/k\"}}
  six: {issuer: \"http://six.example\", audiences: api}
upstreams:
  orders: {url: \"http://127.0.0.1\"}
routes:
  - {name: a, path: /a, paths: [/b], upstream: orders, allow: authenticated}
  - {name: b, upstream: orders, allow: public}
  - {name: c, path: \"/c/{x}\", methods: [GET], upstream: orders, allow: [{methods: [GET, POST], scopes: [\"a b\"]}]}
  - {name: d, path: \"/d/{x}\", upstream: orders, allow: public}
  - {name: e, path: \"/d/{y}\", upstream: orders, allow: public}
  - {name: f, path: /f, methods: [get, TRACE, \"*\"], upstream: orders, allow: public}
";
    tokens: "\
issuers:
  a:
    issuer: https://a.example
    audiences: [api]
    jwt:
      algorithms: [HS256, none, RS265, ES512]
      types: [\"\"]
      jwks: [1]
    claims: {scopes: scope, roles: [\"a..b\"], token_kind: {client_if: {subject_matches: \"(a\"}}}
  b:
    issuer: notaurl
    audiences: [api]
    jwt: {discovery: yes}
  c:
    issuer: notaurl
    audiences: [api]
routes: []
";
    keys_of_tokens: "\
issuers:
  a:
    issuer: https://a.example
    audiences: [api]
    jwt: {secret: only-thirty-one-bytes-long-....}
  b:
    issuer: https://b.example
    audiences: [api]
    jwt: {secret: this-secret-has-more-than-32-bytes-in-it, algorithms: [HS256, HS384, RS256]}
  c:
    issuer: https://c.example
    audiences: [api]
    jwt: {secret_base64: \"c3dvcmRmaXNo!\"}
  d:
    issuer: https://d.example
    audiences: [api]
    jwt: {jwks_uri: \"https://d.example/keys\", algorithms: [HS256]}
  e:
    issuer: https://e.example
    audiences: [api]
    jwt: {secret: this-secret-has-more-than-32-bytes-in-it, public_keys: [a.pem]}
  f:
    issuer: https://f.example
    audiences: [api]
    jwt: {public_keys: [a.pem]}
routes: []
";
    identity_headers: "\
identity:
  headers:
    Content_Length: subject
    Authorization: subject
    D_PoP: subject
    Client-Cert: subject
    X-A: subjekt
    X_A: client
    X B: client
    X-C: {value: \"a\\nb\"}
    X-D: {valu: a}
    X-E: claims.
  authorization: drop
routes: []
";
    logging: "logging: {level: inof, format: xml}\nroutes: []\nversion: 2\n";
    not_a_map: "[1, 2]\n";
}
