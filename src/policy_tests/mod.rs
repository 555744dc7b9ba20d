//! Policy tests: requests with assumed tokens, decided by the code that decides live traffic, and held against what
//! their author expects. No network, no clock but that of the process.

mod beside;
pub mod coverage;
mod mismatch;
mod subject;

use std::{
    io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use self::subject::Prepared;
pub use self::{beside::unused_scopes, coverage::Gaps, mismatch::Mismatch, subject::Subject};
use crate::{
    config::{self, Diagnostic, Environment, TestFile, WrittenTest},
    rehearsal::{Answer, Question},
};

/// What came of all files.
#[derive(Debug, Default)]
pub struct Results {
    /// In the order in which they were given.
    pub files: Vec<FileResults>,
    /// The configurations that they are about, each once.
    pub configurations: Vec<Configuration>,
}

/// A configuration under test.
#[derive(Debug)]
pub struct Configuration {
    /// As the test file or the command line named it.
    pub path: PathBuf,
    /// What is wrong with it, where it can't be used.
    pub subject: Result<Subject, Vec<Diagnostic>>,
}

/// What came of one file.
#[derive(Debug)]
pub struct FileResults {
    /// As it was named.
    pub name: String,
    /// What came of it.
    pub outcome: Outcome,
}

/// What came of a file's tests.
#[derive(Debug)]
pub enum Outcome {
    /// They ran, in the file's order, against the configuration of this index.
    Ran(usize, Vec<TestResult>),
    /// The file can't be read.
    Unreadable(Vec<Diagnostic>),
    /// The configuration of this index can't be used.
    Unusable(usize),
}

/// What came of one test.
#[derive(Debug)]
pub struct TestResult {
    /// What it is called.
    pub name: String,
    /// Where it begins in its file, from 1.
    pub line: usize,
    /// The request in a line.
    pub request: String,
    /// What isn't as expected; empty: it passed.
    pub mismatches: Vec<Mismatch>,
    /// How the decision came about, where the test failed.
    pub evidence: Option<Box<Evidence>>,
    /// How long it took.
    pub took: Duration,
}

/// A request and what came of it.
#[derive(Debug)]
pub struct Evidence {
    /// What was asked.
    pub question: Question,
    /// What would be answered.
    pub answer: Answer,
}

impl Outcome {
    /// Those that ran.
    pub fn tests(&self) -> &[TestResult] {
        match self {
            Outcome::Ran(_, tests) => tests,
            Outcome::Unreadable(_) | Outcome::Unusable(_) => &[],
        }
    }
}

impl Configuration {
    /// What is wrong with it, or speaks for caution.
    pub fn problems(&self) -> &[Diagnostic] {
        match &self.subject {
            Ok(subject) => subject.warnings(),
            Err(diagnostics) => diagnostics,
        }
    }
}

impl TestResult {
    /// Whether all was as expected.
    pub fn passed(&self) -> bool {
        self.mismatches.is_empty()
    }
}

impl Results {
    /// All tests that ran.
    pub fn tests(&self) -> impl Iterator<Item = &TestResult> {
        self.files.iter().flat_map(|file| file.outcome.tests())
    }

    /// What a file's tests were run against.
    pub fn subject_of(&self, file: &FileResults) -> Option<&Subject> {
        match &file.outcome {
            Outcome::Ran(index, _) => self.configurations.get(*index)?.subject.as_ref().ok(),
            Outcome::Unreadable(_) | Outcome::Unusable(_) => None,
        }
    }

    /// All files that had a say, for whoever watches them.
    pub fn files_read(&self) -> Vec<PathBuf> {
        let tests = self.files.iter().map(|file| PathBuf::from(&file.name));
        let configurations = self.configurations.iter().flat_map(|configuration| {
            let read = match &configuration.subject {
                Ok(subject) => subject.files_read().to_vec(),
                // Of one that can't be used: where what is wrong with it stands.
                Err(diagnostics) => diagnostics.iter().map(|diagnostic| PathBuf::from(&diagnostic.file)).collect(),
            };
            read.into_iter().chain([configuration.path.clone()])
        });
        tests.chain(configurations).collect()
    }
}

/// Runs all tests of these files. A file that names no configuration is about `default_config`.
///
/// # Errors
/// Where the machine has no runtime for it.
pub fn run(files: &[PathBuf], default_config: &Path, environment: &Environment<'_>) -> io::Result<Results> {
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let mut results = Results::default();
    for path in files {
        let outcome = match config::read_tests(path, environment) {
            Ok(file) => runtime.block_on(results.run_file(&file, default_config, environment)),
            Err(diagnostics) => Outcome::Unreadable(diagnostics),
        };
        results.files.push(FileResults { name: path.display().to_string(), outcome });
    }
    Ok(results)
}

impl Results {
    async fn run_file(&mut self, file: &TestFile, default_config: &Path, environment: &Environment<'_>) -> Outcome {
        let index = self.configuration(file.config.as_deref().unwrap_or(default_config), environment);
        let Some(Ok(subject)) = self.configurations.get_mut(index).map(|configuration| &mut configuration.subject)
        else {
            return Outcome::Unusable(index);
        };
        let (mut prepared, mut wrong) = (Vec::with_capacity(file.tests.len()), Vec::new());
        for test in &file.tests {
            match subject.prepare(file, test) {
                Ok(test) => prepared.push(test),
                Err(diagnostic) => wrong.push(*diagnostic),
            }
        }
        if !wrong.is_empty() {
            return Outcome::Unreadable(wrong);
        }
        let mut tests = Vec::with_capacity(prepared.len());
        for (test, prepared) in file.tests.iter().zip(prepared) {
            tests.push(run_test(subject, test, prepared).await);
        }
        Outcome::Ran(index, tests)
    }

    /// The index of the configuration at this path, loaded by now.
    fn configuration(&mut self, path: &Path, environment: &Environment<'_>) -> usize {
        let same = |other: &Path| {
            other == path || other.canonicalize().is_ok_and(|other| path.canonicalize().is_ok_and(|path| path == other))
        };
        if let Some(index) = self.configurations.iter().position(|known| same(&known.path)) {
            return index;
        }
        self.configurations.push(Configuration { path: path.to_owned(), subject: Subject::load(path, environment) });
        self.configurations.len() - 1
    }
}

async fn run_test(subject: &mut Subject, test: &WrittenTest, prepared: Prepared) -> TestResult {
    let began = Instant::now();
    let answer = subject.run(&prepared).await;
    let mismatches = mismatch::all(&test.expect, &answer, subject.snapshot());
    let question = prepared.into_question();
    TestResult {
        name: test.name.clone(),
        line: test.line,
        request: format!("{} {}", test.request.method, test.request.url),
        evidence: (!mismatches.is_empty()).then(|| Box::new(Evidence { question, answer })),
        mismatches,
        took: began.elapsed(),
    }
}
