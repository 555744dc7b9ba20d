//! The canonical path of a request and its other readings, or a refusal.

use crate::refusal::Refusal;

/// A path in the one form that is matched and sent upstream, with the ways in which other servers may read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CanonicalPath {
    text: String,
    readings: Vec<Reading>,
}

/// Another server's reading of the same path: a canonical path, or none (no canonical form: refused).
pub type Reading = Result<String, &'static str>;

impl CanonicalPath {
    /// Makes the path of a request target canonical (RFC 3986, section 6.2.2).
    ///
    /// # Errors
    /// `Refusal::Path` where it has no canonical form.
    pub fn parse(_raw: &str) -> Result<CanonicalPath, Refusal> {
        todo!()
    }

    /// The canonical form; begins with `/`.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The other readings, each different from the canonical form. Empty for nearly all paths.
    pub fn readings(&self) -> &[Reading] {
        &self.readings
    }
}
