//! What operators make of values, as far as it is known at load.

use super::{kind::Kind, parser::Operator};

/// An operation that never has a value, or always the same.
pub(super) struct Nonsense {
    pub(super) message: String,
    pub(super) hint: Option<&'static str>,
}

impl Nonsense {
    fn new(message: String) -> Nonsense {
        Nonsense { message, hint: None }
    }
}

/// The kind of what an operator makes of two values.
pub(super) fn result_of(operator: Operator, one: &Kind, other: &Kind) -> Result<Kind, Nonsense> {
    match operator {
        Operator::Equal | Operator::NotEqual if one.may_equal(other) => Ok(Kind::Bool),
        Operator::Equal | Operator::NotEqual => {
            Err(Nonsense { message: format!("{one} never equals {other}"), hint: unequal_hint(one, other) })
        }
        Operator::Less | Operator::LessOrEqual | Operator::Greater | Operator::GreaterOrEqual => {
            match one.has_order_with(other) {
                true => Ok(Kind::Bool),
                false => Err(Nonsense::new(format!("`{}` can't be asked of {one} and {other}", operator.sign()))),
            }
        }
        Operator::In => membership(one, other),
        _ => arithmetic(operator, one, other),
    }
}

fn unequal_hint(one: &Kind, other: &Kind) -> Option<&'static str> {
    match (one, other) {
        (Kind::Text, Kind::Null) | (Kind::Null, Kind::Text) => Some("`has(token.subject)` says whether it is there"),
        (Kind::List(_), Kind::Text) | (Kind::Text, Kind::List(_)) => {
            Some("`\"a\" in list` says whether it is among them")
        }
        (Kind::Text, number) | (number, Kind::Text) if number.is_number() => {
            Some("a text stands in quotes; `int(x)` reads a number")
        }
        _ => None,
    }
}

fn membership(one: &Kind, of: &Kind) -> Result<Kind, Nonsense> {
    match of {
        Kind::Any | Kind::Map => Ok(Kind::Bool),
        Kind::List(element) if one.may_equal(element) => Ok(Kind::Bool),
        Kind::List(element) => Err(Nonsense::new(format!("{one} is never in a list of which an element is {element}"))),
        Kind::Text => Err(Nonsense {
            message: "nothing is in a text".to_owned(),
            hint: Some("`x.contains(\"a\")` looks for a part of it"),
        }),
        kind => Err(Nonsense::new(format!("nothing is in {kind}"))),
    }
}

fn arithmetic(operator: Operator, one: &Kind, other: &Kind) -> Result<Kind, Nonsense> {
    let sign = operator.sign();
    let fits = |kind: &Kind| match kind {
        Kind::Any | Kind::Int | Kind::Uint => true,
        Kind::Double => operator != Operator::Remainder,
        Kind::Text | Kind::List(_) => operator == Operator::Add,
        Kind::Null | Kind::Bool | Kind::Map => false,
    };
    match (fits(one) && fits(other), one, other) {
        (true, Kind::List(a), Kind::List(b)) => Ok(Kind::list((**a).clone().or((**b).clone()))),
        (true, Kind::Any, Kind::List(_)) | (true, Kind::List(_), Kind::Any) => Ok(Kind::list(Kind::Any)),
        (true, Kind::Any, kind) | (true, kind, Kind::Any) => Ok(kind.clone()),
        (true, one, other) if one == other => Ok(one.clone()),
        (true, one, other) if one.is_number() && other.is_number() => Err(Nonsense {
            message: format!("`{sign}` takes two numbers of one kind, not {one} and {other}"),
            hint: Some("`1` is a whole number, `1u` unsigned, `1.0` fractional"),
        }),
        _ => Err(Nonsense::new(format!("`{sign}` can't be done with {one} and {other}"))),
    }
}
