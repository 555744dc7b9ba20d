//! `bearward check`: says what is wrong with a configuration, and what is unwise.

use std::{
    io::{self, Write},
    path::Path,
};

use serde_json::{Value, json};

use crate::{
    config::{self, Diagnostic, Environment, Loaded, Severity},
    describe,
    observe::Observer,
    policy_tests,
    token::{
        issuer::{IssuerSettings, KeySource},
        jwks::KeyStore,
    },
};

/// How the findings are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// For people: a paragraph for each, on stderr.
    #[default]
    Text,
    /// One JSON object on stdout.
    Json,
}

/// What is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// How the answer is written.
    pub format: Format,
    /// Terminal colours, in text.
    pub color: bool,
    /// A warning makes the answer a no.
    pub deny_warnings: bool,
    /// Says each route in a sentence.
    pub describe: bool,
    /// Takes placeholders for unset variables, and for missing files in `${file:}` and of private keys.
    pub without_secrets: bool,
    /// Fetches each issuer's keys.
    pub online: bool,
}

/// Checks a file and writes what is found. Returns the exit code: 0 where the configuration can be used, else 1.
///
/// # Errors
/// Where `out` or `err` can't be written to.
pub fn run(
    path: &Path,
    environment: &Environment<'_>,
    options: Options,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> io::Result<u8> {
    let loaded = match options.without_secrets {
        true => config::load_without_secrets(path, environment),
        false => config::load(path, environment),
    };
    let (loaded, mut diagnostics) = match loaded {
        Ok(loaded) => (Some(loaded), Vec::new()),
        Err(diagnostics) => (None, diagnostics),
    };
    let mut issuers = Vec::new();
    if let Some(loaded) = &loaded {
        diagnostics.extend(loaded.warnings.iter().cloned());
        diagnostics.extend(policy_tests::unused_scopes(path, &loaded.policy, environment));
        if options.online {
            issuers = ask_issuers(&loaded.policy.issuers)?;
            diagnostics.extend(issuers.iter().filter_map(|asked| asked.problem(path)));
        }
    }
    let fails = |diagnostic: &Diagnostic| options.deny_warnings || diagnostic.severity == Severity::Error;
    let answer = Answer { path, ok: loaded.is_some() && !diagnostics.iter().any(fails), loaded, diagnostics, issuers };
    match options.format {
        Format::Json => writeln!(out, "{}", answer.as_json(options.describe))?,
        Format::Text => answer.write(options, out, err)?,
    }
    Ok(u8::from(!answer.ok))
}

struct Answer<'a> {
    path: &'a Path,
    ok: bool,
    /// None: the configuration can't be used.
    loaded: Option<Loaded>,
    diagnostics: Vec<Diagnostic>,
    /// Empty unless they were asked.
    issuers: Vec<Asked>,
}

impl Answer<'_> {
    fn write(&self, options: Options, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<()> {
        for diagnostic in &self.diagnostics {
            writeln!(err, "{}", diagnostic.render(options.color))?;
        }
        let path = self.path.display();
        if let Some(loaded) = &self.loaded {
            for (issuer, keys) in
                self.issuers.iter().filter_map(|asked| Some((&asked.issuer, asked.keys.as_ref().ok()?)))
            {
                writeln!(out, "issuer {issuer}: {}", count(*keys, "usable key"))?;
            }
            if options.describe {
                for (name, sentence) in descriptions(loaded) {
                    writeln!(out, "{name}: {sentence}")?;
                }
                writeln!(out, "a change needs a restart in: {}", config::NEEDS_RESTART.join(", "))?;
            }
            if !loaded.placeholders.is_empty() {
                let names = loaded.placeholders.iter().map(|name| format!("${{{name}}}")).collect::<Vec<_>>();
                writeln!(out, "{path}: placeholders stand for {}", names.join(", "))?;
            }
        }
        match &self.loaded {
            Some(loaded) if self.ok => writeln!(out, "{path}: ok, {}", summary(loaded, self.diagnostics.len())),
            _ => writeln!(err, "{path}: {}{}", counted(&self.diagnostics), self.denied(options)),
        }
    }

    fn denied(&self, options: Options) -> &'static str {
        let warned = self.diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Warning);
        if options.deny_warnings && warned { "; warnings are denied (--deny-warnings)" } else { "" }
    }

    fn as_json(&self, describe: bool) -> Value {
        let diagnostics = self.diagnostics.iter().map(Diagnostic::to_json).collect::<Vec<_>>();
        let mut answer = json!({"ok": self.ok, "diagnostics": diagnostics});
        if let Some(loaded) = self.loaded.as_ref().filter(|_| describe) {
            let routes = descriptions(loaded).map(|(name, sentence)| json!({"name": name, "description": sentence}));
            add(&mut answer, "routes", routes.collect());
            add(&mut answer, "needs_restart", json!(config::NEEDS_RESTART));
        }
        if !self.issuers.is_empty() {
            add(&mut answer, "issuers", self.issuers.iter().map(Asked::as_json).collect());
        }
        if let Some(loaded) = self.loaded.as_ref().filter(|loaded| !loaded.placeholders.is_empty()) {
            add(&mut answer, "placeholders", json!(loaded.placeholders));
        }
        answer
    }
}

