//! `bearward schema`

use std::{
    io::{self, Write},
    process::ExitCode,
};

use super::NO;
use crate::config;

pub(super) fn run(reference: bool) -> ExitCode {
    let text = if reference { config::reference() } else { config::json_schema() };
    match io::stdout().lock().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        // Nobody reads the answer.
        Err(_) => ExitCode::from(NO),
    }
}
