//! Files that were made to break the reader.

use proptest::prelude::*;

use super::*;

#[test]
fn size_and_encoding() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gateway.yaml");
    let read = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        load(&path, &|_| None).map_err(|found| found[0].message.clone())
    };
    let message = |bytes: &[u8]| read(bytes).unwrap_err();
    assert!(message(&vec![b'a'; 10 << 20]).contains("larger than 1 MiB"));
    assert!(load_str(&"a".repeat(10 << 20), "f").unwrap_err()[0].message.contains("larger than 1 MiB"));
    assert!(message(b"\xff\xfer\0o\0").contains("UTF-16"));
    assert!(message(b"a: 1\nb: \xff\n").contains("isn't UTF-8 text (line 2)"));
    assert!(message(b"a: \0").contains("NUL"));
    assert!(message(b"r\0o\0u\0t\0e\0s\0").contains("NUL"));
    assert!(read(format!("\u{feff}{VALID}").as_bytes()).is_ok());
    assert!(read(VALID.replace('\n', "\r\n").as_bytes()).is_ok());
    assert!(load(folder.path(), &|_| None).unwrap_err()[0].message.contains("isn't a regular file"));
}

#[test]
fn a_megabyte_of_mistakes_is_read_in_time() {
    let one_line = format!("{{{}}}", (0..60_000).map(|n| format!("unknown{n}: 1,")).collect::<String>());
    assert!(one_line.len() < 1 << 20);
    assert_eq!(load_str(&one_line, "f").unwrap_err().len(), 201);
    let routes = format!("routes:\n{}", "- {nam: a}\n".repeat(60_000));
    assert_eq!(load_str(&routes, "f").unwrap_err().len(), 201);
    let aliases = format!("a: &a 1\nb: [{}]", "*a,".repeat(100_000));
    assert!(load_str(&aliases, "f").is_err());
}

#[test]
fn merge_keys_and_aliases_work_in_a_configuration() {
    let text = "x-no: 1\n";
    assert!(load_str(&format!("{VALID}{text}"), "f").is_err());
    let text = format!("{VALID}  - <<: {{upstream: orders, allow: authenticated}}\n    name: b\n    path: /b\n");
    assert_eq!(load_str(&text, "f").unwrap().policy.routes.len(), 2);
    let text = VALID.replace("[api]", "&list [api]") + "      - any_role: *list\n";
    assert!(load_str(&text, "f").is_ok());
}

