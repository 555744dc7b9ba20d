//! An expression's value for one request.

use std::{borrow::Cow, cell::Cell, cmp::Ordering, rc::Rc};

use regex::Regex;

use super::{
    super::facts::Facts,
    Fault,
    function::Function,
    parser::{Literal, Operator},
    scope::Fact,
    value::Value,
};

/// Steps that an evaluation may take: some milliseconds.
const MOST_STEPS: u32 = 100_000;
/// Bytes of a text that are looked at in one step.
const BYTES_A_STEP: usize = 32;

/// A checked expression: names are found, patterns compiled.
#[derive(Debug)]
pub(super) enum Node {
    Literal(Literal),
    /// The element that the macro around it is at. Macros don't stand in macros, so there is one at most.
    Element,
    Claims,
    Fact(Fact),
    HasFact(Fact),
    HasField(Box<Node>, Literal),
    Field(Box<Node>, Literal),
    Index(Box<Node>, Box<Node>),
    List(Vec<Node>),
    Map(Vec<(Literal, Node)>),
    Not(Box<Node>),
    Negative(Box<Node>),
    All(Vec<Node>),
    Any(Vec<Node>),
    Conditional(Box<[Node; 3]>),
    Binary(Operator, Box<Node>, Box<Node>),
    /// `x in […]` with literals alone.
    OneOf(Box<Node>, Box<[Literal]>),
    Call(Function, Vec<Node>),
    Matches(Box<Node>, Regex),
    Macro(Macro, Box<Node>, Box<[Node]>),
}

/// What is done with each element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Macro {
    All,
    Exists,
    ExistsOne,
    Filter,
    /// With two bodies: those of the elements that the first holds for.
    Map,
}

/// What is left of the steps.
#[derive(Debug)]
pub(super) struct Steps(Cell<u32>);

impl Steps {
    pub(super) fn take(&self, count: usize) -> Result<(), Fault> {
        let left = u32::try_from(count).ok().and_then(|count| self.0.get().checked_sub(count));
        self.0.set(left.unwrap_or(0));
        left.map(|_| ()).ok_or(Fault::Steps)
    }

    pub(super) fn take_bytes(&self, count: usize) -> Result<(), Fault> {
        self.take(count / BYTES_A_STEP)
    }
}

pub(super) struct Evaluation<'v> {
    facts: &'v Facts<'v>,
    steps: Steps,
}

type Evaluated<'v> = Result<Value<'v>, Fault>;

