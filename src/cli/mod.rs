//! The command line: one file a command.

pub mod check;
mod explain;
mod import;
pub mod run;
mod schema;
pub mod test;
mod token;

use std::{
    ffi::OsString,
    io::{self, IsTerminal, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum, ValueHint};

use crate::config::Diagnostic;

/// The answer is no.
const NO: u8 = 1;
/// What was asked for can't be understood, or isn't there.
const WRONG_USAGE: u8 = 2;
/// A configuration can't be used (EX_CONFIG of sysexits.h).
const UNUSABLE_CONFIGURATION: u8 = 78;

#[derive(Debug, Parser)]
#[command(
    name = "bearward",
    version,
    about = "A reverse-proxy API gateway that enforces OAuth 2.0 bearer tokens",
    after_help = "First steps: `bearward demo` shows a gateway at work, with curl lines to paste.\n\
                  Exit codes: 0 good, 1 the answer is no, 2 wrong usage, 78 the configuration can't be used.\n\
                  Colour is for terminals alone; `NO_COLOR=1` turns it off there."
)]
struct Arguments {
    /// The configuration to go by
    #[arg(long, short, global = true, value_name = "FILE", default_value = "gateway.yaml")]
    config: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve
    ///
    /// Logs `listening` with the real address of every listener, then `ready`. SIGTERM or SIGINT: not ready any more,
    /// then no new connections, then exit when the last request has ended or `server.drain_timeout` is over.
    #[command(after_help = "Examples:\n  \
        bearward run\n  \
        bearward run --config /etc/bearward/gateway.yaml\n  \
        bearward run --shadow next.yaml    # what would change with it?")]
    Run {
        /// Another configuration that decides each request beside the one in force: what it would decide otherwise is told
        /// in the log, the metrics and `/status`, and changes nothing
        #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
        shadow: Option<PathBuf>,
    },
    /// Say what is wrong with the configuration, or unwise
    ///
    /// Reads, resolves and compiles the file, with no network unless `--online`, and prints all of its errors and
    /// warnings. Exits with 0 where the configuration can be used, else with 1.
    #[command(after_help = "Examples:\n  \
        bearward check\n  \
        bearward check --config gateway.yaml --format json\n  \
        bearward check --without-secrets --deny-warnings    # in CI\n  \
        bearward check --online --describe                  # before going live")]
    Check(CheckArguments),
    /// Say why a request would be let in, or not
    ///
    /// Which route, and why not its neighbours; each step of the token's verification; each rule; what would go
    /// upstream; and the smallest change that would let it in. By the code that decides live traffic, which fetches keys
    /// as it does; nothing is sent upstream, counted or cached. Without a token or claims: a request that has none.
    #[command(after_help = "Examples:\n  \
        bearward explain --url https://api.example.com/rest/x --token-file token.txt\n  \
        pbpaste | bearward explain --method POST --url /rest/x --token-file -\n  \
        bearward explain --url /rest/x --issuer cern --claims '{\"sub\": \"u1\", \"scope\": \"x:read\"}'\n  \
        bearward explain --url /rest/x --json --exit-code    # in scripts")]
    Explain(Box<explain::ExplainArguments>),
    /// Run policy tests
    ///
    /// Decides each test's request with the code that decides live traffic, without any network, and holds what comes of
    /// it against what the test expects. Says at the end which routes and rules no test reached. Exits with 0 where all
    /// passed, 1 where one failed, 2 where a file of tests can't be read, 78 where its configuration can't be used.
    #[command(after_help = "Examples:\n  \
        bearward test gateway.test.yaml\n  \
        bearward test --watch gateway.test.yaml\n  \
        bearward test --junit results.xml orders.test.yaml users.test.yaml    # in CI\n\n\
        A file of tests:\n  \
        config: gateway.yaml\n  \
        tests:\n    \
        - name: readers list orders\n      \
        request: GET https://api.example.com/orders\n      \
        token: {issuer: login, claims: {sub: u1, scope: \"orders:read\"}}   # iss, aud, exp are filled in\n      \
        expect: {decision: allow, route: orders}")]
    Test(test::TestArguments),
    /// Show a gateway at work, in one process on loopback
    ///
    /// Starts issuers of tokens that answer as four systems do (Docebo, Digitaleo, Degreed, CERN), an API that answers with
    /// what it got, and the gateway before it. Prints curl lines to paste, each with the status that comes.
    #[command(after_help = "Examples:\n  \
        bearward demo\n  \
        bearward demo --port 9000")]
    Demo {
        /// The gateway's port
        #[arg(long, default_value_t = 8080)]
        port: u16,
    },
    /// Make a configuration of what there is already
    #[command(
        subcommand,
        after_help = "Examples:\n  \
        bearward import openapi api.yaml --issuer https://login.example.com --audience orders-api > gateway.yaml"
    )]
    Import(import::ImportCommand),
    /// Show what is in a token, or make one for tests
    #[command(
        subcommand,
        after_help = "Examples:\n  \
        bearward token decode -\n  \
        bearward token sign --key key.pem --claims '{\"sub\": \"u1\"}'"
    )]
    Token(token::TokenCommand),
    /// Print the JSON Schema of gateway.yaml, for editors
    ///
    /// With it, an editor completes keys, shows what they mean, and marks mistakes: name it in the file's first line as
    /// `# yaml-language-server: $schema=gateway.schema.json`. `bearward check` knows more than a schema can say.
    #[command(after_help = "Examples:\n  \
        bearward schema > gateway.schema.json\n  \
        bearward schema --reference > reference.md")]
    Schema {
        /// Print a page that says what each key means instead, in Markdown
        #[arg(long)]
        reference: bool,
    },
    /// Print completions for a shell
    #[command(after_help = "Examples:\n  \
        bearward completions bash > /etc/bash_completion.d/bearward\n  \
        bearward completions zsh > \"${fpath[1]}/_bearward\"\n  \
        bearward completions fish > ~/.config/fish/completions/bearward.fish")]
    Completions {
        /// The shell
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
}

