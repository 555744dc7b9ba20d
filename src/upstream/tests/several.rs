//! Several endpoints: who is asked, who is asked next, and who rests.

use super::*;
use crate::upstream::{
    addresses::{Addresses, tests::Zone},
    balance::Tried,
    pool::Pool,
};

const BAD: &str = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 4\r\n\r\nbusy";
const PUT: &str = "PUT / HTTP/1.1\r\nhost: h\r\ncontent-length: 2\r\n\r\nhi";

fn settings_of(servers: &[&Server]) -> UpstreamSettings {
    let mut settings = servers[0].settings();
    settings.further_endpoints = servers[1..].iter().map(|server| server.settings().endpoint).collect();
    settings.balance = Balance::RoundRobin;
    settings
}

/// Where nobody listens.
async fn nobody() -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    Server { port: listener.local_addr().unwrap().port(), accepted: Arc::default(), record: Arc::default() }
}

fn retrying(mut settings: UpstreamSettings, attempts: u32, statuses: &[u16]) -> UpstreamSettings {
    settings.retry = Retry { attempts, on_connect: true, on_status: statuses.to_vec(), budget_percent: 100 };
    settings
}

async fn status(upstream: &Upstream, request: &str) -> (u16, u32) {
    let exchange = send(upstream, request).await;
    let status = match &exchange.answer {
        Ok(answer) => answer.status(),
        Err(refusal) => refusal.status(),
    };
    (status.as_u16(), exchange.attempts)
}

#[tokio::test]
async fn endpoints_take_turns() {
    let answers = &[Read, Say(OK), Read, Say(OK), Read, Say(OK)];
    let servers = [Server::start(&[answers]).await, Server::start(&[answers]).await, Server::start(&[answers]).await];
    let upstream = upstream(settings_of(&servers.each_ref()));
    let mut endpoints = Vec::new();
    for _ in 0..6 {
        let exchange = send(&upstream, GET).await;
        endpoints.push(exchange.endpoint.unwrap());
        assert_eq!(text(exchange).await, "ok");
    }
    assert_eq!(endpoints, [0, 1, 2, 0, 1, 2]);
    assert_eq!(upstream.endpoint(1).unwrap(), format!("127.0.0.1:{}", servers[1].port));
}

#[tokio::test]
async fn what_cannot_be_connected_goes_elsewhere_in_its_own_dress() {
    for request in [GET, POST, PUT] {
        let (dead, alive) = (nobody().await, Server::start(&[&[Read, Say(OK)]]).await);
        let mut settings = settings_of(&[&dead, &alive]);
        settings.further_endpoints[0].base_path = "/base".to_owned();
        let exchange = send(&upstream(settings), request).await;
        assert_eq!((exchange.attempts, exchange.endpoint), (2, Some(1)));
        assert_eq!(text(exchange).await, "ok");
        let sent = alive.record();
        assert!(sent.contains(&format!("host: 127.0.0.1:{}\r\n", alive.port)), "{sent}");
        assert!(sent.split(' ').nth(1).unwrap().starts_with("/base/"), "{sent}");
        assert!(request != PUT || sent.ends_with("hi"), "{sent}");
    }
}

#[tokio::test]
async fn one_that_takes_too_long_to_connect_is_not_waited_for_twice() {
    // It takes connections, and never shakes hands.
    let silent = Server::start(&[&[Pause(Duration::from_secs(3600))]]).await;
    let mut settings = silent.settings();
    settings.endpoint.tls = true;
    settings.connect_timeout = SHORT;
    let alone = send(&upstream(settings.clone()), GET).await;
    assert_eq!((refused(&alone), alone.attempts), (&TIMED_OUT, 1));

    let alive = Server::start(&[&[Read, Say(OK)]]).await;
    settings.further_endpoints = vec![alive.settings().endpoint];
    settings.balance = Balance::RoundRobin;
    let exchange = send(&upstream(settings), POST).await;
    assert_eq!((exchange.attempts, exchange.endpoint), (2, Some(1)));
    assert_eq!(text(exchange).await, "ok");
}

