//! The names that no client may send.

use hyper::{
    HeaderMap,
    header::{
        AUTHORIZATION, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, COOKIE, EXPECT, HOST,
        HeaderName, MAX_FORWARDS, PROXY_AUTHORIZATION, SET_COOKIE, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
    },
};

use super::{X_AUTH_CLIENT, X_AUTH_ISSUER, X_AUTH_ROLES, X_AUTH_SCOPES, X_AUTH_SUBJECT};
use crate::headers::DPOP;

/// Reserved besides the configured ones, whatever the peer. All but the first tell some back ends to route anew, past
/// what was decided here.
const ALWAYS: [&str; 5] = ["xauthassertion", "xoriginalurl", "xoriginaluri", "xoriginalmethod", "xrewriteurl"];
const FORWARDING_PREFIX: &str = "xforwarded";
/// The last two are a client's certificate (RFC 9440).
const FORWARDING: [&str; 4] = ["forwarded", "xrealip", "clientcert", "clientcertchain"];
/// The spellings that a trusted peer may use. `x-forwarded-` and other words are its own affair as long as they
/// aren't an alias of one of these.
const STANDARD_FORWARDING: [&str; 16] = [
    "forwarded",
    "x-real-ip",
    "client-cert",
    "client-cert-chain",
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-by",
    "x-forwarded-server",
    "x-forwarded-prefix",
    "x-forwarded-path",
    "x-forwarded-uri",
    "x-forwarded-method",
    "x-forwarded-scheme",
    "x-forwarded-ssl",
];
/// Credentials and framing have no business in trailers (RFC 9110, section 6.5.1).
const NOT_IN_TRAILERS: [HeaderName; 17] = [
    AUTHORIZATION,
    DPOP,
    PROXY_AUTHORIZATION,
    COOKIE,
    SET_COOKIE,
    CONNECTION,
    CONTENT_ENCODING,
    CONTENT_LENGTH,
    CONTENT_RANGE,
    CONTENT_TYPE,
    EXPECT,
    HOST,
    MAX_FORWARDS,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// The names that no client may send, under any alias: compared in lower case, letters and digits alone.
#[derive(Clone, Debug)]
pub struct ReservedNames {
    /// Squashed.
    names: Vec<Box<str>>,
    /// Squashed: the headers that tokens are taken from, on some route. In heads that is each route's own affair.
    credentials: Vec<Box<str>>,
    /// The first letters that occur in `names` and in the forwarding fields: most headers of most requests go no further.
    initials: u64,
}

impl ReservedNames {
    /// The default identity headers, `X-Auth-Assertion`, and these.
    pub fn new<'n>(configured: impl IntoIterator<Item = &'n HeaderName>) -> ReservedNames {
        let defaults = [X_AUTH_SUBJECT, X_AUTH_CLIENT, X_AUTH_SCOPES, X_AUTH_ROLES, X_AUTH_ISSUER];
        let squashed = |name: &HeaderName| -> Box<str> { squash(name.as_str()).map(char::from).collect() };
        let mut names: Vec<Box<str>> = ALWAYS.iter().map(|name| (*name).into()).collect();
        names.extend(defaults.iter().map(squashed));
        names.extend(configured.into_iter().map(squashed));
        names.sort_unstable();
        names.dedup();
        let initials = names
            .iter()
            .map(|name| &**name)
            .chain([FORWARDING_PREFIX])
            .chain(FORWARDING)
            .filter_map(|name| name.bytes().next())
            .fold(0, |bits, first| bits | initial(first));
        ReservedNames { names, credentials: Vec::new(), initials }
    }

    /// The same, and the headers that tokens are taken from.
    #[must_use]
    pub fn with_credentials<'n>(mut self, headers: impl IntoIterator<Item = &'n HeaderName>) -> ReservedNames {
        self.credentials
            .extend(headers.into_iter().map(|name| squash(name.as_str()).map(char::from).collect::<Box<str>>()));
        self
    }

    /// Removes every field whose name equals a reserved one, alias or not. With `trusted_peer`, forwarding fields
    /// (`X-Forwarded-*`, `Forwarded`, `X-Real-IP`, `Client-Cert`) under their own names stay.
    pub fn strip(&self, headers: &mut HeaderMap, trusted_peer: bool) {
        remove_where(headers, |name| self.forbids(name.as_str(), trusted_peer));
    }

    /// Removes from a request's trailers what would be believed if it were merged into the head: reserved names,
    /// credentials, framing and forwarding fields, from trusted peers too. And names that HTTP/1.1 has no place for.
    pub fn strip_trailers(&self, trailers: &mut HeaderMap) {
        remove_where(trailers, |name| {
            self.forbids(name.as_str(), false)
                || name.as_str().contains('"')
                || self.credentials.iter().any(|header| is_alias(name.as_str(), header))
                || NOT_IN_TRAILERS.iter().any(|field| is_alias(name.as_str(), field.as_str()))
        });
    }

    /// Whether it is a name of ours, or an alias of one. Forwarding fields aside.
    pub fn has(&self, name: &str) -> bool {
        self.names.iter().any(|reserved| is_alias(name, reserved))
    }

    /// Whether `strip` would remove it.
    pub fn forbids(&self, name: &str, trusted_peer: bool) -> bool {
        match squash(name).next() {
            Some(first) if self.initials & initial(first) == 0 => return false,
            _ => {}
        }
        self.has(name) || is_forwarding(name) && !(trusted_peer && is_standard_spelling(name))
    }
}

