//! From words to a tree, by CEL's grammar (cel-spec, langdef.md, "Syntax").

use std::ops::Range;

use super::{
    Mistake,
    lexer::{Token, Word, words},
};

/// How deep an expression may be nested, and how many operators may follow each other without brackets: evaluation goes
/// as deep.
const DEEPEST: usize = 40;

/// A part of an expression and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Tree {
    pub(super) span: Range<usize>,
    pub(super) form: Form,
    height: usize,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Form {
    Literal(Literal),
    Name(String),
    /// The field's own place, too.
    Select(Box<Tree>, String, Range<usize>),
    Index(Box<Tree>, Box<Tree>),
    Call(Call),
    List(Vec<Tree>),
    Map(Vec<(Tree, Tree)>),
    Not(Box<Tree>),
    Negative(Box<Tree>),
    All(Vec<Tree>),
    Any(Vec<Tree>),
    Binary(Operator, Box<Tree>, Box<Tree>),
    Conditional(Box<[Tree; 3]>),
}

/// `target.name(arguments)`, or without a target.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Call {
    pub(super) target: Option<Box<Tree>>,
    pub(super) name: String,
    pub(super) place: Range<usize>,
    pub(super) arguments: Vec<Tree>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Literal {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    Text(Box<str>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    In,
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

impl Operator {
    fn relation(word: &Word) -> Option<Operator> {
        Some(match word {
            Word::Sign("==") => Operator::Equal,
            Word::Sign("!=") => Operator::NotEqual,
            Word::Sign("<") => Operator::Less,
            Word::Sign("<=") => Operator::LessOrEqual,
            Word::Sign(">") => Operator::Greater,
            Word::Sign(">=") => Operator::GreaterOrEqual,
            Word::Name(name) if name == "in" => Operator::In,
            _ => return None,
        })
    }

    fn sum(word: &Word) -> Option<Operator> {
        match word {
            Word::Sign("+") => Some(Operator::Add),
            Word::Sign("-") => Some(Operator::Subtract),
            _ => None,
        }
    }

    fn product(word: &Word) -> Option<Operator> {
        match word {
            Word::Sign("*") => Some(Operator::Multiply),
            Word::Sign("/") => Some(Operator::Divide),
            Word::Sign("%") => Some(Operator::Remainder),
            _ => None,
        }
    }

    /// As it is written.
    pub(super) fn sign(self) -> &'static str {
        match self {
            Operator::Equal => "==",
            Operator::NotEqual => "!=",
            Operator::Less => "<",
            Operator::LessOrEqual => "<=",
            Operator::Greater => ">",
            Operator::GreaterOrEqual => ">=",
            Operator::In => "in",
            Operator::Add => "+",
            Operator::Subtract => "-",
            Operator::Multiply => "*",
            Operator::Divide => "/",
            Operator::Remainder => "%",
        }
    }
}

/// Words that CEL keeps for later.
const RESERVED: [&str; 17] = [
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
];

/// Reads a whole expression.
pub(super) fn parse(text: &str) -> Result<Tree, Mistake> {
    let tokens = words(text)?;
    if let [only] = tokens.as_slice() {
        return Err(Mistake::new(only.span.clone(), "an empty expression"));
    }
    let mut parser = Parser { tokens: &tokens, next: 0, depth: 0 };
    let tree = parser.expression()?;
    match parser.peek() {
        Word::End => Ok(tree),
        _ => Err(parser.unexpected("an operator, or the end of the expression")),
    }
}

struct Parser<'t> {
    tokens: &'t [Token],
    next: usize,
    depth: usize,
}

type Parsed = Result<Tree, Mistake>;

