//! "API Access" of CERN's single sign-on.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::Stage;
use crate::support::demo::has_curl;

const TOKEN: &str = r#"curl --location --request POST "$HOST/auth/realms/cern/api-access/token" \
--header 'Content-Type: application/x-www-form-urlencoded' \
--data-urlencode 'grant_type=client_credentials' \
--data-urlencode "client_id=my-client-id" \
--data-urlencode "client_secret=00000000-0000-0000-0000-000000000000" \
--data-urlencode "audience=the-target-api""#;

const CALL: &str = r#"curl -H "Authorization: Bearer $TOKEN" $HOST/target/runs"#;

#[test]
fn its_document_can_be_acted_out() {
    if !has_curl("CERN's document wasn't acted out") {
        return;
    }
    let stage = Stage::set("cern");
    let [demo, example] = stage.hosts();
    for host in [&demo, &example] {
        let act = |line: &str, variables: &[(&str, &str)]| stage.act(host, line, variables);
        let call = |line: &str, token: &str| act(line, &[("TOKEN", token)]);
        let of = |audiences: &str| act(&TOKEN.replace("audience=the-target-api", audiences), &[]).text("access_token");

        let given = act(TOKEN, &[]);
        assert_eq!((given.status, &given.json()["token_type"]), (200, &json!("Bearer")));
        let token = given.text("access_token");
        let claims = BASE64_URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
        let claims: Value = serde_json::from_slice(&claims).unwrap();
        // "The sub claim of the token will be in the format service-account-<client id>."
        assert_eq!(
            (&claims["sub"], &claims["aud"]),
            (&json!("service-account-my-client-id"), &json!(["the-target-api"]))
        );

        let answer = call(CALL, &token);
        assert_eq!(answer.echoed("x-auth-subject").as_deref(), Some("service-account-my-client-id"));
        assert_eq!(answer.echoed("x-auth-client").as_deref(), Some("my-client-id"));
        assert_eq!(answer.echoed("x-auth-roles").as_deref(), Some("reader"));
        assert_eq!(call(&CALL.replace("curl", "curl -X POST"), &token).status, 403, "it is no editor");
        assert_eq!(act("curl $HOST/target/runs", &[]).status, 401);

        // With several audiences, one of which is ours, the roles are below resource_access alone.
        let several = of("audience=other-api\" --data-urlencode \"audience=the-target-api");
        assert_eq!(call(CALL, &several).echoed("x-auth-roles").as_deref(), Some("reader"));
        assert_eq!(call(CALL, &of("audience=other-api")).status, 401);

        let wrong = act(&TOKEN.replace("=00000000-", "=00000001-"), &[]);
        assert_eq!((wrong.status, wrong.text("error").as_str()), (401, "unauthorized_client"));
        assert_eq!(act(&TOKEN.replace("=the-target-api", "=nobody"), &[]).status, 400);
    }
    // The demo has the Authorization Service behind it, too, which takes its own tokens.
    let service = TOKEN.replace("=the-target-api", "=authorization-service-api");
    let service = stage.act(&demo, &service, &[]).text("access_token");
    let called = stage.act(&demo, &CALL.replace("/target/runs", "/api/v1.0/Identity"), &[("TOKEN", &service)]);
    assert_eq!(called.status, 200);
    assert_eq!(stage.act(&demo, CALL, &[("TOKEN", &service)]).status, 403);
    assert_eq!(stage.act(&example, CALL, &[("TOKEN", &service)]).status, 401);
    // What only this application may do, and what only people may.
    let token = stage.act(&example, TOKEN, &[]).text("access_token");
    let import = CALL.replace("curl", "curl -X POST").replace("runs", "import");
    assert_eq!(stage.act(&example, &import, &[("TOKEN", &token)]).status, 200);
    assert_eq!(stage.act(&example, &CALL.replace("runs", "me"), &[("TOKEN", &token)]).status, 403);
    assert_eq!(stage.demo.interrupt(), Some(0));
}
