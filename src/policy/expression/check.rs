//! From a tree to what is evaluated: names are found, patterns compiled, and what never makes sense is refused.

use std::ops::Range;

use regex::RegexBuilder;

use super::{
    Mistake, Remedy,
    evaluate::{Macro, Node},
    function::{self, Function},
    kind::Kind,
    operation::{Nonsense, result_of},
    parser::{Call, Form, Literal, Operator, Tree},
    scope::{self, Fact, Unknown},
};
use crate::route::PathTemplate;

/// Bytes that a compiled pattern may take.
const LARGEST_PATTERN: usize = 256 << 10;

pub(super) struct Checked {
    pub(super) root: Node,
    pub(super) reads_headers: bool,
}

/// Checks an expression of a route with these paths.
pub(super) fn check(tree: &Tree, paths: &[PathTemplate]) -> Result<Checked, Vec<Mistake>> {
    let mut checker = Checker { paths, mistakes: Vec::new(), reads_headers: false, element: None };
    let root = checker.node(tree);
    if let Some((_, kind)) = root.as_ref().filter(|(_, kind)| !kind.may_be(&Kind::Bool)) {
        let message = format!("an expression is true or false, and this is {kind}");
        checker.mistakes.push(Mistake::new(tree.span.clone(), message).hint("compare it with something"));
    }
    match root {
        Some((root, _)) if checker.mistakes.is_empty() => Ok(Checked { root, reads_headers: checker.reads_headers }),
        _ => Err(checker.mistakes),
    }
}

struct Checker<'c> {
    paths: &'c [PathTemplate],
    mistakes: Vec<Mistake>,
    reads_headers: bool,
    /// The macro's variable, inside of one.
    element: Option<(String, Kind)>,
}

/// None where a mistake was noted.
type Found = Option<(Node, Kind)>;

