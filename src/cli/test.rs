//! `bearward test`: policy tests, in the manner of a test runner.

mod junit;
mod report;
mod watch;

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use clap::Args;

pub use self::report::Colours;
use self::watch::Watch;
use super::{NO, UNUSABLE_CONFIGURATION, WRONG_USAGE, colour_on, complain, environment};
use crate::{
    config::Environment,
    policy_tests::{self, Outcome, Results},
};

#[derive(Debug, Args)]
pub(super) struct TestArguments {
    /// Files of tests; one that names no configuration is about that of `--config`
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Write the results to a file, too, as JUnit's XML
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Run again at each change of the tests, the configuration or what it reads
    #[arg(long)]
    watch: bool,
}

/// What is asked for.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The files of tests.
    pub files: Vec<PathBuf>,
    /// Where results go as JUnit's XML.
    pub junit: Option<PathBuf>,
    /// Where colours may be used.
    pub colours: Colours,
}

/// Runs the tests on the process's own streams.
pub(super) fn command(config: &Path, asked: TestArguments) -> ExitCode {
    let colours = Colours { out: colour_on(&io::stdout()), err: colour_on(&io::stderr()) };
    let options = Options { files: asked.files, junit: asked.junit, colours };
    let (mut out, mut err) = (io::stdout().lock(), io::stderr().lock());
    let ran = match asked.watch {
        true => watch(&options, config, &environment, &mut out, &mut err),
        false => run(&options, config, &environment, &mut out, &mut err),
    };
    drop((out, err));
    match ran {
        Ok(code) => ExitCode::from(code),
        // Nobody reads the answer.
        Err(why) if why.kind() == io::ErrorKind::BrokenPipe => ExitCode::from(NO),
        Err(why) => {
            complain(format_args!("error: {why}"));
            ExitCode::from(WRONG_USAGE)
        }
    }
}

/// Runs the tests once and writes what came of them. Returns the exit code: 0 where all passed, 2 where a file of tests
/// can't be read, 78 where a configuration can't be used, else 1.
///
/// # Errors
/// Where `out`, `err` or the JUnit file can't be written to.
pub fn run(
    options: &Options,
    config: &Path,
    environment: &Environment<'_>,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> io::Result<u8> {
    let results = policy_tests::run(&options.files, config, environment)?;
    tell(&results, options, out, err)?;
    Ok(exit_code(&results))
}

/// Runs the tests, and again each time that a file changes which had a say, until the process is ended.
///
/// # Errors
/// Where `out`, `err` or the JUnit file can't be written to.
pub fn watch(
    options: &Options,
    config: &Path,
    environment: &Environment<'_>,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> io::Result<u8> {
    const LONG: Duration = Duration::from_secs(24 * 3600);
    let mut watch = Watch::new();
    // From before they are read for the first time.
    watch.add(options.files.iter().cloned());
    watch.add([config.to_owned()]);
    loop {
        let results = policy_tests::run(&options.files, config, environment)?;
        tell(&results, options, out, err)?;
        watch.add(results.files_read());
        writeln!(out, "\nwatching {} files, until Ctrl-C", watch.len())?;
        out.flush()?;
        let changed = std::iter::repeat_with(|| watch.changed_within(LONG)).find(|changed| !changed.is_empty());
        let names = changed.iter().flatten().map(|path| path.display().to_string()).collect::<Vec<_>>();
        writeln!(out, "\nchanged: {}\n", names.join(", "))?;
    }
}

fn tell(results: &Results, options: &Options, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<()> {
    report::write(results, options.colours, out, err)?;
    match &options.junit {
        None => Ok(()),
        Some(path) => junit::write(results, path)
            .map_err(|why| io::Error::new(why.kind(), format!("can't write {}: {why}", path.display()))),
    }
}

fn exit_code(results: &Results) -> u8 {
    let any = |is: fn(&Outcome) -> bool| results.files.iter().any(|file| is(&file.outcome));
    if any(|outcome| matches!(outcome, Outcome::Unreadable(_))) {
        WRONG_USAGE
    } else if any(|outcome| matches!(outcome, Outcome::Unusable(_))) {
        UNUSABLE_CONFIGURATION
    } else if results.tests().any(|test| !test.passed()) {
        NO
    } else {
        0
    }
}
