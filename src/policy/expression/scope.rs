//! What an expression can ask of the token and the request.

use hyper::header::HeaderName;

use super::{super::facts::Facts, Fault, kind::Kind, value::Value};
use crate::route::PathTemplate;

/// A single value of the token or the request, found at load.
#[derive(Clone, Debug)]
pub(super) enum Fact {
    Issuer,
    Subject,
    Client,
    TokenKind,
    Scopes,
    Roles,
    Method,
    Host,
    Path,
    Scheme,
    ClientIp,
    /// For each of the route's paths: the place of the parameter in it, if it has one of that name.
    Param(Box<[Option<usize>]>),
    Query(Box<str>),
    Header(HeaderName),
}

/// All variables.
pub(super) const NAMES: [&str; 6] = ["claims", "token", "request", "path", "query", "headers"];

const FIELDS: [(&str, &str, Fact); 11] = [
    ("token", "issuer", Fact::Issuer),
    ("token", "subject", Fact::Subject),
    ("token", "client", Fact::Client),
    ("token", "kind", Fact::TokenKind),
    ("token", "scopes", Fact::Scopes),
    ("token", "roles", Fact::Roles),
    ("request", "method", Fact::Method),
    ("request", "host", Fact::Host),
    ("request", "path", Fact::Path),
    ("request", "scheme", Fact::Scheme),
    ("request", "client_ip", Fact::ClientIp),
];

/// Whether it is a variable of which only single fields are known.
pub(super) fn has_only_fields(name: &str) -> bool {
    NAMES.contains(&name) && name != "claims"
}

/// Why there is no such value.
pub(super) enum Unknown {
    /// There are these instead.
    OneOf(Vec<String>),
    /// In words.
    Words(String),
}

impl Fact {
    /// A field of a variable.
    ///
    /// # Errors
    /// Where the variable can't have it.
    pub(super) fn find(variable: &str, field: &str, paths: &[PathTemplate]) -> Result<Fact, Unknown> {
        match variable {
            "path" => {
                let place = |path: &PathTemplate| path.param_names().position(|name| name == field);
                let places: Box<[_]> = paths.iter().map(place).collect();
                let known = || paths.iter().flat_map(PathTemplate::param_names).map(str::to_owned).collect();
                if places.iter().any(Option::is_some) { Ok(Fact::Param(places)) } else { Err(Unknown::OneOf(known())) }
            }
            "query" if field.is_empty() => Err(Unknown::Words("a field of a query has a name".to_owned())),
            "query" => Ok(Fact::Query(field.into())),
            "headers" => HeaderName::from_bytes(field.as_bytes())
                .map(Fact::Header)
                .map_err(|_| Unknown::Words(format!("`{field}` is not a header's name"))),
            _ => {
                let fields = || FIELDS.into_iter().filter(|(of, ..)| *of == variable);
                let found = fields().find(|(_, name, _)| *name == field).map(|(.., fact)| fact);
                found.ok_or_else(|| Unknown::OneOf(fields().map(|(_, name, _)| name.to_owned()).collect()))
            }
        }
    }

    pub(super) fn kind(&self) -> Kind {
        match self {
            Fact::Scopes | Fact::Roles => Kind::list(Kind::Text),
            _ => Kind::Text,
        }
    }

    /// Its value for this request.
    pub(super) fn value<'v>(&'v self, facts: &'v Facts<'v>) -> Result<Value<'v>, Fault> {
        let principal = facts.principal;
        let text = match self {
            Fact::Scopes => return Ok(Value::Texts(principal.scopes())),
            Fact::Roles => return Ok(Value::Texts(principal.roles())),
            Fact::ClientIp => Some(facts.client_ip.to_string().into()),
            Fact::Param(places) => places.get(facts.template).copied().flatten().and_then(|place| facts.param(place)),
            Fact::Query(name) => facts.query(name),
            Fact::Issuer => Some((**principal.issuer()).into()),
            Fact::Subject => principal.subject().map(Into::into),
            Fact::Client => principal.client().map(Into::into),
            Fact::TokenKind => Some(principal.kind().name().into()),
            Fact::Method => Some(facts.method.as_str().into()),
            Fact::Host => facts.host.map(Into::into),
            Fact::Path => Some(facts.path.into()),
            Fact::Scheme => Some(facts.scheme.into()),
            Fact::Header(name) => facts.header(name).map(Into::into),
        };
        text.map(Value::Text).ok_or(Fault::Absent)
    }
}
