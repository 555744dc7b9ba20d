//! Servers as simply as can be: each step that one may take with a path, in every order. Shares nothing with the gateway.

use std::collections::HashSet;

type Step = fn(&[u8]) -> Vec<u8>;

/// What a server may do to a path: a step, and how often at most.
const STEPS: [(Step, u8); 4] = [(decode, 2), (strip, 1), (merge, 1), (link, 1)];

/// Whether some order of steps leads to `/admin` or under it, dots resolved wherever a server may.
pub(super) fn leads_to_admin(sent: &[u8]) -> bool {
    let mut seen = HashSet::new();
    let mut open = vec![(sent.to_vec(), [0_u8; 4])];
    while let Some((path, used)) = open.pop() {
        // Judged with dots resolved: `/admin/..` is not under `/admin`.
        let resolved = resolve(&path);
        if resolved == b"/admin" || resolved.starts_with(b"/admin/") {
            return true;
        }
        if !seen.insert((path.clone(), used)) || seen.len() > 4000 {
            continue;
        }
        open.push((resolved, used));
        for (place, (step, most)) in STEPS.into_iter().enumerate() {
            if used[place] < most {
                let mut now = used;
                now[place] += 1;
                open.push((step(&path), now));
            }
        }
    }
    false
}

fn decode(path: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::new();
    let mut rest = path;
    while let Some((&first, after)) = rest.split_first() {
        let hex = after.get(..2).filter(|pair| pair.iter().all(u8::is_ascii_hexdigit));
        let octet =
            hex.and_then(|pair| std::str::from_utf8(pair).ok()).and_then(|pair| u8::from_str_radix(pair, 16).ok());
        match octet {
            Some(octet) if first == b'%' => {
                decoded.push(octet);
                rest = &after[2..];
            }
            _ => {
                decoded.push(first);
                rest = after;
            }
        }
    }
    decoded
}

fn segments(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/')
}

fn strip(path: &[u8]) -> Vec<u8> {
    let stripped: Vec<&[u8]> =
        segments(path).map(|segment| segment.split(|byte| *byte == b';').next().unwrap_or_default()).collect();
    stripped.join(&b'/')
}

fn merge(path: &[u8]) -> Vec<u8> {
    let mut merged: Vec<u8> = Vec::new();
    for &byte in path {
        if byte != b'/' || merged.last() != Some(&b'/') {
            merged.push(byte);
        }
    }
    merged
}

/// A path that begins with two slashes read as a link: what comes after the host.
fn link(path: &[u8]) -> Vec<u8> {
    let Some(rest) = path.strip_prefix(b"//") else { return path.to_vec() };
    let host = rest.iter().position(|byte| *byte != b'/').unwrap_or(rest.len());
    let rest = &rest[host..];
    rest.iter().position(|byte| *byte == b'/').map_or(b"/".to_vec(), |slash| rest[slash..].to_vec())
}

/// Dots resolved; what would lead above the root stays there.
fn resolve(path: &[u8]) -> Vec<u8> {
    let mut resolved: Vec<&[u8]> = Vec::new();
    let last = segments(path).count().saturating_sub(1);
    for (place, segment) in segments(path).enumerate().skip(1) {
        match segment {
            b"." | b".." => {
                if segment == b".." {
                    resolved.pop();
                }
                if place == last {
                    resolved.push(b"");
                }
            }
            segment => resolved.push(segment),
        }
    }
    [b"/", resolved.join(&b'/').as_slice()].concat()
}

#[test]
fn the_models_find_what_they_should() {
    for path in [
        "/admin",
        "/admin/x",
        "/%61dmin",
        "/%2561dmin",
        "/x/..;/admin",
        "//admin",
        "//h/admin",
        "/x/%252e%252e;/admin",
        "/../admin",
        "/x//..;/..;/admin",
        "/%3b/admin",
        "/x/../admin/",
    ] {
        assert!(leads_to_admin(path.as_bytes()), "{path}");
    }
    for path in
        ["/", "/x/admin", "/administrator", "/admin.", "/ADMIN", "/x/admin/..", "/%25252561dmin", "//h/admin;/..;"]
    {
        assert!(!leads_to_admin(path.as_bytes()), "{path}");
    }
}
