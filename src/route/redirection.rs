//! Where a redirect leads: a URL or a path with the route's parameters in it.

use hyper::{Uri, header::HeaderValue};

use super::{
    PathTemplate,
    rewrite::{Piece, fitting, most_specific_first, parameter, rest_of},
};
use crate::{path::CanonicalPath, refusal::Refusal};

/// The value of `Location` (RFC 9110, section 10.2.2) for each path of a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirection {
    forms: Vec<(PathTemplate, Vec<Part>)>,
    written: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    /// In the path: as it stands in the canonical path, where it is one segment.
    Path(Piece),
    /// In the query or after it: with every character encoded that could end the value.
    Query(Piece),
}

impl Redirection {
    /// Reads `https://new.example/{id}?from={name}`, `/new/{id}` or `/new/**`.
    ///
    /// # Errors
    /// What is wrong, in words for the configuration's author.
    pub fn parse(to: &str, paths: &[PathTemplate]) -> Result<Redirection, String> {
        let path_at = path_begins(to)?;
        let (site, local) = to.split_at(path_at);
        if site.contains(['{', '}', '@']) {
            return Err(format!("`{site}`: a redirect's host is written out, without parameters, user and password"));
        }
        let path_ends = local.find(['?', '#']).unwrap_or(local.len());
        let (path, query) = local.split_at(path_ends);
        let forms = most_specific_first(paths).into_iter().map(|template| {
            let mut parts = vec![Part::Path(Piece::Text(site.to_owned()))];
            match path.strip_suffix("/**") {
                Some(before) => {
                    push_parts(&mut parts, before, Part::Path, template)?;
                    parts.push(Part::Path(rest_of(template)?));
                }
                None => push_parts(&mut parts, path, Part::Path, template)?,
            }
            push_parts(&mut parts, query, Part::Query, template)?;
            Ok((template.clone(), parts))
        });
        let forms = forms.collect::<Result<Vec<_>, String>>()?;
        check(to, forms.first().map(|(_, parts)| parts.as_slice()).unwrap_or_default())?;
        Ok(Redirection { forms, written: to.to_owned() })
    }

    /// As it was written.
    pub fn as_written(&self) -> &str {
        &self.written
    }

    /// Where a request of this path is sent.
    ///
    /// # Errors
    /// `Refusal::Path`: the path isn't the route's, or what comes of it could be taken for another host.
    pub fn location(&self, path: &CanonicalPath) -> Result<HeaderValue, Refusal> {
        let text = self.text(path.as_str()).ok_or(Refusal::Path("the path cannot be redirected"))?;
        if text.starts_with("//") {
            return Err(Refusal::Path("the redirect begins with two slashes"));
        }
        HeaderValue::try_from(text).map_err(|_| Refusal::Path("the path cannot be redirected"))
    }

    fn text(&self, path: &str) -> Option<String> {
        let (parts, params, rest) = fitting(&self.forms, path)?;
        let mut text = String::with_capacity(path.len() + 64);
        for part in parts {
            let (Part::Path(piece) | Part::Query(piece)) = part;
            match (part, piece) {
                (_, Piece::Text(written)) => text.push_str(written),
                (_, Piece::Rest) => text.push_str(path.get(rest..)?),
                (Part::Path(_), Piece::Param(place)) => text.push_str(path.get(params.get(*place)?.clone())?),
                (Part::Query(_), Piece::Param(place)) => {
                    push_encoded(&mut text, path.get(params.get(*place)?.clone())?)
                }
            }
        }
        Some(if text.is_empty() { "/".to_owned() } else { text })
    }
}

/// Where the path begins in what is written.
fn path_begins(to: &str) -> Result<usize, String> {
    if let Some(character) = to.chars().find(|character| {
        !matches!(character, '!'..='~') || matches!(character, '\\' | '"' | '<' | '>' | '`' | '^' | '|')
    }) {
        return Err(format!("a redirect can't hold `{}`: percent-encode it", character.escape_default()));
    }
    if to.starts_with('/') && !to.starts_with("//") {
        return Ok(0);
    }
    let rest = to.strip_prefix("https://").or_else(|| to.strip_prefix("http://"));
    let Some(rest) = rest.filter(|rest| !rest.starts_with(['/', '?', '#']) && !rest.is_empty()) else {
        return Err("a redirect leads to a path (`/new/{id}`) or to a URL (`https://new.example/{id}`)".to_owned());
    };
    Ok(to.len() - rest.len() + rest.find(['/', '?', '#']).unwrap_or(rest.len()))
}

fn push_parts(
    parts: &mut Vec<Part>,
    text: &str,
    kind: fn(Piece) -> Part,
    template: &PathTemplate,
) -> Result<(), String> {
    const BRACES: &str = "braces hold the name of one of the path's parameters, like `{id}`";
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        let (name, after) = after.split_once('}').ok_or(BRACES)?;
        if before.contains('}') {
            return Err(BRACES.to_owned());
        }
        parts.extend([kind(Piece::Text(before.to_owned())), kind(Piece::Param(parameter(template, name)?))]);
        rest = after;
    }
    if rest.contains('}') {
        return Err(BRACES.to_owned());
    }
    parts.push(kind(Piece::Text(rest.to_owned())));
    Ok(())
}

