//! What is on disk is what was in force, whatever came in between.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use proptest::prelude::*;

use super::*;
use crate::{
    observe::Observer,
    token::revocation::{OfIssuer, Revocations, Source, Target, Wish, now},
};

/// What is held: what it names, and up to when.
type Held = BTreeMap<String, Option<i64>>;

fn restored(folder: &Path) -> Arc<Revocations> {
    with_slack(folder, SLACK)
}

fn with_slack(folder: &Path, slack: usize) -> Arc<Revocations> {
    let (mut kept, earlier) = Kept::load(Arc::new(StateDir::open(folder).unwrap()), now()).unwrap();
    kept.slack = slack;
    Arc::new(Revocations::of(&Observer::silent(), kept, earlier))
}

fn save(revocations: &Revocations) -> bool {
    let version = revocations.state().0;
    revocations.save(version)
}

fn held(revocations: &Revocations) -> Held {
    let list = revocations.list();
    let held: Held = list.iter().map(|one| (name(&one.target), one.issued_before)).collect();
    assert_eq!((held.len(), revocations.count()), (list.len(), list.len()), "one of each");
    for one in &list {
        assert!(revocations.index(&one.target).has(one.target.key(), |there| there.id == one.id), "{one:?}");
    }
    held
}

fn name(target: &Target) -> String {
    String::from_utf8(target.key().to_vec()).unwrap()
}

fn jti(name: &str) -> Wish {
    let target = Target::Jti(name.to_owned());
    Wish { target, issuer: None, issued_before: None, expires_at: None, source: Source::Admin }
}

#[tokio::test]
async fn what_is_learned_from_others_is_kept_and_what_they_lift_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let (here, elsewhere) = (restored(folder.path()), Revocations::new(&Observer::silent()));
    tokio::spawn(here.clone().maintain());
    let there = elsewhere.add(jti("a")).unwrap();
    here.learn(Revocation::clone(&there)).unwrap();
    kept_are(folder.path(), 1).await;
    here.lift_here(&there.id);
    kept_are(folder.path(), 0).await;
}

