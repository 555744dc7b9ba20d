//! Several gateways that share what has ended, through a real Redis that is killed, stopped, slow, and comes back empty.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{
    binary::Binary,
    certificates::Authority,
    eventually,
    gateway::{Gateway, configuration},
    issuer::Issuer,
    keys::Key,
    proofs::{Proof, thumbprint},
    redis::{Redis, port},
    relay::{Relay, Way},
    token::Token,
    upstream::Upstream,
};

const ROUTES: &str = "
  - {name: closed, path: /closed, upstream: echo, allow: authenticated}
  - {name: logout, path: /logout, methods: [POST], upstream: echo, allow: authenticated, revokes: token}
";
const HELD: &str = "{bearward:revocations}";

struct Scene {
    issuer: Issuer,
    upstream: Upstream,
}

impl Scene {
    fn new() -> Scene {
        Scene { issuer: Issuer::start(&Key::es256("k1")), upstream: Upstream::start() }
    }

    fn yaml(&self, redis: &str) -> String {
        let routes = configuration(&self.issuer, &self.upstream, ROUTES);
        format!("{routes}\nstate: {{redis: \"{redis}\"}}\n")
    }

    fn replica(&self, redis: &str) -> Gateway {
        Gateway::start(&self.yaml(redis))
    }

    fn token(&self, subject: &str) -> Token {
        self.issuer.token().claim("sub", json!(subject))
    }

    /// Until the token is, or isn't, good there.
    fn until(&self, gateway: &Gateway, subject: &str, status: u16) {
        let token = self.token(subject).build();
        eventually(&format!("{status} for {subject}"), || gateway.get_with("/closed", &token).status == status);
    }

    fn now(&self, gateway: &Gateway, subject: &str) -> u16 {
        gateway.get_with("/closed", &self.token(subject).build()).status
    }
}

#[track_caller]
fn revoke(gateway: &Gateway, subject: &str) -> Value {
    let response = gateway.admin_call("POST", "/revocations", "", &json!({"subject": subject}).to_string());
    assert_eq!(response.status, 201, "{}", response.text());
    response.json()
}

#[track_caller]
fn lift(gateway: &Gateway, document: &Value) {
    let path = format!("/revocations/{}", document["id"].as_str().unwrap());
    assert_eq!(gateway.admin_call("DELETE", &path, "", "").status, 204);
}

fn until_up(gateway: &Gateway, up: bool) {
    eventually("bearward_state_up", || gateway.metric("bearward_state_up") == f64::from(u8::from(up)));
}

#[test]
fn what_one_replica_ends_all_refuse_and_what_one_lifts_all_take() {
    let Some(redis) = Redis::start() else { return };
    let scene = Scene::new();
    let (one, other) = (scene.replica(&redis.url()), scene.replica(&redis.url()));
    let document = revoke(&one, "joe");
    assert_eq!(document.get("warning"), None);
    scene.until(&other, "joe", 401);
    assert_eq!(scene.now(&other, "ann"), 200);
    let listed = other.admin("/revocations").json();
    assert_eq!(listed[0]["id"], document["id"]);
    assert_eq!(listed[0]["source"], "admin");
    assert_eq!(other.metric("bearward_revocations{source=\"admin\"}"), 1.0);

    // By whom it was ended is no matter.
    lift(&other, &document);
    scene.until(&one, "joe", 200);
    assert_eq!(one.admin("/revocations").json(), json!([]));

    // A logout.
    let token = scene.token("sue").build();
    assert_eq!(other.get_with("/closed", &token).status, 200);
    let fields = format!("Authorization: Bearer {token}\r\nContent-Length: 0\r\n");
    assert_eq!(one.call("POST", "/logout", &fields).status, 200);
    eventually("the other refuses", || other.get_with("/closed", &token).status == 401);

    // Nothing of a token is in Redis.
    let lines: Vec<String> = redis.ask(&["HVALS", HELD]);
    let changes: Vec<redis::Value> = redis.ask(&["XRANGE", &format!("{HELD}:changes"), "-", "+"]);
    assert_eq!((lines.len(), changes.len()), (1, 3));
    for part in token.split('.') {
        assert!(!lines.concat().contains(part) && !format!("{changes:?}").contains(part));
    }
}

