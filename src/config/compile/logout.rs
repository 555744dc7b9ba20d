//! `issuers.*.logout`

use super::{Compiler, issuers::Traffic};
use crate::config::file::Issuer;

impl Compiler<'_> {
    /// What it tells of sessions is found by its name here, and believed by its own name.
    pub(super) fn check_logout(&mut self, issuer: &Issuer, takes_jwts: bool, allow_http: bool) -> Option<()> {
        if !issuer.logout.is_wanted() {
            return Some(());
        }
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        let name = &issuer.name;
        if !name.value.bytes().all(is_plain) || matches!(&*name.value, "." | "..") {
            let finding = name.error("with `logout`, the issuer's name here is part of a path");
            return self.fail(finding.hint("name it in letters, digits and `-._~`"));
        }
        match &issuer.issuer {
            None => self.fail(name.error("`logout` needs `issuer`: what its messages have in `iss`, to the letter")),
            Some(url) if !takes_jwts => self.endpoint_url(url, allow_http, &Traffic::KEYS).map(|_| ()),
            Some(_) => Some(()),
        }
    }
}
