#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use proptest::prelude::*;

use super::*;

mod case;

fn text(raw: &str) -> Result<String, &'static str> {
    match CanonicalPath::parse(raw) {
        Ok(path) => Ok(path.as_str().to_owned()),
        Err(Refusal::Path(detail)) => Err(detail),
        Err(other) => panic!("{raw:?}: {other:?}"),
    }
}

fn readings(raw: &str) -> Vec<Reading> {
    CanonicalPath::parse(raw).unwrap_or_else(|refusal| panic!("{raw:?}: {refusal:?}")).readings().to_vec()
}

#[test]
fn canonical_forms() {
    let cases = [
        // As they are.
        ("/", "/"),
        ("/a", "/a"),
        ("/a/", "/a/"),
        ("/a/b/c", "/a/b/c"),
        ("/rest/campaigns/42", "/rest/campaigns/42"),
        ("/a.b", "/a.b"),
        ("/a..b", "/a..b"),
        ("/a.", "/a."),
        ("/a..", "/a.."),
        ("/.a", "/.a"),
        ("/..a", "/..a"),
        ("/...", "/..."),
        ("/..../a", "/..../a"),
        ("/.well-known/x", "/.well-known/x"),
        ("/~user", "/~user"),
        ("/a-b_c~d.e", "/a-b_c~d.e"),
        ("/AbC", "/AbC"),
        ("/!$&'()*+,=:@", "/!$&'()*+,=:@"),
        ("/a;b=c", "/a;b=c"),
        ("/a[0]", "/a[0]"),
        ("/a:b", "/a:b"),
        ("/user@example.org", "/user@example.org"),
        // Empty segments stay.
        ("//", "//"),
        ("///", "///"),
        ("//a", "//a"),
        ("/a//b", "/a//b"),
        ("/a//", "/a//"),
        ("/a//b//c", "/a//b//c"),
        // Unreserved characters are decoded.
        ("/%61", "/a"),
        ("/%41", "/A"),
        ("/%7A", "/z"),
        ("/%7a", "/z"),
        ("/%5A", "/Z"),
        ("/%30%39", "/09"),
        ("/%2D", "/-"),
        ("/%2d", "/-"),
        ("/%5F", "/_"),
        ("/%5f", "/_"),
        ("/%7E", "/~"),
        ("/%7e", "/~"),
        ("/a%2Eb", "/a.b"),
        ("/a%2eb", "/a.b"),
        ("/%61%64%6d%69%6e", "/admin"),
        ("/%61%64%6D%69%6E", "/admin"),
        ("/adm%69n", "/admin"),
        // Others stay encoded, with upper-case digits.
        ("/%20", "/%20"),
        ("/a%20b", "/a%20b"),
        ("/%3a", "/%3A"),
        ("/%3A", "/%3A"),
        ("/%40", "/%40"),
        ("/%3b", "/%3B"),
        ("/%3d", "/%3D"),
        ("/%2b", "/%2B"),
        ("/%2c", "/%2C"),
        ("/%26", "/%26"),
        ("/%24", "/%24"),
        ("/%21", "/%21"),
        ("/%27", "/%27"),
        ("/%28%29", "/%28%29"),
        ("/%2a", "/%2A"),
        ("/%3f", "/%3F"),
        ("/%23", "/%23"),
        ("/%25", "/%25"),
        ("/100%25", "/100%25"),
        ("/%5b%5d", "/%5B%5D"),
        ("/%3c%3e", "/%3C%3E"),
        ("/%60", "/%60"),
        ("/%22", "/%22"),
        ("/%7b%7d", "/%7B%7D"),
        ("/%7c", "/%7C"),
        ("/%5e", "/%5E"),
        // What browsers leave raw is encoded.
        ("/\"", "/%22"),
        ("/^", "/%5E"),
        ("/{", "/%7B"),
        ("/|", "/%7C"),
        ("/}", "/%7D"),
        ("/a{b}c", "/a%7Bb%7Dc"),
        ("/{id}", "/%7Bid%7D"),
        // Characters beyond ASCII.
        ("/%c3%a9", "/%C3%A9"),
        ("/%C3%A9", "/%C3%A9"),
        ("/%e2%82%ac", "/%E2%82%AC"),
        ("/%f0%9f%90%bb", "/%F0%9F%90%BB"),
        ("/%F4%8F%BF%BF", "/%F4%8F%BF%BF"),
        ("/%ef%bc%8f", "/%EF%BC%8F"),
        ("/%e3%80%82", "/%E3%80%82"),
        ("/%c2%85", "/%C2%85"),
        ("/caf%c3%a9/b", "/caf%C3%A9/b"),
        // Dot segments.
        ("/.", "/"),
        ("/./", "/"),
        ("/./a", "/a"),
        ("/a/.", "/a/"),
        ("/a/./", "/a/"),
        ("/a/./b", "/a/b"),
        ("/a/././b", "/a/b"),
        ("/a/..", "/"),
        ("/a/../", "/"),
        ("/a/../b", "/b"),
        ("/a/b/..", "/a/"),
        ("/a/b/../", "/a/"),
        ("/a/b/../c", "/a/c"),
        ("/a/b/../../c", "/c"),
        ("/a/b/c/../../d", "/a/d"),
        ("/a/./../b", "/b"),
        ("/a/.././b", "/b"),
        ("/a/b/../../../..a", "!"),
        ("/a//../b", "/a/b"),
        ("//..", "/"),
        ("//../a", "/a"),
        ("///..", "//"),
        ("/a/..//b", "//b"),
        ("/.//a", "//a"),
        ("/%2e", "/"),
        ("/%2E", "/"),
        ("/a/%2e", "/a/"),
        ("/a/%2e/b", "/a/b"),
        ("/a/%2e%2e", "/"),
        ("/a/%2e%2e/b", "/b"),
        ("/a/%2E%2E/b", "/b"),
        ("/a/%2e%2E/b", "/b"),
        ("/a/.%2e/b", "/b"),
        ("/a/%2e./b", "/b"),
        ("/a/.%2E/b", "/b"),
        ("/a/%2E./b", "/b"),
        ("/a/%2e%2e/%2e/b", "/b"),
        ("/a/%2e%2e%2e/b", "/a/.../b"),
        ("/a/..b/c", "/a/..b/c"),
        ("/a/b../c", "/a/b../c"),
        ("/a/..;/b", "/a/..;/b"),
        ("/a/.;/b", "/a/.;/b"),
        ("/a;x/../b", "/b"),
        ("/a/%20../b", "/a/%20../b"),
        // Only one decoding makes the canonical form.
        ("/%2541", "/%2541"),
        ("/%252e%252e", "/%252e%252e"),
        ("/%252E", "/%252E"),
        ("/%25%34%31", "/%2541"),
        ("/%25%32%65", "/%252e"),
        ("/%252F", "/%252F"),
        ("/a/%252e%252e/b", "/a/%252e%252e/b"),
    ];
    for (raw, expected) in cases {
        let expected = if expected == "!" { Err("the path leads above the root") } else { Ok(expected.to_owned()) };
        assert_eq!(text(raw), expected, "{raw:?}");
    }
}

