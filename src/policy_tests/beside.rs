//! What `check` asks of the policy tests that lie beside a configuration.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::coverage::Coverage;
use crate::{
    config::{self, Diagnostic, Environment, Policy, TestFile, WrittenToken},
    policy::{Access, Condition},
};

/// Warnings of scopes that no policy test uses, where a file `*.test.yaml` beside the configuration names it as its
/// `config`. Where one of these files can't be read, what it uses isn't known: then there is a warning of that instead.
pub fn unused_scopes(config: &Path, policy: &Policy, environment: &Environment<'_>) -> Vec<Diagnostic> {
    let files = match tests_of(config, environment) {
        Ok(files) if files.is_empty() => return Vec::new(),
        Ok(files) => files,
        Err(unreadable) => return unreadable.iter().map(|path| cannot_tell(path)).collect(),
    };
    let mut coverage = Coverage::new(policy);
    for test in files.iter().flat_map(|file| &file.tests) {
        let WrittenToken::Of { issuer, claims, .. } = &test.token else { continue };
        if let Some(issuer) = policy.issuers.iter().find(|known| *known.name == **issuer) {
            coverage.uses(issuer.claims.scopes(claims), Vec::new());
        }
    }
    let names = files.iter().map(|file| file.name.as_str()).collect::<Vec<_>>().join(", ");
    let warning = |scope: Arc<str>| {
        let asking = policy.routes.iter().find(|route| asks_for(&route.allow, &scope));
        let asking = asking.map(|route| format!("route `{}` asks for it; ", route.name)).unwrap_or_default();
        let mut message = format!("no policy test uses the scope `{scope}`");
        let mut hint = format!("{asking}the tests are in {names}");
        [&mut message, &mut hint].into_iter().for_each(|text| policy.confidential.mask_text(text));
        Diagnostic::unwise(&config.display().to_string(), "routes", message, Some(hint))
    };
    coverage.gaps(policy).scopes.into_iter().map(warning).collect()
}

fn cannot_tell(path: &Path) -> Diagnostic {
    let name = path.display().to_string();
    let message = "these policy tests can't be read, so that nobody knows which scopes they use".to_owned();
    Diagnostic::unwise(&name, "", message, Some(format!("`bearward test {name}` says what is wrong with them")))
}

fn asks_for(access: &Access, scope: &Arc<str>) -> bool {
    let Access::Rules(rules) = access else { return false };
    rules.iter().flat_map(|rule| &rule.conditions).any(|condition| match condition {
        Condition::Scopes(names) | Condition::AnyScope(names) => names.contains(scope),
        _ => false,
    })
}

/// The files of tests in the configuration's folder that name it.
///
/// # Errors
/// Those that can't be read and have its name in them.
fn tests_of(config: &Path, environment: &Environment<'_>) -> Result<Vec<TestFile>, Vec<PathBuf>> {
    let Ok(whole) = config.canonicalize() else { return Ok(Vec::new()) };
    let folder = match config.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let Ok(entries) = fs::read_dir(folder) else { return Ok(Vec::new()) };
    let mut paths = entries.filter_map(|entry| Some(entry.ok()?.file_name())).collect::<Vec<_>>();
    paths.retain(|name| name.to_str().is_some_and(|name| name.ends_with(".test.yaml")));
    paths.sort();
    let (mut files, mut unreadable) = (Vec::new(), Vec::new());
    for name in paths {
        // Named as the configuration is: beside it.
        let path = config.parent().map_or_else(|| PathBuf::from(&name), |folder| folder.join(&name));
        let Ok(file) = config::read_tests(&path, environment) else {
            unreadable.extend(may_name(&path, config).then_some(path));
            continue;
        };
        let named = file.config.as_ref().and_then(|named| named.canonicalize().ok());
        if named.is_some_and(|named| named == whole) {
            files.push(file);
        }
    }
    if unreadable.is_empty() { Ok(files) } else { Err(unreadable) }
}

/// Whether a file that can't be understood seems to be about this configuration.
fn may_name(path: &Path, config: &Path) -> bool {
    let name = config.file_name().and_then(|name| name.to_str());
    let text = fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    name.is_some_and(|name| text.lines().any(|line| line.trim_start().starts_with("config:") && line.contains(name)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const CONFIG: &str = r#"
issuers: {a: {issuer: "https://a.example", audiences: [api]}}
routes:
  - name: orders
    path: /orders
    upstream: http://127.0.0.1:1
    allow: [{methods: [GET], scopes: [read]}, {any_scope: [write, admin]}]"#;

    fn warnings(tests: &[(&str, &str)]) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("gateway.yaml");
        fs::write(&config, CONFIG).unwrap();
        tests.iter().for_each(|(name, text)| fs::write(folder.path().join(name), text).unwrap());
        let policy = config::load(&config, &|_| None).unwrap().policy;
        unused_scopes(&config, &policy, &|_| None).into_iter().map(|warning| warning.message).collect()
    }

    #[test]
    fn only_where_there_are_tests_of_it() {
        let test = |config: &str, scope: &str| {
            format!(
                "{config}\ntests: [{{name: t, request: GET /, token: {{issuer: a, claims: {{scope: \"{scope}\"}}}}, expect: {{status: 200}}}}]"
            )
        };
        let [read, write] = ["read", "write"].map(|scope| test("config: gateway.yaml", scope));
        assert!(warnings(&[]).is_empty());
        assert!(warnings(&[("a.test.yaml", &test("config: other.yaml", "read")), ("tests.yaml", &read)]).is_empty());
        assert!(warnings(&[("a.test.yaml", &test("", "read"))]).is_empty());
        assert_eq!(
            warnings(&[("a.test.yaml", &read)]),
            ["no policy test uses the scope `write`", "no policy test uses the scope `admin`"]
        );
        assert_eq!(
            warnings(&[("a.test.yaml", &read), ("b.test.yaml", &write)]),
            ["no policy test uses the scope `admin`"]
        );
        // Of somebody else's file nothing is said; of one that should be readable, that it isn't.
        assert_eq!(warnings(&[("a.test.yaml", &read), ("b.test.yaml", "tests")]).len(), 2);
        assert_eq!(
            warnings(&[("a.test.yaml", &read), ("b.test.yaml", "config: gateway.yaml\ntests")]),
            ["these policy tests can't be read, so that nobody knows which scopes they use"]
        );
        assert!(warnings(&[("a.test.yaml", &test("config: ./gateway.yaml", "read write admin"))]).is_empty());
    }
}