#[test]
fn who_comes_later_is_ready_when_it_knows_what_has_ended() {
    let Some(mut redis) = Redis::not_started(&[]) else { return };
    let scene = Scene::new();
    redis.run();
    let first = scene.replica(&redis.url());
    revoke(&first, "joe");
    drop(first);
    // Ready, and it knows.
    assert_eq!(scene.now(&scene.replica(&redis.url()), "joe"), 401);

    redis.signal("STOP");
    let waiting = Gateway::start_unready(&scene.yaml(&redis.url()));
    eventually("the keys are there", || scene.now(&waiting, "ann") == 200);
    let answer = waiting.admin("/readyz");
    assert_eq!(answer.status, 503);
    assert_eq!(answer.json()["waiting_for"], json!(["state.redis"]));
    redis.signal("CONT");
    eventually("it is ready", || waiting.admin("/readyz").status == 200);
    assert_eq!(scene.now(&waiting, "joe"), 401);
}

#[test]
fn a_server_that_dies_and_comes_back_empty_is_filled_by_who_knows() {
    let Some(mut redis) = Redis::start() else { return };
    let scene = Scene::new();
    let (one, other) = (scene.replica(&redis.url()), scene.replica(&redis.url()));
    revoke(&one, "before");
    let lifted = revoke(&one, "lifted");
    scene.until(&other, "before", 401);
    scene.until(&other, "lifted", 401);

    redis.kill();
    until_up(&one, false);
    until_up(&other, false);
    let document = revoke(&one, "while it is down");
    assert!(document["warning"].as_str().unwrap().contains("Redis doesn't answer"), "{document}");
    lift(&other, &lifted);
    // In force, and out of force, where it was said; what is known holds everywhere.
    assert_eq!(scene.now(&one, "while it is down"), 401);
    assert_eq!((scene.now(&other, "lifted"), scene.now(&one, "lifted")), (200, 401));
    assert_eq!((scene.now(&one, "before"), scene.now(&other, "before")), (401, 401));
    assert_eq!(scene.now(&other, "while it is down"), 200);
    let ready = one.admin("/readyz");
    assert_eq!(ready.status, 200, "Redis takes nobody out of service");
    assert_eq!(ready.json()["degraded"], json!(["state.redis"]));

    redis.run();
    until_up(&one, true);
    until_up(&other, true);
    scene.until(&other, "while it is down", 401);
    scene.until(&one, "lifted", 200);
    let late = scene.replica(&redis.url());
    for (subject, status) in [("before", 401), ("while it is down", 401), ("lifted", 200)] {
        scene.until(&late, subject, status);
        scene.until(&one, subject, status);
        scene.until(&other, subject, status);
    }
}

#[test]
fn a_replica_that_lost_its_place_reads_everything_again() {
    let Some(redis) = Redis::start() else { return };
    let scene = Scene::new();
    let (one, other) = (scene.replica(&redis.url()), scene.replica(&redis.url()));
    revoke(&one, "joe");
    scene.until(&other, "joe", 401);
    // Emptied while everybody is connected.
    redis.ask::<()>(&["FLUSHALL"]);
    eventually("it is filled again", || redis.ask::<usize>(&["HLEN", HELD]) == 1);
    revoke(&other, "ann");
    scene.until(&one, "ann", 401);
    // Only the stream.
    redis.ask::<()>(&["DEL", &format!("{HELD}:changes")]);
    revoke(&one, "sue");
    scene.until(&other, "sue", 401);
    assert_eq!(other.admin("/revocations").json().as_array().unwrap().len(), 3);
    // Only what is held: evicted to have room, say.
    redis.ask::<()>(&["DEL", HELD]);
    eventually("it is filled again", || redis.ask::<usize>(&["HLEN", HELD]) == 3);
    assert_eq!(scene.now(&scene.replica(&redis.url()), "joe"), 401);
}

#[test]
fn what_is_over_goes_and_what_others_wrote_breaks_nothing() {
    let Some(redis) = Redis::start() else { return };
    let scene = Scene::new();
    let changes = format!("{HELD}:changes");
    for line in ["", "{}", "[", "{\"id\":1}", &"x".repeat(100_000)] {
        redis.ask::<()>(&["HSET", HELD, &format!("id{}", line.len()), line]);
    }
    let one = scene.replica(&redis.url());
    for field in ["add", "lift", "later version's"] {
        redis.ask::<String>(&["XADD", &changes, "*", field, "\u{fffd}{"]);
    }
    revoke(&one, "joe");
    let other = scene.replica(&redis.url());
    scene.until(&other, "joe", 401);
    assert_eq!(other.admin("/revocations").json().as_array().unwrap().len(), 1);

    // Something else under our name: what is known holds, and it says so.
    redis.ask::<()>(&["DEL", &changes]);
    redis.ask::<()>(&["SET", &changes, "mine"]);
    until_up(&one, false);
    assert_eq!((scene.now(&one, "joe"), scene.now(&one, "ann")), (401, 200));
    redis.ask::<()>(&["DEL", &changes]);
    until_up(&one, true);
}

