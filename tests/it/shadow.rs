//! `run --shadow`: another configuration decides beside the one in force, is told of, and changes nothing.

use std::{fs, path::PathBuf};

use serde_json::Value;

use crate::support::{
    ClosedPort,
    authorization_server::AuthorizationServer,
    binary::Binary,
    eventually,
    gateway::{configuration, configuration_of, metric},
    issuer::Issuer,
    keys::Key,
    raw::{Response, exchange},
    token_endpoint::TokenEndpoint,
    upstream::Upstream,
};

const ROUTES: &str = r#"
  - {name: open, path: "/open/**", upstream: echo, allow: public}
  - {name: closed, path: "/closed/**", upstream: echo, allow: authenticated}
  - {name: dry, path: /dry, upstream: echo, allow: [{scopes: [read]}], enforce: false}
  - {name: old, path: /old, respond: {status: 200}, allow: public}
"#;

/// The program with a configuration and a shadow in a folder of its own.
struct Scene {
    folder: tempfile::TempDir,
    binary: Binary,
}

impl Scene {
    fn new(text: &str, shadow: &str) -> Scene {
        let folder = tempfile::tempdir().unwrap();
        let logged = text.replace("level: error, access: false", "level: info, access: true");
        fs::write(folder.path().join("gateway.yaml"), logged).unwrap();
        fs::write(folder.path().join("next.yaml"), shadow).unwrap();
        let [config, shadow] = ["gateway.yaml", "next.yaml"].map(|name| folder.path().join(name));
        let mut binary =
            Binary::spawn(&["run", "--config", config.to_str().unwrap(), "--shadow", shadow.to_str().unwrap()]);
        eventually("it is ready, or has ended", || {
            binary.lines().iter().any(|line| line["message"] == "ready") || !binary.is_running()
        });
        assert!(binary.is_running(), "{}", binary.output());
        Scene { folder, binary }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// All at once: a slow machine would let a half be seen.
    fn save(&self, name: &str, text: &str) {
        fs::write(self.path("saved"), text).unwrap();
        fs::rename(self.path("saved"), self.path(name)).unwrap();
    }

    #[track_caller]
    fn reload(&self) -> Value {
        let answer = exchange(self.binary.admin(), "POST", "/reload", "Content-Length: 0\r\n");
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()
    }

    fn call(&self, method: &str, target: &str, fields: &str) -> Response {
        exchange(self.binary.address(), method, target, fields)
    }

    fn get(&self, target: &str, token: Option<&str>) -> u16 {
        let fields = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
        self.call("GET", target, &fields).status
    }

    fn compared(&self, route: &str, outcome: &str, shadow_outcome: &str) -> f64 {
        let labels = format!("outcome=\"{outcome}\",route=\"{route}\",shadow_outcome=\"{shadow_outcome}\"");
        metric(self.binary.admin(), &format!("bearward_shadow_decisions_total{{{labels}}}"))
    }

    /// The line "shadow differs" about a path.
    #[track_caller]
    fn difference(&self, path: &str) -> [String; 6] {
        let line = self
            .binary
            .line_where("shadow differs", |line| line["message"] == "shadow differs" && line["path"] == path);
        ["route", "decision", "reason", "shadow_route", "shadow_decision", "shadow_reason"]
            .map(|field| line[field].as_str().unwrap_or_else(|| panic!("{field}: {line}")).to_owned())
    }

    /// What `/status` says of it.
    fn status(&self) -> Value {
        exchange(self.binary.admin(), "GET", "/status", "").json()["shadow"].clone()
    }

    fn logged(&self, message: &str) -> usize {
        self.binary.lines().iter().filter(|line| line["message"] == message).count()
    }
}

fn issuer() -> Issuer {
    Issuer::start(&Key::es256("k1"))
}

#[test]
fn what_would_change_is_told_and_nothing_changes() {
    let (issuer, upstream) = (issuer(), Upstream::start());
    let shadow_routes = r#"
  - {name: open, path: "/open/**", upstream: echo, allow: authenticated}
  - {name: closed, path: "/closed/**", upstream: echo, allow: public}
  - {name: scoped, path: "/closed/scoped/**", upstream: echo, allow: [{scopes: [admin]}]}
  - {name: dry, path: /dry, upstream: echo, allow: [{any_role: [reader]}], enforce: false}
  - {name: new, path: /new, respond: {status: 200}, allow: public}
  - {name: moved, path: /old, respond: {status: 200}, allow: public}
"#;
    let text = configuration(&issuer, &upstream, ROUTES);
    let scene = Scene::new(&text, &configuration(&issuer, &upstream, shadow_routes));
    let token = issuer.token().build();
    for (target, token, status, told) in [
        ("/open/a", None, 200, ["open", "allow", "public", "open", "deny", "no_credential"]),
        ("/closed/b", None, 401, ["closed", "deny", "no_credential", "closed", "allow", "public"]),
        ("/closed/scoped/c", Some(&token), 200, ["closed", "allow", "ok", "scoped", "deny", "scope"]),
        ("/dry", Some(&token), 200, ["dry", "deny", "scope", "dry", "deny", "role"]),
        ("/new", None, 404, ["", "deny", "no_route", "new", "allow", "public"]),
        ("/old", None, 200, ["old", "allow", "public", "moved", "allow", "public"]),
    ] {
        assert_eq!(scene.get(target, token.map(String::as_str)), status, "{target}");
        assert_eq!(scene.difference(target), told.map(str::to_owned), "{target}");
        let line =
            scene.binary.line_where("the request's own", |line| line["path"] == target && line["status"] == status);
        let own =
            ["shadow_route", "shadow_decision", "shadow_reason"].map(|field| line[field].as_str().unwrap().to_owned());
        assert_eq!(own, [3, 4, 5].map(|place| told[place].to_owned()), "{target}");
    }
    for (route, outcome, shadow_outcome, count) in [
        ("open", "allow", "deny", 1.0),
        ("closed", "deny", "allow", 1.0),
        ("closed", "allow", "deny", 1.0),
        ("dry", "deny", "deny", 1.0),
        ("", "deny", "allow", 1.0),
        ("old", "allow", "allow", 1.0),
    ] {
        assert_eq!(scene.compared(route, outcome, shadow_outcome), count, "{route} {outcome} {shadow_outcome}");
    }
    let status = scene.status();
    assert_eq!((&status["compared"], &status["different"], &status["skipped"]), (&6.into(), &6.into(), &0.into()));
    assert_eq!((&status["last_reload"], &status["errors"]), (&"ok".into(), &serde_json::json!([])), "{status}");
    assert!(status["file"].as_str().unwrap().ends_with("next.yaml") && status["hash"].as_str().unwrap().len() == 12);
    let one = status["differences"].as_array().unwrap().iter().find(|one| one["reason"] == "ok").unwrap();
    let mut expected = serde_json::json!({
        "route": "closed", "shadow_route": "scoped", "outcome": "allow", "reason": "ok", "shadow_outcome": "deny",
        "shadow_reason": "scope", "count": 1, "example": {"method": "GET", "path": "/closed/scoped/c"},
    });
    expected["last_at"] = one["last_at"].clone();
    assert_eq!(*one, expected);
    // The same on both sides: counted, and not told.
    assert_eq!((scene.get("/open/d", Some(&token)), scene.compared("open", "allow", "allow")), (200, 1.0));
    let line = scene.binary.line_where("a line", |line| line["path"] == "/open/d");
    assert!(line.get("shadow_decision").is_none(), "{line}");
    // What is refused before anything is decided is the same for both.
    assert_eq!(scene.get("/open/a%00", None), 400);
    let total: f64 =
        ["allow", "deny"].iter().flat_map(|one| ["allow", "deny"].map(|other| scene.compared("", one, other))).sum();
    assert_eq!(total, 1.0);
}

#[test]
fn a_new_issuer_and_other_places_for_tokens() {
    let (issuer, other, upstream) = (issuer(), Issuer::start(&Key::es256("other")), Upstream::start());
    let routes = "  - {name: r, path: /r, upstream: echo, allow: authenticated}\n";
    let both = format!(
        "  main: {{issuer: \"{}\", audiences: [api], http_timeout: 30s}}\n  new: {{issuer: \"{}\", audiences: [api]}}\n",
        issuer.url(),
        other.url()
    );
    let shadow_routes =
        "  - {name: r, path: /r, upstream: echo, allow: authenticated, token_from: [{header: X-Key}, header]}\n";
    let scene = Scene::new(
        &configuration(&issuer, &upstream, routes),
        &configuration_of(&both, &upstream.url(), shadow_routes),
    );
    let token = other.token().build();
    assert_eq!(scene.get("/r", Some(&token)), 401);
    eventually("its keys are fetched, and it is let in", || scene.compared("r", "deny", "allow") == 1.0);
    assert_eq!(scene.difference("/r"), ["r", "deny", "unknown_issuer", "r", "allow", "ok"].map(str::to_owned));
    let before = scene.compared("r", "deny", "allow");
    let token = issuer.token().build();
    assert_eq!(scene.call("GET", "/r", &format!("X-Key: {token}\r\n")).status, 401);
    assert_eq!(scene.compared("r", "deny", "allow"), before + 1.0, "it sees what the client sent");
    assert_eq!(scene.call("GET", "/r", &format!("Authorization: Bearer {token}\r\n")).status, 200);
    assert_eq!(scene.compared("r", "allow", "allow"), 1.0);
    assert_eq!(issuer.fetches(), 1, "one store for both");
    let metrics = exchange(scene.binary.admin(), "GET", "/metrics", "").text();
    assert!(!metrics.contains("issuer=\"new\""), "metrics are of what is in force");
    assert!(metrics.contains("bearward_token_cache_requests_total{result=\"hit\"} 0"), "{metrics}");

    // It becomes the configuration in force, whose issuers are counted then.
    let next = fs::read_to_string(scene.path("next.yaml")).unwrap();
    let next = next.replace("level: error, access: false", "level: info, access: true");
    scene.save("gateway.yaml", &next);
    scene.reload();
    let token = other.token().sub("anew").build();
    assert_eq!(scene.get("/r", Some(&token)), 200);
    assert_eq!(scene.compared("r", "allow", "allow"), 2.0);
    assert_eq!(metric(scene.binary.admin(), "bearward_jwks_keys{issuer=\"new\"}"), 1.0);
}

#[test]
fn no_request_waits_for_what_the_shadow_asks() {
    let (server, upstream) = (AuthorizationServer::start(), Upstream::start());
    server.active("opaque-one", serde_json::json!({"sub": "u1", "aud": "api"}));
    server.hold(true);
    let introspected = format!(
        "  asked: {{audiences: [api], introspection: {{endpoint: \"{}\", client_id: gw, client_secret: s3cret, timeout: 60s, cache_ttl: 0s}}}}\n",
        server.introspection()
    );
    let issuer = issuer();
    let routes = "  - {name: r, path: /r, upstream: echo, allow: public}\n";
    let scene = Scene::new(
        &configuration(&issuer, &upstream, routes),
        &configuration_of(&introspected, &upstream.url(), &routes.replace("public", "authenticated")),
    );
    // Answered while the question is held: it would be held for longer than a client waits.
    assert_eq!(scene.get("/r", Some("opaque-one")), 200);
    eventually("it is asked", || server.asked() == 1);
    assert_eq!(scene.compared("r", "allow", "allow"), 0.0);
    server.hold(false);
    eventually("the answer is counted", || scene.compared("r", "allow", "allow") == 1.0);
    assert_eq!(server.asked(), 1, "once, though nothing is remembered");
    server.answer_instead(500, "", "");
    assert_eq!(scene.get("/r", Some("opaque-two")), 200);
    let told = scene.difference("/r");
    assert_eq!(told[4..], ["deny", "introspection_unavailable"].map(str::to_owned));
    let readiness = exchange(scene.binary.admin(), "GET", "/readyz", "").json();
    assert_eq!(readiness["degraded"], serde_json::json!([]), "an issuer that serves nobody degrades nothing");
}

#[test]
fn who_finds_the_places_for_questions_taken_waits_and_is_no_difference() {
    let (server, upstream) = (AuthorizationServer::start(), Upstream::start());
    server.hold(true);
    let introspected = format!(
        "  asked: {{audiences: [api], introspection: {{endpoint: \"{}\", client_id: gw, client_secret: s3cret, timeout: 60s}}}}\n",
        server.introspection()
    );
    let routes = "  - {name: r, path: /r, upstream: echo, allow: public}\n";
    let scene = Scene::new(
        &configuration(&issuer(), &upstream, routes),
        &configuration_of(&introspected, &upstream.url(), &routes.replace("public", "authenticated")),
    );
    for number in 0..70 {
        let token = format!("opaque-{number}");
        server.active(&token, serde_json::json!({"sub": "u1", "aud": "api"}));
        assert_eq!(scene.get("/r", Some(&token)), 200);
    }
    eventually("all places are taken", || server.asked() == 16);
    let told = scene.status();
    assert_eq!((&told["compared"], &told["skipped"]), (&0.into(), &6.into()), "{told}");
    server.hold(false);
    eventually("all are asked", || scene.compared("r", "allow", "allow") == 64.0);
    let told = scene.status();
    assert_eq!((&told["different"], &told["skipped"]), (&0.into(), &6.into()), "{told}");
}

#[test]
fn it_counts_ends_and_contacts_nothing() {
    let (issuer, upstream, endpoint) = (issuer(), Upstream::start(), TokenEndpoint::start());
    let elsewhere = Upstream::start();
    let routes = "
  - {name: limited, path: /limited, upstream: echo, allow: public, rate_limit: {rate: 3/h, per: ip}}
  - {name: logout, path: /logout, upstream: echo, allow: authenticated}
";
    let plain = format!("{{url: \"{}\"}}", upstream.url());
    let checked = format!("{{url: \"{}\", health: {{path: /health, interval: 1s}}}}", upstream.url());
    let text = configuration(&issuer, &upstream, routes).replace(&plain, &checked);
    let lending = format!(
        "{{url: \"{}\", health: {{path: /health, interval: 1s}}, \
         token: {{endpoint: \"{}\", client_id: gw, client_secret: s3cret, grant: client_credentials}}}}",
        elsewhere.url(),
        endpoint.url()
    );
    let shadow = text
        .replace(&checked, &lending)
        .replace("3/h", "1/h")
        .replace("allow: authenticated", "allow: authenticated, revokes: token");
    assert!(shadow.contains(&lending) && shadow.contains("revokes"));
    let scene = Scene::new(&text, &shadow);
    let statuses = [(); 4].map(|()| scene.get("/limited", None));
    assert_eq!(statuses, [200, 200, 200, 429]);
    assert_eq!(scene.compared("limited", "allow", "allow"), 3.0);
    assert_eq!(scene.compared("limited", "deny", "allow") + scene.compared("limited", "deny", "deny"), 0.0);
    let token = issuer.token().build();
    assert_eq!([(); 3].map(|()| scene.get("/logout", Some(&token))), [200; 3], "it ends no token");
    assert_eq!(scene.compared("logout", "allow", "allow"), 3.0);
    let checks = || upstream.requests().iter().filter(|request| request.target == "/health").count();
    eventually("whoever is checked is checked", || checks() >= 3);
    assert_eq!((elsewhere.connections(), endpoint.asked()), (0, 0));
    assert_eq!(scene.logged("shadow differs"), 0);
    let metrics = exchange(scene.binary.admin(), "GET", "/metrics", "").text();
    assert!(!metrics.contains(elsewhere.url().trim_start_matches("http://")), "{metrics}");
}

#[test]
fn preflights_are_compared_as_they_are_answered() {
    let (issuer, upstream) = (issuer(), Upstream::start());
    let routes = "  - {name: r, path: /r, upstream: echo, allow: authenticated}\n";
    let with_cors = routes.replace("authenticated}", "authenticated, cors: {origins: [\"https://app.example\"]}}");
    let scene = Scene::new(&configuration(&issuer, &upstream, routes), &configuration(&issuer, &upstream, &with_cors));
    let fields = "Origin: https://app.example\r\nAccess-Control-Request-Method: GET\r\n";
    assert_eq!(scene.call("OPTIONS", "/r", fields).status, 401);
    assert_eq!(scene.difference("/r")[4..], ["allow", "public"].map(str::to_owned));
}

#[test]
fn it_is_read_again_by_itself_and_a_broken_one_changes_nothing() {
    let (issuer, upstream) = (issuer(), Upstream::start());
    let routes = "  - {name: r, path: /r, upstream: echo, allow: public}\n";
    let text = configuration(&issuer, &upstream, routes);
    let scene = Scene::new(&text, &text);
    scene.get("/r", None);
    assert_eq!(scene.compared("r", "allow", "allow"), 1.0);
    // By its file.
    scene.save("next.yaml", &text.replace("allow: public", "allow: authenticated"));
    scene.binary.line("shadow reloaded");
    scene.get("/r", None);
    assert_eq!(scene.compared("r", "allow", "deny"), 1.0);
    assert_eq!(scene.logged("configuration reloaded"), 0, "the configuration in force isn't read for that");
    // A broken one.
    scene.save("next.yaml", &text.replace("allow: public", "alow: public"));
    scene.binary.line("the shadow can't be used; the one before goes on");
    let problem =
        scene.binary.line_where("a problem", |line| line["key"].as_str().is_some_and(|key| key.ends_with("alow")));
    assert!(problem["file"].as_str().unwrap().ends_with("next.yaml"), "{problem}");
    let answer = scene.reload();
    assert_eq!((&answer["ok"], &answer["shadow"]["ok"]), (&true.into(), &false.into()));
    assert!(answer["shadow"]["diagnostics"][0]["file"].as_str().unwrap().ends_with("next.yaml"));
    assert_eq!(metric(scene.binary.admin(), "bearward_config_last_reload_success"), 1.0);
    let status = scene.status();
    assert_eq!(status["last_reload"], "error");
    assert!(status["errors"][0].as_str().unwrap().contains("alow"), "{status}");
    scene.get("/r", None);
    assert_eq!(scene.compared("r", "allow", "deny"), 2.0);
    // Put right, and read at SIGHUP.
    scene.save("next.yaml", &text);
    scene.binary.signal("HUP");
    eventually("it goes by the new one", || {
        scene.get("/r", None);
        scene.compared("r", "allow", "allow") > 1.0
    });
    // Another configuration in force: the shadow stands beside that.
    let next = text.replace("name: r,", "name: renamed,").replace("level: error", "level: info");
    scene.save("gateway.yaml", &next);
    scene.reload();
    scene.get("/r", None);
    assert_eq!(scene.compared("renamed", "allow", "allow"), 1.0);
    let line = scene
        .binary
        .line_where("shadow differs", |line| line["route"] == "renamed" && line["message"] == "shadow differs");
    assert_eq!((&line["shadow_route"], &line["shadow_decision"]), (&"r".into(), &"allow".into()), "{line}");
    assert_eq!(scene.compared("r", "allow", "allow"), 0.0, "series go with their route");
}

#[test]
fn a_shadow_that_can_not_be_used_keeps_the_program_from_starting() {
    let folder = tempfile::tempdir().unwrap();
    let (issuer, upstream) = (issuer(), Upstream::start());
    let good = configuration(&issuer, &upstream, ROUTES);
    let bad = good.replace("allow: public", "alow: public");
    for (text, shadow, told) in
        [(&good, Some(&bad), "next.yaml"), (&bad, Some(&bad), "gateway.yaml"), (&good, None, "next.yaml")]
    {
        fs::write(folder.path().join("gateway.yaml"), text).unwrap();
        fs::remove_file(folder.path().join("next.yaml")).ok();
        if let Some(shadow) = shadow {
            fs::write(folder.path().join("next.yaml"), shadow).unwrap();
        }
        let mut command = Binary::command();
        command.current_dir(folder.path()).args(["run", "--shadow", "next.yaml"]);
        let output = command.output().unwrap();
        let words = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(78), "{words}");
        assert!(words.contains(told) && words.contains("next.yaml"), "{words}");
    }
}

