//! What of an OpenAPI document is about who may ask for what. The rest of it is passed over, whatever is in it.
//!
//! A walk over the tree, not a typed model: crates have one for each version, and refuse whole documents for what is
//! wrong with a schema or an example, which no gateway looks at. What is looked at is read strictly: a mistake in
//! `security`, `servers` or `paths` is an error with its place.

use super::{
    access::Access,
    notes::{Notes, listed},
    security::Schemes,
    server::Server,
};
use crate::config::{Diagnostic, Document, Part};

/// An API as its document describes it.
#[derive(Debug)]
pub(super) struct Api {
    /// Title and version.
    pub(super) title: String,
    /// In the document's order.
    pub(super) paths: Vec<Path>,
    pub(super) schemes: Schemes,
    /// About the document as a whole.
    pub(super) notes: Notes,
}

/// A path with what can be done there.
#[derive(Debug)]
pub(super) struct Path {
    /// As written, without its server's.
    pub(super) path: String,
    pub(super) server: Server,
    pub(super) operations: Vec<Operation>,
    pub(super) notes: Notes,
}

/// A method at a path.
#[derive(Debug)]
pub(super) struct Operation {
    pub(super) method: &'static str,
    pub(super) id: Option<String>,
    pub(super) summary: Option<String>,
    pub(super) is_deprecated: bool,
    pub(super) server: Server,
    pub(super) access: Access,
    pub(super) notes: Vec<String>,
}

/// The operations of a path, and the methods that they are.
const METHODS: [(&str, &str); 8] = [
    ("get", "GET"),
    ("put", "PUT"),
    ("post", "POST"),
    ("delete", "DELETE"),
    ("options", "OPTIONS"),
    ("head", "HEAD"),
    ("patch", "PATCH"),
    ("trace", "TRACE"),
];
/// What else a path has.
const OTHERS: [&str; 5] = ["$ref", "summary", "description", "servers", "parameters"];
/// No file of a configuration holds the routes of more.
const MOST_PATHS: usize = 10_000;
/// References that lead to references: a longer chain is a circle.
const LONGEST_CHAIN: usize = 16;

/// Reads a document.
///
/// # Errors
/// All that is wrong with what is read of it.
pub(super) fn read(document: &Document, has_one_issuer: bool) -> Result<Api, Vec<Diagnostic>> {
    let root = document.root();
    let has_roles = is_of_3_1(root).map_err(|wrong| vec![*wrong])?;
    let Some(paths) = root.member("paths").filter(|paths| paths.members().is_some_and(|paths| !paths.is_empty()))
    else {
        let at = root.member("paths").unwrap_or(root);
        return Err(vec![*at.error("the document has no paths", "what is served by a gateway is in `paths`")]);
    };
    if paths.members().is_some_and(|paths| paths.len() > MOST_PATHS) {
        let hint = "divide it, and `include` what comes of its parts";
        return Err(vec![*paths.error(format!("the document has more than {MOST_PATHS} paths"), hint)]);
    }
    let schemes = Schemes::read(document, has_roles, has_one_issuer)?;
    let servers = root.member("servers");
    let mut reading = Reading { document, schemes: &schemes, wrong: Vec::new(), security: None };
    reading.find_misspelt(root);
    let server = reading.noted(Server::read(servers));
    if let Some(security) = root.member("security") {
        let mut notes = Vec::new();
        let access = schemes.access(security, &mut notes);
        reading.security = reading.noted(access).map(|access| (access, notes));
    }
    let mut all = Vec::new();
    for (path, item) in paths.members().unwrap_or_default() {
        if path.starts_with("x-") {
            continue;
        }
        if !path.starts_with('/') {
            reading.wrong.push(*item.error_at_name(format!("the path `{path}` does not begin with a slash"), ""));
            continue;
        }
        all.extend(reading.path(path, item, server.as_ref()));
    }
    if !reading.wrong.is_empty() {
        return Err(reading.wrong);
    }
    let mut notes = Notes::default();
    let info = |key: &str| root.member("info").and_then(|info| info.member(key)?.text());
    let title = [info("title"), info("version")].into_iter().flatten().collect::<Vec<_>>().join(" ");
    schemes.notes.iter().for_each(|note| notes.push(note.clone()));
    if let Some(webhooks) = root.member("webhooks").and_then(Part::members).filter(|hooks| !hooks.is_empty()) {
        let names = webhooks.iter().map(|(name, _)| *name).collect::<Vec<_>>();
        notes.push(format!("webhooks ({}) are requests of the API to others: no route is for them", listed(&names)));
    }
    Ok(Api { title, paths: all, schemes, notes })
}

/// Whether a document is of OpenAPI 3.1; else it is of 3.0.
///
/// # Errors
/// It is neither.
fn is_of_3_1(root: Part<'_>) -> Result<bool, Box<Diagnostic>> {
    if let Some(swagger) = root.member("swagger") {
        let hint = "convert it to OpenAPI 3 first: editor.swagger.io and `npx swagger2openapi` do it";
        let version = swagger.text().unwrap_or("2.0");
        return Err(swagger.error(format!("this is Swagger {version}; OpenAPI 3.0 and 3.1 are read"), hint));
    }
    let Some(version) = root.member("openapi") else {
        let message = "this is no OpenAPI document: `openapi`, its version, is missing";
        return Err(root.error(message, "`openapi: 3.1.0`"));
    };
    match version.text().unwrap_or_default() {
        text if text == "3.1" || text.starts_with("3.1.") => Ok(true),
        text if text == "3.0" || text.starts_with("3.0.") => Ok(false),
        text => {
            let message = format!("OpenAPI `{text}` isn't known here; 3.0 and 3.1 are");
            Err(version.error(message, "what another version adds could let somebody in unseen"))
        }
    }
}