fn add(answer: &mut Value, name: &str, value: Value) {
    if let Some(members) = answer.as_object_mut() {
        members.insert(name.to_owned(), value);
    }
}

fn descriptions(loaded: &Loaded) -> impl Iterator<Item = (&str, String)> {
    let issuers = &loaded.policy.issuers;
    loaded.policy.routes.iter().map(move |route| {
        let names = route.issuers.iter().filter_map(|issuer| issuers.get(*issuer)).map(|issuer| &*issuer.name);
        let mut sentence = describe::route(route, names);
        loaded.policy.confidential.mask_text(&mut sentence);
        (&*route.name, sentence)
    })
}

/// An issuer that was asked for its keys.
struct Asked {
    issuer: String,
    /// How many can be used.
    keys: Result<usize, String>,
}

impl Asked {
    fn problem(&self, file: &Path) -> Option<Diagnostic> {
        let problem = self.keys.as_ref().err()?;
        let message = format!("issuer `{}`: no keys: {problem}", self.issuer);
        Some(Diagnostic::about(&file.display().to_string(), &format!("issuers.{}", self.issuer), message, None))
    }

    fn as_json(&self) -> Value {
        match &self.keys {
            Ok(keys) => json!({"name": self.issuer, "ok": true, "keys": keys}),
            Err(problem) => json!({"name": self.issuer, "ok": false, "error": problem}),
        }
    }
}

/// Asks all of them at the same time; each answers within its `http_timeout` a call.
fn ask_issuers(issuers: &[IssuerSettings]) -> io::Result<Vec<Asked>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut asking = Vec::new();
        for settings in issuers.iter().filter(|settings| settings.jwt.keys != KeySource::Nowhere) {
            let store = KeyStore::new(settings, Observer::silent());
            let fetch = tokio::spawn(async move { store?.try_fetch().await });
            asking.push((settings.name.to_string(), fetch));
        }
        let mut asked = Vec::new();
        for (issuer, fetch) in asking {
            let keys = fetch.await.unwrap_or_else(|ended| Err(ended.to_string()));
            asked.push(Asked { issuer, keys });
        }
        Ok(asked)
    })
}

fn summary(loaded: &Loaded, warnings: usize) -> String {
    let policy = &loaded.policy;
    let parts = [
        count(policy.routes.len(), "route"),
        count(policy.issuers.len(), "issuer"),
        count(policy.upstreams.len(), "upstream"),
    ];
    let warnings = match warnings {
        0 => String::new(),
        number => format!("; {}", count(number, "warning")),
    };
    format!("{}{warnings}", parts.join(", "))
}

fn counted(diagnostics: &[Diagnostic]) -> String {
    let errors = diagnostics.iter().filter(|diagnostic| diagnostic.severity == Severity::Error).count();
    match diagnostics.len() - errors {
        0 => count(errors, "error"),
        warnings if errors == 0 => count(warnings, "warning"),
        warnings => format!("{}, {}", count(errors, "error"), count(warnings, "warning")),
    }
}