#[test]
fn refused() {
    let begin = ["", "a", "a/b", "*", "%2F", "http://h/a", "\\a", "?", ".", "..", "%2e"];
    let slash = ["/%2F", "/%2f", "/a%2fb", "/a/..%2fadmin", "/a/%2e%2e%2fb", "/%2f..", "/%2F%2F"];
    let backslash = ["/%5C", "/%5c", "/a%5cb", "/a/..%5cadmin", "/..%5c"];
    let control = ["/\0", "/\t", "/\n", "/\r", "/\x1b", "/\x7f", "/a\r\nb"];
    let encoded_control = ["/%00", "/a%00", "/%0a", "/%0D%0A", "/%09", "/%1f", "/%1F", "/%7f", "/%7F", "/a%00/../b"];
    let utf8 = [
        "/%80",
        "/%FF",
        "/%fe",
        "/%C0%AF",
        "/%c0%ae%c0%ae",
        "/%C1%9C",
        "/%E0%80%AF",
        "/%F0%80%80%AF",
        "/%ED%A0%80",
        "/%F4%90%80%80",
        "/%F5%80%80%80",
        "/%C3",
        "/%C3a",
        "/%C3/%A9",
        "/%C3%41",
        "/%E2%82",
        "/%E2%82a",
        "/%C3/../a",
        "/%A9%C3",
    ];
    let percent = ["/%", "/%4", "/%zz", "/%4g", "/%g4", "/%%41", "/%u002e", "/a%", "/a%2", "/%2/e", "/%C3%", "/%C3%A"];
    let root =
        ["/..", "/../", "/../a", "/a/../..", "/a/../../b", "/%2e%2e", "/.%2e/a", "/./..", "/a/./../../b", "/.././a"];
    let tables: [(&str, &[&str]); 12] = [
        ("the path does not begin with a slash", &begin),
        ("the path has an encoded slash", &slash),
        ("the path has an encoded backslash", &backslash),
        ("the path has a control character", &control),
        ("the path has an encoded control character", &encoded_control),
        ("the path does not decode to UTF-8", &utf8),
        ("the path has a percent sign that two hex digits do not follow", &percent),
        ("the path leads above the root", &root),
        ("the path has octets that are not ASCII", &["/é", "/\u{80}", "/a/．．/b", "/／", "/\u{202e}"]),
        ("the path has a backslash", &["/\\", "/a\\b", "/..\\admin", "/a\\..\\b"]),
        ("the path has a character that must be encoded", &["/<", "/>", "/`", "/<script>"]),
        ("the path has a space", &["/ ", "/a b"]),
    ];
    for (detail, paths) in tables {
        assert!(detail.is_ascii() && !detail.contains(['"', '\\']));
        for raw in paths {
            match text(raw) {
                // A sequence that is cut off in the middle of an octet is a fault of both kinds.
                Err(found) if raw.starts_with("/%C3%") => assert!(found.contains("UTF-8") || found.contains("hex")),
                found => assert_eq!(found, Err(detail), "{raw:?}"),
            }
        }
    }
    assert_eq!(text("/a#b"), Err("the path has a fragment"));
    assert_eq!(text("/a?b"), Err("the path has a query"));
}

