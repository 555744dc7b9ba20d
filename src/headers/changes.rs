//! What a route's author has set or removed, on requests and on answers.

use hyper::{
    HeaderMap,
    header::{HeaderName, HeaderValue},
};

use crate::identity::is_alias;

/// `headers` of a route.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderRules {
    /// On the way upstream.
    pub request: HeaderChanges,
    /// On the way back.
    pub response: HeaderChanges,
}

/// Fields to set and to remove; none is in both.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderChanges {
    /// Replaces whatever there was.
    pub set: Vec<(HeaderName, HeaderValue)>,
    /// All lines of it go.
    pub remove: Vec<HeaderName>,
}

impl HeaderChanges {
    /// Whether nothing is changed.
    pub fn is_empty(&self) -> bool {
        self.set.is_empty() && self.remove.is_empty()
    }

    /// Changes the head of a request. Other spellings of a name that is set or removed (`x_env` for `X-Env`) go, too,
    /// since many servers take them for the same. To be called before anything of ours is written.
    pub fn change_request(&self, headers: &mut HeaderMap) {
        if self.is_empty() {
            return;
        }
        let gone: Vec<HeaderName> = headers.keys().filter(|name| self.concerns(name)).cloned().collect();
        for name in gone {
            headers.remove(name);
        }
        for (name, value) in &self.set {
            headers.insert(name.clone(), value.clone());
        }
    }

    /// Whether a name, or another spelling of it, is set or removed.
    pub fn concerns(&self, name: &HeaderName) -> bool {
        let mut written = self.set.iter().map(|(name, _)| name).chain(&self.remove);
        written.any(|ours| is_alias(ours.as_str(), name.as_str()))
    }

    /// Changes the head of an upstream's answer.
    pub fn change_answer(&self, headers: &mut HeaderMap) {
        for name in &self.remove {
            headers.remove(name);
        }
        for (name, value) in &self.set {
            headers.insert(name.clone(), value.clone());
        }
    }

    /// Adds what is set to an answer of the gateway's own, which keeps every field that it has.
    pub fn add_to_own_answer(&self, headers: &mut HeaderMap) {
        for (name, value) in &self.set {
            if !headers.contains_key(name) {
                headers.insert(name.clone(), value.clone());
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn changes(set: &[(&'static str, &'static str)], remove: &[&'static str]) -> HeaderChanges {
        let set = set.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        HeaderChanges { set: set.collect(), remove: remove.iter().map(|name| HeaderName::from_static(name)).collect() }
    }

    fn after(lines: &[(&'static str, &'static str)], change: impl Fn(&mut HeaderMap)) -> Vec<String> {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        change(&mut headers);
        let mut left =
            headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect::<Vec<_>>();
        left.sort_unstable();
        left
    }

    #[test]
    fn no_spelling_of_what_is_set_or_removed_passes() {
        let changes = changes(&[("x-env", "prod")], &["x-debug"]);
        let lines = [("x_env", "a"), ("x-env", "b"), ("x-env", "c"), ("x_debug", "1"), ("x-debug", "2"), ("x-en", "d")];
        assert_eq!(after(&lines, |headers| changes.change_request(headers)), ["x-en: d", "x-env: prod"]);
        assert_eq!(after(&lines, |headers| HeaderChanges::default().change_request(headers)).len(), 6);
    }

    #[test]
    fn answers() {
        let changes = changes(&[("x-frame-options", "DENY"), ("cache-control", "public")], &["server"]);
        let lines = [("server", "x"), ("cache-control", "no-store"), ("cache-control", "private")];
        assert_eq!(
            after(&lines, |headers| changes.change_answer(headers)),
            ["cache-control: public", "x-frame-options: DENY"]
        );
        assert_eq!(
            after(&lines, |headers| changes.add_to_own_answer(headers)),
            ["cache-control: no-store", "cache-control: private", "server: x", "x-frame-options: DENY"]
        );
    }
}
