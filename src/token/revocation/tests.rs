//! What ends which tokens.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::{fs, os::unix::fs::PermissionsExt, thread};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as B64};
use serde_json::{Value, json};

use super::*;
use crate::{
    refusal::{Refusal, TokenFault},
    token::{
        cache::TokenCache,
        issuer::{Issuer, KeySource},
        jwks::KeyStore,
        tests::{P256, credential, good_claims, jwks, ready, settings, with},
        verify_at,
    },
    trace::Span,
};

const NOW: i64 = 1_800_000_000;
/// The order of P-256 (SEC 2, section 2.4.2).
const ORDER: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6, 0xfa, 0xad, 0xa7,
    0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
];

struct Scene {
    issuer: [Arc<Issuer>; 1],
    cache: Arc<TokenCache>,
    revocations: Revocations,
}

impl Scene {
    fn new() -> Scene {
        let observer = Observer::silent();
        let settings = settings("a", KeySource::Inline(jwks(&[P256.jwk()])));
        let keys = KeyStore::new(&settings, observer.clone()).unwrap();
        Scene {
            issuer: [Arc::new(Issuer::new(settings, keys, &observer))],
            cache: Arc::new(TokenCache::new(1 << 20, &observer).unwrap()),
            revocations: Revocations::new(&observer),
        }
    }

    fn ask_at(&self, token: &str, now: i64) -> Result<Arc<Principal>, TokenFault> {
        let credential = credential(token).unwrap();
        let mut span = Span::none();
        let asked = verify_at(&credential, &self.issuer, &self.cache, &self.revocations, now, &mut span);
        ready(asked).map_err(|(refusal, issuer)| match refusal {
            Refusal::Token(fault) => {
                assert_eq!(issuer.as_deref(), Some("a"));
                fault
            }
            other => panic!("{other:?}"),
        })
    }

    fn ask(&self, token: &str) -> Result<Arc<Principal>, TokenFault> {
        self.ask_at(token, NOW)
    }
}

fn token(claims: Value) -> String {
    P256.token(json!({"alg": "ES256"}), claims)
}

fn all_of(target: Target) -> Wish {
    Wish { target, issuer: None, issued_before: None, expires_at: None, source: Source::Admin }
}

fn jti(name: &str) -> Wish {
    all_of(Target::Jti(name.to_owned()))
}

fn sub(sub: &str, without_sid: bool) -> Target {
    Target::Sub { sub: sub.to_owned(), without_sid }
}

fn of(authority: &str) -> Option<OfIssuer> {
    Some(OfIssuer { written: "a".to_owned(), authority: authority.to_owned() })
}

#[test]
fn a_revocation_ends_the_tokens_that_it_names_and_no_others() {
    let its = "https://a.example";
    let claims = with(with(good_claims(), "jti", json!("j1")), "client_id", json!("web"));
    let undated = with(claims.clone(), "iat", Value::Null);
    let numbered = with(good_claims(), "jti", json!(7));
    let in_session = with(claims.clone(), "sid", json!("s1"));
    for (wish, claims, ends) in [
        (jti("j1"), &claims, true),
        (jti("j"), &claims, false),
        (jti("joe"), &claims, false),
        (jti("7"), &numbered, true),
        (all_of(Target::Subject("joe".to_owned())), &claims, true),
        (all_of(Target::Subject("j1".to_owned())), &claims, false),
        (all_of(Target::Subject("JOE".to_owned())), &claims, false),
        (all_of(Target::Client("web".to_owned())), &claims, true),
        (all_of(Target::Client("joe".to_owned())), &claims, false),
        (all_of(Target::Sid("s1".to_owned())), &in_session, true),
        (all_of(Target::Sid("s1".to_owned())), &claims, false),
        (all_of(Target::Sid("joe".to_owned())), &in_session, false),
        (all_of(sub("joe", false)), &claims, true),
        (all_of(sub("joe", false)), &in_session, true),
        (all_of(sub("s1", false)), &in_session, false),
        (all_of(sub("joe", true)), &claims, true),
        (all_of(sub("joe", true)), &in_session, false),
        (Wish { issuer: of(its), ..jti("j1") }, &claims, true),
        (Wish { issuer: of("https://b.example"), ..jti("j1") }, &claims, false),
        (Wish { issued_before: Some(NOW + 1), ..jti("j1") }, &claims, true),
        (Wish { issued_before: Some(NOW), ..jti("j1") }, &claims, false),
        (Wish { issued_before: Some(0), ..jti("j1") }, &undated, true),
        (Wish { expires_at: Some(NOW + 1), ..jti("j1") }, &claims, true),
        (Wish { expires_at: Some(NOW), ..jti("j1") }, &claims, false),
    ] {
        let scene = Scene::new();
        let (known, new) = (token(claims.clone()), token(claims.clone()));
        assert!(scene.ask(&known).is_ok());
        let revocation = scene.revocations.add(wish.clone()).unwrap();
        for token in [&known, &new, &known] {
            assert_eq!(scene.ask(token).is_err(), ends, "{wish:?}");
            assert_eq!(scene.ask(token).err(), ends.then_some(TokenFault::Revoked));
        }
        assert!(scene.revocations.lift(&revocation.id) || revocation.is_over(now()));
        assert!(scene.ask(&known).is_ok() && scene.ask(&new).is_ok());
        assert!(!scene.revocations.lift(&revocation.id));
        assert!(scene.revocations.is_empty());
    }
}

