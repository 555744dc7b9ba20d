//! `token_from` of a route.

use hyper::header::HeaderName;

use super::{
    Compiler,
    headers::{identity_names, is_taken},
};
use crate::{
    config::file::{Allow, ConfigFile, Route, TokenPlace as Written},
    identity::is_alias,
    token::place::{TokenPlace, TokenPlaces},
};

/// So long that the log still knows it.
const LONGEST_NAME: usize = 64;

impl Compiler<'_> {
    pub(super) fn token_places(&mut self, written: &Route, file: &ConfigFile) -> Option<TokenPlaces> {
        let Some(list) = &written.token_from else { return Some(TokenPlaces::default()) };
        if matches!(written.allow, Some(Allow::Public)) {
            let finding = list.at.warning("`allow: public` takes no token from anywhere");
            self.findings.push(finding.hint("leave `token_from` out"));
        }
        let places = list.places.iter().map(|place| self.token_place(place, file)).collect::<Vec<_>>();
        let places = places.into_iter().collect::<Option<Vec<_>>>().filter(|places| !places.is_empty())?;
        for (index, place) in places.iter().enumerate() {
            if places.iter().take(index).any(|other| are_same(other, place)) {
                return self.fail(list.at.error("a place is there twice"));
            }
        }
        match &written.allow {
            Some(Allow::Public) => Some(TokenPlaces::default()),
            _ => Some(TokenPlaces::new(places)),
        }
    }

    fn token_place(&mut self, written: &Written, file: &ConfigFile) -> Option<TokenPlace> {
        match written {
            Written::Authorization => Some(TokenPlace::Authorization),
            Written::Query(name) => {
                let is_good = name.value.len() <= LONGEST_NAME
                    && name.value.bytes().any(|byte| byte.is_ascii_alphanumeric())
                    && name.value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
                match is_good {
                    true => Some(TokenPlace::Query(name.value.clone())),
                    false => self.fail(
                        name.error(format!("{} is not the name of a query field", name.shown()))
                            .hint("up to 64 letters, digits, `-`, `.` and `_`: `{query: access_token}`"),
                    ),
                }
            }
            Written::Cookie(name) => match HeaderName::from_bytes(name.value.as_bytes()) {
                // A cookie's name is a token as a header's is (RFC 6265, section 4.1.1), but for its case.
                Ok(_) => Some(TokenPlace::Cookie(name.value.clone())),
                Err(_) => self.fail(name.error(format!("{} is not the name of a cookie", name.shown()))),
            },
            Written::Header(name) => match HeaderName::from_bytes(name.value.as_bytes()) {
                Err(_) => self.fail(name.error(format!("{} is not the name of a header", name.shown()))),
                Ok(_) if is_alias(&name.value, "authorization") => {
                    self.fail(name.error("`Authorization` is written without a name").hint("`token_from: [header]`"))
                }
                Ok(_)
                    if is_alias(&name.value, "cookie")
                        || is_taken(&name.value)
                        || identity_names(file).has(&name.value) =>
                {
                    self.fail(name.error(format!("{} has a meaning of its own", name.shown())).hint("`X-Api-Token`"))
                }
                Ok(header) => Some(TokenPlace::Header(header)),
            },
        }
    }
}

/// Whether both would be found in one field.
fn are_same(one: &TokenPlace, other: &TokenPlace) -> bool {
    match (one, other) {
        (TokenPlace::Header(one), TokenPlace::Header(other)) => is_alias(one.as_str(), other.as_str()),
        (TokenPlace::Query(one), TokenPlace::Query(other)) => one.eq_ignore_ascii_case(other),
        _ => one == other,
    }
}
