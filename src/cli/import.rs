//! `bearward import`

use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use clap::Subcommand;

use super::{NO, WRONG_USAGE, complain, complain_of};
use crate::import::{self, Made, Wanted};

#[derive(Debug, Subcommand)]
pub(super) enum ImportCommand {
    /// Make routes with scopes of an OpenAPI document
    ///
    /// Prints a whole configuration that passes `bearward check`: a route for each path of an OpenAPI 3.0 or 3.1 document in
    /// YAML or JSON, with the rules that its `security` asks for. Only what the document opens by an empty requirement is
    /// public. What can't be said is let in for nobody and told in a comment, `Note:`. Exits with 2 where the document can't
    /// be read, or where something is lacking.
    #[command(after_help = "Examples:\n  \
        bearward import openapi api.yaml --issuer https://login.example.com --audience orders-api > gateway.yaml\n  \
        bearward import openapi - --audience orders-api --upstream http://127.0.0.1:9000 > gateway.yaml\n  \
        bearward import openapi api.json --issuer https://login.example.com --audience a --audience b --hosts")]
    Openapi {
        /// The document; `-` reads it from stdin
        file: PathBuf,
        /// Who issues the tokens: what they have in `iss` [default: the document's `openIdConnectUrl`]
        #[arg(long, value_name = "URL")]
        issuer: Option<String>,
        /// Whom the tokens are for: what they have in `aud`; may be given several times
        #[arg(long = "audience", value_name = "NAME")]
        audiences: Vec<String>,
        /// Where requests go [default: the document's `servers`]
        #[arg(long, value_name = "URL")]
        upstream: Option<String>,
        /// Take requests for the host of the document's `servers` alone, not for any [default: only if it has several]
        #[arg(long)]
        hosts: bool,
    },
}

pub(super) fn run(command: ImportCommand) -> ExitCode {
    let ImportCommand::Openapi { file, issuer, audiences, upstream, hosts } = command;
    let wanted = Wanted { issuer, audiences, upstream, hosts };
    let made = match file.to_str() {
        Some("-") => import::openapi_from("stdin", io::stdin().lock(), &wanted),
        _ => import::openapi_file(&file, &wanted),
    };
    let Made { text, notes } = match made {
        Ok(made) => made,
        Err(wrong) => {
            complain_of(&wrong);
            return ExitCode::from(WRONG_USAGE);
        }
    };
    if io::stdout().lock().write_all(text.as_bytes()).is_err() {
        // Nobody reads the answer.
        return ExitCode::from(NO);
    }
    match notes {
        0 => {}
        1 => complain("1 note in what was written, on what the document says and it can't: read the line with `Note:`"),
        _ => complain(format_args!(
            "{notes} notes in what was written, on what the document says and it can't: read the lines with `Note:`"
        )),
    }
    ExitCode::SUCCESS
}
