//! The console, a page for people: files that are built into the binary. They hold no data; what the page shows it asks of
//! the rest of this listener, so that the files may be read without the admin token, and nothing else.

use bytes::Bytes;
use hyper::{
    HeaderMap, Method, Request, Response, StatusCode,
    header::{
        CONTENT_SECURITY_POLICY, HeaderName, HeaderValue, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
    },
};

use super::{not_allowed, page};
use crate::body::Body;

/// Scripts, styles and answers from here alone, no text that becomes markup or code, no frames around it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
                      require-trusted-types-for 'script'; trusted-types 'none'";

const FIELDS: [(HeaderName, &str); 5] = [
    (CONTENT_SECURITY_POLICY, POLICY),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (REFERRER_POLICY, "no-referrer"),
    (X_FRAME_OPTIONS, "DENY"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// One file of the page.
pub(super) struct File {
    path: &'static str,
    kind: &'static str,
    text: &'static str,
}

macro_rules! script {
    ($name:literal) => {
        File { path: concat!("/console/", $name), kind: SCRIPT, text: include_str!(concat!("page/", $name)) }
    };
}

const FILES: [File; 20] = [
    File { path: "/", kind: HTML, text: include_str!("page/index.html") },
    File { path: "/console/console.css", kind: CSS, text: include_str!("page/console.css") },
    File { path: "/console/icon.svg", kind: "image/svg+xml", text: include_str!("page/icon.svg") },
    File { path: "/console/uplot.css", kind: CSS, text: include_str!("page/uplot.css") },
    script!("charts.js"),
    script!("configuration.js"),
    script!("dom.js"),
    script!("explain.js"),
    script!("explanation.js"),
    script!("gateway.js"),
    script!("main.js"),
    script!("metrics.js"),
    script!("parts.js"),
    script!("revocations.js"),
    script!("routes.js"),
    script!("shadow.js"),
    script!("state.js"),
    script!("traffic.js"),
    // uPlot 1.6.32, MIT; its licence is in its head.
    script!("uplot.js"),
    script!("words.js"),
];

/// The file of the console at this path.
pub(super) fn file(path: &str) -> Option<&'static File> {
    FILES.iter().find(|file| file.path == path)
}

/// Sends it.
pub(super) fn answer<B>(request: &Request<B>, file: &'static File) -> Response<Body> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return not_allowed("GET, HEAD");
    }
    let mut response = page(StatusCode::OK, file.kind, Bytes::from_static(file.text.as_bytes()));
    protect(response.headers_mut());
    if request.method() == Method::HEAD {
        *response.body_mut() = Body::Empty;
    }
    response
}

