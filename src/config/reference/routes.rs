//! Keys of `routes`.

use super::{
    DURATION_OR_NONE, HTTP_URL, Key,
    Kind::{self, Count, Duration, Flag, List, Named, OneOf, Rate, Scalar, Section, Text, Word},
    METHODS,
    Rule::{AtMostOne, ExactlyOne, NotEmpty},
    SIZE_OR_NONE, SOME_SCALARS, SOME_TEXTS, key,
};

const HEADERS: Kind = Named { name: "header", value: &Scalar };

pub(super) const KEYS: &[Key] = &[
    key(
        "routes",
        List(&Section),
        "What is open, and to whom. The most specific route wins, whatever the order; what no route takes gets 404.",
    )
    .required()
    .example(r#"[{"name": "orders", "path": "/orders/**", "upstream": "orders", "allow": "authenticated"}]"#)
    .rules(&[
        ExactlyOne(&["path", "paths"]),
        AtMostOne(&["upstream", "respond", "redirect"]),
        AtMostOne(&["strip_prefix", "rewrite"]),
    ]),
    key("routes.*.name", Text, "What logs and metrics call it; unique.").required().example("orders"),
    key("routes.*.hosts", SOME_TEXTS, "Hosts it is for; `*.` stands for any labels. Ports are ignored.")
        .absent("any host")
        .example(r#"["api.example.com", "*.example.org"]"#),
    key(
        "routes.*.path",
        Text,
        "The path it is for. `{name}` is one segment that isn't empty, `/**` at the end any rest, also none.",
    )
    .example("/orders/{id}"),
    key("routes.*.paths", SOME_TEXTS, "The same, for several paths.").example(r#"["/orders", "/orders/{id}"]"#),
    key("routes.*.methods", METHODS, "Methods it takes; GET covers HEAD. Others get 405.")
        .absent("any method")
        .example(r#"["GET", "POST"]"#),
    key("routes.*.listeners", SOME_TEXTS, "Names of the listeners that it is on.")
        .absent("all of them")
        .example(r#"["public"]"#),
    key(
        "routes.*.upstream",
        Text,
        "Where its requests go: the name of one of `upstreams`, or a URL. A route has this, `respond` or `redirect`.",
    )
    .example("http://127.0.0.1:9000"),
    key("routes.*.respond", Section, "An answer in the place of an upstream.")
        .example(r#"{"status": 404, "body": "nothing here"}"#),
    key("routes.*.respond.status", Count { least: 200, most: 599 }, "Its status.").default("200").example("404"),
    key("routes.*.respond.body", Scalar, "Its body.").absent("an empty body").example("nothing here"),
    key("routes.*.respond.headers", HEADERS, "Its headers.").default("{}").example(r#"{"Content-Type": "text/plain"}"#),
    key("routes.*.redirect", Section, "A redirect in the place of an upstream.").example(r#"{"to": "/v2/orders"}"#),
    key(
        "routes.*.redirect.to",
        Text,
        "Where to: a path or a URL, in which `{name}` and a final `/**` stand for what the request's path has.",
    )
    .required()
    .example("https://new.example.com/"),
    key("routes.*.redirect.status", Count { least: 301, most: 308 }, "301, 302, 303, 307 or 308.")
        .default("308")
        .example("307"),
    key("routes.*.strip_prefix", Text, "What is taken from the beginning of the path that goes upstream.")
        .example("/rest"),
    key("routes.*.rewrite", Text, "The path that goes upstream, with the path's `{name}`s.").example("/v2/{id}"),
    key(
        "routes.*.allow",
        OneOf(&[Word(&["public", "optional", "authenticated"]), Kind::Some(&Section)]),
        "Who is let in. `public`: everybody, no credential is looked at. `optional`: also whoever sends none, then \
         without identity. `authenticated`: whoever has a good token. A list: one rule that holds in all that it says \
         is enough.",
    )
    .required()
    .example(r#"[{"scopes": ["orders:read"]}]"#)
    .rules(&[NotEmpty]),
    key("routes.*.allow.*.methods", METHODS, "Methods that the rule is for; GET covers HEAD.")
        .absent("those of the route")
        .example(r#"["GET"]"#),
    key("routes.*.allow.*.scopes", SOME_SCALARS, "Scopes that the token must have, all of them.")
        .example(r#"["orders:read"]"#),
    key("routes.*.allow.*.any_scope", SOME_SCALARS, "Scopes of which the token must have one.")
        .example(r#"["orders:write", "orders:admin"]"#),
    key("routes.*.allow.*.roles", SOME_SCALARS, "Roles that the token must have, all of them.")
        .example(r#"["staff"]"#),
    key("routes.*.allow.*.any_role", SOME_SCALARS, "Roles of which the token must have one.")
        .example(r#"["editor", "owner"]"#),
    key("routes.*.allow.*.issuers", SOME_TEXTS, "Names of issuers, one of which the token must be of.")
        .absent("every issuer of the route")
        .example(r#"["login"]"#),
    key("routes.*.allow.*.audiences", SOME_SCALARS, "Audiences of which the token must have one, besides the issuer's.")
        .example(r#"["orders-admin"]"#),
    key(
        "routes.*.allow.*.token_kind",
        Word(&["user", "client"]),
        "Whether the token must be a user's or a client's own (see `claims.token_kind` of issuers).",
    )
    .absent("either")
    .example("user"),
    key(
        "routes.*.allow.*.claims",
        Named { name: "claim", value: &OneOf(&[Scalar, SOME_SCALARS, Section]) },
        "Claims by their path and what they must equal: a value, or one of a list. `{path.x}`, `{query.x}`, \
         `{header.x}` and `{host}` come from the request; quote them. A list in the token equals a value if one of its \
         elements does.",
    )
    .example(r#"{"tenant": "{path.tenant}", "plan": ["pro", "team"], "email": {"matches": "@example\\.com$"}}"#)
    .rules(&[ExactlyOne(&["present", "matches"])]),
    key("routes.*.allow.*.claims.*.present", Flag, "Whether the claim must be there, or must not.").example("true"),
    key("routes.*.allow.*.claims.*.matches", Text, "A regular expression that it must match.")
        .example(r"@example\.com$"),
    key(
        "routes.*.allow.*.acr",
        SOME_SCALARS,
        "How the user authenticated: one of these must be in `acr`, else there is a step-up challenge (RFC 9470).",
    )
    .example(r#"["urn:mace:silver"]"#),
    key(
        "routes.*.allow.*.max_age",
        Duration,
        "How long ago the user may have authenticated (`auth_time`), else a step-up challenge. Whole seconds.",
    )
    .example("5m"),
    key(
        "routes.*.allow.*.when",
        Text,
        "An expression in CEL over `claims`, `token`, `request`, `path`, `query` and `headers`. One that fails to \
         evaluate is false.",
    )
    .example(r#"claims.plan in ["pro", "team"]"#),
    key("routes.*.issuers", SOME_TEXTS, "Names of the issuers whose tokens it takes at all.")
        .absent("every issuer")
        .example(r#"["login"]"#),
    key(
        "routes.*.token_from",
        OneOf(&[Word(&["header"]), Section, Kind::Some(&OneOf(&[Word(&["header"]), Section]))]),
        "Where a token may be: `header` (Authorization), or one of the places below; one, or a list of them. A request \
         with two tokens is refused.",
    )
    .default(r#"["header"]"#)
    .example(r#"["header", {"cookie": "session"}]"#)
    .rules(&[ExactlyOne(&["query", "cookie", "header"])]),
    key("routes.*.token_from.*.query", Text, "A parameter of the query.").example("access_token"),
    key("routes.*.token_from.*.cookie", Text, "A cookie.").example("session"),
    key("routes.*.token_from.*.header", Text, "A header that has the token alone.").example("X-Api-Token"),
    key(
        "routes.*.enforce",
        Flag,
        "`false` is a dry run: a refusal for credential, token or rules is logged and counted, and the request goes on.",
    )
    .default("true")
    .example("false"),
    key("routes.*.rate_limit", OneOf(&[Section, Kind::Some(&Section)]), "How often it may be called; then 429.")
        .example(r#"[{"rate": "100/s", "per": "client"}]"#),
    key("routes.*.rate_limit.*.rate", Rate, "How many requests in which time.").required().example("100/s"),
    key("routes.*.rate_limit.*.burst", Count { least: 1, most: 10_000_000 }, "How many at once.")
        .absent("as many as `rate` names")
        .example("200"),
    key(
        "routes.*.rate_limit.*.per",
        Text,
        "Whose requests are counted together: `client`, `subject`, `claims.<path>`, `ip` or `route`. Where a token \
         doesn't say, by IP address. The last two count before the credential is looked at.",
    )
    .absent("`client`; on a public route `ip`")
    .example("subject"),
    key("routes.*.max_body_bytes", SIZE_OR_NONE, "A bigger request body gets 413.")
        .absent("`server.max_body_bytes`")
        .example("1MiB"),
    key("routes.*.timeout", DURATION_OR_NONE, "How long a whole exchange may take.").default("none").example("30s"),
    key(
        "routes.*.cors",
        Section,
        "Which pages of other origins may call it. Preflights are answered here, without a token; the upstream's own \
         CORS headers are replaced.",
    )
    .absent("CORS is left to the upstream")
    .example(r#"{"origins": ["https://app.example.com"]}"#),
    key("routes.*.cors.origins", SOME_TEXTS, "Origins of those pages; `\"*\"` for any.")
        .required()
        .example(r#"["https://app.example.com"]"#),
    key("routes.*.cors.methods", METHODS, "Methods that they may use.")
        .absent("those that the route takes")
        .example(r#"["GET", "POST"]"#),
    key("routes.*.cors.headers", SOME_TEXTS, "Headers that they may send.")
        .absent("none but what every page may send")
        .example(r#"["Authorization", "Content-Type"]"#),
    key("routes.*.cors.credentials", Flag, "Whether cookies may go along. Not with `*`.")
        .default("false")
        .example("true"),
    key("routes.*.cors.max_age", Duration, "How long a browser may remember the answer to a preflight.")
        .absent("as long as the browser likes")
        .example("10m"),
    key("routes.*.headers", Section, "Headers that are set and removed.").default("{}").example("{}"),
    key("routes.*.headers.request", Section, "On the request that goes upstream.").default("{}").example("{}"),
    key("routes.*.headers.request.set", HEADERS, "Set, in the place of what the client sent.")
        .default("{}")
        .example(r#"{"X-Env": "prod"}"#),
    key("routes.*.headers.request.remove", List(&Text), "Removed.").default("[]").example(r#"["X-Debug"]"#),
    key("routes.*.headers.response", Section, "On every answer.").default("{}").example("{}"),
    key("routes.*.headers.response.set", HEADERS, "Set, in the place of what the upstream sent.")
        .default("{}")
        .example(r#"{"Strict-Transport-Security": "max-age=31536000"}"#),
    key("routes.*.headers.response.remove", List(&Text), "Removed.").default("[]").example(r#"["Server"]"#),
    key(
        "routes.*.revokes",
        Word(&["token"]),
        "A 2xx from the upstream ends the token that the request came with, here and on every replica: for logout.",
    )
    .absent("it ends nothing")
    .example("token"),
    key(
        "routes.*.protected_resource",
        Section,
        "Metadata of the API (RFC 9728), named in this route's challenges and served to everybody, on the route's hosts \
         and listeners, at `/.well-known/oauth-protected-resource` and the path of `resource`.",
    )
    .example(r#"{"resource": "https://api.example.com/orders"}"#),
    key("routes.*.protected_resource.resource", HTTP_URL, "The API's own identifier: an https URL, as clients call it.")
        .required()
        .example("https://api.example.com/orders"),
    key("routes.*.protected_resource.scopes_supported", SOME_SCALARS, "Scopes that a client may ask for.")
        .absent("none are told: a client learns from challenges what it lacks")
        .example(r#"["orders:read"]"#),
];
