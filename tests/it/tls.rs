//! TLS listeners: protocols, client certificates, certificates that change, handshakes that fail.

use std::{fs, io::Write, net::TcpStream, os::unix::fs::symlink, path::Path, sync::Arc};

use rustls::{ClientConfig, HandshakeKind};

use crate::support::{
    PATIENCE,
    binary::Binary,
    certificates::{Authority, Identity, get, over, shown},
    eventually,
    gateway::Gateway,
    upstream::Upstream,
};

fn configuration(upstream: &Upstream, tls: &str) -> String {
    format!(
        "listen: [{{address: \"127.0.0.1:0\", tls: {tls}}}]\n\
         admin: {{address: \"127.0.0.1:0\"}}\n\
         logging: {{level: error, access: false}}\n\
         server: {{workers: 2, header_timeout: 20s}}\n\
         issuers: {{a: {{issuer: \"https://a.example\", audiences: [api]}}}}\n\
         routes: [{{name: open, path: \"/**\", upstream: \"{}\", allow: public}}]\n",
        upstream.url()
    )
}

/// A gateway with this certificate in its folder.
fn start(identity: &Identity, folder: &Path, upstream: &Upstream, more: &str) -> Gateway {
    let (certificate, key) = identity.write(folder);
    let tls = format!("{{certificate: {}, key: {}{more}}}", certificate.display(), key.display());
    Gateway::start_unready(&configuration(upstream, &tls))
}

