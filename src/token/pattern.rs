//! Patterns of the configuration: linear in time, whatever is in them.

use std::hash::{Hash, Hasher};

use regex::{Regex, RegexBuilder};

/// Bytes that a compiled pattern may take.
const LARGEST_PATTERN: usize = 1 << 20;

/// Fits a text if it is found anywhere in it.
#[derive(Clone, Debug)]
pub struct Pattern(Regex);

impl Pattern {
    /// Compiles a pattern.
    ///
    /// # Errors
    /// What is wrong with it, in words for the configuration's author.
    pub fn parse(text: &str) -> Result<Pattern, String> {
        let built = RegexBuilder::new(text).size_limit(LARGEST_PATTERN).build();
        built.map(Pattern).map_err(|error| match error {
            regex::Error::CompiledTooBig(_) => "a pattern that takes too much memory".to_owned(),
            // Its last line says what; the others draw where.
            error => {
                let words = error.to_string();
                let last = words.lines().last().unwrap_or_default();
                format!("not a regular expression: {}", last.trim_start_matches("error: "))
            }
        })
    }

    pub(in crate::token) fn fits(&self, text: &str) -> bool {
        self.0.is_match(text)
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl Eq for Pattern {}

impl Hash for Pattern {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.as_str().hash(state);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn patterns_that_are_none() {
        for text in ["(", "[a", "(?=x)", r"\1", "*", "(a{1000}){1000}"] {
            assert!(Pattern::parse(text).is_err(), "{text}");
        }
        let (one, same) = (Pattern::parse("^a").unwrap(), Pattern::parse("^a").unwrap());
        assert!(one == same && one != Pattern::parse("a").unwrap());
    }
}
