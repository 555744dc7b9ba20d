//! Configurations: each is compiled or refused with a place and a message that can be shown; none takes the reader down.

use bearward::config;

use super::{Checked, fuzz};

fn check(input: &[u8]) -> Checked {
    let text = String::from_utf8_lossy(input);
    let found = match config::load_str(&text, "gateway.yaml") {
        Ok(loaded) => {
            let unsure = loaded.policy.routes.iter().find(|route| route.paths.is_empty() || route.name.is_empty());
            if let Some(route) = unsure {
                return Err(format!("a route that takes nothing: {route:?}"));
            }
            return Ok(format!(
                "{} routes, {} warnings",
                loaded.policy.routes.len().min(9),
                loaded.warnings.len().min(9)
            ));
        }
        Err(found) => found,
    };
    let lines = text.lines().count() + 1;
    for diagnostic in &found {
        if diagnostic.message.is_empty() || diagnostic.line > lines {
            return Err(format!("{diagnostic:?}"));
        }
        let shown = diagnostic.render(false);
        if let Some(control) = shown.chars().find(|letter| letter.is_control() && *letter != '\n') {
            return Err(format!("{control:?} in {shown:?}"));
        }
    }
    match found.first() {
        Some(first) => Ok(shape(&first.message)),
        None => Err("refused without a reason".to_owned()),
    }
}

/// A message without what it quotes and counts.
fn shape(message: &str) -> String {
    let unquoted = message.split('`').step_by(2).collect::<Vec<_>>().join("…");
    unquoted.chars().filter(|letter| !letter.is_numeric()).take(60).collect()
}

#[test]
fn config() {
    #[rustfmt::skip]
    let words = [
        "\n", "\n  ", "\n    ", ": ", "- ", "{", "}", "[", "]", ", ", "\"", "'", "&a ", "*a", "<<: ", "!x ", "|\n",
        ">\n", "#", "---\n", "${HOME}", "${file:x}", "listen", "issuers", "upstreams", "routes", "allow: public",
        "allow: authenticated", "scopes: [a]", "name", "path: /a", "path: \"/a/{b}/**\"", "upstream",
        "http://127.0.0.1:1", "jwt: {secret: 01234567890123456789012345678901}", "methods: [GET]", "identity",
        "headers", "X-A: subject", "true", "null", "0", "-1", "1e9", "5s", "1MiB", "paths: case_insensitive",
        "rewrite: \"/{b}\"", "strip_prefix: /a", "cors", "respond: {status: 204}", "redirect", "enforce: false",
        "\u{202e}",
    ];
    let outcomes = fuzz("config", &words, 600, check);
    assert!(outcomes.keys().any(|outcome| outcome.contains("routes, ")), "{outcomes:?}");
    assert!(outcomes.len() >= 10, "{outcomes:?}");
}