#[test]
fn a_stopped_slow_or_refusing_server_is_in_nobodys_way() {
    let Some(redis) = Redis::start_with(&["--requirepass", "swordfish"]) else { return };
    let scene = Scene::new();
    let good = format!("redis://:swordfish@{}", redis.address());
    let (one, other) = (scene.replica(&good), scene.replica(&good));
    redis.signal("STOP");
    until_up(&one, false);
    assert_eq!(scene.now(&one, "ann"), 200);
    let document = revoke(&one, "joe");
    assert!(document.get("warning").is_some());
    assert_eq!(scene.now(&one, "joe"), 401);
    redis.signal("CONT");
    scene.until(&other, "joe", 401);

    // One that doesn't let us in.
    let yaml = scene
        .yaml(&format!("redis://:guess@{}", redis.address()))
        .replace("workers: 2", "workers: 2, ready_timeout: 1s");
    let refused = Gateway::start_unready(&yaml);
    eventually("ready at last", || refused.admin("/readyz").status == 200);
    assert_eq!(scene.now(&refused, "ann"), 200);
    assert_eq!(refused.metric("bearward_state_up"), 0.0);

    // One that takes its time with each answer.
    let slow_way = Relay::to(redis.address());
    slow_way.be(Way::Slow(Duration::from_millis(300)));
    let slow = format!("redis://:swordfish@{}", slow_way.address);
    let slow = scene.replica(&slow);
    scene.until(&slow, "joe", 401);
    revoke(&slow, "ann");
    scene.until(&one, "ann", 401);
}

#[test]
fn over_tls_with_a_users_password() {
    let authority = Authority::new();
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = authority.sign(2040).write(folder.path());
    let roots = folder.path().join("roots.pem");
    std::fs::write(&roots, authority.pem()).unwrap();
    let tls_port = port().to_string();
    let path = |path: &std::path::Path| path.to_str().unwrap().to_owned();
    let arguments = [
        "--port",
        "0",
        "--tls-port",
        &tls_port,
        "--tls-cert-file",
        &path(&certificate),
        "--tls-key-file",
        &path(&key),
        "--tls-ca-cert-file",
        &path(&roots),
        "--tls-auth-clients",
        "no",
        "--user",
        "gateway",
        "on",
        ">pass@word",
        "~{bearward:*",
        "+@all",
    ];
    let Some(mut redis) = Redis::not_started(&arguments) else { return };
    redis.port = tls_port.parse().unwrap();
    redis.run();
    let scene = Scene::new();
    let file = folder.path().join("gateway.yaml");
    let start = |roots: &str| {
        let yaml = scene.yaml(&format!("rediss://gateway:pass%40word@localhost:{tls_port}"));
        // What it logs is looked at.
        std::fs::write(&file, yaml.replace("level: error", "level: info, format: json")).unwrap();
        Binary::spawn_with(&["run", "--config", file.to_str().unwrap()], &[("SSL_CERT_FILE", roots)])
    };
    let trusting = start(roots.to_str().unwrap());
    trusting.line("Redis is there: what others have ended is known here");
    trusting.line("ready");
    // Whose certificate isn't known isn't believed, and nothing of the password is in a log.
    let other = folder.path().join("other.pem");
    std::fs::write(&other, Authority::new().pem()).unwrap();
    let distrusting = start(other.to_str().unwrap());
    let line = distrusting.line_where("a warning", |line| {
        line["message"].as_str().is_some_and(|text| text.contains("Redis can't be used"))
    });
    assert!(line["error"].as_str().unwrap().contains("certificate"), "{line}");
    for binary in [&trusting, &distrusting] {
        assert!(!binary.output().contains("pass@word") && !binary.output().contains("pass%40word"));
    }
}

