//! A configuration made of what others have written: an OpenAPI document.
//!
//! ```text
//! document -> api (security, server) -> plan (place, access, template) -> write
//! ```
//!
//! Nothing is opened by omission or by mistake: what can't be said becomes a rule that nobody meets and a note, and what is
//! public is so by an empty requirement of the document.

mod access;
mod api;
mod names;
mod notes;
mod place;
mod plan;
mod security;
mod server;
mod template;
mod write;
mod yaml_text;

#[cfg(test)]
mod tests;

use std::{io::Read, path::Path};

use self::{plan::Plan, yaml_text::block};
use crate::config::{self, Diagnostic, Document};

/// What a document lacks.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Who issues the tokens, whatever the document says: their `iss`.
    pub issuer: Option<String>,
    /// Whom the tokens are for: one of these must be in `aud`.
    pub audiences: Vec<String>,
    /// Where requests go, whatever the document says.
    pub upstream: Option<String>,
    /// Keeps the document's host even if it has only one.
    pub hosts: bool,
}

/// A configuration that was made.
#[derive(Clone, Debug)]
pub struct Made {
    /// The whole file.
    pub text: String,
    /// How many notes are in it: what can't be said, and what was decided.
    pub notes: usize,
}

/// Makes a configuration of an OpenAPI document in a file.
///
/// # Errors
/// What is wrong with the document or with what was given, and what is lacking.
pub fn openapi_file(path: &Path, wanted: &Wanted) -> Result<Made, Vec<Diagnostic>> {
    let name = path.display().to_string();
    // Where it lies is nobody's business who reads what comes of it.
    let shown = path.file_name().map_or_else(|| name.clone(), |file| file.to_string_lossy().into_owned());
    made(&Document::open(path)?, &name, &shown, wanted)
}

/// The same of what comes in. `name` is what messages call it.
///
/// # Errors
/// As `openapi_file`.
pub fn openapi_from(name: &str, from: impl Read, wanted: &Wanted) -> Result<Made, Vec<Diagnostic>> {
    made(&Document::from_reader(name, from)?, name, name, wanted)
}

fn made(document: &Document, name: &str, shown: &str, wanted: &Wanted) -> Result<Made, Vec<Diagnostic>> {
    wanted.check()?;
    let api = api::read(document, wanted.issuer.is_some())?;
    let plan = Plan::of(api, name, wanted)?;
    let (text, notes) = write::configuration(&plan, shown);
    match config::load_str(&text, "gateway.yaml") {
        Ok(_) => Ok(Made { text, notes }),
        Err(wrong) => {
            let why = wrong.first().map_or("", |first| first.message.as_str());
            Err(vec![Diagnostic::about(name, "", format!("what would come of it is no configuration: {why}"), None)])
        }
    }
}

impl Wanted {
    fn check(&self) -> Result<(), Vec<Diagnostic>> {
        let issuers = self.issuer.iter().map(|issuer| ("--issuer", with_issuer(issuer, "a")));
        let audiences =
            self.audiences.iter().map(|audience| ("--audience", with_issuer("https://i.example", audience)));
        let upstreams = self.upstream.iter().map(|upstream| ("--upstream", with_upstream(upstream)));
        let wrong = issuers.chain(audiences).chain(upstreams).filter_map(|(option, text)| {
            let wrong = config::load_str(&text, option).err()?.into_iter().next()?;
            Some(Diagnostic::about(option, "", wrong.message, wrong.hint))
        });
        let wrong = wrong.collect::<Vec<_>>();
        if wrong.is_empty() { Ok(()) } else { Err(wrong) }
    }
}

/// Whether a configuration can have it for an issuer.
fn is_issuer(issuer: &str) -> bool {
    config::load_str(&with_issuer(issuer, "a"), "").is_ok()
}

/// Whether a configuration can have it for an upstream.
fn is_upstream(url: &str) -> bool {
    config::load_str(&with_upstream(url), "").is_ok()
}

fn with_issuer(issuer: &str, audience: &str) -> String {
    let (issuer, audiences) = (block(issuer), yaml_text::list(&[audience]));
    format!(
        "issuers:\n  a:\n    issuer: {issuer}\n    audiences: {audiences}\n\
         routes:\n  - name: a\n    path: /a\n    upstream: http://127.0.0.1:1\n    allow: authenticated\n"
    )
}

fn with_upstream(url: &str) -> String {
    let url = block(url);
    format!(
        "upstreams:\n  a:\n    url: {url}\n\
         routes:\n  - name: a\n    path: /a\n    upstream: a\n    allow: public\n"
    )
}
