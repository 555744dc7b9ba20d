//! What the demo writes and prints: a commented configuration and lines to paste.

use std::{fmt::Write, net::SocketAddr, path::Path};

use super::{answers::Client, cern, degreed, digitaleo, docebo};

const CONFIGURATION: &str = include_str!("gateway.yaml");

/// Where everything is.
pub(super) struct Places<'p> {
    pub(super) gateway: SocketAddr,
    pub(super) admin: SocketAddr,
    pub(super) issuer_url: String,
    pub(super) echo_url: String,
    /// With the configuration, and with what a client of Docebo's has.
    pub(super) folder: &'p Path,
}

/// What a line shows, and the line.
type Line = (&'static str, String);

/// The gateway's configuration.
pub(super) fn configuration(gateway_port: u16, issuer_url: &str, echo_url: &str) -> String {
    CONFIGURATION
        .replace("GATEWAY_ADDRESS", &format!("127.0.0.1:{gateway_port}"))
        .replace("ISSUER_URL", issuer_url)
        .replace("ECHO_URL", echo_url)
}

/// What is printed once everything runs.
pub(super) fn introduction(places: &Places) -> String {
    let Places { gateway, admin, issuer_url, echo_url, folder } = places;
    let file = folder.join("gateway.yaml");
    let mut text = format!(
        "\nThe gateway listens on http://{gateway}, with {}\n\
         Behind it: an API that answers with what it got ({echo_url}), and the token endpoints of four systems ({issuer_url}).\n\
         Metrics: http://{admin}/metrics\n\
         Console, to watch it in a browser: http://{admin}/\n\
         \nPaste these lines into another terminal; each ends with the status that comes.\n",
        file.display(),
    );
    let line = Lines { gateway: format!("http://{gateway}"), folder };
    for (title, lines) in [
        ("Docebo: opaque tokens, a user's or a client's own", line.docebo()),
        ("Digitaleo: JWTs of up to 50,000 characters", line.digitaleo()),
        ("Degreed: scopes by method, keys of an organization or a provider, logout", line.degreed()),
        ("CERN: applications' tokens, audiences and roles", line.cern()),
        ("Whatever the system", line.any()),
    ] {
        // Writing to a String doesn't fail.
        let _ = write!(text, "\n{title}\n{}\n", "-".repeat(title.len()));
        for (says, line) in lines {
            let _ = write!(text, "# {says}\n{line}\n");
        }
    }
    text.push_str("\nCtrl-C ends it.\n");
    text
}

/// Each line stands for itself: it gets its own token, where it needs one.
struct Lines<'p> {
    gateway: String,
    folder: &'p Path,
}

