//! Sets of HTTP methods: what a route or a rule takes.

use hyper::Method;

/// The methods that a route or a rule takes. `GET` covers `HEAD`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MethodSet {
    any: bool,
    known: u16,
    /// Extension methods, by their exact token (RFC 9110, section 9.1: methods are case-sensitive).
    other: Vec<Method>,
}

static KNOWN: [Method; 7] =
    [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::OPTIONS];

fn bit(method: &Method) -> Option<u16> {
    KNOWN.iter().position(|known| known == method).map(|place| 1 << place)
}

impl MethodSet {
    /// Every method (but `TRACE` and `CONNECT`, which the gateway refuses before it asks a set).
    pub const ANY: MethodSet = MethodSet { any: true, known: 0, other: Vec::new() };

    /// No method.
    pub const NONE: MethodSet = MethodSet { any: false, known: 0, other: Vec::new() };

    /// The set of these methods; `GET` brings `HEAD` along.
    pub fn of(methods: impl IntoIterator<Item = Method>) -> MethodSet {
        let mut set = MethodSet::NONE;
        for method in methods {
            set.insert(method);
        }
        set
    }

    fn insert(&mut self, method: Method) {
        match bit(&method) {
            Some(bit) => {
                self.known |= bit;
                if method == Method::GET {
                    self.known |= 1 << 1;
                }
            }
            None if self.other.contains(&method) => {}
            None => self.other.push(method),
        }
    }

    /// Whether the method is in the set.
    #[inline]
    pub fn contains(&self, method: &Method) -> bool {
        self.any || bit(method).map_or_else(|| self.other.contains(method), |bit| self.known & bit != 0)
    }

    /// Whether the set holds no method at all.
    pub fn is_empty(&self) -> bool {
        !self.any && self.known == 0 && self.other.is_empty()
    }

    /// Whether it is every method.
    pub fn is_any(&self) -> bool {
        self.any
    }

    /// The methods that were named; none for `ANY`.
    pub fn named(&self) -> impl Iterator<Item = &Method> {
        KNOWN.iter().filter(|method| !self.any && self.contains(method)).chain(&self.other)
    }

    /// What is in both.
    pub fn intersection(&self, that: &MethodSet) -> MethodSet {
        match (self.any, that.any) {
            (true, _) => that.clone(),
            (_, true) => self.clone(),
            _ => MethodSet {
                any: false,
                known: self.known & that.known,
                other: self.other.iter().filter(|method| that.other.contains(method)).cloned().collect(),
            },
        }
    }

    /// What is in either.
    pub fn union(&self, that: &MethodSet) -> MethodSet {
        if self.any || that.any {
            return MethodSet::ANY;
        }
        let mut all = self.clone();
        all.known |= that.known;
        for method in &that.other {
            all.insert(method.clone());
        }
        all
    }

    /// The value of an `Allow` header (RFC 9110, section 10.2.1). `OPTIONS` is named only where it was asked for by name,
    /// or where preflights are answered (`cors`).
    pub fn allow_header(&self, cors: bool) -> String {
        let by_name = |method: &Method| self.contains(method) && !(self.any && *method == Method::OPTIONS);
        let named = KNOWN
            .iter()
            .filter(|method| by_name(method) || cors && **method == Method::OPTIONS)
            .chain(&self.other)
            .map(Method::as_str)
            .collect::<Vec<_>>();
        named.join(", ")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

    use super::*;

    #[test]
    fn get_covers_head() {
        let set = MethodSet::of([Method::GET]);
        assert!(set.contains(&Method::HEAD));
        assert!(!set.contains(&Method::POST));
        assert_eq!(set.allow_header(false), "GET, HEAD");
        assert!(!MethodSet::of([Method::HEAD]).contains(&Method::GET));
    }

    #[test]
    fn extension_methods_are_case_sensitive() {
        let purge = Method::from_bytes(b"PURGE").unwrap();
        let set = MethodSet::of([purge.clone()]);
        assert!(set.contains(&purge));
        assert!(!set.contains(&Method::from_bytes(b"purge").unwrap()));
        assert!(!set.contains(&Method::GET));
    }

    #[test]
    fn sets_combine() {
        let read = MethodSet::of([Method::GET]);
        let write = MethodSet::of([Method::POST, Method::from_bytes(b"PURGE").unwrap()]);
        assert!(read.intersection(&write).is_empty());
        assert_eq!(read.intersection(&MethodSet::ANY), read);
        assert_eq!(read.union(&write).allow_header(false), "GET, HEAD, POST, PURGE");
        assert!(read.union(&MethodSet::ANY).contains(&Method::DELETE));
        assert_eq!(MethodSet::ANY.intersection(&write), write);
        assert_eq!(MethodSet::ANY.allow_header(false), "GET, HEAD, POST, PUT, PATCH, DELETE");
        assert_eq!(MethodSet::of([Method::OPTIONS, Method::HEAD]).allow_header(false), "HEAD, OPTIONS");
        assert!(MethodSet::NONE.is_empty() && !MethodSet::ANY.is_empty() && !write.is_empty());
        assert_eq!(MethodSet::NONE.allow_header(false), "");
    }
}
