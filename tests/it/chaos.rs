//! Everything around the gateway is killed, stopped, slowed and spoilt under load, for a while and in an order by chance.
//! Nothing that isn't authorised reaches an upstream, nothing that is authorised is refused while there is a way, and in the
//! end nothing is left of it.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, SystemTime},
};

use serde_json::json;

use crate::support::{
    authorization_server::AuthorizationServer,
    binary::Binary,
    eventually,
    gateway::metric,
    issuer::{Issuer, Mood},
    keys::Key,
    raw::{Client, exchange},
    redis::Redis,
    relay::{Relay, Way},
    upstream::Upstream,
};

/// Faults one after another.
const FAULTS: usize = 30;
const EACH: Duration = Duration::from_millis(300);
const MIB: u64 = 1 << 20;

/// Who asks, by a part of the path, with what, and what may come of it.
struct Caller {
    kind: &'static str,
    token: Option<String>,
    may_get: &'static [u16],
}

struct World {
    issuer: Issuer,
    server: AuthorizationServer,
    introspection: Relay,
    upstreams: [Upstream; 2],
    ways: [Relay; 2],
    redis: Option<(Redis, Relay)>,
}

impl World {
    fn new() -> World {
        let server = AuthorizationServer::start();
        let upstreams = [Upstream::start(), Upstream::start()];
        let ways = [0, 1].map(|which: usize| Relay::to(upstreams[which].url()["http://".len()..].parse().unwrap()));
        let redis = Redis::start().map(|redis| {
            let relay = Relay::to(redis.address());
            (redis, relay)
        });
        let introspection = Relay::to(server.address);
        World { issuer: Issuer::start(&Key::es256("k1")), server, introspection, upstreams, ways, redis }
    }

    fn yaml(&self) -> String {
        let state = self
            .redis
            .as_ref()
            .map_or(String::new(), |(_, relay)| format!("state: {{redis: \"redis://{}\"}}\n", relay.address));
        format!(
            "listen: [\"127.0.0.1:0\"]\n\
             admin: {{address: \"127.0.0.1:0\"}}\n\
             server: {{workers: 2, idle_timeout: 2s}}\n\
             logging: {{level: info, format: json, access: false}}\n\
             {state}\
             issuers:\n\
             \x20 jwt: {{issuer: \"{issuer}\", audiences: [api], http_timeout: 1s, jwt: {{refresh: 60s}}}}\n\
             \x20 opaque: {{audiences: any, introspection: {{endpoint: \"http://{introspection}/introspect\", client_id: g, client_secret: s, tokens: \"^o-\", timeout: 500ms, cache_ttl: 0s}}}}\n\
             upstreams:\n\
             \x20 api:\n\
             \x20   endpoints: [\"http://{one}\", \"http://{other}\"]\n\
             \x20   response_timeout: 500ms\n\
             \x20   connect_timeout: 500ms\n\
             \x20   idle_timeout: 2s\n\
             \x20   eject: {{failures: 5, for: 500ms}}\n\
             \x20   retry: {{attempts: 3, on: [connect, 502, 503, 504], budget: 100%}}\n\
             routes:\n\
             \x20 - {{name: read, path: \"/read/**\", methods: [GET], upstream: api, allow: [{{scopes: [read]}}], issuers: [jwt, opaque]}}\n",
            issuer = self.issuer.url(),
            introspection = self.introspection.address,
            one = self.ways[0].address,
            other = self.ways[1].address,
        )
    }

    fn callers(&self) -> Vec<Caller> {
        let token = || self.issuer.token().scope("read");
        self.server.active("o-good", json!({"scope": "read", "sub": "u"}));
        self.server.active("o-poor", json!({"scope": "other", "sub": "u"}));
        let bad = |kind, token: String| Caller { kind, token: Some(token), may_get: &[401] };
        vec![
            Caller { kind: "good", token: Some(token().build()), may_get: &[200] },
            Caller { kind: "good", token: Some(token().sub("another").build()), may_get: &[200] },
            Caller { kind: "opaque", token: Some("o-good".to_owned()), may_get: &[200, 503] },
            Caller { kind: "bad-none", token: None, may_get: &[401] },
            bad("bad-forged", token().signed_by(&Key::es256("k1")).build()),
            bad("bad-expired", token().exp_in(-3600).build()),
            bad("bad-audience", token().aud("other").build()),
            bad("bad-revoked", token().sub("revoked").build()),
            // A key that isn't there: proven by a fetch, or not to be said.
            Caller { kind: "bad-unknown", token: Some(token().kid("k9").build()), may_get: &[401, 503] },
            Caller { kind: "bad-scope", token: Some(self.issuer.token().scope("write").build()), may_get: &[403] },
            Caller { kind: "bad-inactive", token: Some("o-inactive".to_owned()), may_get: &[401, 503] },
            Caller { kind: "bad-poor", token: Some("o-poor".to_owned()), may_get: &[403, 503] },
        ]
    }