impl Lines<'_> {
    fn docebo(&self) -> Vec<Line> {
        let Client { id, secret } = docebo::CLIENT;
        let client = format!("-F client_id={id} -F client_secret={secret} -F scope=api");
        let password = format!(
            "{client} -F grant_type=password -F username={} -F password={}",
            docebo::USERNAME,
            docebo::PASSWORD
        );
        let own = format!("{client} -F grant_type=client_credentials");
        let assertion = format!("$(cat {})", self.folder.join(docebo::ASSERTION_FILE).display());
        let bearer = format!("-F grant_type={} -F scope=api -F assertion={assertion}", docebo::JWT_BEARER);
        let token = |form: &str| self.token("/oauth2/token", form);
        vec![
            ("A user's token, by password: 40 hex digits for an hour.", self.ask("/oauth2/token", &password, 200)),
            ("A client's own token.", self.ask("/oauth2/token", &own, 200)),
            ("A token for a JWT that the client signed.", self.ask("/oauth2/token", &bearer, 200)),
            ("No token: the challenge says what is missing.", self.call("", "/manage/v1/user", 401)),
            ("40 digits that nobody gave out.", self.with(&"0".repeat(40), "", "/manage/v1/user", 401)),
            (
                "The user's token; the API is told who it is in X-Auth-*.",
                self.with(&token(&password), "", "/manage/v1/user", 200),
            ),
            ("The client's own has no user's permissions.", self.with(&token(&own), "", "/manage/v1/user", 403)),
            ("It is enough for the older APIs.", self.with(&token(&own), "-X POST", "/api/user/profile", 200)),
            (
                "The client's JWT itself, checked against its public key.",
                self.with(&assertion, "", "/learn/v1/courses", 200),
            ),
            (
                "A sign-on link: the token is taken out of the URL before the API sees it.",
                self.call("", &format!("/learn/mycourses?access_token={}", token(&password)), 200),
            ),
        ]
    }

    fn digitaleo(&self) -> Vec<Line> {
        let form = |client: &Client, secret: &str| {
            format!("-d client_id={} -d client_secret={secret} -d grant_type=client_credentials", client.id)
        };
        let (client, large) = (&digitaleo::CLIENT, &digitaleo::LARGE);
        let token = |client: &Client| self.token("/token", &form(client, client.secret));
        vec![
            ("A token: a JWT.", self.ask("/token", &form(client, client.secret), 200)),
            ("A wrong secret.", self.ask("/token", &form(client, "wrong"), 400)),
            ("No token.", self.call("", "/rest/campaigns", 401)),
            (
                "Its token doesn't say who issued it: the signature tells.",
                self.with(&token(client), "", "/rest/campaigns", 200),
            ),
            (
                "It may read campaigns, not write them: the challenge names the scope.",
                self.with(&token(client), "-X POST", "/rest/campaigns", 403),
            ),
            (
                "A token of 50,000 characters (HEAD, to keep the answer short).",
                self.with(&token(large), "-I", "/rest/campaigns", 200),
            ),
        ]
    }

    fn degreed(&self) -> Vec<Line> {
        let form = |key: &degreed::Key, scope: &str| {
            let Client { id, secret } = key.client;
            format!("-d 'grant_type=client_credentials&client_id={id}&client_secret={secret}&scope={scope}'")
        };
        let (organization, provider) = (&degreed::ORGANIZATION, &degreed::PROVIDER);
        let token = |key, scope| self.token("/oauth/token", &form(key, scope));
        let reader = token(provider, "content:read");
        let logged_out = format!(
            "$(T={}; curl -s -o /dev/null -X POST -H \"Authorization: Bearer $T\" {}/oauth/logout; echo $T)",
            token(organization, "users:read"),
            self.gateway
        );
        vec![
            (
                "A token for an organization's key, with two scopes.",
                self.ask("/oauth/token", &form(organization, "content:read,users:read"), 200),
            ),
            ("A scope that the key doesn't have.", self.ask("/oauth/token", &form(provider, "users:read"), 400)),
            ("No token.", self.call("", "/api/v2/users", 401)),
            (
                "The organization's key reads users.",
                self.with(&token(organization, "users:read"), "", "/api/v2/users", 200),
            ),
            ("Not with another scope.", self.with(&token(organization, "content:read"), "", "/api/v2/users", 403)),
            (
                "The key of provider acme reads what is acme's; X-Provider tells the API.",
                self.with(&reader, "", "/api/v2/providers/acme/content", 200),
            ),
            ("Not what is another's.", self.with(&reader, "", "/api/v2/providers/other/content", 403)),
            (
                "The organization's key reads every provider's.",
                self.with(&token(organization, "content:read"), "", "/api/v2/providers/other/content", 200),
            ),
            ("Reading isn't writing.", self.with(&reader, "-X POST", "/api/v2/providers/acme/content", 403)),
            ("Logging out.", self.with(&token(organization, "users:read"), "-X POST", "/oauth/logout", 200)),
            ("What was logged out is no good any more.", self.with(&logged_out, "", "/api/v2/users", 401)),
        ]
    }

    fn cern(&self) -> Vec<Line> {
        let path = format!("{}/api-access/token", cern::REALM);
        let form = |secret: &str, audience: &str| {
            format!(
                "-d grant_type=client_credentials -d client_id={} -d client_secret={secret} -d audience={audience}",
                cern::CLIENT.id
            )
        };
        let secret = cern::CLIENT.secret;
        let token = |audience| self.token(&path, &form(secret, audience));
        let service = cern::AUTHORIZATION_SERVICE;
        vec![
            ("A token for the target API.", self.ask(&path, &form(secret, cern::TARGET), 200)),
            ("A wrong secret.", self.ask(&path, &form("wrong", cern::TARGET), 401)),
            ("No token.", self.call("", "/target/runs", 401)),
            ("The application has the role reader there.", self.with(&token(cern::TARGET), "", "/target/runs", 200)),
            ("It isn't an editor.", self.with(&token(cern::TARGET), "-X POST", "/target/runs", 403)),
            ("A token for another API of this gateway's.", self.with(&token(service), "", "/target/runs", 403)),
            ("A token for an API elsewhere.", self.with(&token("other-api"), "", "/target/runs", 401)),
            ("The Authorization Service takes its own.", self.with(&token(service), "", "/api/v1.0/Identity", 200)),
        ]
    }

    fn any(&self) -> Vec<Line> {
        let Client { id, secret } = digitaleo::CLIENT;
        let form = format!("-d client_id={id} -d client_secret={secret} -d grant_type=client_credentials");
        let token = self.token("/token", &form);
        vec![
            ("Public: no token needed.", self.call("", "/status", 200)),
            ("A token of one system is none at another's.", self.with(&token, "", "/target/runs", 401)),
            (
                "A forged identity goes no further.",
                self.with(&token, "-H 'X_Auth_Subject: admin'", "/rest/campaigns", 200),
            ),
            ("A detour is no way in.", self.call("--path-as-is", "/status/%2e%2e/rest/campaigns", 401)),
            ("What no route takes isn't there.", self.call("", "/admin", 404)),
        ]
    }

    /// A request for a token.
    fn ask(&self, path: &str, form: &str, status: u16) -> String {
        self.call(&format!("-X POST {form}"), path, status)
    }

    /// A request with this token.
    fn with(&self, token: &str, more: &str, path: &str, status: u16) -> String {
        let more = if more.is_empty() { String::new() } else { format!("{more} ") };
        self.call(&format!("{more}-H \"Authorization: Bearer {token}\""), path, status)
    }

    fn call(&self, more: &str, path: &str, status: u16) -> String {
        let more = if more.is_empty() { String::new() } else { format!("{more} ") };
        format!("curl -s -i {more}\"{}{path}\" # {status}", self.gateway)
    }

    /// A shell expression that gets a token for this form.
    fn token(&self, path: &str, form: &str) -> String {
        format!("$(curl -s {form} {}{path} | sed 's/.*\"access_token\":\"\\([^\"]*\\)\".*/\\1/')", self.gateway)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn every_line_ends_with_its_status_and_all_kinds_are_shown_for_each() {
        let line = Lines { gateway: "http://127.0.0.1:8080".to_owned(), folder: Path::new("/tmp/demo") };
        for lines in [line.docebo(), line.digitaleo(), line.degreed(), line.cern()] {
            for status in ["200", "401", "403"] {
                assert!(lines.iter().any(|(_, line)| line.ends_with(&format!(" # {status}"))), "{status}");
            }
            for (_, line) in lines {
                assert!(line.starts_with("curl ") && !line.contains('\n'), "{line}");
            }
        }
    }
}
