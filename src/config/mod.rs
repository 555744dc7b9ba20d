//! The configuration: text -> tree -> what was written -> a policy that is ready to run.

mod analysis;
mod compile;
mod diagnostic;
mod document;
mod file;
mod files;
mod include;
mod interpolation;
mod keys;
mod placeholder;
mod reader;
mod redact;
mod reference;
mod scalar;
mod source;
mod test_file;
mod units;
mod yaml;

#[cfg(test)]
mod tests;

pub use self::{
    diagnostic::{Diagnostic, Severity},
    files::{Attempt, FileRead, Origin},
    interpolation::Environment,
    test_file::{Expectation, ExpectedHeader, Spot, TestFile, WrittenRequest, WrittenTest, WrittenToken, read_tests},
};

pub(crate) use self::{
    document::{Document, Part},
    keys::did_you_mean,
    redact::printable,
    units::duration,
};

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{
    confidential::Confidential,
    identity::IdentityPlan,
    observe::{LoggingSettings, TracingSettings},
    route::RouteSettings,
    server::{ListenSettings, ServerSettings},
    shared_state::RedisSettings,
    token::{issuer::IssuerSettings, secret::Secret},
    upstream::UpstreamSettings,
};

use self::{
    diagnostic::Finding,
    file::ConfigFile,
    files::FilesRead,
    include::Files,
    interpolation::{Interpolation, LARGEST_FILE},
};

/// The keys whose change a running process can't take up (of `listen`, certificates can change).
pub const NEEDS_RESTART: [&str; 4] = ["listen", "admin.address", "server.workers", "state.dir"];

/// A configuration that can be used.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// Ready to run.
    pub policy: Policy,
    /// What is legal but unwise.
    pub warnings: Vec<Diagnostic>,
    /// Every file that it was read from: the configuration, what it includes, what stands in `${file:}`, keys and
    /// certificates. For who watches them.
    pub files: Vec<PathBuf>,
    /// The first 12 hex digits of the SHA-256 of its file, or of all of them: which configuration is in force (`bearward_config_info`).
    pub hash: String,
    /// What `load_without_secrets` put placeholders for: `NAME` or `file:path`. Otherwise empty.
    pub placeholders: Vec<String>,
}

/// The JSON Schema (draft 2020-12) of a configuration, for editors.
#[must_use]
pub fn json_schema() -> String {
    format!("{:#}\n", reference::json_schema())
}

/// What each key of a configuration means: a page in Markdown.
#[must_use]
pub fn reference() -> String {
    reference::markdown()
}

/// Reads, resolves and compiles a file. Looks nothing up over the network.
///
/// # Errors
/// All that is wrong with it, and the warnings, in the order of the file.
pub fn load(path: &Path, environment: &Environment<'_>) -> Result<Loaded, Vec<Diagnostic>> {
    load_with(path, |folder| Interpolation::new(environment, folder))
}

/// The same with placeholders for variables that aren't set, for files in `${file:}` and for private keys' files that
/// aren't there: enough to check a configuration where its secrets are not, nothing to run it with.
///
/// # Errors
/// As `load`.
pub fn load_without_secrets(path: &Path, environment: &Environment<'_>) -> Result<Loaded, Vec<Diagnostic>> {
    load_with(path, |folder| Interpolation::new(environment, folder).with_placeholders())
}

fn load_with<'p>(
    path: &'p Path,
    interpolation: impl FnOnce(&'p Path) -> Interpolation<'p>,
) -> Result<Loaded, Vec<Diagnostic>> {
    attempt(path, interpolation).outcome
}

fn attempt<'p>(path: &'p Path, interpolation: impl FnOnce(&'p Path) -> Interpolation<'p>) -> Attempt {
    let name = path.display().to_string();
    let folder = path.parent().unwrap_or(Path::new(""));
    let text = interpolation::read_text(path);
    let mut files = FilesRead::default();
    files.note(FileRead::new(path.to_owned(), text.as_deref().ok()));
    let outcome = match text {
        Ok(text) => load_from(&text, &name, folder, Some(path), interpolation(folder), &mut files),
        Err(words) => {
            let hint =
                "`--config FILE` names the configuration; `bearward demo` needs none, and writes one to start from";
            let message = format!("can't read the configuration: {words}");
            Err(vec![Diagnostic::about(&name, "", message, (!path.exists()).then(|| hint.to_owned()))])
        }
    };
    Attempt { files: files.into_list(), outcome }
}

