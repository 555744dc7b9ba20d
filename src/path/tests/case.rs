//! How servers that ignore case read a path.

use super::*;

fn readings(raw: &str) -> Vec<Reading> {
    CanonicalPath::parse(raw).unwrap_or_else(|refusal| panic!("{raw:?}: {refusal:?}")).readings_ignoring_case()
}

#[test]
fn small_letters_are_a_reading() {
    let cases: &[(&str, &[&str])] = &[
        ("/admin", &[]),
        ("/a%20b/%C3%A9", &[]),
        ("/admin;x", &["/admin"]),
        ("/ADMIN", &["/admin"]),
        ("/%41dmin/X", &["/admin/x"]),
        ("/Caf%C3%89", &["/caf%C3%A9"]),
        ("/a%20B", &["/a%20b"]),
        ("/a%3Ab", &["/a:b"]),
        ("/a%3AB", &["/a%3Ab", "/a:B", "/a:b"]),
        ("/%E2%84%AAey", &["/key"]),
        ("/u%C5%BFers", &["/users"]),
        ("/%C4%B1d", &["/id"]),
        ("/%EF%AC%80", &["/ff"]),
        ("/A;x", &["/A", "/a", "/a;x"]),
        ("/A//b", &["/A/b", "/a//b", "/a/b"]),
        ("/%2541", &["/A", "/a"]),
        ("/x/..;/Y", &["/Y", "/x/..;/y", "/y"]),
    ];
    for (raw, expected) in cases {
        let expected: Vec<Reading> = expected.iter().map(|path| Ok((*path).to_owned())).collect();
        assert_eq!(readings(raw), expected, "{raw:?}");
    }
    assert!(readings("/..;/A").iter().any(Result::is_err));
    assert!(is_in_small_letters("/a%20b/%C3%A9") && !is_in_small_letters("/u%C5%BFers"));
}

#[test]
fn hostile_paths_stay_bounded() {
    for piece in ["/A", "/A;", "%C3%89", "/A//b;C%3Ad%2541", "%E2%84%AA/", "%C5%BF;"] {
        let raw = format!("/X{}", piece.repeat((128 << 10) / piece.len()));
        if let Ok(path) = CanonicalPath::parse(&raw) {
            assert!(path.readings_ignoring_case().len() <= 32, "{piece:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

    #[test]
    fn no_server_that_ignores_case_reads_what_was_not_decided(
        raw in hostile(),
        capitals in any::<u64>(),
        before in any::<bool>(),
    ) {
        let mixed: String = raw.char_indices().map(|(place, letter)| {
            if capitals >> (place % 64) & 1 == 1 { letter.to_ascii_uppercase() } else { letter }
        }).collect();
        let Ok(path) = CanonicalPath::parse(&mixed) else { return Ok(()) };
        let readings = path.readings_ignoring_case();
        if readings.iter().any(Result::is_err) {
            return Ok(());
        }
        // Letters alone: the digits of what is encoded are the same octet in any case.
        let small = |path: &str| canonical(&path.to_ascii_lowercase());
        for (server, read) in models::all() {
            let read = if before {
                small(path.as_str()).and_then(|path| canonical(&read(&path)))
            } else {
                canonical(&read(path.as_str())).and_then(|path| small(&path))
            };
            let decided = read.as_deref() == Ok(path.as_str()) || readings.contains(&read);
            prop_assert!(decided, "{} in any case reads {} as {:?}: {:?}", server, path.as_str(), read, readings);
        }
    }

    #[test]
    fn it_only_adds_readings(raw in hostile()) {
        let Ok(path) = CanonicalPath::parse(&raw) else { return Ok(()) };
        let ignoring_case = path.readings_ignoring_case();
        if ignoring_case.iter().all(Result::is_ok) {
            prop_assert!(path.readings().iter().all(|reading| ignoring_case.contains(reading)));
        }
    }
}
