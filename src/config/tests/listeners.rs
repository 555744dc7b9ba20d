//! Listeners' addresses and certificates.

use std::fs;

use super::*;

const ROUTES: &str = "routes: [{name: r, path: /, respond: {}, allow: public}]\nissuers: {}\n";

fn found(listen: &str) -> Vec<Diagnostic> {
    load_str(&format!("listen: {listen}\n{ROUTES}"), "f").map(|_| Vec::new()).unwrap_or_else(|found| found)
}

#[test]
fn unix_sockets() {
    assert!(found("[\"unix:/run/a.sock\", \"unix:b.sock\", \"127.0.0.1:8080\"]").is_empty());
    for (listen, message) in [
        ("[\"unix:\"]", "the path of a Unix socket is missing"),
        ("[\"unix:/a\", \"unix:/a\"]", "this address is there twice, first at f:1:10"),
        (&*format!("[\"unix:/{}\"]", "a".repeat(120)), "the path of a Unix socket has up to 107 bytes"),
    ] {
        assert_eq!(found(listen)[0].message, message);
    }
}

#[test]
fn what_is_wrong_with_a_certificate_is_said_at_its_key() {
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name).display().to_string();
    let [one, other] = [0, 1].map(|_| rcgen::generate_simple_self_signed(["a.example".to_owned()]).unwrap());
    let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    for (name, text) in [
        ("crt", one.cert.pem()),
        ("key", one.signing_key.serialize_pem()),
        ("other", other.signing_key.serialize_pem()),
        ("encrypted", encrypted.to_owned()),
        ("empty", String::new()),
        ("broken", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_owned()),
    ] {
        fs::write(place(name), text).unwrap();
    }
    let cases = [
        ("crt", "key", "", None),
        ("crt", "key", "crt", None),
        ("crt", "other", "", Some(("key", "the key is not the certificate's"))),
        ("crt", "encrypted", "", Some(("key", "the key is encrypted"))),
        ("crt", "crt", "", Some(("key", "no private key"))),
        ("crt", "nowhere", "", Some(("key", "No such file"))),
        ("key", "key", "", Some(("certificate", "no certificate"))),
        ("empty", "key", "", Some(("certificate", "no certificate"))),
        ("broken", "key", "", Some(("certificate", "no certificate"))),
        ("crt", "key", "empty", Some(("client_ca", "no certificate"))),
        ("crt", "key", "broken", Some(("client_ca", "cannot vouch"))),
    ];
    for (certificate, key, ca, expected) in cases {
        let ca = if ca.is_empty() { String::new() } else { format!(", client_ca: {}", place(ca)) };
        let tls = format!("{{certificate: {}, key: {}{ca}}}", place(certificate), place(key));
        let found = found(&format!("[{{address: \"127.0.0.1:0\", tls: {tls}}}]"));
        match expected {
            None => assert!(found.is_empty(), "{found:?}"),
            Some((at, words)) => {
                assert_eq!(found.len(), 1, "{found:?}");
                assert_eq!(found[0].path, format!("listen[0].tls.{at}"));
                assert!(found[0].message.contains(words), "{found:?}");
            }
        }
    }
    let tls = format!("{{certificate: {}, key: {}, client_certificate: required}}", place("crt"), place("key"));
    let found = found(&format!("[{{address: \"127.0.0.1:0\", tls: {tls}}}]"));
    assert!(found[0].message.starts_with("`client_certificate` without `client_ca`"), "{found:?}");
}
