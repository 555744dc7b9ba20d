//! `bearward check`: says what is wrong with a configuration, and what is unwise.

use std::{
    io::{self, Write},
    path::Path,
};

use serde_json::json;

use crate::config::{self, Diagnostic, Environment, Loaded, Severity};

/// How the findings are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For people: a paragraph for each, on stderr.
    Text,
    /// One JSON object on stdout.
    Json,
}

/// Checks a file and writes what is found. Returns the exit code: 0 where the configuration can be used, else 1.
///
/// # Errors
/// Where `out` or `err` can't be written to.
pub fn run(
    path: &Path,
    environment: &Environment<'_>,
    format: Format,
    color: bool,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> io::Result<u8> {
    let loaded = config::load(path, environment);
    let (ok, diagnostics) = match &loaded {
        Ok(loaded) => (true, &loaded.warnings),
        Err(diagnostics) => (false, diagnostics),
    };
    match format {
        Format::Json => {
            let diagnostics = diagnostics.iter().map(as_json).collect::<Vec<_>>();
            writeln!(out, "{}", json!({"ok": ok, "diagnostics": diagnostics}))?;
        }
        Format::Text => {
            for diagnostic in diagnostics {
                writeln!(err, "{}", diagnostic.render(color))?;
            }
            match &loaded {
                Ok(loaded) => writeln!(out, "{}: ok, {}", path.display(), summary(loaded))?,
                Err(diagnostics) => writeln!(err, "{}: {}", path.display(), counted(diagnostics))?,
            }
        }
    }
    Ok(u8::from(!ok))
}

fn as_json(diagnostic: &Diagnostic) -> serde_json::Value {
    let severity = match diagnostic.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    json!({
        "severity": severity,
        "message": diagnostic.message,
        "file": diagnostic.file,
        "line": diagnostic.line,
        "column": diagnostic.column,
        "path": diagnostic.path,
        "hint": diagnostic.hint,
    })
}

fn summary(loaded: &Loaded) -> String {
    let policy = &loaded.policy;
    let parts = [
        count(policy.routes.len(), "route"),
        count(policy.issuers.len(), "issuer"),
        count(policy.upstreams.len(), "upstream"),
    ];
    let warnings = match loaded.warnings.len() {
        0 => String::new(),
        number => format!("; {}", count(number, "warning")),
    };
    format!("{}{warnings}", parts.join(", "))
}

fn counted(diagnostics: &[Diagnostic]) -> String {
    let errors = diagnostics.iter().filter(|diagnostic| diagnostic.severity == Severity::Error).count();
    match diagnostics.len() - errors {
        0 => count(errors, "error"),
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
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gateway.yaml");
        std::fs::write(&path, text).unwrap();
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let code = run(&path, &|_| None, format, false, &mut out, &mut err).unwrap();
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
        let code = run(Path::new("/nowhere/g.yaml"), &|_| None, Format::Text, false, &mut out, &mut err).unwrap();
        assert_eq!(code, 1);
        assert!(String::from_utf8(err).unwrap().contains("there is no such file"));
    }
}
