//! `state.redis`

use super::{Compiler, url::HttpUrl};
use crate::{
    config::reader::At,
    shared_state::{Node, RedisSettings},
    token::secret::Secret,
};

const PORT: u16 = 6379;

impl Compiler<'_> {
    /// Inner None: nothing is shared. No message holds anything of the URL: a password may be in it.
    pub(super) fn redis(&mut self, written: Option<&At<Secret>>) -> Option<Option<RedisSettings>> {
        let Some(written) = written else { return Some(None) };
        match std::str::from_utf8(written.value.expose()).ok().and_then(parse) {
            Some(settings) => Some(Some(settings)),
            None => self.fail(written.error("this is not the URL of a Redis server").hint(
                "`redis://host:6379`, `rediss://user:password@host:6379/0`, `redis://sentinel-1,sentinel-2:26379?master=main`; escape \
                 `@`, `/`, `?` and `%` in a password",
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
    let (rest, query) = match rest.split_once('?') {
        Some((rest, query)) => (rest, Some(query)),
        None => (rest, None),
    };
    let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
    let (user, hosts) = match authority.rsplit_once('@') {
        Some((user, hosts)) => (Some(user), hosts),
        None => (None, authority),
    };
    let (username, password) = match user.map(|user| user.split_once(':').unwrap_or((user, ""))) {
        None => (None, None),
        Some((name, password)) => (Some(unescape(name)?), Some(unescape(password)?)),
    };
    let master = match query {
        None => None,
        Some(query) => Some(master(query)?),
    };
    let database = if database.is_empty() { Some(0) } else { database.parse().ok().filter(|_| digits(database)) };
    Some(RedisSettings {
        tls,
        nodes: hosts.split(',').map(node).collect::<Option<_>>()?,
        master,
        username: username.filter(|name| !name.is_empty()),
        password: password.filter(|password| !password.is_empty()).map(|text| Secret::new(text.into_bytes())),
        database: database?,
    })
}

/// Host and port are read as those of any URL; only the default port is another.
fn node(host: &str) -> Option<Node> {
    let has_port = host.rsplit_once(':').is_some_and(|(_, port)| !port.ends_with(']'));
    let place = if has_port { host.to_owned() } else { format!("{host}:{PORT}") };
    let url = HttpUrl::parse(&format!("http://{place}")).ok()?;
    Some(Node { host: url.host, port: url.port })
}

/// The one field that there may be.
fn master(query: &str) -> Option<String> {
    unescape(query.strip_prefix("master=")?).filter(|name| !name.is_empty())
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

    fn at(host: &str, port: u16) -> Node {
        Node { host: host.to_owned(), port }
    }

    #[test]
    fn urls() {
        let plain = parse("redis://127.0.0.1").unwrap();
        assert_eq!((plain.tls, &*plain.nodes, plain.database), (false, &[at("127.0.0.1", PORT)][..], 0));
        assert_eq!((plain.username, plain.password), (None, None));
        let full = parse("rediss://me:a%40b%2Fc@[::1]:7000/3").unwrap();
        assert_eq!((full.tls, &*full.nodes, full.database), (true, &[at("::1", 7000)][..], 3));
        assert_eq!(full.username.as_deref(), Some("me"));
        assert_eq!(full.password, Some(Secret::new(b"a@b/c".to_vec())));
        assert_eq!(parse("valkey://:pw@h/").unwrap().username, None);
        let sentinels = parse("redis://a:26379,b,[::1]:1/?master=my%20main").unwrap();
        assert_eq!(sentinels.nodes, [at("a", 26379), at("b", PORT), at("::1", 1)]);
        assert_eq!(sentinels.master.as_deref(), Some("my main"));
        for bad in [
            "",
            "redis://a,",
            "redis://a?master=",
            "redis://a?masters=x",
            "redis://a?master=%z",
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
