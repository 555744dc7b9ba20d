//! Whether a token speaks for a user or for the client itself.

use std::hash::{Hash, Hasher};

use regex::{Regex, RegexBuilder};

/// Bytes that a compiled pattern may take.
const LARGEST_PATTERN: usize = 1 << 20;

/// Whose token it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenKind {
    /// A user's, whom the client acts for.
    User,
    /// The client's own.
    Client,
}

impl TokenKind {
    /// A client's own if the token is about nobody, about the client itself, or about a subject that `client_subjects`
    /// fits.
    pub(in crate::token) fn of(
        subject: Option<&str>,
        client: Option<&str>,
        client_subjects: Option<&SubjectPattern>,
    ) -> TokenKind {
        let Some(subject) = subject else { return TokenKind::Client };
        let is_client = client == Some(subject) || client_subjects.is_some_and(|pattern| pattern.fits(subject));
        if is_client { TokenKind::Client } else { TokenKind::User }
    }

    /// `user` or `client`, as rules write it.
    pub fn name(self) -> &'static str {
        match self {
            TokenKind::User => "user",
            TokenKind::Client => "client",
        }
    }
}

/// What the subjects of clients look like (`token_kind.client_if.subject_matches`): fits if it is found anywhere.
#[derive(Clone, Debug)]
pub struct SubjectPattern(Regex);

impl SubjectPattern {
    /// Compiles a pattern.
    ///
    /// # Errors
    /// What is wrong with it, in words for the configuration's author.
    pub fn parse(text: &str) -> Result<SubjectPattern, String> {
        let built = RegexBuilder::new(text).size_limit(LARGEST_PATTERN).build();
        built.map(SubjectPattern).map_err(|error| match error {
            regex::Error::CompiledTooBig(_) => "a pattern that takes too much memory".to_owned(),
            // Its last line says what; the others draw where.
            error => {
                let words = error.to_string();
                let last = words.lines().last().unwrap_or_default();
                format!("not a regular expression: {}", last.trim_start_matches("error: "))
            }
        })
    }

    fn fits(&self, subject: &str) -> bool {
        self.0.is_match(subject)
    }
}

impl PartialEq for SubjectPattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl Eq for SubjectPattern {}

impl Hash for SubjectPattern {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.as_str().hash(state);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use super::{TokenKind::*, *};

    #[test]
    fn users_and_clients() {
        let pattern = SubjectPattern::parse("^service-account-").unwrap();
        for (subject, client, without, with) in [
            (None, None, Client, Client),
            (None, Some("app"), Client, Client),
            (Some("app"), Some("app"), Client, Client),
            (Some("App"), Some("app"), User, User),
            (Some("joe"), Some("app"), User, User),
            (Some("joe"), None, User, User),
            (Some("service-account-app"), Some("app"), User, Client),
            (Some("service-account-app"), None, User, Client),
            (Some("my-service-account-app"), Some("app"), User, User),
        ] {
            assert_eq!(TokenKind::of(subject, client, None), without, "{subject:?} {client:?}");
            assert_eq!(TokenKind::of(subject, client, Some(&pattern)), with, "{subject:?} {client:?}");
        }
    }

    #[test]
    fn patterns_that_are_none() {
        for text in ["(", "[a", "(?=x)", r"\1", "*", "(a{1000}){1000}"] {
            assert!(SubjectPattern::parse(text).is_err(), "{text}");
        }
        let (one, same) = (SubjectPattern::parse("^a").unwrap(), SubjectPattern::parse("^a").unwrap());
        assert!(one == same && one != SubjectPattern::parse("a").unwrap());
    }
}