impl Parser<'_> {
    fn expression(&mut self) -> Parsed {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(too_deep(self.span()));
        }
        let condition = self.any()?;
        let tree = if self.take("?") {
            let yes = self.any()?;
            self.expect(":")?;
            let no = self.expression()?;
            let span = condition.span.start..no.span.end;
            Tree::new(span, Form::Conditional(Box::new([condition, yes, no])))?
        } else {
            condition
        };
        self.depth -= 1;
        Ok(tree)
    }

    fn any(&mut self) -> Parsed {
        self.chain("||", Parser::all, Form::Any)
    }

    fn all(&mut self) -> Parsed {
        self.chain("&&", Parser::relation, Form::All)
    }

    fn chain(&mut self, sign: &str, part: fn(&mut Self) -> Parsed, whole: fn(Vec<Tree>) -> Form) -> Parsed {
        let first = part(self)?;
        let start = first.span.start;
        if !self.take(sign) {
            return Ok(first);
        }
        let mut parts = vec![first, part(self)?];
        while self.take(sign) {
            parts.push(part(self)?);
        }
        Tree::new(start..self.last_end(), whole(parts))
    }

    fn relation(&mut self) -> Parsed {
        self.left(Operator::relation, Parser::sum)
    }

    fn sum(&mut self) -> Parsed {
        self.left(Operator::sum, Parser::product)
    }

    fn product(&mut self) -> Parsed {
        self.left(Operator::product, Parser::unary)
    }

    fn left(&mut self, operator: fn(&Word) -> Option<Operator>, part: fn(&mut Self) -> Parsed) -> Parsed {
        let mut tree = part(self)?;
        while let Some(operator) = operator(self.peek()) {
            self.next += 1;
            let right = part(self)?;
            let span = tree.span.start..right.span.end;
            tree = Tree::new(span, Form::Binary(operator, Box::new(tree), Box::new(right)))?;
        }
        Ok(tree)
    }

    fn unary(&mut self) -> Parsed {
        let start = self.span().start;
        let whole: fn(Box<Tree>) -> Form = match self.peek() {
            Word::Sign("!") => Form::Not,
            Word::Sign("-") => Form::Negative,
            _ => return self.member(),
        };
        let minus = self.peek() == &Word::Sign("-");
        self.next += 1;
        if let (true, Word::Int(value)) = (minus, self.peek()) {
            let span = start..self.span().end;
            let value = 0_i64.checked_sub_unsigned(*value).ok_or_else(|| too_large(span.clone()))?;
            self.next += 1;
            let literal = Tree::new(span, Form::Literal(Literal::Int(value)))?;
            return self.suffixes(literal);
        }
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(too_deep(self.span()));
        }
        let operand = self.unary()?;
        self.depth -= 1;
        Tree::new(start..operand.span.end, whole(Box::new(operand)))
    }

    fn member(&mut self) -> Parsed {
        let primary = self.primary()?;
        self.suffixes(primary)
    }

    fn suffixes(&mut self, mut tree: Tree) -> Parsed {
        loop {
            let start = tree.span.start;
            if self.take(".") {
                let place = self.span();
                let Word::Name(name) = self.peek() else { return Err(self.unexpected("a name")) };
                let name = name.clone();
                self.next += 1;
                let target = Box::new(tree);
                let form = match self.take("(") {
                    true => {
                        let arguments = self.list(")")?;
                        Form::Call(Call { target: Some(target), name, place, arguments })
                    }
                    false => Form::Select(target, name, place),
                };
                tree = Tree::new(start..self.last_end(), form)?;
            } else if self.take("[") {
                let index = self.expression()?;
                self.expect("]")?;
                tree = Tree::new(start..self.last_end(), Form::Index(Box::new(tree), Box::new(index)))?;
            } else {
                return Ok(tree);
            }
        }
    }

    fn primary(&mut self) -> Parsed {
        let token = self.tokens.get(self.next).cloned().unwrap_or(Token { span: 0..0, word: Word::End });
        let Token { span, word } = token;
        let literal = match word {
            Word::Name(name) => {
                self.next += 1;
                return self.name(name, span);
            }
            Word::Sign("(") => {
                self.next += 1;
                let inner = self.expression()?;
                self.expect(")")?;
                return Ok(Tree { span: span.start..self.last_end(), ..inner });
            }
            Word::Sign("[") => {
                self.next += 1;
                let items = self.list("]")?;
                return Tree::new(span.start..self.last_end(), Form::List(items));
            }
            Word::Sign("{") => {
                self.next += 1;
                let entries = self.entries()?;
                return Tree::new(span.start..self.last_end(), Form::Map(entries));
            }
            Word::Int(value) => Literal::Int(i64::try_from(value).map_err(|_| too_large(span.clone()))?),
            Word::Uint(value) => Literal::Uint(value),
            Word::Double(value) => Literal::Double(value),
            Word::Text(text) => Literal::Text(text.into()),
            Word::Sign(_) | Word::End => return Err(self.unexpected("a value")),
        };
        self.next += 1;
        Tree::new(span, Form::Literal(literal))
    }

    fn name(&mut self, name: String, span: Range<usize>) -> Parsed {
        let literal = match name.as_str() {
            "true" => Literal::Bool(true),
            "false" => Literal::Bool(false),
            "null" => Literal::Null,
            "in" => return Err(Mistake::new(span, "a value is missing before `in`")),
            reserved if RESERVED.contains(&reserved) => {
                return Err(Mistake::new(span, format!("`{reserved}` is a reserved word")));
            }
            _ if self.take("(") => {
                let arguments = self.list(")")?;
                let call = Call { target: None, name, place: span.clone(), arguments };
                return Tree::new(span.start..self.last_end(), Form::Call(call));
            }
            _ if self.peek() == &Word::Sign("{") => {
                return Err(Mistake::new(span, "messages are not understood").hint("a map is `{\"key\": value}`"));
            }
            _ => return Tree::new(span, Form::Name(name)),
        };
        Tree::new(span, Form::Literal(literal))
    }

    /// Up to the closing bracket; a comma may be last.
    fn list(&mut self, close: &'static str) -> Result<Vec<Tree>, Mistake> {
        let mut items = Vec::new();
        while !self.take(close) {
            items.push(self.expression()?);
            if !self.take(",") && self.peek() != &Word::Sign(close) {
                return Err(self.unexpected(&format!("`,` or `{close}`")));
            }
        }
        Ok(items)
    }

    fn entries(&mut self) -> Result<Vec<(Tree, Tree)>, Mistake> {
        let mut entries = Vec::new();
        while !self.take("}") {
            let key = self.expression()?;
            self.expect(":")?;
            entries.push((key, self.expression()?));
            if !self.take(",") && self.peek() != &Word::Sign("}") {
                return Err(self.unexpected("`,` or `}`"));
            }
        }
        Ok(entries)
    }

    fn peek(&self) -> &Word {
        self.tokens.get(self.next).map_or(&Word::End, |token| &token.word)
    }

    fn span(&self) -> Range<usize> {
        self.tokens.get(self.next).map_or(0..0, |token| token.span.clone())
    }

    /// Where the word ends that was taken last.
    fn last_end(&self) -> usize {
        self.next.checked_sub(1).and_then(|last| self.tokens.get(last)).map_or(0, |token| token.span.end)
    }

    fn take(&mut self, sign: &str) -> bool {
        let there = matches!(self.peek(), Word::Sign(found) if *found == sign);
        self.next += usize::from(there);
        there
    }

    fn expect(&mut self, sign: &str) -> Result<(), Mistake> {
        match self.take(sign) {
            true => Ok(()),
            false => Err(self.unexpected(&format!("`{sign}`"))),
        }
    }

    fn unexpected(&self, wanted: &str) -> Mistake {
        let mistake = match self.peek() {
            Word::End => Mistake::new(self.span(), format!("the expression ends where {wanted} is expected")),
            _ => Mistake::new(self.span(), format!("{wanted} is expected here")),
        };
        match self.peek() {
            Word::Name(name) if name == "and" => mistake.hint("write `&&` for and"),
            Word::Name(name) if name == "or" => mistake.hint("write `||` for or"),
            Word::Name(name) if name == "not" => mistake.hint("write `!` for not"),
            _ => mistake,
        }
    }
}

