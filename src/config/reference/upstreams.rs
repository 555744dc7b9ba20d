//! Keys of `upstreams`.

use super::{
    COUNT_OR_NONE, DURATION_OR_NONE, HTTP_URL, Key,
    Kind::{self, Count, Duration, Flag, Named, OneOf, Scalar, Secret, Section, Share, Text, Url, Word},
    Rule::{ExactlyOne, Needs},
    SOME_SCALARS, key,
};

const TIMES: Kind = Count { least: 1, most: 100 };

/// Statuses after which another attempt makes sense.
const RETRIED: Kind = OneOf(&[
    Word(&["connect"]),
    Count { least: 408, most: 408 },
    Count { least: 425, most: 425 },
    Count { least: 429, most: 429 },
    Count { least: 500, most: 599 },
]);

pub(super) const KEYS: &[Key] = &[
    key("upstreams", Named { name: "upstream", value: &Section }, "Where requests go. Routes call them by name.")
        .example(r#"{"orders": {"url": "http://127.0.0.1:9000"}}"#)
        .rules(&[ExactlyOne(&["url", "endpoints"])]),
    key(
        "upstreams.*.url",
        Url(&["http", "https", "unix"]),
        "Where it is: `http://`, `https://` or `unix:/path.sock`. A path in it is put before the request's.",
    )
    .example("http://127.0.0.1:9000"),
    key("upstreams.*.endpoints", Kind::Some(&Url(&["http", "https", "unix"])), "The same, for several servers.")
        .example(r#"["http://10.0.0.1:9000", "http://10.0.0.2:9000"]"#),
    key(
        "upstreams.*.balance",
        Word(&["least_request", "round_robin", "random", "hash"]),
        "Which endpoint gets a request. `least_request`: the less busy one of two; `hash`: by the token's subject.",
    )
    .default("least_request")
    .example("round_robin"),
    key(
        "upstreams.*.http2",
        Flag,
        "With `true`, HTTP/2 (over `http://` by prior knowledge). `https://` negotiates by itself. gRPC needs it.",
    )
    .default("false")
    .example("true"),
    key("upstreams.*.connect_timeout", Duration, "How long connecting may take.").default("2s").example("500ms"),
    key(
        "upstreams.*.response_timeout",
        DURATION_OR_NONE,
        "How long the head of a response may take; `none` for long polls.",
    )
    .default("60s")
    .example("10s"),
    key("upstreams.*.idle_timeout", Duration, "How long a connection that isn't in use is kept.")
        .default("60s")
        .example("30s"),
    key("upstreams.*.max_connections", COUNT_OR_NONE, "The most connections to each endpoint.")
        .default("none")
        .example("200"),
    key("upstreams.*.health", Section, "Endpoints are asked whether they are well.")
        .absent("they are not asked")
        .example(r#"{"path": "/healthz"}"#),
    key("upstreams.*.health.path", Text, "What they are asked for; 200 to 299 is well.").required().example("/healthz"),
    key("upstreams.*.health.interval", Duration, "How often.").default("5s").example("10s"),
    key("upstreams.*.health.timeout", Duration, "How long an answer may take.").default("1s").example("500ms"),
    key("upstreams.*.health.healthy", TIMES, "Good answers in a row that make an endpoint well again.")
        .default("2")
        .example("1"),
    key("upstreams.*.health.unhealthy", TIMES, "Bad answers in a row that make it unwell.").default("3").example("2"),
    key(
        "upstreams.*.eject",
        Section,
        "An endpoint rests after failures in a row: refused and reset connections, timeouts, 502, 503 and 504.",
    )
    .absent("`{}` with several endpoints; a sole one never rests")
    .example("{}"),
    key("upstreams.*.eject.failures", Count { least: 1, most: 10_000 }, "After how many.").default("5").example("3"),
    key("upstreams.*.eject.for", Duration, "For how long.").default("10s").example("30s"),
    key(
        "upstreams.*.retry",
        Section,
        "When a request is tried again. Default: once more, if the connection failed before anything was sent.",
    )
    .example(r#"{"attempts": 3, "on": ["connect", 502, 503]}"#),
    key("upstreams.*.retry.attempts", Count { least: 1, most: 10 }, "Attempts in all, the first included.")
        .default("2")
        .example("3"),
    key(
        "upstreams.*.retry.on",
        Kind::Some(&RETRIED),
        "After what: `connect`, or a status. After a status only for idempotent methods whose body is absent or small.",
    )
    .default(r#"["connect"]"#)
    .example(r#"["connect", 502, 503]"#),
    key("upstreams.*.retry.budget", Share, "Retries as a share of requests: beyond it there are none.")
        .default("20%")
        .example("10%"),
    key("upstreams.*.tls", Section, "How `https://` endpoints are connected to.")
        .example(r#"{"ca": "upstream-ca.pem"}"#)
        .rules(&[Needs("certificate", "key"), Needs("key", "certificate")]),
    key("upstreams.*.tls.ca", Text, "A PEM file with the roots that are trusted.")
        .absent("the system's roots")
        .example("upstream-ca.pem"),
    key("upstreams.*.tls.server_name", Text, "The name that the certificate must have.")
        .absent("the URL's host")
        .example("internal.example"),
    key("upstreams.*.tls.certificate", Text, "A PEM file: the gateway's own certificate.").example("client.crt"),
    key("upstreams.*.tls.key", Text, "A PEM file with that certificate's private key.").example("client.key"),
    key(
        "upstreams.*.preserve_host",
        Flag,
        "With `true`, the client's Host goes on; else the upstream's own is sent.",
    )
    .default("false")
    .example("true"),
    key(
        "upstreams.*.paths",
        Word(&["exact", "case_insensitive"]),
        "`case_insensitive`: this server ignores case in paths, so every spelling of one must be let in.",
    )
    .default("exact")
    .example("case_insensitive"),
    key(
        "upstreams.*.token",
        Section,
        "The gateway gets and renews a token of its own for this upstream and sends it as `Authorization: Bearer`. \
         Nothing of `identity`, no X-Forwarded-* and no Via goes there unless a route says so. Routes that let everybody in \
         may lead there on loopback and Unix sockets alone.",
    )
    .example(
        r#"{"endpoint": "https://login.example.com/token", "grant": "client_credentials", "client_id": "gateway", "client_secret": "${CLIENT_SECRET}"}"#,
    ),
    key("upstreams.*.token.endpoint", HTTP_URL, "The token endpoint; https, or on this machine.")
        .required()
        .example("https://login.example.com/token"),
    key(
        "upstreams.*.token.grant",
        Word(&["client_credentials", "password", "jwt_bearer", "token_exchange"]),
        "How the token is got. `password` needs `username` and `password`; `jwt_bearer` (RFC 7523) `private_key` and \
         `assertion`; `token_exchange` (RFC 8693) exchanges the caller's.",
    )
    .required()
    .example("client_credentials"),
    key("upstreams.*.token.client_id", Scalar, "Who the gateway is there.").example("gateway"),
    key("upstreams.*.token.client_secret", Secret, "The secret of that client.").example("${CLIENT_SECRET}"),
    key("upstreams.*.token.scopes", SOME_SCALARS, "Scopes to ask for.").example(r#"["orders:read"]"#),
    key("upstreams.*.token.audience", Scalar, "The audience to ask for.").example("orders-api"),
    key("upstreams.*.token.scope_separator", Word(&[" ", ","]), "What stands between scopes.")
        .default(" ")
        .example(","),
    key("upstreams.*.token.username", Scalar, "For `grant: password`.").example("gateway"),
    key("upstreams.*.token.password", Secret, "For `grant: password`.").example("${PASSWORD}"),
    key("upstreams.*.token.private_key", Secret, "A PEM file, for `grant: jwt_bearer`.").example("gateway.pem"),
    key("upstreams.*.token.algorithm", Text, "How the assertion is signed.")
        .absent("what fits the key")
        .example("EdDSA"),
    key("upstreams.*.token.assertion", Section, "Claims of the assertion, for `grant: jwt_bearer`.")
        .example(r#"{"iss": "gateway"}"#),
    key("upstreams.*.token.assertion.iss", Scalar, "Its `iss`.").absent("the client's id").example("gateway"),
    key("upstreams.*.token.assertion.sub", Scalar, "Its `sub`.").absent("its `iss`").example("service"),
    key("upstreams.*.token.assertion.aud", Scalar, "Its `aud`.")
        .absent("the token endpoint")
        .example("https://login.example.com"),
    key("upstreams.*.token.assertion.ttl", Duration, "How long it is good.").default("60s").example("30s"),
    key("upstreams.*.token.auth", Word(&["basic", "post"]), "How the client's secret is sent.")
        .default("post")
        .example("basic"),
    key(
        "upstreams.*.token.expiry_margin",
        Duration,
        "How long before its end a token is renewed; its end is five minutes away where the endpoint doesn't say.",
    )
        .default("30s")
        .example("10s"),
];
