//! What the four systems' tokens must not do.

use std::{fs, thread, time::Duration};

use serde_json::{Value, json};

use super::{Stage, example};
use crate::support::{
    authorization_server::AuthorizationServer,
    binary::Binary,
    demo::Demo,
    eventually,
    gateway::Gateway,
    h2::{Connection, get, kind},
    issuer::Issuer,
    keys::Key,
    raw::{Client, Response, exchange, find},
    upstream::Upstream,
};

/// What a token endpoint before this host says to this form.
#[track_caller]
pub(super) fn ask(host: &str, path: &str, form: &str) -> Value {
    let mut client = Client::connect(Demo::address(host));
    let kind = "Content-Type: application/x-www-form-urlencoded";
    client.send(format!("POST {path} HTTP/1.1\r\nHost: a\r\n{kind}\r\nContent-Length: {}\r\n\r\n{form}", form.len()));
    let answer = client.receive();
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

/// A call with this token, at the address of a gateway.
#[track_caller]
pub(super) fn call(host: &str, method: &str, target: &str, token: &str) -> Response {
    exchange(Demo::address(host), method, target, &format!("Authorization: Bearer {token}\r\n"))
}

pub(super) const DOCEBO: &str = "client_id=My-Client-Name&client_secret=ed8c18b099c1f9b8714aaef87001fa3de3a7183d";
pub(super) const PASSWORD: &str = "grant_type=password&username=superadmin&password=superadmin-password";

/// A token of every kind that the demo gives out.
fn tokens(demo: &Demo) -> Vec<(&'static str, String)> {
    let (host, own) = (&demo.gateway, "grant_type=client_credentials");
    let text = |answer: &Value, name: &str| answer[name].as_str().unwrap().to_owned();
    let docebo = ask(host, "/oauth2/token", &format!("{PASSWORD}&{DOCEBO}"));
    let degreed = ask(host, "/oauth/token", &format!("{own}&client_id=abcd&client_secret=efgh"));
    let digitaleo = |client: &str| text(&ask(host, "/token", &format!("{own}&{client}")), "access_token");
    let cern = |audience: &str| {
        let client = "client_id=my-client-id&client_secret=00000000-0000-0000-0000-000000000000";
        let form = format!("{own}&{client}&audience={audience}");
        text(&ask(host, "/auth/realms/cern/api-access/token", &form), "access_token")
    };
    let provider = format!("{own}&client_id=provider-key&client_secret=provider-secret");
    vec![
        ("docebo user", text(&docebo, "access_token")),
        ("docebo refresh", text(&docebo, "refresh_token")),
        ("docebo client", text(&ask(host, "/oauth2/token", &format!("{own}&{DOCEBO}")), "access_token")),
        ("docebo assertion", fs::read_to_string(demo.folder.join("docebo-assertion.jwt")).unwrap()),
        (
            "digitaleo",
            digitaleo(
                "client_id=51612c780b4dbaea8f81995beccbcfec08969d0e&client_secret=p280edbd76d510c41990cbe5e6108c7e",
            ),
        ),
        ("digitaleo large", digitaleo("client_id=large-account&client_secret=large-account-secret")),
        ("degreed organization", text(&degreed, "access_token")),
        ("degreed refresh", text(&degreed, "refresh_token")),
        ("degreed provider", text(&ask(host, "/oauth/token", &provider), "access_token")),
        ("cern target", cern("the-target-api")),
        ("cern service", cern("authorization-service-api")),
        ("cern other", cern("other-api")),
    ]
}

/// How often an issuer was asked about a token.
fn questions(demo: &Demo) -> f64 {
    let of = |issuer| demo.metric(&format!("bearward_introspections_total{{issuer=\"{issuer}\",result=\"ok\"}}"));
    of("docebo") + of("degreed")
}

#[test]
fn a_token_of_one_system_is_none_at_anothers() {
    let demo = Demo::start();
    let tokens = tokens(&demo);
    for (method, path, let_in, known) in [
        ("GET", "/learn/v1/courses", &["docebo user", "docebo assertion"][..], &["docebo client"][..]),
        ("GET", "/manage/v1/user", &["docebo user", "docebo assertion"], &["docebo client"]),
        ("POST", "/api/user/profile", &["docebo user", "docebo client"], &[]),
        ("GET", "/learn/mycourses", &["docebo user"], &["docebo client"]),
        ("GET", "/rest/campaigns", &["digitaleo", "digitaleo large"], &[]),
        ("GET", "/api/v2/users", &["degreed organization"], &["degreed provider"]),
        ("GET", "/api/v2/providers/acme/content", &["degreed organization", "degreed provider"], &[]),
        ("GET", "/target/runs", &["cern target"], &["cern service"]),
        ("GET", "/api/v1.0/Identity", &["cern service"], &["cern target"]),
        // Last, for it ends those that it lets in.
        ("POST", "/oauth/logout", &["degreed organization", "degreed provider"], &[]),
    ] {
        let system = let_in[0].split(' ').next().unwrap();
        let (own, foreign): (Vec<_>, Vec<_>) = tokens.iter().partition(|(name, _)| name.starts_with(system));
        let before = questions(&demo);
        for (name, token) in foreign {
            assert_eq!(call(&demo.gateway, method, path, token).status, 401, "{name} at {method} {path}");
        }
        assert_eq!(questions(&demo), before, "{system} was asked about another's token");
        for (name, token) in own {
            let expected = match () {
                () if let_in.contains(name) => 200,
                () if known.contains(name) => 403,
                () => 401,
            };
            assert_eq!(call(&demo.gateway, method, path, token).status, expected, "{name} at {method} {path}");
        }
    }
    // In a link, too.
    for (name, token) in &tokens {
        let answer = exchange(Demo::address(&demo.gateway), "GET", &format!("/learn/x?access_token={token}"), "");
        let expected = [("docebo user", 200), ("docebo client", 403)].into_iter().find(|(known, _)| known == name);
        assert_eq!(answer.status, expected.map_or(401, |(_, status)| status), "{name} in a link");
    }
}

#[test]
fn a_clients_own_token_reaches_no_route_of_users() {
    let stage = Stage::set("docebo");
    for host in stage.hosts() {
        let form = format!("grant_type=client_credentials&scope=api&{DOCEBO}");
        let token = ask(&host, "/oauth2/token", &form)["access_token"].as_str().unwrap().to_owned();
        for method in ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"] {
            for path in ["/learn/v1/courses", "/learn/v1", "/manage/v1/user", "/manage/v1/user/", "/learn/v1/a/../b"] {
                assert_eq!(call(&host, method, path, &token).status, 403, "{method} {path}");
            }
        }
        for path in ["/api/../manage/v1/user", "/api/user/%2e%2e/%2e%2e/learn/v1/x"] {
            assert_eq!(call(&host, "GET", path, &token).status, 403, "{path}");
        }
        for path in [
            "/api/user/..;/..;/manage/v1/user",
            "/api/user//../../../manage/v1/user",
            "/api/user%2f..%2f..%2fmanage/v1/user",
        ] {
            assert_ne!(call(&host, "GET", path, &token).status / 100, 2, "{path}");
        }
        let link = format!("/learn/mycourses?access_token={token}");
        assert_eq!(exchange(Demo::address(&host), "GET", &link, "").status, 403);
        assert_eq!(call(&host, "GET", "/api/user/x", &token).status, 200);
    }
}

