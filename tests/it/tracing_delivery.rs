//! Spans on their way to the collector: by each protocol, whatever the collector does, and never in a request's way.

use std::{fs, path::PathBuf, sync::Arc};

use tonic::Code;

use crate::support::{
    ClosedPort,
    binary::Binary,
    certificates::Authority,
    collector::{Collector, Mood, Trace, decoded, said},
    eventually,
    gateway::{Gateway, metric, public_configuration},
    raw::exchange,
    upstream::Upstream,
};

/// With an open route to an upstream, and one pool of connections to it.
fn yaml(upstream: &Upstream, tracing: &str) -> String {
    let yaml = public_configuration(&upstream.url(), "").replace("workers: 2", "workers: 1");
    format!("tracing: {tracing}\n{yaml}")
}

fn to(url: &str) -> String {
    format!("{{otlp: \"{url}\"}}")
}

fn ask(gateway: &Gateway, id: &str) {
    assert_eq!(gateway.call("GET", "/x", &format!("X-Request-Id: {id}\r\n")).status, 200);
}

fn spans(gateway: &Gateway, result: &str) -> f64 {
    gateway.metric(&format!("bearward_spans_total{{result=\"{result}\"}}"))
}

/// The program with a configuration in a file.
struct Program {
    binary: Binary,
    path: PathBuf,
    _folder: tempfile::TempDir,
}

impl Program {
    fn run(yaml: &str, variables: &[(&str, &str)]) -> Program {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gateway.yaml");
        fs::write(&path, yaml.replace("level: error", "level: info")).unwrap();
        let binary = Binary::spawn_with(&["run", "--config", path.to_str().unwrap()], variables);
        binary.line("ready");
        Program { binary, path, _folder: folder }
    }

    #[track_caller]
    fn ask(&self, id: &str) {
        let response = exchange(self.binary.address(), "GET", "/x", &format!("X-Request-Id: {id}\r\n"));
        assert_eq!(response.status, 200);
    }
}

#[test]
fn protobuf_goes_over_http() {
    let (collector, upstream) = (Upstream::start(), Upstream::start());
    collector.answer_with(200, "Content-Type: application/x-protobuf\r\n", b"");
    let gateway = Gateway::start(&yaml(&upstream, &to(&format!("{}/in/v1/traces?tenant=a", collector.url()))));
    ask(&gateway, "over-http");
    eventually("they are counted", || spans(&gateway, "ok") > 0.0);
    let sent = collector.last_request();
    assert_eq!((sent.method.as_str(), sent.target.as_str()), ("POST", "/in/v1/traces?tenant=a"));
    assert_eq!(sent.fields.get("content-type"), Some("application/x-protobuf"));
    let trace = Trace::of(&decoded([sent.body.as_slice()]), "over-http").expect("the request's spans");
    assert_eq!(trace.children.len(), 2, "{trace:?}");
    assert_eq!(spans(&gateway, "ok"), 3.0);
}

#[test]
fn spans_go_over_tls() {
    let authority = Authority::new();
    let identity = authority.sign(2099);
    let (collector, upstream) = (Collector::start(), Upstream::start());
    let folder = tempfile::tempdir().unwrap();
    let roots = |name: &str, authority: &Authority| {
        let path = folder.path().join(name);
        fs::write(&path, authority.pem()).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let port = before(&collector, identity.server(&["h2"], None));
    let url = format!("https://localhost:{port}");
    let program = Program::run(&yaml(&upstream, &to(&url)), &[("SSL_CERT_FILE", &roots("its.pem", &authority))]);
    program.ask("over-tls");
    collector.request("over-tls");
    // Who isn't vouched for gets nothing.
    let others = roots("others.pem", &Authority::new());
    let stranger = Program::run(&yaml(&upstream, &to(&url)), &[("SSL_CERT_FILE", &others)]);
    stranger.ask("to-a-stranger");
    let line = stranger.binary.line("spans could not be sent");
    assert!(line["error"].as_str().unwrap().contains("TLS"), "{line}");
    assert!(Trace::of(&collector.spans(), "to-a-stranger").is_none());
}

/// TLS before a collector: its port.
fn before(collector: &Collector, config: rustls::ServerConfig) -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (address, acceptor) = (collector.address, tokio_rustls::TlsAcceptor::from(Arc::new(config)));
    listener.set_nonblocking(true).unwrap();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let Ok(mut tls) = acceptor.accept(stream).await else { return };
                    let mut plain = tokio::net::TcpStream::connect(address).await.unwrap();
                    tokio::io::copy_bidirectional(&mut tls, &mut plain).await.ok();
                });
            }
        });
    });
    port
}

