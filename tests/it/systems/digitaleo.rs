//! "Authentification oAuth 2.0" of Digitaleo.

use serde_json::json;

use super::Stage;
use crate::support::{
    demo::{Demo, has_curl},
    raw::Client,
};

const TOKEN: &str = "curl $HOST/token \
-d 'client_id=51612c780b4dbaea8f81995beccbcfec08969d0e' \
-d 'client_secret=p280edbd76d510c41990cbe5e6108c7e' \
-d 'grant_type=client_credentials'";

const CALL: &str = r#"curl -H "Authorization: Bearer $TOKEN" $HOST/rest/campaigns"#;

#[test]
fn its_document_can_be_acted_out() {
    if !has_curl("Digitaleo's document wasn't acted out") {
        return;
    }
    let stage = Stage::set("digitaleo");
    for host in stage.hosts() {
        let act = |line: &str, variables: &[(&str, &str)]| stage.act(&host, line, variables);

        // The token: by curl, and by the request that the document writes out.
        let given = act(TOKEN, &[]);
        assert_eq!(
            (given.status, given.members()),
            (200, ["access_token", "expires_in", "scope", "token_type"].map(str::to_owned).to_vec())
        );
        assert_eq!(json!([given.json()["expires_in"], given.json()["token_type"]]), json!([3600, "bearer"]));
        let token = given.text("access_token");
        assert!(token.starts_with("eyJ0eXAiOiJKV1QiLCJhbGciOiJSUzI1NiJ9.eyJpZCI6I"), "{token:.80}");
        let form = "client_id=51612c780b4dbaea8f81995beccbcfec08969d0e&client_secret=p280edbd76d510c41990cbe5e6108c7e&grant_type=client_credentials";
        let mut client = Client::connect(Demo::address(&host));
        client.send(format!(
            "POST /token HTTP/1.1\r\nContent-Type: application/x-www-form-urlencoded\r\nHost: oauth.example.com\r\nContent-Length: {}\r\n\r\n{form}",
            form.len()
        ));
        let answer = client.receive();
        assert_eq!((answer.status, &answer.json()["token_type"]), (200, &json!("bearer")));

        // A parameter that isn't correct.
        for (from, to) in [("51612c78", "00000000"), ("p280edbd", "p0000000")] {
            let refused = act(&TOKEN.replace(from, to), &[]);
            let body = json!({"error": "invalid_client", "error_description": "The client credentials are invalid"});
            assert_eq!((refused.status, refused.json()), (400, body));
        }
        assert_eq!(act(&TOKEN.replace("=client_credentials", "=password"), &[]).status, 400);

        // The call: by curl, and by the request that the document writes out. It is sent on in exactly the case that
        // matters to the API, however it came.
        let bearer = format!("Bearer {token}");
        assert_eq!(act(CALL, &[("TOKEN", &token)]).echoed("authorization").as_deref(), Some(&*bearer));
        for scheme in ["Bearer", "bearer", "BEARER"] {
            client.send(format!("GET /rest/campaigns HTTP/1.1\r\nHost: a\r\nAuthorization: {scheme} {token}\r\n\r\n"));
            let answer = client.receive();
            assert_eq!((answer.status, answer.json()["headers"]["authorization"].as_str()), (200, Some(&*bearer)));
            assert_eq!(answer.json()["headers"]["x-auth-issuer"], "digitaleo");
        }
        assert_eq!(act(CALL, &[("TOKEN", "eyJ0eXAiOiJKV1QiLCJhbGciOiJSUzI1NiJ9.eyJpZCI6ImYyMzE2")]).status, 401);
        assert_eq!(act("curl $HOST/rest/campaigns", &[]).status, 401);
        let written = act(&CALL.replace("curl", "curl -X POST"), &[("TOKEN", &token)]);
        assert_eq!(written.status, 403);
        assert!(written.fields.get("www-authenticate").unwrap().contains("scope=\"campaigns:write\""));

        // "The size of the token can range up to 50,000 characters", over both versions of HTTP.
        let large = act(
            &TOKEN
                .replace("51612c780b4dbaea8f81995beccbcfec08969d0e", "large-account")
                .replace("p280edbd76d510c41990cbe5e6108c7e", "large-account-secret"),
            &[],
        );
        let large = large.text("access_token");
        assert_eq!(large.len(), 50_000);
        for line in [CALL.to_owned(), CALL.replace("curl", "curl --http2-prior-knowledge")] {
            let answer = act(&line, &[("TOKEN", &large)]);
            assert!(answer.echoed("authorization") == Some(format!("Bearer {large}")), "{}", answer.status);
        }
    }
    assert_eq!(stage.demo.interrupt(), Some(0));
}
