//! What becomes of a path on its way upstream, or in a redirect: a prefix goes, or the whole is written anew with the
//! route's parameters.

use super::{Params, PathTemplate, Segment};
use crate::{path::CanonicalPath, refusal::Refusal};

/// How a route changes the path of its requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathRewrite {
    /// `strip_prefix`: whole segments, in canonical form, that every path of the route begins with.
    Strip(String),
    /// `rewrite`.
    Write(Rewriting),
}

/// A path written anew out of what one of the route's paths matched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rewriting {
    /// For each path of the route what is written, the most specific path first, so that the first that fits is the one
    /// that matched.
    forms: Vec<(PathTemplate, Vec<Piece>)>,
    final_slash: bool,
}

/// A piece of a text that is made from a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    Text(String),
    /// Which of the path's parameters, as it is in the canonical path.
    Param(usize),
    /// What `/**` took, with the slash before it.
    Rest,
}

impl PathRewrite {
    /// A prefix to strip.
    ///
    /// # Errors
    /// What is wrong, in words for the configuration's author.
    pub fn strip(prefix: &str, paths: &[PathTemplate]) -> Result<PathRewrite, String> {
        let stripped = PathTemplate::parse(prefix)?;
        if stripped.takes_rest() || stripped.param_names().next().is_some() {
            return Err(format!("`{prefix}` is not a plain prefix: for paths with parameters there is `rewrite`"));
        }
        if stripped.segments().is_empty() {
            return Err("this prefix strips nothing: leave `strip_prefix` out".to_owned());
        }
        match paths.iter().find(|path| !path.segments().starts_with(stripped.segments())) {
            Some(path) => Err(format!("the route's path `{path}` does not begin with `{stripped}`")),
            None => Ok(PathRewrite::Strip(stripped.to_string())),
        }
    }

    /// A path to write, such as `/v2/{id}/**`.
    ///
    /// # Errors
    /// What is wrong, in words for the configuration's author.
    pub fn write(text: &str, paths: &[PathTemplate]) -> Result<PathRewrite, String> {
        let written = PathTemplate::parse(text)?;
        let forms = most_specific_first(paths).into_iter().map(|path| {
            let mut pieces = Vec::new();
            for segment in written.segments() {
                match segment {
                    Segment::Literal(literal) => pieces.push(Piece::Text(format!("/{literal}"))),
                    Segment::Param(name) => {
                        pieces.extend([Piece::Text("/".to_owned()), Piece::Param(parameter(path, name)?)]);
                    }
                }
            }
            if written.takes_rest() {
                pieces.push(rest_of(path)?);
            }
            Ok((path.clone(), pieces))
        });
        let final_slash = text.len() > 1 && text.ends_with('/');
        Ok(PathRewrite::Write(Rewriting { forms: forms.collect::<Result<_, String>>()?, final_slash }))
    }

    /// The path that goes upstream. Other servers may read it in no way that isn't the rewrite of a reading of the
    /// request's path, since those alone were decided.
    ///
    /// # Errors
    /// `Refusal::Path`: what would come of it begins with `//`, isn't canonical, or can be read otherwise.
    pub fn apply(&self, path: &CanonicalPath) -> Result<CanonicalPath, Refusal> {
        let rewritten = self.text(path.as_str()).ok_or(Refusal::Path("the path cannot be rewritten"))?;
        if rewritten.starts_with("//") {
            return Err(Refusal::Path("the rewritten path begins with two slashes"));
        }
        let canonical = CanonicalPath::parse(&rewritten)?;
        if canonical.as_str() != rewritten {
            return Err(Refusal::Path("the rewritten path is not canonical"));
        }
        for reading in canonical.readings() {
            let decided = |reading: &String| {
                path.readings().iter().flatten().any(|decided| self.text(decided).as_ref() == Some(reading))
            };
            if !reading.as_ref().is_ok_and(decided) {
                return Err(Refusal::Path("the rewritten path can be read in more than one way"));
            }
        }
        Ok(canonical)
    }

    /// None where the path isn't one of the route's.
    fn text(&self, path: &str) -> Option<String> {
        let text = match self {
            PathRewrite::Strip(prefix) => {
                let rest = path.strip_prefix(prefix.as_str())?;
                (rest.is_empty() || rest.starts_with('/')).then(|| rest.to_owned())?
            }
            PathRewrite::Write(rewriting) => rewriting.text(path)?,
        };
        Some(if text.is_empty() { "/".to_owned() } else { text })
    }
}