fn connect(gateway: &Gateway) -> TcpStream {
    let stream = TcpStream::connect(gateway.address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

#[test]
fn a_request_goes_through_and_the_upstream_learns_of_tls() {
    let (authority, upstream, folder) = (Authority::new(), Upstream::start(), tempfile::tempdir().unwrap());
    let gateway = start(&authority.sign(2090), folder.path(), &upstream, "");
    for protocols in [&["http/1.1"][..], &[]] {
        let stream = over(connect(&gateway), authority.client(None, protocols));
        let answer = get(stream, "/a").unwrap();
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("hello"), "{answer}");
    }
    assert_eq!(upstream.last_request().fields.get("x-forwarded-proto"), Some("https"));
    let expiry = gateway.metric(&format!(
        "bearward_certificate_expiry_seconds{{file=\"{}\"}}",
        folder.path().join("tls.crt").display()
    ));
    let years = expiry / (365.25 * 24.0 * 3600.0);
    assert!((60.0..66.0).contains(&years), "{years}");
}

/// A client whose certificate isn't taken is told nothing but an alert; who runs the gateway can find out.
#[test]
fn at_debug_level_the_log_says_why_a_handshake_fails() {
    let (authority, stranger, upstream) = (Authority::new(), Authority::new(), Upstream::start());
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = authority.sign(2090).write(folder.path());
    let ca = folder.path().join("clients.pem");
    fs::write(&ca, authority.pem()).unwrap();
    let tls =
        format!("{{certificate: {}, key: {}, client_ca: {}}}", certificate.display(), key.display(), ca.display());
    let config = folder.path().join("gateway.yaml");
    fs::write(&config, configuration(&upstream, &tls).replace("level: error", "level: debug")).unwrap();
    let gateway = Binary::run(&config);
    for (signed_by, is_taken) in [(&stranger, false), (&authority, true)] {
        let config = authority.client(Some(&signed_by.sign(2090)), &[]);
        let answer = get(over(TcpStream::connect(gateway.address()).unwrap(), config), "/a");
        assert_eq!(answer.is_ok_and(|answer| answer.starts_with("HTTP/1.1 200")), is_taken);
    }
    gateway.line_where("why", |line| {
        let error = line["error"].as_str().unwrap_or_default();
        line["message"] == "no TLS handshake"
            && line["client_ip"] == "127.0.0.1"
            && error.contains("invalid peer certificate")
    });
}

#[test]
fn clients_prove_who_they_are_where_they_must() {
    let (authority, stranger, upstream) = (Authority::new(), Authority::new(), Upstream::start());
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("clients.pem");
    fs::write(&ca, authority.pem()).unwrap();
    let (good, bad) = (authority.sign(2090), stranger.sign(2090));
    for (more, without) in
        [("", true), (", client_certificate: optional", true), (", client_certificate: required", false)]
    {
        let more = format!(", client_ca: {}{more}", ca.display());
        let gateway = start(&authority.sign(2090), folder.path(), &upstream, &more);
        let passes = |identity: Option<&Identity>| {
            let stream = over(connect(&gateway), authority.client(identity, &[]));
            get(stream, "/").is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
        };
        assert_eq!([passes(None), passes(Some(&good)), passes(Some(&bad))], [without, true, false], "{more}");
    }
}

/// A session that began under an authority that isn't trusted any more is no way around that.
#[test]
fn an_authority_that_is_taken_away_takes_its_clients_sessions_along() {
    let (authority, other, upstream) = (Authority::new(), Authority::new(), Upstream::start());
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("clients.pem");
    fs::write(&ca, format!("{}{}", authority.pem(), other.pem())).unwrap();
    let more = format!(", client_ca: {}, client_certificate: required", ca.display());
    let gateway = start(&authority.sign(2090), folder.path(), &upstream, &more);
    let client = other.sign(2090);
    let ask = |config: &Arc<ClientConfig>| {
        let mut stream = over(connect(&gateway), config.clone());
        let answer = get(&mut stream, "/").is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"));
        (answer, stream.conn.handshake_kind())
    };
    let with_a_session = authority.client(Some(&client), &[]);
    assert_eq!(ask(&with_a_session), (true, Some(HandshakeKind::Full)));
    assert_eq!(ask(&with_a_session), (true, Some(HandshakeKind::Resumed)));
    fs::write(&ca, authority.pem()).unwrap();
    eventually("the authority is gone", || !ask(&authority.client(Some(&client), &[])).0);
    assert!(!ask(&with_a_session).0);
    assert!(ask(&authority.client(Some(&authority.sign(2090)), &[])).0);
}

/// Until new connections are shown this certificate.
fn until_shown(gateway: &Gateway, authority: &Authority, wanted: &Identity) {
    eventually("the new certificate is shown", || {
        shown(connect(gateway), authority.client(None, &[])).unwrap() == wanted.der()
    });
}

#[test]
fn a_changed_certificate_is_taken_over_and_a_bad_one_is_not() {
    let (authority, upstream, folder) = (Authority::new(), Upstream::start(), tempfile::tempdir().unwrap());
    let folder = folder.path();
    let gateway = start(&authority.sign(2090), folder, &upstream, "");
    let mut old = over(connect(&gateway), authority.client(None, &["http/1.1"]));
    old.write_all(b"GET / HTTP/1.1\r\n").unwrap();

    // In place, the key after the certificate: in between, they don't fit.
    let second = authority.sign(2091);
    fs::write(folder.join("tls.crt"), &second.certificate).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(700));
    assert!(shown(connect(&gateway), authority.client(None, &[])).is_ok(), "the old pair serves on");
    fs::write(folder.join("tls.key"), &second.key).unwrap();
    until_shown(&gateway, &authority, &second);

    // By rename.
    let third = authority.sign(2092);
    for (name, text) in [("tls.key", &third.key), ("tls.crt", &third.certificate)] {
        fs::write(folder.join("new"), text).unwrap();
        fs::rename(folder.join("new"), folder.join(name)).unwrap();
    }
    until_shown(&gateway, &authority, &third);

    // Nonsense, and nothing at all.
    fs::write(folder.join("tls.crt"), "nonsense").unwrap();
    fs::remove_file(folder.join("tls.key")).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(1200));
    assert_eq!(shown(connect(&gateway), authority.client(None, &[])).unwrap(), third.der());
    let fourth = authority.sign(2093);
    fourth.write(folder);
    until_shown(&gateway, &authority, &fourth);

    // A connection from before goes on.
    old.write_all(b"Host: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    std::io::Read::read_to_string(&mut old, &mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[test]
fn a_config_maps_symlink_swap_is_a_change() {
    let (authority, upstream, folder) = (Authority::new(), Upstream::start(), tempfile::tempdir().unwrap());
    let folder = folder.path();
    let (first, second) = (authority.sign(2090), authority.sign(2091));
    for (name, identity) in [("..1", &first), ("..2", &second)] {
        fs::create_dir(folder.join(name)).unwrap();
        identity.write(&folder.join(name));
    }
    symlink("..1", folder.join("..data")).unwrap();
    for name in ["tls.crt", "tls.key"] {
        symlink(format!("..data/{name}"), folder.join(name)).unwrap();
    }
    let tls = format!("{{certificate: {0}/tls.crt, key: {0}/tls.key}}", folder.display());
    let gateway = Gateway::start_unready(&configuration(&upstream, &tls));
    assert_eq!(shown(connect(&gateway), authority.client(None, &[])).unwrap(), first.der());
    symlink("..2", folder.join("..new")).unwrap();
    fs::rename(folder.join("..new"), folder.join("..data")).unwrap();
    until_shown(&gateway, &authority, &second);
}

#[test]
fn handshakes_that_fail_or_never_come_end() {
    let (authority, upstream, folder) = (Authority::new(), Upstream::start(), tempfile::tempdir().unwrap());
    let (certificate, key) = authority.sign(2090).write(folder.path());
    let tls = format!("{{certificate: {}, key: {}}}", certificate.display(), key.display());
    let gateway = Gateway::start_unready(&configuration(&upstream, &tls).replace("timeout: 20s", "timeout: 1s"));
    let mut silent = connect(&gateway);
    let mut plain = connect(&gateway);
    plain.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let mut partial = connect(&gateway);
    partial.write_all(&[22, 3, 1, 2, 0, 1]).unwrap();
    assert!(shown(connect(&gateway), authority.client(None, &["smtp"])).is_err(), "no common protocol");
    for stream in [&mut silent, &mut plain, &mut partial] {
        let mut rest = Vec::new();
        // A reset is an end, too.
        let _ = std::io::Read::read_to_end(stream, &mut rest);
        assert!(!rest.starts_with(b"HTTP"), "{rest:?}");
    }
    eventually("none of them is held", || {
        gateway
            .admin("/metrics")
            .text()
            .lines()
            .any(|line| line.starts_with("bearward_connections{") && line.ends_with(" 0"))
    });
    assert!(upstream.requests().is_empty());
}
