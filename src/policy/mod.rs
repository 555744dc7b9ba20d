//! Rules: compiled to flat lists of conditions, evaluated afresh for each request.

use std::sync::Arc;

use hyper::Method;

use crate::{method::MethodSet, refusal::RuleFault, token::principal::Principal};

/// Who is let in by a route.
#[derive(Clone, Debug)]
pub enum Access {
    /// Everybody; the credential isn't looked at.
    Public,
    /// Whoever has a good token.
    Authenticated,
    /// Whoever has a good token that at least one rule lets in. Never empty.
    Rules(Vec<Rule>),
}

/// One rule: lets a request in if it holds in all that it says.
#[derive(Clone, Debug)]
pub struct Rule {
    /// The methods that it is for.
    pub methods: MethodSet,
    /// What it asks for besides, in the order in which they are asked.
    pub conditions: Vec<Condition>,
}

/// One thing that a rule asks of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// All of these scopes.
    Scopes(Vec<Arc<str>>),
    /// One of these scopes at least.
    AnyScope(Vec<Arc<str>>),
    /// All of these roles.
    Roles(Vec<Arc<str>>),
    /// One of these roles at least.
    AnyRole(Vec<Arc<str>>),
}

impl Condition {
    /// Whether the token meets it.
    pub fn holds(&self, _principal: &Principal) -> bool {
        todo!()
    }
}

impl Access {
    /// Whether this principal may use this method here.
    ///
    /// # Errors
    /// What the closest rule misses: the one with the fewest conditions unmet, then the first in the file.
    pub fn judge(&self, _method: &Method, _principal: &Principal) -> Result<(), RuleFault> {
        todo!()
    }
}
