//! Whether a token speaks for a user or for the client itself.

use super::pattern::Pattern;

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
        client_subjects: Option<&Pattern>,
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

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use super::{TokenKind::*, *};

    #[test]
    fn users_and_clients() {
        let pattern = Pattern::parse("^service-account-").unwrap();
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
}