    /// One fault, by its number; the second upstream is always well.
    fn fault(&mut self, number: u64) -> String {
        let ways = [Way::Cut, Way::Held, Way::Spoilt, Way::Slow(Duration::from_millis(50))];
        let way = ways[number as usize / 5 % ways.len()];
        match number % 5 {
            0 => {
                self.ways[0].be(way);
                format!("an upstream: {way:?}")
            }
            1 => {
                self.introspection.be(way);
                format!("introspection: {way:?}")
            }
            2 => {
                let mood =
                    [Mood::HangUp, Mood::Status(500), Mood::Nonsense, Mood::NoKeys, Mood::Slow(Duration::from_secs(2))]
                        [number as usize / 5 % 5]
                        .clone();
                let said = format!("the key server: {mood:?}");
                self.issuer.be(mood);
                said
            }
            3 => {
                if let Some((_, relay)) = &self.redis {
                    relay.be(way);
                }
                format!("the way to Redis: {way:?}")
            }
            _ => {
                if let Some((redis, _)) = &mut self.redis {
                    redis.kill();
                    redis.run();
                }
                "Redis begins anew, empty".to_owned()
            }
        }
    }

    fn heal(&mut self) {
        self.ways.iter().for_each(|way| way.be(Way::Open));
        self.introspection.be(Way::Open);
        self.issuer.be(Mood::Good);
        if let Some((_, relay)) = &self.redis {
            relay.be(Way::Open);
        }
    }
}

fn descriptors(binary: &Binary) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", binary.id())).unwrap().count()
}

#[test]
fn no_fault_opens_anything_or_closes_what_has_a_way() {
    let mut world = World::new();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gateway.yaml");
    std::fs::write(&file, world.yaml()).unwrap();
    let binary = Binary::spawn(&["run", "--config", file.to_str().unwrap()]);
    let (address, admin) = (binary.address(), binary.admin());
    eventually("it is ready", || exchange(admin, "GET", "/readyz", "").status == 200);
    let mut client = Client::connect(admin);
    let body = "{\"subject\":\"revoked\"}";
    client.send(format!("POST /revocations HTTP/1.1\r\nHost: {admin}\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
    assert_eq!(client.receive().status, 201);

    let callers = Arc::new(world.callers());
    let ask = move |caller: &Caller, number: usize| {
        let fields = caller.token.as_ref().map_or(String::new(), |token| format!("Authorization: Bearer {token}\r\n"));
        exchange(address, "GET", &format!("/read/{}/{number}", caller.kind), &fields).status
    };
    // Warm, before it is measured.
    for (number, caller) in callers.iter().enumerate() {
        assert!(caller.may_get.contains(&ask(caller, number)), "{}", caller.kind);
    }
    let begin = (descriptors(&binary), binary.memory("VmRSS"));

    let (over, count, wrong) =
        (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(Vec::new())));
    let now = Arc::new(Mutex::new("nothing".to_owned()));
    let load: Vec<_> = (0..4)
        .map(|thread: usize| {
            let (callers, over, count, wrong, now) =
                (callers.clone(), over.clone(), count.clone(), wrong.clone(), now.clone());
            thread::spawn(move || {
                let mut turn = thread * 3;
                while !over.load(Ordering::Relaxed) {
                    let caller = &callers[turn % callers.len()];
                    let status = ask(caller, turn);
                    if !caller.may_get.contains(&status) {
                        wrong.lock().unwrap().push(format!(
                            "{} got {status} during {}",
                            caller.kind,
                            now.lock().unwrap()
                        ));
                    }
                    count.fetch_add(1, Ordering::Relaxed);
                    turn += 1;
                }
            })
        })
        .collect();
    let seed = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos() as u64;
    let mut random = seed | 1;
    for _ in 0..FAULTS {
        // xorshift64
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let said = world.fault(random >> 8);
        *now.lock().unwrap() = said;
        thread::sleep(EACH);
        if random.is_multiple_of(3) {
            world.heal();
        }
    }
    over.store(true, Ordering::Relaxed);
    load.into_iter().for_each(|thread| thread.join().unwrap());
    let wrong = wrong.lock().unwrap();
    assert!(wrong.is_empty(), "seed {seed}: {wrong:?}");
    assert!(count.load(Ordering::Relaxed) > FAULTS, "there was load");
    for upstream in &world.upstreams {
        for request in upstream.requests() {
            assert!(!request.target.contains("bad"), "seed {seed}: {}", request.target);
        }
    }

    // All is well again, and nothing is left.
    world.heal();
    for caller in callers.iter() {
        let should = caller.may_get[0];
        eventually(&format!("{} gets {should}", caller.kind), || ask(caller, 0) == should);
    }
    if world.redis.is_some() {
        eventually("Redis is used again", || metric(admin, "bearward_state_up") == 1.0);
    }
    eventually("descriptors are given back", || descriptors(&binary) <= begin.0 + 8);
    let memory = binary.memory("VmRSS");
    assert!(memory < begin.1 + 64 * MIB, "seed {seed}: {} MiB at first, {} in the end", begin.1 / MIB, memory / MIB);
}
