//! Configurations of several files.

use super::*;

/// The files in a folder of their own, the first one loaded: what it comes to, with the folder's name taken out.
fn load_files(files: &[(&str, &str)]) -> Result<Loaded, String> {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let loaded = load(&folder.path().join(files[0].0), &|_| None);
    loaded.map_err(|found| {
        let shown = found.iter().map(|diagnostic| diagnostic.render(false)).collect::<Vec<_>>().join("\n");
        shown.replace(&format!("{}/", folder.path().display()), "")
    })
}

fn errors(files: &[(&str, &str)]) -> Vec<String> {
    let shown = load_files(files).map(|loaded| format!("{loaded:?}")).unwrap_err();
    let lines = shown.lines().filter(|line| line.starts_with("error") || line.contains("-->"));
    lines.map(|line| line.trim_start().to_owned()).collect()
}

const MAIN: &str =
    "include: [routes/*.yaml, upstreams.yaml]\nissuers:\n  a: {issuer: \"https://a.example\", audiences: [api]}\n";
const UPSTREAMS: &str = "version: 1\nupstreams:\n  u: {url: \"http://127.0.0.1:1\"}\n";
const ROUTE_A: &str = "routes:\n  - {name: a, path: /a, upstream: u, allow: authenticated}\n";
const ROUTE_B: &str = "routes:\n  - {name: b, path: /b, upstream: u, allow: [{scopes: [x]}]}\n";

#[test]
fn files_are_merged() {
    let files =
        [("gateway.yaml", MAIN), ("upstreams.yaml", UPSTREAMS), ("routes/b.yaml", ROUTE_B), ("routes/a.yaml", ROUTE_A)];
    let loaded = load_files(&files).unwrap();
    let names = loaded.policy.routes.iter().map(|route| &*route.name).collect::<Vec<_>>();
    assert_eq!((names, loaded.policy.upstreams.len(), loaded.policy.issuers.len()), (vec!["a", "b"], 1, 1));
    let read = loaded.files.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect::<Vec<_>>();
    assert_eq!(read, ["gateway.yaml", "a.yaml", "b.yaml", "upstreams.yaml"]);
    let other = ROUTE_B.replace("[x]", "[y]");
    let changed = load_files(&[files[0], files[1], ("routes/b.yaml", &other), files[3]]).unwrap();
    assert_ne!(loaded.hash, changed.hash);
}

#[test]
fn what_is_wrong_is_told_with_its_file() {
    let files = [
        ("gateway.yaml", MAIN),
        ("upstreams.yaml", "upstreams:\n  u: {url: \"http://127.0.0.1:1\", timout: 5s}\n"),
        ("routes/a.yaml", "# a comment\nroutes:\n  - {name: a, path: /a, upstream: x, allow: authenticated}\n"),
    ];
    let shown = load_files(&files).map(|loaded| format!("{loaded:?}")).unwrap_err();
    insta::assert_snapshot!(shown);
}

#[test]
fn names_that_are_there_twice() {
    let twice = format!("issuers:\n  a: {{issuer: \"https://b.example\", audiences: [api]}}\n{ROUTE_B}");
    let again = format!("{UPSTREAMS}{ROUTE_A}");
    let found = errors(&[
        ("gateway.yaml", MAIN),
        ("upstreams.yaml", UPSTREAMS),
        ("routes/a.yaml", &again),
        ("routes/b.yaml", &twice),
        ("routes/c.yaml", &ROUTE_A.replace("/a,", "/c,")),
    ]);
    assert_eq!(
        found,
        [
            "error: the issuer `a` is there twice, first at gateway.yaml:3:3",
            "--> routes/b.yaml:2:3",
            "error: the route `a` is there twice, first at routes/a.yaml:5:12",
            "--> routes/c.yaml:2:12",
            "error: the upstream `u` is there twice, first at routes/a.yaml:3:3",
            "--> upstreams.yaml:3:3",
        ]
    );
}

