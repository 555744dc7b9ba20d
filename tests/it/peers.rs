//! WebSocket and gRPC by other people's libraries on both sides of the gateway.

use std::{fs, path::Path};

use crate::support::{certificates::Authority, gateway::Gateway, issuer::Issuer, keys::Key, peers::Peer, token::Token};

struct Setting {
    gateway: Gateway,
    token: String,
    _issuer: Issuer,
}

/// A gateway that asks for tokens, listens so and forwards there.
fn start(listen: &str, upstream: &str) -> Setting {
    let key = Key::es256("k1");
    let issuer = Issuer::start(&key);
    let token = Token::new(issuer.url(), &key).build();
    let gateway = Gateway::start(&format!(
        "listen: [{{address: \"127.0.0.1:0\"{listen}}}]\nadmin: {{address: \"127.0.0.1:0\"}}\n\
         logging: {{level: error, access: false}}\nserver: {{workers: 2}}\n\
         issuers: {{main: {{issuer: \"{}\", audiences: [api], http_timeout: 30s}}}}\nupstreams: {{api: {{{upstream}}}}}\n\
         routes:\n\
         \x20 - {{name: forbidden, path: /peer.Peer/Forbidden, upstream: api, allow: [{{scopes: [never]}}]}}\n\
         \x20 - {{name: all, path: \"/**\", upstream: api, allow: authenticated}}\n",
        issuer.url()
    ));
    Setting { gateway, token, _issuer: issuer }
}

#[test]
fn websockets_of_another_library_at_both_ends() {
    let Some(peer) = Peer::find("websocket_peer.py", "websockets") else { return };
    let server = peer.serve(None);
    let setting = start("", &format!("url: \"http://{}\"", server.address));
    peer.call(&["talk", &format!("ws://{}", setting.gateway.address), &setting.token]);
    // One call came in whose token ended it, and every tunnel has ended.
    crate::support::eventually("no connection is left", || {
        setting.gateway.metric("bearward_open_connections{listener=\"127.0.0.1:0\"}") == 0.0
    });
}

#[test]
fn grpc_of_its_own_library_at_both_ends() {
    let Some(peer) = Peer::find("grpc_peer.py", "grpc") else { return };
    let server = peer.serve(None);
    let setting = start("", &format!("url: \"http://{}\", http2: true", server.address));
    peer.call(&["call", &setting.gateway.address.to_string(), &setting.token]);
    drop(server);
}

fn files(folder: &Path, authority: &Authority) {
    fs::create_dir(folder).unwrap();
    fs::write(folder.join("ca.pem"), authority.pem()).unwrap();
    authority.sign(2090).write(folder);
}

#[test]
fn grpc_over_tls_at_both_ends_with_the_gateway_s_own_certificate() {
    let Some(peer) = Peer::find("grpc_peer.py", "grpc") else { return };
    let folder = tempfile::tempdir().unwrap();
    let (outside, inside) = (folder.path().join("outside"), folder.path().join("inside"));
    let (public, private) = (Authority::new(), Authority::new());
    files(&outside, &public);
    files(&inside, &private);
    let server = peer.serve(Some(&inside));
    let listen = format!(", tls: {{certificate: {0}/tls.crt, key: {0}/tls.key}}", outside.display());
    let upstream = format!(
        "url: \"https://{}\", tls: {{ca: {1}/ca.pem, server_name: localhost, certificate: {1}/tls.crt, key: {1}/tls.key}}",
        server.address,
        inside.display()
    );
    let setting = start(&listen, &upstream);
    let authority = outside.join("ca.pem");
    peer.call(&["call", &setting.gateway.address.to_string(), &setting.token, authority.to_str().unwrap()]);
}
