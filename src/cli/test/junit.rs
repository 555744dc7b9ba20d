//! What came of the tests, for CI systems: JUnit's XML.

use std::{fs::File, io, path::Path};

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use super::report::{self, Paint};
use crate::{
    config::Diagnostic,
    policy_tests::{FileResults, Outcome, Results, TestResult},
};

/// Writes the report to a file.
///
/// # Errors
/// Where it can't be written.
pub(super) fn write(results: &Results, path: &Path) -> io::Result<()> {
    report(results).serialize(File::create(path)?).map_err(io::Error::other)
}

fn report(results: &Results) -> Report {
    let mut report = Report::new("bearward test");
    report.add_test_suites(results.files.iter().map(|file| suite(file, results)));
    report
}

fn suite(file: &FileResults, results: &Results) -> TestSuite {
    let mut suite = TestSuite::new(&file.name);
    match &file.outcome {
        Outcome::Ran(_, tests) => {
            suite.add_test_cases(tests.iter().map(|test| case(file, test, results)));
        }
        Outcome::Unreadable(diagnostics) => {
            suite.add_test_case(broken(file, "the file can't be read", diagnostics));
        }
        Outcome::Unusable(index) => {
            let configuration = results.configurations.get(*index);
            let diagnostics = configuration.map(|configuration| configuration.problems()).unwrap_or_default();
            suite.add_test_case(broken(file, "the configuration can't be used", diagnostics));
        }
    }
    suite
}

fn case(file: &FileResults, test: &TestResult, results: &Results) -> TestCase {
    let status = match test.mismatches.first() {
        None => TestCaseStatus::success(),
        Some(first) => {
            let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
            status.set_message(format!("{}: expected {}, got {}", first.what, first.expected, first.got));
            status.set_description(report::failure(file, test, results, &Paint::new(false)));
            status
        }
    };
    let mut case = TestCase::new(&test.name, status);
    case.set_classname(&file.name).set_time(test.took);
    case
}

/// Stands for all tests of a file that couldn't run.
fn broken(file: &FileResults, what: &str, diagnostics: &[Diagnostic]) -> TestCase {
    let mut status = TestCaseStatus::non_success(NonSuccessKind::Error);
    let paragraphs = diagnostics.iter().map(|diagnostic| diagnostic.render(false)).collect::<Vec<_>>();
    status.set_message(what).set_description(paragraphs.join("\n"));
    let mut case = TestCase::new(what, status);
    case.set_classname(&file.name);
    case
}
