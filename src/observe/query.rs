//! A query string as the log may show it: without the values of parameters that hold tokens.

use super::line::{Within, push_escaped};

/// Parameters whose values are secrets (RFC 6750, section 2.3; RFC 6749; RFC 7521; RFC 8693; OpenID Connect), as
/// `is_secret` compares them: lower-case, letters and digits alone.
const SECRET: [&str; 17] = [
    "accesstoken",
    "token",
    "idtoken",
    "idtokenhint",
    "refreshtoken",
    "subjecttoken",
    "actortoken",
    "authtoken",
    "apitoken",
    "bearertoken",
    "xapitoken",
    "assertion",
    "clientassertion",
    "clientsecret",
    "password",
    "authorization",
    "jwt",
];
const LONGEST: usize = 64;

/// How a JWT begins: base64url of `{"`.
const JWT: &str = "eyJ";

/// What stands for a value that is left out.
const LEFT_OUT: char = '…';

/// Adds the query to a line, escaped, without the values of token parameters. A parameter's name counts as some server
/// might read it: in any case, percent-encoded (more than once, too), with `.`, `-` or `[]` in it, after `;` as well as
/// after `&`. A value in which a JWT begins is left out under any name. No more than `budget` bytes are shown. `own`: the
/// names of this configuration's own token parameters, as `token_parameter` makes them.
pub(super) fn push_query(line: &mut String, query: &str, own: &[Box<str>], budget: usize, within: Within) {
    let begin = line.len();
    for (index, piece) in query.split('&').enumerate() {
        if index > 0 {
            line.push('&');
        }
        let left = budget.saturating_sub(line.len() - begin);
        let shown = harmless_prefix(piece, own);
        let cut = shown.get(..shown.floor_char_boundary(left)).unwrap_or_default();
        push_escaped(line, cut, within);
        if cut.len() < piece.len() {
            line.push(LEFT_OUT);
        }
        if cut.len() < shown.len() {
            return;
        }
    }
}

/// A piece between two `&`, up to where a secret begins. Servers that don't split at `;` take all that follows for the
/// value, so nothing after a secret's name is harmless.
fn harmless_prefix<'q>(piece: &'q str, own: &[Box<str>]) -> &'q str {
    let mut start = 0;
    for part in piece.split_inclusive(';') {
        let name_end = part.find(['=', ';']).unwrap_or(part.len());
        let (name, rest) = part.split_at(name_end);
        let shown = if name.starts_with(JWT) {
            start
        } else if is_secret(name, own) && rest.starts_with('=') || rest.contains(JWT) {
            start + name_end + 1
        } else if hides_secret(name, own) {
            start
        } else {
            start += part.len();
            continue;
        };
        return piece.get(..shown).unwrap_or_default();
    }
    piece
}

fn is_secret(name: &str, own: &[Box<str>]) -> bool {
    let Some((plain, length, _)) = plain_name(name) else { return false };
    let is_this = |secret: &str| plain.get(..length) == Some(secret.as_bytes());
    SECRET.into_iter().any(is_this) || own.iter().any(|secret| is_this(secret))
}

/// The name of a token parameter as names are compared here. Letters and digits of up to 64 characters count.
pub(crate) fn token_parameter(name: &str) -> Box<str> {
    name.chars().filter(char::is_ascii_alphanumeric).map(|char| char.to_ascii_lowercase()).collect()
}

/// Whether the name has an encoded delimiter in it that ends a secret's name: `access_token%3Dvalue`.
fn hides_secret(name: &str, own: &[Box<str>]) -> bool {
    name.contains('%') && is_secret(name, own) && plain_name(name).is_some_and(|(_, _, delimited)| delimited)
}

/// The name decoded, lower-case, letters and digits alone, up to a bracket or a delimiter; and whether there was a
/// delimiter. None: longer than any secret's name.
fn plain_name(name: &str) -> Option<([u8; LONGEST], usize, bool)> {
    let mut plain = [0; LONGEST];
    let mut length = 0;
    let mut rest = name.as_bytes();
    while let Some((octet, after)) = next_octet(rest) {
        rest = after;
        if matches!(octet, b'=' | b'&' | b';') {
            return Some((plain, length, true));
        }
        if octet == b'[' {
            break;
        }
        if octet.is_ascii_alphanumeric() {
            *plain.get_mut(length)? = octet.to_ascii_lowercase();
            length += 1;
        }
    }
    Some((plain, length, false))
}