impl Rewriting {
    fn text(&self, path: &str) -> Option<String> {
        let (pieces, params, rest) = fitting(&self.forms, path)?;
        let mut text = String::with_capacity(path.len() + 16);
        for piece in pieces {
            text.push_str(match piece {
                Piece::Text(text) => text,
                Piece::Param(place) => path.get(params.get(*place)?.clone())?,
                Piece::Rest => path.get(rest..)?,
            });
        }
        if (self.final_slash || path.ends_with('/')) && !text.ends_with('/') {
            text.push('/');
        }
        Some(text)
    }
}

/// What belongs to the path that matched, with its parameters and where its rest begins.
pub(crate) fn fitting<'f, T>(forms: &'f [(PathTemplate, T)], path: &str) -> Option<(&'f T, Params, usize)> {
    forms.iter().find_map(|(template, form)| {
        let (params, rest) = template.params_in(path)?;
        Some((form, params, rest))
    })
}

/// Which parameter of the path has this name.
pub(crate) fn parameter(path: &PathTemplate, name: &str) -> Result<usize, String> {
    let found = path.param_names().position(|known| known == name);
    found.ok_or_else(|| format!("the route's path `{path}` has no parameter `{name}`"))
}

/// What `/**` took.
pub(crate) fn rest_of(path: &PathTemplate) -> Result<Piece, String> {
    if path.takes_rest() { Ok(Piece::Rest) } else { Err(format!("the route's path `{path}` has no `/**` at its end")) }
}

