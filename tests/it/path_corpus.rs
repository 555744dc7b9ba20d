//! A corpus of paths, through the gateway: to an upstream that keeps every byte, and to real servers, each of which has
//! readings of its own. Whatever is sent without a token, no server takes it for something under `/admin`.

use std::net::SocketAddr;

use proptest::{
    prelude::*,
    test_runner::{Config, TestCaseError, TestRunner},
};

use crate::support::{
    corpus,
    gateway::{Gateway, configuration, configuration_of},
    h2::{self, Outcome},
    issuer::Issuer,
    keys::Key,
    raw::{Client, Response},
    servers::Server,
    upstream::Upstream,
};

const ROUTES: &str = r#"
  - {name: open, path: "/**", upstream: echo, allow: public}
  - {name: protected, path: "/admin/**", upstream: echo, allow: [{scopes: [admin]}]}
"#;

/// Requests without a token, over one connection as long as it lasts.
struct Caller {
    address: SocketAddr,
    client: Option<Client>,
}

impl Caller {
    fn new(address: SocketAddr) -> Caller {
        Caller { address, client: None }
    }

    fn get(&mut self, target: &[u8]) -> Option<Response> {
        let mut client = self.client.take().unwrap_or_else(|| Client::connect(self.address));
        let request = [b"GET ", target, b" HTTP/1.1\r\nHost: api.example\r\n\r\n"].concat();
        if client.try_send(&request).is_err() {
            return None;
        }
        let response = client.try_receive("GET").ok().flatten()?;
        let ends = response.fields.all("connection").any(|options| options.eq_ignore_ascii_case("close"));
        if !ends && response.complete {
            self.client = Some(client);
        }
        Some(response)
    }

    /// On a connection of its own where the last one was on its way out.
    #[track_caller]
    fn answer(&mut self, target: &[u8]) -> Response {
        let first = self.get(target);
        first.or_else(|| self.get(target)).unwrap_or_else(|| panic!("no answer to {}", target.escape_ascii()))
    }
}