impl<'v> Evaluation<'v> {
    pub(super) fn new(facts: &'v Facts<'v>) -> Evaluation<'v> {
        Evaluation { facts, steps: Steps(Cell::new(MOST_STEPS)) }
    }

    pub(super) fn truth(&self, node: &'v Node) -> Result<bool, Fault> {
        self.value(node, None)?.as_bool()
    }

    /// `element`: of the macro that the node stands in.
    fn value(&self, node: &'v Node, element: Option<&Value<'v>>) -> Evaluated<'v> {
        self.steps.take(1)?;
        match node {
            Node::Literal(literal) => Ok(Value::of_literal(literal)),
            Node::Element => {
                if let Some(Value::Text(Cow::Owned(text))) = element {
                    self.steps.take_bytes(text.len())?;
                }
                element.cloned().ok_or(Fault::Absent)
            }
            Node::Claims => Ok(Value::Object(self.facts.principal.claims())),
            Node::Fact(fact) => fact.value(self.facts),
            Node::HasFact(fact) => Ok(Value::Bool(fact.value(self.facts).is_ok())),
            Node::HasField(of, field) => {
                let found = self.value(of, element)?.member(&Value::of_literal(field), &self.steps)?;
                Ok(Value::Bool(found.is_some()))
            }
            Node::Field(of, field) => {
                self.value(of, element)?.member(&Value::of_literal(field), &self.steps)?.ok_or(Fault::Absent)
            }
            Node::Index(of, index) => self.index(&self.value(of, element)?, &self.value(index, element)?),
            Node::List(items) => {
                let items = items.iter().map(|item| self.value(item, element)).collect::<Result<Rc<[_]>, _>>()?;
                Ok(Value::List(items))
            }
            Node::Map(entries) => {
                let entries =
                    entries.iter().map(|(key, value)| Ok((Value::of_literal(key), self.value(value, element)?)));
                Ok(Value::Map(entries.collect::<Result<Rc<[_]>, _>>()?))
            }
            Node::Not(operand) => Ok(Value::Bool(!self.value(operand, element)?.as_bool()?)),
            Node::Negative(operand) => match self.value(operand, element)? {
                Value::Int(int) => int.checked_neg().map(Value::Int).ok_or(Fault::Number),
                Value::Double(double) => Ok(Value::Double(-double)),
                _ => Err(Fault::Kind),
            },
            Node::All(parts) => self.decide(parts.iter().map(|part| self.value(part, element)), false),
            Node::Any(parts) => self.decide(parts.iter().map(|part| self.value(part, element)), true),
            Node::Conditional(parts) => {
                let [condition, yes, no] = &**parts;
                let branch = if self.value(condition, element)?.as_bool()? { yes } else { no };
                self.value(branch, element)
            }
            Node::Binary(operator, left, right) => {
                self.binary(*operator, self.value(left, element)?, self.value(right, element)?)
            }
            Node::OneOf(value, literals) => {
                let value = self.value(value, element)?;
                for literal in literals {
                    if value.equals(&Value::of_literal(literal), &self.steps)? {
                        return Ok(Value::Bool(true));
                    }
                }
                Ok(Value::Bool(false))
            }
            Node::Call(function, arguments) => {
                // One or two: see `Function::arity`.
                let values = arguments.iter().map(|argument| self.value(argument, element));
                function.call(&values.collect::<Result<Vec<_>, _>>()?, &self.steps)
            }
            Node::Matches(text, pattern) => {
                let text = self.value(text, element)?;
                self.steps.take_bytes(text.as_text()?.len())?;
                Ok(Value::Bool(pattern.is_match(text.as_text()?)))
            }
            Node::Macro(macro_, over, bodies) => self.each(*macro_, &self.value(over, element)?, bodies),
        }
    }

    /// The first part that is `decisive` decides, whatever couldn't be evaluated before it (cel-spec, langdef.md,
    /// "Logical operators").
    fn decide(&self, parts: impl Iterator<Item = Evaluated<'v>>, decisive: bool) -> Evaluated<'v> {
        let mut fault = None;
        for part in parts {
            match part.and_then(|part| part.as_bool()) {
                Ok(truth) if truth == decisive => return Ok(Value::Bool(decisive)),
                Ok(_) => {}
                Err(Fault::Steps) => return Err(Fault::Steps),
                Err(first) => fault = fault.or(Some(first)),
            }
        }
        fault.map_or(Ok(Value::Bool(!decisive)), Err)
    }

    fn each(&self, macro_: Macro, over: &Value<'v>, bodies: &'v [Node]) -> Evaluated<'v> {
        let [first, rest @ ..] = bodies else { return Err(Fault::Kind) };
        let range = over.range()?;
        let holds = |element: &Value<'v>| self.value(first, Some(element))?.as_bool();
        match macro_ {
            Macro::All => self.decide(range.map(|element| self.value(first, Some(&element))), false),
            Macro::Exists => self.decide(range.map(|element| self.value(first, Some(&element))), true),
            Macro::ExistsOne => {
                let mut found = 0_usize;
                for element in range {
                    found += usize::from(holds(&element)?);
                }
                Ok(Value::Bool(found == 1))
            }
            Macro::Filter => {
                let mut kept = Vec::new();
                for element in range {
                    if holds(&element)? {
                        kept.push(element);
                    }
                }
                Ok(Value::List(kept.into()))
            }
            Macro::Map => {
                let mut made = Vec::new();
                for element in range {
                    match rest.first() {
                        None => made.push(self.value(first, Some(&element))?),
                        Some(body) if holds(&element)? => made.push(self.value(body, Some(&element))?),
                        Some(_) => {}
                    }
                }
                Ok(Value::List(made.into()))
            }
        }
    }

    fn index(&self, of: &Value<'v>, index: &Value<'v>) -> Evaluated<'v> {
        let found = match (of.list_length(), index) {
            (Some(_), Value::Int(place)) => usize::try_from(*place).ok().and_then(|place| of.element(place)),
            (Some(_), Value::Uint(place)) => usize::try_from(*place).ok().and_then(|place| of.element(place)),
            (Some(_), _) => return Err(Fault::Kind),
            (None, key) => of.member(key, &self.steps)?,
        };
        found.ok_or(Fault::Absent)
    }

    fn binary(&self, operator: Operator, left: Value<'v>, right: Value<'v>) -> Evaluated<'v> {
        let ordered =
            |wanted: fn(Ordering) -> bool| Ok(Value::Bool(left.compare(&right, &self.steps)?.is_some_and(wanted)));
        match operator {
            Operator::Equal => left.equals(&right, &self.steps).map(Value::Bool),
            Operator::NotEqual => left.equals(&right, &self.steps).map(|equal| Value::Bool(!equal)),
            Operator::Less => ordered(Ordering::is_lt),
            Operator::LessOrEqual => ordered(Ordering::is_le),
            Operator::Greater => ordered(Ordering::is_gt),
            Operator::GreaterOrEqual => ordered(Ordering::is_ge),
            Operator::In => self.is_in(&left, &right).map(Value::Bool),
            Operator::Add => self.add(&left, &right),
            Operator::Subtract => arithmetic(&left, &right, i64::checked_sub, u64::checked_sub, |a, b| a - b),
            Operator::Multiply => arithmetic(&left, &right, i64::checked_mul, u64::checked_mul, |a, b| a * b),
            Operator::Divide => arithmetic(&left, &right, i64::checked_div, u64::checked_div, |a, b| a / b),
            Operator::Remainder => match (&left, &right) {
                (Value::Double(_), _) => Err(Fault::Kind),
                _ => arithmetic(&left, &right, i64::checked_rem, u64::checked_rem, |a, b| a % b),
            },
        }
    }

    fn is_in(&self, value: &Value<'v>, collection: &Value<'v>) -> Result<bool, Fault> {
        if collection.list_length().is_none() {
            return collection.member(value, &self.steps).map(|found| found.is_some());
        }
        for element in collection.range()? {
            if element.equals(value, &self.steps)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn add(&self, left: &Value<'v>, right: &Value<'v>) -> Evaluated<'v> {
        if let (Value::Text(one), Value::Text(other)) = (left, right) {
            self.steps.take_bytes(one.len() + other.len())?;
            return Ok(Value::Text(format!("{one}{other}").into()));
        }
        if let (Some(one), Some(other)) = (left.list_length(), right.list_length()) {
            self.steps.take(one + other)?;
            return Ok(Value::List(left.range()?.chain(right.range()?).collect()));
        }
        arithmetic(left, right, i64::checked_add, u64::checked_add, |a, b| a + b)
    }
}

/// Of two numbers of one kind.
fn arithmetic<'v>(
    left: &Value<'v>,
    right: &Value<'v>,
    int: fn(i64, i64) -> Option<i64>,
    uint: fn(u64, u64) -> Option<u64>,
    double: fn(f64, f64) -> f64,
) -> Evaluated<'v> {
    match (left, right) {
        (Value::Int(left), Value::Int(right)) => int(*left, *right).map(Value::Int).ok_or(Fault::Number),
        (Value::Uint(left), Value::Uint(right)) => uint(*left, *right).map(Value::Uint).ok_or(Fault::Number),
        (Value::Double(left), Value::Double(right)) => Ok(Value::Double(double(*left, *right))),
        _ => Err(Fault::Kind),
    }
}