#[test]
fn a_token_in_a_link_is_in_no_url_and_no_log() {
    let (demo, upstream) = (Demo::start(), Upstream::start());
    let folder = tempfile::tempdir().unwrap();
    let yaml = example("docebo", &demo.issuer, &upstream.url(), folder.path(), &demo.folder);
    let file = folder.path().join("gateway.yaml");
    fs::write(&file, yaml.replace("level: error, access: false", "level: trace, access: true")).unwrap();
    let mut binary = Binary::run(&file);
    let address = binary.address();

    let form = |grant: &str| format!("{grant}&{DOCEBO}");
    let given =
        |grant: &str| ask(&demo.gateway, "/oauth2/token", &form(grant))["access_token"].as_str().unwrap().to_owned();
    let (user, client) = (given(PASSWORD), given("grant_type=client_credentials"));
    let unknown = "0123456789abcdef0123456789abcdef01234567".to_owned();
    let mut answers = String::new();
    for token in [&user, &client, &unknown] {
        for (method, target, fields) in [
            ("GET", format!("/pages/a?access_token={token}"), String::new()),
            ("HEAD", format!("/pages/a?access_token={token}&lang=en"), String::new()),
            ("GET", format!("/learn/a?lang=en&%61ccess_token={token}&&b"), String::new()),
            ("GET", format!("/learn/a?access_token={token}&access_token={token}"), String::new()),
            ("GET", format!("/learn/a?ACCESS_TOKEN={token}"), String::new()),
            ("GET", format!("/learn/a?access_token[]={token}"), String::new()),
            ("GET", format!("/learn/a?access_token={token}"), format!("Authorization: Bearer {token}\r\n")),
            ("GET", format!("/learn/a?access_token={token}%20"), String::new()),
            ("POST", format!("/learn/a?access_token={token}"), String::new()),
            ("GET", format!("/learn/v1/courses?access_token={token}"), String::new()),
            ("GET", format!("/nowhere?access_token={token}"), String::new()),
        ] {
            let answer = exchange(address, method, &target, &fields);
            answers += &format!("{:?}{}", answer.fields, answer.text());
        }
    }
    upstream.answer_bytes(b"nonsense\r\n\r\n");
    assert_eq!(exchange(address, "GET", &format!("/pages/a?access_token={user}"), "").status, 502);
    binary.signal("TERM");
    assert_eq!(binary.wait().code(), Some(0));

    let (sent, output) = (upstream.requests(), binary.output());
    let targets: Vec<_> = sent.iter().map(|request| request.target.as_str()).collect();
    assert_eq!(targets[..3], ["/pages/a", "/pages/a?lang=en", "/learn/a?lang=en&&b"]);
    for request in &sent {
        assert_eq!(request.fields.get("authorization"), Some(&*format!("Bearer {user}")), "{}", request.target);
        assert_eq!(String::from_utf8_lossy(&request.head).matches(&user).count(), 1);
    }
    assert_eq!(find(&upstream.wire().to_ascii_lowercase(), b"access_token"), None);
    assert!(output.contains("/pages/a"), "{output}");
    for token in [&user, &client, &unknown] {
        for part in [&token[..16], &token[24..]] {
            assert!(!output.contains(part), "{part} is in the log");
            assert!(!answers.contains(part), "{part} is in an answer");
        }
    }
}