/// Waits until so many would be there after a restart.
async fn kept_are(folder: &Path, count: usize) {
    for _ in 0..100 {
        if restored(folder).count() == count {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    panic!("not {count} after 10 s");
}

/// A later one takes an earlier one's place.
fn told(sid: &str, before: i64) -> Wish {
    let issuer = OfIssuer { written: "a".to_owned(), authority: "https://a.example".to_owned() };
    let target = Target::Sid(sid.to_owned());
    Wish { target, issuer: Some(issuer), issued_before: Some(before), expires_at: None, source: Source::BackChannel }
}

fn id_of(revocations: &Revocations, name: &str) -> Option<Arc<str>> {
    revocations.list().iter().find(|one| self::name(&one.target) == name).map(|one| one.id.clone())
}

fn file(folder: &Path) -> PathBuf {
    folder.join(FILE)
}

fn lines(folder: &Path) -> usize {
    fs::read_to_string(file(folder)).map_or(0, |text| text.lines().count())
}

#[derive(Clone, Debug)]
enum Step {
    End(u8),
    Tell(u8, i64),
    /// Another replica's.
    Learn(u8, i64),
    Lift(u8),
    LiftHere(u8),
    Save,
    Restart,
    /// Somebody takes the file away.
    Lose,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..5_u8).prop_map(Step::End),
        4 => (0..5_u8, 0..9_i64).prop_map(|(sid, before)| Step::Tell(sid, before)),
        2 => (0..5_u8, 0..9_i64).prop_map(|(sid, before)| Step::Learn(sid, before)),
        4 => (0..10_u8).prop_map(Step::Lift),
        1 => (0..10_u8).prop_map(Step::LiftHere),
        4 => Just(Step::Save),
        2 => Just(Step::Restart),
        1 => Just(Step::Lose),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 64, ..ProptestConfig::default() })]
    #[test]
    fn after_any_steps_it_is_what_a_map_would_be(steps in prop::collection::vec(step(), 1..40), slack in 0..12_usize) {
        let folder = tempfile::tempdir().unwrap();
        let elsewhere = Revocations::new(&Observer::silent());
        let mut revocations = with_slack(folder.path(), slack);
        let mut map = Held::new();
        for step in steps {
            match step {
                Step::End(number) => {
                    revocations.add(jti(&format!("j{number}"))).unwrap();
                    map.insert(format!("j{number}"), None);
                }
                Step::Tell(number, before) => {
                    revocations.add(told(&format!("s{number}"), before)).unwrap();
                    let there = map.entry(format!("s{number}")).or_insert(Some(before));
                    *there = (*there).max(Some(before));
                }
                Step::Learn(number, before) => {
                    let name = format!("s{number}");
                    // One that ends less than what is there would be a second one.
                    if map.get(&name).is_none_or(|there| *there < Some(before)) {
                        let there = elsewhere.add(told(&name, before)).unwrap();
                        elsewhere.lift(&there.id);
                        revocations.learn(Revocation::clone(&there)).unwrap();
                        map.insert(name, there.issued_before);
                    }
                }
                Step::Lift(number) | Step::LiftHere(number) => {
                    let name = format!("{}{}", if number < 5 { "j" } else { "s" }, number % 5);
                    let id = id_of(&revocations, &name);
                    prop_assert_eq!(id.is_some(), map.remove(&name).is_some());
                    match (id, step) {
                        (Some(id), Step::Lift(_)) => prop_assert!(revocations.lift(&id)),
                        (Some(id), _) => revocations.lift_here(&id),
                        (None, _) => {}
                    }
                }
                Step::Save => {
                    prop_assert!(save(&revocations));
                    prop_assert!(lines(folder.path()) <= 2 * map.len() + slack, "it doesn't grow for ever");
                }
                Step::Restart => {
                    prop_assert!(save(&revocations));
                    revocations = with_slack(folder.path(), slack);
                }
                Step::Lose => {
                    let _ = fs::remove_file(file(folder.path()));
                    // What would be the same without a change isn't written.
                    revocations.add(jti("j0")).unwrap();
                    map.insert("j0".to_owned(), None);
                    let id = id_of(&revocations, "j0").unwrap();
                    revocations.lift(&id);
                    map.remove("j0");
                }
            }
            prop_assert_eq!(held(&revocations), map.clone());
        }
        prop_assert!(save(&revocations));
        prop_assert_eq!(held(&restored(folder.path())), map);
        prop_assert!(!folder.path().join(SPOILED).exists());
    }
}

/// Wherever the process, or the machine, stops while it writes.
#[test]
fn a_file_that_is_cut_off_has_all_that_was_acknowledged() {
    type Act = fn(&Revocations);
    let lift = |revocations: &Revocations, name: &str| assert!(revocations.lift(&id_of(revocations, name).unwrap()));
    let acts: [&[Act]; 5] = [
        &[|all| drop(all.add(jti("new")))],
        &[|all| drop(all.add(told("s", 7)))],
        &[|all| assert!(all.lift(&id_of(all, "j1").unwrap()))],
        &[|all| all.lift_here(&id_of(all, "s").unwrap())],
        &[
            |all| drop(all.add(told("s", 7))),
            |all| assert!(all.lift(&id_of(all, "s").unwrap())),
            |all| drop(all.add(jti("ü \n"))),
            |all| drop(all.add(told("s", 3))),
        ],
    ];
    for acts in acts {
        let folder = tempfile::tempdir().unwrap();
        let revocations = restored(folder.path());
        for wish in [jti("j1"), jti("j2"), jti("lifted"), told("s", 5)] {
            revocations.add(wish).unwrap();
        }
        assert!(save(&revocations));
        lift(&revocations, "lifted");
        assert!(save(&revocations));
        let acknowledged = fs::read(file(folder.path())).unwrap().len();
        let mut states = vec![held(&revocations)];
        for act in acts {
            act(&revocations);
            states.push(held(&revocations));
        }
        assert!(save(&revocations));
        let whole = fs::read(file(folder.path())).unwrap();
        let mut reached = 0;
        for end in acknowledged..=whole.len() {
            let read = Found::read(&whole[..end], now()).in_force;
            let found: Held = read.values().map(|one| (name(&one.target), one.issued_before)).collect();
            let further = states[reached..].iter().position(|state| *state == found);
            reached += further.unwrap_or_else(|| panic!("{end}: {found:?}"));
            if end % 16 != 0 && end + 2 < whole.len() {
                continue;
            }
            // Nor is anything lost of what comes after it.
            let folder = tempfile::tempdir().unwrap();
            StateDir::open(folder.path()).unwrap().write(FILE, &whole[..end]).unwrap();
            let again = restored(folder.path());
            assert_eq!(held(&again), found);
            again.add(jti("after")).unwrap();
            assert!(save(&again));
            let mut expected = found;
            expected.insert("after".to_owned(), None);
            assert_eq!(held(&restored(folder.path())), expected, "{end}");
        }
        assert_eq!(reached, acts.len(), "all of it is read in the end");
    }
}

