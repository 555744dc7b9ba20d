//! Issuers behind TLS of a private authority (`tls_ca`), who want the gateway's own certificate (RFC 8705, section 2).

use std::{fs, path::Path};

use serde_json::json;

use crate::support::{
    authorization_server::{AuthorizationServer, field},
    certificates::Authority,
    gateway::{Gateway, configuration_of},
    tls_front::TlsFront,
    upstream::Upstream,
};

const ROUTES: &str = "  - {name: closed, path: /closed, upstream: echo, allow: authenticated}\n";

fn folder_of(authority: &Authority) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("ca.pem"), authority.pem()).unwrap();
    authority.sign(2090).write(folder.path());
    folder
}

/// An issuer that is asked behind this front; `more` is put beside `introspection`, `asking` into it.
fn gateway(front: &TlsFront, upstream: &Upstream, more: &str, asking: &str) -> Gateway {
    let issuers = format!(
        "  a: {{audiences: [api], {more}introspection: {{endpoint: \"https://localhost:{}/introspect\", client_id: gw, timeout: 30s, negative_ttl: 0s{asking}}}}}\n",
        front.address.port()
    );
    Gateway::start(&configuration_of(&issuers, &upstream.url(), ROUTES))
}

fn in_folder(folder: &Path, text: &str) -> String {
    text.replace("DIR", &folder.display().to_string())
}

#[test]
fn a_private_authority_vouches_for_an_issuer_where_it_is_named_and_nowhere_else() {
    let (server, upstream, authority) = (AuthorizationServer::start(), Upstream::start(), Authority::new());
    let front = TlsFront::before(server.address, authority.sign(2090).server(&[], None));
    let folder = folder_of(&authority);
    server.active("good", json!({"sub": "u1"}));
    let secret = ", client_secret: s3cret";
    let named = gateway(&front, &upstream, &in_folder(folder.path(), "tls_ca: DIR/ca.pem, "), secret);
    assert_eq!(named.get_with("/closed", "good").status, 200);
    assert_eq!(named.get_with("/closed", "other").status, 401);
    let asked = server.asked();
    // By nobody that this machine believes, or by another authority.
    let unnamed = gateway(&front, &upstream, "", secret);
    assert_eq!(unnamed.get_with("/closed", "good").status, 503);
    let other = folder_of(&Authority::new());
    let mistaken = gateway(&front, &upstream, &in_folder(other.path(), "tls_ca: DIR/ca.pem, "), secret);
    assert_eq!(mistaken.get_with("/closed", "good").status, 503);
    assert_eq!(server.asked(), asked, "a question, with its secret and token, went to somebody unknown");
}

#[test]
fn the_gateway_s_certificate_proves_who_asks() {
    let (server, upstream, authority) = (AuthorizationServer::start(), Upstream::start(), Authority::new());
    let clients = Authority::new();
    let front = TlsFront::before(server.address, authority.sign(2090).server(&[], Some(&clients)));
    let (own, shown) = (folder_of(&authority), folder_of(&clients));
    server.active("good", json!({"sub": "u1"}));
    let ca = in_folder(own.path(), "tls_ca: DIR/ca.pem, ");
    let asking = in_folder(shown.path(), ", auth: none, certificate: DIR/tls.crt, key: DIR/tls.key");
    let known = gateway(&front, &upstream, &ca, &asking);
    let answer = known.get_with("/closed", "good");
    assert_eq!(answer.status, 200, "{}", answer.text());
    let question = &server.questions()[0];
    assert_eq!(question.fields.get("authorization"), None, "no secret beside it");
    assert_eq!(field(&question.body, "client_id").as_deref(), Some("gw"), "RFC 8705, section 2");
    // Without one, or with one of an authority that the server doesn't know, nobody is asked and nobody is let in.
    let asked = server.asked();
    for asking in
        [", auth: none".to_owned(), in_folder(own.path(), ", auth: none, certificate: DIR/tls.crt, key: DIR/tls.key")]
    {
        let unknown = gateway(&front, &upstream, &ca, &asking);
        assert_eq!(unknown.get_with("/closed", "good").status, 503, "{asking}");
    }
    assert_eq!(server.asked(), asked);
}