/// (r, s) and (r, n − s) verify alike.
fn other_form(token: &str) -> String {
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let mut signature = B64.decode(signature).unwrap();
    let mut borrow = 0;
    for index in (0..32).rev() {
        let difference = i32::from(ORDER[index]) - i32::from(signature[32 + index]) - borrow;
        signature[32 + index] = difference.rem_euclid(256) as u8;
        borrow = i32::from(difference < 0);
    }
    format!("{signed}.{}", B64.encode(signature))
}

#[test]
fn an_ended_token_does_not_come_back_with_its_other_signature() {
    let scene = Scene::new();
    let token = token(good_claims());
    let other = other_form(&token);
    assert_ne!(token, other);
    assert!(scene.ask(&token).is_ok() && scene.ask(&other).is_ok());
    for (ended, lifted) in [(&token, &other), (&other, &token)] {
        let revocation = scene.revocations.add(all_of(Target::token(ended).unwrap())).unwrap();
        assert_eq!(scene.ask(&token).err(), Some(TokenFault::Revoked));
        assert_eq!(scene.ask(&other).err(), Some(TokenFault::Revoked));
        assert!(scene.revocations.lift(&revocation.id));
        assert!(scene.ask(lifted).is_ok());
    }
    // A JWT by header and payload, anything else by all of it.
    assert_eq!(TokenId::of(&token), TokenId::of(&other));
    assert_ne!(TokenId::of("a.b.c"), TokenId::of("a.b.d"));
    for text in ["", "a b", "Bearer x", "a\n", "é"] {
        assert_eq!(Target::token(text), None, "{text:?}");
    }
}

#[test]
fn a_revocation_is_named_after_required_claims_and_before_a_binding() {
    let scene = Scene::new();
    let bound = with(with(good_claims(), "jti", json!("j1")), "cnf", json!({"jkt": "x"}));
    assert_eq!(scene.ask(&token(bound.clone())).err(), Some(TokenFault::Binding));
    scene.revocations.add(jti("j1")).unwrap();
    assert_eq!(scene.ask(&token(bound.clone())).err(), Some(TokenFault::Revoked));
    assert_eq!(scene.ask(&token(with(bound, "exp", Value::Null))).err(), Some(TokenFault::MissingClaim));
}

#[tokio::test]
async fn a_logout_ends_the_token_for_as_long_as_it_would_be_good() {
    let scene = Scene::new();
    let (token, other) = (token(good_claims()), token(with(good_claims(), "jti", json!("other"))));
    let principal = scene.ask(&token).unwrap();
    let revocations = Arc::new(scene.revocations);
    for _ in 0..2 {
        revocations.end_token(&principal).await.unwrap();
    }
    let scene = Scene { revocations: Arc::into_inner(revocations).unwrap(), ..scene };
    assert_eq!(scene.ask(&token).err(), Some(TokenFault::Revoked));
    assert!(scene.ask(&other).is_ok());
    let all = scene.revocations.list();
    assert_eq!((all.len(), all[0].expires_at), (1, Some(NOW + 100 + AFTER_EXPIRY)));
    let shown = all[0].to_json();
    assert_eq!(shown["token"], json!(principal.fingerprint().to_string()));
    assert!(shown.get("sha256").is_none(), "{shown:?}");
}