#[test]
fn every_case_comes_to_what_the_corpus_says() {
    let (issuer, upstream) = (Issuer::start(&Key::es256("k1")), Upstream::start());
    let gateway = Gateway::start(&configuration(&issuer, &upstream, ROUTES));
    let mut caller = Caller::new(gateway.address);
    let mut wrong = Vec::new();
    for case in corpus::paths() {
        upstream.forget();
        let status = caller.answer(&case.target).status;
        let arrived = upstream.requests().pop().map(|request| request.target);
        if status != case.status || arrived != case.arrives {
            wrong.push(format!("{}: {status}, upstream {arrived:?}; expected {}", case.written, case.status));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// `:path` has no other readings than a target of HTTP/1.1. What it may not have at all ends its stream, and a fragment is
/// cut off before anything is decided.
#[test]
fn every_case_comes_to_the_same_over_http_2() {
    let (issuer, upstream) = (Issuer::start(&Key::es256("k1")), Upstream::start());
    let gateway = Gateway::start(&configuration(&issuer, &upstream, ROUTES));
    let mut wrong = Vec::new();
    for case in corpus::paths().iter().filter(|case| case.target.starts_with(b"/")) {
        let Ok(target) = std::str::from_utf8(&case.target) else { continue };
        upstream.forget();
        let outcome = h2::Connection::connect(gateway.address).get(1, target, &[]);
        let arrived = upstream.requests().pop().map(|request| request.target);
        let as_expected = match (&outcome, target.find('#')) {
            (Outcome::Answer { status: 200, .. }, Some(_)) => {
                arrived.as_ref().is_some_and(|path| !path.starts_with("/admin"))
            }
            (Outcome::Answer { status, .. }, None) => *status == case.status && arrived == case.arrives,
            (Outcome::Answer { .. }, Some(_)) | (Outcome::Reset(_), _) => case.status != 200 && arrived.is_none(),
            (Outcome::Ended, _) => false,
        };
        if !as_expected {
            wrong.push(format!("{}: {outcome:?}, upstream {arrived:?}; expected {}", case.written, case.status));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What is said of a server that is asked without the gateway: that it reads these as protected shows that it has readings
/// of its own.
fn confuses(server: SocketAddr, targets: &[&str]) {
    for target in targets {
        let mut client = Client::connect(server);
        client.send(format!("GET {target} HTTP/1.1\r\nHost: api.example\r\nConnection: close\r\n\r\n"));
        let answer = String::from_utf8_lossy(&client.receive_rest()).into_owned();
        assert!(answer.contains("\r\nprotected "), "{target}: {answer}");
    }
}

/// The whole corpus, and paths made up of its pieces, without a token: nothing arrives that the server takes for protected.
fn never_reached(server: SocketAddr, of_upstream: &str) {
    let issuer = Issuer::start(&Key::es256("k1"));
    let jwt = format!("  main: {{issuer: \"{}\", audiences: [api], http_timeout: 30s}}\n", issuer.url());
    let yaml = configuration_of(&jwt, &format!("http://{server}"), ROUTES);
    let gateway = Gateway::start(&yaml.replace("echo: {", &format!("echo: {{{of_upstream}")));
    let token = issuer.token().scope("admin").build();
    let let_in = gateway.get_with("/admin/x", &token);
    assert_eq!((let_in.status, let_in.text().as_str()), (200, "protected /admin/x"));

    let mut caller = Caller::new(gateway.address);
    let mut open = 0;
    for case in corpus::paths() {
        let response = caller.answer(&case.target);
        assert!(!response.text().starts_with("protected "), "{}: {}", case.written, response.text());
        open += usize::from(response.text().starts_with("open "));
    }
    assert!(open >= 30, "only {open} cases came to the server");

    let mut runner = TestRunner::new(Config { failure_persistence: None, ..Config::with_cases(400) });
    let caller = std::cell::RefCell::new(caller);
    let run = runner.run(&made_up(), |target| {
        let response = caller.borrow_mut().answer(target.as_bytes());
        if response.text().starts_with("protected ") {
            return Err(TestCaseError::fail(format!("{target}: {}", response.text())));
        }
        Ok(())
    });
    if let Err(error) = run {
        panic!("{error}");
    }
}

/// Ways to `/admin`, out of pieces that some server reads in its own way.
fn made_up() -> impl Strategy<Value = String> {
    let pieces = [
        "/",
        "/",
        "//",
        "/x",
        "/x/",
        "..",
        ".",
        "/..",
        "/../",
        "/..;/",
        "/.;/",
        ";",
        ";y",
        "%3b",
        "%253b",
        "%2e",
        "%2E%2e",
        "%252e",
        "%252e%252e",
        "%25",
        "%2525",
        "%20",
        "%3f",
        "%23",
        "%5b",
        "%61",
        "%41",
        "%c3%a9",
        "%ef%bc%8f",
        "%e2%84%aa",
        "@",
        ":",
        "*",
        "^",
        "admin",
        "Admin",
        "/admin",
        "/admin/",
        "%61dmin",
        "%2561dmin",
        "adm%69n",
        "/x:1/",
        "//h",
        "?",
        "?/../",
    ];
    let before = prop::collection::vec(prop::sample::select(pieces.to_vec()), 0..7);
    let after = prop::collection::vec(prop::sample::select(pieces.to_vec()), 0..3);
    (before, after).prop_map(|(before, after)| format!("/{}admin{}", before.concat(), after.concat()))
}

#[test]
fn nginx_reads_nothing_as_protected() {
    let Some(wsgi) = Server::wsgi() else { return };
    let Some(nginx) = Server::nginx(wsgi.address) else { return };
    confuses(nginx.plain, &["//admin", "/x/%2e%2e//admin", "/%61dmin"]);
    confuses(nginx.any_case, &["/ADMIN", "//Admin"]);
    confuses(nginx.before, &["//admin", "/%2561dmin"]);
    never_reached(nginx.plain, "");
    never_reached(nginx.anew, "");
    never_reached(nginx.any_case, "paths: case_insensitive, ");
    never_reached(nginx.before, "");
}

#[test]
fn tomcat_reads_nothing_as_protected() {
    let Some(tomcat) = Server::tomcat() else { return };
    confuses(tomcat.address, &["/x/..;/admin", "/admin;x", "//admin", "/;/admin", "/x/..;y=z/%61dmin;v=1/"]);
    never_reached(tomcat.address, "");
    let Some(nginx) = Server::nginx(tomcat.address) else { return };
    confuses(nginx.before, &["/x/..;/admin", "/x/..%3b/admin"]);
    never_reached(nginx.before, "");
}

#[test]
fn node_reads_nothing_as_protected() {
    let Some(node) = Server::node() else { return };
    confuses(node.address, &["//h/admin", "/x/%2e%2e/admin", "///h/admin", "/x%2f..%2fadmin", "/x\\..\\admin"]);
    never_reached(node.address, "");
}

#[test]
fn a_wsgi_application_reads_nothing_as_protected() {
    let Some(wsgi) = Server::wsgi() else { return };
    confuses(wsgi.address, &["//h/admin", "/x/..%2fadmin", "/%2561dmin", "//admin"]);
    never_reached(wsgi.address, "");
}
