//! Routes that are bound to listeners, and listeners at Unix sockets.

use std::{
    fs,
    os::unix::{
        fs::{FileTypeExt, PermissionsExt},
        net::{UnixListener, UnixStream},
    },
};

use crate::support::{
    certificates::get,
    gateway::{Gateway, configuration},
    issuer::Issuer,
    keys::Key,
    raw::exchange,
    upstream::Upstream,
};

#[test]
fn a_route_is_there_on_its_own_listeners_alone() {
    let (issuer, upstream) = (Issuer::start(&Key::es256("k1")), Upstream::start());
    let routes = r#"
  - {name: outside, path: /x, listeners: [public], upstream: echo, allow: authenticated}
  - {name: inside, path: /x, listeners: [inner], upstream: echo, allow: public}
  - {name: ops, path: "/ops/**", listeners: [inner], upstream: echo, allow: public}
  - {name: everywhere, path: /y, upstream: echo, allow: public}
"#;
    let listen = "listen: [{address: \"127.0.0.1:0\", name: public}, {address: \"127.0.0.1:0\", name: inner}]";
    let text = configuration(&issuer, &upstream, routes).replace("listen: [\"127.0.0.1:0\"]", listen);
    let gateway = Gateway::start(&text);
    let statuses =
        |target: &str| [0, 1].map(|listener| exchange(gateway.address_of(listener), "GET", target, "").status);
    assert_eq!(statuses("/x"), [401, 200]);
    assert_eq!(statuses("/ops/a"), [404, 200]);
    assert_eq!(statuses("/y"), [200, 200]);
    // A reading counts where its route is.
    assert_eq!(statuses("/ops;a/x"), [404, 400]);
}

fn at_a_socket(issuer: &Issuer, upstream: &Upstream, path: &std::path::Path) -> String {
    let routes = "  - {name: open, path: \"/**\", upstream: echo, allow: public}\n";
    let listen = format!("listen: [\"127.0.0.1:0\", \"unix:{}\"]", path.display());
    configuration(issuer, upstream, routes).replace("listen: [\"127.0.0.1:0\"]", &listen)
}

#[test]
fn a_unix_socket_serves_and_goes_with_the_gateway() {
    let (issuer, upstream) = (Issuer::start(&Key::es256("k1")), Upstream::start());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.sock");
    // What a process that was killed leaves behind.
    drop(UnixListener::bind(&path).unwrap());
    let text = at_a_socket(&issuer, &upstream, &path);
    let gateway = Gateway::start(&text);
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    for _ in 0..8 {
        let answer = get(UnixStream::connect(&path).unwrap(), "/a").unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    assert_eq!(upstream.last_request().fields.get("x-forwarded-for"), Some("127.0.0.1"));

    let policy = bearward::config::load_str(&text, "f").unwrap().policy;
    let error = bearward::app::App::start(policy).expect_err("it is in use").to_string();
    assert!(error.contains("a.sock"), "{error}");
    assert!(get(UnixStream::connect(&path).unwrap(), "/a").is_ok(), "it is still there");

    gateway.drain();
    gateway.wait();
    assert!(!path.exists());
}

#[test]
fn a_file_that_is_no_socket_is_left_alone() {
    let (issuer, upstream) = (Issuer::start(&Key::es256("k1")), Upstream::start());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.sock");
    fs::write(&path, "precious").unwrap();
    let policy = bearward::config::load_str(&at_a_socket(&issuer, &upstream, &path), "f").unwrap().policy;
    assert!(bearward::app::App::start(policy).is_err());
    assert!(!fs::metadata(&path).unwrap().file_type().is_socket());
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
}