fn count(number: usize, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    fn check(text: &str, format: Format) -> (u8, String, String) {
        check_with(text, Options { format, ..Options::default() })
    }

    fn check_with(text: &str, options: Options) -> (u8, String, String) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gateway.yaml");
        std::fs::write(&path, text).unwrap();
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let code = run(&path, &|_| None, options, &mut out, &mut err).unwrap();
        let shown = |bytes| String::from_utf8(bytes).unwrap().replace(&path.display().to_string(), "gateway.yaml");
        (code, shown(out), shown(err))
    }

    const GOOD: &str = "routes: [{name: a, path: /a, upstream: \"http://127.0.0.1:1\", allow: public}]";

    #[test]
    fn text() {
        let (code, out, err) = check(GOOD, Format::Text);
        assert_eq!((code, &*out, &*err), (0, "gateway.yaml: ok, 1 route, 0 issuers, 1 upstream\n", ""));
        let (code, out, err) = check("rotues: []", Format::Text);
        assert_eq!((code, &*out), (1, ""));
        assert!(err.contains("unknown key `rotues`") && err.ends_with("gateway.yaml: 1 error\n"), "{err}");
        let (code, _, err) = check("", Format::Text);
        assert_eq!(code, 1);
        assert!(err.contains("the file is empty"));
    }

    #[test]
    fn json() {
        let (code, out, err) = check(GOOD, Format::Json);
        assert_eq!((code, &*out, &*err), (0, "{\"diagnostics\":[],\"ok\":true}\n", ""));
        let (code, out, err) = check("routes:\n- {nam: a}", Format::Json);
        assert_eq!((code, &*err), (1, ""));
        let answer: serde_json::Value = serde_json::from_str(&out).unwrap();
        assert_eq!(answer["ok"], false);
        let first = answer["diagnostics"].as_array().unwrap().iter().find(|d| d["path"] == "routes[0].nam").unwrap();
        assert_eq!(
            *first,
            json!({
                "severity": "error", "message": "unknown key `nam` in routes[0]", "file": "gateway.yaml",
                "line": 2, "column": 4, "path": "routes[0].nam", "hint": "did you mean `name`?",
            })
        );
    }

    #[test]
    fn a_file_that_is_not_there() {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let code = run(Path::new("/nowhere/g.yaml"), &|_| None, Options::default(), &mut out, &mut err).unwrap();
        assert_eq!(code, 1);
        assert!(String::from_utf8(err).unwrap().contains("there is no such file"));
    }

    #[test]
    fn denied_warnings() {
        let unwise = format!("upstreams: {{unused: {{url: \"http://127.0.0.1:2\"}}}}\n{GOOD}");
        let (code, out, _) = check(&unwise, Format::Text);
        assert_eq!((code, &*out), (0, "gateway.yaml: ok, 1 route, 0 issuers, 2 upstreams; 1 warning\n"));
        let (code, out, err) = check_with(&unwise, Options { deny_warnings: true, ..Options::default() });
        assert_eq!((code, &*out), (1, ""));
        assert!(err.ends_with("gateway.yaml: 1 warning; warnings are denied (--deny-warnings)\n"), "{err}");
        let options = Options { deny_warnings: true, format: Format::Json, ..Options::default() };
        assert!(check_with(&unwise, options).1.contains("\"ok\":false"));
        assert_eq!(check_with(GOOD, options).0, 0);
    }

    /// Each kind of value that a variable may stand for.
    const SECRETIVE: &str = "
