//! What the repository shows its readers is true: each block of YAML in a document is what it says it is.
//!
//! By the words behind a fence: `yaml` is a whole configuration, which must pass `check` and have policy tests; `yaml
//! tests` are those of the configuration above them in the same document, and must pass; `yaml fragment` is some sections
//! of a configuration, which must pass with the others added; and `yaml other` isn't one.

use std::{
    fs,
    path::{Path, PathBuf},
};

use bearward::{config, policy_tests};

const KEY_SET: &str = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;
const PUBLIC_KEY: &str = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----\n";

/// The sections that a fragment leaves out.
const SECTIONS: [(&str, &str); 2] = [
    ("upstreams:", "upstreams: {api: {url: \"http://127.0.0.1:9000\"}}\n"),
    ("routes:", "routes: [{name: r, path: /r, upstream: \"http://127.0.0.1:9000\", allow: public}]\n"),
];
const ISSUERS: &str = "issuers: {i: {issuer: \"https://i.example\", audiences: [api]}}\n";

fn completed(fragment: &str) -> String {
    let sections = SECTIONS.iter().chain([&("issuers:", ISSUERS)]);
    let missing = sections.filter(|(key, _)| !fragment.lines().any(|line| line.starts_with(key)));
    fragment.to_owned() + &missing.map(|(_, section)| *section).collect::<String>()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All files below a folder with one of these endings.
fn below(folder: &Path, endings: &[&str], found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            below(&path, endings, found);
        } else if path.extension().is_some_and(|ending| endings.iter().any(|wanted| ending == *wanted)) {
            found.push(path);
        }
    }
    found.sort();
}

fn documents() -> Vec<PathBuf> {
    let mut documents = vec![root().join("README.md"), root().join("SECURITY.md")];
    below(&root().join("docs"), &["md"], &mut documents);
    assert!(documents.len() > 3);
    documents
}

/// A block behind a fence.
struct Block {
    line: usize,
    info: String,
    text: String,
}

fn blocks(document: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut open: Option<(&str, Block)> = None;
    for (number, line) in document.lines().enumerate() {
        let inner = line.trim_start();
        let indent = &line[..line.len() - inner.len()];
        match &mut open {
            None if inner.starts_with("```") => {
                let info = inner.trim_start_matches('`').trim().to_owned();
                open = Some((indent, Block { line: number + 1, info, text: String::new() }));
            }
            None => {}
            Some(_) if inner.starts_with("```") => blocks.push(open.take().unwrap().1),
            Some((indent, block)) => {
                block.text += line.strip_prefix(*indent).unwrap_or(inner);
                block.text.push('\n');
            }
        }
    }
    assert!(open.is_none(), "a fence without its end");
    blocks
}

#[test]
fn every_block_of_yaml_is_what_it_says() {
    let (mut configurations, mut tests) = (0, 0);
    for path in documents() {
        let folder = tempfile::tempdir().unwrap();
        let server = rcgen::generate_simple_self_signed(["gateway.example".to_owned()]).unwrap();
        let (certificate, key) = (server.cert.pem(), server.signing_key.serialize_pem());
        for (name, text) in [
            ("keys.json", KEY_SET),
            ("issuer.pem", PUBLIC_KEY),
            ("internal-ca.pem", &certificate),
            ("tls.crt", &certificate),
            ("tls.key", &key),
            ("gateway.crt", &certificate),
            ("gateway.key", &key),
        ] {
            fs::write(folder.path().join(name), text).unwrap();
        }
        let config = folder.path().join("gateway.yaml");
        let mut untested = None;
        for block in blocks(&fs::read_to_string(&path).unwrap()) {
            let place = format!("{}:{}", path.display(), block.line);
            match block.info.as_str() {
                "yaml" | "yml" => {
                    fs::write(&config, &block.text).unwrap();
                    if let Err(wrong) = config::load_without_secrets(&config, &|_| None) {
                        panic!("{place} doesn't pass `check` (or is a `yaml fragment`):\n{}", shown(&wrong));
                    }
                    assert_eq!(untested.replace(place), None, "a configuration without policy tests");
                    configurations += 1;
                }
                "yaml fragment" => {
                    let whole = folder.path().join("completed.yaml");
                    fs::write(&whole, completed(&block.text)).unwrap();
                    if let Err(wrong) = config::load_without_secrets(&whole, &|_| None) {
                        panic!("{place} doesn't pass `check`:\n{}", shown(&wrong));
                    }
                }
                "yaml tests" => {
                    let file = folder.path().join("gateway.test.yaml");
                    fs::write(&file, &block.text).unwrap();
                    passes(&file, &place);
                    untested = None;
                    tests += 1;
                }
                "yaml other" => {}
                other => assert!(!other.starts_with("y"), "{place}: `{other}` is no kind of block"),
            }
        }
        assert_eq!(untested, None, "a configuration without policy tests");
    }
    assert!(configurations >= 2 && tests >= 1, "{configurations} configurations, {tests} blocks of tests");
}

#[test]
fn configurations_that_are_shipped_pass() {
    let mut files = vec![root().join("gateway.yaml")];
    for folder in ["docs", "deploy"] {
        below(&root().join(folder), &["yaml", "yml"], &mut files);
    }
    let is_ours = |file: &Path| {
        let name = file.file_name().unwrap().to_str().unwrap();
        name.starts_with("gateway") && !name.ends_with(".test.yaml")
    };
    for file in files.iter().filter(|file| is_ours(file)) {
        if let Err(wrong) = config::load_without_secrets(file, &|_| None) {
            panic!("{}:\n{}", file.display(), shown(&wrong));
        }
    }
}

#[test]
fn files_of_policy_tests_pass_and_leave_nothing_out() {
    let mut files = vec![root().join("gateway.test.yaml")];
    for folder in ["docs", "deploy"] {
        below(&root().join(folder), &["yaml", "yml"], &mut files);
    }
    // Those of rules are Prometheus' own.
    files.retain(|file| {
        file.to_str().unwrap().ends_with(".test.yaml") && !file.starts_with(root().join("deploy/prometheus"))
    });
    for file in &files {
        let results = passes(file, &file.display().to_string());
        for configuration in results.configurations {
            let gaps = configuration.subject.unwrap().gaps();
            assert!(gaps.routes.is_empty() && gaps.rules.is_empty() && gaps.scopes.is_empty(), "{file:?}: {gaps:#?}");
        }
    }
}

#[track_caller]
fn passes(file: &Path, place: &str) -> policy_tests::Results {
    let results = policy_tests::run(&[file.to_owned()], &file.with_file_name("gateway.yaml"), &|_| None).unwrap();
    if let policy_tests::Outcome::Unreadable(wrong) = &results.files[0].outcome {
        panic!("{place}:\n{}", shown(wrong));
    }
    let failed = results.tests().filter(|test| !test.passed()).map(|test| (&test.name, &test.mismatches));
    let failed = failed.collect::<Vec<_>>();
    assert!(failed.is_empty(), "{place}: {failed:#?}");
    assert!(results.tests().count() > 0, "{place}: no test ran");
    results
}

fn shown(diagnostics: &[config::Diagnostic]) -> String {
    diagnostics.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}