#[tokio::test]
async fn without_connect_nothing_is_tried_again() {
    let (dead, alive) = (nobody().await, Server::start(&[&[Read, Say(OK)]]).await);
    let mut settings = settings_of(&[&dead, &alive]);
    settings.retry.on_connect = false;
    assert_eq!(status(&upstream(settings.clone()), GET).await, (502, 1));
    settings.retry.on_connect = true;
    settings.retry.attempts = 1;
    assert_eq!(status(&upstream(settings), GET).await, (502, 1));
}

#[tokio::test]
async fn a_status_is_retried_for_what_may_be_repeated_and_is_at_hand() {
    let large = format!("PUT / HTTP/1.1\r\nhost: h\r\ncontent-length: 70000\r\n\r\n{}", "x".repeat(70000));
    let chunked = "PUT / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nx-sum: 1\r\n\r\n";
    for (request, answer) in [
        (GET, (200, 2)),
        ("DELETE / HTTP/1.1\r\nhost: h\r\n\r\n", (200, 2)),
        (PUT, (200, 2)),
        (chunked, (200, 2)),
        (&large, (503, 1)),
        (POST, (503, 1)),
        ("POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 2\r\n\r\nhi", (503, 1)),
        ("PATCH / HTTP/1.1\r\nhost: h\r\n\r\n", (503, 1)),
    ] {
        let (bad, good) = (Server::start(&[&[Read, Say(BAD)]]).await, Server::start(&[&[Read, Say(OK)]]).await);
        let upstream = upstream(retrying(settings_of(&[&bad, &good]), 2, &[503]));
        assert_eq!(status(&upstream, request).await, answer, "{}", &request[..30]);
        if answer.0 == 200 {
            let (first, second) = (bad.record(), good.record());
            let body = |sent: &str| sent.split_once("\r\n\r\n").unwrap().1.to_owned();
            assert_eq!(body(&first), body(&second), "the same body");
        }
    }
}

#[tokio::test]
async fn no_answer_at_all_counts_as_the_status_that_it_becomes() {
    for (statuses, answer) in [(&[502][..], (200, 2)), (&[503], (502, 1))] {
        let (breaks, good) = (Server::start(&[&[Read]]).await, Server::start(&[&[Read, Say(OK)]]).await);
        let upstream = upstream(retrying(settings_of(&[&breaks, &good]), 2, statuses));
        assert_eq!(status(&upstream, GET).await, answer);
    }
    let (hangs, good) = (Server::start(&[&[Read, AwaitClose]]).await, Server::start(&[&[Read, Say(OK)]]).await);
    let mut settings = retrying(settings_of(&[&hangs, &good]), 2, &[504]);
    settings.response_timeout = Some(SHORT);
    assert_eq!(status(&upstream(settings), GET).await, (200, 2));
}

#[tokio::test]
async fn the_last_answer_stands_when_attempts_are_used_up() {
    let bad = &[&[Read, Say(BAD), Read, Say(BAD), Read, Say(BAD)][..]];
    let (one, two) = (Server::start(bad).await, Server::start(bad).await);
    let upstream = upstream(retrying(settings_of(&[&one, &two]), 3, &[503]));
    let exchange = send(&upstream, GET).await;
    assert_eq!(exchange.attempts, 3);
    assert_eq!(text(exchange).await, "busy");
    // The first answer was read to its end, so its connection served again.
    assert_eq!((one.accepted(), two.accepted()), (1, 1));
}

#[tokio::test]
async fn retries_have_a_budget() {
    let bad = Server::start(&[&[Read, Say(BAD)].repeat(100)]).await;
    let mut settings = retrying(bad.settings(), 2, &[503]);
    settings.retry.budget_percent = 20;
    let upstream = upstream(settings);
    let mut attempts = 0;
    for _ in 0..50 {
        let exchange = send(&upstream, GET).await;
        attempts += exchange.attempts;
        assert_eq!(text(exchange).await, "busy");
    }
    assert_eq!(attempts, 50 + 10 + 10, "a fifth, and the reserve");
}

#[tokio::test]
async fn those_that_nobody_can_connect_to_rest_and_are_503() {
    let (one, other) = (nobody().await, nobody().await);
    let mut settings = settings_of(&[&one, &other]);
    settings.eject = Some(Ejection { failures: 2, rest: Duration::from_secs(3600) });
    let upstream = upstream(settings);
    for _ in 0..2 {
        assert_eq!(status(&upstream, GET).await, (502, 2));
    }
    let exchange = send(&upstream, GET).await;
    assert_eq!((refused(&exchange), exchange.attempts, exchange.endpoint), (&UNAVAILABLE, 0, None));
}