/// However `/public/../admin` is spelt: what goes upstream is `/admin` and is matched as that, or it is refused, or a
/// reading of it is `/admin`.
#[test]
fn a_way_out_of_public_in_any_spelling() {
    let resolved = [
        "/public/../admin",
        "/public/%2e%2e/admin",
        "/public/%2E%2E/admin",
        "/public/%2e%2E/admin",
        "/public/.%2e/admin",
        "/public/%2e./admin",
        "/public/.%2E/admin",
        "/public/./../admin",
        "/public/%2e/../admin",
        "/public/x/../../admin",
        "/public/x/%2e%2e/%2e%2e/admin",
        "/./public/../admin",
        "/public/../public/../admin",
        "/public/../%61dmin",
        "/%70ublic/../admin",
        "/public/../%61%64%6d%69%6e",
        "/public/../admin/.",
        "/public/../admin/x/..",
        "/public/;x/../../admin",
        "/public//../../admin",
    ];
    for raw in resolved {
        assert_eq!(text(raw).unwrap().trim_end_matches('/'), "/admin", "{raw:?}");
    }
    let refused = [
        "/public/..%2fadmin",
        "/public/..%2Fadmin",
        "/public%2f../admin",
        "/public/%2e%2e%2fadmin",
        "/public/..\\admin",
        "/public\\..\\admin",
        "/public/..%5cadmin",
        "/public/..%5Cadmin",
        "/public/..%00/admin",
        "/public/..\0/admin",
        "/public/%c0%ae%c0%ae/admin",
        "/public/..%c0%afadmin",
        "/public/%e0%80%ae./admin",
        "/public/．．/admin",
        "/public/..\t/admin",
        "/public/.. /admin",
        "/public/..%09/admin",
        "/public/../../admin",
        "/public/%u002e%u002e/admin",
        "/public/%%32%65%%32%65/admin",
        "/public/..%0d/admin",
        "/public/..#/admin",
        "/public/%2%35%32e%252e/admin",
        "public/../admin",
        "/public/..%f8%80%80%80%afadmin",
    ];
    for raw in refused {
        assert!(text(raw).is_err(), "{raw:?}");
    }
    let otherwise = [
        "/public/..;/admin",
        "/public/..;x=y/admin",
        "/public/..;x;y/admin",
        "/public/%2e%2e;/admin",
        "/public/.%2e;/admin",
        "/public;/..;/admin",
        "/public/.;/..;/admin",
        "/public/..%3b/admin",
        "/public/..%3Bx/admin",
        "/public/%252e%252e/admin",
        "/public/%252E%252E/admin",
        "/public/.%252e/admin",
        "/public/%25%32%65%25%32%65/admin",
        "/public/%252e%252e;/admin",
        "/public/..%253b/admin",
        "/public/..%253bx/admin",
        "/public/x/..;/..;/admin",
        "/public/x/;/..;/..;/..;/admin",
        "/public/x/;/..;/..;/admin",
        "/public/x/;y/%252e%252e;/..;/admin",
        "/public//..;/..;/admin",
        "/public/x//..;/..;/admin",
        "/public/..;/%61dmin",
        "/public/..;/%2561dmin",
        "/public/%3b/%252e%252e/%252e%252e/admin",
    ];
    for raw in otherwise {
        let readings = readings(raw);
        let caught = readings.iter().any(|reading| reading.as_ref().map_or(true, |path| path == "/admin"));
        assert!(caught, "{raw:?}: {readings:?}");
    }
}