#[test]
fn what_is_told_holds_no_token() {
    let (issuer, upstream) = (issuer(), Upstream::start());
    let gone = ClosedPort::reserve();
    let asked = format!(
        "  main: {{issuer: \"{}\", audiences: [other]}}\n  asked: {{audiences: [api], allow_http: true, introspection: {{endpoint: \"http://{}/i\", client_id: gw, client_secret: sesame-sesame}}}}\n",
        issuer.url(),
        gone.address
    );
    let shadow_routes = ROUTES
        .replace("allow: public", "allow: authenticated")
        .replace("name: closed,", "name: closed, token_from: [{cookie: session}, header],");
    let scene = Scene::new(
        &configuration(&issuer, &upstream, ROUTES).replace("level: error, access: false", "level: trace, access: true"),
        &configuration_of(&asked, &upstream.url(), &shadow_routes),
    );
    let tokens = [issuer.token().build(), issuer.token().aud("other").build(), format!("opaque{}", "Z".repeat(64))];
    for token in &tokens {
        for target in ["/open/x", "/closed/x", "/dry", "/old", "/none"] {
            scene.get(target, Some(token));
            scene.call("GET", target, &format!("Cookie: session={token}\r\n"));
            scene.get(&format!("{target}?access_token={token}"), None);
        }
    }
    scene.difference("/open/x");
    let metrics = exchange(scene.binary.admin(), "GET", "/metrics", "").text();
    let told = scene.binary.output() + &metrics + &scene.status().to_string();
    for token in &tokens {
        for part in token.split('.').filter(|part| part.len() >= 16) {
            let telling = &part[part.len() - 16..];
            assert!(!told.contains(telling), "{telling}");
        }
    }
    assert!(!told.contains("sesame-sesame"));
}

