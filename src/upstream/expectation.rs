//! `Expect: 100-continue` towards an upstream (RFC 9110, section 10.1.1).

use hyper::{Request, StatusCode};

use crate::body::{Held, RequestBody};

/// Keeps a body back whose client waits to be asked for it, until the upstream asks. Only HTTP/1.1's connections tell of that.
pub(super) fn hold_back(request: &mut Request<RequestBody>, http2: bool) -> Option<Held> {
    request.body_mut().let_go();
    if http2 {
        return None;
    }
    let headers = std::mem::take(request.headers_mut());
    let held = request.body_mut().hold_back(&headers);
    *request.headers_mut() = headers;
    if let Some(held) = held.clone() {
        hyper::ext::on_informational(request, move |answer| {
            if answer.status() == StatusCode::CONTINUE {
                held.go_on();
            }
        });
    }
    held
}
