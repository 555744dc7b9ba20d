//! Routes that are bound to listeners.

use crate::support::{
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