fn protect(headers: &mut HeaderMap) {
    for (name, value) in FIELDS {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use insta::assert_snapshot;

    use super::*;
    use crate::{admin::guard, token::secret::Secret};

    fn request(method: &str, path: &str, fields: &[(&str, &str)]) -> Request<()> {
        let request = Request::builder().method(method).uri(path);
        fields.iter().fold(request, |request, (name, value)| request.header(*name, *value)).body(()).unwrap()
    }

    fn body(response: Response<Body>) -> Bytes {
        match response.into_body() {
            Body::Full(text) => text.unwrap_or_default(),
            _ => Bytes::new(),
        }
    }

    fn head(response: &Response<Body>) -> String {
        response.headers().iter().map(|(name, value)| format!("{name}: {}\n", value.to_str().unwrap())).collect()
    }

    #[test]
    fn the_page() {
        let file = file("/").unwrap();
        let response = answer(&request("GET", "/", &[]), file);
        let told = head(&response).replace(&file.text.len().to_string(), "LENGTH");
        assert_snapshot!(told, @r"
        content-type: text/html; charset=utf-8
        content-length: LENGTH
        cache-control: no-store
        content-security-policy: default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'
        x-content-type-options: nosniff
        referrer-policy: no-referrer
        x-frame-options: DENY
        cross-origin-resource-policy: same-origin
        ");
        assert_eq!(body(response), file.text);
    }

    #[test]
    fn every_file_is_protected_and_of_its_kind() {
        let expected = head(&answer(&request("GET", "/", &[]), file("/").unwrap()));
        let protection = |head: &str| head.lines().skip(2).collect::<Vec<_>>().join("\n");
        for one in &FILES {
            let response = answer(&request("GET", one.path, &[]), one);
            let told = head(&response);
            assert_eq!(protection(&told), protection(&expected), "{}", one.path);
            let kind = match one.path.rsplit_once('.').map(|(_, extension)| extension) {
                None => "text/html; charset=utf-8",
                Some("css") => "text/css; charset=utf-8",
                Some("js") => "text/javascript; charset=utf-8",
                Some("svg") => "image/svg+xml",
                Some(_) => "",
            };
            assert!(told.starts_with(&format!("content-type: {kind}\ncontent-length: {}\n", one.text.len())), "{told}");
            let of_head = answer(&request("HEAD", one.path, &[]), one);
            assert_eq!((head(&of_head), body(of_head).len()), (told, 0), "{}", one.path);
            for method in ["POST", "PUT", "DELETE", "OPTIONS", "BREW"] {
                let refused = answer(&request(method, one.path, &[]), one);
                assert_eq!(refused.status(), StatusCode::METHOD_NOT_ALLOWED, "{method} {}", one.path);
            }
        }
    }

    #[test]
    fn who_gets_it() {
        let token = Secret::new(b"secret".to_vec());
        for one in &FILES {
            let admitted = |fields: &[(&str, &str)], token, on_loopback| {
                let asked = request("GET", one.path, fields);
                guard::admit(&asked, token, on_loopback).map_err(|refusal| refusal.status().as_u16())
            };
            let own = [("host", "localhost:9901")];
            let far = [("host", "10.1.2.3:9901")];
            assert_eq!(admitted(&own, None, true), Ok(()), "{}", one.path);
            assert_eq!(admitted(&own, Some(&token), true), Ok(()), "{}", one.path);
            assert_eq!(admitted(&far, Some(&token), false), Ok(()), "{}", one.path);
            assert_eq!(admitted(&far, None, false), Err(404), "{}", one.path);
            for token in [None, Some(&token)] {
                assert_eq!(admitted(&far, token, true), Err(403), "{}", one.path);
                let foreign = [own[0], ("origin", "http://evil.example")];
                assert_eq!(admitted(&foreign, token, true), Err(403), "{}", one.path);
            }
        }
        let data = request("GET", "/revocations", &[("host", "localhost")]);
        assert_eq!(guard::admit(&data, Some(&token), true).unwrap_err().status(), StatusCode::UNAUTHORIZED);
    }

    /// What a text names between these, at each place.
    fn named<'t>(text: &'t str, before: &str, after: char) -> Vec<&'t str> {
        text.split(before).skip(1).filter_map(|rest| rest.split(after).next()).collect()
    }

    #[test]
    fn the_page_is_whole_and_names_nothing_outside() {
        for one in &FILES {
            let wanted = if one.kind == HTML {
                [named(one.text, "href=\"console/", '"'), named(one.text, "src=\"console/", '"')].concat()
            } else {
                named(one.text, "from \"./", '"')
            };
            for name in wanted {
                assert!(
                    file(&format!("/console/{name}")).is_some(),
                    "{} names {name}, which is no file of it",
                    one.path
                );
            }
            if one.path.starts_with("/console/uplot.") {
                continue;
            }
            // A namespace, and examples of what is asked through the gateway.
            let harmless = ["xmlns=\"http://www.w3.org/2000/svg\"", "https://api.example.com/", "`https://${host}"];
            let text = harmless.iter().fold(one.text.to_owned(), |text, known| text.replace(known, ""));
            for word in [
                "innerHTML",
                "outerHTML",
                "insertAdjacentHTML",
                "document.write",
                "DOMParser",
                "eval(",
                "localStorage",
                "sessionStorage",
                "indexedDB",
                "document.cookie",
                " style=",
                " onclick=\"",
                "javascript:",
                "http://",
                "https://",
                "//cdn",
            ] {
                assert!(!text.contains(word), "{} has {word}", one.path);
            }
        }
    }
}
