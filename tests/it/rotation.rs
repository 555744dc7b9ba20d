//! Keys replaced under load, and issuers that don't feel each other's trouble.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::support::{
    eventually,
    gateway::{Gateway, configuration, configuration_of},
    issuer::{Issuer, Mood},
    keys::Key,
    token::Token,
    upstream::Upstream,
};

const ROUTES: &str = "  - {name: closed, path: /closed, upstream: echo, allow: authenticated}\n";
const CLIENTS: usize = 8;

/// The old key goes and the new one comes at the same moment, with tokens of both on their way.
#[test]
fn a_rotation_without_overlap_refuses_no_good_token() {
    let (issuer, upstream) = (Issuer::start(&Key::es256("old")), Upstream::start());
    let gateway = Gateway::start(&configuration(&issuer, &upstream, ROUTES));
    let at_start = issuer.fetches();
    let old = issuer.token();
    let (rotated, found) = (AtomicBool::new(false), AtomicUsize::new(0));
    let (gateway, issuer, rotated, found) = (&gateway, &issuer, &rotated, &found);
    std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            let (shared, own) = (old.build(), old.clone().sub(&format!("u{client}")).build());
            scope.spawn(move || {
                let mut is_old_gone = false;
                for turn in 0..60 {
                    // What is true before a request is sent must hold in its answer.
                    let is_rotated = rotated.load(Ordering::SeqCst);
                    for token in [&shared, &own] {
                        let response = gateway.get_with("/closed", token);
                        match response.status {
                            200 => assert!(!is_old_gone, "an old token came back"),
                            401 => {
                                assert!(rotated.load(Ordering::SeqCst), "refused before the rotation");
                                assert_eq!(response.challenge().unwrap().error(), Some("invalid_token"));
                                is_old_gone = true;
                            }
                            other => panic!("{other}: {}", response.text()),
                        }
                    }
                    if is_rotated {
                        let new = issuer.token().sub(&format!("u{client}-{turn}")).build();
                        let response = gateway.get_with("/closed", &new);
                        assert_eq!(response.status, 200, "{}", response.text());
                        found.fetch_add(1, Ordering::SeqCst);
                    }
                    if turn == 20 && client == 0 {
                        issuer.rotate(&Key::eddsa("new"));
                        rotated.store(true, Ordering::SeqCst);
                    }
                }
            });
        }
    });
    assert!(found.load(Ordering::SeqCst) >= 39, "the first client alone sends so many");
    assert_eq!(gateway.get_with("/closed", &old.build()).status, 401);
    assert_eq!(issuer.fetches() - at_start, 1);
}

#[test]
fn an_issuer_in_trouble_holds_up_no_other() {
    let (down, well, upstream) = (Issuer::start(&Key::es256("a")), Issuer::start(&Key::es256("b")), Upstream::start());
    let issuers: String = [("down", &down), ("well", &well)]
        .map(|(name, issuer)| {
            format!("  {name}: {{issuer: \"{}\", audiences: [api], http_timeout: 30s}}\n", issuer.url())
        })
        .concat();
    let gateway = Gateway::start(&configuration_of(&issuers, &upstream.url(), ROUTES));
    let at_start = down.fetches();
    down.be(Mood::Held);
    let answered = AtomicBool::new(false);
    let unknown = down.token().kid("unknown").build();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            assert_eq!(gateway.get_with("/closed", &unknown).status, 401);
            answered.store(true, Ordering::SeqCst);
        });
        eventually("the fetch hangs", || down.fetches() > at_start);
        assert_eq!(gateway.get_with("/closed", &well.token().build()).status, 200);
        assert_eq!(gateway.get_with("/closed", &down.token().build()).status, 200, "a known kid");
        // One that needs a fetch of its own.
        well.rotate(&Key::eddsa("c"));
        assert_eq!(gateway.get_with("/closed", &well.token().build()).status, 200);
        assert!(!answered.load(Ordering::SeqCst), "what waits for the issuer that hangs still waits");
        down.release();
    });
    assert!(answered.load(Ordering::SeqCst));
}

/// A key server that is gone from the start: 503 for its own tokens alone.
#[test]
fn an_issuer_that_never_came_costs_the_others_nothing() {
    let (port, lost) = Issuer::gone(&Key::es256("a"));
    let (well, upstream) = (Issuer::start(&Key::es256("b")), Upstream::start());
    let issuers = format!(
        "  lost: {{issuer: \"http://{}\", audiences: [api]}}\n  well: {{issuer: \"{}\", audiences: [api]}}\n",
        port.address,
        well.url()
    );
    let gateway = Gateway::start_unready(&configuration_of(&issuers, &upstream.url(), ROUTES));
    eventually("the keys of the other are there", || gateway.get_with("/closed", &well.token().build()).status == 200);
    assert_eq!(gateway.get_with("/closed", &lost.build()).status, 503);
    let nobodys = Token::new("https://elsewhere.example", &Key::es256("a")).build();
    assert_eq!(gateway.get_with("/closed", &nobodys).status, 401);
}
