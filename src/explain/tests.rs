#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use hyper::HeaderMap;
use serde_json::{Value, json};

use super::*;
use crate::{config, decision::rehearsal::Presented, observe::Observer, rehearsal::rehearse, snapshot::LongLived};

/// Nothing here may hang on the real time.
const NOW: i64 = 1_600_000_000;
/// Good for more than two hundred years.
const LATER: i64 = 9_000_000_000;
const SECRET: &str = "0123456789abcdef0123456789abcdef";

const GATEWAY: &str = r#"
listen: [{address: "127.0.0.1:8080", name: public}, {address: "127.0.0.1:8081", name: internal}]
issuers:
  cern:
    issuer: https://auth.example.org/realms/cern
    audiences: [the-target-api]
    claims: {roles: [cern_roles]}
    jwt: {secret: "0123456789abcdef0123456789abcdef", require_claims: [exp, sub]}
  digitaleo: {issuer: "https://oauth.example.org", audiences: any, jwt: {secret: "0123456789abcdef0123456789abcdef"}}
  far: {issuer: "https://far.example", audiences: [api]}
upstreams:
  campaigns: {url: "http://127.0.0.1:9000"}
routes:
  - name: campaigns
    hosts: [api.example.com]
    path: /rest/campaigns/{id}
    methods: [GET, POST]
    strip_prefix: /rest
    upstream: campaigns
    issuers: [cern, far]
    allow:
      - {methods: [GET], scopes: [campaigns:read]}
      - {methods: [GET], any_role: [admin, owner], token_kind: user}
      - {methods: [POST], scopes: [campaigns:write], roles: [editor], claims: {tenant: "{query.tenant}", email: {matches: "@example"}}, acr: [gold], max_age: 5m}
  - {name: deletion, hosts: [api.example.com], path: "/rest/campaigns/{id}", methods: [DELETE], upstream: campaigns, allow: [{methods: [DELETE], roles: [root]}]}
  - {name: rest, hosts: [api.example.com], path: /rest/**, upstream: campaigns, allow: authenticated}
  - {name: elsewhere, hosts: [other.example.com], path: "/rest/campaigns/{id}", upstream: campaigns, allow: public}
  - {name: inside, listeners: [internal], path: "/rest/campaigns/{id}", upstream: campaigns, allow: public}
  - {name: tried, hosts: [api.example.com], path: /tried, upstream: campaigns, enforce: false, allow: authenticated}
  - {name: health, path: /health, respond: {status: 204}, allow: public}
"#;

fn snapshot() -> Snapshot {
    let policy = config::load_str(GATEWAY, "gateway.yaml").unwrap().policy;
    Snapshot::assemble(&policy, &LongLived::new(Observer::silent(), 1)).unwrap().0
}

enum Who {
    Nobody,
    Claims(&'static str, Value),
    Token(String),
}

async fn explained(request: &str, who: Who) -> Explanation {
    let snapshot = snapshot();
    let (method, url) = request.split_once(' ').unwrap();
    let mut question = Question::new(method, url, HeaderMap::new()).unwrap();
    question.now = NOW;
    let sent = Presented::Sent { may_fetch: false };
    let answer = match &who {
        Who::Nobody => rehearse(&snapshot, &question, sent).await,
        Who::Token(token) => {
            question.present(token).unwrap();
            rehearse(&snapshot, &question, sent).await
        }
        Who::Claims(issuer, claims) => {
            let (issuer, claims) = (snapshot.issuer(issuer).unwrap(), claims.as_object().unwrap());
            rehearse(&snapshot, &question, Presented::Assumed { issuer, claims }).await
        }
    };
    Explanation::new(&snapshot, &question, &answer)
}

fn signed(header: Value, claims: &Value) -> String {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    let message = [&header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string())).join(".");
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, SECRET.as_bytes());
    let signature = URL_SAFE_NO_PAD.encode(aws_lc_rs::hmac::sign(&key, message.as_bytes()));
    format!("{message}.{signature}")
}

fn hs256() -> Value {
    json!({"alg": "HS256", "typ": "at+jwt", "kid": "k1"})
}

fn claims(more: Value) -> Value {
    let mut claims = json!({
        "iss": "https://auth.example.org/realms/cern",
        "aud": ["the-target-api", "account"],
        "sub": "u1",
        "azp": "app",
        "exp": LATER,
        "iat": NOW - 3700,
    });
    for (name, value) in more.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims
}

const CAMPAIGN: &str = "GET https://api.example.com/rest/campaigns/7";

async fn text(request: &str, who: Who) -> String {
    let text = explained(request, who).await.to_text(false);
    assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
    text
}

fn kept(name: &str, text: String) {
    insta::with_settings!({ omit_expression => true }, { insta::assert_snapshot!(name, text) });
}

#[tokio::test]
async fn a_good_token() {
    let token = signed(hs256(), &claims(json!({"scope": "campaigns:read profile"})));
    let text = text(CAMPAIGN, Who::Token(token.clone())).await;
    assert!(token.split('.').all(|part| !text.contains(part)), "{text}");
    kept("a_good_token", text);
    let explanation = explained(CAMPAIGN, Who::Token(token)).await;
    kept("a_good_token_as_json", format!("{:#}", explanation.to_json()));
}

#[tokio::test]
async fn the_commonest_first_failure_names_the_remedy() {
    let assumed = claims(json!({"aud": "account", "scope": "campaigns:read"}));
    kept("aud_account", text(CAMPAIGN, Who::Claims("cern", assumed)).await);
}

#[tokio::test]
async fn a_token_with_everything_wrong() {
    let wrong = claims(json!({
        "aud": "other", "exp": NOW - 180, "nbf": LATER, "iat": LATER, "sub": null, "cnf": {"jkt": "x"},
    }));
    let token = signed(json!({"alg": "RS256", "typ": "ID", "crit": ["x"]}), &wrong);
    kept("everything_wrong", text(CAMPAIGN, Who::Token(token)).await);
}

#[tokio::test]
async fn a_token_of_somebody_else() {
    let token = signed(hs256(), &claims(json!({"iss": "https://auth.example.org/realms/cern/"})));
    kept("nearly_the_issuer", text(CAMPAIGN, Who::Token(token)).await);
    let token = signed(hs256(), &claims(json!({"iss": "https://oauth.example.org"})));
    kept("another_issuer_of_the_file", text(CAMPAIGN, Who::Token(token)).await);
    kept("opaque", text(CAMPAIGN, Who::Token("0123456789abcdef".to_owned())).await);
    let token = signed(json!({"alg": "RS256"}), &claims(json!({"iss": "https://far.example", "aud": "api"})));
    kept("keys_out_of_reach", text(CAMPAIGN, Who::Token(token)).await);
}

#[tokio::test]
async fn rules_that_do_not_hold() {
    kept("no_rule_holds", text(CAMPAIGN, Who::Claims("cern", claims(json!({"cern_roles": ["guest"]})))).await);
    let request = "POST https://api.example.com/rest/campaigns/7?tenant=acme&access_token=secret";
    let assumed =
        claims(json!({"scope": "campaigns:read", "tenant": "other", "auth_time": NOW - 7200, "acr": "bronze"}));
    let text = text(request, Who::Claims("cern", assumed)).await;
    assert!(!text.contains("secret"), "{text}");
    kept("many_conditions", text);
}

#[tokio::test]
async fn requests_without_a_token() {
    for (name, request) in [
        ("no_credential", CAMPAIGN),
        ("public", "GET http://other.example.com/rest/campaigns/7"),
        ("own_answer", "GET /health"),
        ("not_enforced", "GET https://api.example.com/tried"),
        ("no_route", "GET https://api.example.com/rset/campaigns/7"),
        ("no_method", "PATCH https://api.example.com/rest/campaigns/7"),
        ("a_path_with_two_readings", "GET https://api.example.com/rest/campaigns/%37;v=1/..;/x"),
        ("no_canonical_path", "GET https://api.example.com/rest%2Fcampaigns"),
    ] {
        kept(name, text(request, Who::Nobody).await);
    }
}

#[tokio::test]
async fn colours_and_nothing_that_steers_a_terminal() {
    let assumed = claims(json!({"sub": "a\u{1b}[31mb", "azp": "x\ny", "scope": "campaigns:read"}));
    let explanation = explained(CAMPAIGN, Who::Claims("cern", assumed)).await;
    assert!(!explanation.to_text(false).contains('\u{1b}'));
    assert!(!explanation.to_text(true).contains("\u{1b}[31mb"));
    assert!(explanation.to_text(true).contains("\u{1b}[1;32mALLOWED\u{1b}[0m"));
}
