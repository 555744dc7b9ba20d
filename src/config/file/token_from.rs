//! `token_from` of a route.

use crate::config::reader::{At, Field, Reader};

const HINT: &str = "`header`, `{query: access_token}`, `{cookie: name}` or `{header: X-Api-Token}`";

#[derive(Debug)]
pub(in crate::config) struct TokenFrom {
    pub(in crate::config) at: At<()>,
    /// Empty: something in it was wrong.
    pub(in crate::config) places: Vec<TokenPlace>,
}

#[derive(Debug)]
pub(in crate::config) enum TokenPlace {
    Authorization,
    Query(At<String>),
    Cookie(At<String>),
    Header(At<String>),
}

/// One place, or a list of them.
pub(super) fn token_from(field: &Field<'_>, r: &mut Reader<'_>) -> TokenFrom {
    let items = r.one_or_more(field).unwrap_or_default();
    if field.is_list() && items.is_empty() {
        r.findings.push(field.at(()).error("an empty list").hint(HINT));
    }
    let wanted = items.len();
    let places = items.iter().filter_map(|item| token_place(item, r)).collect::<Vec<_>>();
    TokenFrom { at: field.at_key(()), places: if places.len() == wanted { places } else { Vec::new() } }
}

fn token_place(item: &Field<'_>, r: &mut Reader<'_>) -> Option<TokenPlace> {
    if item.is_text() {
        if !item.is("header") {
            r.findings.push(item.at(()).error("this is no place where a token can be").hint(HINT));
            return None;
        }
        return Some(TokenPlace::Authorization);
    }
    let fields = r.fields(item)?;
    let mut text = |key| r.field(&fields, key).and_then(|field| r.text(&field));
    let places = [
        text("query").map(TokenPlace::Query),
        text("cookie").map(TokenPlace::Cookie),
        text("header").map(TokenPlace::Header),
    ];
    let written = ["query", "cookie", "header"].iter().filter(|key| fields.has(key)).count();
    if written != 1 {
        r.findings.push(item.at(()).error("one place has one key").hint(HINT));
        return None;
    }
    places.into_iter().flatten().next()
}
