//! Keys of `issuers`.

use super::{
    DURATION_OR_NONE, HTTP_URL, Key,
    Kind::{Count, Duration, Flag, Json, List, Named, OneOf, Scalar, Secret, Section, Text, Word},
    Rule::{AtMostOne, Needs},
    SOME_SCALARS, SOME_TEXTS, key,
};

pub(super) const KEYS: &[Key] = &[
    key(
        "issuers",
        Named { name: "issuer", value: &Section },
        "Who may sign tokens or vouch for them. The name is what routes, logs and metrics call it.",
    )
    .absent("no token is good; every route must be public then")
    .example(r#"{"login": {"issuer": "https://login.example.com", "audiences": ["orders-api"]}}"#),
    key(
        "issuers.*.issuer",
        Text,
        "What its tokens have in `iss`, to the letter. May be left out where only opaque tokens are asked about.",
    )
    .example("https://login.example.com"),
    key(
        "issuers.*.audiences",
        OneOf(&[Word(&["any"]), SOME_SCALARS]),
        "One of these must be in `aud`. `any` says on purpose that tokens for anybody are accepted; `check` warns.",
    )
    .required()
    .example(r#"["orders-api"]"#),
    key(
        "issuers.*.jwt",
        Section,
        "Its JWTs are verified here, with keys from one source: discovery, `jwks_uri`, `jwks_file`, `jwks`, \
         `public_keys`, `secret` or `secret_base64`.",
    )
    .absent("as `{}` (keys by discovery), unless there is `introspection` or `userinfo`")
    .example("{}")
    .rules(&[AtMostOne(&["jwks_uri", "jwks_file", "jwks", "public_keys", "secret", "secret_base64"])]),
    key(
        "issuers.*.jwt.discovery",
        Flag,
        "Keys by OpenID Connect discovery, else by RFC 8414. The document's `issuer` must be equal.",
    )
    .absent("`true`, unless there is another source of keys")
    .example("true"),
    key("issuers.*.jwt.jwks_uri", HTTP_URL, "A JSON Web Key Set by URL.")
        .example("https://login.example.com/oauth2/certs"),
    key("issuers.*.jwt.jwks_file", Text, "A file with a JSON Web Key Set.").example("keys.json"),
    key("issuers.*.jwt.jwks", Json, "A JSON Web Key Set in place.").example(
        r#"{"keys": [{"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#,
    ),
    key("issuers.*.jwt.public_keys", SOME_TEXTS, "PEM files with public keys or certificates.")
        .example(r#"["login.pem"]"#),
    key(
        "issuers.*.jwt.secret",
        Secret,
        "A shared secret for HS256, HS384 and HS512, of at least 32, 48 and 64 bytes. Whoever has it can make tokens.",
    )
    .example("${HS_SECRET}"),
    key("issuers.*.jwt.secret_base64", Secret, "The same in base64; padding is optional.")
        .example("${file:hs_secret.txt}"),
    key(
        "issuers.*.jwt.algorithms",
        super::Kind::Some(&Word(&[
            "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA", "HS256", "HS384", "HS512",
        ])),
        "Signatures that are accepted.",
    )
    .absent("all but HS*; with a secret, those of HS* that it is long enough for")
    .example(r#"["RS256", "ES256"]"#),
    key("issuers.*.jwt.types", SOME_TEXTS, "Accepted `typ`, in any case. A token without one counts as `JWT`.")
        .default(r#"["at+jwt", "JWT"]"#)
        .example(r#"["at+jwt"]"#),
    key("issuers.*.jwt.clock_skew", Duration, "How far clocks may differ, for `exp`, `nbf` and `iat`.")
        .default("30s")
        .example("10s"),
    key("issuers.*.jwt.max_token_age", DURATION_OR_NONE, "A token whose `iat` is older, or absent, is refused.")
        .default("none")
        .example("12h"),
    key(
        "issuers.*.jwt.require_claims",
        List(&Text),
        "Claims that a token must have. Without `exp`, a token can be good for ever; `check` warns.",
    )
    .default(r#"["exp"]"#)
    .example(r#"["exp", "sub"]"#),
    key(
        "issuers.*.jwt.require_issuer",
        Flag,
        "With `false`, a JWT without `iss` may be this issuer's too, if a key fits. One with a wrong `iss` never.",
    )
    .default("true")
    .example("false"),
    key("issuers.*.jwt.string_dates", Flag, "With `true`, dates may be JSON strings: `\"1510649850\"`.")
        .default("false")
        .example("true"),
    key(
        "issuers.*.jwt.refresh",
        Duration,
        "How often remote keys are fetched in the background. A shorter `Cache-Control: max-age` wins, down to 1m.",
    )
    .default("10m")
    .example("5m"),
    key("issuers.*.jwt.stale_keys", Duration, "How long keys still serve when fetching fails.")
        .default("24h")
        .example("2h"),
    key(
        "issuers.*.introspection",
        Section,
        "The issuer is asked about tokens (RFC 7662): opaque ones, and its JWTs if it has no `jwt`.",
    )
    .example(
        r#"{"endpoint": "https://login.example.com/introspect", "client_id": "gateway", "client_secret": "${INTROSPECTION_SECRET}"}"#,
    )
    .rules(&[Needs("certificate", "key"), Needs("key", "certificate")]),
    key("issuers.*.introspection.endpoint", HTTP_URL, "Where it is asked.")
        .absent("by discovery")
        .example("https://login.example.com/introspect"),
    key("issuers.*.introspection.client_id", Scalar, "Who the gateway is to the issuer.").example("gateway"),
    key("issuers.*.introspection.client_secret", Secret, "The secret of that client.")
        .example("${INTROSPECTION_SECRET}"),
    key(
        "issuers.*.introspection.auth",
        Word(&["basic", "post", "bearer", "private_key_jwt", "none"]),
        "How the gateway proves who it is. `bearer` needs `bearer_token`, `private_key_jwt` needs `private_key`.",
    )
    .default("basic")
    .example("post"),
    key("issuers.*.introspection.bearer_token", Secret, "The token for `auth: bearer`.")
        .example("${INTROSPECTION_TOKEN}"),
    key("issuers.*.introspection.private_key", Secret, "A PEM file, for `auth: private_key_jwt`.")
        .example("gateway.pem"),
    key(
        "issuers.*.introspection.tokens",
        Text,
        "A regular expression: what this issuer's opaque tokens look like. Others are never sent to it.",
    )
    .absent("any")
    .example("^[0-9a-f]{40}$"),
    key("issuers.*.introspection.timeout", Duration, "How long an answer may take; then 503.")
        .default("2s")
        .example("1s"),
    key(
        "issuers.*.introspection.cache_ttl",
        Duration,
        "How long an answer is remembered, but never past the token's `exp`. `0s` asks every time.",
    )
    .default("60s")
    .example("10s"),
    key("issuers.*.introspection.negative_ttl", Duration, "How long it is remembered that a token isn't active.")
        .default("5s")
        .example("1s"),
    key(
        "issuers.*.introspection.max_concurrent",
        Count { least: 1, most: 10_000_000 },
        "With more questions than this on their way, a token that isn't known gets 503: there is no queue.",
    )
    .default("64")
    .example("16"),
    key("issuers.*.introspection.signed", Flag, "With `true`, the answer must be signed (RFC 9701).")
        .default("false")
        .example("true"),
    key("issuers.*.introspection.certificate", Text, "A PEM file: the client certificate for mutual TLS.")
        .example("gw.crt"),
    key("issuers.*.introspection.key", Text, "A PEM file with that certificate's private key.").example("gw.key"),
    key(
        "issuers.*.userinfo",
        Section,
        "For providers with neither: a token is good if this endpoint answers 200; its JSON gives the claims. It can't \
         tell whom a token is for, so it needs `audiences: any`.",
    )
    .example(r#"{"endpoint": "https://login.example.com/userinfo"}"#),
    key("issuers.*.userinfo.endpoint", HTTP_URL, "Where it is asked.").example("https://login.example.com/userinfo"),
    key("issuers.*.userinfo.cache_ttl", Duration, "How long an answer is remembered.").default("60s").example("10s"),
    key(
        "issuers.*.claims",
        Section,
        "Where this issuer keeps things. A path is dotted, `*` is any key; several are united. A name with `://` or \
         `urn:` is one key, and a claim of the whole name comes first.",
    )
    .default("{}")
    .example("{}"),
    key(
        "issuers.*.claims.scopes",
        List(&Text),
        "Where scopes are. A text is split at spaces and commas, a list is taken as it is.",
    )
    .default(r#"["scope", "scp"]"#)
    .example(r#"["scope", "permissions"]"#),
    key("issuers.*.claims.roles", List(&Text), "Where roles are.")
        .default(r#"["roles"]"#)
        .example(r#"["roles", "realm_access.roles", "resource_access.*.roles"]"#),
    key("issuers.*.claims.subject", Text, "Where it says whom a token speaks for.").default("sub").example("user_id"),
    key("issuers.*.claims.client", List(&Text), "Where it says which client got the token; the first that is there.")
        .default(r#"["client_id", "azp", "cid"]"#)
        .example(r#"["azp"]"#),
    key("issuers.*.claims.token_kind", Section, "Whether a token is a user's or a client's own.")
        .default("{}")
        .example("{}"),
    key(
        "issuers.*.claims.token_kind.client_if",
        Section,
        "A token without subject, or whose subject is the client's id, is the client's own; so is one like this.",
    )
    .default("{}")
    .example("{}"),
    key(
        "issuers.*.claims.token_kind.client_if.subject_matches",
        Text,
        "A regular expression for subjects that are clients.",
    )
    .example("^service-account-"),
    key(
        "issuers.*.dpop",
        Section,
        "How proofs of possession are taken (RFC 9449). Where it is there, challenges name DPoP.",
    )
    .absent("challenges do not name DPoP; proofs are taken all the same")
    .example("{}"),
    key("issuers.*.dpop.max_age", Duration, "A proof whose `iat` is further away is refused.")
        .default("60s")
        .example("30s"),
    key("issuers.*.dpop.nonce", Flag, "With `true`, clients are asked for nonces that the gateway gives.")
        .default("false")
        .example("true"),
    key("issuers.*.logout", Section, "Which messages of this issuer end its tokens before their time.").default("{}").example("{}"),
    key(
        "issuers.*.logout.back_channel",
        Flag,
        "OpenID Connect back-channel logout, at `/.well-known/bearward/logout/<name>` of a proxy listener. The issuer's \
         name is in letters, digits and `-._~`; a logout token's `aud` is one of `audiences` or `introspection.client_id`.",
    )
    .default("false")
    .example("true"),
    key(
        "issuers.*.logout.events",
        Flag,
        "Shared Signals by push (RFC 8935), at `/.well-known/bearward/events/<name>` of a proxy listener. CAEP's \
         `session-revoked` and RISC's `account-disabled`, among others, end tokens; names as with `back_channel`.",
    )
    .default("false")
    .example("true"),
    key(
        "issuers.*.sender_constraint",
        Word(&["none", "mtls", "dpop"]),
        "Whether tokens must be bound to who sends them: by a certificate (RFC 8705) or a proof (RFC 9449). With \
         `none`, a binding that a token has is honoured.",
    )
    .default("none")
    .example("dpop"),
    key("issuers.*.tls_ca", Text, "A PEM file with further roots for this issuer's endpoints.")
        .absent("the system's roots alone")
        .example("ca.pem"),
    key("issuers.*.http_timeout", Duration, "How long a call to this issuer may take.").default("5s").example("2s"),
    key(
        "issuers.*.allow_http",
        Flag,
        "With `true`, endpoints over plain http off loopback are accepted: whoever is in between can change the keys. \
         `check` warns.",
    )
    .default("false")
    .example("true"),
];