#[test]
fn a_cluster() {
    let node = || {
        let bus = port().to_string();
        Redis::start_with(&["--cluster-enabled", "yes", "--cluster-port", &bus])
    };
    let (Some(a), Some(b), Some(c)) = (node(), node(), node()) else { return };
    let nodes = [&a, &b, &c];
    for (node, (from, to)) in nodes.into_iter().zip([("0", "5460"), ("5461", "10922"), ("10923", "16383")]) {
        node.ask::<()>(&["CLUSTER", "ADDSLOTSRANGE", from, to]);
    }
    for node in [&b, &c] {
        let port = node.port.to_string();
        let bus: Vec<String> = node.ask(&["CONFIG", "GET", "cluster-port"]);
        a.ask::<()>(&["CLUSTER", "MEET", "127.0.0.1", &port, &bus[1]]);
    }
    for node in nodes {
        eventually("the cluster is whole", || {
            let info: String = node.ask(&["CLUSTER", "INFO"]);
            info.contains("cluster_state:ok") && info.contains("cluster_known_nodes:3")
        });
    }
    let scene = Scene::new();
    // By way of any of them.
    let all = format!("redis://127.0.0.1:{},127.0.0.1:{}", port(), b.port);
    let (one, other) = (scene.replica(&a.url()), scene.replica(&all));
    let document = revoke(&one, "joe");
    scene.until(&other, "joe", 401);
    lift(&other, &document);
    scene.until(&one, "joe", 200);
}

#[test]
fn the_master_that_sentinels_name() {
    let Some(master) = Redis::start() else { return };
    let Some(second) = Redis::start_with(&["--replicaof", &format!("127.0.0.1 {}", master.port)]) else { return };
    let Some(mut sentinel) = Redis::not_started(&[]) else { return };
    let file = sentinel.folder().join("sentinel.conf");
    let text = format!(
        "port {}\nsentinel monitor main 127.0.0.1 {} 1\nsentinel down-after-milliseconds main 1000\nsentinel failover-timeout main 3000\n",
        sentinel.port, master.port
    );
    std::fs::write(&file, text).unwrap();
    sentinel.run_as(&[file.to_str().unwrap(), "--sentinel"]);
    eventually("the second has caught up", || {
        second.ask::<String>(&["INFO", "replication"]).contains("master_link_status:up")
    });
    eventually("the sentinel knows the second", || sentinel.ask::<String>(&["INFO", "sentinel"]).contains("slaves=1"));
    let scene = Scene::new();
    let (one, other) = (scene.replica(&sentinel.url()), scene.replica(&format!("{}/?master=main", sentinel.url())));
    revoke(&one, "joe");
    scene.until(&other, "joe", 401);
    eventually("the second knows", || second.ask::<usize>(&["HLEN", HELD]) == 1);

    drop(master);
    until_up(&one, false);
    eventually("the second is the master", || second.ask::<String>(&["INFO", "replication"]).contains("role:master"));
    until_up(&one, true);
    until_up(&other, true);
    revoke(&one, "ann");
    scene.until(&other, "ann", 401);
    assert_eq!(scene.now(&other, "joe"), 401);
}

/// So many are let in of so many that are sent at once.
fn let_in(gateway: &Gateway, path: &str, count: usize) -> usize {
    (0..count).filter(|_| gateway.get(path).status == 200).count()
}

#[test]
fn a_limit_is_for_all_replicas_together() {
    let Some(mut redis) = Redis::start() else { return };
    let scene = Scene::new();
    let yaml = scene.yaml(&redis.url()).replace(
        "routes:\n",
        "routes:\n  - {name: limited, path: \"/{name}\", upstream: echo, allow: public, rate_limit: [{rate: 20/h, burst: 20, per: route}]}\n",
    );
    let (one, other) = (Gateway::start(&yaml), Gateway::start(&yaml));
    assert_eq!(let_in(&one, "/x", 15), 15);
    // The other learns of it from its own first requests.
    let counted = || redis.ask::<Vec<String>>(&["KEYS", "{bearward:limits:*"]).len();
    eventually("Redis counts", || counted() == 1);
    assert_eq!(let_in(&other, "/x", 1), 1);
    eventually("the other knows", || {
        other.metric("bearward_rate_limited_total{route=\"limited\"}") > 0.0 || let_in(&other, "/x", 1) == 0
    });
    let total = 15 + scene.upstream.requests().len() - 15;
    assert!((20..=22).contains(&total), "{total}");
    eventually("so does the first", || let_in(&one, "/x", 1) == 0);

    // While it is gone each counts for itself; what was counted isn't forgotten here.
    redis.kill();
    until_up(&one, false);
    assert_eq!(let_in(&one, "/x", 3), 0);
    redis.run();
    until_up(&one, true);
    assert_eq!(let_in(&one, "/x", 1), 0);

    // A count that can't be true holds nobody up for long.
    let keys = || redis.ask::<Vec<String>>(&["KEYS", "{bearward:limits:*"]);
    redis.ask::<()>(&["FLUSHALL"]);
    let fresh = Gateway::start(&yaml);
    assert_eq!(let_in(&fresh, "/x", 1), 1);
    eventually("Redis counts", || keys().len() == 1);
    redis.ask::<()>(&["SET", &keys()[0], "9223372036854775807"]);
    eventually("it is believed", || let_in(&fresh, "/x", 1) == 0);
    let answer = fresh.get("/x");
    let wait: u64 = answer.fields.get("retry-after").unwrap().parse().unwrap();
    assert!(wait <= 16 * 3600, "{wait}");
}

