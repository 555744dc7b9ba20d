//! What differs between two configurations: for the log, and for what a running process can't take up.

use std::{fmt::Debug, sync::Arc};

use crate::{config::Policy, server::ListenSettings};

/// The keys that have changed and need a restart.
pub(super) fn that_need_restart(old: &Policy, new: &Policy) -> Vec<&'static str> {
    // Which certificates a listener has may change, not whether it has some.
    let place =
        |listen: &ListenSettings| (listen.name.clone(), listen.address.clone(), listen.mode, listen.tls.is_some());
    [
        ("listen", old.listen.iter().map(place).ne(new.listen.iter().map(place))),
        ("admin.address", old.admin != new.admin),
        ("server.workers", old.server.workers != new.server.workers),
        ("state.dir", old.state_dir != new.state_dir),
    ]
    .into_iter()
    .filter_map(|(key, has_changed)| has_changed.then_some(key))
    .collect()
}

/// The keys that differ and are no policy: what is decided doesn't come of them.
pub(super) fn that_are_no_policy(one: &Policy, other: &Policy) -> Vec<&'static str> {
    [
        ("listen", one.listen != other.listen),
        ("admin", one.admin != other.admin || one.admin_token != other.admin_token),
        ("server", shown(&one.server) != shown(&other.server)),
        ("state", one.state_dir != other.state_dir || one.redis != other.redis),
        ("logging", one.logging != other.logging),
        ("tracing", one.tracing != other.tracing),
    ]
    .into_iter()
    .filter_map(|(key, differs)| differs.then_some(key))
    .collect()
}

/// What has changed, in the order of the reference: `routes: +new ~changed -gone, server`. Shows names, never values.
pub(super) fn between(old: &Policy, new: &Policy) -> String {
    let alone = |key: &str, has_changed: bool| has_changed.then(|| key.to_owned());
    let parts = [
        alone("listen", old.listen != new.listen),
        alone("admin", old.admin_token != new.admin_token),
        alone("server", shown(&old.server) != shown(&new.server)),
        named("issuers", &old.issuers, &new.issuers, |issuer| &issuer.name, PartialEq::eq),
        alone("token_cache", old.token_cache_bytes != new.token_cache_bytes),
        alone("state", old.redis != new.redis),
        named("upstreams", &old.upstreams, &new.upstreams, |upstream| &upstream.name, PartialEq::eq),
        alone("identity", shown(&old.identity) != shown(&new.identity)),
        alone("errors", old.realm != new.realm),
        named("routes", &old.routes, &new.routes, |route| &route.name, |one, other| shown(one) == shown(other)),
        alone("logging", old.logging != new.logging),
        alone("tracing", old.tracing != new.tracing),
    ];
    let parts = parts.into_iter().flatten().collect::<Vec<_>>();
    if parts.is_empty() { "nothing that is shown".to_owned() } else { parts.join(", ") }
}

/// The same with the listeners that show another certificate now: `listen: ~tls, server`.
pub(super) fn with_renewed(changed: &str, listeners: &[Arc<str>]) -> String {
    let is_told = changed.split(", ").any(|part| part == "listen");
    if listeners.is_empty() || is_told {
        return changed.to_owned();
    }
    let renewed = listeners.iter().map(|name| format!(" ~{name}")).collect::<String>();
    let others = Some(changed).filter(|changed| !changed.starts_with("nothing"));
    let others = others.map(|changed| format!(", {changed}")).unwrap_or_default();
    format!("listen:{renewed}{others}")
}

/// Settings that can't be compared are compared as they are shown.
fn shown(settings: &impl Debug) -> String {
    format!("{settings:?}")
}