struct Reading<'d> {
    document: &'d Document,
    schemes: &'d Schemes,
    wrong: Vec<Diagnostic>,
    /// The document's own, for operations that have none, and the notes about it.
    security: Option<(Access, Vec<String>)>,
}

impl<'d> Reading<'d> {
    fn noted<T>(&mut self, read: Result<T, Box<Diagnostic>>) -> Option<T> {
        read.map_err(|wrong| self.wrong.push(*wrong)).ok()
    }

    /// Fields that were probably meant to be `security`: without them an operation could be open to more.
    fn find_misspelt(&mut self, part: Part<'_>) {
        for (name, member) in part.members().unwrap_or_default().into_iter().filter(|(name, _)| is_misspelt(name)) {
            self.wrong.push(*member.error_at_name(format!("unknown field `{name}`"), "did you mean `security`?"));
        }
    }

    /// None: something is wrong with it.
    fn path(&mut self, path: &str, item: Part<'d>, server: Option<&Server>) -> Option<Path> {
        let mut notes = Notes::default();
        let layers = self.layers(path, item, &mut notes)?;
        let member = |name: &str| layers.iter().find_map(|layer| layer.member(name));
        let server = match member("servers") {
            None => server?.clone(),
            own => self.noted(Server::read(own))?,
        };
        let mut operations = Vec::new();
        for (name, operation) in layers.iter().flat_map(|layer| layer.members().unwrap_or_default()) {
            match METHODS.iter().find(|(key, _)| *key == name) {
                Some((_, "TRACE")) => notes.push_of("TRACE", "no route takes it: it would show a client's headers"),
                Some((_, method)) if operations.iter().any(|known: &Operation| known.method == *method) => {
                    let message = format!("`{name}` of `{path}` is there twice: here and by `$ref`");
                    self.wrong.push(*operation.error_at_name(message, "OpenAPI doesn't say which counts: keep one"));
                }
                Some((_, method)) => operations.extend(self.operation(method, operation, &server)),
                None if OTHERS.contains(&name) || name.starts_with("x-") => {}
                None if is_misspelt(name) || name == "security" => {
                    let hint = "an operation has `security`, or the document for all of them";
                    self.wrong.push(*operation.error_at_name(format!("a path has no `{name}`"), hint));
                }
                None => notes.push(format!("`{name}` is no method of OpenAPI, so that it isn't served")),
            }
        }
        Some(Path { path: path.to_owned(), server, operations, notes })
    }

    /// The item and what it refers to, as far as that is in the document.
    fn layers(&mut self, path: &str, item: Part<'d>, notes: &mut Notes) -> Option<Vec<Part<'d>>> {
        let mut layers = Vec::new();
        let mut next = Some(item);
        while let Some(layer) = next.take() {
            if layer.members().is_none() {
                self.wrong.push(*layer.error_at_name(format!("what `{path}` has is no map"), "`get: {…}`"));
                return None;
            }
            layers.push(layer);
            let Some(reference) = layer.member("$ref") else { break };
            let written = reference.text().unwrap_or_default();
            next = self.document.find(written);
            if written.starts_with('#') && (next.is_none() || layers.len() > LONGEST_CHAIN) {
                let message = format!("`{written}` leads nowhere in this document");
                self.wrong.push(*reference.error(message, ""));
                return None;
            }
            if next.is_none() {
                notes.push(format!(
                    "it is described elsewhere (`{written}`), which isn't read: what is only there isn't served"
                ));
            }
        }
        Some(layers)
    }

    fn operation(&mut self, method: &'static str, written: Part<'d>, server: &Server) -> Option<Operation> {
        if written.members().is_none() {
            self.wrong.push(*written.error_at_name("an operation is a map", "`{security: […], responses: {…}}`"));
            return None;
        }
        self.find_misspelt(written);
        let text = |key: &str| written.member(key).and_then(Part::text).filter(|text| !text.trim().is_empty());
        let mut notes = Vec::new();
        let access = match (written.member("security"), &self.security) {
            (Some(own), _) => {
                let access = self.schemes.access(own, &mut notes);
                self.noted(access)?
            }
            (None, Some((access, about))) => {
                notes.extend(about.iter().cloned());
                access.clone()
            }
            (None, None) => {
                notes.push("the document says nothing of security: any good token is let in".to_owned());
                Access::any_token()
            }
        };
        if let Some(callbacks) = written.member("callbacks").and_then(Part::members).filter(|all| !all.is_empty()) {
            let names = callbacks.iter().map(|(name, _)| *name).collect::<Vec<_>>();
            notes.push(format!(
                "callbacks ({}) are requests of the API to others: no route is for them",
                listed(&names)
            ));
        }
        let server = match written.member("servers") {
            None => server.clone(),
            own => self.noted(Server::read(own))?,
        };
        Some(Operation {
            method,
            id: text("operationId").map(str::to_owned),
            summary: text("summary").or_else(|| text("description")).map(str::to_owned),
            is_deprecated: written.member("deprecated").is_some_and(Part::is_true),
            server,
            access,
            notes,
        })
    }
}

fn is_misspelt(name: &str) -> bool {
    name != "security" && !name.starts_with("x-") && strsim::damerau_levenshtein(&name.to_lowercase(), "security") <= 2
}
