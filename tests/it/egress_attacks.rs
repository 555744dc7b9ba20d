//! Ways in which somebody outside could spend the app's token, or get to see it, and none of them works.

use serde_json::json;

use super::egress::{CLIENT, sidecar};
use crate::support::{
    authorization_server::AuthorizationServer,
    binary::Binary,
    eventually,
    gateway::Gateway,
    raw::{Client, exchange},
    token_endpoint::TokenEndpoint,
    upstream::Upstream,
};

fn scene() -> (TokenEndpoint, Upstream, Gateway) {
    let endpoint = TokenEndpoint::start();
    let api = endpoint.api();
    let gateway = Gateway::start(&sidecar(&api, &endpoint.url(), CLIENT));
    (endpoint, api, gateway)
}

/// Whoever needs no token of its own would spend the app's: then only this machine may be listened to.
#[test]
fn a_route_for_everybody_listens_on_this_machine_alone() {
    let token =
        "token: {endpoint: \"https://as.example/token\", grant: client_credentials, client_id: a, client_secret: b}";
    let issuers = "issuers: {a: {issuer: \"https://a.example\", audiences: [api]}}";
    for (listen, allow, is_lent) in [
        ("127.0.0.1:0", "public", false),
        ("127.9.9.9:0", "public", false),
        ("[::1]:0", "public", false),
        ("unix:/run/sidecar.sock", "public", false),
        ("0.0.0.0:0", "public", true),
        ("[::]:0", "public", true),
        ("192.0.2.1:0", "public", true),
        ("[::ffff:127.0.0.1]:0", "public", true),
        ("0.0.0.0:0", "optional", true),
        ("0.0.0.0:0", "authenticated, enforce: false", true),
        ("0.0.0.0:0", "authenticated", false),
        ("0.0.0.0:0", "[{scopes: [a]}]", false),
        ("127.0.0.1:0", "optional", false),
        ("127.0.0.1:0", "authenticated, enforce: false", false),
    ] {
        let yaml = format!(
            "listen: [\"{listen}\"]\n{issuers}\nupstreams: {{api: {{url: \"https://api.example\", {token}}}}}\n\
             routes: [{{name: all, path: /**, upstream: api, allow: {allow}}}]\n"
        );
        let loaded = bearward::config::load_str(&yaml, "gateway.yaml");
        assert_eq!(loaded.is_err(), is_lent, "{listen} {allow}: {loaded:?}");
        if let Err(errors) = loaded {
            assert!(format!("{errors:?}").contains("lends the gateway's own token to everybody"), "{errors:?}");
        }
    }
    let one_open_listener = format!(
        "listen: [\"127.0.0.1:1\", \"0.0.0.0:2\"]\nupstreams: {{api: {{url: \"https://api.example\", {token}}}}}\n\
         routes: [{{name: all, path: /**, upstream: api, allow: public}}]\n"
    );
    assert!(bearward::config::load_str(&one_open_listener, "gateway.yaml").is_err());
}

/// A page that somebody on this machine looks at can send requests to it.
#[test]
fn a_page_of_another_origin_spends_nothing() {
    let (endpoint, api, gateway) = scene();
    let own = gateway.address;
    for fields in [
        "Origin: https://evil.example\r\n".to_owned(),
        "Origin: null\r\n".to_owned(),
        format!("Origin: http://{own}\r\nOrigin: https://evil.example\r\n"),
        "Origin: http://localhost:3000\r\nSec-Fetch-Site: same-site\r\n".to_owned(),
        "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: no-cors\r\n".to_owned(),
        "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\n".to_owned(),
    ] {
        for method in ["GET", "POST", "OPTIONS"] {
            let length = if method == "POST" { "Content-Length: 0\r\n" } else { "" };
            let response = gateway.call(method, "/x", &format!("{fields}{length}"));
            assert_eq!(response.status, 403, "{method} {fields}");
            assert_eq!(response.fields.get("access-control-allow-origin"), None);
        }
    }
    assert_eq!((endpoint.asked(), api.requests().len()), (0, 0));
    for fields in [String::new(), format!("Origin: http://{own}\r\n"), "Sec-Fetch-Site: same-origin\r\n".to_owned()] {
        assert_eq!(gateway.call("GET", "/x", &fields).status, 200, "{fields}");
    }
}