/// Segment by segment from the left: literal, `{x}`, `/**`. Of those that fit one path the first is the one that a
/// table of routes finds.
pub(crate) fn most_specific_first(paths: &[PathTemplate]) -> Vec<&PathTemplate> {
    let rank = |path: &&PathTemplate| {
        let segments = path.segments().iter().map(|segment| match segment {
            Segment::Literal(_) => 0_u8,
            Segment::Param(_) => 1,
        });
        segments.chain([if path.takes_rest() { 2 } else { 0 }]).collect::<Vec<_>>()
    };
    let mut sorted = paths.iter().collect::<Vec<_>>();
    sorted.sort_by_cached_key(rank);
    sorted
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn templates(paths: &str) -> Vec<PathTemplate> {
        paths.split(' ').map(|path| PathTemplate::parse(path).unwrap()).collect()
    }

    fn strip(prefix: &str, paths: &str) -> PathRewrite {
        PathRewrite::strip(prefix, &templates(paths)).unwrap()
    }

    fn write(text: &str, paths: &str) -> PathRewrite {
        PathRewrite::write(text, &templates(paths)).unwrap()
    }

    fn sent(rewrite: &PathRewrite, path: &str) -> Option<String> {
        let path = CanonicalPath::parse(path).unwrap();
        rewrite.apply(&path).ok().map(|path| path.as_str().to_owned())
    }

    #[test]
    fn a_prefix_goes() {
        let rest = strip("/rest/", "/rest/** /rest /rest/a/{x}");
        for (path, expected) in [
            ("/rest", Some("/")),
            ("/rest/", Some("/")),
            ("/rest/a", Some("/a")),
            ("/rest/a/", Some("/a/")),
            ("/rest/a//b", Some("/a//b")),
            ("/rest/a%2Bb/%C3%A9", Some("/a%2Bb/%C3%A9")),
            ("/rest/rest", Some("/rest")),
            ("/rest//evil.example", None),
            ("/restful/a", None),
            ("/other", None),
        ] {
            assert_eq!(sent(&rest, path).as_deref(), expected, "{path}");
        }
        let long = strip("/a/%62/c%20d", "/a/b/c%20d/**");
        assert_eq!(sent(&long, "/a/b/c%20d/e").as_deref(), Some("/e"));
    }

    #[test]
    fn a_path_is_written_anew() {
        let one = write("/v2/{id}", "/rest/{id}");
        for (path, expected) in [
            ("/rest/7", Some("/v2/7")),
            ("/rest/7/", Some("/v2/7/")),
            ("/rest/a%2Bb", Some("/v2/a%2Bb")),
            ("/rest/%C3%A9", Some("/v2/%C3%A9")),
            ("/rest/a;b", Some("/v2/a;b")),
            ("/rest/7/8", None),
            ("/rest", None),
        ] {
            assert_eq!(sent(&one, path).as_deref(), expected, "{path}");
        }
        let two = write("/{b}/x/{a}/", "/{a}/{b}/**");
        assert_eq!(sent(&two, "/1/2/3/4").as_deref(), Some("/2/x/1/"));
        let rest = write("/v2/**", "/rest/**");
        assert_eq!(sent(&rest, "/rest").as_deref(), Some("/v2"));
        assert_eq!(sent(&rest, "/rest/").as_deref(), Some("/v2/"));
        assert_eq!(sent(&rest, "/rest//a/b/").as_deref(), Some("/v2//a/b/"));
        assert_eq!(sent(&write("/", "/a/**"), "/a/b/c").as_deref(), Some("/"));
        assert_eq!(sent(&write("/**", "/a/**"), "/a").as_deref(), Some("/"));
        assert_eq!(sent(&write("/**", "/a/**"), "/a//evil.example"), None);
    }

    #[test]
    fn parameters_are_those_of_the_path_that_matched() {
        let rewrite = write("/v2/{id}", "/{id}/** /a/{id} /a/b/{id} /{x}/c/{id}");
        for (path, expected) in [
            ("/a/1", "/v2/1"),
            ("/a/b", "/v2/b"),
            ("/a/b/1", "/v2/1"),
            ("/x/c/1", "/v2/1"),
            ("/x/d/1", "/v2/x"),
            ("/a/c/1", "/v2/1"),
        ] {
            assert_eq!(sent(&rewrite, path).as_deref(), Some(expected), "{path}");
        }
    }

    /// Upstreams that strip parameters, merge slashes or decode twice find nothing that wasn't decided.
    #[test]
    fn what_can_be_read_otherwise_afterwards_is_refused() {
        let public = strip("/a", "/a/public/**");
        for (path, expected) in [
            ("/a/public/x;v=1/y", Some("/public/x;v=1/y")),
            ("/a/public/..;/public/x", Some("/public/..;/public/x")),
            // Read as `/a/public/x` before, and as `/a/public/x` after: out of `/public`.
            ("/a/public/..;/..;/a/public/x", None),
            ("/a/public/%252e%252e/%252e%252e/a/public/x", None),
        ] {
            assert_eq!(sent(&public, path).as_deref(), expected, "{path}");
        }
        let swapped = write("/{b}/{a}", "/{a}/{b}/**");
        assert_eq!(sent(&swapped, "/x/y;/..;/y/z").as_deref(), Some("/y;/x"));
        assert_eq!(sent(&swapped, "/x/..;/x/y"), None);
    }

    #[test]
    fn wrong_ones_are_refused_in_words() {
        for (prefix, part) in [
            ("rest", "does not begin with a slash"),
            ("/", "strips nothing"),
            ("/{x}", "there is `rewrite`"),
            ("/rest/**", "there is `rewrite`"),
            ("/res", "`/rest/{id}` does not begin with `/res`"),
            ("/rest/1", "`/rest/{id}` does not begin with `/rest/1`"),
            ("/rest/../x", "dot segment"),
        ] {
            let error = PathRewrite::strip(prefix, &templates("/rest/{id}")).unwrap_err();
            assert!(error.contains(part), "{prefix}: {error}");
        }
        for (text, part) in [
            ("v2", "does not begin with a slash"),
            ("//v2", "doubled slash"),
            ("/v2/{name}", "`/rest/{id}` has no parameter `name`"),
            ("/v2/**", "`/rest/{id}` has no `/**`"),
            ("/v2/{id}.json", "a whole segment"),
            ("/v2?x=1", "by its path alone"),
        ] {
            let error = PathRewrite::write(text, &templates("/rest/{id} /all/{id}/**")).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

        /// Whatever is asked for, what is sent stays below what was written, in every reading.
        #[test]
        fn no_parameter_leads_out(path in "/in(/[a.;%25eE/]{0,5}){1,4}") {
            let Ok(path) = CanonicalPath::parse(&path) else { return Ok(()) };
            if path.readings().iter().any(|reading| reading.as_ref().is_ok_and(|path| !path.starts_with("/in/")) || reading.is_err()) {
                return Ok(());
            }
            for rewrite in [write("/out/{a}", "/in/{a}"), write("/out/{a}/b/{b}/**", "/in/{a}/{b}/**")] {
                let Ok(sent) = rewrite.apply(&path) else { continue };
                for text in sent.readings().iter().flatten().map(String::as_str).chain([sent.as_str()]) {
                    prop_assert!(text.starts_with("/out/") && !text.contains("/../"), "{} -> {text}", path.as_str());
                }
            }
        }
    }
}
