//! The API behind the gateway: answers with what it got.

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, Response, StatusCode};
use serde_json::{Map, Value, json};

use super::loopback;

pub(super) fn answer(request: &Request<Bytes>) -> Response<Full<Bytes>> {
    let mut headers = Map::new();
    for name in request.headers().keys() {
        let values: Vec<_> =
            request.headers().get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
        headers.insert(name.to_string(), Value::from(values.join(", ")));
    }
    let echo = json!({
        "method": request.method().as_str(),
        "path": request.uri().path(),
        "query": request.uri().query(),
        "headers": headers,
        "body_bytes": request.body().len(),
    });
    loopback::json(StatusCode::OK, echo.to_string())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn an_answer_tells_the_request() {
        let request =
            Request::put("/a/b?c").header("X-A", "1").header("x-a", "2").body(Bytes::from_static(b"four")).unwrap();
        let body = answer(&request).into_body().collect().await.unwrap().to_bytes();
        assert_eq!(
            serde_json::from_slice::<Value>(&body).unwrap(),
            json!({"method": "PUT", "path": "/a/b", "query": "c", "headers": {"x-a": "1, 2"}, "body_bytes": 4})
        );
    }
}
