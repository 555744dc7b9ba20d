//! Where an issuer keeps things: claim paths.

use std::{collections::HashSet, fmt};

use serde_json::{Map, Value};

use super::pattern::Pattern;

/// A path to a claim: dotted, `*` is any key; a name with `://` or `urn:` is one key; a top-level claim of the whole
/// name comes first; `null` counts as absent.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ClaimPath {
    whole: String,
    parts: Vec<String>,
}

/// Where an issuer's tokens keep scopes, roles, subject and client (`issuers.*.claims`).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ClaimPlaces {
    /// United. Default `scope`, `scp`. A string is split at spaces and commas, an array taken as it is.
    pub scopes: Vec<ClaimPath>,
    /// United. Default `roles`. A string is one role, whatever is in it.
    pub roles: Vec<ClaimPath>,
    /// Default `sub`.
    pub subject: ClaimPath,
    /// The first that is there. Default `client_id`, `azp`, `cid`.
    pub client: Vec<ClaimPath>,
    /// What the subjects of clients look like, where sub isn't the client's id. Default: none is known by that.
    pub client_subjects: Option<Pattern>,
}

impl ClaimPath {
    /// Reads a path.
    ///
    /// # Errors
    /// What is wrong (empty, an empty part), in words for the configuration's author.
    pub fn parse(text: &str) -> Result<ClaimPath, String> {
        if text.is_empty() {
            return Err("a claim's path is empty".to_owned());
        }
        if text.contains("://") || text.contains("urn:") {
            return Ok(ClaimPath { whole: text.to_owned(), parts: vec![] });
        }
        if text.split('.').any(str::is_empty) {
            return Err(format!("the claim path `{text}` has an empty part"));
        }
        if !text.contains(['.', '*']) {
            return Ok(ClaimPath::top_level(text));
        }
        Ok(ClaimPath { whole: text.to_owned(), parts: text.split('.').map(str::to_owned).collect() })
    }

    /// Every value at this path.
    pub fn find<'c>(&self, claims: &'c Map<String, Value>) -> Vec<&'c Value> {
        if let Some(value) = claims.get(&self.whole).filter(|value| !value.is_null()) {
            return vec![value];
        }
        let Some((first, rest)) = self.parts.split_first() else {
            return vec![];
        };
        let mut found = members(claims, first);
        for part in rest {
            found = found.into_iter().filter_map(Value::as_object).flat_map(|object| members(object, part)).collect();
        }
        found
    }

    fn top_level(name: &str) -> ClaimPath {
        ClaimPath { whole: name.to_owned(), parts: vec![] }
    }
}

impl fmt::Display for ClaimPath {
    /// As it was written.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.whole)
    }
}

impl ClaimPlaces {
    /// The scopes of a token, each once, in the token's order.
    pub fn scopes(&self, claims: &Map<String, Value>) -> Vec<String> {
        united(&self.scopes, claims, |list| list.split([' ', ',']).collect())
    }

    /// The roles of a token, each once, in the token's order.
    pub fn roles(&self, claims: &Map<String, Value>) -> Vec<String> {
        united(&self.roles, claims, |role| vec![role])
    }

    /// Whom a token is about.
    pub fn subject(&self, claims: &Map<String, Value>) -> Option<String> {
        name_at(&self.subject, claims)
    }

    /// The client that a token was issued to.
    pub fn client(&self, claims: &Map<String, Value>) -> Option<String> {
        self.client.iter().find_map(|path| name_at(path, claims))
    }
}

impl Default for ClaimPlaces {
    fn default() -> Self {
        let paths = |names: &[&str]| names.iter().map(|name| ClaimPath::top_level(name)).collect();
        ClaimPlaces {
            scopes: paths(&["scope", "scp"]),
            roles: paths(&["roles"]),
            subject: ClaimPath::top_level("sub"),
            client: paths(&["client_id", "azp", "cid"]),
            client_subjects: None,
        }
    }
}

/// Whom a token is for (RFC 7519, section 4.1.3); None where `aud` is neither a text nor a list of texts.
pub(in crate::token) fn audiences(claims: &Map<String, Value>) -> Option<Vec<String>> {
    match claims.get("aud") {
        None | Some(Value::Null) => Some(vec![]),
        Some(Value::String(one)) => Some(vec![one.clone()]),
        Some(Value::Array(several)) => several.iter().map(|item| item.as_str().map(str::to_owned)).collect(),
        Some(_) => None,
    }
}

/// The members that one part of a path names; `null` counts as absent.
fn members<'c>(object: &'c Map<String, Value>, part: &str) -> Vec<&'c Value> {
    match part {
        "*" => object.values().filter(|value| !value.is_null()).collect(),
        name => object.get(name).filter(|value| !value.is_null()).into_iter().collect(),
    }
}