#[test]
fn a_page_that_cors_names_is_served() {
    let endpoint = TokenEndpoint::start();
    let api = endpoint.api();
    let yaml = sidecar(&api, &endpoint.url(), CLIENT)
        .replace("allow: public", "allow: public, cors: {origins: [\"http://app.example\"]}");
    let gateway = Gateway::start(&yaml);
    assert_eq!(gateway.call("GET", "/", "Origin: http://app.example\r\n").status, 200);
    assert_eq!(gateway.call("GET", "/", "Origin: http://evil.example\r\n").status, 403);
    assert_eq!(api.requests().len(), 1);
}

/// Neither what a client says of itself, nor what the gateway knows of it, is an upstream's affair that is called as the app.
#[test]
fn nothing_of_the_caller_goes_on() {
    let (endpoint, server) = (TokenEndpoint::start(), AuthorizationServer::start());
    let api = endpoint.api();
    server.active("callers-token", json!({"sub": "joe", "client_id": "web", "scope": "read", "roles": ["editor"]}));
    let yaml = format!(
        "listen: [\"127.0.0.1:0\"]\n\
         admin: {{address: \"127.0.0.1:0\"}}\n\
         logging: {{level: error, access: false}}\n\
         server: {{workers: 1, trusted_proxies: [127.0.0.0/8]}}\n\
         identity: {{headers: {{X-Tenant: claims.sub}}, authorization: forward}}\n\
         issuers:\n  a: {{audiences: [api], introspection: {{endpoint: \"{}\", client_id: gw, client_secret: x}}}}\n\
         upstreams:\n  api: {{url: \"{}\", token: {{endpoint: \"{}\", {CLIENT}}}}}\n\
         routes:\n\
         \x20 - {{name: public, path: /public/**, upstream: api, allow: public}}\n\
         \x20 - {{name: closed, path: /closed/**, upstream: api, allow: authenticated}}\n\
         \x20 - {{name: open, path: /open/**, upstream: api, allow: optional}}\n\
         \x20 - {{name: dry, path: /dry/**, upstream: api, allow: authenticated, enforce: false}}\n\
         \x20 - {{name: query, path: /query/**, upstream: api, allow: authenticated, token_from: {{query: t}}}}\n\
         \x20 - {{name: says, path: /says/**, upstream: api, allow: authenticated, identity: {{headers: {{X-Who: subject}}}}, headers: {{request: {{set: {{X-Forwarded-For: 192.0.2.9, Via: 1.1 us}}}}}}}}\n",
        server.introspection(),
        api.url(),
        endpoint.url(),
    );
    let gateway = Gateway::start(&yaml);
    let spoof = "X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: evil\r\nX-Forwarded-Prefix: /x\r\n\
                 X_Forwarded_For: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\nX-Real-IP: 6.6.6.6\r\nVia: 1.0 other\r\nVia: 1.0 third\r\n\
                 X-Auth-Subject: root\r\nx_auth_roles: admin\r\nX-Tenant: root\r\nX-Auth-Assertion: a.b.c\r\n";
    let bearer = "Authorization: Bearer callers-token\r\n";
    for (target, credential, status) in [
        ("/public/x", bearer, 200),
        ("/public/x", "Authorization: Basic dTpw\r\nAuthorization: Bearer callers-token\r\n", 200),
        ("/public/x", "Authorization: Bearer callers-token\r\nConnection: authorization\r\n", 200),
        ("/closed/x", bearer, 200),
        ("/open/x", "", 200),
        ("/open/x", bearer, 200),
        ("/open/x", "Authorization: Basic dTpw\r\n", 200),
        ("/dry/x", "Authorization: Bearer unknown\r\n", 200),
        ("/query/x?t=callers-token&a=b", "", 200),
    ] {
        let response = gateway.call("GET", target, &format!("{spoof}{credential}"));
        assert_eq!(response.status, status, "{target} {credential}: {}", response.text());
        let request = api.last_request();
        let sent: Vec<_> = request.fields.all("authorization").collect();
        assert_eq!(sent, ["Bearer token-1"], "{target} {credential}");
        let head = String::from_utf8_lossy(&request.head).to_lowercase();
        for word in
            ["forwarded", "real-ip", "via:", "x-auth", "x_auth", "tenant", "6.6.6.6", "callers-token", "joe", "root"]
        {
            assert!(!head.contains(word), "{target} {credential}: {word} in {head}");
        }
        assert!(head.contains("x-request-id: ") && head.contains("traceparent: "), "{head}");
    }
    assert_eq!(gateway.call("GET", "/says/x", &format!("{spoof}{bearer}")).status, 200);
    let request = api.last_request();
    for (name, value) in [("x-who", "joe"), ("x-forwarded-for", "192.0.2.9"), ("via", "1.1 us")] {
        assert_eq!(request.fields.all(name).collect::<Vec<_>>(), [value], "what the route says");
    }
    assert_eq!(request.fields.get("authorization"), Some("Bearer token-1"));
}

