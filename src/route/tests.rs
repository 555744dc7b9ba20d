#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use proptest::prelude::*;

use super::*;
use crate::policy::Access;

fn methods(names: &str) -> MethodSet {
    match names {
        "" => MethodSet::ANY,
        names => MethodSet::of(names.split(' ').map(|name| Method::from_bytes(name.as_bytes()).unwrap())),
    }
}

/// Hosts, paths and methods, each a list with spaces; none: any.
fn route(hosts: &str, paths: &str, names: &str) -> RouteSettings {
    RouteSettings {
        name: paths.into(),
        listeners: None,
        hosts: hosts.split_whitespace().map(|host| HostPattern::parse(host).unwrap()).collect(),
        paths: paths.split(' ').map(|path| PathTemplate::parse(path).unwrap()).collect(),
        declared_methods: methods(names),
        methods: methods(names),
        allow: Access::Public,
        issuers: Vec::new(),
        token_from: Default::default(),
        enforce: true,
        destination: Destination::Upstream(0),
        rewrite: None,
        identity: IdentityPlan { headers: Vec::new(), forward_authorization: true, assertion: None },
        cors: None,
        headers: HeaderRules::default(),
        timeout: None,
        max_body_bytes: None,
        revokes: false,
        rate_limits: Vec::new(),
        protected_resource: None,
    }
}

fn table(routes: &[(&str, &str, &str)]) -> RouteTable {
    let routes: Vec<_> = routes.iter().map(|(hosts, paths, names)| route(hosts, paths, names)).collect();
    RouteTable::new(&routes).unwrap()
}

fn index(found: Found) -> Option<usize> {
    match found {
        Found::Route { index, .. } => Some(index),
        Found::Nothing => None,
        Found::OtherMethods { .. } => panic!("{found:?}"),
    }
}

#[test]
fn the_most_specific_path_wins_in_any_order() {
    let mut paths =
        ["/**", "/", "/a", "/a/**", "/a/{x}", "/a/b", "/a/{x}/c", "/a/b/{y}", "/{x}/b/c", "/{x}", "/a/b/d/**"];
    let cases = [
        ("/", "/"),
        ("/a", "/a"),
        ("/a/", "/a"),
        ("/b", "/{x}"),
        ("/b/", "/{x}"),
        ("//", "/**"),
        ("/a//", "/a/**"),
        ("//a", "/**"),
        ("/a/b", "/a/b"),
        ("/a/c", "/a/{x}"),
        ("/a/b/c", "/a/b/{y}"),
        ("/a/x/c", "/a/{x}/c"),
        ("/a/x/d", "/a/**"),
        ("/x/b/c", "/{x}/b/c"),
        ("/x/b/d", "/**"),
        ("/a/b/d", "/a/b/d/**"),
        ("/a/b/d/", "/a/b/d/**"),
        ("/a/b/d/e/f", "/a/b/d/**"),
        ("/a/b//", "/a/**"),
        ("/A", "/{x}"),
        ("/a/b/c/d", "/a/**"),
        ("/ab", "/{x}"),
    ];
    for _ in 0..2 {
        let table = table(&paths.map(|path| ("", path, "")));
        for (path, expected) in cases {
            let found = index(table.find(0, None, path, &Method::GET)).map(|index| paths[index]);
            assert_eq!(found, Some(expected), "{path}");
        }
        paths.reverse();
    }
}

#[test]
fn hosts_rank_before_paths() {
    let table = table(&[
        ("", "/a/b /any", ""),
        ("*.example.org", "/a/** /wild", ""),
        ("*.eu.example.org", "/a/** /eu", ""),
        ("api.eu.example.org", "/**", "GET"),
        ("*.org", "/org", ""),
        ("api.test", "/x", ""),
    ]);
    let cases = [
        (None, "/a/b", Some(0)),
        (Some("other.test"), "/a/b", Some(0)),
        (Some("example.org"), "/a/b", Some(0)),
        (Some("example.org"), "/org", Some(4)),
        (Some("a.example.org"), "/a/b", Some(1)),
        (Some("a.example.org"), "/any", Some(0)),
        (Some("a.example.org"), "/eu", None),
        (Some("a.eu.example.org"), "/a/b", Some(2)),
        (Some("a.eu.example.org"), "/wild", Some(1)),
        (Some("a.eu.example.org"), "/org", Some(4)),
        (Some("api.eu.example.org"), "/eu", Some(3)),
        (Some("xexample.org"), "/wild", None),
        (Some("api.test"), "/x", Some(5)),
        (Some("api.test"), "/any", Some(0)),
        (Some("API.test"), "/x", None),
        (None, "/x", None),
        (Some(""), "/any", Some(0)),
    ];
    for (host, path, expected) in cases {
        assert_eq!(index(table.find(0, host, path, &Method::GET)), expected, "{host:?} {path}");
    }
    let Found::OtherMethods { index: 3, allow } = table.find(0, Some("api.eu.example.org"), "/any", &Method::POST)
    else {
        panic!("a host's own route isn't passed over for its methods");
    };
    assert_eq!(&*allow, "GET, HEAD");
}