#[derive(Clone, Copy, Debug, Args)]
struct CheckArguments {
    /// How to print what was found
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Exit with 1 for a warning too
    #[arg(long)]
    deny_warnings: bool,
    /// Say each route in a sentence
    #[arg(long)]
    describe: bool,
    /// Take placeholders for unset variables, and for missing files in `${file:…}` and of private keys
    #[arg(long)]
    without_secrets: bool,
    /// Fetch each issuer's keys, too
    #[arg(long)]
    online: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    Text,
    Json,
}

/// Runs one command.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(wrong) => {
            // Help and version are "errors" with code 0. A closed stdout or stderr leaves nobody to tell.
            let _ = wrong.print();
            return u8::try_from(wrong.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from);
        }
    };
    match arguments.command {
        Command::Run { shadow } => run::run(&arguments.config, shadow.as_deref()),
        Command::Check(asked) => check(&arguments.config, asked),
        Command::Explain(asked) => explain(&arguments.config, &asked),
        Command::Test(asked) => test::command(&arguments.config, asked),
        Command::Demo { port } => crate::demo::run(port),
        Command::Import(command) => import::run(command),
        Command::Token(command) => token::run(command),
        Command::Schema { reference } => schema::run(reference),
        Command::Completions { shell } => completions(shell),
    }
}

fn completions(shell: clap_complete::Shell) -> ExitCode {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "bearward", &mut script);
    match io::stdout().lock().write_all(&script) {
        Ok(()) => ExitCode::SUCCESS,
        // Nobody reads the answer.
        Err(_) => ExitCode::from(NO),
    }
}

/// Whether what goes to stderr may be coloured.
fn colour_on_stderr() -> bool {
    colour_on(&io::stderr())
}

/// Whether what goes there may be coloured (see no-color.org).
fn colour_on(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

fn check(path: &Path, asked: CheckArguments) -> ExitCode {
    let options = check::Options {
        format: match asked.format {
            Format::Text => check::Format::Text,
            Format::Json => check::Format::Json,
        },
        color: colour_on_stderr(),
        deny_warnings: asked.deny_warnings,
        describe: asked.describe,
        without_secrets: asked.without_secrets,
        online: asked.online,
    };
    let (mut out, mut err) = (io::stdout().lock(), io::stderr().lock());
    match check::run(path, &environment, options, &mut out, &mut err) {
        Ok(code) => ExitCode::from(code),
        // Nobody reads the answer.
        Err(_) => ExitCode::from(NO),
    }
}

fn explain(path: &Path, asked: &explain::ExplainArguments) -> ExitCode {
    let colour = (colour_on(&io::stdout()), colour_on_stderr());
    let (mut out, mut err) = (io::stdout().lock(), io::stderr().lock());
    match explain::run(path, &environment, asked, colour, &mut io::stdin().lock(), (&mut out, &mut err)) {
        Ok(code) => ExitCode::from(code),
        // Nobody reads the answer.
        Err(_) => ExitCode::from(NO),
    }
}

/// The process's environment variables, for `${NAME}`.
fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Problems with a configuration, one a paragraph.
fn complain_of(diagnostics: &[Diagnostic]) {
    let colour = colour_on_stderr();
    let paragraphs = diagnostics.iter().map(|diagnostic| diagnostic.render(colour)).collect::<Vec<_>>();
    complain(paragraphs.join("\n"));
}

/// Writes to stderr; one that is closed leaves nobody to tell.
fn complain(text: impl std::fmt::Display) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;

    /// Every command and subcommand, with the words that call it.
    fn commands() -> Vec<(String, clap::Command)> {
        fn add(before: &str, command: &clap::Command, all: &mut Vec<(String, clap::Command)>) {
            let name = format!("{before} {}", command.get_name()).trim().to_owned();
            for below in command.get_subcommands().filter(|below| below.get_name() != "help") {
                add(&name, below, all);
            }
            all.push((name, command.clone()));
        }
        let mut all = Vec::new();
        let mut command = Arguments::command();
        command.build();
        add("", &command, &mut all);
        all
    }

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn help() {
        for (name, command) in commands() {
            let help = command.term_width(100).render_long_help().to_string();
            insta::with_settings!({ omit_expression => true }, {
                insta::assert_snapshot!(format!("help {name}").replace(' ', "-"), help);
            });
        }
    }

    #[test]
    fn every_command_has_an_example_that_can_be_parsed() {
        for (name, command) in commands() {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains(&name), "`{name} --help` has no example");
            for line in help.lines().filter(|line| line.starts_with("  bearward ")) {
                let line = line.split(" > ").next().and_then(|line| line.split(" # ").next()).unwrap_or_default();
                let words = line.split('\'').enumerate().flat_map(|(place, part)| match place % 2 {
                    0 => part.split_whitespace().collect::<Vec<_>>(),
                    _ => vec![part],
                });
                if let Err(wrong) = Arguments::try_parse_from(words) {
                    panic!("{line}: {wrong}");
                }
            }
        }
    }

    #[test]
    fn completions_for_each_shell() {
        for shell in clap_complete::Shell::value_variants() {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Arguments::command(), "bearward", &mut script);
            assert!(String::from_utf8(script).unwrap().contains("without-secrets"), "{shell}");
        }
    }
}
