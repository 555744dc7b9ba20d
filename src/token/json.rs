//! JSON objects in which no member is given twice (RFC 8725, section 2.4; RFC 7515, section 4).

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// How deep arrays and objects may be nested. Tokens and key sets that exist need less than ten.
const MAX_DEPTH: usize = 32;

/// Reads a text that is one JSON object and nothing else.
///
/// # Errors
/// Anything else, a member that is given twice at any level, nesting over 32 levels.
pub fn parse_object(text: &[u8]) -> Result<Map<String, Value>, serde_json::Error> {
    let mut reader = serde_json::Deserializer::from_slice(text);
    let value = UniqueMembers { depth: MAX_DEPTH }.deserialize(&mut reader)?;
    reader.end()?;
    match value {
        Value::Object(object) => Ok(object),
        _ => Err(serde_json::Error::custom("not an object")),
    }
}

struct UniqueMembers {
    depth: usize,
}

impl UniqueMembers {
    fn inner<E: Error>(&self) -> Result<UniqueMembers, E> {
        match self.depth.checked_sub(1) {
            Some(depth) => Ok(UniqueMembers { depth }),
            None => Err(E::custom("nested too deep")),
        }
    }
}

impl<'de> DeserializeSeed<'de> for UniqueMembers {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for UniqueMembers {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }
    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }
    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }
    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }
    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("not a finite number"))
    }
    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }
    fn visit_string<E: Error>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut array = Vec::new();
        while let Some(item) = items.next_element_seed(self.inner()?)? {
            array.push(item);
        }
        Ok(Value::Array(array))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            let value = members.next_value_seed(self.inner()?)?;
            if object.insert(name, value).is_some() {
                return Err(A::Error::custom("a member is given twice"));
            }
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_what_serde_json_reads() {
        let text = br#" {"a": [1, -2, 1.5, true, null, "x\u0041", {"b": {}}], "c": 18446744073709551615} "#;
        let expected: Map<String, Value> = serde_json::from_slice(text).unwrap();
        assert_eq!(parse_object(text).unwrap(), expected);
    }

    #[test]
    fn refuses() {
        let deep = format!("{}{}", r#"{"a":"#.repeat(40), "}".repeat(40));
        let very_deep = r#"{"a":["#.repeat(100_000);
        for text in [
            r#"{"a":1,"a":1}"#,
            r#"{"a":1,"\u0061":2}"#,
            r#"{"x":{"a":1,"a":2}}"#,
            r#"{"x":[[{"a":1,"b":0,"a":2}]]}"#,
            r#"{"a":1}{"#,
            r#"{"a":1} x"#,
            r#"{"a":1}{"a":1}"#,
            "{\"a\":1}\0",
            "[]",
            "1",
            "null",
            "\"{}\"",
            "",
            "{",
            "{'a':1}",
            "{\"a\":1,}",
            "{\"a\":NaN}",
            "{\"a\":1e999}",
            "{\"a\":\"\\ud800\"}",
            "\u{feff}{}",
            "{}//",
            &deep,
            &very_deep,
        ] {
            assert!(parse_object(text.as_bytes()).is_err(), "{:.60}", text);
        }
        assert!(parse_object(b"{\"a\":\"\xff\"}").is_err());
    }

    proptest! {
        #[test]
        fn never_panics_and_agrees(text in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(object) = parse_object(&text) {
                prop_assert_eq!(object, serde_json::from_slice::<Map<String, Value>>(&text).unwrap());
            }
        }

        #[test]
        fn a_doubled_member_is_always_found(name in "\\PC{0,8}", before in 0usize..4, after in 0usize..4) {
            let name = serde_json::to_string(&name).unwrap();
            let mut members: Vec<String> = (0..before).map(|i| format!("\"\\u0001b{i}\":1")).collect();
            members.push(format!("{name}:1"));
            members.extend((0..after).map(|i| format!("\"\\u0001a{i}\":1")));
            let once = format!("{{{}}}", members.join(","));
            members.push(format!("{name}:2"));
            let twice = format!("{{{}}}", members.join(","));
            prop_assert!(parse_object(once.as_bytes()).is_ok());
            prop_assert!(parse_object(twice.as_bytes()).is_err());
        }
    }
}
