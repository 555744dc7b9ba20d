//! `state.redis`

use super::{Compiler, url::HttpUrl};
use crate::{config::reader::At, shared_state::RedisSettings, token::secret::Secret};

const PORT: u16 = 6379;

impl Compiler<'_> {
    /// Inner None: nothing is shared. No message holds anything of the URL: a password may be in it.
    pub(super) fn redis(&mut self, written: Option<&At<Secret>>) -> Option<Option<RedisSettings>> {
        let Some(written) = written else { return Some(None) };
        match std::str::from_utf8(written.value.expose()).ok().and_then(parse) {
            Some(settings) => Some(Some(settings)),
            None => self.fail(written.error("this is not the URL of a Redis server").hint(
                "`redis://host:6379`, `rediss://user:password@host:6379/0`; escape `@`, `/` and `%` in a password",
            )),
        }
    }
}

fn parse(text: &str) -> Option<RedisSettings> {
    let (scheme, rest) = text.split_once("://")?;
    let tls = match scheme {
        "redis" | "valkey" => false,
        "rediss" | "valkeys" => true,
        _ => return None,
    };
    let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
    let (user, host) = match authority.rsplit_once('@') {
        Some((user, host)) => (Some(user), host),
        None => (None, authority),
    };
    // Host and port are read as those of any URL; only the default port is another.
    let has_port = host.rsplit_once(':').is_some_and(|(_, port)| !port.ends_with(']'));
    let place = if has_port { host.to_owned() } else { format!("{host}:{PORT}") };
    let url = HttpUrl::parse(&format!("http://{place}")).ok()?;
    let (username, password) = match user.map(|user| user.split_once(':').unwrap_or((user, ""))) {
        None => (None, None),
        Some((name, password)) => (Some(unescape(name)?), Some(unescape(password)?)),
    };
    let database = if database.is_empty() { Some(0) } else { database.parse().ok().filter(|_| digits(database)) };
    Some(RedisSettings {
        tls,
        host: url.host,
        port: url.port,
        username: username.filter(|name| !name.is_empty()),
        password: password.filter(|password| !password.is_empty()).map(|text| Secret::new(text.into_bytes())),
        database: database?,
    })
}

fn digits(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

/// RFC 3986, section 2.1.
fn unescape(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let high = char::from(rest.next()?).to_digit(16)?;
                let low = char::from(rest.next()?).to_digit(16)?;
                u8::try_from(high * 16 + low).ok()?
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let plain = parse("redis://127.0.0.1").unwrap();
        assert_eq!((plain.tls, &*plain.host, plain.port, plain.database), (false, "127.0.0.1", PORT, 0));
        assert_eq!((plain.username, plain.password), (None, None));
        let full = parse("rediss://me:a%40b%2Fc@[::1]:7000/3").unwrap();
        assert_eq!((full.tls, &*full.host, full.port, full.database), (true, "::1", 7000, 3));
        assert_eq!(full.username.as_deref(), Some("me"));
        assert_eq!(full.password, Some(Secret::new(b"a@b/c".to_vec())));
        assert_eq!(parse("valkey://:pw@h/").unwrap().username, None);
        for bad in [
            "",
            "h",
            "http://h",
            "redis://",
            "redis://h:0",
            "redis://h/x",
            "redis://h/-1",
            "redis://u:%zz@h",
            "redis://h:6379/0/1",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
