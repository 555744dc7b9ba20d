//! Revocations as JSON: for people, without anything of a token, for `state.dir`, and for other replicas.

use serde_json::{Map, Value};

use super::{Change, OfIssuer, Revocation, Source, Target, TokenId};
use crate::token::{credential::Fingerprint, json};

const LIFTED: &str = "lifted";
const INSTEAD_OF: &str = "instead_of";

impl Revocation {
    /// As the admin listener shows it. A token is named as logs name it.
    pub fn to_json(&self) -> Map<String, Value> {
        let mut members = Map::new();
        let mut add = |name: &str, value: Value| members.insert(name.to_owned(), value);
        add("id", (*self.id).into());
        match &self.target {
            Target::Token { fingerprint, .. } => add("token", fingerprint.to_string().into()),
            Target::Jti(text) => add("jti", text.as_str().into()),
            Target::Subject(text) => add("subject", text.as_str().into()),
            Target::Client(text) => add("client", text.as_str().into()),
            Target::Sid(text) => add("sid", text.as_str().into()),
            Target::Sub { sub, .. } => add("sub", sub.as_str().into()),
        };
        if self.target.spares_sessions() {
            add("without_sid", true.into());
        }
        if let Some(issuer) = &self.issuer {
            add("issuer", issuer.written.as_str().into());
        }
        for (name, moment) in [("issued_before", self.issued_before), ("expires_at", self.expires_at)] {
            if let Some(moment) = moment {
                add(name, moment.into());
            }
        }
        add("created_at", self.created_at.into());
        add("source", self.source.name().into());
        members
    }
}

impl Revocation {
    /// For `state.dir` and for other replicas.
    pub(crate) fn to_line(&self) -> String {
        Value::Object(self.members()).to_string()
    }

    /// What `to_line` has written.
    pub(crate) fn from_line(line: &[u8]) -> Option<Revocation> {
        read(&json::parse_object(line).ok()?)
    }

    fn members(&self) -> Map<String, Value> {
        let mut line = self.to_json();
        if let Target::Token { id, .. } = &self.target {
            line.insert("sha256".to_owned(), hex(&id.0).into());
        }
        if let Some(issuer) = &self.issuer {
            line.insert("authority".to_owned(), issuer.authority.as_str().into());
        }
        line
    }
}

impl Change {
    /// For `state.dir`. One line for one change, so that none is ever read by half: a revocation, with the ids of those whose
    /// place it takes if there are any, or `{"lifted": id}`.
    pub(super) fn to_line(&self) -> String {
        let members = match self {
            Change::Added { revocation, instead_of } => {
                let mut line = revocation.members();
                if !instead_of.is_empty() {
                    let ids = instead_of.iter().map(|id| (**id).into()).collect();
                    line.insert(INSTEAD_OF.to_owned(), Value::Array(ids));
                }
                line
            }
            Change::Lifted(id) => Map::from_iter([(LIFTED.to_owned(), (**id).into())]),
        };
        Value::Object(members).to_string()
    }

    /// What `to_line` has written. A revocation alone is one that was added.
    pub(super) fn from_line(line: &[u8]) -> Option<Change> {
        let line = json::parse_object(line).ok()?;
        if let Some(id) = line.get(LIFTED) {
            return (line.len() == 1).then_some(Change::Lifted(id.as_str()?.into()));
        }
        let instead_of = match line.get(INSTEAD_OF) {
            None => Vec::new(),
            Some(ids) => ids.as_array()?.iter().map(|id| Some(id.as_str()?.into())).collect::<Option<_>>()?,
        };
        Some(Change::Added { revocation: read(&line)?.into(), instead_of })
    }
}

fn read(line: &Map<String, Value>) -> Option<Revocation> {
    let text = |name: &str| line.get(name).and_then(Value::as_str).map(str::to_owned);
    let moment = |name: &str| match line.get(name) {
        None => Some(None),
        Some(moment) => moment.as_i64().map(Some),
    };
    let target = target(line)?;
    let issuer = match (line.get("issuer"), line.get("authority")) {
        (None, None) => None,
        (Some(Value::String(written)), Some(Value::String(authority))) => {
            Some(OfIssuer { written: written.clone(), authority: authority.clone() })
        }
        _ => return None,
    };
    let source = Source::from_name(line.get("source")?.as_str()?)?;
    Some(Revocation {
        id: text("id")?.into(),
        target,
        issuer,
        issued_before: moment("issued_before")?,
        expires_at: moment("expires_at")?,
        created_at: moment("created_at")??,
        source,
    })
}

fn target(line: &Map<String, Value>) -> Option<Target> {
    let text = |name: &str| line.get(name).and_then(Value::as_str).map(str::to_owned);
    let without_sid = match line.get("without_sid") {
        None => false,
        Some(without) => without.as_bool()?,
    };
    let token = match text("token") {
        None => None,
        Some(shown) => {
            Some(Target::Token { id: TokenId(bytes(&text("sha256")?)?), fingerprint: Fingerprint(bytes(&shown)?) })
        }
    };
    let targets = [
        token,
        text("jti").map(Target::Jti),
        text("subject").map(Target::Subject),
        text("client").map(Target::Client),
        text("sid").map(Target::Sid),
        text("sub").map(|sub| Target::Sub { sub, without_sid }),
    ];
    let mut targets = targets.into_iter().flatten();
    match (targets.next(), targets.next()) {
        (Some(target), None) if without_sid == target.spares_sessions() => Some(target),
        _ => None,
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes<const N: usize>(hex: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    if hex.len() != 2 * N || !hex.is_ascii() {
        return None;
    }
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(hex.get(2 * index..2 * index + 2)?, 16).ok()?;
    }
    Some(bytes)
}