/// None: all are as they were, whatever their order.
fn named<T>(
    key: &str,
    old: &[T],
    new: &[T],
    name: impl Fn(&T) -> &Arc<str>,
    is_same: impl Fn(&T, &T) -> bool,
) -> Option<String> {
    let find = |list: &'_ [T], wanted: &T| list.iter().position(|item| name(item) == name(wanted));
    let mut words = Vec::new();
    for item in new {
        match find(old, item).and_then(|place| old.get(place)) {
            None => words.push(format!("+{}", name(item))),
            Some(before) if !is_same(before, item) => words.push(format!("~{}", name(item))),
            Some(_) => {}
        }
    }
    words.extend(old.iter().filter(|item| find(new, item).is_none()).map(|item| format!("-{}", name(item))));
    const MOST: usize = 20;
    let more = words.len().saturating_sub(MOST);
    words.truncate(MOST);
    if more > 0 {
        words.push(format!("and {more} more"));
    }
    (!words.is_empty()).then(|| format!("{key}: {}", words.join(" ")))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const BEFORE: &str = "
listen: [\"127.0.0.1:1\"]
issuers:
  a: {issuer: \"https://a.example\", audiences: [api]}
routes:
  - {name: one, path: /1, upstream: \"http://127.0.0.1:9\", allow: public}
  - {name: two, path: /2, upstream: \"http://127.0.0.1:9\", allow: authenticated}
";

    fn policy(text: &str) -> Policy {
        crate::config::load_str(text, "f").unwrap().policy
    }

    #[test]
    fn changes_are_named() {
        for (from, to, changed) in [
            ("", "", "nothing that is shown"),
            ("two, path: /2,", "two, path: /3,", "routes: ~two"),
            ("name: two", "name: three", "upstreams: +three -two, routes: +three -two"),
            ("[api]", "[api, other]", "issuers: ~a"),
            ("issuers:", "server: {max_token_bytes: 1KiB}\nissuers:", "server"),
            ("issuers:", "errors: {realm: r}\nlogging: {level: warn}\nissuers:", "errors, logging"),
            ("issuers:", "admin: {token: sesame}\nissuers:", "admin"),
        ] {
            let after = BEFORE.replacen(from, to, 1);
            assert_eq!(between(&policy(BEFORE), &policy(&after)), changed, "{to}");
        }
        let many: String = (0..30)
            .map(|n| format!("  - {{name: r{n}, path: /r{n}, respond: {{status: 200}}, allow: public}}\n"))
            .collect();
        let words = between(&policy(BEFORE), &policy(&format!("{BEFORE}{many}")));
        assert!(words.ends_with("+r19 and 10 more"), "{words}");
    }

    #[test]
    fn certificates_are_changes_too() {
        let tls: [Arc<str>; 1] = ["tls".into()];
        for (changed, listeners, told) in [
            ("nothing", &[][..], "nothing"),
            ("nothing", &tls[..], "listen: ~tls"),
            ("nothing that is shown", &tls[..], "listen: ~tls"),
            ("server, routes: ~a", &tls[..], "listen: ~tls, server, routes: ~a"),
            ("listen, server", &tls[..], "listen, server"),
        ] {
            assert_eq!(with_renewed(changed, listeners), told);
        }
    }

    #[test]
    fn what_needs_a_restart() {
        for (from, to, keys) in [
            ("two, path: /2,", "two, path: /3,", &[][..]),
            ("127.0.0.1:1", "127.0.0.1:2", &["listen"]),
            ("[\"127.0.0.1:1\"]", "[{address: \"127.0.0.1:1\", name: x}]", &["listen"]),
            ("[\"127.0.0.1:1\"]", "[\"127.0.0.1:1\", \"127.0.0.1:2\"]", &["listen"]),
            ("issuers:", "admin: off\nserver: {workers: 33}\nissuers:", &["admin.address", "server.workers"]),
            ("issuers:", "state: {dir: /s}\nissuers:", &["state.dir"]),
            ("issuers:", "server: {idle_timeout: 1s, max_connections: 7}\nissuers:", &[]),
        ] {
            let after = BEFORE.replacen(from, to, 1);
            assert_eq!(that_need_restart(&policy(BEFORE), &policy(&after)), keys, "{to}");
        }
    }
}
