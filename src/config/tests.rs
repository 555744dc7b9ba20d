#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod analysis;
mod bad_files;
mod contract;
mod defaults;
mod hostile;
mod includes;
mod key_table;
mod listeners;
mod mistakes;
mod reference;
mod routes;
mod test_files;

use super::*;

/// What is wrong with a text, as the command line shows it.
fn shown(text: &str) -> String {
    let environment = |name: &str| match name {
        "HOST" => Some("swordfish.example".to_owned()),
        "URL" => Some("http://user:swordfish@h".to_owned()),
        "EMPTY" => Some(String::new()),
        _ => None,
    };
    let diagnostics = match load_text(
        text,
        "gateway.yaml",
        Path::new("/nowhere"),
        Interpolation::new(&environment, Path::new("/nowhere")),
    ) {
        Ok(loaded) => loaded.warnings,
        Err(diagnostics) => diagnostics,
    };
    diagnostics.iter().map(|diagnostic| diagnostic.render(false)).collect::<Vec<_>>().join("\n")
}

/// The first lines of what is wrong.
fn messages(text: &str) -> Vec<String> {
    shown(text).lines().filter(|line| line.starts_with(['e', 'w'])).map(str::to_owned).collect()
}

/// A file with an issuer and a route, between which the rest is put.
const VALID: &str = r#"
issuers:
  main:
    issuer: https://auth.example.org
    audiences: [api]
upstreams:
  orders:
    url: http://127.0.0.1:9000
routes:
  - name: orders
    path: /orders/{id}
    upstream: orders
    allow:
      - methods: [GET]
        scopes: [orders:read]
"#;
