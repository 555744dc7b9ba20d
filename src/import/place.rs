//! What comes to one path: operations of one or several paths of a document, and the routes that they become.

use std::collections::{HashMap, HashSet};

use super::{
    access::{Access, Need},
    api::{Operation, Path},
    names::{Names, path_name},
    notes::Notes,
    plan::{Allow, Route, Rule, Upstreams},
    server::Server,
    template::{Pattern, Template},
};

#[derive(Default)]
pub(super) struct Places {
    pub(super) list: Vec<Place>,
    /// By host and shape.
    known: HashMap<(Option<String>, String), usize>,
    /// Whether hosts make a difference.
    hosts: bool,
    /// Notes on servers, which many operations share.
    told: HashSet<String>,
}

/// What comes to one path of one host.
pub(super) struct Place {
    host: Option<String>,
    template: Template,
    entries: Vec<Entry>,
    /// Where it leads without an operation.
    origin: Option<String>,
    /// As written in the document, without its server's.
    path: String,
    notes: Notes,
}

/// What may be done there by one method.
struct Entry {
    method: &'static str,
    /// One for each way in which the path's parameters may look.
    variants: Vec<Variant>,
    /// Of all of them; once they are all there.
    access: Access,
    origin: Option<String>,
    id: Option<String>,
    about: Vec<String>,
}

struct Variant {
    patterns: Vec<Pattern>,
    access: Access,
    path: String,
}

/// Beyond it, paths that differ in parts of segments aren't told apart.
const MOST_VARIANTS: usize = 16;

impl Places {
    /// None yet. Without `hosts` those of servers are left out.
    pub(super) fn new(hosts: bool) -> Places {
        Places { hosts, ..Places::default() }
    }

    /// Puts a path's operations where they belong.
    pub(super) fn add(&mut self, path: &Path, notes: &mut Notes) {
        let servers = path.operations.iter().map(|operation| &operation.server).chain([&path.server]);
        for note in servers.flat_map(|server| &server.notes) {
            if self.told.insert(note.clone()) {
                notes.push(note.clone());
            }
        }
        if path.operations.is_empty() {
            match self.place(path, &path.server) {
                Ok((place, _)) => {
                    place.notes.extend(&path.notes);
                    place.notes.push(format!("no operation of `{}` is served: nobody is let in", path.path));
                }
                Err(why) => notes.push(format!("`{}` isn't served: {why}", path.path)),
            }
        }
        for operation in &path.operations {
            match self.place(path, &operation.server) {
                Ok((place, patterns)) => {
                    place.notes.extend(&path.notes);
                    place.add(operation, &path.path, patterns);
                }
                Err(why) => notes.push(format!("`{} {}` isn't served: {why}", operation.method, path.path)),
            }
        }
    }

    fn place(&mut self, path: &Path, server: &Server) -> Result<(&mut Place, Vec<Pattern>), String> {
        let (template, patterns) = Template::read(&format!("{}{}", server.base, path.path))?;
        let host = server.host.clone().filter(|_| self.hosts);
        let index = *self.known.entry((host.clone(), template.shape())).or_insert(self.list.len());
        if index == self.list.len() {
            let mut notes = Notes::default();
            template.notes.iter().for_each(|note| notes.push(note.clone()));
            let (origin, path) = (server.origin.clone(), path.path.clone());
            self.list.push(Place { host, template, entries: Vec::new(), origin, path, notes });
        }
        let place = self.list.get_mut(index).ok_or("there is no place for it")?;
        Ok((place, patterns))
    }
}

impl Place {
    fn add(&mut self, operation: &Operation, path: &str, patterns: Vec<Pattern>) {
        let method = operation.method;
        operation.notes.iter().for_each(|note| self.notes.push_of(method, note.clone()));
        if !patterns.is_empty() {
            self.notes.push(format!(
                "`{path}` has a part of a segment, which a route's path can't say: a rule looks at it (`when`)"
            ));
        }
        let about = [about(operation)];
        let variant = Variant { patterns, access: operation.access.clone(), path: path.to_owned() };
        let Some(known) = self.entries.iter_mut().find(|entry| entry.method == method) else {
            self.entries.push(Entry {
                method,
                variants: vec![variant],
                access: Access::nobody(),
                origin: operation.server.origin.clone(),
                id: operation.id.clone(),
                about: about.into(),
            });
            return;
        };
        known.about.extend(about);
        known.id = None;
        let Some(same) = known.variants.iter_mut().find(|other| other.patterns == variant.patterns) else {
            known.variants.push(variant);
            return;
        };
        let both = same.access.and(&variant.access);
        let asked = match (same.access.is_same(&variant.access), both.is_nobody()) {
            (true, _) => "",
            (false, true) => ", and nobody has what both ask for",
            (false, false) => ", and what both ask for is needed",
        };
        same.access = both;
        self.notes.push_of(method, format!("to a route `{}` and `{path}` are the same path{asked}", same.path));
    }

