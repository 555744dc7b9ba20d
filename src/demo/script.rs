//! What the demo writes and prints: a commented configuration and lines to paste.

use std::{fmt::Write, net::SocketAddr, path::Path};

use super::issuer::{AUDIENCE, Client, GATEWAY, LEARNER, READER, WRITER};

/// Where everything is.
pub(super) struct Places {
    pub(super) gateway_port: u16,
    pub(super) issuer: String,
    pub(super) echo: String,
}

/// The gateway's configuration.
pub(super) fn configuration(places: &Places) -> String {
    let Places { gateway_port, issuer, echo } = places;
    let Client { id: gateway_id, secret: gateway_secret, .. } = GATEWAY;
    format!(
        r#"# Written by `bearward demo`. The issuer and the echo API in it live as long as the demo does; with your own
# in their place, `bearward check --config gateway.yaml` says whether all is well and `bearward run` serves it.

# Where clients come in.
listen: ["127.0.0.1:{gateway_port}"]

# Where operators look: /livez, /readyz, /metrics. Port 0 takes any that is free; the default is 9901.
admin:
  address: "127.0.0.1:0"

# Who may sign tokens. The keys come from <issuer>/.well-known/openid-configuration.
issuers:
  demo:
    issuer: {issuer}
    audiences: [{AUDIENCE}]            # a token must be meant for this API
    jwt:
      algorithms: [ES256]              # and signed so

  # A token that is 40 hex digits says nothing by itself: who issued it is asked, once, and remembered for a while.
  academy:
    audiences: [{AUDIENCE}]
    introspection:
      endpoint: {issuer}/introspect
      client_id: {gateway_id}
      client_secret: {gateway_secret}
      tokens: "^[0-9a-f]{{40}}$"        # others are never sent there
      cache_ttl: 30s

  # For a provider without introspection: a token is good if its userinfo endpoint answers.
  social:
    audiences: any                     # the answer can't tell whom a token is for
    userinfo:
      endpoint: {issuer}/userinfo

# What stands behind the gateway.
upstreams:
  echo:
    url: {echo}

# What is served, and to whom. What no route takes is 404; a route without `allow` is an error, never open.
routes:
  - name: notes
    path: /notes/**
    issuers: [demo]
    upstream: echo
    allow:                             # one of these rules must hold
      - methods: [GET]
        scopes: ["notes:read"]
      - methods: [POST, PUT, DELETE]
        scopes: ["notes:write"]

  - name: courses
    path: /courses/**
    issuers: [academy]                 # whose tokens count here
    upstream: echo
    allow:
      - methods: [GET]
        scopes: ["courses:read"]
      - methods: [POST]
        scopes: ["courses:write"]

  - name: profile
    path: /profile
    issuers: [social]
    upstream: echo
    allow: authenticated

  - name: status
    path: /status
    upstream: echo
    allow: public                      # said out loud
"#
    )
}

/// What is printed once everything runs.
pub(super) fn introduction(places: &Places, gateway: SocketAddr, admin: SocketAddr, file: &Path) -> String {
    let mut text = format!(
        "\nThe gateway listens on http://{gateway}, with {}\nIssuer {} · echo API {} · metrics http://{admin}/metrics\n",
        file.display(),
        places.issuer,
        places.echo,
    );
    text.push_str("\nPaste these into another terminal; each ends with the status that comes.\n");
    for (says, line) in lines(places, gateway) {
        // Writing to a String doesn't fail.
        let _ = write!(text, "\n# {says}\n{line}\n");
    }
    text.push_str("\nCtrl-C ends it.\n");
    text
}

/// What each line shows, and the line.
fn lines(places: &Places, gateway: SocketAddr) -> Vec<(&'static str, String)> {
    let (reader, writer, learner) = (token(places, &READER), token(places, &WRITER), token(places, &LEARNER));
    let with = |token: &str| format!("curl -s -i -H \"Authorization: Bearer {token}\"");
    let notes = format!("http://{gateway}/notes/1");
    let courses = format!("http://{gateway}/courses/1");
    vec![
        ("Public: no token needed.", format!("curl -s -i http://{gateway}/status # 200")),
        ("No token: the challenge says what is missing.", format!("curl -s -i {notes} # 401")),
        ("Not a token of this issuer's.", format!("{} {notes} # 401", with("wrong.token.here"))),
        (
            "The reader reads; the echo shows the X-Auth-* headers that the API gets.",
            format!("{} {notes} # 200", with(&reader)),
        ),
        (
            "The reader doesn't write: the challenge names the scope.",
            format!("{} -X POST -d note=hello {notes} # 403", with(&reader)),
        ),
        ("The writer does.", format!("{} -X POST -d note=hello {notes} # 200", with(&writer))),
        (
            "An opaque token: 40 hex digits. The gateway asks the issuer what they mean.",
            format!("{} {courses} # 200", with(&learner)),
        ),
        ("They mean courses:read, which isn't enough to write.", format!("{} -X POST {courses} # 403", with(&learner))),
        ("Digits that the issuer doesn't know.", format!("{} {courses} # 401", with(&"0".repeat(40)))),
        (
            "At a provider without introspection, userinfo tells.",
            format!("{} http://{gateway}/profile # 200", with(&learner)),
        ),
        ("A forged identity goes no further.", format!("{} -H 'X_Auth_Subject: admin' {notes} # 200", with(&reader))),
        ("A detour is no way in.", format!("curl -s -i --path-as-is http://{gateway}/status/%2e%2e/notes/1 # 401")),
    ]
}

/// A shell expression that gets this client a token.
fn token(places: &Places, client: &Client) -> String {
    format!(
        "$(curl -s {}/token -d grant_type=client_credentials -d client_id={} -d client_secret={} | sed 's/.*\"access_token\":\"\\([^\"]*\\)\".*/\\1/')",
        places.issuer, client.id, client.secret
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use super::*;

    fn places() -> Places {
        let (issuer, echo) = ("http://127.0.0.1:1".to_owned(), "http://127.0.0.1:2".to_owned());
        Places { gateway_port: 8080, issuer, echo }
    }

    #[test]
    fn the_configuration_is_one_that_the_gateway_takes() {
        crate::config::load_str(&configuration(&places()), "gateway.yaml").unwrap();
    }

    #[test]
    fn every_line_ends_with_its_status_and_all_kinds_are_shown() {
        let lines = lines(&places(), ([127, 0, 0, 1], 8080).into());
        for status in ["200", "401", "403"] {
            assert!(lines.iter().any(|(_, line)| line.ends_with(&format!(" # {status}"))), "{status}");
        }
        for (_, line) in lines {
            assert!(line.starts_with("curl ") && !line.contains('\n'), "{line}");
        }
    }
}