#[test]
fn query_fields_that_are_tokens_to_the_shadow_alone_are_not_logged() {
    let (issuer, upstream) = (issuer(), Upstream::start());
    let routes = "  - {name: r, path: /r, respond: {status: 200}, allow: public}\n";
    let text = configuration(&issuer, &upstream, routes);
    let taken = "allow: authenticated, token_from: [{query: shadowkey}]";
    let scene = Scene::new(&text, &text.replace("allow: public", taken));
    assert_eq!(scene.get("/r?shadowkey=opaqueSHADOWQUERY&page=7", None), 200);
    eventually("it is logged", || scene.binary.output().contains("page=7"));
    let told = scene.binary.output();
    assert!(told.contains("shadowkey=") && !told.contains("SHADOWQUERY"), "{told}");
}

#[test]
fn a_flood_of_differences_is_no_flood_of_lines() {
    let (issuer, upstream) = (issuer(), Upstream::start());
    let routes = "  - {name: r, path: \"/r/**\", respond: {status: 200}, allow: public}\n";
    let text = configuration(&issuer, &upstream, routes);
    let scene = Scene::new(&text, &text.replace("allow: public", "allow: authenticated"));
    const REQUESTS: usize = 300;
    let begin = std::time::Instant::now();
    for number in 0..REQUESTS {
        assert_eq!(scene.get(&format!("/r/{number}"), None), 200);
    }
    let seconds = begin.elapsed().as_secs() as usize;
    assert_eq!(scene.compared("r", "allow", "deny"), REQUESTS as f64);
    eventually("each has its line", || {
        scene.binary.lines().iter().filter(|line| line["shadow_decision"] == "deny" && line["status"] == 200).count()
            == REQUESTS
    });
    let lines = scene.logged("shadow differs");
    assert!((1..=seconds + 1).contains(&lines), "{lines} in {seconds} s");
}