/// Whatever is wrong, nothing that came from a variable, a file or a secret's key is shown.
#[test]
fn secrets_are_never_shown() {
    let bad = [
        "issuers: {a: {jwt: {secret: swordfish}}}",
        "issuers: {a: {jwt: {secret: !x swordfish}}}",
        "issuers: {a: {jwt: {secret: *swordfish}}}",
        "issuers: {a: {jwt: {secret: !swordfish x}}}",
        "issuers: {a: {jwt: {secret: swordfish",
        "issuers:\n  a:\n    introspection:\n      client_secret: \"swordfish",
        "issuers:\n  a:\n    introspection:\n      client_secret: @swordfish",
        "issuers:\n  a:\n    introspection:\n      client_secret: |\n       swordfish\n      \tx: 1\n",
        "issuers: {a: {introspection: {client_secrt: swordfish}}}",
        "admin: {token: swordfish}",
        "admin: {tokn: swordfish}",
        "clientsecret: swordfish",
        "state: {redis: \"redis://:swordfish@h\"}",
        "upstreams: {a: {url: \"http://user:swordfish@h\"}}",
        "upstreams: {a: {url: \"http://swordfish@h\", x: 1}}",
        "upstreams: {a: {url: \"${URL}\"}}",
        "upstreams: {a: {url: \"${HOST}\"}}",
        "upstreams: {a: {url: \"http://h\", connect_timeout: \"${HOST}\"}}",
        "upstreams: {\"${HOST}\": {url: x}}",
        "\"${HOST}\": 1",
        "{\"${HOST}\": 1, \"${HOST}\": 2}",
        "listen: [\"${HOST}\"]",
        "listen: \"${HOST}\"",
        "admin: {address: \"${HOST}\"}",
        "server: {workers: \"${HOST}\", max_body_bytes: \"${HOST}\", trusted_proxies: [\"${HOST}/33\"]}",
        "logging: {level: \"a ${HOST}=\", format: \"${HOST}\", access: \"${HOST}\"}",
        "identity: {headers: {\"X ${HOST}\": \"${HOST}\", \"${HOST}\": {value: 1}}, authorization: \"${HOST}\"}",
        "version: \"${HOST}\"",
        "issuers: {a: {issuer: \"${HOST}\", audiences: \"${HOST}\", jwt: {algorithms: [\"${HOST}\"], jwks_file: \"${HOST}\", types: [\"${HOST} x\"]}, claims: {roles: [\"${HOST}..\"]}}}",
        "issuers: {a: {jwt: {jwks: {keys: [{kty: OKP, crv: Ed25519, d: swordfish, x: 1, y: }]}, typs: 1}}}",
        "routes: [{name: \"${HOST}\", path: \"${HOST}\", hosts: [\"${HOST}:x\"], methods: [\"${HOST} x\"], upstream: \"${HOST}\", issuers: [\"${HOST}\"], allow: \"${HOST}\"}]",
        "routes: [{name: \"${HOST}\", path: /a, upstream: b, allow: public}, {name: \"${HOST}\", path: /b, upstream: b, allow: [{scopes: [\"${HOST} x\"], methods: [\"${HOST} x\"]}]}]",
        "issuers: {\"${HOST}\": {issuer: \"https://${HOST}\", audiences: any}, b: {issuer: \"https://${HOST}\", audiences: any}}\nroutes: [{name: a, path: /a, upstream: \"http://h\", allow: authenticated}, {name: \"${HOST}\", path: /a, upstream: \"http://h\", allow: authenticated}]",
        "upstreams: {\"${HOST}\": {url: \"http://h\"}}\nroutes: [{name: a, path: /a, upstream: swordf, allow: public}]",
        "upstreams: {\"${HOST}\": {url: \"http://h\"}}\nroutes: [{name: a, path: /a, upstream: zzz, issuers: [x], allow: public}]",
        "routes: [{name: a, path: \"/${HOST}\", upstream: \"http://h\", allow: public}, {name: b, path: \"/${HOST}\", upstream: \"http://h\", allow: public}]",
    ];
    for text in bad {
        let shown = shown(text);
        assert!(shown.contains("error"), "{text} is accepted");
        assert!(!shown.contains("swordfish"), "{text}\n{shown}");
    }
}

#[test]
fn nothing_steers_the_terminal() {
    let shown = shown("routes: []\n\"\\e[31m\": 1\n\"a\u{202e}b\": 1\n");
    assert!(!shown.contains('\u{1b}') && !shown.contains('\u{202e}'), "{shown:?}");
}

/// The example with a piece of it replaced.
fn mutated() -> impl Strategy<Value = String> {
    let text = include_str!("../../../gateway.yaml");
    let pieces = [
        "",
        ":",
        "\n",
        "{",
        "}",
        "[",
        "]",
        "&a ",
        "*a",
        "<<: ",
        "!t ",
        "\"",
        "'",
        "|",
        "- ",
        "${",
        "$$",
        "\t",
        "é",
        "null",
        "~",
        "?",
        "#",
        "\u{0}",
        "999999999999999999999s",
    ];
    (0..text.len(), 0usize..30, prop::sample::select(pieces.to_vec()), 1usize..4).prop_map(
        move |(at, cut, piece, times)| {
            let mut changed = text.to_owned();
            let (at, end) = (text.floor_char_boundary(at), text.floor_char_boundary((at + cut).min(text.len())));
            changed.replace_range(at..end, &piece.repeat(times));
            changed
        },
    )
}

proptest! {
    #[test]
    fn arbitrary_text_does_not_panic(text in "\\PC*") {
        let _ = load_str(&text, "f");
    }

    #[test]
    fn yaml_like_text_does_not_panic(text in "[a-c:{}\\[\\],&*<|>'\"!%@#?$ \\n\\t-]{0,80}") {
        let _ = load_str(&text, "f").map_err(|found| found.iter().map(|d| d.render(true)).collect::<String>());
    }

    #[test]
    fn mutated_files_do_not_panic(text in mutated()) {
        let _ = load_str(&text, "f").map_err(|found| found.iter().map(|d| d.render(true)).collect::<String>());
    }
}