#[test]
fn no_special_character_no_reading() {
    for raw in ["/", "/a/b", "/a/", "/a.b/c", "/a%20b", "/a/../b", "/%41", "/{x}", "/%C3%A9", "/a%25", "/a%25zz", "/.a"]
    {
        assert!(readings(raw).is_empty(), "{raw:?}");
    }
}

#[test]
fn other_readings() {
    let cases: &[(&str, &[&str])] = &[
        ("/a;x", &["/a"]),
        ("/a;x/b;y=z", &["/a/b"]),
        ("/;x", &["/"]),
        ("/;x/a", &["/", "//a", "/a"]),
        ("//a", &["/", "/a"]),
        ("//a/b", &["/a/b", "/b"]),
        ("///a/b", &["/a/b", "/b"]),
        ("//a//b", &["//b", "/a/b", "/b"]),
        ("/x//a/b", &["/x/a/b"]),
        ("/a//b///c", &["/a/b/c"]),
        ("/a//", &["/a/"]),
        ("/%2541", &["/A"]),
        ("/%2520", &["/%20"]),
        ("/%25253a", &["/%253a"]),
        ("/%253a", &["/%3A", "/:"]),
        ("/a%3Ab", &["/a:b"]),
        ("/a%40b%20c", &["/a@b%20c"]),
        ("/a%3Bb", &["/a", "/a;b"]),
        ("/a%3Ab/%252e%252e", &["/", "/a:b/%252e%252e"]),
        ("/a;//b", &["/a//b", "/a/b", "/a;/b"]),
        ("/a/;/..;/b", &["/a/b", "/b"]),
    ];
    for (raw, expected) in cases {
        let expected: Vec<Reading> = expected.iter().map(|path| Ok((*path).to_owned())).collect();
        assert_eq!(readings(raw), expected, "{raw:?}");
    }
    for raw in ["/..;/a", "/a/..;/..;/b", "/%252F", "/a%255cb", "/%2500", "/%25ff", "/a//..%3b/..;/..;/", "/100%25fast"]
    {
        let readings = readings(raw);
        assert!(readings.iter().any(Result::is_err), "{raw:?}: {readings:?}");
    }
}

