//! Paths of a document as paths of routes.

use super::notes::listed;
use crate::{path::decode_reserved, route::PathTemplate};

/// A path that a route can have.
#[derive(Clone, Debug)]
pub(super) struct Template {
    segments: Vec<Segment>,
    /// What was made of it.
    pub(super) notes: Vec<String>,
}

#[derive(Clone, Debug)]
enum Segment {
    Literal(String),
    Param(String),
}

/// What a parameter's value must look like: a regular expression, and which parameter it is.
pub(super) type Pattern = (usize, String);

impl Template {
    /// Reads a path with its server's base path before it. The patterns are what of it only a rule can say.
    ///
    /// # Errors
    /// Why no route can have it, in words.
    pub(super) fn read(path: &str) -> Result<(Template, Vec<Pattern>), String> {
        if path.contains(['?', '#']) {
            return Err("a route is chosen by its path, without a query or a fragment".to_owned());
        }
        let mut template = Template { segments: Vec::new(), notes: Vec::new() };
        let (mut names, mut patterns) = (Vec::new(), Vec::new());
        let written = path.strip_prefix('/').unwrap_or(path);
        let written = written.strip_suffix('/').unwrap_or(written);
        for segment in written.split('/').filter(|_| !written.is_empty()) {
            let segment = decode_reserved(segment).unwrap_or_else(|| segment.to_owned());
            if !segment.contains(['{', '}', '*']) {
                template.segments.push(Segment::Literal(encoded(&segment)));
                continue;
            }
            let pieces = pieces(&segment)?;
            let name = match &*pieces {
                [Piece::Param(name)] => template.named(name, &names),
                _ => {
                    let (name, pattern) = pattern(&pieces, &segment)?;
                    patterns.push((names.len(), pattern));
                    template.named(&name, &names)
                }
            };
            names.push(name.clone());
            template.segments.push(Segment::Param(name));
        }
        PathTemplate::parse(&template.to_string())?;
        Ok((template, patterns))
    }

    /// A name that a route's parameter can have, and none before it has.
    fn named(&mut self, written: &str, before: &[String]) -> String {
        let begins = |character: char| character.is_ascii_alphabetic() || character == '_';
        let goes_on = |character: char| character.is_ascii_alphanumeric() || matches!(character, '_' | '-');
        let mut name = written.chars().map(|c| if goes_on(c) { c } else { '_' }).collect::<String>();
        if !name.starts_with(begins) {
            name.insert(0, '_');
        }
        let legal = name.clone();
        let mut number = 1;
        while before.contains(&name) {
            number += 1;
            name = format!("{legal}_{number}");
        }
        if name != written {
            self.notes.push(format!("the parameter `{{{written}}}` is called `{{{name}}}` here"));
            if written.contains(['+', '*']) {
                self.notes.push(format!("`{{{name}}}` is one segment; if any rest of a path is meant, write `/**`"));
            }
        }
        name
    }

    /// The parameter of this place.
    pub(super) fn param(&self, place: usize) -> &str {
        let mut params = self.segments.iter().filter_map(|segment| match segment {
            Segment::Param(name) => Some(name.as_str()),
            Segment::Literal(_) => None,
        });
        params.nth(place).unwrap_or_default()
    }

    /// Itself without its parameters' names: paths of the same shape take the same requests.
    pub(super) fn shape(&self) -> String {
        let segments = self.segments.iter().map(|segment| match segment {
            Segment::Literal(literal) => format!("/{literal}"),
            Segment::Param(_) => "/{}".to_owned(),
        });
        segments.collect()
    }
}

impl std::fmt::Display for Template {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for segment in &self.segments {
            match segment {
                Segment::Literal(literal) => write!(f, "/{literal}")?,
                Segment::Param(name) => write!(f, "/{{{name}}}")?,
            }
        }
        if self.segments.is_empty() { f.write_str("/") } else { Ok(()) }
    }
}

enum Piece {
    Literal(String),
    Param(String),
}

fn pieces(segment: &str) -> Result<Vec<Piece>, String> {
    let unbalanced = || format!("`{segment}` has a brace without its other");
    let (mut pieces, mut rest) = (Vec::new(), segment);
    while let Some((before, after)) = rest.split_once('{') {
        let (name, after) = after.split_once('}').ok_or_else(unbalanced)?;
        if before.contains('}') || name.contains('{') {
            return Err(unbalanced());
        }
        if !before.is_empty() {
            pieces.push(Piece::Literal(before.to_owned()));
        }
        pieces.push(Piece::Param(name.to_owned()));
        rest = after;
    }
    match rest {
        rest if rest.contains('}') => return Err(unbalanced()),
        "" => {}
        rest => pieces.push(Piece::Literal(rest.to_owned())),
    }
    Ok(pieces)
}

/// A name for the whole segment, and what its value, which rules see decoded, must look like.
fn pattern(pieces: &[Piece], segment: &str) -> Result<(String, String), String> {
    let (mut names, mut pattern) = (Vec::new(), "^".to_owned());
    for piece in pieces {
        match piece {
            Piece::Literal(literal) if literal.bytes().all(is_plain) => pattern += &regex::escape(literal),
            Piece::Literal(literal) => {
                return Err(format!("{} in `{segment}` can't be told from its encoded form", listed(&[literal])));
            }
            Piece::Param(name) => {
                names.push(name.as_str());
                pattern += ".+";
            }
        }
    }
    let name = if names.is_empty() { "segment".to_owned() } else { names.join("_") };
    Ok((name, pattern + "$"))
}

/// What stands for itself in a segment (RFC 3986, section 3.3), and has no other meaning to who reads one.
fn is_plain(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || b"-._~!$&'()*+,=:@".contains(&octet)
}

/// A literal as a request has it.
fn encoded(segment: &str) -> String {
    let mut text = String::with_capacity(segment.len());
    for octet in segment.bytes() {
        match octet {
            b' ' | b'"' | b'<' | b'>' | b'`' | 0x80.. => text += &format!("%{octet:02X}"),
            octet => text.push(char::from(octet)),
        }
    }
    text
}