/// The same for a text at hand, without environment variables; relative paths are relative to where the process is.
///
/// # Errors
/// As `load`.
pub fn load_str(text: &str, name: &str) -> Result<Loaded, Vec<Diagnostic>> {
    load_text(text, name, Path::new(""), Interpolation::new(&|_| None, Path::new("")))
}

/// Of one file: as of its text alone. Of several: where one ends and the next begins counts, too.
fn short_hash<'t>(texts: impl Iterator<Item = &'t str>) -> String {
    let mut context = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
    for (place, text) in texts.enumerate() {
        if place > 0 {
            context.update(&text.len().to_le_bytes());
        }
        context.update(text.as_bytes());
    }
    context.finish().as_ref().iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}

fn load_text(
    text: &str,
    name: &str,
    folder: &Path,
    interpolation: Interpolation<'_>,
) -> Result<Loaded, Vec<Diagnostic>> {
    load_from(text, name, folder, None, interpolation, &mut FilesRead::default())
}

fn load_from(
    text: &str,
    name: &str,
    folder: &Path,
    path: Option<&Path>,
    interpolation: Interpolation<'_>,
    all_files: &mut FilesRead,
) -> Result<Loaded, Vec<Diagnostic>> {
    if text.len() as u64 > LARGEST_FILE {
        let message = format!("the configuration is larger than {} MiB", LARGEST_FILE >> 20);
        return Err(vec![Diagnostic::about(name, "", message, None)]);
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut read = Files::new(interpolation);
    let file = read.read(text, name, folder, path);
    let Files { mut interpolation, mut findings, sources, included, incomplete, .. } = read;
    let with_placeholders = interpolation.has_placeholders();
    all_files.append(included);
    all_files.append(interpolation.take_files());
    let confidential = Confidential::new(&interpolation.take_confidential());
    let policy = file.map(|file| ConfigFile { incomplete, with_placeholders, ..file }).and_then(|file| {
        let policy = compile::compile(&file, &sources, &mut findings, all_files)?;
        if !findings.failed() {
            analysis::look(&policy, &file, &sources, &mut findings);
        }
        Some(policy)
    });
    match policy {
        Some(mut policy) if !findings.failed() => {
            policy.confidential = confidential;
            let files = all_files.paths().collect();
            let hash = short_hash(sources.texts());
            let warnings = findings.into_diagnostics(&sources);
            let mut placeholders = interpolation.into_placeholders();
            placeholders.append(&mut policy.stand_ins);
            Ok(Loaded { policy, warnings, files, hash, placeholders })
        }
        _ => {
            if !findings.failed() {
                findings.push(Finding::file("the configuration can't be used"));
            }
            Err(findings.into_diagnostics(&sources))
        }
    }
}

/// A whole configuration, compiled: nothing in it needs looking up or parsing again.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Never empty.
    pub listen: Vec<ListenSettings>,
    /// None: `admin: off`.
    pub admin: Option<SocketAddr>,
    /// What the admin listener asks of who wants more than health and metrics.
    pub admin_token: Option<Secret>,
    /// `state.redis`: what replicas share.
    pub redis: Option<RedisSettings>,
    /// Limits and timeouts.
    pub server: ServerSettings,
    /// In the file's order.
    pub issuers: Vec<IssuerSettings>,
    /// `token_cache.max_bytes`
    pub token_cache_bytes: u64,
    /// `state.dir`: what outlives a restart is kept there.
    pub state_dir: Option<PathBuf>,
    /// Named ones in the file's order, then those that routes have in place.
    pub upstreams: Vec<UpstreamSettings>,
    /// In the file's order.
    pub routes: Vec<RouteSettings>,
    /// `identity:`, for the names that it reserves even where no route uses it.
    pub identity: IdentityPlan,
    /// `errors.realm`
    pub realm: Arc<str>,
    /// `logging:`
    pub logging: LoggingSettings,
    /// `tracing:`
    pub tracing: TracingSettings,
    /// What came in from files (`${file:…}`), in whatever key: it is shown to nobody.
    pub confidential: Confidential,
    /// What something stands for; moved to `Loaded::placeholders`.
    stand_ins: Vec<String>,
}
