//! `cors` of a route.

use hyper::header::{HeaderName, HeaderValue};

use super::{Compiler, url::HttpUrl};
use crate::{
    config::{
        file::{Cors as Written, Route},
        reader::At,
    },
    cors::Cors,
    method::MethodSet,
};

impl Compiler<'_> {
    /// `taken` is what the route takes: the methods that are allowed where none are written. Outer None: an error was
    /// found.
    pub(super) fn cors(&mut self, route: &Route, taken: Option<&MethodSet>) -> Option<Option<Cors>> {
        let Some(written) = &route.cors else { return Some(None) };
        let credentials = written.credentials.as_ref().is_some_and(|at| at.value);
        if credentials {
            self.find_stars(written);
        }
        for name in route.headers.response.set.iter().map(|(name, _)| name) {
            if name.value.to_ascii_lowercase().starts_with("access-control-allow-") {
                self.findings.push(name.error(format!("{} is said by `cors`", name.shown())).hint("keep one of them"));
            }
        }
        let origins = self.origins(written.origins.as_deref()?);
        let methods = match &written.methods {
            None => taken.and_then(|taken| HeaderValue::try_from(taken.allow_header(false)).ok()),
            Some(list) => {
                let known = list.iter().map(|method| self.method(method)).collect::<Option<Vec<_>>>();
                known.and_then(|known| joined(known.iter().map(|method| method.as_str())))
            }
        };
        let headers = match &written.headers {
            None => None,
            Some(list) => Some(self.allowed_headers(list)?),
        };
        Some(Some(Cors::new(origins?, methods?, headers, credentials, written.max_age)))
    }

    fn find_stars(&mut self, written: &Written) {
        for at in [&written.origins, &written.methods, &written.headers].into_iter().flatten().flatten() {
            if at.value == "*" {
                let finding = at.error("`*` beside `credentials: true`: any page could act as the user");
                self.findings.push(finding.hint("write out what is meant"));
            }
        }
    }

    /// Inner None: any origin.
    fn origins(&mut self, written: &[At<String>]) -> Option<Option<Vec<HeaderValue>>> {
        if let Some(star) = written.iter().find(|origin| origin.value == "*") {
            if written.len() > 1 {
                return self.fail(star.error("`*` beside other origins: every origin is allowed then"));
            }
            return Some(None);
        }
        let origins = written.iter().map(|origin| self.origin(origin)).collect::<Vec<_>>();
        origins.into_iter().collect::<Option<Vec<_>>>().map(Some)
    }

    /// As browsers write it (RFC 6454, section 6.2): scheme and host in lower case, no default port, no path.
    fn origin(&mut self, written: &At<String>) -> Option<HeaderValue> {
        const FORM: &str = "an origin is a scheme and a host, perhaps a port: `https://app.example.com`";
        let text = &written.value;
        let fails = |c: &mut Self, hint: &str| {
            c.fail(written.error(format!("{} is not the origin of a page", written.shown())).hint(hint.to_owned()))
        };
        let Some((scheme, host)) = text.split_once("://") else { return fails(self, FORM) };
        if host.contains('*') {
            return fails(self, "write each origin out, or `*` alone for every one");
        }
        if host.contains('/') {
            return fails(self, "leave out the path and the slash at the end");
        }
        if text.chars().any(|character| character.is_ascii_uppercase()) {
            return fails(self, "browsers write it in lower case");
        }
        let good_scheme = scheme.starts_with(|first: char| first.is_ascii_lowercase())
            && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'));
        let good_host = !host.is_empty()
            && host
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':' | b'[' | b']'));
        if !good_scheme || !good_host || matches!(scheme, "http" | "https") && HttpUrl::parse(text).is_err() {
            return fails(self, FORM);
        }
        if scheme == "http" && host.ends_with(":80") || scheme == "https" && host.ends_with(":443") {
            return fails(self, "browsers leave out the scheme's own port");
        }
        HeaderValue::from_str(text).ok()
    }

    fn allowed_headers(&mut self, written: &[At<String>]) -> Option<HeaderValue> {
        let mut good = true;
        for name in written {
            if HeaderName::from_bytes(name.value.as_bytes()).is_err() {
                good = false;
                self.findings.push(name.error(format!("{} is not a header's name", name.shown())));
            }
        }
        joined(written.iter().map(|name| name.value.as_str())).filter(|_| good)
    }
}

fn joined<'t>(texts: impl Iterator<Item = &'t str>) -> Option<HeaderValue> {
    HeaderValue::try_from(texts.collect::<Vec<_>>().join(", ")).ok()
}
