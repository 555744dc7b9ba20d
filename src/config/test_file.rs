//! A file of policy tests: what was written in it, read field by field as a configuration is.

mod expectation;

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
};

use hyper::{
    HeaderMap, Method,
    header::{HeaderName, HeaderValue},
};
use serde_json::{Map, Value as Json};

use self::expectation::{EXPECT_HINT, expectation};
pub use self::expectation::{Expectation, ExpectedHeader};

use super::{
    diagnostic::{Diagnostic, Finding, Findings, Span},
    file::json,
    interpolation::{self, Environment, Interpolation},
    keys,
    reader::{At, Field, Fields, Reader},
    source::{Source, Sources},
    units, yaml,
};

/// A file of policy tests, read.
#[derive(Debug)]
pub struct TestFile {
    /// As it was named to us.
    pub name: String,
    /// The configuration that it tests, relative paths resolved; None: it names none.
    pub config: Option<PathBuf>,
    /// In the file's order. Never empty.
    pub tests: Vec<WrittenTest>,
    text: String,
    hidden: Vec<Span>,
}

/// One policy test.
#[derive(Debug)]
pub struct WrittenTest {
    /// What it is called.
    pub name: String,
    /// Where it begins, from 1.
    pub line: usize,
    /// What is asked.
    pub request: WrittenRequest,
    /// What is sent along as a bearer token.
    pub token: WrittenToken,
    /// What must come of it.
    pub expect: Expectation,
}

/// A request as a test has it.
#[derive(Debug)]
pub struct WrittenRequest {
    /// As written.
    pub method: Method,
    /// An address, or a path alone.
    pub url: String,
    /// Where it was written.
    pub spot: Spot,
    /// In the order in which they were written.
    pub headers: HeaderMap,
    /// The peer's address; None: loopback.
    pub client_ip: Option<IpAddr>,
    /// Where it comes in, by the listener's name or address; None: at the first one.
    pub listener: Option<(String, Spot)>,
}

/// The token of a test.
#[derive(Debug)]
pub enum WrittenToken {
    /// Nothing is sent.
    None,
    /// A good one of this issuer.
    Of {
        /// The issuer's key in the configuration.
        issuer: String,
        /// Where it was written.
        spot: Spot,
        /// What it says; what is missing for a good token is to be filled in.
        claims: Map<String, Json>,
        /// Claims that are moments, in seconds from now.
        moments: Vec<(String, i64)>,
    },
    /// This text, whatever it is.
    Raw(String),
}

/// A place in a file, for what is found wrong with it later.
#[derive(Clone, Debug)]
pub struct Spot {
    span: Span,
    path: String,
}

impl TestFile {
    /// An error about a place in it.
    pub fn error(&self, spot: &Spot, message: String, hint: Option<String>) -> Diagnostic {
        let mut source = Source::new(&self.name, &self.text, Path::new(""));
        source.hide(self.hidden.clone());
        let mut findings = Findings::default();
        findings.push(Finding::error(spot.span, &spot.path, message).hint_if(hint));
        findings.into_diagnostics(&Sources::of(source)).swap_remove(0)
    }
}

/// Reads a file of policy tests.
///
/// # Errors
/// All that is wrong with it, in the order of the file.
pub fn read_tests(path: &Path, environment: &Environment<'_>) -> Result<TestFile, Vec<Diagnostic>> {
    let name = path.display().to_string();
    let folder = path.parent().unwrap_or(Path::new(""));
    match interpolation::read_text(path) {
        Ok(text) => read_text(text, name, folder, Interpolation::new(environment, folder)),
        Err(words) => Err(vec![Diagnostic::about(&name, "", format!("can't read the policy tests: {words}"), None)]),
    }
}