/// With something in the place of parameters it is a URL or a path.
fn check(to: &str, parts: &[Part]) -> Result<(), String> {
    let mut sample = String::new();
    for Part::Path(piece) | Part::Query(piece) in parts {
        sample.push_str(match piece {
            Piece::Text(text) => text,
            Piece::Param(_) => "x",
            Piece::Rest => "/x",
        });
    }
    let without_fragment = sample.split('#').next().unwrap_or_default();
    let good_port = |uri: &Uri| {
        uri.authority().is_none_or(|site| site.as_str() == site.host() || site.port_u16().is_some_and(|port| port > 0))
    };
    match without_fragment.parse::<Uri>() {
        Ok(uri) if good_port(&uri) => Ok(()),
        _ => Err(format!("`{to}` is neither a URL nor a path")),
    }
}

/// A segment as a value in a query: what RFC 3986, section 2.3 calls unreserved stays, and what is encoded.
fn push_encoded(text: &mut String, segment: &str) {
    for octet in segment.bytes() {
        match octet {
            b'-' | b'.' | b'_' | b'~' | b'%' => text.push(char::from(octet)),
            _ if octet.is_ascii_alphanumeric() => text.push(char::from(octet)),
            _ => {
                text.push('%');
                text.extend(
                    [octet >> 4, octet & 0xf]
                        .iter()
                        .filter_map(|digit| char::from_digit(u32::from(*digit), 16))
                        .map(|digit| digit.to_ascii_uppercase()),
                );
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn templates(paths: &str) -> Vec<PathTemplate> {
        paths.split(' ').map(|path| PathTemplate::parse(path).unwrap()).collect()
    }

    fn location(to: &str, paths: &str, path: &str) -> Option<String> {
        let redirection = Redirection::parse(to, &templates(paths)).unwrap();
        let location = redirection.location(&CanonicalPath::parse(path).unwrap()).ok()?;
        Some(location.to_str().unwrap().to_owned())
    }

    #[test]
    fn parameters_are_inserted_and_escaped() {
        for (to, paths, path, expected) in [
            ("/new", "/old", "/old", "/new"),
            ("/new/{id}", "/old/{id}", "/old/a%20b%2Bc", "/new/a%20b%2Bc"),
            ("/new/{id}.html", "/old/{id}", "/old/a;b=c", "/new/a;b=c.html"),
            ("https://new.example/{b}/{a}", "/{a}/{b}", "/1/2", "https://new.example/2/1"),
            ("https://new.example", "/**", "/1/2", "https://new.example"),
            ("https://new.example:8443?x={a}#{a}", "/{a}", "/1&y=2", "https://new.example:8443?x=1%26y%3D2#1%26y%3D2"),
            ("/?q={a}&r=1", "/{a}", "/%C3%A9'+@", "/?q=%C3%A9%27%2B%40&r=1"),
            ("/new/**", "/old/**", "/old/a//b/", "/new/a//b/"),
            ("/new/**?x", "/old/**", "/old", "/new?x"),
            ("https://new.example/**", "/old/**", "/old//evil.example", "https://new.example//evil.example"),
            ("/**", "/old/**", "/old", "/"),
            ("/{id}", "/a/{id} /{id}/b", "/x/b", "/x"),
            ("/{id}", "/a/{id} /{id}/b", "/a/b", "/b"),
        ] {
            assert_eq!(location(to, paths, path).as_deref(), Some(expected), "{to} {path}");
        }
    }

    #[test]
    fn no_path_leads_to_another_host() {
        for path in ["/old//evil.example", "/old///evil.example", "/old//evil.example/%5e.."] {
            assert_eq!(location("/**", "/old/**", path), None, "{path}");
        }
        assert_eq!(location("/{x}", "/old/{x}", "/old/evil.example").as_deref(), Some("/evil.example"));
    }

    #[test]
    fn wrong_ones_are_refused_in_words() {
        for (to, part) in [
            ("", "leads to a path"),
            ("new", "leads to a path"),
            ("//evil.example", "leads to a path"),
            ("ftp://h/", "leads to a path"),
            ("javascript:alert(1)", "leads to a path"),
            ("https://", "leads to a path"),
            ("https:///x", "leads to a path"),
            ("https://{id}/x", "is written out"),
            ("https://{id}.example/x", "is written out"),
            ("https://u:p@h/x", "is written out"),
            ("https://h:port/", "neither a URL nor a path"),
            ("/a b", "percent-encode"),
            ("/a\r\nX: y", "percent-encode"),
            ("/\\evil.example", "percent-encode"),
            ("/\u{e9}", "percent-encode"),
            ("/{name}", "no parameter `name`"),
            ("/{id", "braces hold"),
            ("/id}", "braces hold"),
            ("/}{id}", "braces hold"),
            ("/new/**", "no `/**`"),
        ] {
            let error = Redirection::parse(to, &templates("/old/{id}")).unwrap_err();
            assert!(error.contains(part), "{to:?}: {error}");
        }
    }
}