#[tokio::test]
async fn of_several_that_all_rest_one_that_answers_is_asked_all_the_same() {
    let (dead, bad) = (nobody().await, Server::start(&[&[Read, Say(BAD)]]).await);
    let mut settings = settings_of(&[&dead, &bad]);
    settings.eject = Some(Ejection { failures: 2, rest: Duration::from_secs(3600) });
    let upstream = upstream(settings);
    for _ in 0..2 {
        assert_eq!(status(&upstream, GET).await, (503, 2), "the answer of the one that has one");
    }
    assert_eq!(status(&upstream, GET).await, (503, 1));
    assert_eq!(bad.accepted(), 3);
}

#[tokio::test]
async fn one_that_hangs_costs_its_timeout_and_rests() {
    let hangs = Server::start(&[&[Read, AwaitClose]]).await;
    let good = Server::start(&[&[Read, Say(OK)]]).await;
    let mut settings = settings_of(&[&hangs, &good]);
    settings.response_timeout = Some(SHORT);
    settings.eject = Some(Ejection { failures: 2, rest: Duration::from_secs(3600) });
    let upstream = upstream(settings);
    let mut statuses = Vec::new();
    for _ in 0..10 {
        statuses.push(status(&upstream, POST).await.0);
    }
    assert_eq!(statuses, [504, 200, 504, 200, 200, 200, 200, 200, 200, 200]);
}

/// Whoever breaks off uploads must not be able to take endpoints away from others.
#[tokio::test]
async fn faults_of_clients_do_not_count() {
    let server = Server::start(&[&[Until("hello"), AwaitClose]]).await;
    let mut settings = server.settings();
    settings.eject = Some(Ejection { failures: 1, rest: Duration::from_secs(3600) });
    let upstream = upstream(settings);
    for round in 1..4 {
        let head = b"POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 9\r\n\r\nhello";
        let (request, fault, client) = bodies::request(head, bodies::GENEROUS).await;
        let go_away = async {
            until(|| server.record().matches("hello").count() == round).await;
            drop::<DuplexStream>(client);
        };
        let (exchange, ()) = tokio::join!(
            upstream.forward(Permit::for_test(), 0, Box::new(request), &fault, Span::none().as_parent()),
            go_away
        );
        assert_eq!(exchange.attempts, 1, "it was let in");
        assert!(exchange.answer.is_err());
        let limits = BodyLimits { max_bytes: Some(5), ..bodies::GENEROUS };
        let too_large = "POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n6\r\n...hey\r\n";
        let exchange = send_with(&upstream, 0, too_large, limits).await;
        assert_eq!((refused(&exchange), exchange.attempts), (&Refusal::BodyTooLarge, 1));
    }
}

#[tokio::test]
async fn the_less_busy_one_of_two_is_chosen() {
    let servers = [nobody().await, nobody().await];
    let mut settings = settings_of(&servers.each_ref());
    settings.balance = Balance::LeastRequest;
    let upstream = upstream(settings);
    let mut seats: Vec<_> = (0..10).map(|_| upstream.choose(Tried::default(), None).unwrap()).collect();
    assert_eq!(upstream.endpoints.each_busy(), [5, 5]);
    seats.retain(|chosen| chosen.index == 0);
    for _ in 0..5 {
        seats.push(upstream.choose(Tried::default(), None).unwrap());
    }
    assert_eq!(upstream.endpoints.each_busy(), [5, 5]);
}

trait EachBusy {
    fn each_busy(&self) -> Vec<usize>;
}

impl EachBusy for [Arc<Endpoint>] {
    fn each_busy(&self) -> Vec<usize> {
        self.iter().map(|endpoint| endpoint.busy()).collect()
    }
}

#[tokio::test]
async fn everybody_gets_requests_at_random() {
    let servers = [nobody().await, nobody().await, nobody().await, nobody().await];
    for balance in [Balance::Random, Balance::LeastRequest, Balance::Hash] {
        let mut settings = settings_of(&servers.each_ref());
        settings.balance = balance;
        let upstream = upstream(settings);
        let mut counts = [0; 4];
        for caller in 0..4000 {
            let caller = (balance == Balance::Hash).then_some(caller);
            counts[upstream.choose(Tried::default(), caller).unwrap().index] += 1;
        }
        // A fair share is 1000, its deviation 27.
        assert!(counts.iter().all(|count| (800..1200).contains(count)), "{balance:?}: {counts:?}");
    }
}