fn remove_where(headers: &mut HeaderMap, forbidden: impl Fn(&HeaderName) -> bool) {
    let condemned: Vec<HeaderName> = headers.keys().filter(|name| forbidden(name)).cloned().collect();
    for name in condemned {
        headers.remove(name);
    }
}

/// What is left of a name for back ends that merge aliases: letters and digits, in lower case.
fn squash(name: &str) -> impl Iterator<Item = u8> + '_ {
    name.bytes().filter(u8::is_ascii_alphanumeric).map(|byte| byte.to_ascii_lowercase())
}

/// Whether back ends that merge names take one for the other: equal in lower case, letters and digits alone.
pub fn is_alias(name: &str, other: &str) -> bool {
    squash(name).eq(squash(other))
}

/// One bit for each letter and digit.
fn initial(byte: u8) -> u64 {
    1 << (byte & 0x3f)
}

fn is_forwarding(name: &str) -> bool {
    let mut squashed = squash(name);
    FORWARDING_PREFIX.bytes().all(|byte| squashed.next() == Some(byte))
        || FORWARDING.iter().any(|field| is_alias(name, field))
}

fn is_standard_spelling(name: &str) -> bool {
    if STANDARD_FORWARDING.contains(&name) {
        return true;
    }
    let Some(rest) = name.strip_prefix("x-forwarded-") else {
        return false;
    };
    let words = rest.split('-').all(|word| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphanumeric()));
    words && !STANDARD_FORWARDING.iter().any(|standard| is_alias(name, standard))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use hyper::header::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn left(reserved: &ReservedNames, name: &str, trusted_peer: bool) -> bool {
        let mut headers = HeaderMap::new();
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        headers.append(name.clone(), HeaderValue::from_static("spoofed"));
        headers.append(name, HeaderValue::from_static("spoofed again"));
        reserved.strip(&mut headers, trusted_peer);
        !headers.is_empty()
    }

    #[test]
    fn no_spelling_of_an_identity_header_passes() {
        let tenant = HeaderName::from_static("x-tenant");
        let user = HeaderName::from_static("x-forwarded-user");
        let reserved = ReservedNames::new([&tenant, &user]);
        for name in [
            "X-Auth-Subject",
            "x-auth-subject",
            "X_AUTH_SUBJECT",
            "x_auth_subject",
            "X-Auth_Subject",
            "x_auth-subject",
            "X.Auth.Subject",
            "X.Auth-Subject",
            "x-auth-subject-",
            "_x-auth-subject",
            "-x-auth-subject",
            "x--auth--subject",
            "xauthsubject",
            "XAuthSubject",
            "x~auth~subject",
            "x!auth#subject",
            "x'auth'subject",
            "x|auth|subject",
            "x^auth`subject",
            "x*auth+subject",
            "x&auth&subject",
            "x$auth%subject",
            "X-Auth-Client",
            "x_auth_client",
            "X-Auth-Scopes",
            "x.auth.scopes",
            "X-Auth-Roles",
            "X_Auth_Roles",
            "X-Auth-Issuer",
            "x-auth_issuer",
            "X-Auth-Assertion",
            "x_auth_assertion",
            "X-Tenant",
            "x_tenant",
            "XTENANT",
            "X-Original-URL",
            "x_original_url",
            "X-Original-URI",
            "X-Original-Method",
            "x.original.method",
            "X-Rewrite-URL",
            "X_Rewrite_Url",
            "X-Forwarded-User",
            "x_forwarded_user",
        ] {
            assert!(!left(&reserved, name, false), "{name} passes");
            assert!(!left(&reserved, name, true), "{name} passes from a trusted peer");
        }
    }

    #[test]
    fn forwarding_fields_need_a_trusted_peer_and_their_own_name() {
        let reserved = ReservedNames::new([]);
        for name in [
            "x-forwarded-for",
            "x-forwarded-proto",
            "x-forwarded-host",
            "x-forwarded-port",
            "x-forwarded-client-cert",
            "x-forwarded-email",
            "forwarded",
            "x-real-ip",
            "client-cert",
            "client-cert-chain",
        ] {
            assert!(!left(&reserved, name, false), "{name}");
            assert!(left(&reserved, name, true), "{name}");
        }
        for name in [
            "x_forwarded_for",
            "x-forwarded_for",
            "x.forwarded.for",
            "xforwardedfor",
            "x-forwardedfor",
            "x-forwarded-f-or",
            "x-forwarded-fo.r",
            "x-forwarded-for-",
            "x-forwarded--for",
            "x-forwarded",
            "x_forwarded_email",
            "x-forwarded-",
            "forwarded-",
            "_forwarded",
            "x_real_ip",
            "x-realip",
            "xrealip",
            "client_cert",
            "clientcert",
            "Client.Cert",
            "client-cert-",
            "client_cert_chain",
            "clientcert-chain",
        ] {
            assert!(!left(&reserved, name, false), "{name}");
            assert!(!left(&reserved, name, true), "{name} from a trusted peer");
        }
    }

    #[test]
    fn others_pass() {
        let reserved = ReservedNames::new([]);
        for name in [
            "accept",
            "x-auth-subjects",
            "x-auth",
            "x-author",
            "x-request-id",
            "x-requested-with",
            "forward",
            "x-real",
            "x-auth-subject2",
            "authorization",
            "xx-auth-subject",
            "---",
            "x-tenant",
        ] {
            assert!(left(&reserved, name, false), "{name}");
        }
    }

    #[test]
    fn trailers_cannot_say_what_heads_decide() {
        let token = HeaderName::from_static("x-api-token");
        let reserved = ReservedNames::new([]).with_credentials([&token]);
        let mut trailers = HeaderMap::new();
        for name in [
            "x-api-token",
            "X_Api.Token",
            "x-auth-subject",
            "X_Auth_Roles",
            "authorization",
            "DPoP",
            "cookie",
            "set-cookie",
            "content-length",
            "content_length",
            "transfer-encoding",
            "host",
            "x-forwarded-for",
            "forwarded",
            "te",
            "trailer",
            "connection",
            "x-checksum",
            "grpc-status",
        ] {
            trailers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_static("1"));
        }
        // As HTTP/2 reads names.
        trailers.append(HeaderName::from_lowercase(b"x\"y").unwrap(), HeaderValue::from_static("1"));
        reserved.strip_trailers(&mut trailers);
        let mut names: Vec<&str> = trailers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["grpc-status", "x-checksum"]);
    }

    proptest! {
        /// Separators anywhere, any case: an alias never passes.
        #[test]
        fn aliases_never_pass(
            which in 0_usize..5,
            marks in proptest::collection::vec("[-_.~!#$&'*+^`|%]{0,2}", 24),
            upper in any::<u32>(),
            trusted_peer in any::<bool>(),
        ) {
            let plain = ["xauthsubject", "xauthroles", "xauthassertion", "xoriginalurl", "xtenant9"][which];
            let tenant = HeaderName::from_static("x-tenant-9");
            let reserved = ReservedNames::new([&tenant]);
            let mut alias = String::new();
            for (place, letter) in plain.chars().enumerate() {
                alias.push_str(&marks[place]);
                alias.push(if upper >> place & 1 == 1 { letter.to_ascii_uppercase() } else { letter });
            }
            prop_assert!(!left(&reserved, &alias, trusted_peer), "{}", alias);
        }

        #[test]
        fn whatever_stays_is_no_alias(name in "[a-z_.-]{1,24}") {
            let Ok(header) = HeaderName::from_bytes(name.as_bytes()) else { return Ok(()) };
            let reserved = ReservedNames::new([&header]);
            prop_assert!(!left(&reserved, &name, true));
        }
    }
}
