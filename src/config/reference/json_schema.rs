//! The table of keys as a JSON Schema (draft 2020-12).

use serde_json::{Map, Value, json};

use super::{Absent, Key, Kind, Rule, below};

/// The schema of the whole file.
pub(in crate::config) fn json_schema() -> Value {
    let mut schema = section("", &[]);
    schema.insert("$schema".to_owned(), "https://json-schema.org/draft/2020-12/schema".into());
    schema.insert("title".to_owned(), "gateway.yaml".into());
    schema.insert("description".to_owned(), "The configuration of bearward.".into());
    // Routes may stand in included files alone.
    schema.insert("anyOf".to_owned(), json!([{"required": ["routes"]}, {"required": ["include"]}]));
    schema.remove("required");
    schema.insert("$defs".to_owned(), definitions());
    schema.into()
}

/// What many keys have in common. A variable can stand for any of them.
fn definitions() -> Value {
    json!({
        "variable": {
            "description": "A text with `${NAME}` or `${file:path}`.",
            "type": "string",
            "pattern": r"\$\{",
        },
        "flag": {"anyOf": [{"type": "boolean"}, {"$ref": "#/$defs/variable"}]},
        "text": {"type": "string", "minLength": 1},
        "scalar": {"type": ["string", "number", "boolean"], "minLength": 1},
        "duration": {"type": "string", "pattern": r"^[0-9]+(ms|s|m|h)$|\$\{"},
        "size": {
            "anyOf": [
                {"type": "integer", "minimum": 0},
                {"type": "string", "pattern": r"^[0-9]+(B|KiB|MiB|GiB)?$|\$\{"},
            ],
        },
        "rate": {"type": "string", "pattern": r"^[0-9]+/(s|m|h)$|\$\{"},
        "share": {"type": "string", "pattern": r"^[0-9]+%$|\$\{"},
        "fraction": {
            "anyOf": [
                {"type": "number", "minimum": 0, "maximum": 1},
                {"type": "string", "pattern": r"^[01](\.[0-9]+)?$|\$\{"},
            ],
        },
    })
}

/// A map with the keys below `parent`.
fn section(parent: &str, rules: &[Rule]) -> Map<String, Value> {
    let mut schema = Map::new();
    schema.insert("type".to_owned(), "object".into());
    let properties = below(parent).map(|key| (key.name().to_owned(), property(key))).collect::<Map<_, _>>();
    schema.insert("properties".to_owned(), properties.into());
    schema.insert("additionalProperties".to_owned(), false.into());
    let required = below(parent).filter(|key| matches!(key.absent, Absent::Required));
    let required = required.map(|key| Value::from(key.name())).collect::<Vec<_>>();
    if !required.is_empty() {
        schema.insert("required".to_owned(), required.into());
    }
    let all = rules.iter().flat_map(conditions).collect::<Vec<_>>();
    if !all.is_empty() {
        schema.insert("allOf".to_owned(), all.into());
    }
    schema
}

fn conditions(rule: &Rule) -> Vec<Value> {
    let each = |keys: &[&str]| keys.iter().map(|key| json!({"required": [key]})).collect::<Vec<_>>();
    match rule {
        Rule::ExactlyOne(keys) => vec![json!({"oneOf": each(keys)})],
        Rule::AtMostOne(keys) => {
            let pairs = keys.iter().enumerate().flat_map(|(place, one)| {
                keys.iter().skip(place + 1).map(move |other| json!({"not": {"required": [one, other]}}))
            });
            pairs.collect()
        }
        Rule::Needs(key, other) => vec![json!({"dependentRequired": {*key: [other]}})],
        Rule::NotEmpty => vec![json!({"minProperties": 1})],
    }
}

fn property(key: &Key) -> Value {
    let mut schema = kind(&key.kind, key);
    schema.insert("description".to_owned(), description(key).into());
    if let Some(default) = key.default_value() {
        schema.insert("default".to_owned(), default);
    }
    if let Some(example) = key.example_value() {
        schema.insert("examples".to_owned(), json!([example]));
    }
    schema.into()
}

fn description(key: &Key) -> String {
    let absent = match key.absent {
        Absent::Means(words) => format!(" Default: {words}."),
        _ => String::new(),
    };
    format!("{}{absent}", key.doc)
}

/// What can be written for `key`, or for an item of it.
fn kind(kind_of: &Kind, key: &Key) -> Map<String, Value> {
    let one = |inner: &Kind| Value::from(kind(inner, key));
    let schema = match kind_of {
        Kind::Text => defined("text"),
        Kind::Scalar => defined("scalar"),
        Kind::Secret => json!({"$ref": "#/$defs/scalar", "writeOnly": true}),
        Kind::Url(schemes) => json!({"type": "string", "pattern": format!(r"^({}):|\$\{{", schemes.join("|"))}),
        Kind::Flag => defined("flag"),
        Kind::Duration => defined("duration"),
        Kind::Size => defined("size"),
        Kind::Rate => defined("rate"),
        Kind::Share => defined("share"),
        Kind::Fraction => defined("fraction"),
        Kind::Count { least, most } if least == most => {
            json!({"anyOf": [{"const": least}, {"const": least.to_string()}, defined("variable")]})
        }
        Kind::Count { least, most } => json!({"anyOf": [
            {"type": "integer", "minimum": least, "maximum": most},
            {"type": "string", "pattern": r"^[0-9]+$|\$\{"},
        ]}),
        Kind::Word(words) => json!({"anyOf": [{"enum": words}, defined("variable")]}),
        Kind::OneOf(kinds) => json!({"anyOf": kinds.iter().map(one).collect::<Vec<_>>()}),
        Kind::List(item) => json!({"type": "array", "items": one(item)}),
        Kind::Some(item) => json!({"type": "array", "items": one(item), "minItems": 1}),
        Kind::Named { value, .. } => json!({"type": "object", "additionalProperties": one(value)}),
        Kind::Section => return section(key.path, key.rules),
        Kind::Json => json!({"type": "object"}),
    };
    match schema {
        Value::Object(schema) => schema,
        _ => Map::new(),
    }
}

fn defined(name: &str) -> Value {
    json!({"$ref": format!("#/$defs/{name}")})
}
