//! What can be said of a value before any request: enough to find what never makes sense.

use std::fmt;

/// The kind of a value, as far as it is known at load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Whatever a claim holds.
    Any,
    Null,
    Bool,
    Int,
    Uint,
    Double,
    Text,
    List(Box<Kind>),
    /// Its keys are texts in claims; what its values are isn't known.
    Map,
}

impl Kind {
    pub(super) fn list(of: Kind) -> Kind {
        Kind::List(Box::new(of))
    }

    pub(super) fn is_number(&self) -> bool {
        matches!(self, Kind::Int | Kind::Uint | Kind::Double)
    }

    /// Whether a value of this kind can be one of the other.
    pub(super) fn may_be(&self, other: &Kind) -> bool {
        match (self, other) {
            (Kind::Any, _) | (_, Kind::Any) => true,
            (Kind::List(one), Kind::List(other)) => one.may_be(other),
            (one, other) => one == other,
        }
    }

    /// Whether values of these kinds may be equal: numbers of all kinds are compared by what they are worth.
    pub(super) fn may_equal(&self, other: &Kind) -> bool {
        match (self, other) {
            (Kind::List(one), Kind::List(other)) => one.may_equal(other),
            (one, other) => one.is_number() && other.is_number() || one.may_be(other),
        }
    }

    /// Whether one may be less than the other.
    pub(super) fn has_order_with(&self, other: &Kind) -> bool {
        let ordered = |kind: &Kind| kind.is_number() || matches!(kind, Kind::Any | Kind::Bool | Kind::Text);
        ordered(self) && ordered(other) && self.may_equal(other)
    }

    /// What can be said of a value that is one or the other.
    pub(super) fn or(self, other: Kind) -> Kind {
        if self == other { self } else { Kind::Any }
    }
}

/// As a part of a sentence.
impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Any => "anything",
            Kind::Null => "null",
            Kind::Bool => "a boolean",
            Kind::Int => "a whole number",
            Kind::Uint => "an unsigned number",
            Kind::Double => "a fractional number",
            Kind::Text => "a text",
            Kind::List(_) => "a list",
            Kind::Map => "a map",
        })
    }
}