#[tokio::test]
async fn who_waits_for_a_tokens_end_is_told() {
    let scene = Scene::new();
    let principal = scene.ask(&token(with(good_claims(), "jti", json!("j1")))).unwrap();
    let revocations = Arc::new(scene.revocations);
    let (waits, waiting) = (revocations.clone(), principal.clone());
    let waiter = tokio::spawn(async move { waits.ended(&waiting).await });
    tokio::task::yield_now().await;
    revocations.add(jti("another")).unwrap();
    tokio::task::yield_now().await;
    assert!(!waiter.is_finished());
    revocations.add(jti("j1")).unwrap();
    waiter.await.unwrap();
    revocations.ended(&principal).await;
}

#[test]
fn what_is_added_holds_at_once_whoever_else_adds_and_lifts() {
    let scene = Scene::new();
    let principals: Vec<_> = (0..4)
        .map(|worker| scene.ask(&token(with(good_claims(), "jti", json!(format!("j{worker}"))))).unwrap())
        .collect();
    thread::scope(|scope| {
        for (worker, principal) in principals.iter().enumerate() {
            let revocations = &scene.revocations;
            scope.spawn(move || {
                for _ in 0..500 {
                    let revocation = revocations.add(jti(&format!("j{worker}"))).unwrap();
                    assert!(revocations.has_ended(principal, NOW));
                    assert!(revocations.lift(&revocation.id));
                    assert!(!revocations.has_ended(principal, NOW));
                }
            });
        }
    });
    assert!(scene.revocations.is_empty() && scene.revocations.list().is_empty());
}

#[test]
fn there_is_an_end_to_how_many_are_kept() {
    let revocations = Revocations { most: 2, ..Revocations::new(&Observer::silent()) };
    let first = revocations.add(jti("1")).unwrap();
    revocations.add(Wish { expires_at: Some(now() - 1), ..jti("over") }).unwrap();
    assert_eq!(revocations.add(jti("1")).unwrap().id, first.id, "the same is no second one");
    revocations.add(jti("2")).unwrap();
    assert_eq!(revocations.add(jti("3")).err(), Some(NotRevoked::Full));
    assert!(revocations.lift(&first.id));
    revocations.add(jti("3")).unwrap();
}

#[test]
fn a_later_one_of_an_issuer_takes_the_place_of_an_earlier() {
    let revocations = Revocations::new(&Observer::silent());
    let told = |target: Target, before: i64, end: i64| Wish {
        issuer: of("https://a.example"),
        issued_before: Some(before),
        expires_at: Some(end),
        source: Source::Events,
        ..all_of(target)
    };
    let (before, end) = (now(), now() + 1000);
    let held = || revocations.list().iter().map(|one| one.issued_before.unwrap() - before).collect::<Vec<_>>();
    let first = revocations.add(told(sub("joe", false), before, end)).unwrap();
    let later = revocations.add(told(sub("joe", false), before + 5, end + 5)).unwrap();
    assert_ne!(first.id, later.id);
    assert_eq!(held(), [5]);
    // What is earlier in either way adds nothing, or stands for itself.
    assert_eq!(revocations.add(told(sub("joe", false), before + 3, end + 3)).unwrap().id, later.id);
    assert_eq!(revocations.add(told(sub("joe", false), before + 9, end)).unwrap().issued_before, Some(before + 9));
    assert_eq!(revocations.list().len(), 2);
    // None of these is another's.
    for other in [
        told(sub("ann", false), before, end),
        told(sub("joe", true), before, end),
        told(Target::Sid("joe".to_owned()), before, end),
        Wish { source: Source::BackChannel, ..told(sub("joe", false), before, end) },
        Wish { issuer: of("https://b.example"), ..told(sub("joe", false), before, end) },
        Wish { source: Source::Admin, ..told(sub("joe", false), before - 1, end) },
        Wish { source: Source::Admin, ..told(sub("joe", false), before + 1, end + 1) },
    ] {
        let count = revocations.list().len();
        revocations.add(other.clone()).unwrap();
        assert_eq!(revocations.list().len(), count + 1, "{other:?}");
    }
    assert!(revocations.lift(&later.id));
}