const FEW_NAMES: usize = 16;

/// All strings at these places, each once. What isn't a string is no scope and no role.
fn united(places: &[ClaimPath], claims: &Map<String, Value>, names_in: impl Fn(&str) -> Vec<&str>) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    let mut seen = HashSet::new();
    let mut add = |name: &str| {
        // Few are compared; for many there is a set.
        if names.len() == FEW_NAMES {
            seen.extend(names.iter().cloned());
        }
        let is_new = match names.len() < FEW_NAMES {
            true => !names.iter().any(|known| known == name),
            false => seen.insert(name.to_owned()),
        };
        if !name.is_empty() && is_new {
            names.push(name.to_owned());
        }
    };
    for value in places.iter().flat_map(|path| path.find(claims)) {
        match value {
            Value::String(text) => names_in(text).into_iter().for_each(&mut add),
            Value::Array(items) => items.iter().filter_map(Value::as_str).for_each(&mut add),
            _ => {}
        }
    }
    names
}

/// A single name; some issuers write numbers.
fn name_at(path: &ClaimPath, claims: &Map<String, Value>) -> Option<String> {
    path.find(claims).into_iter().find_map(|value| match value {
        Value::String(name) if !name.is_empty() => Some(name.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn object(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn paths_that_make_no_sense_are_refused() {
        for text in ["", ".", "a.", ".a", "a..b"] {
            assert!(ClaimPath::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn finds() {
        let claims = object(json!({
            "a": {"b": {"c": 1}, "n": null},
            "a.b": "whole",
            "resource_access": {"x": {"roles": ["r1"]}, "y": {"roles": ["r2"]}, "z": {}, "w": "s"},
            "https://example.com/roles.all": "url",
            "urn:x:roles.y": "urn",
            "x-urn:a.b": "inner urn",
            "nothing": null,
            "list": [{"k": 1}],
        }));
        for (path, expected) in [
            ("a.b", vec![json!("whole")]),
            ("a.b.c", vec![json!(1)]),
            ("a.n", vec![]),
            ("nothing", vec![]),
            ("absent.b", vec![]),
            ("resource_access.*.roles", vec![json!(["r1"]), json!(["r2"])]),
            ("https://example.com/roles.all", vec![json!("url")]),
            ("urn:x:roles.y", vec![json!("urn")]),
            ("x-urn:a.b", vec![json!("inner urn")]),
            ("list.k", vec![]),
            ("list.*", vec![]),
            ("a.b.c.d", vec![]),
        ] {
            let found: Vec<Value> = ClaimPath::parse(path).unwrap().find(&claims).into_iter().cloned().collect();
            assert_eq!(found, expected, "{path}");
        }
    }

    #[test]
    fn a_url_is_never_taken_apart() {
        let claims = object(json!({"https://x": {"com/roles": "no"}}));
        assert!(ClaimPath::parse("https://x.com/roles").unwrap().find(&claims).is_empty());
    }

    #[test]
    fn scopes_and_roles_are_united_once_each_in_order() {
        let claims = object(json!({
            "scope": "b a,b  c",
            "scp": ["d e", "a", 5, null, ["x"], {"y": 1}, ""],
            "roles": "Read Only Admin",
        }));
        let places = ClaimPlaces::default();
        assert_eq!(places.scopes(&claims), ["b", "a", "c", "d e"]);
        assert_eq!(places.roles(&claims), ["Read Only Admin"]);
        for value in [json!(5), json!(true), json!({"admin": true}), json!(null)] {
            let claims = object(json!({"scope": value, "roles": value}));
            assert!(places.scopes(&claims).is_empty() && places.roles(&claims).is_empty());
        }
    }

    #[test]
    fn the_first_client_claim_that_is_there_wins() {
        let places = ClaimPlaces::default();
        let client = |value| places.client(&object(value));
        assert_eq!(client(json!({"cid": "c", "azp": "z"})).as_deref(), Some("z"));
        assert_eq!(client(json!({"cid": "c", "azp": null, "client_id": ""})).as_deref(), Some("c"));
        assert_eq!(client(json!({"client_id": 12})).as_deref(), Some("12"));
        assert_eq!(client(json!({"client_id": ["x"]})), None);
        assert_eq!(places.subject(&object(json!({"sub": {"a": 1}}))), None);
    }

    proptest! {
        #[test]
        fn never_panics(path in "\\PC{0,20}", key in "\\PC{0,8}") {
            if let Ok(path) = ClaimPath::parse(&path) {
                path.find(&object(json!({key: {"a": 1}})));
            }
        }
    }
}