#[test]
fn hostile_paths_are_bounded() {
    const LENGTH: usize = 128 << 10;
    for piece in [
        "/",
        ";",
        "/;",
        "%25",
        "%2541",
        "%252541",
        "/..;",
        "/a/..;",
        "//;a%3B%252541",
        "/a;/..;//%252e",
        "%3B",
        "/.",
        "/a/..",
        "/;/..;/x//%253b%3b",
        "%2525",
        ";%253B/%3B//",
        "/%3b/%253b//x",
    ] {
        let raw = format!("/x{}", piece.repeat(LENGTH / piece.len()));
        if let Ok(path) = CanonicalPath::parse(&raw) {
            assert!(path.readings().len() <= 32, "{piece:?}");
        }
    }
}

#[test]
fn too_much_work_is_refused() {
    let piece = "/a;b//%3Ac%2541";
    assert!(readings(piece).iter().all(Result::is_ok));
    let long = piece.repeat((128 << 10) / piece.len());
    assert_eq!(readings(&long), [Err("the path can be read in too many ways")]);
    let long = "/a%40b".repeat((128 << 10) / 6);
    assert_eq!(readings(&long), [Ok(long.replace("%40", "@"))]);
}

/// Other servers, written as simply as can be: they work on the canonical form, since it is what they are sent.
mod models {
    pub(super) fn strip(path: &str) -> String {
        path.split('/').map(|segment| segment.split(';').next().unwrap()).collect::<Vec<_>>().join("/")
    }

    pub(super) fn merge(path: &str) -> String {
        let mut path = path.to_owned();
        while path.contains("//") {
            path = path.replace("//", "/");
        }
        path
    }

    /// All that is encoded is decoded, then what may not stand in a path is encoded anew: nginx with a URI in `proxy_pass`.
    pub(super) fn decode(path: &str) -> String {
        let mut octets = Vec::new();
        let mut rest = path.as_bytes();
        while let Some((&first, after)) = rest.split_first() {
            let pair = after.get(..2).and_then(|pair| std::str::from_utf8(pair).ok());
            match pair.and_then(|pair| u8::from_str_radix(pair, 16).ok()) {
                Some(octet) if first == b'%' => {
                    octets.push(octet);
                    rest = &after[2..];
                }
                _ => {
                    octets.push(first);
                    rest = after;
                }
            }
        }
        let mut written = String::new();
        for (at, &octet) in octets.iter().enumerate() {
            let pair = octets.get(at + 1..at + 3).is_some_and(|pair| pair.iter().all(u8::is_ascii_hexdigit));
            match octet {
                b'%' if pair => written.push('%'),
                0..=0x20 | 0x7f.. | b'%' | b'?' | b'#' | b'<' | b'>' | b'`' => written += &format!("%{octet:02X}"),
                _ => written.push(char::from(octet)),
            }
        }
        written
    }

    /// `new URL(path, base).pathname`.
    pub(super) fn link(path: &str) -> String {
        match path.strip_prefix("//") {
            Some(rest) => {
                let rest = rest.trim_start_matches('/');
                rest.split_once('/').map_or("/".to_owned(), |(_, path)| format!("/{path}"))
            }
            None => path.to_owned(),
        }
    }

