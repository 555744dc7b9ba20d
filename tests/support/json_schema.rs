//! Values held against a JSON Schema (draft 2020-12), as far as ours goes: a keyword that isn't known here fails.

use regex::Regex;
use serde_json::Value;

/// What is wrong with a value, each with its place. Empty: nothing.
pub(crate) fn problems(schema: &Value, value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    check(schema, schema, value, "", &mut found);
    found
}

fn is_valid(root: &Value, schema: &Value, value: &Value) -> bool {
    let mut found = Vec::new();
    check(root, schema, value, "", &mut found);
    found.is_empty()
}

fn check(root: &Value, schema: &Value, value: &Value, at: &str, found: &mut Vec<String>) {
    let fits = |schema: &Value| is_valid(root, schema, value);
    for (keyword, wanted) in schema.as_object().expect("a schema is a map") {
        let is_good = match keyword.as_str() {
            "$schema" | "$defs" | "title" | "description" | "default" | "examples" | "writeOnly" => true,
            "$ref" => {
                let pointer = wanted.as_str().unwrap().strip_prefix('#').unwrap();
                check(root, root.pointer(pointer).unwrap(), value, at, found);
                true
            }
            "anyOf" => wanted.as_array().unwrap().iter().any(fits),
            "oneOf" => wanted.as_array().unwrap().iter().filter(|schema| fits(schema)).count() == 1,
            "allOf" => wanted.as_array().unwrap().iter().all(fits),
            "not" => !fits(wanted),
            "enum" => wanted.as_array().unwrap().contains(value),
            "const" => wanted == value,
            "type" => match wanted {
                Value::Array(names) => names.iter().any(|name| is_of(value, name)),
                name => is_of(value, name),
            },
            "minimum" => value.as_f64().is_none_or(|number| number >= wanted.as_f64().unwrap()),
            "maximum" => value.as_f64().is_none_or(|number| number <= wanted.as_f64().unwrap()),
            "minLength" => value.as_str().is_none_or(|text| text.chars().count() as u64 >= wanted.as_u64().unwrap()),
            "minItems" => value.as_array().is_none_or(|list| list.len() as u64 >= wanted.as_u64().unwrap()),
            "minProperties" => value.as_object().is_none_or(|map| map.len() as u64 >= wanted.as_u64().unwrap()),
            "pattern" => value.as_str().is_none_or(|text| Regex::new(wanted.as_str().unwrap()).unwrap().is_match(text)),
            "required" => value
                .as_object()
                .is_none_or(|map| wanted.as_array().unwrap().iter().all(|key| map.contains_key(key.as_str().unwrap()))),
            "dependentRequired" => value.as_object().is_none_or(|map| {
                let mut needs = wanted.as_object().unwrap().iter().filter(|(key, _)| map.contains_key(*key));
                needs.all(|(_, others)| {
                    others.as_array().unwrap().iter().all(|key| map.contains_key(key.as_str().unwrap()))
                })
            }),
            "items" => {
                for (place, item) in value.as_array().into_iter().flatten().enumerate() {
                    check(root, wanted, item, &format!("{at}[{place}]"), found);
                }
                true
            }
            "properties" | "additionalProperties" => {
                members(root, schema, keyword, value, at, found);
                true
            }
            unknown => panic!("the keyword {unknown} isn't known here"),
        };
        if !is_good {
            found.push(format!("{at}: {keyword} {wanted}"));
        }
    }
}

fn members(root: &Value, schema: &Value, keyword: &str, value: &Value, at: &str, found: &mut Vec<String>) {
    for (key, member) in value.as_object().into_iter().flatten() {
        let named = schema.get("properties").and_then(|properties| properties.get(key));
        let place = format!("{at}.{key}");
        match (keyword, named, &schema[keyword]) {
            ("properties", Some(schema), _) => check(root, schema, member, &place, found),
            ("additionalProperties", None, Value::Bool(false)) => found.push(format!("{place}: no such key")),
            ("additionalProperties", None, schema) => check(root, schema, member, &place, found),
            _ => {}
        }
    }
}

fn is_of(value: &Value, name: &Value) -> bool {
    match name.as_str().unwrap() {
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "number" => value.is_number(),
        "integer" => value.is_u64() || value.is_i64(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        unknown => panic!("the type {unknown} isn't known here"),
    }
}
