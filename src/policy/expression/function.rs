//! The functions of expressions.

use std::borrow::Cow;

use super::{Fault, evaluate::Steps, kind::Kind, value::Value};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Function {
    Size,
    Contains,
    StartsWith,
    EndsWith,
    LowerAscii,
    UpperAscii,
    ToText,
    ToInt,
    ToUint,
    ToDouble,
}

/// Names that are functions or macros, for a hint.
pub(super) const NAMES: [&str; 18] = [
    "size",
    "contains",
    "startsWith",
    "endsWith",
    "lowerAscii",
    "upperAscii",
    "string",
    "int",
    "uint",
    "double",
    "matches",
    "has",
    "exists",
    "all",
    "exists_one",
    "filter",
    "map",
    "dyn",
];

impl Function {
    /// By its name, and whether it is called on something: `size(x)` and `x.size()` are the same.
    pub(super) fn find(name: &str, on_target: bool) -> Option<Function> {
        Some(match (name, on_target) {
            ("size", _) => Function::Size,
            ("contains", true) => Function::Contains,
            ("startsWith", true) => Function::StartsWith,
            ("endsWith", true) => Function::EndsWith,
            ("lowerAscii", true) => Function::LowerAscii,
            ("upperAscii", true) => Function::UpperAscii,
            ("string", false) => Function::ToText,
            ("int", false) => Function::ToInt,
            ("uint", false) => Function::ToUint,
            ("double", false) => Function::ToDouble,
            _ => return None,
        })
    }

    /// How many values it takes, what it is called on included.
    pub(super) fn arity(self) -> usize {
        match self {
            Function::Contains | Function::StartsWith | Function::EndsWith => 2,
            _ => 1,
        }
    }

    /// Whether it can be done with a value of this kind.
    pub(super) fn takes(self, kind: &Kind) -> bool {
        match self {
            Function::Size => matches!(kind, Kind::Any | Kind::Text | Kind::List(_) | Kind::Map),
            Function::ToText => kind.is_number() || matches!(kind, Kind::Any | Kind::Text | Kind::Bool),
            Function::ToInt | Function::ToUint | Function::ToDouble => {
                kind.is_number() || matches!(kind, Kind::Any | Kind::Text)
            }
            _ => matches!(kind, Kind::Any | Kind::Text),
        }
    }

    pub(super) fn result(self) -> Kind {
        match self {
            Function::Size | Function::ToInt => Kind::Int,
            Function::Contains | Function::StartsWith | Function::EndsWith => Kind::Bool,
            Function::LowerAscii | Function::UpperAscii | Function::ToText => Kind::Text,
            Function::ToUint => Kind::Uint,
            Function::ToDouble => Kind::Double,
        }
    }

    /// `values`: as many as `arity` says.
    pub(super) fn call<'v>(self, values: &[Value<'v>], steps: &Steps) -> Result<Value<'v>, Fault> {
        let [first, rest @ ..] = values else { return Err(Fault::Kind) };
        if let Value::Text(text) = first {
            steps.take_bytes(text.len())?;
        }
        let other = || rest.first().ok_or(Fault::Kind).and_then(Value::as_text);
        match self {
            Function::Size => {
                let size = match first {
                    Value::Text(text) => Some(text.chars().count()),
                    collection => collection.size(),
                };
                size.and_then(|size| i64::try_from(size).ok()).map(Value::Int).ok_or(Fault::Kind)
            }
            Function::Contains => Ok(Value::Bool(first.as_text()?.contains(other()?))),
            Function::StartsWith => Ok(Value::Bool(first.as_text()?.starts_with(other()?))),
            Function::EndsWith => Ok(Value::Bool(first.as_text()?.ends_with(other()?))),
            Function::LowerAscii => Ok(Value::Text(first.as_text()?.to_ascii_lowercase().into())),
            Function::UpperAscii => Ok(Value::Text(first.as_text()?.to_ascii_uppercase().into())),
            Function::ToText => to_text(first),
            Function::ToInt => to_int(first),
            Function::ToUint => to_uint(first),
            Function::ToDouble => to_double(first),
        }
    }
}

fn to_text<'v>(value: &Value<'v>) -> Result<Value<'v>, Fault> {
    let text: Cow<'v, str> = match value {
        Value::Text(text) => text.clone(),
        Value::Bool(flag) => Cow::Borrowed(if *flag { "true" } else { "false" }),
        Value::Int(int) => int.to_string().into(),
        Value::Uint(uint) => uint.to_string().into(),
        Value::Double(double) => double.to_string().into(),
        _ => return Err(Fault::Kind),
    };
    Ok(Value::Text(text))
}

fn to_int<'v>(value: &Value<'v>) -> Result<Value<'v>, Fault> {
    // 2 to the power of 63 is a float; the largest whole number below it isn't.
    const TOO_LARGE: f64 = 9_223_372_036_854_775_808.0;
    let int = match value {
        Value::Int(int) => Some(*int),
        Value::Uint(uint) => i64::try_from(*uint).ok(),
        Value::Double(double) => (*double > -TOO_LARGE && *double < TOO_LARGE).then_some(*double as i64),
        Value::Text(text) => text.parse().ok(),
        _ => return Err(Fault::Kind),
    };
    int.map(Value::Int).ok_or(Fault::Number)
}

fn to_uint<'v>(value: &Value<'v>) -> Result<Value<'v>, Fault> {
    const TOO_LARGE: f64 = 18_446_744_073_709_551_616.0;
    let uint = match value {
        Value::Uint(uint) => Some(*uint),
        Value::Int(int) => u64::try_from(*int).ok(),
        Value::Double(double) => (*double > -1.0 && *double < TOO_LARGE).then_some(*double as u64),
        Value::Text(text) => text.parse().ok(),
        _ => return Err(Fault::Kind),
    };
    uint.map(Value::Uint).ok_or(Fault::Number)
}

fn to_double<'v>(value: &Value<'v>) -> Result<Value<'v>, Fault> {
    let double = match value {
        Value::Double(double) => Some(*double),
        Value::Int(int) => Some(*int as f64),
        Value::Uint(uint) => Some(*uint as f64),
        Value::Text(text) => text.parse().ok(),
        _ => return Err(Fault::Kind),
    };
    double.map(Value::Double).ok_or(Fault::Number)
}