#[test]
fn methods_choose_within_a_path_and_nothing_falls_through() {
    let table = table(&[
        ("", "/a", "GET"),
        ("", "/a", "POST PURGE"),
        ("", "/**", ""),
        ("", "/{x}", "DELETE"),
        ("", "/b/**", "PUT"),
    ]);
    let found = |path, method: &str| table.find(0, None, path, &Method::from_bytes(method.as_bytes()).unwrap());
    assert_eq!(index(found("/a", "GET")), Some(0));
    assert_eq!(index(found("/a", "HEAD")), Some(0));
    assert_eq!(index(found("/a", "POST")), Some(1));
    assert_eq!(index(found("/a", "PURGE")), Some(1));
    for method in ["DELETE", "get", "purge", "PUT", "OPTIONS"] {
        assert_eq!(found("/a", method), Found::OtherMethods { index: 0, allow: "GET, HEAD, POST, PURGE".into() });
    }
    assert_eq!(index(found("/z", "DELETE")), Some(3));
    assert_eq!(found("/b", "DELETE"), Found::OtherMethods { index: 4, allow: "PUT".into() });
    assert_eq!(found("/b/c", "GET"), Found::OtherMethods { index: 4, allow: "PUT".into() });
    assert_eq!(index(found("/c/d", "GET")), Some(2));
}

#[test]
fn a_route_whose_rules_take_less_than_it_declares() {
    let mut narrow = route("", "/a", "GET POST");
    narrow.methods = methods("GET");
    let routes = [narrow, route("", "/a", "PUT")];
    let table = RouteTable::new(&routes).unwrap();
    let expected = Found::OtherMethods { index: 0, allow: "GET, HEAD, PUT".into() };
    assert_eq!(table.find(0, None, "/a", &Method::POST), expected);
    // Declared is what tells routes apart, even where no rule takes it.
    assert!(RouteTable::new(&[routes[0].clone(), route("", "/a", "POST")]).is_err());
}

#[test]
fn params_are_where_they_are_in_the_path() {
    let table = table(&[("", "/a/{x}/b/{y}/**", ""), ("", "/{only}", ""), ("", "/p/{x}/{y}", "")]);
    let params = |path: &str| match table.find(0, None, path, &Method::GET) {
        Found::Route { params, .. } => params.into_iter().map(|range| path[range].to_owned()).collect::<Vec<_>>(),
        other => panic!("{path}: {other:?}"),
    };
    assert_eq!(params("/a/1/b/22"), ["1", "22"]);
    assert_eq!(params("/a/1/b/22/"), ["1", "22"]);
    assert_eq!(params("/a/%20x/b/y/z/z"), ["%20x", "y"]);
    assert_eq!(params("/a/b/b/b"), ["b", "b"]);
    assert_eq!(params("/only/"), ["only"]);
    assert_eq!(params("/p/a/a"), ["a", "a"]);
}

