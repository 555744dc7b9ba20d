//! What came from files (`${file:…}`) is shown to nobody: the last look at a text, whatever it was made of.

use std::{cmp::Reverse, collections::BTreeSet, fmt};

use serde_json::Value;

use crate::token::secret::Secret;

const MASK: &str = "***";
/// Something shorter is masked where it is all of a text: within others it would be found by chance.
const TELLING: usize = 4;
/// The same of a URL's path: what is short is in many others.
const TELLING_PATH: usize = 6;

/// The texts that came from files, in each form in which they may come out: reading trims, cuts and lower-cases some.
#[derive(Clone, Default)]
pub struct Confidential {
    /// The longest first: one may hold another.
    forms: Vec<Secret>,
}

impl Confidential {
    /// Of these texts.
    pub fn new(texts: &[Secret]) -> Confidential {
        let texts = texts.iter().filter_map(|text| std::str::from_utf8(text.expose()).ok());
        let forms = texts.flat_map(forms).filter(|form| !form.is_empty()).collect::<BTreeSet<_>>();
        let mut forms = forms.into_iter().map(|form| Secret::new(form.into_bytes())).collect::<Vec<_>>();
        forms.sort_by_key(|form| Reverse(form.expose().len()));
        Confidential { forms }
    }

    /// Hides them in every text of a document. Names of members stay.
    pub fn mask(&self, document: &mut Value) {
        match document {
            Value::String(text) => self.mask_text(text),
            Value::Array(items) => items.iter_mut().for_each(|item| self.mask(item)),
            Value::Object(members) => members.values_mut().for_each(|member| self.mask(member)),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    /// Hides them in a text.
    pub fn mask_text(&self, text: &mut String) {
        for hidden in self.forms.iter().filter_map(|form| std::str::from_utf8(form.expose()).ok()) {
            if hidden.len() >= TELLING && text.contains(hidden) {
                *text = text.replace(hidden, MASK);
            } else if text == hidden {
                MASK.clone_into(text);
            }
        }
    }
}

impl fmt::Debug for Confidential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Confidential(…)")
    }
}

/// A text as written, without space around it, without a final slash, and in lower case; of a URL also what stands before
/// its query, and its parts.
fn forms(text: &str) -> impl Iterator<Item = String> {
    let trimmed = text.trim();
    let mut forms = vec![text, trimmed];
    if let Some((_, rest)) = trimmed.split_once("://") {
        forms.push(without_query(trimmed));
        let (site, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        let authority = site.rsplit_once('@').map_or(site, |(_, authority)| authority);
        // The port that goes without saying may be left out, or said.
        let host = authority.strip_suffix(":443").or_else(|| authority.strip_suffix(":80")).unwrap_or(authority);
        forms.extend([site, authority, host]);
        let paths = [path, without_query(path)];
        forms.extend(paths.into_iter().filter(|path| path.trim_end_matches('/').len() >= TELLING_PATH));
    }
    let both = |form: &str| [form.to_owned(), form.to_lowercase()];
    forms.into_iter().flat_map(|form| [form, form.trim_end_matches('/')]).flat_map(both)
}

fn without_query(url: &str) -> &str {
    url.split(['?', '#']).next().unwrap_or(url)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn confidential(texts: &[&str]) -> Confidential {
        Confidential::new(&texts.iter().map(|text| Secret::new(text.as_bytes().to_vec())).collect::<Vec<_>>())
    }

    #[test]
    fn texts_are_masked_wherever_they_are() {
        let mut document = json!({"a": "a", "b": ["as3cretb", {"c": "banana", "d": null, "e": 5}], "f": "s3cret"});
        confidential(&["s3cret", "a", ""]).mask(&mut document);
        assert_eq!(document, json!({"a": "***", "b": ["a***b", {"c": "banana", "d": null, "e": 5}], "f": "***"}));
    }

    #[test]
    fn what_reading_made_of_a_text_is_masked_too() {
        for (written, shown, masked) in [
            ("http://127.0.0.1:18801/echo/BASE/", "http://127.0.0.1:18801/echo/BASE", "***"),
            ("http://127.0.0.1:18801/echo/BASE/", "/echo/BASE/orders/7", "***orders/7"),
            ("http://127.0.0.1:18801/echo/BASE/", "/echo/BASE?x", "***?x"),
            ("http://127.0.0.1:18801/echo/BASE/", "127.0.0.1:18801", "***"),
            ("https://Id.Example/keys?key=k", "https://id.example/keys?…", "***?…"),
            ("https://Id.Example/keys?key=k", "https://Id.Example/keys", "***"),
            ("https://id.example:443/keys", "id.example answers 500", "*** answers 500"),
            ("https://id.example/keys", "id.example:443", "***:443"),
            ("https://user:pass@id.example", "user:pass@id.example", "***"),
            ("https://id.example/a?b=secret", "/keys and /a", "/keys and /a"),
            ("Secret.Example", "secret.example", "***"),
            (" padded ", "is padded.", "is ***."),
        ] {
            let mut text = shown.to_owned();
            confidential(&[written]).mask_text(&mut text);
            assert_eq!(text, masked, "{written}");
        }
    }

    #[test]
    fn the_longest_goes_first_and_nothing_prints() {
        let both = confidential(&["inner", "an inner one"]);
        let mut text = "an inner one, inner".to_owned();
        both.mask_text(&mut text);
        assert_eq!(text, "***, ***");
        assert_eq!(format!("{both:?}"), "Confidential(…)");
    }
}
