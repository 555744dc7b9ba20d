//! A request's target as it may be shown: without the values of parameters that hold tokens, and without JWTs.

use std::borrow::Cow;

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

/// The shortest header of a JWT, `{"alg":""}`, in base64url. A file's name that ends in `keyJson.txt` is none.
const SHORTEST_HEADER: usize = 14;

/// Names of token parameters besides, as `token_parameter` makes them: of the configuration in force and of its shadow.
pub(crate) type Own<'o> = [&'o [Box<str>]; 2];
const NONE: Own<'static> = [&[], &[]];

/// What stands for a value that is left out.
const LEFT_OUT: char = '…';

/// Adds the query to a line, escaped, without the values of token parameters. A parameter's name counts as some server
/// might read it: in any case, percent-encoded (more than once, too), with `.`, `-` or `[]` in it, after `;` as well as
/// after `&`. A value in which a JWT begins is left out under any name, and so is one that has a token parameter in it
/// (`next=/cb?access_token=…`). No more than `budget` bytes are shown.
pub(super) fn push_query(line: &mut String, query: &str, own: Own<'_>, budget: usize, within: Within) {
    push_pieces(line, query.split('&').map(|piece| (piece, harmless_prefix(piece, own))), '&', budget, within);
}

/// Adds a path to a line, escaped. JWTs and the values of token parameters (`/x;access_token=…`) are left out, up to the
/// end of their segment. No more than `budget` bytes are shown.
pub(super) fn push_path(line: &mut String, path: &str, own: Own<'_>, budget: usize, within: Within) {
    if may_hide(path) {
        let pieces = path.split('/').map(|segment| (segment, harmless_segment(segment, own)));
        push_pieces(line, pieces, '/', budget, within);
    } else {
        push_pieces(line, [(path, path)].into_iter(), '/', budget, within);
    }
}

/// The same as a text of its own, where something is left out.
pub(crate) fn path_without_tokens(path: &str) -> Cow<'_, str> {
    if !may_hide(path) || path.split('/').all(|segment| harmless_segment(segment, NONE).len() == segment.len()) {
        return path.into();
    }
    let mut shown = String::new();
    push_path(&mut shown, path, NONE, usize::MAX, Within::Message);
    shown.into()
}

