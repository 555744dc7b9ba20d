//! `identity`, at the top and on a route.

use crate::config::reader::{At, Field, Fields, Reader};

#[derive(Debug, Default)]
pub(in crate::config) struct Identity {
    pub(in crate::config) headers: Option<Vec<(At<String>, IdentityValue)>>,
    /// Whether the token goes on.
    pub(in crate::config) authorization: Option<bool>,
}

#[derive(Debug)]
pub(in crate::config) enum IdentityValue {
    Source(At<String>),
    Literal(At<String>),
}

pub(super) fn identity(fields: &Fields<'_>, r: &mut Reader<'_>) -> Identity {
    let authorization = r.field(fields, "authorization");
    Identity {
        headers: r.field(fields, "headers").map(|field| identity_headers(&field, r)),
        authorization: authorization.and_then(|field| r.word(&field, &[("forward", true), ("remove", false)])),
    }
}

fn identity_headers(field: &Field<'_>, r: &mut Reader<'_>) -> Vec<(At<String>, IdentityValue)> {
    let mut headers = Vec::new();
    for (name, field) in r.named(field) {
        let value = if field.is_text() {
            r.text(&field).map(IdentityValue::Source)
        } else {
            let literal =
                r.fields(&field).and_then(|fields| r.required(&fields, "value", "a literal: `{value: production}`"));
            literal.and_then(|field| r.text(&field)).map(IdentityValue::Literal)
        };
        headers.extend(value.map(|value| (name, value)));
    }
    headers
}