#[test]
fn a_route_is_there_on_its_own_listeners_alone() {
    let on = |listeners: &[usize], paths: &str| RouteSettings {
        listeners: Some(listeners.to_vec()),
        ..route("", paths, "")
    };
    let routes = [
        on(&[0], "/a"),
        on(&[2, 1], "/a /z"),
        route("", "/{x}", ""),
        on(&[2], "/a/** /b"),
        on(&[0], "/b"),
        route("", "/c", ""),
    ];
    let table = RouteTable::new(&routes).unwrap();
    for (path, by_listener) in [
        ("/a", [Some(0), Some(1), Some(1), Some(2)]),
        ("/b", [Some(4), Some(2), Some(3), Some(2)]),
        ("/c", [Some(5); 4]),
        ("/z", [Some(2), Some(1), Some(1), Some(2)]),
        ("/a/b", [None, None, Some(3), None]),
    ] {
        let found = [0, 1, 2, 3].map(|listener| index(table.find(listener, None, path, &Method::GET)));
        assert_eq!(found, by_listener, "{path}");
        assert_eq!(index(table.find(usize::MAX, None, path, &Method::GET)), by_listener[3], "{path}");
    }
    let conflicts = |routes: &[RouteSettings]| RouteTable::new(routes).map_or_else(|found| found.len(), |_| 0);
    assert_eq!(conflicts(&[on(&[0], "/a"), on(&[1], "/a")]), 0);
    assert_eq!(conflicts(&[on(&[0, 1, 2], "/a"), on(&[2, 1], "/a")]), 1);
    assert_eq!(conflicts(&[on(&[1], "/a"), route("", "/a", "")]), 1);
    assert_eq!(conflicts(&[on(&[1], "/a /a/")]), 1);
}

#[test]
fn conflicts_are_all_told() {
    let conflict = |first, second, path: &str| Conflict { first, second, path: path.to_owned() };
    let routes = [
        route("", "/a/{x}", "GET"),
        route("", "/a/{y}/", "HEAD POST"),
        route("", "/a/{z}", "POST"),
        route("x.org", "/a/{x}", ""),
        route("x.org y.org x.org", "/b /a/{k}", "DELETE"),
        route("*.org", "/a/{x}", "GET"),
        route("*.org y.org x.org", "/b /b/", ""),
        route("", "/c/**", ""),
        route("", "/c", ""),
        route("", "/c/%61/**", ""),
        route("", "/c/a/**", "PURGE"),
    ];
    let expected = vec![
        conflict(0, 1, "/a/{y}"),
        conflict(1, 2, "/a/{z}"),
        conflict(3, 4, "/a/{k}"),
        conflict(4, 6, "/b"),
        conflict(6, 6, "/b"),
        conflict(9, 10, "/c/a/**"),
    ];
    assert_eq!(RouteTable::new(&routes).unwrap_err(), expected);
}

#[test]
fn an_empty_table_has_nothing() {
    let table = RouteTable::new(&[]).unwrap();
    assert_eq!(table.find(0, Some("a"), "/", &Method::GET), Found::Nothing);
    assert_eq!(super::tests::table(&[("", "/**", "")]).find(0, None, "*", &Method::OPTIONS), Found::Nothing);
}

#[test]
fn hostile_lengths() {
    let deep = "/{a}".repeat(64).replace("{a}", "a");
    let table = table(&[("", &deep, ""), ("", "/a/{x}/**", ""), ("*.a", "/z", ""), ("", "/{x}", "")]);
    let path = "/a".repeat(64 << 10);
    assert_eq!(index(table.find(0, Some(&"a.".repeat(32 << 10)), &path, &Method::GET)), Some(1));
    assert_eq!(index(table.find(0, None, &"/".repeat(128 << 10), &Method::GET)), None);
    assert_eq!(index(table.find(0, None, &format!("/{}", "x".repeat(128 << 10)), &Method::GET)), Some(3));
    assert_eq!(index(table.find(0, None, &deep, &Method::GET)), Some(0));
}

/// The matcher as one would tell it: every template is held against the path, and the best of those that fit is taken.
mod model {
    use super::*;

    fn segments(path: &str) -> Vec<&str> {
        let inner = path.strip_prefix('/').unwrap();
        let inner = inner.strip_suffix('/').unwrap_or(inner);
        if path == "/" { Vec::new() } else { inner.split('/').collect() }
    }

    /// How specific the template is, from the left, if it fits.
    pub(super) fn fit(template: &PathTemplate, path: &str) -> Option<Vec<u8>> {
        let (written, asked) = (template.segments(), segments(path));
        if asked.len() < written.len() || (asked.len() > written.len() && !template.takes_rest()) {
            return None;
        }
        let mut rank = Vec::new();
        for (segment, asked) in written.iter().zip(asked) {
            rank.push(match segment {
                Segment::Literal(literal) if literal == asked => 3,
                Segment::Param(_) if !asked.is_empty() => 2,
                _ => return None,
            });
        }
        rank.push(if template.takes_rest() { 0 } else { 1 });
        Some(rank)
    }