/// An upstream that sends its callers elsewhere sends them without the token.
#[test]
fn a_redirect_of_the_upstream_is_the_callers_affair() {
    let (endpoint, elsewhere) = (TokenEndpoint::start(), Upstream::start());
    let api = Upstream::start();
    api.answer_with(307, &format!("Location: {}/steal\r\n", elsewhere.url()), b"");
    let gateway = Gateway::start(&sidecar(&api, &endpoint.url(), CLIENT));
    let response = gateway.get("/");
    assert_eq!(response.status, 307);
    assert_eq!(response.fields.get("location"), Some(&*format!("{}/steal", elsewhere.url())));
    assert_eq!(elsewhere.connections(), 0);
}

/// Where a request goes is the configuration's affair alone, the second time too.
#[test]
fn no_request_decides_where_the_token_goes() {
    let (endpoint, api, gateway) = scene();
    let elsewhere = Upstream::start();
    let address = elsewhere.address;
    assert_eq!(gateway.get("/").status, 200);
    endpoint.revoke_all();
    for lines in [
        format!("GET http://{address}/x HTTP/1.1\r\nHost: {address}\r\n\r\n"),
        format!(
            "GET /x HTTP/1.1\r\nHost: {address}\r\nX-Forwarded-Host: {address}\r\nForwarded: host={address}\r\n\r\n"
        ),
        format!("GET /x HTTP/1.1\r\nHost: localhost\r\nX-Original-URL: http://{address}/\r\nX-Rewrite-URL: /y\r\n\r\n"),
        format!("GET //{address}/x HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        format!("GET /@{address}/x HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    ] {
        let mut client = Client::connect(gateway.address);
        client.send(&lines);
        assert!(matches!(client.receive().status, 200 | 400), "{lines}");
        let own = api.address.to_string();
        assert_eq!(api.last_request().fields.get("host"), Some(own.as_str()), "{lines}");
    }
    assert_eq!(elsewhere.connections(), 0);
}

/// The second attempt, too, goes to one of the upstream's own servers, and with the token once.
#[test]
fn another_attempt_takes_the_token_to_the_upstreams_own_servers_alone() {
    let (endpoint, elsewhere) = (TokenEndpoint::start(), Upstream::start());
    let (one, other) = (endpoint.api(), Upstream::start());
    other.answer_with(503, &format!("Location: {0}/\r\nRetry-After: 0\r\n", elsewhere.url()), b"busy");
    let yaml = sidecar(&one, &endpoint.url(), CLIENT).replace(
        &format!("url: \"{}\"", one.url()),
        &format!(
            "endpoints: [\"{}\", \"{}\"]\n    balance: round_robin\n    retry: {{attempts: 2, on: [503], budget: 100%}}",
            other.url(),
            one.url()
        ),
    );
    let gateway = Gateway::start(&yaml);
    for _ in 0..4 {
        assert_eq!(gateway.get("/").status, 200);
    }
    assert!(!other.requests().is_empty());
    for request in one.requests().iter().chain(&other.requests()) {
        assert_eq!(request.fields.all("authorization").collect::<Vec<_>>(), ["Bearer token-1"]);
    }
    assert_eq!((elsewhere.connections(), endpoint.asked()), (0, 1));
}

/// Who ends the upload early, or sends what isn't a request, has no token spent for it.
#[test]
fn what_is_refused_here_spends_nothing() {
    let (endpoint, api, gateway) = scene();
    for head in [
        "GET /a/../../b HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET /a%2fb HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        "TRACE / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "CONNECT api.example:443 HTTP/1.1\r\nHost: api.example:443\r\n\r\n",
    ] {
        let mut client = Client::connect(gateway.address);
        client.send(head);
        assert!(matches!(client.receive().status, 400 | 405), "{head}");
    }
    assert_eq!((endpoint.asked(), api.requests().len()), (0, 0));
}

/// Not in the log at its most talkative, not in metrics, refusals, explanations or what the admin listener says.
#[test]
fn no_output_holds_a_token_or_a_secret() {
    let endpoint = TokenEndpoint::start();
    let api = endpoint.api();
    let pem = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap().serialize_pem();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("key.pem"), &pem).unwrap();
    let secrets =
        ["swordfish-".repeat(3), "marlin-".repeat(4), "tarpon-".repeat(4), "bonito-".repeat(4), "wahoo-".repeat(4)];
    let [secret, password, access, refresh, caller] = &secrets;
    endpoint.gives(json!({"access_token": access, "refresh_token": refresh, "expires_in": 2}));
    let token = |keys: &str| format!("token: {{endpoint: \"{}\", expiry_margin: 1s, {keys}}}", endpoint.url());
    let own = format!("client_id: app, client_secret: {secret}");
    let upstreams = [
        ("basic", token(&format!("grant: client_credentials, auth: basic, {own}"))),
        ("post", token(&format!("grant: client_credentials, {own}"))),
        ("user", token(&format!("grant: password, username: joe, password: {password}, {own}"))),
        ("signed", token("grant: jwt_bearer, private_key: key.pem, assertion: {iss: app}")),
    ];
    let listed = |each: &dyn Fn(&str, &str) -> String| {
        upstreams.iter().map(|(name, token)| each(name, token)).collect::<String>()
    };
    let yaml = format!(
        "listen: [\"127.0.0.1:0\"]\nadmin: {{address: \"127.0.0.1:0\"}}\nlogging: {{level: trace, access: true, format: json}}\n\
         upstreams:\n{}routes:\n{}",
        listed(&|name, token| format!("  {name}: {{url: \"{}\", {token}}}\n", api.url())),
        listed(&|name, _| format!("  - {{name: {name}, path: /{name}, upstream: {name}, allow: public}}\n")),
    );
    let file = folder.path().join("gateway.yaml");
    std::fs::write(&file, yaml).unwrap();
    let mut binary = Binary::run(&file);
    let admin = binary.line_where("the admin listener's line", |line| line["listener"] == "admin");
    let (address, admin) = (binary.address(), admin["address"].as_str().unwrap().parse().unwrap());
    let mut answers = String::new();
    let mut ask = || {
        for (name, _) in &upstreams {
            let fields = format!("Authorization: Bearer {caller}\r\n");
            let answer = exchange(address, "GET", &format!("/{name}"), &fields);
            answers.push_str(&format!("{:?}{}", answer.fields, answer.text()));
        }
    };
    ask();
    endpoint.revoke_all();
    ask();
    eventually("they were renewed", || {
        ask();
        endpoint.questions().iter().any(|question| question.body.starts_with(b"grant_type=refresh"))
    });
    let twice = format!("{{\"access_token\": \"{access}\", \"access_token\": \"{access}\"}}");
    let error = format!("{{\"error\": \"{access}\", \"error_description\": \"{secret} {refresh}\"}}");
    for (status, body) in [(400, &error), (500, &error), (200, &twice), (200, &error), (302, access)] {
        endpoint.revoke_all();
        endpoint.answer_instead(status, &format!("Location: {}?x={access}\r\n", endpoint.url()), body);
        ask();
    }
    for path in ["/metrics", "/readyz", "/status", "/routes", "/"] {
        answers.push_str(&exchange(admin, "GET", path, "").text());
    }
    let question = r#"{"method": "GET", "url": "http://localhost/basic"}"#;
    let mut client = Client::connect(admin);
    client.send(format!(
        "POST /explain HTTP/1.1\r\nHost: {admin}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{question}",
        question.len()
    ));
    let explained = client.receive();
    assert_eq!(explained.status, 200, "{}", explained.text());
    answers.push_str(&explained.text());
    for arguments in [vec!["check", "--describe"], vec!["explain", "--url", "/user"]] {
        let output = Binary::command().args(&arguments).arg("--config").arg(&file).output().unwrap();
        answers.push_str(&String::from_utf8_lossy(&output.stdout));
        answers.push_str(&String::from_utf8_lossy(&output.stderr));
    }
    binary.signal("TERM");
    assert_eq!(binary.wait().code(), Some(0));
    let output = binary.output();
    assert!(output.contains("no token for the upstream"), "{output}");
    assert!(answers.contains("bearward_egress_tokens_total"), "{answers}");
    let key = pem.lines().nth(1).unwrap();
    for secret in secrets.iter().map(String::as_str).chain([key]) {
        assert!(!output.contains(secret), "{secret} is in the log: {output}");
        assert!(!answers.contains(secret), "{secret} is in an answer: {answers}");
    }
}