/// The first octet, percent-decoded as often as it was encoded, and what follows it.
fn next_octet(bytes: &[u8]) -> Option<(u8, &[u8])> {
    let (&first, mut rest) = bytes.split_first()?;
    let mut octet = first;
    while octet == b'%' {
        let [high, low, after @ ..] = rest else { break };
        let (Some(high), Some(low)) = (char::from(*high).to_digit(16), char::from(*low).to_digit(16)) else {
            break;
        };
        // Two hex digits make an octet.
        octet = (high * 16 + low) as u8;
        rest = after;
    }
    Some((octet, rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(query: &str) -> String {
        let mut line = String::new();
        push_query(&mut line, query, &["mine2".into()], 8192, Within::Json);
        line
    }

    #[test]
    fn values_of_token_parameters_are_left_out() {
        for (query, expected) in [
            ("", ""),
            ("a=1&b=2", "a=1&b=2"),
            ("access_token=SECRET", "access_token=…"),
            ("a=1&access_token=SECRET&b=2", "a=1&access_token=…&b=2"),
            ("access_token=", "access_token="),
            ("access_token", "access_token"),
            ("ACCESS_TOKEN=SECRET", "ACCESS_TOKEN=…"),
            ("token=SECRET&id_token=SECRET&assertion=SECRET", "token=…&id_token=…&assertion=…"),
            ("client_secret=SECRET&client_assertion=SECRET", "client_secret=…&client_assertion=…"),
            ("%61ccess_token=SECRET", "%61ccess_token=…"),
            ("%61%63%63%65%73%73%5F%74%6f%6b%65%6e=SECRET", "%61%63%63%65%73%73%5F%74%6f%6b%65%6e=…"),
            ("%2561ccess_token=SECRET", "%2561ccess_token=…"),
            ("access%5ftoken=SECRET", "access%5ftoken=…"),
            ("access_token%3DSECRET", "…"),
            ("access_token[]=SECRET", "access_token[]=…"),
            ("access_token%5B0%5D=SECRET", "access_token%5B0%5D=…"),
            ("access.token=SECRET", "access.token=…"),
            ("+access_token=SECRET", "+access_token=…"),
            ("a=1;access_token=SECRET", "a=1;access_token=…"),
            ("access_token=SEC;RET=SECRET;x=RET", "access_token=…"),
            ("access_token=SECRET=SECRET", "access_token=…"),
            ("state=eyJhbGciOi.SECRET.SECRET", "state=…"),
            ("eyJhbGciOi.SECRET.SECRET", "…"),
            ("q=Bearer%20eyJhbGciOi.SECRET.SECRET&b=2", "q=…&b=2"),
            ("next=%2Fcb%3Faccess_token%3DeyJhbGciOi.SECRET.SECRET", "next=…"),
            ("next=/cb%23id=eyJhbGciOi.SECRET.SECRET", "next=…"),
            ("keyJson=1", "keyJson=1"),
            ("mine-2=SECRET&Mine%2D2=SECRET&mine_2[]=SECRET", "mine-2=…&Mine%2D2=…&mine_2[]=…"),
            ("mine=1&mine22=2&mine-2-=SECRET", "mine=1&mine22=2&mine-2-=…"),
            ("mytokens=3&tokenize=yes&page_token=7", "mytokens=3&tokenize=yes&page_token=7"),
            ("a=\"\n&b=\\", "a=\\\"\\n&b=\\\\"),
            ("&&=&%&%2=%zz", "&&=&%&%2=%zz"),
        ] {
            assert_eq!(shown(query), expected, "{query}");
        }
    }

    #[test]
    fn a_long_query_is_cut_and_a_long_token_is_gone() {
        let long = format!("a={}&b=2", "x".repeat(10_000));
        assert_eq!(shown(&long).len(), 8192 + LEFT_OUT.len_utf8());
        assert!(shown(&long).ends_with("x…"));
        let token = format!("access_token={}&b=2", "S".repeat(50_000));
        assert_eq!(shown(&token), "access_token=…&b=2");
    }

    #[test]
    fn every_secret_name_can_be_found() {
        for secret in SECRET {
            assert!(secret.len() <= LONGEST && is_secret(secret, &[]), "{secret}");
        }
    }

    /// A name with some characters in upper case and some percent-encoded.
    fn spelled(name: &'static str) -> impl Strategy<Value = String> {
        prop::collection::vec(0u8..5, name.len()).prop_map(move |ways| {
            let spell = |(char, way): (char, u8)| match way {
                0 => char.to_ascii_uppercase().to_string(),
                1 => format!("%{:02x}", u32::from(char)),
                2 => format!("%{:02X}", u32::from(char)),
                3 => format!("%25{:02x}", u32::from(char)),
                _ => char.to_string(),
            };
            name.chars().zip(ways).map(spell).collect()
        })
    }

    proptest! {
        #[test]
        fn no_spelling_shows_a_secret(
            name in prop::sample::select(vec!["access_token", "token", "id_token", "assertion", "client_secret"]).prop_flat_map(spelled),
            before in "([a-z]{0,5}=[a-z%;]{0,5}[&;]){0,3}",
            value in "[A-Z0-9;=._-]{0,10}SECRET[A-Z0-9;=._-]{0,10}",
            after in "(&[a-z]{0,5}=[a-z]{0,5}){0,3}",
        ) {
            let text = shown(&format!("{before}{name}={value}{after}"));
            prop_assert!(!text.contains("SECRET"), "{}", text);
            prop_assert!(text.ends_with(&after), "{}", text);
        }

        #[test]
        fn any_text_is_taken(query in any::<String>(), budget in 0usize..50) {
            let mut line = String::new();
            push_query(&mut line, &query, &[], budget, Within::Json);
            prop_assert!(!line.chars().any(char::is_control));
        }
    }
}
