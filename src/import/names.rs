//! Names of routes, after operations and paths.

use std::collections::{HashMap, HashSet};

/// Names that are given once.
pub(super) struct Names<'a> {
    /// How often an operation is called so.
    ids: HashMap<&'a str, usize>,
    /// How many have wanted this one.
    wanted: HashMap<String, usize>,
    given: HashSet<String>,
}

impl<'a> Names<'a> {
    /// `ids`: what operations are called, as often as they are.
    pub(super) fn new(ids: impl IntoIterator<Item = &'a str>) -> Names<'a> {
        let mut all = HashMap::new();
        ids.into_iter().for_each(|id| *all.entry(id).or_default() += 1);
        Names { ids: all, wanted: HashMap::new(), given: HashSet::new() }
    }

    /// Whether one operation alone is called so.
    pub(super) fn is_only(&self, id: &str) -> bool {
        self.ids.get(id) == Some(&1)
    }

    /// The name, as far as a route can have it, and a number behind it if it is another's.
    pub(super) fn unique(&mut self, wanted: &str) -> String {
        const LONGEST: usize = 100;
        let good = |character: char| character.is_ascii_alphanumeric() || "-_./".contains(character);
        let legal = wanted.chars().map(|c| if good(c) { c } else { '-' }).take(LONGEST).collect::<String>();
        let legal = if legal.is_empty() { "route".to_owned() } else { legal };
        let number = self.wanted.entry(legal.clone()).or_default();
        loop {
            *number += 1;
            let name = if *number == 1 { legal.clone() } else { format!("{legal}-{number}") };
            if self.given.insert(name.clone()) {
                return name;
            }
        }
    }
}

/// `pet-petId` of `/pet/{petId}`.
pub(super) fn path_name(path: &str) -> String {
    let segments = path.split('/').map(|segment| segment.replace(['{', '}'], "")).filter(|segment| !segment.is_empty());
    let name = segments.collect::<Vec<_>>().join("-");
    if name.is_empty() { "root".to_owned() } else { name }
}
