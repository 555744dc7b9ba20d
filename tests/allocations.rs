//! How often memory is taken for a request, over the whole path: counts, which are the same on every machine, held below
//! a budget. Whoever needs more raises it here, and says why.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, missing_docs)]

#[path = "../benches/scene/mod.rs"]
mod scene;

use std::{alloc::System, net::SocketAddr};

use scene::{Client, Scene, request};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const BATCH: usize = 100;
const BATCHES: usize = 8;

/// What is asked, the status that comes of it, and what one of these requests may take: calls of the allocator, growing what
/// was taken included, and bytes.
struct Budget {
    what: &'static str,
    requests: Vec<String>,
    status: &'static str,
    taken: (usize, usize),
}

impl Budget {
    fn new(what: &'static str, requests: Vec<String>, status: &'static str, taken: (usize, usize)) -> Budget {
        Budget { what, requests, status, taken }
    }
}

#[test]
fn a_request_takes_memory_as_often_as_its_budget_says() {
    let scene = Scene::start();
    let direct = Budget::new("without the gateway", vec![request("/", "")], "200", (0, 0));
    assert_eq!(least(scene.upstream, &direct), direct.taken, "what asks and what answers take memory themselves");

    let same = |path: &str, fields: &str| vec![request(path, fields)];
    let known = scene.authorization("u1");
    let new = (0..(BATCHES + 1) * BATCH)
        .map(|number| request("/closed/7", &scene.authorization(&format!("user-{number:04}"))));
    let budgets = [
        Budget::new("public route", same("/open", ""), "200", (22, 6_500)),
        // Nothing for the token: to look for it and to ask the rules takes no memory.
        Budget::new("token, nothing of it told", same("/bare", &known), "200", (22, 6_700)),
        Budget::new("token in the cache", same("/closed/7", &known), "200", (27, 7_000)),
        // Now and then the cache tidies up or grows.
        Budget::new("token that is new", new.collect(), "200", (66, 15_000)),
        Budget::new("no token: 401", same("/closed/7", ""), "401", (23, 7_000)),
        Budget::new("no route: 404", same("/nowhere", ""), "404", (19, 6_500)),
    ];
    let mut beyond = Vec::new();
    for budget in &budgets {
        let (calls, bytes) = least(scene.gateway, budget);
        let told = format!("{:25} {calls:4} calls {bytes:7} bytes", budget.what);
        println!("{told}");
        if calls > budget.taken.0 || bytes > budget.taken.1 {
            beyond.push(format!("{told} of {:?}", budget.taken));
        }
    }
    assert!(beyond.is_empty(), "more memory is taken for a request than its budget allows: {beyond:#?}");
}

/// The least over several batches, since what else goes on in the process (clocks, watched files) takes some, too.
fn least(address: SocketAddr, budget: &Budget) -> (usize, usize) {
    let (mut client, mut requests) = (Client::new(address), budget.requests.iter().cycle());
    let mut batch = || {
        let before = ALLOCATOR.stats();
        for request in requests.by_ref().take(BATCH) {
            client.exchange(request, budget.status);
        }
        let taken = ALLOCATOR.stats() - before;
        ((taken.allocations + taken.reallocations) / BATCH, taken.bytes_allocated / BATCH)
    };
    batch();
    let batches: Vec<(usize, usize)> = (0..BATCHES).map(|_| batch()).collect();
    let (calls, bytes) = (batches.iter().map(|batch| batch.0), batches.iter().map(|batch| batch.1));
    (calls.min().unwrap(), bytes.min().unwrap())
}
