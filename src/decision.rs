//! The one place that says yes.

use std::sync::Arc;

use crate::token::{credential::Credential, principal::Principal};

/// A yes. Made here alone; whoever sends a request upstream gives one up for it.
#[derive(Debug)]
pub struct Permit {
    route: usize,
    principal: Option<Arc<Principal>>,
    credential: Option<Credential>,
}

impl Permit {
    /// Index of the route.
    pub fn route(&self) -> usize {
        self.route
    }
    /// Who was let in; None on public routes.
    pub fn principal(&self) -> Option<&Arc<Principal>> {
        self.principal.as_ref()
    }
    /// The token, to be sent on; None on public routes.
    pub fn credential(&self) -> Option<&Credential> {
        self.credential.as_ref()
    }
    #[cfg(test)]
    pub(crate) fn for_test() -> Permit {
        Permit { route: 0, principal: None, credential: None }
    }
}