listen: [\"${LISTEN}\", \"127.0.0.1:${PORT}\"]
server: {workers: \"${WORKERS}\", header_timeout: \"${TIMEOUT}\", trusted_proxies: [\"${PROXIES}\"]}
issuers:
  a: {issuer: \"${ISSUER_A}\", audiences: [\"${file:audience}\"]}
  b: {issuer: \"${ISSUER_B}\", audiences: [api], jwt: {jwks_uri: \"${ISSUER_B}/keys\", string_dates: \"${DATES}\"}}
upstreams:
  u: {url: \"${URL}\"}
  v: {url: \"http://${HOST}:${PORT}\"}
errors: {realm: \"${REALM}\"}
logging: {format: \"${FORMAT}\"}
routes:
  - {name: r, path: \"${PATH_OF_R}\", hosts: [\"${HOST}\"], upstream: u, allow: [{scopes: [\"${SCOPE}\"]}]}
  - {name: s, path: \"/s/${PATH_OF_R}\", upstream: v, allow: authenticated, identity: {authorization: remove}}
  - {name: t, path: /t, upstream: \"${UPSTREAM}\", allow: public}
";

    #[test]
    fn without_secrets() {
        let (code, _, err) = check(SECRETIVE, Format::Text);
        assert_eq!(code, 1);
        assert!(err.contains("the environment variable `ISSUER_A` is not set"), "{err}");
        let (code, out, err) = check_with(SECRETIVE, Options { without_secrets: true, ..Options::default() });
        assert_eq!((code, &*err), (0, ""), "{out}");
        insta::assert_snapshot!(out);
        let wrong = SECRETIVE.replace("allow: public", "allow: publik");
        assert_eq!(check_with(&wrong, Options { without_secrets: true, ..Options::default() }).0, 1);
    }

    #[test]
    fn without_private_keys() {
        let of = |key: &str| {
            format!("
upstreams:
  u:
    url: https://api.example
    token: {{endpoint: \"https://login.example/token\", grant: jwt_bearer, private_key: {key}, algorithm: RS256, assertion: {{iss: a}}}}
identity: {{assertion: {{private_key: {key}, issuer: \"https://gateway.example\"}}}}
issuers: {{i: {{audiences: [a], introspection: {{endpoint: \"https://login.example/i\", auth: private_key_jwt, client_id: a, private_key: {key}}}}}}}
routes: [{{name: r, path: /r, upstream: u, allow: authenticated}}]
")
        };
        let options = || Options { without_secrets: true, ..Options::default() };
        for (key, shown) in [
            ("client.pem", "${file:client.pem}"),
            ("/run/secrets/client", "${file:/run/secrets/client}"),
            ("\"${CLIENT_KEY}\"", "${CLIENT_KEY}"),
            ("\"${file:client.pem}\"", "${file:client.pem}"),
        ] {
            let (code, out, _) = check_with(&of(key), options());
            assert_eq!(code, 0, "{key}: {out}");
            assert!(out.contains(&format!("placeholders stand for {shown}\n")), "{key}: {out}");
            assert_eq!(check(&of(key), Format::Text).0, 1, "{key}");
        }
        // What may be a key itself is neither taken for a file nor shown.
        let (code, out, err) = check_with(&of("MC4CAQAwBQYDK2VwBCIEIAAA"), options());
        assert_eq!((code, out.contains("MC4"), err.contains("MC4")), (1, false, false));
    }

    #[test]
    fn described() {
        let options = Options { describe: true, ..Options::default() };
        let (code, out, _) = check_with(GOOD, options);
        assert_eq!(code, 0);
        assert_eq!(
            out,
            "a: /a: every method is open to everybody.\na change needs a restart in: listen, admin.address, server.workers, state.dir\ngateway.yaml: ok, 1 route, 0 issuers, 1 upstream\n"
        );
        let (_, out, _) = check_with(GOOD, Options { format: Format::Json, ..options });
        let answer: Value = serde_json::from_str(&out).unwrap();
        assert_eq!(answer["routes"], json!([{"name": "a", "description": "/a: every method is open to everybody."}]));
    }

    #[test]
    fn an_issuer_that_does_not_answer() {
        // A port that was free a moment ago.
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let text = format!(
            "issuers: {{a: {{issuer: \"http://127.0.0.1:{port}\", audiences: [api]}}}}
routes: [{{name: a, path: /a, upstream: \"http://127.0.0.1:1\", allow: authenticated}}]"
        );
        let (code, out, err) = check_with(&text, Options { online: true, ..Options::default() });
        assert_eq!((code, &*out), (1, ""));
        assert!(err.contains("error: issuer `a`: no keys: discovery failed: "), "{err}");
        let (_, out, _) = check_with(&text, Options { online: true, format: Format::Json, ..Options::default() });
        let answer: Value = serde_json::from_str(&out).unwrap();
        assert_eq!((&answer["ok"], &answer["issuers"][0]["ok"]), (&json!(false), &json!(false)));
        assert_eq!(answer["diagnostics"][0]["path"], "issuers.a");
        assert_eq!(check(&text, Format::Text).0, 0);
    }

    #[test]
    fn an_issuer_whose_keys_are_at_hand() {
        let text = r#"
issuers:
  a:
    issuer: https://a.example
    audiences: [api]
    jwt: {jwks: {keys: [{kty: OKP, crv: Ed25519, x: 11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo}]}}
routes: [{name: a, path: /a, upstream: "http://127.0.0.1:1", allow: authenticated}]"#;
        let (code, out, err) = check_with(text, Options { online: true, ..Options::default() });
        assert_eq!((code, &*err), (0, ""));
        assert!(out.starts_with("issuer a: 1 usable key\n"), "{out}");
    }
}