impl Tree {
    /// Refuses what is nested too deep.
    fn new(span: Range<usize>, form: Form) -> Parsed {
        let mut height = 0;
        form.each_part(&mut |part| height = height.max(part.height + 1));
        match height > DEEPEST {
            true => Err(too_deep(span)),
            false => Ok(Tree { span, form, height }),
        }
    }
}

impl Form {
    fn each_part(&self, visit: &mut dyn FnMut(&Tree)) {
        match self {
            Form::Literal(_) | Form::Name(_) => {}
            Form::Select(part, ..) | Form::Not(part) | Form::Negative(part) => visit(part),
            Form::Index(one, other) | Form::Binary(_, one, other) => {
                [one, other].into_iter().for_each(|part| visit(part))
            }
            Form::Call(call) => call.target.as_deref().into_iter().chain(&call.arguments).for_each(visit),
            Form::List(parts) | Form::All(parts) | Form::Any(parts) => parts.iter().for_each(visit),
            Form::Map(entries) => entries.iter().flat_map(|(key, value)| [key, value]).for_each(visit),
            Form::Conditional(parts) => parts.iter().for_each(visit),
        }
    }
}

fn too_deep(span: Range<usize>) -> Mistake {
    Mistake::new(span, format!("expressions are nested up to {DEEPEST} deep"))
}

fn too_large(span: Range<usize>) -> Mistake {
    Mistake::new(span, "this number is too large")
}
