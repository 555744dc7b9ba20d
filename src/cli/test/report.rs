//! What came of the tests, for people: a line a test, then what failed and why, then what no test reached.

use std::{
    fmt::{self, Write as _},
    io::{self, Write},
    sync::Arc,
};

use crate::{
    config::{Diagnostic, Policy, printable},
    describe,
    explain::Explanation,
    policy::Access,
    policy_tests::{Configuration, FileResults, Gaps, Outcome, Results, Subject, TestResult},
};

/// Where colours may be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Colours {
    /// In what came of the tests.
    pub out: bool,
    /// In problems with files.
    pub err: bool,
}

/// Writes results to `out` and problems with files to `err`.
///
/// # Errors
/// Where they can't be written to.
pub(super) fn write(results: &Results, colours: Colours, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<()> {
    let paint = Paint::new(colours.out);
    for configuration in &results.configurations {
        write_all(configuration.problems(), colours.err, err)?;
    }
    for file in &results.files {
        write_file(file, results, &paint, out)?;
        if let Outcome::Unreadable(diagnostics) = &file.outcome {
            write_all(diagnostics, colours.err, err)?;
        }
    }
    for file in &results.files {
        for test in file.outcome.tests().iter().filter(|test| !test.passed()) {
            write!(out, "\n{}", failure(file, test, results, &paint))?;
        }
    }
    writeln!(out, "\n{}", summary(results, &paint))?;
    for configuration in &results.configurations {
        if let Ok(subject) = &configuration.subject
            && results.files.iter().any(|file| !file.outcome.tests().is_empty())
        {
            write!(out, "{}", coverage(configuration, subject))?;
        }
    }
    Ok(())
}

fn write_all(diagnostics: &[Diagnostic], colour: bool, err: &mut dyn Write) -> io::Result<()> {
    diagnostics.iter().try_for_each(|diagnostic| writeln!(err, "{}", diagnostic.render(colour)))
}

fn write_file(file: &FileResults, results: &Results, paint: &Paint, out: &mut dyn Write) -> io::Result<()> {
    let configuration = |index: usize| {
        results
            .configurations
            .get(index)
            .map(|configuration| configuration.path.display().to_string())
            .unwrap_or_default()
    };
    match &file.outcome {
        Outcome::Ran(index, tests) => {
            writeln!(out, "{} ({})", file.name, configuration(*index))?;
            for test in tests {
                let verdict = match test.passed() {
                    true => paint.good("ok    "),
                    false => paint.bad("FAILED"),
                };
                writeln!(out, "  {verdict}  {}", printable(&test.name))?;
            }
            Ok(())
        }
        Outcome::Unreadable(_) => writeln!(out, "{}: {}", file.name, paint.bad("can't be read")),
        Outcome::Unusable(index) => {
            writeln!(out, "{}: {} can't be used", file.name, paint.bad(&configuration(*index)))
        }
    }
}

/// What a test expected and got, and how the decision came about.
pub(super) fn failure(file: &FileResults, test: &TestResult, results: &Results, paint: &Paint) -> String {
    let mut text = String::new();
    // Writing to a String can't fail.
    let _ = write_failure(&mut text, file, test, results, paint);
    text
}

fn write_failure(
    text: &mut String,
    file: &FileResults,
    test: &TestResult,
    results: &Results,
    paint: &Paint,
) -> fmt::Result {
    writeln!(text, "{}: {} ({}:{})", paint.bad("FAILED"), printable(&test.name), file.name, test.line)?;
    writeln!(text, "  {}", printable(&test.request))?;
    for part in &test.mismatches {
        let (expected, got) = (printable(&part.expected), printable(&part.got));
        writeln!(text, "  {}: expected {}, got {}", part.what, paint.good(&expected), paint.bad(&got))?;
    }
    if let (Some(subject), Some(evidence)) = (results.subject_of(file), &test.evidence) {
        writeln!(text)?;
        let trace = Explanation::new(subject.snapshot(), &evidence.question, &evidence.answer).to_text(paint.colour);
        for line in trace.lines() {
            writeln!(text, "{}", format!("    {line}").trim_end())?;
        }
    }
    Ok(())
}

fn summary(results: &Results, paint: &Paint) -> String {
    let failed = results.tests().filter(|test| !test.passed()).count();
    let passed = results.tests().count() - failed;
    let mut parts = vec![format!("{passed} passed")];
    if failed > 0 {
        parts.push(paint.bad(&format!("{failed} failed")));
    }
    let count = |is: fn(&Outcome) -> bool| results.files.iter().filter(|file| is(&file.outcome)).count();
    let unreadable = count(|outcome| matches!(outcome, Outcome::Unreadable(_)));
    let unusable = count(|outcome| matches!(outcome, Outcome::Unusable(_)));
    for (number, what) in [(unreadable, "can't be read"), (unusable, "can't run")] {
        match number {
            0 => {}
            1 => parts.push(paint.bad(&format!("1 file {what}"))),
            number => parts.push(paint.bad(&format!("{number} files {what}"))),
        }
    }
    parts.join(", ")
}

/// Which routes, rules, scopes and roles of a configuration no test reached.
fn coverage(configuration: &Configuration, subject: &Subject) -> String {
    let policy = subject.policy();
    let gaps = subject.gaps();
    let mut text = format!(
        "{}: {} and {} were reached\n",
        configuration.path.display(),
        share(gaps.all_routes - gaps.routes.len(), gaps.all_routes, "route"),
        share(gaps.reached_rules, gaps.all_rules, "rule"),
    );
    for line in missed(&gaps, policy) {
        // Writing to a String can't fail.
        let _ = writeln!(text, "  {line}");
    }
    policy.confidential.mask_text(&mut text);
    text
}

fn share(part: usize, all: usize, what: &str) -> String {
    format!("{part} of {all} {what}{}", if all == 1 { "" } else { "s" })
}

fn missed(gaps: &Gaps, policy: &Policy) -> Vec<String> {
    let route = |index: &usize| policy.routes.get(*index);
    let routes = gaps.routes.iter().filter_map(route).map(|route| format!("no test reaches route {}", route.name));
    let rules = gaps.rules.iter().filter_map(|(index, rule)| {
        let route = route(index)?;
        Some(match &route.allow {
            Access::Rules(rules) => {
                format!(
                    "no test is let in by rule {} of route {}: {}",
                    rule + 1,
                    route.name,
                    describe::rule(rules.get(*rule)?)
                )
            }
            Access::Public | Access::Optional | Access::Authenticated => {
                format!("no test is let in by route {}", route.name)
            }
        })
    });
    let unused = |what: &str, names: &[Arc<str>]| {
        let plural = if names.len() == 1 { "" } else { "s" };
        (!names.is_empty()).then(|| format!("no token has {what}{plural} {}", names.join(", ")))
    };
    let names = [unused("scope", &gaps.scopes), unused("role", &gaps.roles)];
    routes.chain(rules).chain(names.into_iter().flatten()).collect()
}

/// Terminal colours, or none.
#[derive(Debug)]
pub(super) struct Paint {
    colour: bool,
}

impl Paint {
    pub(super) fn new(colour: bool) -> Paint {
        Paint { colour }
    }

    fn good(&self, text: &str) -> String {
        self.with("32", text)
    }

    fn bad(&self, text: &str) -> String {
        self.with("1;31", text)
    }

    fn with(&self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::policy_tests;

    fn report(colour: bool) -> String {
        let folder = tempfile::tempdir().unwrap();
        let config = "issuers: {a: {issuer: \"https://a.example\", audiences: [api]}}\n\
                      routes: [{name: orders, path: /orders, upstream: \"http://127.0.0.1:1\", allow: [{scopes: [read]}]}]";
        let tests = "config: gateway.yaml\ntests:\n\
                     - {name: \"good \\e[2J\", request: GET /orders, expect: {status: 401}}\n\
                     - name: bad\n  request: GET /orders\n  token: {issuer: a, claims: {sub: \"u\\e[2J\", scope: read}}\n  \
                     expect: {decision: deny, upstream_headers: {X-Auth-Subject: v, X-Auth-Roles: {present: true}}}";
        let file = folder.path().join("g.test.yaml");
        std::fs::write(folder.path().join("gateway.yaml"), config).unwrap();
        std::fs::write(&file, tests).unwrap();
        let results = policy_tests::run(&[file], Path::new("other.yaml"), &|_| None).unwrap();
        let (mut out, mut err) = (Vec::new(), Vec::new());
        write(&results, Colours { out: colour, err: colour }, &mut out, &mut err).unwrap();
        assert_eq!(String::from_utf8(err).unwrap(), "");
        let out = String::from_utf8(out).unwrap().replace(&folder.path().join("").display().to_string(), "");
        // What tells the time differs each time.
        out.lines().filter(|line| !line.contains(" UTC, ")).map(|line| format!("{line}\n")).collect()
    }

    #[test]
    fn for_people() {
        insta::assert_snapshot!(report(false));
    }

    #[test]
    fn colours_are_for_terminals_and_no_name_steers_one() {
        assert!(!report(false).contains('\u{1b}'));
        let coloured = report(true);
        assert!(
            coloured.contains("\u{1b}[32mok")
                && coloured.contains("\u{1b}[1;31m1 failed")
                && !coloured.contains("\u{1b}[2J")
        );
    }
}