#[tokio::test]
async fn a_caller_stays_with_its_endpoint_and_only_its_own_callers_leave_one_that_rests() {
    let servers = [nobody().await, nobody().await, nobody().await];
    let mut settings = settings_of(&servers.each_ref());
    settings.balance = Balance::Hash;
    settings.eject = Some(Ejection { failures: 1, rest: Duration::from_secs(3600) });
    let upstream = upstream(settings);
    let choices =
        || (0..300).map(|caller| upstream.choose(Tried::default(), Some(caller)).unwrap().index).collect::<Vec<_>>();
    let before = choices();
    assert_eq!(before, choices());
    upstream.endpoints[1].standing.failed(
        crate::upstream::standing::Admission::Plain,
        upstream.settings.eject.as_ref(),
        crate::upstream::standing::Failing::Unreachable,
    );
    for (before, after) in before.into_iter().zip(choices()) {
        assert!(after == before || before == 1 && after != 1);
    }
}

#[tokio::test]
async fn an_endpoint_whose_connections_are_all_in_use_is_passed_over() {
    let servers = [Server::start(&[&[Read, Say(OK)]]).await, Server::start(&[&[Read, Say(OK)]]).await];
    let mut settings = settings_of(&servers.each_ref());
    settings.max_connections = Some(1);
    settings.connect_timeout = SHORT;
    let upstream = upstream(settings);
    let (one, two) = (send(&upstream, GET).await, send(&upstream, GET).await);
    assert_eq!((one.endpoint, two.endpoint), (Some(0), Some(1)));
    assert_eq!(text(two).await, "ok");
    let three = send(&upstream, GET).await;
    assert_eq!(three.endpoint, Some(1));
    drop(one);
}

/// One upstream whose name leads where the zone says.
fn upstream_of(zone: &Zone, settings: UpstreamSettings) -> Arc<Upstream> {
    let port = settings.endpoint.port;
    let mut upstream = upstream(settings);
    let addresses = Arc::new(Addresses::of_zone(port, zone));
    let endpoint = Arc::get_mut(&mut Arc::get_mut(&mut upstream).unwrap().endpoints[0]).unwrap();
    let metrics = Observer::silent().upstream("up", "endpoint");
    endpoint.pool = Pool::new(2, Duration::from_secs(60), metrics, addresses.clone());
    endpoint.addresses = addresses;
    upstream
}

#[tokio::test]
async fn connections_follow_the_name() {
    let one = Server::start(&[&[Read, Say(OK), Read, Say(OK), AwaitClose]]).await;
    let two = Server::start_at(("127.0.0.2", one.port), &[&[Read, Say(OK), Read, Say(OK)]]).await;
    let zone = Zone::default();
    let upstream = upstream_of(&zone, one.settings());
    zone.set(&["127.0.0.1"]);
    assert_eq!(text(send(&upstream, GET).await).await, "ok");
    zone.set(&["127.0.0.2"]);
    assert_eq!(text(send(&upstream, GET).await).await, "ok");
    assert_eq!((one.accepted(), two.accepted()), (1, 0), "nobody has looked");

    upstream.endpoints[0].addresses.look_up().await.unwrap();
    assert_eq!(text(send(&upstream, GET).await).await, "ok");
    assert_eq!(text(send(&upstream, GET).await).await, "ok");
    assert_eq!((one.accepted(), two.accepted()), (1, 1));
    until(|| one.record().ends_with("<closed>")).await;
}

#[tokio::test]
async fn another_address_answers_for_one_that_does_not() {
    let server = Server::start(&[&[Read, Say(OK)]]).await;
    let zone = Zone::default();
    zone.set(&["127.0.0.3", "127.0.0.1"]);
    let upstream = upstream_of(&zone, server.settings());
    for _ in 0..4 {
        let exchange = send(&upstream, GET).await;
        assert_eq!(exchange.attempts, 1);
        assert_eq!(text(exchange).await, "ok");
        until(|| upstream.endpoints[0].pool.all_closed(0)).await;
    }
}
