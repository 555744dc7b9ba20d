//! Answers without what came from files: the last look at a document, whatever it was made of.

use serde_json::Value;

use crate::token::secret::Secret;

const MASK: &str = "***";
/// Something shorter is masked where it is all of a text: within others it would be found by chance.
const TELLING: usize = 4;

/// Hides these in every text of the document.
pub(super) fn mask(document: &mut Value, confidential: &[Secret]) {
    match document {
        Value::String(text) => mask_text(text, confidential),
        Value::Array(items) => items.iter_mut().for_each(|item| mask(item, confidential)),
        Value::Object(members) => members.values_mut().for_each(|member| mask(member, confidential)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn mask_text(text: &mut String, confidential: &[Secret]) {
    for hidden in confidential.iter().filter_map(|hidden| std::str::from_utf8(hidden.expose()).ok()) {
        if hidden.len() >= TELLING && text.contains(hidden) {
            *text = text.replace(hidden, MASK);
        } else if text == hidden {
            MASK.clone_into(text);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn texts_are_masked_wherever_they_are() {
        let hidden = ["s3cret", "a", ""].map(|text| Secret::new(text.as_bytes().to_vec()));
        let mut document = json!({"a": "a", "b": ["as3cretb", {"c": "banana", "d": null, "e": 5}], "f": "s3cret"});
        mask(&mut document, &hidden);
        assert_eq!(document, json!({"a": "***", "b": ["a***b", {"c": "banana", "d": null, "e": 5}], "f": "***"}));
    }
}