#[test]
fn a_proof_that_one_replica_has_taken_no_other_takes() {
    let Some(redis) = Redis::start() else { return };
    let scene = Scene::new();
    let yaml = scene.yaml(&redis.url()).replace("audiences: [api]", "audiences: [api], dpop: {nonce: true}");
    let replicas = [Gateway::start(&yaml), Gateway::start(&yaml)];
    let client = Key::es256("client");
    let token = scene.token("joe").claim("cnf", json!({"jkt": thumbprint(&client)})).build();
    let ask = |gateway: &Gateway, proof: &str| {
        let fields = format!("Host: api.example\r\nAuthorization: DPoP {token}\r\nDPoP: {proof}\r\n");
        let mut connection = crate::support::raw::Client::connect(gateway.address);
        connection.send(format!("GET /closed HTTP/1.1\r\nConnection: close\r\n{fields}\r\n"));
        connection.receive()
    };
    let proof = |nonce: &str| {
        Proof::new(&client, "GET", "http://api.example/closed", &token).claim("nonce", json!(nonce)).build()
    };
    let nonce_of = |gateway: &Gateway| ask(gateway, &proof("x")).fields.get("dpop-nonce").unwrap().to_owned();
    eventually("each knows the other's nonces", || {
        let [one, other] = &replicas;
        ask(other, &proof(&nonce_of(one))).status == 200 && ask(one, &proof(&nonce_of(other))).status == 200
    });
    let nonce = nonce_of(&replicas[0]);
    for (first, second) in [(0, 1), (1, 0)] {
        let used = proof(&nonce);
        assert_eq!(ask(&replicas[first], &used).status, 200);
        // Each look there is a use of its own where it isn't known yet, and then never again.
        eventually("the other has been told", || {
            let used = proof(&nonce);
            assert_eq!(ask(&replicas[first], &used).status, 200);
            std::thread::sleep(Duration::from_millis(250));
            ask(&replicas[second], &used).status == 401
        });
    }
    let used = proof(&nonce);
    assert_eq!(ask(&replicas[0], &used).status, 200);
    eventually("it is told", || redis.ask::<usize>(&["XLEN", "{bearward:proofs}:used"]) > 0);
    // Nothing of a token or a proof is in Redis.
    let entries: Vec<redis::Value> = redis.ask(&["XRANGE", "{bearward:proofs}:used", "-", "+"]);
    for part in token.split('.').chain(used.split('.')) {
        assert!(!format!("{entries:?}").contains(part));
    }
}

/// A replica that takes another's place knows what that did last, however soon it comes.
#[test]
fn what_a_replica_took_last_the_next_one_knows() {
    let Some(mut redis) = Redis::start() else { return };
    let scene = Scene::new();
    let client = Key::es256("client");
    let token = scene.token("joe").claim("cnf", json!({"jkt": thumbprint(&client)})).build();
    let proof = || Proof::new(&client, "GET", "http://api.example/closed", &token).build();
    let ask = |gateway: &Gateway, proof: &str| {
        let fields = format!("Host: api.example\r\nAuthorization: DPoP {token}\r\nDPoP: {proof}\r\n");
        let mut connection = crate::support::raw::Client::connect(gateway.address);
        connection.send(format!("GET /closed HTTP/1.1\r\nConnection: close\r\n{fields}\r\n"));
        connection.receive().status
    };
    let mut used = Vec::<String>::new();
    for _ in 0..3 {
        let replica = scene.replica(&redis.url());
        for proof in &used {
            assert_eq!(ask(&replica, proof), 401, "taken by one that is gone");
        }
        used.push(proof());
        assert_eq!(used.last().map(|proof| ask(&replica, proof)), Some(200));
        replica.drain();
        assert!(replica.wait());
    }
    // While the server is away a replica decides by itself; once it is told to be back, the others know.
    let replica = scene.replica(&redis.url());
    redis.kill();
    until_up(&replica, false);
    let alone = proof();
    assert_eq!(ask(&replica, &alone), 200);
    redis.run();
    until_up(&replica, true);
    assert_eq!(ask(&scene.replica(&redis.url()), &alone), 401);
}