#[test]
fn what_is_replaced_elsewhere_goes_here_only_for_what_takes_its_place() {
    let (before, end) = (now(), now() + 1000);
    let told = |before: i64| Wish {
        issuer: of("https://a.example"),
        issued_before: Some(before),
        expires_at: Some(end),
        source: Source::BackChannel,
        ..all_of(sub("joe", false))
    };
    let of_silent = |most: usize| Revocations { most, ..Revocations::new(&Observer::silent()) };
    let one = of_silent(MOST);
    one.journal().open();
    let old = one.add(told(before)).unwrap();
    let new = one.add(told(before + 5)).unwrap();
    let (changes, _) = one.journal().first(9);
    let added = |change: &Change| change.added().map(|(added, instead_of)| (added.id.clone(), instead_of.to_vec()));
    assert_eq!(
        changes.iter().map(added).collect::<Vec<_>>(),
        [Some((old.id.clone(), vec![])), Some((new.id.clone(), vec![old.id.clone()]))],
        "nothing is lifted"
    );

    // Where there is room and where there is none: what takes another's place needs none.
    for most in [MOST, 2] {
        let other = of_silent(most);
        other.learn(Revocation::clone(&old)).unwrap();
        let admins = other.add(jti("1")).unwrap();
        other.learn(Revocation::clone(&new)).unwrap();
        let held = other.list();
        assert_eq!(held.len(), 2, "{most}: {held:?}");
        assert!(held.contains(&new) && held.contains(&admins));
        // What is earlier ends nothing more, but whoever lifts the later one is to see it.
        let again = other.learn(Revocation::clone(&old));
        assert_eq!((again.is_ok(), other.list().contains(&old)), (most == MOST, most == MOST));
    }

    // One that isn't taken takes nothing away.
    let full = of_silent(1);
    let kept = full.add(jti("1")).unwrap();
    assert_eq!(full.learn(Revocation::clone(&new)), Err(NotRevoked::Full));
    assert_eq!(full.list(), [kept]);
    let over = of_silent(MOST);
    over.learn(Revocation::clone(&old)).unwrap();
    over.learn(Revocation { expires_at: Some(now() - 1), ..Revocation::clone(&new) }).unwrap();
    assert_eq!(over.list(), std::slice::from_ref(&old));
}

#[test]
fn issuers_leave_room_for_who_ends_tokens_here() {
    let revocations = Revocations { most: 20, ..Revocations::new(&Observer::silent()) };
    let told = |number: usize, before: i64| {
        let target = Target::Sid(number.to_string());
        Wish { source: Source::BackChannel, issued_before: Some(before), ..all_of(target) }
    };
    let filled = (0..30).take_while(|number| revocations.add(told(*number, 5)).is_ok()).count();
    assert_eq!(filled, 18);
    revocations.add(jti("1")).unwrap();
    // One that takes another's place needs none.
    assert!(revocations.add(told(3, 6)).is_ok());
    assert_eq!(revocations.add(told(50, 6)).err(), Some(NotRevoked::Full));
    revocations.add(jti("2")).unwrap();
    assert_eq!(revocations.add(jti("3")).err(), Some(NotRevoked::Full));
}

#[test]
fn an_issuer_leaves_room_for_others() {
    let revocations = Revocations { most: 20, ..Revocations::new(&Observer::silent()) };
    let add = |authority: &str, number: usize| {
        let target = Target::Sid(number.to_string());
        let wish = Wish { source: Source::Events, issuer: of(authority), issued_before: Some(5), ..all_of(target) };
        revocations.add_among(wish, 3)
    };
    let fill = |authority: &str| (0..30).take_while(|number| add(authority, *number).is_ok()).count();
    assert_eq!(["https://a.example", "https://b.example", "https://c.example"].map(fill), [6, 6, 6]);
    let first = revocations.list().into_iter().find(|one| one.issuer == of("https://a.example")).unwrap();
    assert!(revocations.lift(&first.id));
    assert!(add("https://b.example", 50).is_err());
    assert!(add("https://a.example", 50).is_ok());
    assert!(revocations.add(jti("1")).is_ok());
}

