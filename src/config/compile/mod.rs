//! What was written to a policy: names resolved, contradictions found, everything parsed that requests will need. All
//! errors are collected; nothing is fetched.

mod audiences;
mod cors;
mod destination;
mod egress;
mod headers;
mod identity;
mod introspection;
mod issuers;
mod limits;
mod listen;
mod logout;
mod protected_resource;
mod redis;
mod routes;
mod rules;
mod token_places;
mod upstream_tls;
mod upstreams;
mod url;

use std::{collections::HashMap, path::PathBuf, sync::Arc};

use super::{
    Policy,
    diagnostic::{Finding, Findings, Span},
    file::ConfigFile,
    files::{FileRead, FilesRead},
    interpolation::read_text,
    keys,
    reader::At,
    source::Sources,
};
use crate::{confidential::Confidential, identity::IdentityPlan, memory};

/// Where nobody says how large, and a quarter of what this process may take isn't less.
const TOKEN_CACHE_BYTES: u64 = 64 << 20;

/// What every part of the compilation needs.
struct Compiler<'c> {
    findings: &'c mut Findings,
    source: &'c Sources,
    /// The `identity` of the whole file is wrong, so that what routes take from it isn't missing.
    broken_identity: bool,
    /// As the file's: what isn't there may be in a file that couldn't be read.
    incomplete: bool,
    files: &'c mut FilesRead,
    /// As the file's.
    with_placeholders: bool,
    /// Key files that aren't there, `file:path`.
    stand_ins: Vec<String>,
}

/// None where an error was found.
pub(super) fn compile(
    file: &ConfigFile,
    source: &Sources,
    findings: &mut Findings,
    files: &mut FilesRead,
) -> Option<Policy> {
    let mut c = Compiler {
        findings,
        source,
        broken_identity: false,
        incomplete: file.incomplete,
        files,
        with_placeholders: file.with_placeholders,
        stand_ins: Vec::new(),
    };
    let listen = c.listeners(file);
    let admin = c.admin(file, &listen);
    let admin_token = c.admin_token(file.admin_token.as_ref());
    let redis = c.redis(file.redis.as_ref());
    let server = c.server(&file.server);
    let realm = c.realm(file.realm.as_ref());
    let logging = c.logging(&file.logging);
    let tracing = c.tracing(&file.tracing);
    c.unique("the issuer", file.issuers.iter().map(|issuer| &issuer.name));
    c.unique("the upstream", file.upstreams.iter().map(|upstream| &upstream.name));
    let issuers = file.issuers.iter().map(|issuer| c.issuer(issuer)).collect::<Vec<_>>();
    let mut upstreams = file.upstreams.iter().map(|upstream| c.upstream(upstream)).collect::<Vec<_>>();
    let identity = c.identity(&file.identity, &IdentityPlan::standard(), None);
    c.broken_identity = identity.is_none();
    let routes = c.routes(file, &mut upstreams, identity.as_ref());
    c.check_metadata(file, &routes, &issuers, &listen);
    c.check_key_set(file, &routes, &listen);
    c.warn_of_issuers(file, &routes);
    c.warn_of_plain_upstreams(file, &routes, &upstreams);
    c.warn_of_unused(file, &routes);
    let written = file.token_cache_bytes.as_ref().map(|size| size.value);
    let token_cache_bytes = written.unwrap_or_else(|| memory::at_most(TOKEN_CACHE_BYTES, 4));
    Some(Policy {
        listen: listen.into_iter().collect::<Option<_>>()?,
        admin: admin?,
        admin_token: admin_token?,
        server: server?,
        redis: redis?,
        issuers: issuers.into_iter().collect::<Option<_>>()?,
        token_cache_bytes,
        state_dir: file.state_dir.as_ref().map(|dir| source.folder(dir.span).join(&dir.value)),
        upstreams: upstreams.into_iter().collect::<Option<_>>()?,
        routes: routes.into_iter().collect::<Option<_>>()?,
        identity: identity?,
        realm: realm?,
        logging: logging?,
        tracing: tracing?,
        confidential: Confidential::default(),
        stand_ins: c.stand_ins,
    })
}

impl Compiler<'_> {
    /// Notes the finding of something that has no value then.
    fn fail<T>(&mut self, finding: Finding) -> Option<T> {
        self.findings.push(finding);
        None
    }

    /// A file that is named there, which somebody else reads, now and whenever it changes.
    fn path(&mut self, span: Span, name: &str) -> PathBuf {
        let path = self.source.folder(span).join(name);
        self.files.note(FileRead { has_own_watch: true, ..FileRead::new(path.clone(), None) });
        path
    }

    /// A file that is named there, and what is in it.
    ///
    /// # Errors
    /// What is wrong with it, in a few words.
    fn text(&mut self, span: Span, name: &str) -> Result<(PathBuf, String), String> {
        let path = self.source.folder(span).join(name);
        let text = read_text(&path);
        self.files.note(FileRead::new(path.clone(), text.as_deref().ok()));
        Ok((path, text?))
    }

    /// A name that logs, metrics and headers can carry.
    fn name(&mut self, name: &At<String>) -> Option<Arc<str>> {
        if name.value.len() > 128 || name.value.chars().any(char::is_control) || name.value.trim() != name.value {
            return self.fail(name.error("a name has up to 128 characters, none of them a control character"));
        }
        Some(Arc::from(name.value.as_str()))
    }

    /// Notes each name that is there twice.
    fn unique<'n>(&mut self, what: &str, names: impl IntoIterator<Item = &'n At<String>>) {
        let mut places = HashMap::new();
        for name in names {
            match places.get(name.value.as_str()) {
                Some(first) => {
                    let message =
                        format!("{what} {} is there twice, first at {}", name.shown(), self.source.place(*first));
                    self.findings.push(name.error(message));
                }
                None => {
                    places.insert(name.value.as_str(), name.span);
                }
            }
        }
    }

    /// The index of a name among those defined.
    fn resolve(&mut self, what: &str, name: &At<String>, known: &[&At<String>]) -> Option<usize> {
        let found = known.iter().position(|known| known.value == name.value);
        let may_be_elsewhere = self.incomplete && what != "listener";
        if found.is_none() && !may_be_elsewhere {
            let ours =
                known.iter().filter(|known| !known.foreign).map(|known| known.value.as_str()).collect::<Vec<_>>();
            let hint = match keys::nearest_of(&name.value, ours.iter().copied()) {
                _ if name.foreign => None,
                Some(near) => Some(format!("did you mean `{near}`?")),
                None if known.is_empty() => Some(format!("define it in `{what}s`; the file has none")),
                None => Some(format!("there are: {}", ours.iter().take(10).copied().collect::<Vec<_>>().join(", "))),
            };
            self.findings.push(name.error(format!("no {what} is called {}", name.shown())).hint_if(hint));
        }
        found
    }
}
