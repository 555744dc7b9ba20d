//! Keys of `identity`, at the top and on a route.

use super::{
    Absent::{self, Default, Means, Required},
    Key,
    Kind::{Duration, Named, OneOf, Scalar, Secret, Section, Text, Word},
    key,
};

/// The same keys below two places.
macro_rules! identity {
    ($at:literal, $doc:literal, $headers:expr, $authorization:expr, $assertion:expr, $needed:expr) => {
        [
            key($at, Section, $doc).default("{}").example("{}"),
            key(
                concat!($at, ".headers"),
                Named { name: "header", value: &OneOf(&[Text, Section]) },
                "Headers and what they say: `subject`, `client`, `scopes` (joined by spaces), `roles` (by commas), \
                 `issuer` (its name in this file), `claims.<path>`, or a literal. What a token doesn't have is not sent.",
            )
            .left_out($headers)
            .example(r#"{"X-Auth-Subject": "subject", "X-Tenant": "claims.tenant"}"#),
            key(concat!($at, ".headers.*.value"), Scalar, "A literal.").required().example("production"),
            key(
                concat!($at, ".authorization"),
                Word(&["forward", "remove"]),
                "Whether the token goes on, as `Authorization: Bearer`.",
            )
            .left_out($authorization)
            .example("remove"),
            key(
                concat!($at, ".assertion"),
                Section,
                "A short-lived JWT that the gateway signs and the upstream can verify. Its keys are at \
                 `/.well-known/bearward/jwks.json`.",
            )
            .left_out($assertion)
            .example(r#"{"header": "X-Auth-Assertion", "private_key": "gateway.pem", "issuer": "https://gateway.example"}"#),
            key(concat!($at, ".assertion.header"), Text, "The header that carries it.").default("X-Auth-Assertion").example("X-Auth-Assertion"),
            key(
                concat!($at, ".assertion.private_key"),
                Secret,
                "A PEM file with the key that signs it: Ed25519, P-256 or RSA. Further private keys in it are published and \
                 sign nothing: the next key can be known before it is used.",
            )
            .left_out($needed)
            .example("gateway.pem"),
            key(concat!($at, ".assertion.issuer"), Text, "Its `iss`.").left_out($needed).example("https://gateway.example"),
            key(concat!($at, ".assertion.audience"), Scalar, "Its `aud`; `upstream` is the name of one of `upstreams`, or the route's where it leads to none of them.")
                .default("upstream")
                .example("orders-api"),
            key(concat!($at, ".assertion.ttl"), Duration, "How long it is good, if the caller's token is good for so long; a day at most.").default("60s").example("30s"),
        ]
    };
}

pub(super) const OF_ALL_ROUTES: [Key; 10] = identity!(
    "identity",
    "What an authorised request carries on. No client can send these headers itself.",
    Means("`X-Auth-Subject`, `X-Auth-Client`, `X-Auth-Scopes`, `X-Auth-Roles` and `X-Auth-Issuer`"),
    Default("forward"),
    Means("none is sent"),
    Required
);

const AS_AT_THE_TOP: Absent = Means("as `identity` at the top says");

pub(super) const OF_A_ROUTE: [Key; 10] = identity!(
    "routes.*.identity",
    "Replaces what `identity` at the top says, key by key (`headers` as one).",
    AS_AT_THE_TOP,
    AS_AT_THE_TOP,
    AS_AT_THE_TOP,
    AS_AT_THE_TOP
);