#[test]
fn what_can_not_be_included() {
    let wrong = |text: &str| errors(&[("gateway.yaml", "include: [a.yaml]\nroutes: []\n"), ("a.yaml", text)]);
    assert_eq!(wrong("listen: [\"127.0.0.1:1\"]"), ["error: `listen` can't be in an included file", "--> a.yaml:1:1"]);
    assert_eq!(wrong("tracing: {}")[0], "error: `tracing` can't be in an included file");
    assert_eq!(wrong(""), ["error: the file is empty", "--> a.yaml"]);
    assert_eq!(wrong("version: 2")[0], "error: `2` is not a version of this format");
    assert_eq!(wrong("routes: [")[1], "--> a.yaml:1:9");
    let main = |include: &str| errors(&[("gateway.yaml", &format!("include: {include}\nroutes: []\n"))]);
    assert_eq!(main("[none.yaml]"), ["error: `none.yaml`: there is no such file", "--> gateway.yaml:1:11"]);
    assert_eq!(main("[\"a/**/b.yaml\"]")[0], "error: `a/**/b.yaml`: the wildcards here are `*` and `?`, within a name");
    assert_eq!(main("[]")[0], "error: an empty list");
    assert_eq!(main("[a/]")[0], "error: `a/`: there is no such file");
}

/// What is wrong besides is told at once; names that may be in the missing file are not called missing.
#[test]
fn a_missing_file_hides_no_other_mistake() {
    let text = "include: [none.yaml]
routes:
  - {name: a, path: /a, upstream: u, allow: authenticated, issuers: [i]}
  - {name: a, path: /b, upstream: u, allow: authenticated, strip_prefix: /b, rewrite: /c, listeners: [l]}
";
    let found = errors(&[("gateway.yaml", text)]);
    let messages = found.iter().filter(|line| line.starts_with("error")).collect::<Vec<_>>();
    assert_eq!(
        messages,
        [
            "error: `none.yaml`: there is no such file",
            "error: the route `a` is there twice, first at gateway.yaml:3:12",
            "error: `rewrite` beside `strip_prefix` (at gateway.yaml:4:74)",
            "error: no listener is called `l`",
        ]
    );
}

#[test]
fn loops_and_repetitions() {
    let found = errors(&[
        ("gateway.yaml", "include: [a.yaml]\nroutes: []\n"),
        ("a.yaml", "include: [b/c.yaml]\n"),
        ("b/c.yaml", "include: [../a.yaml]\n"),
    ]);
    assert_eq!(found[1], "--> b/c.yaml:1:11");
    assert!(found[0].ends_with("this file includes itself, perhaps by way of others"), "{}", found[0]);
    assert!(errors(&[("gateway.yaml", "include: [\"*.yaml\"]\nroutes: []\n")])[0].contains("includes itself"));
    let loaded = load_files(&[
        ("gateway.yaml", "include: [u.yaml, \"*/*.yaml\", \"none/*.yaml\"]\nroutes: []\n"),
        ("u.yaml", UPSTREAMS),
        ("a/a.yaml", &format!("include: [../u.yaml]\n{ROUTE_A}").replace("authenticated", "public")),
    ]);
    let loaded = loaded.unwrap();
    assert_eq!((loaded.policy.upstreams.len(), loaded.policy.routes.len()), (1, 1));
    assert_eq!(loaded.warnings[0].message, "no file fits `none/*.yaml`");
}

#[test]
fn paths_are_relative_to_the_file_that_holds_them() {
    const KEYS: &str = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;
    let loaded = load_files(&[
        ("gateway.yaml", &format!("include: [i/a.yaml]\nerrors: {{realm: \"${{file:realm}}\"}}\n{UPSTREAMS}{ROUTE_A}")),
        ("realm", "outer\n"),
        ("i/realm", "inner"),
        ("i/keys.json", KEYS),
        (
            "i/a.yaml",
            "issuers:\n  a: {issuer: \"https://a.example\", audiences: [\"${file:realm}\"], jwt: {jwks_file: keys.json}}\n",
        ),
    ])
    .unwrap();
    assert_eq!(&*loaded.policy.realm, "outer");
    assert_eq!(loaded.policy.issuers[0].audiences, crate::token::issuer::Audiences::OneOf(vec!["inner".to_owned()]));
    let read = loaded.files.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect::<Vec<_>>();
    assert_eq!(read, ["gateway.yaml", "a.yaml", "realm", "realm", "keys.json"]);
}

#[test]
fn files_are_bounded_in_number_and_depth() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    let load = || load(&folder.path().join("gateway.yaml"), &|_| None).unwrap_err();
    write("gateway.yaml", "include: [\"0.yaml\"]\nroutes: []\n");
    for n in 0..20 {
        write(&format!("{n}.yaml"), &format!("include: [{}.yaml]\n", n + 1));
    }
    assert_eq!(load()[0].message, "files include each other more than 8 deep");
    write("gateway.yaml", "include: [\"x*.yaml\"]\nroutes: []\n");
    for n in 0..501 {
        write(&format!("x{n}.yaml"), "version: 1\n");
    }
    assert_eq!(load()[0].message, "more than 500 files are included");
}