    /// Works out whom each method lets in, from what the parameters look like.
    fn settle(&mut self) {
        for entry in &mut self.entries {
            let variants = &entry.variants;
            if let [Variant { patterns, access, .. }] = &**variants
                && patterns.is_empty()
            {
                entry.access = access.clone();
                continue;
            }
            if variants.len() > MOST_VARIANTS {
                let note = format!("more than {MOST_VARIANTS} paths that a route can't tell apart: nobody is let in");
                self.notes.push_of(entry.method, note);
                continue;
            }
            for (place, variant) in variants.iter().enumerate() {
                let Access::Tokens(_) = &variant.access else {
                    let note = format!(
                        "only a rule can look at a part of a segment, and rules need a token: nobody is let in at `{}`",
                        variant.path
                    );
                    self.notes.push_of(entry.method, note);
                    continue;
                };
                let others = variants.iter().enumerate().filter(|(other, _)| *other != place);
                let unlike = others.map(|(_, other)| other.patterns.clone()).filter(|patterns| !patterns.is_empty());
                let looks = Need { patterns: variant.patterns.clone(), unlike: unlike.collect(), ..Need::default() };
                let access = variant.access.and(&Access::Tokens(vec![looks]));
                entry.access = std::mem::replace(&mut entry.access, Access::nobody()).or(access);
            }
        }
    }

    /// `GET` covers `HEAD`: where they differ, both need what both ask for.
    fn join_head(&mut self) {
        let place = |method| self.entries.iter().position(|entry| entry.method == method);
        let (Some(get), Some(head)) = (place("GET"), place("HEAD")) else { return };
        let (Some(get), Some(head)) = (self.entries.get(get), self.entries.get(head)) else { return };
        let (access, origin) = (get.access.and(&head.access), get.origin.clone());
        if !get.access.is_same(&head.access) {
            let note = "a route that takes GET takes HEAD, too: what both ask for is needed";
            ["GET", "HEAD"].iter().for_each(|method| self.notes.push_of(method, note));
        }
        for entry in self.entries.iter_mut().filter(|entry| matches!(entry.method, "GET" | "HEAD")) {
            entry.access = access.clone();
            entry.origin.clone_from(&origin);
        }
    }

    /// The routes for it: for who needs a token, for everybody, and for each upstream.
    pub(super) fn into_routes(mut self, names: &mut Names, upstreams: &mut Upstreams, routes: &mut Vec<Route>) {
        self.settle();
        self.join_head();
        let path_name = path_name(&self.path);
        if self.entries.is_empty() {
            let rule = Rule { methods: Vec::new(), need: None, about: Vec::new() };
            let upstream = upstreams.find(self.origin.as_deref());
            let (about, methods) = (Vec::new(), Vec::new());
            let name = names.unique(&path_name);
            routes.push(Route {
                name,
                host: self.host,
                template: self.template,
                methods,
                upstream,
                allow: Allow::Rules(vec![rule]),
                about,
                notes: self.notes,
            });
            return;
        }
        let mut parts = Vec::<((&'static str, usize), Vec<Entry>)>::new();
        for entry in self.entries {
            let kind = match &entry.access {
                Access::Public => "public",
                Access::Optional => "optional",
                Access::Tokens(_) => "",
            };
            let key = (kind, upstreams.find(entry.origin.as_deref()));
            match parts.iter_mut().find(|(known, _)| *known == key) {
                Some((_, entries)) => entries.push(entry),
                None => parts.push((key, vec![entry])),
            }
        }
        let is_divided = parts.len() > 1;
        for ((kind, upstream), entries) in parts {
            let kind = if kind.is_empty() || !is_divided { String::new() } else { format!("-{kind}") };
            let name = match &*entries {
                [Entry { id: Some(id), .. }] if names.is_only(id) => names.unique(id),
                _ => names.unique(&format!("{path_name}{kind}")),
            };
            let methods = entries.iter().map(|entry| entry.method).collect::<Vec<_>>();
            let mut about = Vec::new();
            let (allow, methods) = match entries.first().map(|entry| &entry.access) {
                Some(Access::Tokens(_)) if !entries.iter().all(|entry| entry.access.is_any_token()) => {
                    // Beside a route for other methods, the rules' own aren't enough to tell them apart.
                    (Allow::Rules(rules(entries)), if is_divided { methods } else { Vec::new() })
                }
                access => {
                    let allow = match access {
                        Some(Access::Public) => Allow::Public,
                        Some(Access::Optional) => Allow::Optional,
                        _ => Allow::Authenticated,
                    };
                    about = entries.into_iter().flat_map(|entry| entry.about).collect();
                    (allow, methods)
                }
            };
            let (host, template) = (self.host.clone(), self.template.clone());
            // Once, at the first of them.
            let notes = std::mem::take(&mut self.notes);
            routes.push(Route { name, host, template, methods, upstream, allow, about, notes });
        }
    }
}

/// Operations that ask for the same share rules: one for each alternative.
fn rules(entries: Vec<Entry>) -> Vec<Rule> {
    let mut groups = Vec::<(Access, Vec<&'static str>, Vec<String>)>::new();
    for entry in entries {
        match groups.iter_mut().find(|(access, ..)| access.is_same(&entry.access)) {
            Some((_, methods, about)) => {
                methods.push(entry.method);
                about.extend(entry.about);
            }
            None => groups.push((entry.access, vec![entry.method], entry.about)),
        }
    }
    let mut rules = Vec::new();
    for (access, methods, mut about) in groups {
        let needs = match access {
            Access::Tokens(needs) if !needs.is_empty() => needs.into_iter().map(Some).collect(),
            _ => vec![None],
        };
        for need in needs {
            rules.push(Rule { methods: methods.clone(), need, about: std::mem::take(&mut about) });
        }
    }
    rules
}

/// `GET getOrder: Shows an order (deprecated)`
fn about(operation: &Operation) -> String {
    let id = operation.id.as_ref().map(|id| format!(" {id}")).unwrap_or_default();
    let summary = operation.summary.as_ref().map(|summary| format!(": {summary}")).unwrap_or_default();
    let deprecated = if operation.is_deprecated { " (deprecated)" } else { "" };
    format!("{}{id}{deprecated}{summary}", operation.method)
}
