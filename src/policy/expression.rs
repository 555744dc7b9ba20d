//! `when`: an expression over the token and the request, in the Common Expression Language (CEL).
//!
//! Read, checked and compiled at load; a request evaluates it over borrowed values, in bounded steps. The language is
//! CEL's without types, messages, bytes, times and macros in macros. What is here agrees with the `cel` crate (a test
//! holds the two together), which isn't used itself: it evaluates without a bound on steps or depth (a sum of two thousand
//! numbers, eight kilobytes, overflows the stack), and its `matches` compiles the pattern at each evaluation.

mod check;
mod evaluate;
mod function;
mod kind;
mod lexer;
mod operation;
mod parser;
mod scope;
#[cfg(test)]
mod tests;
mod value;

use std::{fmt, ops::Range, sync::Arc};

use self::evaluate::{Evaluation, Node};
use super::facts::Facts;
use crate::route::PathTemplate;

/// Bytes of an expression.
const LONGEST: usize = 4096;

/// An expression that was checked. Two of the same text are equal.
#[derive(Clone)]
pub struct Expression {
    source: Arc<str>,
    root: Arc<Node>,
    reads_headers: bool,
    /// Whether it may be shown: not what came from a file or a variable.
    is_hidden: bool,
}

/// What is wrong with an expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Where, in bytes of the expression.
    pub span: Range<usize>,
    /// What, in words for the configuration's author.
    pub message: String,
    /// What to do about it.
    pub remedy: Remedy,
}

/// What to do about a mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// Nothing that could be said.
    None,
    /// In words.
    Hint(String),
    /// Write one of these, maybe the one that looks most like the name.
    OneOf {
        /// What was written.
        name: String,
        /// What there is.
        known: Vec<String>,
    },
}

impl Expression {
    /// Reads an expression of a rule, on a route with these paths.
    ///
    /// # Errors
    /// What is wrong with it: the first mistake in its form, or all others.
    pub fn parse(text: &str, paths: &[PathTemplate]) -> Result<Expression, Vec<Mistake>> {
        if text.len() > LONGEST {
            return Err(vec![Mistake::new(0..text.len(), format!("an expression has up to {LONGEST} bytes"))]);
        }
        let tree = parser::parse(text).map_err(|mistake| vec![mistake])?;
        let checked = check::check(&tree, paths)?;
        let reads_headers = checked.reads_headers;
        Ok(Expression { source: text.into(), root: Arc::new(checked.root), reads_headers, is_hidden: false })
    }

    /// Whether it is the boolean true. One that can't be evaluated isn't.
    pub fn holds(&self, facts: &Facts<'_>) -> bool {
        self.evaluate(facts) == Ok(true)
    }

    /// Whether it is true or false.
    ///
    /// # Errors
    /// Why it is neither.
    pub fn evaluate(&self, facts: &Facts<'_>) -> Result<bool, Fault> {
        Evaluation::new(facts).truth(&self.root)
    }

    /// The same, never to be shown.
    #[must_use]
    pub fn hidden(self) -> Expression {
        Expression { is_hidden: true, ..self }
    }

    /// What it says, for people. None where that isn't ours to show.
    pub fn shown(&self) -> Option<&str> {
        (!self.is_hidden).then_some(&*self.source)
    }

    /// Whether it asks for a header of the request.
    pub fn reads_headers(&self) -> bool {
        self.reads_headers
    }
}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Expression").field(&self.shown()).finish()
    }
}

impl PartialEq for Expression {
    fn eq(&self, other: &Expression) -> bool {
        self.source == other.source
    }
}

impl Eq for Expression {}

impl Mistake {
    fn new(span: Range<usize>, message: impl Into<String>) -> Mistake {
        Mistake { span, message: message.into(), remedy: Remedy::None }
    }

    fn hint(self, hint: impl Into<String>) -> Mistake {
        Mistake { remedy: Remedy::Hint(hint.into()), ..self }
    }
}

/// Why an expression has no value for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A claim, a value of the request or a key of a map isn't there, or is there more than once.
    Absent,
    /// A value is of a kind that this can't be done with.
    Kind,
    /// A number is too large or divided by zero, or a text isn't one.
    Number,
    /// It took too many steps: a list or a text is too long.
    Steps,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Fault::Absent => "a value that it needs is absent",
            Fault::Kind => "a value is of another kind than it needs",
            Fault::Number => "a number is out of range, or isn't one",
            Fault::Steps => "it takes too many steps",
        })
    }
}
