//! What each key of the configuration means: one row a key, from which the JSON Schema and the reference are made.
//! All keys stand in `keys`, too; tests hold both lists, and these rows and the reader, to each other.

mod flow;
mod identity;
mod issuers;
mod json_schema;
mod markdown;
mod process;
mod routes;
mod upstreams;

pub(super) use self::{json_schema::json_schema, markdown::markdown};

#[cfg(test)]
pub(super) use self::flow::flow;

use serde_json::Value;

/// One key, by its path: `*` stands for a name or a list's item.
#[derive(Clone, Copy, Debug)]
pub(super) struct Key {
    pub(super) path: &'static str,
    pub(super) kind: Kind,
    /// What it does, in a sentence or two.
    pub(super) doc: &'static str,
    pub(super) absent: Absent,
    /// JSON, or the text itself.
    example: Option<&'static str>,
    /// What must hold among the keys below.
    pub(super) rules: &'static [Rule],
}

/// What can be written for a key.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Text,
    /// A text; numbers and booleans are taken as theirs.
    Scalar,
    /// Never shown by anything.
    Secret,
    /// Begins with one of these schemes.
    Url(&'static [&'static str]),
    Flag,
    Duration,
    Size,
    Rate,
    /// `20%`
    Share,
    Count {
        least: u32,
        most: u32,
    },
    /// A number from 0 to 1.
    Fraction,
    /// One of these words.
    Word(&'static [&'static str]),
    /// Any of these forms.
    OneOf(&'static [Kind]),
    List(&'static Kind),
    /// A list with one item at least.
    Some(&'static Kind),
    /// Names that the author chooses, each with its value.
    Named {
        name: &'static str,
        value: &'static Kind,
    },
    /// A map with the keys of the table below this one, or below its `*`.
    Section,
    /// Any JSON object.
    Json,
}

/// What holds where a key is left out.
#[derive(Clone, Copy, Debug)]
pub(super) enum Absent {
    /// There is nothing to say.
    Nothing,
    /// It must be there.
    Required,
    /// As if this had been written: JSON, or the text itself.
    Default(&'static str),
    /// What then happens, in words.
    Means(&'static str),
}

/// What must hold among the keys of a map.
#[derive(Clone, Copy, Debug)]
pub(super) enum Rule {
    ExactlyOne(&'static [&'static str]),
    AtMostOne(&'static [&'static str]),
    /// The first only with the second.
    Needs(&'static str, &'static str),
    /// Some key, whichever.
    NotEmpty,
}

const fn key(path: &'static str, kind: Kind, doc: &'static str) -> Key {
    Key { path, kind, doc, absent: Absent::Nothing, example: None, rules: &[] }
}

impl Key {
    const fn required(self) -> Key {
        Key { absent: Absent::Required, ..self }
    }

    const fn default(self, value: &'static str) -> Key {
        Key { absent: Absent::Default(value), ..self }
    }

    const fn absent(self, words: &'static str) -> Key {
        Key { absent: Absent::Means(words), ..self }
    }

    const fn left_out(self, absent: Absent) -> Key {
        Key { absent, ..self }
    }

    const fn example(self, value: &'static str) -> Key {
        Key { example: Some(value), ..self }
    }

    const fn rules(self, rules: &'static [Rule]) -> Key {
        Key { rules, ..self }
    }

    /// The value that stands for it where it is left out.
    pub(super) fn default_value(&self) -> Option<Value> {
        match self.absent {
            Absent::Default(text) => Some(value(text)),
            _ => None,
        }
    }

    /// A value that is good for it.
    pub(super) fn example_value(&self) -> Option<Value> {
        self.example.map(value)
    }

    /// Its last name.
    fn name(&self) -> &'static str {
        self.path.rsplit('.').next().unwrap_or(self.path)
    }
}

/// JSON, or else the text itself.
fn value(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| text.into())
}

/// All keys, in the order in which a file is read best.
pub(super) fn all() -> impl Iterator<Item = &'static Key> {
    let tables: [&[Key]; 9] = [
        process::FIRST,
        issuers::KEYS,
        process::STORES,
        upstreams::KEYS,
        &identity::OF_ALL_ROUTES,
        process::ERRORS,
        routes::KEYS,
        &identity::OF_A_ROUTE,
        process::LAST,
    ];
    tables.into_iter().flatten()
}

/// The keys right below a path of the table ("" at the top), or below its `*`.
fn below(parent: &str) -> impl Iterator<Item = &'static Key> {
    all().filter(move |key| {
        let rest = match parent {
            "" => Some(key.path),
            _ => key.path.strip_prefix(parent).and_then(|rest| rest.strip_prefix('.')),
        };
        rest.is_some_and(|rest| !rest.strip_prefix("*.").unwrap_or(rest).contains('.'))
    })
}

const METHODS: Kind = Kind::Some(&Kind::Text);
const SOME_TEXTS: Kind = Kind::Some(&Kind::Text);
const SOME_SCALARS: Kind = Kind::Some(&Kind::Scalar);
const HTTP_URL: Kind = Kind::Url(&["http", "https"]);
const NONE: Kind = Kind::Word(&["none"]);
const DURATION_OR_NONE: Kind = Kind::OneOf(&[NONE, Kind::Duration]);
const SIZE_OR_NONE: Kind = Kind::OneOf(&[NONE, Kind::Size]);
const COUNT_OR_NONE: Kind = Kind::OneOf(&[NONE, Kind::Count { least: 1, most: 10_000_000 }]);