/// Degreed's example, with parts that a test holds in its hands.
struct Logout {
    api: Upstream,
    login: Upstream,
    introspection: AuthorizationServer,
    gateway: Gateway,
    /// A JWT and an opaque one.
    tokens: [String; 2],
    yaml: String,
    _keys: Issuer,
    _state: tempfile::TempDir,
}

impl Logout {
    /// `change` may change the configuration.
    #[track_caller]
    fn prepare(change: impl FnOnce(String) -> String) -> Logout {
        let (api, login, introspection) = (Upstream::start(), Upstream::start(), AuthorizationServer::start());
        let (keys, state) = (Issuer::start(&Key::rs256("k1")), tempfile::tempdir().unwrap());
        let yaml = example("degreed", introspection.url(), &api.url(), state.path(), state.path())
            .replace(&format!("{}/degreed/jwks", introspection.url()), &keys.jwks_uri())
            .replace(&format!("login:\n    url: {}", introspection.url()), &format!("login:\n    url: {}", login.url()))
            .replace("/oauth/introspect", "/introspect")
            .replace("cache_ttl: 60s", "cache_ttl: 60s\n      timeout: 30s");
        let yaml = change(yaml);
        let gateway = Gateway::start(&yaml);
        let issuer = format!("{}/degreed", introspection.url());
        let token = keys.token().claim("iss", json!(issuer)).aud("degreed-api").sub("abcd");
        let jwt = token.claim("client_id", json!("abcd")).scope("users:read").build();
        let opaque = "0123456789abcdef".repeat(4);
        introspection.active(&opaque, json!({"client_id": "abcd", "sub": "abcd", "scope": "users:read"}));
        Logout { api, login, introspection, gateway, tokens: [jwt, opaque], yaml, _keys: keys, _state: state }
    }

    #[track_caller]
    fn get(&self, token: &str) -> u16 {
        self.gateway.get_with("/api/v2/users", token).status
    }

    /// A connection with this request sent.
    #[track_caller]
    fn sent(&self, method: &str, path: &str, token: &str) -> Client {
        let mut client = self.gateway.client();
        client.send(format!("{method} {path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\r\n"));
        client
    }
}

#[test]
fn a_logout_counts_from_its_answer_and_for_no_request_before() {
    let scene = Logout::prepare(|yaml| yaml);
    for token in &scene.tokens {
        let (api, login) = (scene.api.answer_when_told(), scene.login.answer_when_told());
        scene.api.forget();
        let mut before = scene.sent("GET", "/api/v2/users", token);
        eventually("the first is let in", || scene.api.requests().len() == 1);
        scene.login.forget();
        let mut logout = scene.sent("POST", "/oauth/logout", token);
        eventually("the logout is on its way", || scene.login.requests().len() == 1);
        let mut during = scene.sent("GET", "/api/v2/users/7", token);
        eventually("the second is let in", || scene.api.requests().len() == 2);

        login.send(()).unwrap();
        assert_eq!(logout.receive().status, 200);
        assert_eq!(scene.get(token), 401);
        let mut http2 = Connection::connect(scene.gateway.address);
        let bearer = format!("Bearer {token}");
        assert_eq!(http2.get(1, "/api/v2/users", &[("authorization", &bearer)]).status(), 401);
        assert_eq!(scene.sent("POST", "/oauth/logout", token).receive().status, 401);
        assert_eq!((scene.api.requests().len(), scene.login.requests().len()), (2, 1));

        // What had been let in is finished.
        api.send(()).unwrap();
        api.send(()).unwrap();
        assert_eq!((before.receive().status, during.receive().status), (200, 200));
        assert_eq!(scene.get(token), 401);
    }
}