/// Pieces, each with what is shown of it.
fn push_pieces<'q>(
    line: &mut String,
    pieces: impl Iterator<Item = (&'q str, &'q str)>,
    between: char,
    budget: usize,
    within: Within,
) {
    let begin = line.len();
    for (index, (piece, shown)) in pieces.enumerate() {
        if index > 0 {
            line.push(between);
        }
        let left = budget.saturating_sub(line.len() - begin);
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

/// Whether there may be a secret in a path: a quick look.
fn may_hide(path: &str) -> bool {
    path.bytes().any(|byte| matches!(byte, b'%' | b'=')) || path.contains(JWT)
}

/// A segment of a path, up to where a secret begins.
fn harmless_segment<'s>(segment: &'s str, own: Own<'_>) -> &'s str {
    let before = segment.get(..whole_jwt_at(segment).unwrap_or(segment.len())).unwrap_or_default();
    if before.contains(['=', '%']) { harmless_prefix(before, own) } else { before }
}

/// A piece between two `&`, up to where a secret begins. Servers that don't split at `;` take all that follows for the
/// value, so nothing after a secret's name is harmless.
fn harmless_prefix<'q>(piece: &'q str, own: Own<'_>) -> &'q str {
    let mut start = 0;
    for part in piece.split_inclusive(';') {
        let name_end = part.find(['=', ';']).unwrap_or(part.len());
        let (name, rest) = part.split_at(name_end);
        let shown = if jwt_at(name) == Some(0) || whole_jwt_at(name).is_some() {
            start
        } else if is_secret(name, own) && rest.starts_with('=') || jwt_at(rest).is_some() {
            start + name_end + 1
        } else if hides_secret(name, own) {
            start
        } else if let Some(value_at) = inner_secret_at(part, own) {
            if value_at > name_end { start + name_end + 1 } else { start }
        } else {
            start += part.len();
            continue;
        };
        return piece.get(..shown).unwrap_or_default();
    }
    piece
}

/// Where a JWT begins, whatever of it is percent-encoded.
fn jwt_at(text: &str) -> Option<usize> {
    scan_for_jwt(text, |_, _| true)
}

/// The same of one whose header ends within the text: nothing else looks so by chance.
fn whole_jwt_at(text: &str) -> Option<usize> {
    scan_for_jwt(text, |octet, length| octet == b'.' && length >= SHORTEST_HEADER)
}

/// Where the first text begins that begins as a JWT and goes on, in base64url, up to an octet that `ends` it: with the
/// octet, and how many came before it.
fn scan_for_jwt(text: &str, ends: impl Fn(u8, usize) -> bool) -> Option<usize> {
    if !text.contains('%') && !text.contains(JWT) {
        return None;
    }
    let mut rest = text.as_bytes();
    // Where the header may have begun, and how much of it there is.
    let (mut begin, mut length) = (0, 0);
    while let Some((octet, after)) = next_octet(rest) {
        if length >= JWT.len() && ends(octet, length) {
            return Some(begin);
        }
        let goes_on = match JWT.as_bytes().get(length) {
            Some(next) => octet == *next,
            None => octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_'),
        };
        if goes_on && length > 0 {
            length += 1;
        } else if JWT.as_bytes().first() == Some(&octet) {
            (begin, length) = (text.len() - rest.len(), 1);
        } else {
            length = 0;
        }
        rest = after;
    }
    None
}

/// Where the value of a token parameter begins that stands within another one's value, or after an encoded delimiter.
fn inner_secret_at(part: &str, own: Own<'_>) -> Option<usize> {
    if !part.contains('%') && part.matches('=').nth(1).is_none() && !part.contains(['/', '?']) {
        return None;
    }
    let mut rest = part.as_bytes();
    let (mut name, mut length, mut is_over) = ([0; LONGEST], 0, false);
    while let Some((octet, after)) = next_octet(rest) {
        rest = after;
        match octet {
            b'=' if name.get(..length).is_some_and(|name| is_among(name, own)) => return Some(part.len() - rest.len()),
            b'=' | b'&' | b';' | b'?' | b'#' | b'/' => (length, is_over) = (0, false),
            b'[' => is_over = true,
            octet if octet.is_ascii_alphanumeric() && !is_over => {
                // A longer name than there is room for is none of them.
                if let Some(place) = name.get_mut(length) {
                    *place = octet.to_ascii_lowercase();
                }
                length += 1;
            }
            _ => {}
        }
    }
    None
}

fn is_secret(name: &str, own: Own<'_>) -> bool {
    plain_name(name).is_some_and(|(plain, length, _)| plain.get(..length).is_some_and(|name| is_among(name, own)))
}

fn is_among(plain: &[u8], own: Own<'_>) -> bool {
    SECRET.iter().any(|secret| secret.as_bytes() == plain)
        || own.into_iter().flatten().any(|secret| secret.as_bytes() == plain)
}

/// The name of a token parameter as names are compared here. Letters and digits of up to 64 characters count.
pub(crate) fn token_parameter(name: &str) -> Box<str> {
    name.chars().filter(char::is_ascii_alphanumeric).map(|char| char.to_ascii_lowercase()).collect()
}

/// Whether the name has an encoded delimiter in it that ends a secret's name: `access_token%3Dvalue`.
fn hides_secret(name: &str, own: Own<'_>) -> bool {
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
        push_query(&mut line, query, [&["yours".into()], &["mine2".into()]], 8192, Within::Json);
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
            ("yours=SECRET&Your-s=SECRET", "yours=…&Your-s=…"),
            ("mine=1&mine22=2&mine-2-=SECRET", "mine=1&mine22=2&mine-2-=…"),
            ("a=%65yJhbGciOi.SECRET.SECRET&b=2", "a=…&b=2"),
            ("a=%2565%2579%254AhbGciOi.SECRET.SECRET", "a=…"),
            ("a%3DeyJhbGciOiJIUzI1NiJ9.SECRET.SECRET", "…"),
            ("next=/cb?access_token=SECRET&b=2", "next=…&b=2"),
            ("next=%2Fcb%3Faccess_token%3DSECRET", "next=…"),
            ("next=%252Fcb%253Fa%253D1%2526access_token%253DSECRET", "next=…"),
            ("next=/cb%23id_token=SECRET", "next=…"),
            ("a=1%26access_token=SECRET", "a=…"),
            ("a%26access_token=SECRET", "a%26access_token=…"),
            ("a%26access_token%3DSECRET=1", "…"),
            ("next=/cb?mine_2[]=SECRET", "next=…"),
            ("next=/token?page=2", "next=/token?page=2"),
            ("q=a%20=%20b&t=1%2B1", "q=a%20=%20b&t=1%2B1"),
            ("mytokens=3&tokenize=yes&page_token=7", "mytokens=3&tokenize=yes&page_token=7"),
            ("a=\"\n&b=\\", "a=\\\"\\n&b=\\\\"),
            ("&&=&%&%2=%zz", "&&=&%&%2=%zz"),
        ] {
            assert_eq!(shown(query), expected, "{query}");
        }
    }

    fn shown_path(path: &str) -> String {
        let mut line = String::new();
        push_path(&mut line, path, [&["yours".into()], &["mine2".into()]], 8192, Within::Json);
        line
    }

    #[test]
    fn no_token_is_in_a_path() {
        const TOKEN: &str = "eyJhbGciOiJIUzI1NiJ9.SECRET.SECRET-_";
        for (path, expected) in [
            ("", ""),
            ("/", "/"),
            ("/a/b.c", "/a/b.c"),
            ("/a/TOKEN", "/a/…"),
            ("/a/TOKEN/7", "/a/…/7"),
            ("/TOKEN/TOKEN", "/…/…"),
            ("/a/x-TOKEN.json", "/a/x-…"),
            ("/a/xTOKEN", "/a/x…"),
            ("/a/%65TAIL", "/a/…"),
            ("/a/%2565TAIL", "/a/…"),
            ("/a/b%2FTOKEN%2Fc/7", "/a/b%2F…/7"),
            ("/x;access_token=TOKEN/7", "/x;access_token=…/7"),
            ("/x;access_token=SECRET/7", "/x;access_token=…/7"),
            ("/x;mine-2=SECRET/7", "/x;mine-2=…/7"),
            ("/x%3Baccess_token%3DSECRET/7", "/…/7"),
            ("/token=SECRET", "/token=…"),
            ("/static/keyJson.min.js", "/static/keyJson.min.js"),
            ("/cursor/eyJpZCI6MX0", "/cursor/eyJpZCI6MX0"),
            ("/a;b=c/%20/eeyJ", "/a;b=c/%20/eeyJ"),
            ("/a\n/TOKEN", "/a\\n/…"),
        ] {
            let path = path.replace("TOKEN", TOKEN).replace("TAIL", &TOKEN[1..]);
            assert_eq!(shown_path(&path), expected, "{path}");
            let text = path_without_tokens(&path);
            assert!(path.contains("mine-2") || !text.contains("SECRET"), "{text}");
            assert!(expected.contains('…') || matches!(text, Cow::Borrowed(text) if text == path), "{text}");
        }
    }

    #[test]
    fn a_long_path_is_cut_and_a_long_token_is_gone() {
        let long = format!("/{}", "x".repeat(10_000));
        assert_eq!(shown_path(&long).len(), 8192 + LEFT_OUT.len_utf8());
        let long = format!("{}/a=b", "/abc".repeat(5_000));
        assert!(shown_path(&long).len() <= 8192 + 1 + LEFT_OUT.len_utf8() && shown_path(&long).ends_with("/…"));
        let token = format!("/a/eyJhbGciOiJIUzI1NiJ9{}.x.y/b", "S".repeat(50_000));
        assert_eq!(shown_path(&token), "/a/…/b");
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
            assert!(secret.len() <= LONGEST && is_secret(secret, NONE), "{secret}");
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
            push_query(&mut line, &query, NONE, budget, Within::Json);
            push_path(&mut line, &query, NONE, budget, Within::Json);
            prop_assert!(!line.chars().any(char::is_control));
        }
    }
}