#[test]
fn requests_do_not_wait_for_a_collector_that_does_not_answer() {
    let (collector, upstream) = (Collector::start(), Upstream::start());
    collector.be(Mood::Held);
    let gateway = Gateway::start(&yaml(&upstream, &to(&collector.url())));
    ask(&gateway, "first");
    eventually("the collector has a message", || collector.arrived() == 1);
    for number in 0..100 {
        ask(&gateway, &format!("r{number}"));
    }
    assert_eq!((collector.arrived(), collector.spans().len()), (1, 0), "it has answered nothing");
    collector.be(Mood::Good);
    collector.release();
    for id in ["first", "r0", "r99"] {
        collector.request(id);
    }
}

#[test]
fn a_collector_that_is_not_there_yet_gets_what_waits() {
    let (port, upstream) = (ClosedPort::reserve(), Upstream::start());
    let gateway = Gateway::start(&yaml(&upstream, &to(&format!("http://{}", port.address))));
    ask(&gateway, "early");
    let collector = Collector::on(port.open());
    collector.request("early");
    assert_eq!((spans(&gateway, "error"), spans(&gateway, "dropped")), (0.0, 0.0));
}

#[test]
fn what_a_collector_will_not_take_is_counted_and_gone() {
    let (collector, upstream) = (Collector::start(), Upstream::start());
    let gateway = Gateway::start(&yaml(&upstream, &to(&collector.url())));
    collector.be(Mood::Refuses(Code::InvalidArgument));
    ask(&gateway, "refused");
    eventually("it is counted", || spans(&gateway, "error") == 3.0);
    assert_eq!(collector.arrived(), 1, "that can't go well later");

    collector.be(Mood::Rejects(1));
    ask(&gateway, "partly");
    // The connection to the upstream is kept: two spans.
    eventually("it is counted", || spans(&gateway, "error") == 4.0);
    assert_eq!(spans(&gateway, "ok"), 1.0);

    collector.be(Mood::Refuses(Code::Unavailable));
    ask(&gateway, "later");
    eventually("it was tried", || collector.arrived() >= 3);
    collector.be(Mood::Good);
    collector.request("later");
    assert_eq!(spans(&gateway, "error"), 4.0);
}

#[test]
fn the_end_of_the_program_sends_the_last_spans() {
    let (collector, upstream) = (Collector::start(), Upstream::start());
    let mut program = Program::run(&yaml(&upstream, &to(&collector.url())), &[]);
    program.ask("last");
    program.binary.signal("TERM");
    assert!(program.binary.wait().success());
    assert!(Trace::of(&collector.spans(), "last").is_some(), "{:?}", collector.spans());
}

#[test]
fn the_end_of_the_program_does_not_wait_for_a_collector_for_ever() {
    let (collector, upstream) = (Collector::start(), Upstream::start());
    collector.be(Mood::Held);
    let mut program = Program::run(&yaml(&upstream, &to(&collector.url())), &[]);
    program.ask("held");
    program.binary.signal("TERM");
    assert!(program.binary.wait().success());
    program.binary.line("the last spans could not be sent in time");
}

#[test]
fn variables_tell_who_the_spans_are_from() {
    let (collector, upstream) = (Collector::start(), Upstream::start());
    let variables = [("OTEL_SERVICE_NAME", "edge"), ("OTEL_RESOURCE_ATTRIBUTES", "team=a%20b,service.name=no")];
    let program = Program::run(&yaml(&upstream, &to(&collector.url())), &variables);
    program.ask("named");
    let resource = collector.request("named").server.resource;
    assert_eq!(said(&resource, "service.name").as_deref(), Some("edge"));
    assert_eq!(said(&resource, "team").as_deref(), Some("a b"));
}

#[test]
fn a_reload_changes_it_live() {
    let (first, second, upstream) = (Collector::start(), Collector::start(), Upstream::start());
    let program = Program::run(&yaml(&upstream, &to(&first.url())), &[]);
    program.ask("at-first");
    let ask_again = |what: &str, tracing: &str| {
        let before = metric(program.binary.admin(), "bearward_config_reloads_total{result=\"ok\"}");
        fs::write(&program.path, yaml(&upstream, tracing).replace("level: error", "level: info")).unwrap();
        eventually(what, || metric(program.binary.admin(), "bearward_config_reloads_total{result=\"ok\"}") > before);
    };
    ask_again("another collector", &to(&second.url()));
    program.ask("then");
    second.request("then");
    first.request("at-first");
    assert!(Trace::of(&first.spans(), "then").is_none());

    ask_again("another share", &format!("{{otlp: \"{}\", sample: 0}}", second.url()));
    program.ask("not-recorded");
    assert_eq!(&upstream.last_request().fields.get("traceparent").unwrap()[53..], "00");
    ask_again("off", "{}");
    program.ask("nowhere");
    ask_again("on again", &to(&second.url()));
    program.ask("again");
    second.request("again");
    for id in ["not-recorded", "nowhere"] {
        assert!(Trace::of(&second.spans(), id).is_none(), "{id}");
    }
}
