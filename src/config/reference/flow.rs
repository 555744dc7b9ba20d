//! JSON values as they are written in YAML on one line.

use serde_json::Value;

/// Plain where YAML reads a plain text as the same value, else in quotes.
pub(in crate::config) fn flow(value: &Value) -> String {
    match value {
        Value::Array(items) => format!("[{}]", items.iter().map(flow).collect::<Vec<_>>().join(", ")),
        Value::Object(entries) => {
            let entries = entries.iter().map(|(name, value)| format!("{}: {}", scalar(name), flow(value)));
            format!("{{{}}}", entries.collect::<Vec<_>>().join(", "))
        }
        Value::String(text) => scalar(text),
        other => other.to_string(),
    }
}

fn scalar(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"+-_./@~^$%<>=()".contains(&byte);
    // A colon and a space would begin a value, a colon before a bracket's end, too.
    let inner = text.replace("://", "").replace("::", "");
    let colons = inner.matches(':').count();
    let parts_good = colons == 0 || inner.split(':').all(|part| !part.is_empty());
    let good_start = text.starts_with(|first: char| first.is_ascii_alphanumeric() || matches!(first, '/' | '^' | '.'));
    let readable = inner.bytes().all(|byte| plain(byte) || byte == b':') && parts_good && good_start;
    if readable && !is_other_type(text) { text.to_owned() } else { Value::from(text).to_string() }
}

/// Whether YAML reads a plain text as something else than a text (YAML 1.2.2, section 10.3.2), or old readers do.
fn is_other_type(text: &str) -> bool {
    matches!(text, "true" | "True" | "TRUE" | "false" | "False" | "FALSE" | "null" | "Null" | "NULL")
        || text.parse::<f64>().is_ok()
        || text.starts_with("0x")
        || text.starts_with("0o")
        || text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b':' | b'.' | b'_'))
            && text.matches('.').count() < 2
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn plain_and_quoted() {
        for (value, text) in [
            (json!("30s"), "30s"),
            (json!("127.0.0.1:8080"), "127.0.0.1:8080"),
            (json!("https://a.example/b"), "https://a.example/b"),
            (json!("orders:read"), "orders:read"),
            (json!("/orders/**"), "\"/orders/**\""),
            (json!("*"), "\"*\""),
            (json!("{path.x}"), "\"{path.x}\""),
            (json!("${A}"), "\"${A}\""),
            (json!("a b"), "\"a b\""),
            (json!("a:"), "\"a:\""),
            (json!(" "), "\" \""),
            (json!(""), "\"\""),
            (json!("true"), "\"true\""),
            (json!("010"), "\"010\""),
            (json!("1e5"), "\"1e5\""),
            (json!("off"), "off"),
            (json!({"a": [1, true, "b"], "c:": {}}), "{a: [1, true, b], \"c:\": {}}"),
        ] {
            assert_eq!(flow(&value), text);
        }
    }
}