pub(super) fn read_text(
    text: String,
    name: String,
    folder: &Path,
    mut interpolation: Interpolation<'_>,
) -> Result<TestFile, Vec<Diagnostic>> {
    let text = text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text);
    let is_empty = |line: &str| matches!(line.trim(), "" | "---") || line.trim_start().starts_with('#');
    if text.lines().all(is_empty) {
        let hint = "a file of policy tests has `tests` at least";
        return Err(vec![Diagnostic::about(&name, "", "the file is empty".to_owned(), Some(hint.to_owned()))]);
    }
    let mut source = Source::new(&name, &text, folder);
    let mut findings = Findings::default();
    let tree = yaml::parse(&source, &text, &mut interpolation, &mut findings);
    let mut hidden = Vec::new();
    if let Some(tree) = &tree {
        hidden = yaml::secret_places(tree);
        // No token at all is no secret.
        hidden.retain(|span| text.get(span.start..span.end).is_none_or(|written| written.trim() != "none"));
        source.hide(hidden.clone());
    }
    let sources = Sources::of(source);
    let read = tree.and_then(|tree| file(&tree, &sources, &mut Reader::new(&mut findings, &sources)));
    match read {
        Some((config, tests)) if !findings.failed() => {
            let config = config.map(|config| folder.join(config));
            Ok(TestFile { config, tests, hidden, name: name.clone(), text: text.clone() })
        }
        _ => {
            if !findings.failed() {
                findings.push(Finding::file("the policy tests can't be read"));
            }
            Err(findings.into_diagnostics(&sources))
        }
    }
}

fn file(root: &yaml::Node, source: &Sources, r: &mut Reader<'_>) -> Option<(Option<String>, Vec<WrittenTest>)> {
    let top = r.top_of(root, keys::POLICY_TESTS)?;
    let config = text(&top, "config", r).map(|config| config.value);
    let tests = r.required(&top, "tests", "`- {name: …, request: GET https://…, expect: {…}}` for each test");
    let items = tests.as_ref().and_then(|field| r.items(field));
    if let (Some(field), Some([])) = (&tests, items.as_deref()) {
        r.findings.push(field.at(()).error("an empty list").hint("a file without a test tests nothing"));
    }
    let items = items.unwrap_or_default();
    let tests = items.iter().filter_map(|item| test(item, source, r)).collect::<Vec<_>>();
    (tests.len() == items.len()).then_some((config, tests))
}

fn test(item: &Field<'_>, source: &Sources, r: &mut Reader<'_>) -> Option<WrittenTest> {
    let fields = r.fields(item)?;
    let name = r.required(&fields, "name", "what the results call it").and_then(|field| r.text(&field));
    let client_ip = text(&fields, "client_ip", r).and_then(|text| ip(&text, r));
    let listener = text(&fields, "listener", r).map(|text| (text.value.clone(), Spot::of(&text)));
    let request = r.required(&fields, "request", REQUEST_HINT).and_then(|field| request(&field, r));
    let token = match r.field(&fields, "token") {
        Some(field) => token(&field, r),
        None => Some(WrittenToken::None),
    };
    let expect = r.required(&fields, "expect", EXPECT_HINT).and_then(|field| expectation(&field, r));
    Some(WrittenTest {
        name: name?.value,
        line: source.line(item.key_span),
        request: WrittenRequest { client_ip, listener, ..request? },
        token: token?,
        expect: expect?,
    })
}

const REQUEST_HINT: &str = "`GET https://api.example.com/orders`, or `{method: GET, url: …, headers: {…}}`";

fn request(field: &Field<'_>, r: &mut Reader<'_>) -> Option<WrittenRequest> {
    let without_headers = |method, url: At<String>| WrittenRequest {
        method,
        spot: Spot::of(&url),
        url: url.value,
        headers: HeaderMap::new(),
        client_ip: None,
        listener: None,
    };
    if field.is_text() {
        let written = r.text(field)?;
        let Some((method_name, url)) = written.value.trim().split_once(char::is_whitespace) else {
            r.findings.push(written.error(format!("{} is not a request", written.shown())).hint(REQUEST_HINT));
            return None;
        };
        let method = method_of(&written.with(method_name.to_owned()), r)?;
        return Some(without_headers(method, written.with(url.trim().to_owned())));
    }
    let fields = r.fields(field)?;
    let method = r.required(&fields, "method", "`method: GET`").and_then(|field| r.text(&field));
    let method = method.and_then(|text| method_of(&text, r));
    let url = r.required(&fields, "url", "`url: https://api.example.com/orders`").and_then(|field| r.text(&field));
    let headers = r.field(&fields, "headers").map(|field| headers(&field, r)).unwrap_or_default();
    Some(WrittenRequest { headers, ..without_headers(method?, url?) })
}

fn method_of(written: &At<String>, r: &mut Reader<'_>) -> Option<Method> {
    let method = Method::from_bytes(written.value.as_bytes()).ok();
    if method.is_none() {
        r.findings.push(written.error(format!("{} is not a method", written.shown())).hint(REQUEST_HINT));
    }
    method
}

