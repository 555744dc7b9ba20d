//! Where an issuer keeps things: claim paths.

use serde_json::{Map, Value};

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
    /// United. Default `roles`.
    pub roles: Vec<ClaimPath>,
    /// Default `sub`.
    pub subject: ClaimPath,
    /// The first that is there. Default `client_id`, `azp`, `cid`.
    pub client: Vec<ClaimPath>,
}

impl ClaimPath {
    /// Reads a path.
    ///
    /// # Errors
    /// What is wrong (empty, an empty part), in words for the configuration's author.
    pub fn parse(text: &str) -> Result<ClaimPath, String> {
        let _ = ClaimPath { whole: text.to_owned(), parts: vec![] };
        todo!()
    }

    /// Every value at this path.
    pub fn find<'c>(&self, _claims: &'c Map<String, Value>) -> Vec<&'c Value> {
        let _ = (&self.whole, &self.parts);
        todo!()
    }
}

impl Default for ClaimPlaces {
    fn default() -> Self {
        todo!()
    }
}
