//! What of a policy its tests have reached.

use std::{collections::HashSet, sync::Arc};

use crate::{
    config::Policy,
    policy::{Access, Condition},
};

/// What was reached so far.
#[derive(Debug)]
pub struct Coverage {
    routes: Vec<RouteCoverage>,
    scopes: HashSet<String>,
    roles: HashSet<String>,
}

/// Of a route.
#[derive(Debug)]
struct RouteCoverage {
    /// A request led to it.
    matched: bool,
    /// By rule: it let a request in. A route without a list of rules has one for its one word (`public`).
    rules: Vec<bool>,
}

/// What no test reached.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Gaps {
    /// Routes that no request led to, by index.
    pub routes: Vec<usize>,
    /// Rules that let no request in, by the indices of the route and of the rule in it; routes that no request led to
    /// are left out.
    pub rules: Vec<(usize, usize)>,
    /// Scopes of rules that no token had.
    pub scopes: Vec<Arc<str>>,
    /// Roles of rules that no token had.
    pub roles: Vec<Arc<str>>,
    /// How many routes there are.
    pub all_routes: usize,
    /// How many rules there are, those of routes that no request led to too.
    pub all_rules: usize,
    /// How many of them let a request in.
    pub reached_rules: usize,
}

impl Coverage {
    /// Of no test yet.
    pub fn new(policy: &Policy) -> Coverage {
        let routes = policy.routes.iter().map(|route| RouteCoverage {
            matched: false,
            rules: match &route.allow {
                Access::Rules(rules) => vec![false; rules.len()],
                Access::Public | Access::Optional | Access::Authenticated => vec![false],
            },
        });
        Coverage { routes: routes.collect(), scopes: HashSet::new(), roles: HashSet::new() }
    }

    /// A request led to this route.
    pub fn matched(&mut self, route: usize) {
        if let Some(route) = self.routes.get_mut(route) {
            route.matched = true;
        }
    }

    /// This rule let a request in; None: the route has no list of rules.
    pub fn let_in(&mut self, route: usize, rule: Option<usize>) {
        let rules = self.routes.get_mut(route).map(|route| &mut route.rules);
        if let Some(reached) = rules.and_then(|rules| rules.get_mut(rule.unwrap_or(0))) {
            *reached = true;
        }
    }

    /// A token had these.
    pub fn uses(&mut self, scopes: Vec<String>, roles: Vec<String>) {
        self.scopes.extend(scopes);
        self.roles.extend(roles);
    }

    /// What is left.
    pub fn gaps(&self, policy: &Policy) -> Gaps {
        let mut gaps = Gaps { all_routes: self.routes.len(), ..Gaps::default() };
        for (index, route) in self.routes.iter().enumerate() {
            gaps.all_rules += route.rules.len();
            gaps.reached_rules += route.rules.iter().filter(|reached| **reached).count();
            if !route.matched {
                gaps.routes.push(index);
                continue;
            }
            let missed = route.rules.iter().enumerate().filter(|(_, reached)| !**reached);
            gaps.rules.extend(missed.map(|(rule, _)| (index, rule)));
        }
        gaps.scopes = unused(policy, &self.scopes, |condition| match condition {
            Condition::Scopes(names) | Condition::AnyScope(names) => names,
            _ => &[],
        });
        gaps.roles = unused(policy, &self.roles, |condition| match condition {
            Condition::Roles(names) | Condition::AnyRole(names) => names,
            _ => &[],
        });
        gaps
    }
}

/// The names in the policy's rules that aren't among those used, each once, in the policy's order.
fn unused(policy: &Policy, used: &HashSet<String>, names: impl Fn(&Condition) -> &[Arc<str>]) -> Vec<Arc<str>> {
    let mut unused = Vec::new();
    let rules = policy.routes.iter().filter_map(|route| match &route.allow {
        Access::Rules(rules) => Some(rules),
        Access::Public | Access::Optional | Access::Authenticated => None,
    });
    for name in rules.flatten().flat_map(|rule| &rule.conditions).flat_map(names) {
        if !used.contains(&**name) && !unused.contains(name) {
            unused.push(name.clone());
        }
    }
    unused
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn gaps_close_one_by_one() {
        let text = r#"
issuers: {a: {issuer: "https://a.example", audiences: [api]}}
routes:
  - {name: open, path: /open, upstream: "http://127.0.0.1:1", allow: public}
  - name: orders
    path: /orders
    upstream: http://127.0.0.1:1
    allow: [{methods: [GET], scopes: [read, list]}, {any_role: [staff], scopes: [read]}]"#;
        let policy = crate::config::load_str(text, "gateway.yaml").unwrap().policy;
        let mut coverage = Coverage::new(&policy);
        let nothing = coverage.gaps(&policy);
        assert_eq!((nothing.routes, nothing.rules), (vec![0, 1], vec![]));
        assert_eq!((nothing.all_routes, nothing.all_rules, nothing.reached_rules), (2, 3, 0));
        assert_eq!(nothing.scopes, [Arc::from("read"), Arc::from("list")]);
        assert_eq!(nothing.roles, [Arc::from("staff")]);

        coverage.matched(0);
        coverage.matched(1);
        let refused = coverage.gaps(&policy);
        assert_eq!((refused.routes, refused.rules), (vec![], vec![(0, 0), (1, 0), (1, 1)]));

        coverage.let_in(0, None);
        coverage.let_in(1, Some(1));
        coverage.uses(vec!["read".to_owned(), "other".to_owned()], vec!["staff".to_owned()]);
        let let_in = coverage.gaps(&policy);
        assert_eq!((let_in.rules, let_in.reached_rules), (vec![(1, 0)], 2));
        assert_eq!((let_in.scopes, let_in.roles), (vec![Arc::from("list")], vec![]));

        // What isn't there changes nothing.
        coverage.matched(7);
        coverage.let_in(7, None);
        coverage.let_in(1, Some(7));
        assert_eq!(coverage.gaps(&policy).rules, [(1, 0)]);
    }
}