impl Checker<'_> {
    fn node(&mut self, tree: &Tree) -> Found {
        match &tree.form {
            Form::Literal(literal) => Some((Node::Literal(literal.clone()), kind_of(literal))),
            Form::Name(name) => self.name(name, &tree.span),
            Form::Select(of, field, place) => match self.variable(of) {
                Some(variable) => self.fact(variable, field, place).map(known),
                None => {
                    let (of, kind) = self.node(of)?;
                    self.is_map(&kind, place)?;
                    Some((Node::Field(Box::new(of), Literal::Text(field.as_str().into())), Kind::Any))
                }
            },
            Form::Index(of, index) => self.index(of, index),
            Form::Call(call) => self.call(call, &tree.span),
            Form::List(items) => {
                let items = self.all(items)?;
                let kind = items.iter().map(|(_, kind)| kind.clone()).reduce(Kind::or).unwrap_or(Kind::Any);
                Some((Node::List(items.into_iter().map(|(node, _)| node).collect()), Kind::list(kind)))
            }
            Form::Map(entries) => self.map(entries),
            Form::Not(operand) => {
                let operand = self.condition(operand)?;
                Some((Node::Not(Box::new(operand)), Kind::Bool))
            }
            Form::Negative(operand) => {
                let (node, kind) = self.node(operand)?;
                if !matches!(kind, Kind::Any | Kind::Int | Kind::Double) {
                    return self.fail(Mistake::new(tree.span.clone(), format!("{kind} can't be made negative")));
                }
                Some((Node::Negative(Box::new(node)), kind))
            }
            Form::All(parts) => self.conditions(parts).map(|parts| (Node::All(parts), Kind::Bool)),
            Form::Any(parts) => self.conditions(parts).map(|parts| (Node::Any(parts), Kind::Bool)),
            Form::Conditional(parts) => {
                let [condition, yes, no] = &**parts;
                let (condition, yes, no) = (self.condition(condition), self.node(yes), self.node(no));
                let ((yes, kind), (no, other)) = (yes?, no?);
                Some((Node::Conditional(Box::new([condition?, yes, no])), kind.or(other)))
            }
            Form::Binary(operator, left, right) => self.binary(*operator, left, right, &tree.span),
        }
    }

    fn fail<T>(&mut self, mistake: Mistake) -> Option<T> {
        self.mistakes.push(mistake);
        None
    }

    fn all(&mut self, trees: &[Tree]) -> Option<Vec<(Node, Kind)>> {
        let found = trees.iter().map(|tree| self.node(tree)).collect::<Vec<_>>();
        found.into_iter().collect()
    }

    fn conditions(&mut self, trees: &[Tree]) -> Option<Vec<Node>> {
        let found = trees.iter().map(|tree| self.condition(tree)).collect::<Vec<_>>();
        found.into_iter().collect()
    }

    fn condition(&mut self, tree: &Tree) -> Option<Node> {
        let (node, kind) = self.node(tree)?;
        match kind.may_be(&Kind::Bool) {
            true => Some(node),
            false => {
                let message = format!("true or false is expected here, and this is {kind}");
                self.fail(Mistake::new(tree.span.clone(), message))
            }
        }
    }

    fn name(&mut self, name: &str, span: &Range<usize>) -> Found {
        if let Some((_, kind)) = self.element.as_ref().filter(|(variable, _)| variable == name) {
            return Some((Node::Element, kind.clone()));
        }
        if name == "claims" {
            return Some((Node::Claims, Kind::Map));
        }
        if scope::has_only_fields(name) {
            let example = match name {
                "path" | "query" => "x",
                "headers" => "accept",
                "token" => "subject",
                _ => "method",
            };
            let message = format!("`{name}` as a whole is no value here");
            return self
                .fail(Mistake::new(span.clone(), message).hint(format!("name one of its fields: `{name}.{example}`")));
        }
        let mut known = scope::NAMES.map(str::to_owned).to_vec();
        known.extend(self.element.as_ref().map(|(variable, _)| variable.clone()));
        let remedy = Remedy::OneOf { name: name.to_owned(), known };
        self.fail(Mistake { remedy, ..Mistake::new(span.clone(), format!("nothing is called `{name}`")) })
    }

    /// The variable that a tree names, where only its fields are values.
    fn variable<'t>(&self, tree: &'t Tree) -> Option<&'t str> {
        match &tree.form {
            Form::Name(name) if scope::has_only_fields(name) => Some(name),
            _ => None,
        }
    }

    fn fact(&mut self, variable: &str, field: &str, place: &Range<usize>) -> Option<Fact> {
        let mistake = match Fact::find(variable, field, self.paths) {
            Ok(fact) => {
                self.reads_headers |= matches!(fact, Fact::Header(_));
                return Some(fact);
            }
            Err(Unknown::Words(words)) => Mistake::new(place.clone(), words),
            Err(Unknown::OneOf(known)) => {
                let message = match (variable, known.is_empty()) {
                    ("path", true) => format!("the route's path has no `{{{field}}}`, nor any other parameter"),
                    ("path", false) => format!("the route's path has no `{{{field}}}`"),
                    _ => format!("`{variable}` has no `{field}`"),
                };
                let remedy = match known.is_empty() {
                    true => Remedy::None,
                    false => Remedy::OneOf { name: field.to_owned(), known },
                };
                Mistake { remedy, ..Mistake::new(place.clone(), message) }
            }
        };
        self.fail(mistake)
    }

    fn is_map(&mut self, kind: &Kind, place: &Range<usize>) -> Option<()> {
        match kind {
            Kind::Any | Kind::Map => Some(()),
            kind => self.fail(Mistake::new(place.clone(), format!("{kind} has no fields"))),
        }
    }

    fn index(&mut self, of: &Tree, index: &Tree) -> Found {
        if let Some(variable) = self.variable(of) {
            return match &index.form {
                Form::Literal(Literal::Text(field)) => self.fact(variable, field, &index.span).map(known),
                _ => {
                    let message = format!("what is asked of `{variable}` is named by a text in quotes");
                    self.fail(Mistake::new(index.span.clone(), message))
                }
            };
        }
        let (found, at) = (self.node(of), self.node(index));
        let ((of, kind), (at, at_kind)) = (found?, at?);
        let (fits, result) = match kind {
            Kind::Any | Kind::Map => (true, Kind::Any),
            Kind::List(kind) => (matches!(at_kind, Kind::Any | Kind::Int | Kind::Uint), *kind),
            _ => (false, Kind::Any),
        };
        if !fits {
            return self.fail(Mistake::new(index.span.clone(), format!("{at_kind} is no place in this")));
        }
        match at {
            Node::Literal(key @ Literal::Text(_)) => Some((Node::Field(Box::new(of), key), result)),
            at => Some((Node::Index(Box::new(of), Box::new(at)), result)),
        }
    }

    fn map(&mut self, entries: &[(Tree, Tree)]) -> Found {
        let mut nodes = Vec::new();
        let mut good = true;
        for (key, value) in entries {
            let value = self.node(value);
            let Form::Literal(literal) = &key.form else {
                let hint = "a text stands in quotes: `{\"key\": value}`";
                good = false;
                self.mistakes.push(Mistake::new(key.span.clone(), "a key is a literal").hint(hint));
                continue;
            };
            if matches!(literal, Literal::Null | Literal::Double(_)) {
                good = false;
                self.mistakes.push(Mistake::new(key.span.clone(), format!("{} is no key", kind_of(literal))));
            }
            if nodes.iter().any(|(known, _)| known == literal) {
                good = false;
                self.mistakes.push(Mistake::new(key.span.clone(), "this key is there twice"));
            }
            match value {
                Some((value, _)) => nodes.push((literal.clone(), value)),
                None => good = false,
            }
        }
        good.then_some((Node::Map(nodes), Kind::Map))
    }

    fn binary(&mut self, operator: Operator, left: &Tree, right: &Tree, span: &Range<usize>) -> Found {
        if let (Operator::In, Some(variable)) = (operator, self.variable(right)) {
            let Form::Literal(Literal::Text(field)) = &left.form else {
                let message = format!("what is asked of `{variable}` is named by a text in quotes");
                return self.fail(Mistake::new(left.span.clone(), message));
            };
            return self.fact(variable, field, &left.span).map(|fact| (Node::HasFact(fact), Kind::Bool));
        }
        let (one, other) = (self.node(left), self.node(right));
        let ((one, kind), (other, other_kind)) = (one?, other?);
        let result = match result_of(operator, &kind, &other_kind) {
            Ok(result) => result,
            Err(Nonsense { message, hint }) => {
                let remedy = hint.map_or(Remedy::None, |hint| Remedy::Hint(hint.to_owned()));
                return self.fail(Mistake { remedy, ..Mistake::new(span.clone(), message) });
            }
        };
        let node = match other {
            Node::List(items)
                if operator == Operator::In && items.iter().all(|item| matches!(item, Node::Literal(_))) =>
            {
                let literal = |node| match node {
                    Node::Literal(literal) => Some(literal),
                    _ => None,
                };
                Node::OneOf(Box::new(one), items.into_iter().filter_map(literal).collect())
            }
            other => Node::Binary(operator, Box::new(one), Box::new(other)),
        };
        Some((node, result))
    }

    fn call(&mut self, call: &Call, span: &Range<usize>) -> Found {
        let on_target = call.target.is_some();
        match (call.name.as_str(), on_target, call.arguments.as_slice()) {
            ("has", false, [argument]) => return self.has(argument),
            ("dyn", false, [argument]) => return self.node(argument).map(|(node, _)| (node, Kind::Any)),
            ("matches", ..) => return self.matches(call),
            _ => {}
        }
        if let (Some(target), Some(macro_)) = (&call.target, macro_of(&call.name)) {
            return self.macro_(macro_, target, call);
        }
        let Some(function) = Function::find(&call.name, on_target) else { return self.no_function(call) };
        let parts = call.target.as_deref().into_iter().chain(&call.arguments).collect::<Vec<_>>();
        if parts.len() != function.arity() {
            let wanted = function.arity() - usize::from(on_target);
            let message = format!("`{}` takes {wanted} here, not {}", call.name, call.arguments.len());
            return self.fail(Mistake::new(span.clone(), message));
        }
        let found = parts.iter().map(|part| self.node(part)).collect::<Vec<_>>();
        let found = found.into_iter().collect::<Option<Vec<_>>>()?;
        if let Some((part, (_, kind))) = parts.iter().zip(&found).find(|(_, (_, kind))| !function.takes(kind)) {
            let message = format!("`{}` can't be done with {kind}", call.name);
            return self.fail(Mistake::new(part.span.clone(), message));
        }
        Some((Node::Call(function, found.into_iter().map(|(node, _)| node).collect()), function.result()))
    }

    fn no_function(&mut self, call: &Call) -> Found {
        let message = match function::NAMES.contains(&call.name.as_str()) {
            true if call.target.is_some() => format!("`{}` isn't called on a value", call.name),
            true => format!("`{}` is called on a value: `x.{}(…)`", call.name, call.name),
            false => format!("there is no function `{}`", call.name),
        };
        let remedy = match function::NAMES.contains(&call.name.as_str()) {
            true => Remedy::None,
            false => Remedy::OneOf { name: call.name.clone(), known: function::NAMES.map(str::to_owned).to_vec() },
        };
        self.fail(Mistake { remedy, ..Mistake::new(call.place.clone(), message) })
    }

    fn has(&mut self, argument: &Tree) -> Found {
        let Form::Select(of, field, place) = &argument.form else {
            let hint = "for another key: `\"a key\" in claims`";
            return self.fail(Mistake::new(argument.span.clone(), "`has` takes a field: `has(claims.x)`").hint(hint));
        };
        if let Some(variable) = self.variable(of) {
            return self.fact(variable, field, place).map(|fact| (Node::HasFact(fact), Kind::Bool));
        }
        let (of, kind) = self.node(of)?;
        self.is_map(&kind, place)?;
        Some((Node::HasField(Box::new(of), Literal::Text(field.as_str().into())), Kind::Bool))
    }

    fn matches(&mut self, call: &Call) -> Found {
        let parts = call.target.as_deref().into_iter().chain(&call.arguments).collect::<Vec<_>>();
        let [text, pattern] = parts.as_slice() else {
            return self.fail(Mistake::new(call.place.clone(), "`matches` takes a pattern: `x.matches(\"^a\")`"));
        };
        let found = self.node(text);
        let Form::Literal(Literal::Text(written)) = &pattern.form else {
            let message = "a pattern is a text in quotes: it is read once, when the file is";
            return self.fail(Mistake::new(pattern.span.clone(), message));
        };
        let regex = match RegexBuilder::new(written).size_limit(LARGEST_PATTERN).build() {
            Ok(regex) => regex,
            Err(error) => {
                let words = error.to_string();
                let last = words.lines().last().unwrap_or_default().trim_start_matches("error: ");
                return self.fail(Mistake::new(pattern.span.clone(), format!("not a regular expression: {last}")));
            }
        };
        let (node, kind) = found?;
        if !kind.may_be(&Kind::Text) {
            return self.fail(Mistake::new(text.span.clone(), format!("`matches` can't be done with {kind}")));
        }
        Some((Node::Matches(Box::new(node), regex), Kind::Bool))
    }

    fn macro_(&mut self, macro_: Macro, target: &Tree, call: &Call) -> Found {
        let most = if macro_ == Macro::Map { 3 } else { 2 };
        let Some((variable, bodies)) =
            call.arguments.split_first().filter(|_| (2..=most).contains(&call.arguments.len()))
        else {
            let message = format!("`{0}` takes a name and a condition: `list.{0}(x, x == \"a\")`", call.name);
            return self.fail(Mistake::new(call.place.clone(), message));
        };
        if self.element.is_some() {
            return self.fail(
                Mistake::new(
                    call.place.clone(),
                    format!("`{}` inside of another: only one goes through a list at a time", call.name),
                )
                .hint("`x in list` asks for one element"),
            );
        }
        let Form::Name(name) = &variable.form else {
            return self.fail(Mistake::new(variable.span.clone(), "a name for the element is expected here"));
        };
        if scope::NAMES.contains(&name.as_str()) {
            return self.fail(Mistake::new(variable.span.clone(), format!("`{name}` is something else already")));
        }
        let (over, kind) = self.node(target)?;
        let element = match kind {
            Kind::List(kind) => *kind,
            Kind::Any | Kind::Map => Kind::Any,
            kind => {
                let message = format!("`{}` goes through a list, and this is {kind}", call.name);
                return self.fail(Mistake::new(target.span.clone(), message));
            }
        };
        self.element = Some((name.clone(), element.clone()));
        let found = self.bodies(macro_, bodies);
        self.element = None;
        let (bodies, last) = found?;
        let result = match macro_ {
            Macro::All | Macro::Exists | Macro::ExistsOne => Kind::Bool,
            Macro::Filter => Kind::list(element),
            Macro::Map => Kind::list(last),
        };
        Some((Node::Macro(macro_, Box::new(over), bodies.into()), result))
    }

    /// All but the last of `map` are conditions.
    fn bodies(&mut self, macro_: Macro, bodies: &[Tree]) -> Option<(Vec<Node>, Kind)> {
        let [conditions @ .., last] = bodies else { return None };
        let conditions = self.conditions(conditions);
        let (last, kind) = match macro_ {
            Macro::Map => self.node(last)?,
            _ => (self.condition(last)?, Kind::Bool),
        };
        let mut nodes = conditions?;
        nodes.push(last);
        Some((nodes, kind))
    }
}

fn known(fact: Fact) -> (Node, Kind) {
    let kind = fact.kind();
    (Node::Fact(fact), kind)
}

fn kind_of(literal: &Literal) -> Kind {
    match literal {
        Literal::Null => Kind::Null,
        Literal::Bool(_) => Kind::Bool,
        Literal::Int(_) => Kind::Int,
        Literal::Uint(_) => Kind::Uint,
        Literal::Double(_) => Kind::Double,
        Literal::Text(_) => Kind::Text,
    }
}

fn macro_of(name: &str) -> Option<Macro> {
    Some(match name {
        "all" => Macro::All,
        "exists" => Macro::Exists,
        "exists_one" | "existsOne" => Macro::ExistsOne,
        "filter" => Macro::Filter,
        "map" => Macro::Map,
        _ => return None,
    })
}
