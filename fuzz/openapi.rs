//! OpenAPI documents: each is refused with a message that can be shown, or what comes of it passes `check` and opens no more
//! than a reading of the document allows that knows nothing of its structure.

use bearward::{
    config,
    import::{self, Wanted},
    policy::Access,
};

use super::{Checked, fuzz};

fn check(input: &[u8]) -> Checked {
    let text = String::from_utf8_lossy(input);
    let wanted = Wanted {
        issuer: Some("https://login.example".to_owned()),
        audiences: vec!["api".to_owned()],
        upstream: Some("http://127.0.0.1:1".to_owned()),
        hosts: false,
    };
    let made = match import::openapi_from("api.yaml", text.as_bytes(), &wanted) {
        Ok(made) => made,
        Err(found) => {
            for diagnostic in &found {
                let shown = diagnostic.render(false);
                if let Some(control) = shown.chars().find(|letter| letter.is_control() && *letter != '\n') {
                    return Err(format!("{control:?} in {shown:?}"));
                }
                if diagnostic.message.contains("is no configuration") {
                    return Err(diagnostic.message.clone());
                }
            }
            let first = found.first().ok_or("refused without a reason")?;
            return Ok(first.message.split('`').step_by(2).collect::<String>().chars().take(40).collect());
        }
    };
    if let Some(control) = made.text.chars().find(|letter| letter.is_control() && *letter != '\n') {
        return Err(format!("{control:?} in {:?}", made.text));
    }
    let loaded = config::load_str(&made.text, "gateway.yaml").map_err(|wrong| format!("{wrong:?}"))?;
    let is_open = |access: &Access| matches!(access, Access::Public | Access::Optional);
    let open = loaded.policy.routes.iter().filter(|route| is_open(&route.allow)).count();
    // Nothing is open but by `[]` or `{}`; an empty list or map may be written over lines, with comments.
    let holds = |open: char, close: char| text.contains(open) && text.contains(close);
    if open > 0 && !(text.contains("security") && (holds('[', ']') || holds('{', '}'))) {
        return Err(format!("{open} open routes:\n{}", made.text));
    }
    Ok(format!("{} routes, {} open, {} notes", loaded.policy.routes.len().min(9), open.min(9), made.notes.min(9)))
}

#[test]
fn openapi() {
    #[rustfmt::skip]
    let words = [
        "\n", "\n  ", "\n    ", ": ", "- ", "{", "}", "[", "]", ", ", "\"", "'", "&a ", "*a", "<<: ", "#", "${HOME}", "openapi: 3.0.0",
        "openapi: 3.1.0", "paths:", "/a", "/{b}", "/a.{c}", "/**", "/..", "?", "get: {}", "put: {}", "head: {}", "security: ",
        "security: []", "security: [{}]", "security: [{o: [r]}]", "security: [{o: [r], k: []}, {}]", "servers: ",
        "[{url: /v1}]", "[{url: 'https://api.example/v1'}]", "variables: {a: {default: b}}", "{a}", "$ref: ", "'#/paths/~1a'",
        "components: {securitySchemes: {o: {type: oauth2}, k: {type: apiKey}}}", "type: http, scheme: bearer", "openIdConnect",
        "operationId: ", "summary: ", "callbacks: ", "deprecated: true", "webhooks: ", "null", "\u{202e}", "\u{2028}", "\\u0000",
    ];
    let outcomes = fuzz("openapi", &words, 400, check);
    assert!(outcomes.keys().any(|outcome| outcome.contains("routes, ")), "{outcomes:?}");
    assert!(outcomes.len() >= 10, "{outcomes:?}");
}