    fn host_rank(route: &RouteSettings, host: Option<&str>) -> Option<usize> {
        if route.hosts.is_empty() {
            return Some(0);
        }
        let host = host?;
        let rank = |pattern: &HostPattern| match pattern {
            HostPattern::Exact(exact) => (exact == host).then_some(usize::MAX),
            HostPattern::Suffix(suffix) => {
                host.strip_suffix(suffix.as_str()).filter(|label| !label.is_empty()).map(|_| suffix.len())
            }
        };
        route.hosts.iter().filter_map(rank).max()
    }

    /// The routes that share the best path, in their order.
    pub(super) fn best(routes: &[RouteSettings], host: Option<&str>, path: &str) -> Vec<usize> {
        let mut best = None;
        let mut indexes = Vec::new();
        for (index, route) in routes.iter().enumerate() {
            // A host's rank counts for each of its patterns by itself.
            for pattern in route.hosts.iter().map(Some).chain(route.hosts.is_empty().then_some(None)) {
                let alone = RouteSettings { hosts: pattern.cloned().into_iter().collect(), ..route.clone() };
                let Some(host) = host_rank(&alone, host) else { continue };
                for template in &route.paths {
                    let Some(rank) = fit(template, path) else { continue };
                    let rank = Some((host, rank));
                    if rank > best {
                        best = rank.clone();
                        indexes.clear();
                    }
                    if rank == best {
                        indexes.push(index);
                    }
                }
            }
        }
        indexes
    }
}

fn any_path() -> impl Strategy<Value = String> {
    let segment = prop::sample::select(vec!["a", "b", "c", "", "a"]);
    prop::collection::vec(segment, 0..6).prop_map(|segments| format!("/{}", segments.join("/")))
}

fn any_route() -> impl Strategy<Value = RouteSettings> {
    let segment = prop::sample::select(vec!["a", "b", "{}", "{}"]);
    let template = (prop::collection::vec(segment, 0..5), any::<bool>()).prop_map(|(segments, rest)| {
        let mut text = String::new();
        for (place, segment) in segments.into_iter().enumerate() {
            text += &format!("/{}", segment.replace("{}", &format!("{{p{place}}}")));
        }
        let end = if rest { "/**" } else { "/" };
        text + end
    });
    let hosts = prop::sample::select(vec!["", "", "", "x.org", "*.org", "*.x.org", "a.x.org *.org"]);
    let names = prop::sample::select(vec!["", "GET", "POST", "PUT DELETE"]);
    (hosts, prop::collection::vec(template, 1..3), names)
        .prop_map(|(hosts, paths, names)| route(hosts, &paths.join(" "), names))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1000) })]

    #[test]
    fn as_the_model(
        wanted in prop::collection::vec(any_route(), 0..16),
        asked in prop::collection::vec((any_path(), prop::sample::select(vec![None, Some("x.org"), Some("a.x.org"), Some("b.x.org")])), 8),
    ) {
        let mut routes = Vec::new();
        for route in wanted {
            routes.push(route);
            if RouteTable::new(&routes).is_err() {
                routes.pop();
            }
        }
        let table = RouteTable::new(&routes).unwrap();
        for (path, host) in asked {
            let best = model::best(&routes, host, &path);
            for method in [Method::GET, Method::POST, Method::DELETE, Method::PATCH] {
                let takes = best.iter().copied().find(|index| routes[*index].methods.contains(&method));
                match table.find(0, host, &path, &method) {
                    Found::Route { index, template, params } => {
                        prop_assert_eq!(Some(index), takes, "{:?} {}", host, path);
                        let template = &routes[index].paths[template];
                        prop_assert!(model::fit(template, &path).is_some(), "{} {}", template, path);
                        prop_assert_eq!(template.param_names().count(), params.len());
                        prop_assert!(params.into_iter().all(|range| !path[range.clone()].contains('/') && !range.is_empty()));
                    }
                    Found::OtherMethods { index, .. } => {
                        prop_assert_eq!(takes, None, "{:?} {}", host, path);
                        prop_assert!(best.contains(&index));
                    }
                    Found::Nothing => prop_assert!(best.is_empty(), "{:?} {} {:?}", host, path, best),
                }
            }
        }
    }
}
