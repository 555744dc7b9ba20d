//! "Authentication Guide" of Degreed.

use serde_json::json;

use super::Stage;
use crate::support::demo::has_curl;

const TOKEN: &str = r#"curl -X POST "$HOST/oauth/token" \
    -H 'Content-Type: application/x-www-form-urlencoded' \
    -d 'grant_type=client_credentials&client_id=abcd&client_secret=efgh&scope=content:read'"#;

const CALL: &str = r#"curl "$HOST/api/v2/users" \
    -H "Authorization: Bearer $TOKEN""#;

const LOG_OUT: &str = r#"curl "$HOST/oauth/logout" \
  -H "Content-Type: application/json" \
  -H "Authorization: Bearer $TOKEN" \
  -X POST"#;

#[test]
fn its_document_can_be_acted_out() {
    if !has_curl("Degreed's document wasn't acted out") {
        return;
    }
    let stage = Stage::set("degreed");
    for host in stage.hosts() {
        let act = |line: &str, variables: &[(&str, &str)]| stage.act(&host, line, variables);
        let call = |line: &str, token: &str| act(line, &[("TOKEN", token)]);
        let of_scope = |scope: &str| act(&TOKEN.replace("content:read", scope), &[]).text("access_token");

        // The answer that the document shows.
        let given = act(TOKEN, &[]);
        let members = ["access_token", "expires_in", "refresh_token", "token_type"];
        assert_eq!((given.status, given.members()), (200, members.map(str::to_owned).to_vec()));
        assert_eq!(json!([given.json()["token_type"], given.json()["expires_in"]]), json!(["bearer", 5_183_999]));

        // "Valid only for the set of operations described in the scope of the token request": content isn't users.
        let content = given.text("access_token");
        let refused = call(CALL, &content);
        assert_eq!(refused.status, 403);
        assert!(refused.fields.get("www-authenticate").unwrap().contains("scope=\"users:read\""));
        assert_eq!(call(&CALL.replace("users", "providers/acme/content"), &content).status, 200);
        for scope in ["users:read", "users:read,content:read", "content:read%20users:read"] {
            assert_eq!(call(CALL, &of_scope(scope)).status, 200, "{scope}");
        }
        assert_eq!(act(&TOKEN.replace("content:read", "admin"), &[]).text("error"), "invalid_scope");
        // The refresh token "is not useful".
        let refresh_token = given.text("refresh_token");
        assert_eq!(call(CALL, &refresh_token).status, 401);
        let refresh = TOKEN.replace("=client_credentials", &format!("=refresh_token&refresh_token={refresh_token}"));
        assert_eq!(act(&refresh, &[]).status, 400);

        // Provider keys and organization keys.
        let providers = act(&TOKEN.replace("=abcd", "=provider-key").replace("=efgh", "=provider-secret"), &[]);
        assert_eq!(providers.json()["expires_in"], 300);
        let providers = providers.text("access_token");
        let own = call(&CALL.replace("users", "providers/acme/content"), &providers);
        assert_eq!(own.echoed("x-provider").as_deref(), Some("acme"));
        assert_eq!(call(&CALL.replace("users", "providers/other/content"), &providers).status, 403);
        assert_eq!(call(CALL, &providers).status, 403);
        let all = call(&CALL.replace("users", "providers/other/content"), &content);
        assert_eq!(all.echoed("x-provider"), None);

        // Logging out ends the token, whatever it looks like, and no other.
        let users = of_scope("users:read");
        for (line, token) in [
            (CALL.to_owned(), users),
            (CALL.replace("users", "providers/acme/content"), providers),
            (CALL.replace("users", "providers/acme/content"), content),
        ] {
            assert_eq!(call(&line, &token).status, 200);
            let other = of_scope("users:read,content:read");
            assert_eq!(call(LOG_OUT, &token).status, 200);
            assert_eq!((call(&line, &token).status, call(LOG_OUT, &token).status), (401, 401));
            assert_eq!(call(&line, &other).status, 200);
        }
        assert_eq!(act(&LOG_OUT.replace("-H \"Authorization: Bearer $TOKEN\" ", ""), &[]).status, 401);
    }
    assert_eq!(stage.demo.interrupt(), Some(0));
}
