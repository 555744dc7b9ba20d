//! Who may do what, a sentence a route: for `check --describe`, policy tests and the admin listener.

use hyper::Method;

use crate::{
    method::MethodSet,
    policy::{Access, Condition, Rule, listed},
    route::RouteSettings,
    token::place::TokenPlaces,
};

/// Says a route in a sentence. `issuers`: the names of those whose tokens it takes.
pub(crate) fn route<'n>(route: &RouteSettings, issuers: impl IntoIterator<Item = &'n str>) -> String {
    let paths = route.paths.iter().map(ToString::to_string).collect::<Vec<_>>();
    let hosts = route.hosts.iter().map(ToString::to_string).collect::<Vec<_>>();
    let hosts = if hosts.is_empty() { String::new() } else { format!(" on {}", listed(&hosts, "or")) };
    let place = format!("{}{hosts}", listed(&paths, "or"));
    let issuers = issuers.into_iter().map(str::to_owned).collect::<Vec<_>>();
    let access = match &route.allow {
        Access::Public => return format!("{place}: {} open to everybody.", subject(&route.methods, "is", "are")),
        Access::Optional => format!("{} no token, and takes any good one", subject(&route.methods, "needs", "need")),
        Access::Authenticated => format!("{} any good token", subject(&route.methods, "needs", "need")),
        Access::Rules(rules) => by_method(&route.methods, rules),
    };
    let places = match &route.token_from {
        places if *places == TokenPlaces::default() => String::new(),
        places => format!(", taken from {}", listed(&places.iter().map(ToString::to_string).collect::<Vec<_>>(), "or")),
    };
    let dry_run = if route.enforce { "" } else { " Not enforced: a dry run." };
    format!("{place}: {access} (tokens of {}{places}).{dry_run}", listed(&issuers, "or"))
}

/// `GET needs campaigns:read, or role admin; POST needs …`: methods that need the same are said together.
fn by_method(methods: &MethodSet, rules: &[Rule]) -> String {
    let mut named = Vec::<&Method>::new();
    for set in rules.iter().map(|rule| &rule.methods).chain([methods]) {
        named.extend(set.named().filter(|method| methods.contains(method)));
    }
    let needs = |takes: &dyn Fn(&MethodSet) -> bool| {
        let mut ways = Vec::new();
        for rule in rules.iter().filter(|rule| takes(&rule.methods)) {
            let way = all_of(&rule.conditions);
            if !ways.contains(&way) {
                ways.push(way);
            }
        }
        ways.join(", or ")
    };
    let rest = methods.is_any().then(|| needs(&MethodSet::is_any));
    let mut groups = Vec::<(String, Vec<String>)>::new();
    for method in named {
        let need = needs(&|set| set.contains(method));
        if rest.as_ref() == Some(&need) {
            continue;
        }
        match groups.iter_mut().find(|(known, _)| *known == need) {
            Some((_, group)) if group.iter().any(|known| known == method.as_str()) => {}
            Some((_, group)) => group.push(method.to_string()),
            None => groups.push((need, vec![method.to_string()])),
        }
    }
    let mut said = Vec::new();
    for (need, mut group) in groups {
        if group.iter().any(|method| method == "GET") {
            group.retain(|method| method != "HEAD");
        }
        let verb = if group.len() == 1 { "needs" } else { "need" };
        said.push(format!("{} {verb} {need}", listed(&group, "and")));
    }
    if let Some(need) = rest {
        let who = if said.is_empty() { "every method needs" } else { "every other method needs" };
        said.push(format!("{who} {need}"));
    }
    said.join("; ")
}

fn subject(methods: &MethodSet, one: &str, several: &str) -> String {
    if methods.is_any() {
        return format!("every method {one}");
    }
    let takes_get = methods.contains(&Method::GET);
    let named = methods.named().filter(|method| !(takes_get && *method == Method::HEAD));
    let named = named.map(ToString::to_string).collect::<Vec<_>>();
    let verb = if named.len() == 1 { one } else { several };
    format!("{} {verb}", listed(&named, "and"))
}

/// Says a rule: `GET needs campaigns:read`.
pub(crate) fn rule(rule: &Rule) -> String {
    format!("{} {}", subject(&rule.methods, "needs", "need"), all_of(&rule.conditions))
}

/// What one rule asks for.
fn all_of(conditions: &[Condition]) -> String {
    if conditions.is_empty() {
        return "any good token".to_owned();
    }
    conditions.iter().map(Condition::describe).collect::<Vec<_>>().join(" with ")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn every_condition_is_said() {
        let text = "- {name: r, path: /r, upstream: \"http://127.0.0.1:1\", enforce: false, allow: [{issuers: [a], audiences: [x], when: 'true &&
  true', \
                    token_kind: user, claims: {t: v, u: {present: false}}, acr: [s], max_age: 5m}]}\n\
                    - {name: o, path: /o, upstream: \"http://127.0.0.1:1\", allow: optional}";
        let said = described(text);
        for part in [
            "issuer a",
            "audience x",
            "a user's token",
            "with `true && true`",
            "claim t of",
            "no claim u",
            "acr s",
            "last 300 s",
            "a dry run",
            "no token, and",
        ] {
            assert!(said.contains(part), "{part}: {said}");
        }
    }

    fn described(routes: &str) -> String {
        let text = format!(
            "issuers:\n  a: {{issuer: \"https://a.example\", audiences: [api]}}\n  \
             b: {{issuer: \"https://b.example\", audiences: [api]}}\nroutes:\n{routes}"
        );
        let policy = crate::config::load_str(&text, "gateway.yaml").unwrap().policy;
        let names =
            |one: &RouteSettings| one.issuers.iter().map(|issuer| &*policy.issuers[*issuer].name).collect::<Vec<_>>();
        policy.routes.iter().map(|one| format!("{}: {}\n", one.name, route(one, names(one)))).collect()
    }

    #[test]
    fn routes_in_sentences() {
        insta::assert_snapshot!(described(
            r#"
  - {name: health, path: /health, methods: [GET], upstream: "http://127.0.0.1:1", allow: public}
  - {name: site, path: /**, upstream: "http://127.0.0.1:1", allow: public}
  - {name: me, path: /me, issuers: [b], methods: [GET, PUT], upstream: "http://127.0.0.1:1", allow: authenticated}
  - name: campaigns
    hosts: [api.example.com, "*.example.org"]
    paths: [/c, "/c/{id}", /d]
    upstream: http://127.0.0.1:1
    allow:
      - {methods: [GET], scopes: [campaigns:read]}
      - {methods: [POST, PUT], any_scope: [campaigns:write, campaigns:admin], any_role: [editor, owner]}
      - {methods: [GET, PURGE], roles: [admin]}
      - {methods: [DELETE], roles: [admin, staff], scopes: [x, y, z]}
  - name: rest
    path: /r
    upstream: http://127.0.0.1:1
    allow: [{methods: [GET], scopes: [read]}, {roles: [admin]}, {methods: [PUT], roles: [admin]}]
  - {name: any, path: /any, upstream: "http://127.0.0.1:1", allow: [{methods: [POST]}]}
  - {name: link, path: /link, methods: [GET], upstream: "http://127.0.0.1:1", allow: authenticated, token_from: [header, {query: access_token}, {cookie: session}, {header: X-Api-Token}]}
"#
        ));
    }
}