fn restored(folder: &std::path::Path) -> Result<Arc<Revocations>, String> {
    Revocations::restored(&Observer::silent(), Arc::new(StateDir::open(folder).unwrap())).map(Arc::new)
}

#[tokio::test]
async fn revocations_outlive_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let revocations = restored(folder.path()).unwrap();
    let lifted = revocations.add(jti("lifted")).unwrap();
    let wishes = [
        jti("quote \" and \\ and \n line"),
        Wish { issuer: of("https://a.example"), ..all_of(Target::Subject("joe".to_owned())) },
        Wish { issued_before: Some(NOW), expires_at: Some(NOW * 2), ..all_of(Target::Client("web".to_owned())) },
        Wish { source: Source::Route, ..all_of(Target::token("opaque-s3cret").unwrap()) },
        Wish { source: Source::Events, issuer: of("https://a.example"), ..all_of(Target::Sid("s1".to_owned())) },
        Wish { source: Source::BackChannel, issuer: of("https://a.example"), ..all_of(sub("joe", true)) },
        Wish { source: Source::BackChannel, issuer: of("https://a.example"), ..all_of(sub("joe", false)) },
        Wish { expires_at: Some(now() - 1), ..jti("over") },
    ];
    for wish in wishes {
        revocations.add(wish).unwrap();
    }
    assert!(revocations.keep().await);
    assert!(revocations.lift(&lifted.id));
    assert!(revocations.keep().await);
    let again = restored(folder.path()).unwrap();
    assert_eq!(again.list(), revocations.list());
    assert_eq!(again.list().len(), 7);
    let file = folder.path().join("revocations.jsonl");
    assert!(!fs::read_to_string(&file).unwrap().contains("s3cret"));

    // Many at once are written by few.
    let mut all = tokio::task::JoinSet::new();
    for number in 0..50 {
        let revocations = again.clone();
        all.spawn(async move {
            revocations.add(jti(&format!("many {number}"))).unwrap();
            assert!(revocations.keep().await);
        });
    }
    while let Some(done) = all.join_next().await {
        done.unwrap();
    }
    assert_eq!(restored(folder.path()).unwrap().list().len(), 57);
}

#[tokio::test]
async fn spoiled_lines_are_left_out_and_set_aside() {
    let folder = tempfile::tempdir().unwrap();
    let revocations = restored(folder.path()).unwrap();
    revocations.add(jti("first")).unwrap();
    revocations.add(all_of(Target::token("opaque").unwrap())).unwrap();
    assert!(revocations.keep().await);
    let file = folder.path().join("revocations.jsonl");
    let good = fs::read_to_string(&file).unwrap();
    let token = good.lines().find(|line| line.contains("sha256")).unwrap().to_owned();
    for spoiled in [
        "garbage".to_owned(),
        "{}".to_owned(),
        token[..token.len() - 1].to_owned(),
        token.replace("sha256", "sha1"),
        token.replace("\"id\"", "\"jti\""),
        token.replace("admin", "nobody"),
        token.replacen("\"sha256\":\"", "\"sha256\":\"é", 1),
        token.replace("\"created_at\":", "\"expires_at\":\"x\",\"created_at\":"),
    ] {
        fs::write(&file, format!("{spoiled}\n{good}")).unwrap();
        assert_eq!(restored(folder.path()).unwrap().list(), revocations.list(), "{spoiled}");
        let aside = fs::read_to_string(folder.path().join("revocations.spoiled")).unwrap();
        assert!(aside.starts_with(&spoiled));
    }
    // Whoever could write it could have taken some out.
    fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).unwrap();
    assert!(restored(folder.path()).unwrap_err().starts_with("state.dir: "));
}