#[test]
fn a_change_among_fifty_thousand_writes_little() {
    let folder = tempfile::tempdir().unwrap();
    let template = Revocations::new(&Observer::silent()).add(jti("name")).unwrap();
    let text: String = (0..50_000)
        .map(|number| {
            let target = Target::Jti(format!("j{number}"));
            let id = format!("{number:032x}").into();
            format!("{}\n", Revocation { id, target, ..Revocation::clone(&template) }.to_line())
        })
        .collect();
    StateDir::open(folder.path()).unwrap().write(FILE, text.as_bytes()).unwrap();
    let revocations = restored(folder.path());
    assert_eq!(revocations.count(), 50_000);
    let (before, path) = (fs::metadata(file(folder.path())).unwrap(), file(folder.path()));
    for number in 0..20 {
        let added = revocations.add(jti(&format!("new {number}"))).unwrap();
        assert!(save(&revocations));
        assert!(number % 2 == 0 || revocations.lift(&added.id));
        assert!(save(&revocations));
    }
    let after = fs::metadata(&path).unwrap();
    assert_eq!(after.ino(), before.ino(), "the same file");
    assert!(after.len() - before.len() < 20 * 300, "{} bytes", after.len() - before.len());
    assert!(fs::read_to_string(&path).unwrap().starts_with(&text), "what was there is as it was");
    assert_eq!(held(&restored(folder.path())), held(&revocations));
    assert_eq!(revocations.count(), 50_010);
}

#[test]
fn a_file_of_the_version_before_is_read_and_continued() {
    let folder = tempfile::tempdir().unwrap();
    let text = r#"{"created_at":1795824010,"id":"01","jti":"j1","source":"admin"}
{"authority":"https://a.example","created_at":1795824010,"id":"02","issued_before":5,"issuer":"a","sid":"s","source":"back_channel"}
{"created_at":1795824010,"expires_at":7,"id":"03","jti":"over","source":"admin"}
"#;
    StateDir::open(folder.path()).unwrap().write(FILE, text.as_bytes()).unwrap();
    let revocations = restored(folder.path());
    assert_eq!(held(&revocations), Held::from([("j1".to_owned(), None), ("s".to_owned(), Some(5))]));
    assert!(revocations.lift("01"));
    let later = revocations.add(told("s", 6)).unwrap();
    assert!(save(&revocations));
    let written = fs::read_to_string(file(folder.path())).unwrap();
    let more = written.strip_prefix(text).unwrap();
    let more = more.replace(&*later.id, "04").replace(&format!("{}", later.created_at), "9");
    assert_eq!(
        more,
        r#"{"lifted":"01"}
{"authority":"https://a.example","created_at":9,"id":"04","instead_of":["02"],"issued_before":6,"issuer":"a","sid":"s","source":"back_channel"}
"#
    );
    assert_eq!(held(&restored(folder.path())), Held::from([("s".to_owned(), Some(6))]));
}

