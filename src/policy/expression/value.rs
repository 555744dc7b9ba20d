//! Values while an expression is evaluated: borrowed from the token, the request and the expression where they can be.

use std::{borrow::Cow, cmp::Ordering, rc::Rc};

use serde_json::{Map, Value as Json};

use super::{Fault, evaluate::Steps, parser::Literal};

#[derive(Clone, Debug)]
pub(super) enum Value<'v> {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    Text(Cow<'v, str>),
    /// A claim that is an array.
    Array(&'v [Json]),
    /// Scopes and roles.
    Texts(&'v [String]),
    List(Rc<[Value<'v>]>),
    /// A claim that is an object, or all claims.
    Object(&'v Map<String, Json>),
    Map(Rc<[(Value<'v>, Value<'v>)]>),
}

impl<'v> Value<'v> {
    pub(super) fn borrowed(text: &'v str) -> Value<'v> {
        Value::Text(Cow::Borrowed(text))
    }

    pub(super) fn of_json(json: &'v Json) -> Value<'v> {
        match json {
            Json::Null => Value::Null,
            Json::Bool(flag) => Value::Bool(*flag),
            Json::Number(number) => match (number.as_i64(), number.as_u64()) {
                (Some(int), _) => Value::Int(int),
                (None, Some(uint)) => Value::Uint(uint),
                (None, None) => Value::Double(number.as_f64().unwrap_or(f64::NAN)),
            },
            Json::String(text) => Value::borrowed(text),
            Json::Array(items) => Value::Array(items),
            Json::Object(members) => Value::Object(members),
        }
    }

    pub(super) fn of_literal(literal: &'v Literal) -> Value<'v> {
        match literal {
            Literal::Null => Value::Null,
            Literal::Bool(flag) => Value::Bool(*flag),
            Literal::Int(int) => Value::Int(*int),
            Literal::Uint(uint) => Value::Uint(*uint),
            Literal::Double(double) => Value::Double(*double),
            Literal::Text(text) => Value::borrowed(text),
        }
    }

    pub(super) fn as_bool(&self) -> Result<bool, Fault> {
        match self {
            Value::Bool(flag) => Ok(*flag),
            _ => Err(Fault::Kind),
        }
    }

    pub(super) fn as_text(&self) -> Result<&str, Fault> {
        match self {
            Value::Text(text) => Ok(text),
            _ => Err(Fault::Kind),
        }
    }

    /// How many elements a list has; None for what is none.
    pub(super) fn list_length(&self) -> Option<usize> {
        match self {
            Value::Array(items) => Some(items.len()),
            Value::Texts(items) => Some(items.len()),
            Value::List(items) => Some(items.len()),
            _ => None,
        }
    }

    /// An element of a list.
    pub(super) fn element(&self, place: usize) -> Option<Value<'v>> {
        match self {
            Value::Array(items) => items.get(place).map(Value::of_json),
            Value::Texts(items) => items.get(place).map(|text| Value::borrowed(text)),
            Value::List(items) => items.get(place).cloned(),
            _ => None,
        }
    }

    /// The value of a map under a key; inner None: it isn't there.
    pub(super) fn member(&self, key: &Value<'_>, steps: &Steps) -> Result<Option<Value<'v>>, Fault> {
        match (self, key) {
            // What can't be a key isn't just missing, or `!(… in …)` would hold.
            (Value::Object(_) | Value::Map(_), Value::Null | Value::Object(_) | Value::Map(_)) => Err(Fault::Kind),
            (Value::Object(_) | Value::Map(_), key) if key.list_length().is_some() => Err(Fault::Kind),
            (Value::Object(members), Value::Text(key)) => Ok(members.get(&**key).map(Value::of_json)),
            (Value::Object(_), _) => Ok(None),
            (Value::Map(entries), key) => {
                for (known, value) in entries.iter() {
                    if known.equals(key, steps)? {
                        return Ok(Some(value.clone()));
                    }
                }
                Ok(None)
            }
            _ => Err(Fault::Kind),
        }
    }

    /// The keys of a map, or the elements of a list: what a macro goes through.
    pub(super) fn range(&self) -> Result<Box<dyn Iterator<Item = Value<'v>> + '_>, Fault> {
        match self {
            Value::Object(members) => Ok(Box::new(members.keys().map(|key| Value::borrowed(key)))),
            Value::Map(entries) => Ok(Box::new(entries.iter().map(|(key, _)| key.clone()))),
            list => match list.list_length() {
                Some(length) => Ok(Box::new((0..length).filter_map(|place| list.element(place)))),
                None => Err(Fault::Kind),
            },
        }
    }

    /// Values of different kinds aren't equal, numbers apart.
    pub(super) fn equals(&self, other: &Value<'_>, steps: &Steps) -> Result<bool, Fault> {
        steps.take(1)?;
        match (self, other) {
            (Value::Null, Value::Null) => Ok(true),
            (Value::Bool(one), Value::Bool(other)) => Ok(one == other),
            (Value::Text(one), Value::Text(other)) => {
                steps.take_bytes(one.len().min(other.len()))?;
                Ok(one == other)
            }
            (Value::Object(_) | Value::Map(_), Value::Object(_) | Value::Map(_)) => self.equals_map(other, steps),
            (one, other) => match (one.list_length(), other.list_length()) {
                (Some(length), Some(same)) if length == same => {
                    for place in 0..length {
                        let (Some(one), Some(other)) = (one.element(place), other.element(place)) else {
                            return Ok(false);
                        };
                        if !one.equals(&other, steps)? {
                            return Ok(false);
                        }
                    }
                    Ok(true)
                }
                _ => Ok(compare_numbers(one, other) == Some(Ordering::Equal)),
            },
        }
    }

    fn equals_map(&self, other: &Value<'_>, steps: &Steps) -> Result<bool, Fault> {
        if self.size() != other.size() {
            return Ok(false);
        }
        for key in self.range()? {
            let (Some(one), Some(other)) = (self.member(&key, steps)?, other.member(&key, steps)?) else {
                return Ok(false);
            };
            if !one.equals(&other, steps)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Elements of a list or entries of a map.
    pub(super) fn size(&self) -> Option<usize> {
        match self {
            Value::Object(members) => Some(members.len()),
            Value::Map(entries) => Some(entries.len()),
            list => list.list_length(),
        }
    }

    /// Which is less; inner None: neither is, one is not a number (IEEE 754).
    pub(super) fn compare(&self, other: &Value<'_>, steps: &Steps) -> Result<Option<Ordering>, Fault> {
        match (self, other) {
            (Value::Bool(one), Value::Bool(other)) => Ok(Some(one.cmp(other))),
            (Value::Text(one), Value::Text(other)) => {
                steps.take_bytes(one.len().min(other.len()))?;
                Ok(Some(one.cmp(other)))
            }
            (one, other) if one.is_number() && other.is_number() => Ok(compare_numbers(one, other)),
            _ => Err(Fault::Kind),
        }
    }

    fn is_number(&self) -> bool {
        matches!(self, Value::Int(_) | Value::Uint(_) | Value::Double(_))
    }
}

/// By what they are worth, whatever their kind. None where one isn't a number.
fn compare_numbers(one: &Value<'_>, other: &Value<'_>) -> Option<Ordering> {
    match (one, other) {
        (Value::Double(one), Value::Double(other)) => one.partial_cmp(other),
        (Value::Double(double), whole) => compare_to_whole(*double, as_whole(whole)?),
        (whole, Value::Double(double)) => compare_to_whole(*double, as_whole(whole)?).map(Ordering::reverse),
        (one, other) => Some(as_whole(one)?.cmp(&as_whole(other)?)),
    }
}

fn as_whole(value: &Value<'_>) -> Option<i128> {
    match value {
        Value::Int(int) => Some(i128::from(*int)),
        Value::Uint(uint) => Some(i128::from(*uint)),
        _ => None,
    }
}

/// Exact: a conversion of the whole number to a float would round.
fn compare_to_whole(double: f64, whole: i128) -> Option<Ordering> {
    if double.is_nan() {
        return None;
    }
    // Saturates, beyond every number of 64 bits.
    let floor = double.floor() as i128;
    let fraction = double > double.floor();
    Some(floor.cmp(&whole).then(if fraction { Ordering::Greater } else { Ordering::Equal }))
}
