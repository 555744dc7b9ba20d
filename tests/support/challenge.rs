//! `WWW-Authenticate` as RFC 9110, section 11.6.1 and RFC 6750, section 3 have it, read without mercy.

use std::collections::BTreeMap;

/// One challenge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Challenge {
    pub(crate) scheme: String,
    /// In lower case; none is given twice.
    pub(crate) params: BTreeMap<String, String>,
}

impl Challenge {
    #[track_caller]
    pub(crate) fn parse(text: &str) -> Challenge {
        let (scheme, mut rest) = text.split_once(' ').unwrap_or_else(|| panic!("no parameters: {text:?}"));
        assert!(is_token(scheme), "{text:?}");
        let mut params = BTreeMap::new();
        loop {
            let (name, after) = rest.split_once("=\"").unwrap_or_else(|| panic!("a parameter at {rest:?} in {text:?}"));
            assert!(is_token(name), "parameter name {name:?} in {text:?}");
            let (value, after) = quoted(after).unwrap_or_else(|| panic!("an open quote in {text:?}"));
            assert!(params.insert(name.to_ascii_lowercase(), value).is_none(), "{name} twice in {text:?}");
            match after {
                "" => {
                    return Challenge { scheme: scheme.to_owned(), params };
                }
                more => rest = more.strip_prefix(", ").unwrap_or_else(|| panic!("no comma at {more:?} in {text:?}")),
            }
        }
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.params.get(name).map(String::as_str)
    }

    pub(crate) fn error(&self) -> Option<&str> {
        self.get("error")
    }
}

fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => value.push(chars.next()?.1),
            char if char.is_ascii_graphic() || char == ' ' => value.push(char),
            _ => return None,
        }
    }
    None
}

#[test]
fn a_challenge_is_read() {
    let challenge = Challenge::parse(r#"Bearer realm="a\"b, c", error="invalid_token""#);
    assert_eq!(
        (challenge.scheme.as_str(), challenge.get("realm"), challenge.error()),
        ("Bearer", Some("a\"b, c"), Some("invalid_token"))
    );
    for bad in [
        "Bearer",
        "Bearer realm=x",
        r#"Bearer realm="x"error="y""#,
        r#"Bearer realm="x", realm="y""#,
        r#"Bearer realm="x"#,
    ] {
        assert!(std::panic::catch_unwind(|| Challenge::parse(bad)).is_err(), "{bad}");
    }
}