#[test]
fn no_request_that_begins_after_a_logout_gets_through() {
    // The issuer goes on to say that the token is good, and nothing that it says is remembered.
    let scene = Logout::prepare(|yaml| yaml.replace("cache_ttl: 60s", "cache_ttl: 0s"));
    for token in &scene.tokens {
        assert_eq!(scene.get(token), 200);
        thread::scope(|scope| {
            for _ in 0..4 {
                // Until the first refusal; from then on there is no other answer.
                scope.spawn(|| {
                    eventually("it ends", || scene.get(token) == 401);
                    (0..20).for_each(|_| assert_eq!(scene.get(token), 401));
                });
            }
            scope.spawn(|| {
                assert_eq!(scene.sent("POST", "/oauth/logout", token).receive().status, 200);
                (0..20).for_each(|_| assert_eq!(scene.get(token), 401));
            });
        });
    }
    assert!(scene.introspection.asked() > 20);
}

#[test]
fn a_logout_is_seen_through_though_its_client_has_gone() {
    let scene = Logout::prepare(|yaml| yaml);
    for (token, goes_by) in scene.tokens.iter().zip(["closing", "reset"]) {
        assert_eq!(scene.get(token), 200);
        let login = scene.login.answer_when_told();
        scene.login.forget();
        let on_its_way = || eventually("the logout is on its way", || scene.login.requests().len() == 1);
        if goes_by == "closing" {
            let client = scene.sent("POST", "/oauth/logout", token);
            on_its_way();
            drop(client);
            let open = || scene.gateway.metric("bearward_connections{listener=\"127.0.0.1:0\"}");
            eventually("the gateway has seen that it is gone", || open() == 0.0);
        } else {
            let mut client = Connection::connect(scene.gateway.address);
            let bearer = format!("Bearer {token}");
            let [_, scheme, authority, _] = get("/");
            let head = [(":method", "POST"), scheme, authority, (":path", "/oauth/logout"), ("authorization", &bearer)];
            client.request(1, true, &head);
            on_its_way();
            client.send(kind::RST_STREAM, 0, 1, &8_u32.to_be_bytes());
            assert_eq!(client.get(3, "/nowhere", &[]).status(), 404);
        }
        assert_eq!(scene.get(token), 200);
        login.send(()).unwrap();
        eventually("what the issuer has ended ends here", || scene.get(token) == 401);
    }
}

#[test]
fn who_leaves_during_logouts_piles_up_no_more_than_a_few() {
    const MOST: usize = 256;
    let scene = Logout::prepare(|yaml| yaml);
    scene.login.answer_never();
    let bearer = format!("Bearer {}", scene.tokens[0]);
    let [_, scheme, authority, _] = get("/");
    let head = [(":method", "POST"), scheme, authority, (":path", "/oauth/logout"), ("authorization", &bearer)];
    let mut connections = Vec::new();
    for _ in 0..3 {
        let mut connection = Connection::connect(scene.gateway.address);
        (0..100).for_each(|number| connection.request(2 * number + 1, true, &head));
        connections.push(connection);
    }
    eventually("all are on their way", || scene.login.requests().len() == 300);
    drop(connections);
    eventually("those above the limit are given up", || scene.login.open_connections() == MOST);
    assert_eq!(scene.get(&scene.tokens[0]), 200);
}

#[test]
fn the_end_of_the_process_waits_for_a_logout_whose_client_has_gone() {
    let scene = Logout::prepare(|yaml| yaml);
    let [token, _] = &scene.tokens;
    let login = scene.login.answer_when_told();
    let client = scene.sent("POST", "/oauth/logout", token);
    eventually("the logout is on its way", || scene.login.requests().len() == 1);
    drop(client);
    let open = || scene.gateway.metric("bearward_connections{listener=\"127.0.0.1:0\"}");
    eventually("the gateway has seen that it is gone", || open() == 0.0);
    scene.gateway.drain();
    let gateway = scene.gateway;
    let end = thread::spawn(move || gateway.wait());
    // Long enough for an end that doesn't wait; one that does is never too early.
    for _ in 0..40 {
        assert!(!end.is_finished(), "the process has ended");
        thread::sleep(Duration::from_millis(50));
    }
    login.send(()).unwrap();
    assert!(end.join().unwrap(), "all has ended in time");
    assert_eq!(Gateway::start(&scene.yaml).get_with("/api/v2/users", token).status, 401);
}
