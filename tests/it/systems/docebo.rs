//! "APIs Authentication" of Docebo.

use serde_json::json;

use super::Stage;
use crate::support::demo::{Answer, has_curl};

const PASSWORD: &str = r"curl -X POST $HOST/oauth2/token \
-F client_id=My-Client-Name \
-F client_secret=ed8c18b099c1f9b8714aaef87001fa3de3a7183d \
-F grant_type=password \
-F scope=api \
-F username=superadmin \
-F password=superadmin-password";

const CLIENT_CREDENTIALS: &str = r"curl -X POST $HOST/oauth2/token \
-F client_id=My-Client-Name \
-F client_secret=ed8c18b099c1f9b8714aaef87001fa3de3a7183d \
-F grant_type=client_credentials \
-F scope=api";

const JWT_BEARER: &str = r"curl -X POST $HOST/oauth2/token \
-F grant_type=urn:ietf:params:oauth:grant-type:jwt-bearer \
-F scope=api \
-F assertion=$ASSERTION";

/// The document's own, of a client that nobody here knows.
const ASSERTION: &str = "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJEb2NlYm9PRU0iLCJzdWIiOiJyaWNjYXJkby5nYWxpbWJlcnRpQGRvY2Viby5jb20iLCJhdWQiOiJyZ2FsaW1iZXJ0aS5kb2NlYm9zYWFzLmNvbSIsImlhdCI6IjE1MTA2NDk4NTAiLCJleHAiOiIyNTU0MzI5NjAwIn0.n0Sr0Cy3wjE7C-TqJLTi1JfZjnWnXcKoCidCtz4o8HsaHI0LomM5Ln3gWOqJXq5EI67yDr9L_EwA44-_lFKVjV8FAmUU72ZU6indDXP7SaCMEmqQu5tbo9AnW_RKHGoAXPWspH95iZe_VaM0SFjmHboZXGgPmEt3aNfhaJBBzIcLuk1EIcGZEqtN4ENVp_MREtCMrFg3yMyx47dcf0rmBvizkmthTW1so8TG7OXgTfNR0tzPNAOPGbRqciSgfcBNb_ftalW0gE3unAnXpfqMD-8gcUq-c43DfTOiCeNm-ZBLmrVoKeUXshyDjf0JOrP8kReIQ9mWIyI0-gvh5-UMVQ";

const CALL: &str = "curl -X GET \
-H \"Authorization: Bearer $TOKEN\" $HOST/learn/v1/courses";

/// A token as the document shows it, with these members.
#[track_caller]
fn token(answer: &Answer, members: &[&str]) -> String {
    assert_eq!((answer.status, answer.members()), (200, members.iter().map(|name| (*name).to_owned()).collect()));
    assert_eq!(answer.fields.get("cache-control"), Some("no-store"));
    let said = answer.json();
    assert_eq!(json!([said["expires_in"], said["token_type"], said["scope"]]), json!([3600, "Bearer", "api"]));
    let token = answer.text("access_token");
    assert!(token.len() == 40 && token.bytes().all(|byte| b"0123456789abcdef".contains(&byte)), "{token}");
    token
}

#[test]
fn its_document_can_be_acted_out() {
    if !has_curl("Docebo's document wasn't acted out") {
        return;
    }
    let stage = Stage::set("docebo");
    let own = std::fs::read_to_string(stage.demo.folder.join("docebo-assertion.jwt")).unwrap();
    for host in stage.hosts() {
        let act = |line: &str, variables: &[(&str, &str)]| stage.act(&host, line, variables);
        let call = |line: &str, token: &str| act(line, &[("TOKEN", token)]);

        // Each grant, as the document shows its answer.
        let plain = ["access_token", "expires_in", "scope", "token_type"];
        let refreshable = ["access_token", "expires_in", "refresh_token", "scope", "token_type"];
        let given = act(PASSWORD, &[]);
        let users = token(&given, &refreshable);
        let clients = token(&act(CLIENT_CREDENTIALS, &[]), &plain);
        let asserted = token(&act(JWT_BEARER, &[("ASSERTION", &own)]), &plain);
        let foreign = act(JWT_BEARER, &[("ASSERTION", ASSERTION)]);
        assert_eq!((foreign.status, foreign.text("error").as_str()), (400, "invalid_grant"));
        let wrong = act(&CLIENT_CREDENTIALS.replace("ed8c18b0", "00000000"), &[]);
        assert_eq!((wrong.status, wrong.text("error").as_str()), (400, "invalid_client"));

        // Sending it to an API. A client's own is refused by those that want a user.
        for users in [&users, &asserted] {
            let answer = call(CALL, users);
            assert_eq!(answer.echoed("authorization"), Some(format!("Bearer {users}")));
            assert_eq!(answer.echoed("x-auth-subject").as_deref(), Some("superadmin"));
            assert_eq!(call(&CALL.replace("/learn/v1/courses", "/manage/v1/user"), users).status, 200);
        }
        for path in ["/learn/v1/courses", "/manage/v1/user"] {
            let refused = call(&CALL.replace("/learn/v1/courses", path), &clients);
            assert_eq!(refused.status, 403);
            assert!(refused.fields.get("www-authenticate").unwrap().contains("insufficient_scope"));
        }
        let classic = call("curl -X POST -H \"Authorization: Bearer $TOKEN\" $HOST/api/user/profile", &clients);
        assert_eq!(classic.echoed("x-auth-client").as_deref(), Some("My-Client-Name"));
        // The document's own token was given out to somebody else.
        assert_eq!(call(CALL, "2af6ac532cfef197b00f69639aeeef86621d1975").status, 401);

        // A JWT that the client signed itself, against the key that it has uploaded.
        let answer = call(CALL, &own);
        assert_eq!(answer.echoed("x-auth-subject").as_deref(), Some("superadmin"));
        assert_eq!(answer.echoed("x-auth-issuer").as_deref(), Some("docebo-client"));
        assert_eq!(call(CALL, ASSERTION).status, 401);

        // Refreshing, once a refresh token.
        let refresh = PASSWORD.replace("grant_type=password", "grant_type=refresh_token -F refresh_token=$REFRESH");
        let refresh_token = given.text("refresh_token");
        let fresh = token(&act(&refresh, &[("REFRESH", &refresh_token)]), &refreshable);
        assert_eq!(call(CALL, &fresh).status, 200);
        assert_eq!(act(&refresh, &[("REFRESH", &refresh_token)]).status, 400);
        assert_eq!(call(CALL, &refresh_token).status, 401, "a refresh token is no access token");

        // Single sign-on.
        let link = r#"curl "$HOST/learn/mycourses?lang=en&access_token=$TOKEN""#;
        let signed_on = call(link, &fresh);
        assert_eq!(signed_on.echoed("authorization"), Some(format!("Bearer {fresh}")));
        assert_eq!(signed_on.json()["query"], "lang=en");
        assert_eq!(signed_on.body.matches(&fresh).count(), 1);
        assert_eq!(signed_on.fields.get("referrer-policy"), Some("no-referrer"));
        assert!(signed_on.fields.all("cache-control").any(|value| value.contains("private")));
        assert_eq!(call(&link.replace("/learn/mycourses?lang=en&", "/?"), &fresh).json()["query"], json!(null));
        assert_eq!(call(link, &clients).status, 403);
        assert_eq!(call(link, "").status, 400);
        assert_eq!(call(&link.replace("&access_token=$TOKEN", ""), "").status, 401);
    }
    assert_eq!(stage.demo.interrupt(), Some(0));
}