/// A change that can't be read leaves in force what it would have ended or replaced.
#[test]
fn a_damaged_change_opens_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let revocations = restored(folder.path());
    revocations.add(jti("j1")).unwrap();
    revocations.add(told("s", 5)).unwrap();
    assert!(save(&revocations));
    let before = held(&revocations);
    revocations.add(told("s", 6)).unwrap();
    revocations.lift(&id_of(&revocations, "j1").unwrap());
    revocations.add(jti("j2")).unwrap();
    assert!(save(&revocations));
    let good = fs::read_to_string(file(folder.path())).unwrap();
    let all = good.lines().collect::<Vec<_>>();
    let [_, _, later, lifted, last] = all[..] else { panic!("{good}") };
    let put = |from: &str, to: &str| {
        let text = good.replace(from, to);
        assert_ne!(text, good);
        fs::write(file(folder.path()), &text).unwrap();
        let found = held(&restored(folder.path()));
        assert_eq!(fs::read_to_string(folder.path().join(SPOILED)).unwrap(), text, "it is set aside");
        assert_eq!(fs::read_to_string(file(folder.path())).unwrap(), text, "and there, until something changes");
        found
    };
    let extended = |more: &Held| before.clone().into_iter().chain(more.clone()).collect::<Held>();
    let j2 = Held::from([("j2".to_owned(), None)]);
    for spoiled in
        ["{\"lifted\":1}".to_owned(), lifted.replace('}', ",\"x\":1}"), lifted[1..].to_owned(), "\0".repeat(9)]
    {
        let expected = extended(&Held::from([("j2".to_owned(), None), ("s".to_owned(), Some(6))]));
        assert_eq!(put(lifted, &spoiled), expected, "{spoiled}");
    }
    let of_text = later.replace("\"instead_of\":[", "\"instead_of\":\"").replace("\"],\"issued", "\",\"issued");
    let mut expected = extended(&j2);
    expected.remove("j1");
    for spoiled in [later[..later.len() - 1].to_owned(), of_text, later.replace("back_channel", "x")] {
        assert_eq!(put(later, &spoiled), expected, "{spoiled}");
    }
    let found = put(last, &last[..last.len() - 1]);
    assert_eq!(found, Held::from([("s".to_owned(), Some(6))]));
}

#[test]
fn what_could_not_be_written_is_written_when_it_can() {
    let folder = tempfile::tempdir().unwrap();
    let (here, away) = (folder.path().join("state"), folder.path().join("away"));
    let revocations = restored(&here);
    revocations.add(jti("j1")).unwrap();
    assert!(save(&revocations));
    fs::rename(&here, &away).unwrap();
    revocations.add(jti("j2")).unwrap();
    assert!(!save(&revocations) && !save(&revocations));
    fs::rename(&away, &here).unwrap();
    revocations.lift(&id_of(&revocations, "j1").unwrap());
    assert!(save(&revocations));
    assert_eq!(held(&restored(&here)), Held::from([("j2".to_owned(), None)]));
    // More than are remembered one by one.
    for number in 0..MOST_WAITING + 2 {
        let added = revocations.add(jti(&format!("n{number}"))).unwrap();
        assert!(number % 10 == 0 || revocations.lift(&added.id));
    }
    assert!(save(&revocations));
    assert_eq!(held(&restored(&here)), held(&revocations));
    assert_eq!(lines(&here), revocations.count());
}

#[test]
fn what_is_over_or_lifted_goes_at_a_start() {
    let folder = tempfile::tempdir().unwrap();
    let revocations = restored(folder.path());
    revocations.add(jti("j1")).unwrap();
    for number in 0..60 {
        revocations.add(Wish { expires_at: Some(now() - 1), ..jti(&format!("over {number}")) }).unwrap();
    }
    assert!(save(&revocations));
    assert_eq!(lines(folder.path()), 61);
    restored(folder.path());
    assert_eq!(lines(folder.path()), 61, "there is room enough");
    assert_eq!(held(&with_slack(folder.path(), 50)), Held::from([("j1".to_owned(), None)]));
    assert_eq!(lines(folder.path()), 1);
}
