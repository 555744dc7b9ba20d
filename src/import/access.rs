//! Who may do what, as a document's `security` says.

use super::template::Pattern;

/// Beyond it, what alternatives come to together isn't worked out.
pub(super) const MOST_ALTERNATIVES: usize = 64;

/// Who is let in.
#[derive(Clone, Debug)]
pub(super) enum Access {
    /// Everybody.
    Public,
    /// Everybody; a token that is sent must be good.
    Optional,
    /// Whose token has all that one of these asks for. Empty: nobody.
    Tokens(Vec<Need>),
}

/// What a token must have. Empty: any good token will do.
#[derive(Clone, Debug, Default)]
pub(super) struct Need {
    /// All of these.
    pub(super) scopes: Vec<String>,
    /// All of these.
    pub(super) roles: Vec<String>,
    /// Of the document's issuers the one whose token it is.
    pub(super) issuer: Option<usize>,
    /// What the path's parameters look like.
    pub(super) patterns: Vec<Pattern>,
    /// What they don't look like: not all of each of these.
    pub(super) unlike: Vec<Vec<Pattern>>,
}

impl Access {
    /// Any good token.
    pub(super) fn any_token() -> Access {
        Access::Tokens(vec![Need::default()])
    }

    /// No one.
    pub(super) fn nobody() -> Access {
        Access::Tokens(Vec::new())
    }

    /// Whether any good token will do.
    pub(super) fn is_any_token(&self) -> bool {
        matches!(self, Access::Tokens(needs) if needs.iter().any(Need::is_empty))
    }

    /// Whether no one is let in.
    pub(super) fn is_nobody(&self) -> bool {
        matches!(self, Access::Tokens(needs) if needs.is_empty())
    }

    /// Whom both let in. Too much to work out: nobody.
    pub(super) fn and(&self, other: &Access) -> Access {
        match (self, other) {
            (Access::Public, other) | (other, Access::Public) => other.clone(),
            (Access::Optional, other) | (other, Access::Optional) => other.clone(),
            (Access::Tokens(ours), Access::Tokens(theirs)) if ours.len() * theirs.len() <= MOST_ALTERNATIVES => {
                let both = ours.iter().flat_map(|ours| theirs.iter().filter_map(|theirs| ours.and(theirs)));
                Access::tokens(both.collect()).0
            }
            (Access::Tokens(_), Access::Tokens(_)) => Access::nobody(),
        }
    }

    /// Whom either lets in.
    pub(super) fn or(self, other: Access) -> Access {
        match (self, other) {
            (Access::Tokens(ours), Access::Tokens(theirs)) => Access::tokens([ours, theirs].concat()).0,
            (Access::Public, _) | (_, Access::Public) => Access::Public,
            (Access::Optional, _) | (_, Access::Optional) => Access::Optional,
        }
    }

    /// Who has what one of these asks for, without those that ask for more than another; and whether there were any.
    pub(super) fn tokens(needs: Vec<Need>) -> (Access, bool) {
        let is_needless = |place: usize, need: &Need| {
            needs
                .iter()
                .enumerate()
                .any(|(other, wider)| other != place && wider.is_in(need) && (other < place || !need.is_in(wider)))
        };
        let kept = needs.iter().enumerate().filter(|(place, need)| !is_needless(*place, need));
        let kept = kept.map(|(_, need)| need.clone()).collect::<Vec<_>>();
        let needless = kept.len() < needs.len();
        (Access::Tokens(kept), needless)
    }

    /// Whether it lets in the same.
    pub(super) fn is_same(&self, other: &Access) -> bool {
        match (self, other) {
            (Access::Public, Access::Public) | (Access::Optional, Access::Optional) => true,
            (Access::Tokens(ours), Access::Tokens(theirs)) => {
                let same = |need: &Need, other: &Need| need.is_in(other) && other.is_in(need);
                ours.len() == theirs.len() && ours.iter().all(|need| theirs.iter().any(|other| same(need, other)))
            }
            _ => false,
        }
    }
}

impl Need {
    /// Whether it asks for nothing but a good token.
    pub(super) fn is_empty(&self) -> bool {
        self.scopes.is_empty() && self.roles.is_empty() && self.issuer.is_none() && self.looks_at_no_path()
    }

    fn looks_at_no_path(&self) -> bool {
        self.patterns.is_empty() && self.unlike.is_empty()
    }

    /// What asks for both. None: no token is of two issuers.
    pub(super) fn and(&self, other: &Need) -> Option<Need> {
        if self.issuer.is_some() && other.issuer.is_some() && self.issuer != other.issuer {
            return None;
        }
        Some(Need {
            scopes: union(&self.scopes, &other.scopes),
            roles: union(&self.roles, &other.roles),
            issuer: self.issuer.or(other.issuer),
            patterns: union(&self.patterns, &other.patterns),
            unlike: union(&self.unlike, &other.unlike),
        })
    }

    /// Whether the other asks for all that this one does.
    fn is_in(&self, other: &Need) -> bool {
        self.scopes.iter().all(|scope| other.scopes.contains(scope))
            && self.roles.iter().all(|role| other.roles.contains(role))
            && (self.issuer.is_none() || self.issuer == other.issuer)
            && self.patterns.iter().all(|pattern| other.patterns.contains(pattern))
            && self.unlike.iter().all(|patterns| other.unlike.contains(patterns))
    }
}

fn union<T: Clone + PartialEq>(some: &[T], more: &[T]) -> Vec<T> {
    let mut all = some.to_vec();
    for one in more {
        if !all.contains(one) {
            all.push(one.clone());
        }
    }
    all
}