    type Server = (&'static str, Box<dyn Fn(&str) -> String>);

    pub(super) fn all() -> Vec<Server> {
        vec![
            ("Tomcat", Box::new(|path| merge(&strip(path)))),
            ("Tomcat without merging", Box::new(strip)),
            ("strips after merging", Box::new(|path| strip(&merge(path)))),
            ("nginx merge_slashes", Box::new(merge)),
            ("nginx without URI in proxy_pass", Box::new(str::to_owned)),
            ("double decoder", Box::new(decode)),
            ("decoder before Tomcat", Box::new(|path| merge(&strip(&decode(path))))),
            ("Tomcat before a decoder", Box::new(|path| decode(&merge(&strip(path))))),
            ("strip, decode, merge", Box::new(|path| merge(&decode(&strip(path))))),
            ("merging before decoding", Box::new(|path| decode(&merge(path)))),
            ("reads a link", Box::new(link)),
            ("strips, then reads a link", Box::new(|path| link(&strip(path)))),
            ("decodes, then strips", Box::new(|path| strip(&decode(path)))),
        ]
    }
}

fn hostile() -> impl Strategy<Value = String> {
    let pieces = [
        "/", "/", "/", "//", "a", "b", "admin", ".", "..", "/..", "/../", "/..;/", ";", ";x", ";x=y", "%2e", "%2E",
        "%252e", "%3b", "%3B", "%253b", "%25", "%2525", "%41", "%7e", "%3a", ":", "%20", "%c3%a9", "%2561", "{", "%5e",
        "[", "%5B",
    ];
    prop::collection::vec(prop::sample::select(pieces.to_vec()), 0..14)
        .prop_map(|pieces| format!("/{}", pieces.concat()))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

    #[test]
    fn never_panics(raw in "\\PC*", bytes in "/[ -~\\x00-\\x1f]{0,40}", hostile in hostile()) {
        for raw in [raw, bytes, hostile] {
            if let Ok(path) = CanonicalPath::parse(&raw) {
                let again = CanonicalPath::parse(path.as_str()).unwrap();
                prop_assert_eq!(again.as_str(), path.as_str());
                prop_assert_eq!(&again, &path);
            }
        }
    }

    #[test]
    fn canonical_in_form(raw in prop_oneof![hostile(), "/[a-zA-Z0-9%./;{}^|\" -]{0,30}"]) {
        let Ok(path) = CanonicalPath::parse(&raw) else { return Ok(()) };
        let texts = path.readings().iter().filter_map(|reading| reading.as_deref().ok()).chain([path.as_str()]);
        for text in texts {
            prop_assert!(text.starts_with('/'));
            prop_assert!(text.bytes().all(|octet| is_literal(octet) || octet == b'/' || octet == b'%'));
            prop_assert!(text.split('/').all(|segment| segment != "." && segment != ".."));
            for (at, _) in text.match_indices('%') {
                let digits = &text[at + 1..at + 3];
                prop_assert!(!digits.bytes().any(|digit| digit.is_ascii_lowercase()));
                let octet = u8::from_str_radix(digits, 16).unwrap();
                prop_assert!(!is_unreserved(octet) && octet != b'/' && octet != b'\\' && octet >= 0x20 && octet != 0x7f);
            }
            let reparsed = canonical(text);
            prop_assert_eq!(reparsed.as_deref(), Ok(text));
        }
        for (place, reading) in path.readings().iter().enumerate() {
            prop_assert!(reading.as_deref() != Ok(path.as_str()));
            prop_assert!(!path.readings()[..place].contains(reading));
        }
    }

    #[test]
    fn the_short_way_is_the_long_way(raw in prop_oneof!["/[a-c./]{0,12}", hostile()]) {
        if is_plain(raw.as_bytes()) {
            let long = canonical(&raw);
            prop_assert_eq!(long.as_deref(), Ok(raw.as_str()));
            prop_assert!(readings::of(&raw).is_empty());
        }
    }

    #[test]
    fn no_server_reads_what_was_not_decided(raw in hostile()) {
        let Ok(path) = CanonicalPath::parse(&raw) else { return Ok(()) };
        if path.readings().iter().any(Result::is_err) {
            return Ok(());
        }
        for (server, read) in models::all() {
            let read = canonical(&read(path.as_str()));
            let Ok(read) = read else {
                prop_assert!(false, "{} refuses {} and no reading does", server, path.as_str());
                continue;
            };
            let decided = read == path.as_str() || path.readings().contains(&Ok(read.clone()));
            prop_assert!(decided, "{} reads {} as {}: {:?}", server, path.as_str(), read, path.readings());
        }
    }
}