fn headers(field: &Field<'_>, r: &mut Reader<'_>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, field) in r.named(field) {
        let values = match field.is_list() {
            true => r.some_texts(&field, "leave the header out").map(|list| list.value),
            false => r.text(&field).map(|value| vec![value]),
        };
        let Some(name) = header_name(&name, r) else { continue };
        for written in values.unwrap_or_default() {
            match HeaderValue::from_bytes(written.value.as_bytes()) {
                Ok(value) => {
                    headers.append(name.clone(), value);
                }
                Err(_) => r.findings.push(written.error("a header's value can't have control characters in it")),
            }
        }
    }
    headers
}

fn header_name(written: &At<String>, r: &mut Reader<'_>) -> Option<HeaderName> {
    let name = HeaderName::from_bytes(written.value.as_bytes()).ok();
    if name.is_none() {
        r.findings.push(written.error(format!("{} is not the name of a header", written.shown())));
    }
    name
}

const TOKEN_HINT: &str =
    "`none`, `{issuer: login, claims: {scope: \"orders:read\"}}`, or `{raw: …}` for a text as it is";

fn token(field: &Field<'_>, r: &mut Reader<'_>) -> Option<WrittenToken> {
    if field.is("none") {
        return Some(WrittenToken::None);
    }
    if field.is_text() {
        r.findings.push(field.at(()).error("this is nothing that `token` can be").hint(TOKEN_HINT));
        return None;
    }
    let fields = r.fields(field)?;
    if fields.has("raw") {
        if fields.has("issuer") || fields.has("claims") {
            r.findings.push(field.at(()).error("`raw` is a whole token: it stands alone").hint(TOKEN_HINT));
        }
        return r.field(&fields, "raw").and_then(|field| r.text(&field)).map(|raw| WrittenToken::Raw(raw.value));
    }
    let issuer = r.required(&fields, "issuer", "the issuer's key in the configuration");
    let issuer = issuer.and_then(|field| r.text(&field));
    let (claims, moments) = r.field(&fields, "claims").map(|field| claims(&field, r)).unwrap_or_default();
    let issuer = issuer?;
    Some(WrittenToken::Of { spot: Spot::of(&issuer), issuer: issuer.value, claims, moments })
}

/// Claims that are NumericDates (RFC 7519, section 4.1; OpenID Connect Core, section 2): tests write them as numbers, or
/// from the moment at which they run.
const DATES: [&str; 5] = ["exp", "nbf", "iat", "auth_time", "updated_at"];

fn claims(field: &Field<'_>, r: &mut Reader<'_>) -> (Map<String, Json>, Vec<(String, i64)>) {
    let (mut claims, mut moments) = (Map::new(), Vec::new());
    for (name, field) in r.members(field) {
        let written = field.is_text().then(|| field.written()).flatten().filter(|text| text.starts_with("now"));
        match written.filter(|_| DATES.contains(&&*name.value)) {
            None => {
                claims.insert(name.value, json(field.node));
            }
            Some(text) => match moment(text) {
                Ok(seconds) => moments.push((name.value, seconds)),
                Err(hint) => r.findings.push(field.at(()).error(format!("`{text}` is not a moment")).hint(hint)),
            },
        }
    }
    (claims, moments)
}

/// `now`, `now-5m`, `now+1h`: seconds from now.
fn moment(text: &str) -> Result<i64, String> {
    let rest = text.strip_prefix("now").unwrap_or(text);
    let (sign, rest) = match (rest.strip_prefix('-'), rest.strip_prefix('+')) {
        (Some(rest), _) => (-1, rest),
        (_, Some(rest)) => (1, rest),
        _ if rest.is_empty() => return Ok(0),
        _ => return Err("`now`, `now-5m`, `now+1h`, or a number".to_owned()),
    };
    let seconds = units::duration(rest)?.as_secs();
    Ok(sign * i64::try_from(seconds).unwrap_or(i64::MAX))
}

fn text(fields: &Fields<'_>, key: &'static str, r: &mut Reader<'_>) -> Option<At<String>> {
    r.field(fields, key).and_then(|field| r.text(&field))
}

fn ip(written: &At<String>, r: &mut Reader<'_>) -> Option<IpAddr> {
    let address = written.value.parse().ok();
    if address.is_none() {
        r.findings.push(written.error(format!("{} is not an IP address", written.shown())).hint("`203.0.113.7`"));
    }
    address
}

impl Spot {
    fn of(written: &At<String>) -> Spot {
        Spot { span: written.span, path: written.path.clone() }
    }
}
