//! Keys about the process as a whole: `listen`, `admin`, `server`, stores, logs and traces.

use super::{
    COUNT_OR_NONE, Key,
    Kind::{Count, Duration, Flag, Fraction, List, OneOf, Secret, Section, Size, Text, Url, Word},
    Rule::Needs,
    SIZE_OR_NONE, SOME_TEXTS, key,
};

pub(super) const FIRST: &[Key] = &[
    key("version", Count { least: 1, most: 1 }, "The version of this format.").default("1").example("1"),
    key(
        "include",
        SOME_TEXTS,
        "Further files, whose `issuers`, `upstreams` and `routes` are added to those here. `*` is any part of a name; a \
         relative path is relative to the file that names it, and a name that is defined twice is an error.",
    )
    .example(r#"["routes/*.yaml"]"#),
    key("listen", LISTENERS, "Where requests come in. A text alone is an address.")
        .default(r#"["127.0.0.1:8080"]"#)
        .example(r#"[{"address": "0.0.0.0:8080", "name": "public"}]"#),
    key(
        "listen.*.address",
        Text,
        "An IP address and a port (0: any free one), or `unix:/path.sock`. HTTP/1.1, and HTTP/2 by prior knowledge.",
    )
    .required()
    .example("0.0.0.0:8080"),
    key("listen.*.name", Text, "What routes, logs and metrics call it.").absent("the address").example("public"),
    key("listen.*.tls", Section, "TLS 1.2 and 1.3, with HTTP/1.1 and HTTP/2 by ALPN.")
        .absent("plain text")
        .example(r#"{"certificate": "tls.crt", "key": "tls.key"}"#)
        .rules(&[Needs("client_certificate", "client_ca")]),
    key(
        "listen.*.tls.certificate",
        Text,
        "A PEM file with the certificate and what stands between it and its root. Read again when it changes.",
    )
    .required()
    .example("tls.crt"),
    key("listen.*.tls.key", Text, "A PEM file with the certificate's private key.").required().example("tls.key"),
    key("listen.*.tls.client_ca", Text, "A PEM file with the roots of client certificates: clients are asked for one.")
        .absent("clients are not asked")
        .example("clients.pem"),
    key(
        "listen.*.tls.client_certificate",
        Word(&["optional", "required"]),
        "Whether a client without a certificate is let in.",
    )
    .absent("`optional` with `client_ca`")
    .example("required"),
    key(
        "listen.*.mode",
        Word(&["proxy", "forward_auth", "ext_authz"]),
        "`proxy` decides and forwards. `forward_auth` answers another proxy's question over HTTP, `ext_authz` Envoy's \
         over gRPC; both forward nothing, and answer only this machine and `server.trusted_proxies`.",
    )
    .default("proxy")
    .example("ext_authz"),
    key(
        "listen.*.request_from",
        Word(&["x_forwarded", "x_original", "self"]),
        "With `mode: forward_auth`, and required there: where the request is described; nothing else is read. \
         `x_forwarded`: X-Forwarded-Method, -Proto, -Host and -Uri (Traefik, Caddy); `x_original`: X-Original-Method and \
         X-Original-URL, or X-Original-URI with Host (NGINX); `self`: the question's own method, host and path (Envoy).",
    )
    .example("x_forwarded"),
    key(
        "admin",
        OneOf(&[Word(&["off"]), Section]),
        "Where probes and metrics are: `/livez`, `/readyz`, `/metrics`; also the console (`/`) and what it asks. `off` turns it off.",
    )
    .default("{}")
    .example("off"),
    key("admin.address", Text, "An IP address and a port that `listen` doesn't take.")
        .default("127.0.0.1:9901")
        .example("127.0.0.1:9901"),
    key(
        "admin.token",
        Secret,
        "What all but `/livez`, `/readyz` and `/metrics` then needs as a Bearer token. Without one, an address off \
         loopback serves those three only.",
    )
    .example("${ADMIN_TOKEN}"),
    key("server", Section, "Limits and timeouts of all listeners.").default("{}").example("{}"),
    key(
        "server.workers",
        OneOf(&[Word(&["auto"]), Count { least: 1, most: 1024 }]),
        "Threads that serve. `auto`: as many as the cores that this process may use, limits of its cgroup included.",
    )
    .default("auto")
    .example("4"),
    key(
        "server.trusted_proxies",
        List(&Text),
        "Networks whose X-Forwarded-For, Forwarded and Client-Cert are believed. The client is the rightmost address that isn't \
         among them.",
    )
    .default("[]")
    .example(r#"["10.0.0.0/8"]"#),
    key("server.max_header_bytes", Size, "A bigger request head gets 431. From 1KiB to 16MiB.")
        .default("128KiB")
        .example("64KiB"),
    key(
        "server.max_token_bytes",
        Size,
        "A longer credential is refused before it is looked at. Up to 16MiB; the head's limit holds, too.",
    )
    .default("64KiB")
    .example("16KiB"),
    key("server.max_body_bytes", SIZE_OR_NONE, "For routes that don't say: a bigger body gets 413.")
        .default("none")
        .example("10MiB"),
    key("server.max_connections", COUNT_OR_NONE, "Beyond it, new connections wait in the accept queue.")
        .default("none")
        .example("10000"),
    key("server.header_timeout", Duration, "Time to receive a whole request head; then 408, and the connection ends.")
        .default("10s")
        .example("5s"),
    key(
        "server.body_timeout",
        Duration,
        "A request body that brings no byte for so long gets 408, and the connection ends.",
    )
    .default("30s")
    .example("10s"),
    key(
        "server.idle_timeout",
        Duration,
        "How long a connection may be without a request, and how long a client may take nothing of an answer.",
    )
    .default("75s")
    .example("2m"),
    key(
        "server.ready_timeout",
        Duration,
        "At start, how long `/readyz` waits for keys of issuers that can't be reached.",
    )
    .default("30s")
    .example("1m"),
    key(
        "server.drain_delay",
        Duration,
        "On SIGTERM: not ready at once, but still accepting for so long, for load balancers that notice late. On \
         Kubernetes 5s.",
    )
    .default("0s")
    .example("5s"),
    key(
        "server.drain_timeout",
        Duration,
        "After that delay: how long what runs may take to end, before the process exits.",
    )
    .default("30s")
    .example("1m"),
];

const LISTENERS: super::Kind = super::Kind::Some(&OneOf(&[Text, Section]));

pub(super) const STORES: &[Key] = &[
    key("token_cache", Section, "Verified tokens are remembered until they end, so that each is verified once.")
        .default("{}")
        .example("{}"),
    key(
        "token_cache.max_bytes",
        Size,
        "How much may be remembered. A token is known by a keyed hash; it is never kept itself. Where it isn't written and the \
         memory limit (cgroup) of the process is under 256MiB: a quarter of that.",
    )
    .default("64MiB")
    .example("256MiB"),
    key("state", Section, "What replicas share, and what outlives a restart.").default("{}").example("{}"),
    key(
        "state.redis",
        Url(&["redis", "rediss"]),
        "A Redis or Valkey that replicas share: revocations, rate limits. It is never in a request's way. Several hosts with \
         commas are nodes of one cluster, or sentinels; `?master=name` where sentinels watch several.",
    )
    .example("redis://127.0.0.1:6379"),
    key("state.dir", Text, "A folder for what outlives a restart: the last good key sets, revocations.")
        .example("/var/lib/bearward"),
];

pub(super) const ERRORS: &[Key] = &[
    key("errors", Section, "How refusals look.").default("{}").example("{}"),
    key("errors.realm", Text, "The realm in WWW-Authenticate; printable ASCII.").default("bearward").example("orders"),
];

pub(super) const LAST: &[Key] = &[
    key("logging", Section, "The log, on stdout.").default("{}").example("{}"),
    key(
        "logging.level",
        Text,
        "`off`, `error`, `warn`, `info`, `debug` or `trace`; or RUST_LOG syntax, such as `info,bearward=debug`.",
    )
    .default("info")
    .example("info,bearward=debug"),
    key("logging.format", Word(&["json", "text"]), "One JSON object a line, or text.")
        .absent("`json`, but `text` on a terminal")
        .example("json"),
    key("logging.access", Flag, "One line for each request.").default("true").example("false"),
    key(
        "tracing",
        Section,
        "OpenTelemetry spans: see [tracing.md](tracing.md). The W3C `traceparent` of a request is honoured and passed on in any case.",
    )
    .absent("no spans are sent")
    .example(r#"{"otlp": "http://127.0.0.1:4317"}"#),
    key(
        "tracing.otlp",
        super::HTTP_URL,
        "The collector that spans are sent to, by OTLP: over HTTP in protobuf where the URL has a path, or port 4318 (then at `/v1/traces`), else by gRPC.",
    )
    .example("http://127.0.0.1:4317"),
    key(
        "tracing.sample",
        Fraction,
        "The share of the traces begun here that are sampled. One that a client has begun is where the client says so.",
    )
    .absent("`1.0`, but `0` without `otlp`")
    .example("0.1"),
];
