//! Whom a notice is about: by the claims `sub` and `sid`, or by a subject identifier (RFC 9493; Shared Signals Framework 1.0,
//! section 3).

use serde_json::{Map, Value};

use super::NoticeFault;
use crate::token::revocation::Target;

/// Bytes of a name that is ended.
const LONGEST_NAME: usize = 1024;
const NO_NAME: NoticeFault = NoticeFault::Content("a name in it is empty, too long, or not a text");
const NOT_UNDERSTOOD: NoticeFault = NoticeFault::Content(
    "the subject is in a format that is not understood here: iss_sub, opaque, jwt_id, aliases and complex are",
);

/// A subject identifier, as far as it is understood.
#[derive(Debug, Default)]
pub(super) struct Subject {
    subs: Vec<String>,
    sids: Vec<String>,
    jtis: Vec<String>,
    /// A session is named beside its user.
    is_of_session: bool,
    is_anothers: bool,
}

/// What a part of a subject identifier stands for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    User,
    Session,
    /// It doesn't say.
    Either,
}

/// A claim that names something; None: it isn't there.
pub(super) fn name(object: &Map<String, Value>, member: &str) -> Result<Option<String>, NoticeFault> {
    match object.get(member) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(name)) if !name.is_empty() && name.len() <= LONGEST_NAME => Ok(Some(name.clone())),
        Some(_) => Err(NO_NAME),
    }
}

/// By `sid` and `sub` (OpenID Connect Back-Channel Logout 1.0, section 2.4). None: by neither.
pub(super) fn of_claims(claims: &Map<String, Value>) -> Result<Option<Vec<Target>>, NoticeFault> {
    let (sid, sub) = (name(claims, "sid")?, name(claims, "sub")?);
    if sid.is_none() && sub.is_none() {
        return Ok(None);
    }
    let is_of_session = sid.is_some();
    let subject = Subject { sids: Vec::from_iter(sid), subs: Vec::from_iter(sub), is_of_session, ..Subject::default() };
    Ok(Some(subject.targets(false)))
}

impl Subject {
    /// `issuer`: whose subjects are meant; those of others aren't this issuer's to end.
    pub(super) fn read(id: &Map<String, Value>, issuer: &str) -> Result<Subject, NoticeFault> {
        let mut subject = Subject::default();
        match format(id)? {
            Some("complex") => subject.add_complex(id, issuer)?,
            None if id.contains_key("user") || id.contains_key("session") => subject.add_complex(id, issuer)?,
            Some("aliases") => {
                let Some(Value::Array(aliases)) = id.get("identifiers") else { return Err(NO_NAME) };
                for alias in aliases {
                    let Value::Object(alias) = alias else { return Err(NO_NAME) };
                    subject.add(alias, Role::Either, issuer)?;
                }
            }
            _ => subject.add(id, Role::Either, issuer)?,
        }
        let is_understood =
            subject.is_anothers || !(subject.subs.is_empty() && subject.sids.is_empty() && subject.jtis.is_empty());
        if is_understood { Ok(subject) } else { Err(NOT_UNDERSTOOD) }
    }

    /// Whether another issuer's subject is named.
    pub(super) fn is_anothers(&self) -> bool {
        self.is_anothers
    }

    /// What has ended with it. Where a session is named beside its user, tokens of the user's that don't say of which session they
    /// are may be of that one. `whole`: not only the session.
    pub(super) fn targets(self, whole: bool) -> Vec<Target> {
        let without_sid = self.is_of_session && !whole;
        let sids = self.sids.into_iter().map(Target::Sid);
        let subs = self.subs.into_iter().map(|sub| Target::Sub { sub, without_sid });
        sids.chain(self.jtis.into_iter().map(Target::Jti)).chain(subs).collect()
    }

    /// Devices, groups and the like narrow it down; that isn't seen here, so that more is ended.
    fn add_complex(&mut self, id: &Map<String, Value>, issuer: &str) -> Result<(), NoticeFault> {
        for (member, role) in [("session", Role::Session), ("user", Role::User)] {
            match id.get(member) {
                None | Some(Value::Null) => {}
                Some(Value::Object(part)) => self.add(part, role, issuer)?,
                Some(_) => return Err(NO_NAME),
            }
        }
        self.is_of_session = !(self.sids.is_empty() && self.jtis.is_empty());
        Ok(())
    }

    fn add(&mut self, id: &Map<String, Value>, role: Role, issuer: &str) -> Result<(), NoticeFault> {
        let named = |member: &str| name(id, member)?.ok_or(NO_NAME);
        match (format(id)?, role) {
            (Some("iss_sub" | "iss-sub"), Role::User | Role::Either) => {
                let sub = named("sub")?;
                if named("iss")? == issuer { self.subs.push(sub) } else { self.is_anothers = true }
            }
            (Some("jwt_id" | "jwt-id"), Role::Session | Role::Either) => {
                let jti = named("jti")?;
                if named("iss")? == issuer { self.jtis.push(jti) } else { self.is_anothers = true }
            }
            (Some("opaque"), _) => {
                let opaque = named("id")?;
                if role != Role::Session {
                    self.subs.push(opaque.clone());
                }
                if role != Role::User {
                    self.sids.push(opaque);
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// Its name was another one in drafts, which some servers still speak.
fn format(id: &Map<String, Value>) -> Result<Option<&str>, NoticeFault> {
    match id.get("format").or_else(|| id.get("subject_type")) {
        None => Ok(None),
        Some(Value::String(format)) => Ok(Some(format)),
        Some(_) => Err(NO_NAME),
    }
}
