#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::HashMap;

use hyper::{HeaderMap, Method, header::HeaderValue};
use proptest::prelude::*;
use serde_json::{Map, Value as Json, json};

use super::*;
use crate::token::principal::Principal;

fn claims() -> Map<String, Json> {
    let Json::Object(claims) = json!({
        "plan": "pro", "level": 3, "ratio": 2.5, "huge": 18_446_744_073_709_551_615_u64, "beta": true, "off": false,
        "nothing": null, "groups": ["a", "b", "Ä"], "numbers": [1, 2, 3.5], "none": [], "mixed": ["a", 1, null, true],
        "inner": {"x": "y", "deep": {"z": [1]}}, "email": "me@example.org", "a b": "blank",
    }) else {
        panic!("claims")
    };
    claims
}

fn paths() -> Vec<PathTemplate> {
    ["/t/{tenant}/{id}", "/x/{id}"].map(|path| PathTemplate::parse(path).unwrap()).to_vec()
}

fn parse(text: &str) -> Expression {
    Expression::parse(text, &paths()).unwrap_or_else(|mistakes| panic!("{text}: {mistakes:?}"))
}

fn evaluate(expression: &Expression, claims: Map<String, Json>) -> Result<bool, Fault> {
    let principal = Principal::for_test(&["read", "write"], &["admin"]).with_claims(claims);
    let mut headers = HeaderMap::new();
    headers.insert("x-tenant", HeaderValue::from_static("acme"));
    headers.append("x-two", HeaderValue::from_static("1"));
    headers.append("x-two", HeaderValue::from_static("2"));
    headers.insert("x_alias", HeaderValue::from_static("1"));
    expression.evaluate(&Facts {
        principal: &principal,
        method: &Method::GET,
        host: Some("api.example"),
        scheme: "https",
        client_ip: [192, 0, 2, 7].into(),
        path: "/t/ac%20me/7",
        template: 0,
        params: &[3..10, 11..12],
        query: Some("q=a+b&two=1&two=2&Case=x&case=y&list[]=1&empty"),
        headers: &headers,
        now: 0,
    })
}

fn outcome(text: &str) -> Result<bool, Fault> {
    evaluate(&parse(text), claims())
}

#[test]
fn what_holds() {
    for text in [
        "true",
        "claims.plan in ['pro', \"team\"] && request.method != \"DELETE\"",
        "claims.beta",
        "claims.level == 3 && claims.level == 3u && claims.level == 3.0 && claims.level < 3.5 && claims.level > 2u",
        "claims.huge > 1 && claims.huge == 18446744073709551615u && claims.huge != 18446744073709551616.0",
        "claims.nothing == null && has(claims.nothing) && !has(claims.absent)",
        "claims.inner.deep.z[0] == 1 && claims['inner'][\"x\"] == 'y' && claims['a b'] == 'blank'",
        "'plan' in claims && !('absent' in claims) && 'x' in claims.inner",
        "token.issuer == 'test' && token.subject == 'subject' && token.kind == 'user' && !has(token.client)",
        "token.scopes == ['read', 'write'] && 'admin' in token.roles && size(token.scopes) == 2",
        "token.scopes.exists(s, s.startsWith('wr')) && token.scopes.all(s, s.size() > 3)",
        "token.scopes.exists_one(s, s == 'read') && token.scopes.filter(s, s != 'read') == ['write']",
        "token.scopes.map(s, s + '!') == ['read!', 'write!'] && [1, 2].map(n, n > 1, n * 2) == [4]",
        "claims.inner.exists(key, key == 'deep') && claims.numbers.exists(n, n == 3.5)",
        "request.host == 'api.example' && request.scheme == 'https' && request.client_ip == '192.0.2.7'",
        "request.path == '/t/ac%20me/7' && path.tenant == 'ac me' && int(path.id) == 7 && has(path.id)",
        "query.q == 'a b' && query['q'] == 'a b' && has(query.empty) && query.empty == '' && 'q' in query",
        "headers['x-tenant'] == 'acme' && headers['X-Tenant'] == 'acme' && 'X-TENANT' in headers",
        "!has(query.other) && !('other' in query) && !('x-other' in headers) && !has(headers.host)",
        "claims.email.matches('@example\\\\.org$') && matches(claims.email, r'^me@') && claims.email.endsWith('.org')",
        "claims.email.contains('@') && claims.email.upperAscii() == 'ME@EXAMPLE.ORG' && 'É'.lowerAscii() == 'É'",
        "size('Ä') == 1 && size(claims) == 14 && size({'a': 1}) == 1 && 'a'.size() == 1",
        "string(1) + string(true) + string(2.5) + string(3u) == '1true2.53'",
        "int('42') == 42 && double('1e3') == 1000.0 && uint(7) == 7u && int(2.9) == 2 && int(-2.9) == -2",
        "7 / 2 == 3 && -7 / 2 == -3 && -7 % 3 == -1 && 7.0 / 2.0 == 3.5 && 1.0 / 0.0 > 1.0",
        "-9223372036854775808 < 0 && 0x10 == 16 && .5 == 0.5 && 1e2 == 100.0",
        "(claims.level > 5 ? 'many' : 'few') == 'few' && (claims.off ? claims.absent : true)",
        "[1, 2] + [3] == [1, 2, 3] && {'a': [1]}['a'] == [1] && {1: 'x'}[1u] == 'x' && {'a': 1} == {'a': 1.0}",
        "true || claims.absent == 1",
        "claims.absent == 1 || true",
        "!(false && claims.absent) && !(claims.absent && false)",
        "claims.mixed.exists(x, x == 1) && claims.mixed.exists(x, x > 0)",
        "\"\\x41\\u00c4\\101\" == 'AÄA' && r'\\d' == '\\\\d' && '''it's''' == \"it's\"",
        "'a' < 'b' && 'B' < 'a' && false < true && 'a' <= 'a' // a comment",
        "dyn(1) != 'a'",
    ] {
        assert_eq!(outcome(text), Ok(true), "{text}");
    }
}

#[test]
fn what_does_not_hold_and_what_has_no_value() {
    for (text, expected) in [
        ("claims.plan == 'PRO'", Ok(false)),
        ("claims.level == '3'", Ok(false)),
        ("claims.nothing == 1", Ok(false)),
        ("0.0 / 0.0 == 0.0 / 0.0", Ok(false)),
        ("claims.plan", Err(Fault::Kind)),
        ("claims.level", Err(Fault::Kind)),
        ("claims.absent", Err(Fault::Absent)),
        ("claims.absent != 'x'", Err(Fault::Absent)),
        ("!(claims.absent == 'x')", Err(Fault::Absent)),
        ("claims.plan.x == 1", Err(Fault::Kind)),
        ("token.client != 'x'", Err(Fault::Absent)),
        ("query.two != 'x'", Err(Fault::Ambiguous)),
        // What another server may find is not absent.
        ("!has(query.two)", Err(Fault::Ambiguous)),
        ("!has(query.case)", Err(Fault::Ambiguous)),
        ("!has(query.CASE)", Err(Fault::Ambiguous)),
        ("!has(query.list)", Err(Fault::Ambiguous)),
        ("!('two' in query)", Err(Fault::Ambiguous)),
        ("!('x-two' in headers)", Err(Fault::Ambiguous)),
        ("!('x-alias' in headers)", Err(Fault::Ambiguous)),
        ("has(query.two) || true", Ok(true)),
        ("claims.level > 'a'", Err(Fault::Kind)),
        ("claims.plan > 1", Err(Fault::Kind)),
        ("claims.plan + 1 == 2", Err(Fault::Kind)),
        ("claims.level + 1.0 == 4.0", Err(Fault::Kind)),
        ("claims.plan in claims.email", Err(Fault::Kind)),
        ("!(claims.nothing in {'a': 1})", Err(Fault::Kind)),
        ("!(claims.nothing in claims)", Err(Fault::Kind)),
        ("!(claims.groups in {'a': 1})", Err(Fault::Kind)),
        ("!({'a': 1} in claims)", Err(Fault::Kind)),
        ("claims.groups[3] == 'x'", Err(Fault::Absent)),
        ("claims.groups[-1] == 'x'", Err(Fault::Absent)),
        ("claims.groups['a'] == 'x'", Err(Fault::Kind)),
        ("claims.level / 0 == 1", Err(Fault::Number)),
        ("claims.level % 0 == 1", Err(Fault::Number)),
        ("9223372036854775807 + claims.level > 0", Err(Fault::Number)),
        ("-(-9223372036854775807 - 1) > 0", Err(Fault::Number)),
        ("-9223372036854775808 / -1 > 0", Err(Fault::Number)),
        ("-9223372036854775808 % -1 == 0", Err(Fault::Number)),
        ("1u - 2u > 0u", Err(Fault::Number)),
        ("int(claims.plan) > 0", Err(Fault::Number)),
        ("int(1e300) > 0", Err(Fault::Number)),
        ("int(claims.beta) > 0", Err(Fault::Kind)),
        ("uint(-1) > 0u", Err(Fault::Number)),
        ("claims.plan && true", Err(Fault::Kind)),
        ("true && claims.absent", Err(Fault::Absent)),
        ("false || claims.plan", Err(Fault::Kind)),
        ("claims.mixed.all(x, x == 1 || claims.absent)", Err(Fault::Absent)),
        ("claims.mixed.exists_one(x, x > 0)", Err(Fault::Kind)),
        ("claims.level.exists(x, x > 0)", Err(Fault::Kind)),
        ("claims.beta ? claims.plan : true", Err(Fault::Kind)),
        ("claims.plan.matches('x') || claims.level.matches('x')", Err(Fault::Kind)),
    ] {
        assert_eq!(outcome(text), expected, "{text}");
    }
}

/// A parameter that only one of the route's paths has is absent where another one led here.
#[test]
fn a_parameter_is_of_the_path_that_led_here() {
    let expression = parse("has(path.tenant)");
    let (principal, headers) = (Principal::for_test(&[], &[]), HeaderMap::new());
    let facts = |path, template, params| Facts {
        principal: &principal,
        method: &Method::GET,
        host: None,
        scheme: "http",
        client_ip: [127, 0, 0, 1].into(),
        path,
        template,
        params,
        query: None,
        headers: &headers,
        now: 0,
    };
    assert!(expression.holds(&facts("/t/a/7", 0, &[3..4, 5..6])));
    assert!(!expression.holds(&facts("/x/7", 1, std::slice::from_ref(&(3..4)))));
    assert_eq!(parse("request.host == 'x'").evaluate(&facts("/x/7", 1, &[])), Err(Fault::Absent));
}

#[test]
fn only_an_expression_about_headers_reads_them() {
    for (text, reads) in [
        ("claims.headers == 'x'", false),
        ("has(headers.a)", true),
        ("'a' in headers", true),
        ("true || headers['a'] == 'b'", true),
        ("token.scopes.exists(h, h == 'headers')", false),
    ] {
        assert_eq!(parse(text).reads_headers(), reads, "{text}");
    }
}

#[test]
fn mistakes_are_refused_at_load() {
    for (text, message) in [
        ("", "an empty expression"),
        ("  // nothing", "an empty expression"),
        ("1", "this is a whole number"),
        ("'a' + 'b'", "this is a text"),
        ("token.roles", "this is a list"),
        ("null", "this is null"),
        ("true ? 'a' : 'b'", "this is a text"),
        ("1 == 'a'", "never equals"),
        ("[1] == ['a']", "never equals"),
        ("token.subject == null", "never equals"),
        ("'a' in ['b', 1] && 1 in ['b']", "is never in a list"),
        ("1 in 2", "nothing is in"),
        ("'a' in 'abc'", "nothing is in a text"),
        ("1 < 'a'", "can't be asked of"),
        ("[1] < [2]", "can't be asked of"),
        ("null < null", "can't be asked of"),
        ("1 + 1.0 > 0.0", "two numbers of one kind"),
        ("2.5 % 2.0 > 0.0", "can't be done with"),
        ("'a' - 'b' == ''", "can't be done with"),
        ("!1", "true or false is expected"),
        ("1 && true", "true or false is expected"),
        ("'a' ? true : false", "true or false is expected"),
        ("-'a' == 1", "can't be made negative"),
        ("-1u == 1", "can't be made negative"),
        ("token.scope == 'a'", "`token` has no `scope`"),
        ("token['scope'] == 'a'", "`token` has no `scope`"),
        ("has(token.x)", "`token` has no `x`"),
        ("'x' in token", "`token` has no `x`"),
        ("request.method.x == 'a'", "has no fields"),
        ("'abc'[0] == 'a'", "is no place in this"),
        ("token.scopes['a'] == 'a'", "is no place in this"),
        ("path.x == 'a'", "the route's path has no `{x}`"),
        ("query[''] == 'a'", "has a name"),
        ("headers['a b'] == 'a'", "is not a header's name"),
        ("claims[token] == 'a'", "as a whole"),
        ("foo(1)", "there is no function `foo`"),
        ("type(claims.a) == claims.b", "there is no function `type`"),
        ("claims.a.string() == 'a'", "isn't called on a value"),
        ("startsWith('a', 'b')", "is called on a value"),
        ("'a'.startsWith()", "takes 1 here, not 0"),
        ("size() == 1", "takes 1 here, not 0"),
        ("size(1) == 1", "can't be done with"),
        ("has(claims)", "`has` takes a field"),
        ("has(claims['a'])", "`has` takes a field"),
        ("claims.a.matches(claims.b)", "a pattern is a text in quotes"),
        ("claims.a.matches('a' + 'b')", "a pattern is a text in quotes"),
        ("claims.a.matches('(')", "not a regular expression"),
        ("claims.a.matches('(?:a{1000}){1000}')", "not a regular expression"),
        ("matches(1, 'a')", "can't be done with"),
        ("claims.a.exists(x, claims.b.exists(y, x == y))", "inside of another"),
        ("claims.a.map(x, claims.b.filter(y, true)) == []", "inside of another"),
        ("claims.a.exists(x)", "takes a name and a condition"),
        ("claims.a.exists(1, true)", "a name for the element"),
        ("claims.a.exists(claims, true)", "is something else already"),
        ("claims.a.exists(x, 1)", "true or false is expected"),
        ("'abc'.exists(x, true)", "goes through a list"),
        ("claims.a.exists(x, true) && x", "nothing is called `x`"),
        ("{claims.a: 1} == {}", "a key is a literal"),
        ("{null: 1} == {}", "is no key"),
        ("{'a': 1, 'a': 2} == {}", "there twice"),
        ("claims.", "a name"),
        ("claims..a", "a name"),
        ("(true", "`)`"),
        ("[true", "`,` or `]`"),
        ("{'a' 1}", "`:`"),
        ("true true", "an operator, or the end"),
        ("true ? false", "`:`"),
        ("&& true", "a value"),
        ("in true", "a value is missing"),
        ("if == 1", "reserved"),
        ("Foo{a: 1} == 1", "messages"),
        ("b'a' == claims.x", "bytes"),
        ("claims.`a b` == 1", "backticks"),
        ("claims.?a == 1", "a name"),
        ("'abc", "doesn't end"),
        ("'a\nb' == 'x'", "doesn't end"),
        ("'\\q' == ''", "no escape"),
        ("'\\u12' == ''", "no escape"),
        ("'\\ud800' == ''", "no escape"),
        ("99999999999999999999 > 0", "too large"),
        ("-9223372036854775809 < 0", "too large"),
        ("9223372036854775808 > 0", "too large"),
        ("1e999 > 0.0", "too large"),
        ("0x == 0", "too large"),
        ("1a == 1", "no number"),
        ("claims.a === 1", "means nothing"),
        ("claims.a & 1", "means nothing"),
        ("é == 1", "means nothing"),
    ] {
        let mistakes = Expression::parse(text, &paths()).expect_err(text);
        assert!(mistakes.iter().any(|mistake| mistake.message.contains(message)), "{text}: {mistakes:?}");
        for mistake in mistakes {
            assert!(text.get(mistake.span.clone()).is_some(), "{text}: {mistake:?}");
        }
    }
}

#[test]
fn all_mistakes_of_kind_and_name_are_told_at_once() {
    let mistakes = Expression::parse("claim.a == 1 && size(1) > 0 && (request.x ? 1 : path.y)", &paths()).unwrap_err();
    assert_eq!(mistakes.len(), 4, "{mistakes:?}");
}

/// Nothing that can be written takes the stack, and an evaluation ends however long what the token brings.
#[test]
fn there_is_an_end_to_size_depth_and_time() {
    for piece in
        ["(", "[", "!", "- ", "a?", "{1:", "size(", "a[", "a.", "1+", "a&&", "a||", "a in ", "'", "\\", "=", "é"]
    {
        for tail in ["", "a", ")"] {
            let text = format!("{}{tail}", piece.repeat(LONGEST / piece.len()));
            let _ = Expression::parse(&text, &paths());
        }
    }
    assert!(Expression::parse(&format!("true{}", " ".repeat(LONGEST)), &paths()).is_err());
    assert!(Expression::parse(&vec!["true"; 500].join(" && "), &paths()).is_ok());

    let long = Map::from_iter([
        ("list".to_owned(), json!(vec!["x".repeat(100); 100_000])),
        ("text".to_owned(), json!("x".repeat(1_000_000))),
        ("short".to_owned(), json!(vec![1; 20_000])),
    ]);
    for (text, expected) in [
        ("claims.list.exists(x, x == 'y')", Err(Fault::Steps)),
        ("claims.list == claims.list", Err(Fault::Steps)),
        ("claims.short.map(x, claims.text.contains('y')) == []", Err(Fault::Steps)),
        ("claims.short.map(x, claims.text + claims.text) == []", Err(Fault::Steps)),
        ("[claims.text + 'y'].filter(x, true).exists(x, claims.short == [x]) || false", Ok(false)),
        ("claims.list.exists(x, x == 'y') || true", Err(Fault::Steps)),
        ("claims.short.exists(x, x == 1) && 1 in claims.short", Ok(true)),
        ("claims.text.matches('y$')", Ok(false)),
    ] {
        assert_eq!(evaluate(&parse(text), long.clone()), expected, "{text}");
    }
}

/// The `cel` crate's answer, over the same values; None where it can't say true or false.
fn reference(text: &str) -> Option<bool> {
    let mut context = cel::Context::default();
    let text_map = |fields: &[(&str, &str)]| {
        fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect::<HashMap<_, _>>()
    };
    context.add_variable_from_value("claims", of_json(&Json::Object(claims())));
    context.add_variable_from_value("path", text_map(&[("tenant", "ac me"), ("id", "7")]));
    context.add_variable_from_value("query", text_map(&[("q", "a b"), ("empty", "")]));
    match cel::Program::compile(text).ok()?.execute(&context) {
        Ok(cel::Value::Bool(truth)) => Some(truth),
        _ => None,
    }
}

fn of_json(json: &Json) -> cel::Value {
    match json {
        Json::Null => cel::Value::Null,
        Json::Bool(flag) => (*flag).into(),
        Json::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(int), _) => int.into(),
            (None, Some(uint)) => uint.into(),
            (None, None) => number.as_f64().unwrap().into(),
        },
        Json::String(text) => text.clone().into(),
        Json::Array(items) => items.iter().map(of_json).collect::<Vec<_>>().into(),
        Json::Object(members) => {
            members.iter().map(|(key, value)| (key.clone(), of_json(value))).collect::<HashMap<String, _>>().into()
        }
    }
}

fn any_expression() -> impl Strategy<Value = String> {
    let leaf = prop::sample::select(vec![
        "claims.plan",
        "claims.level",
        "claims.ratio",
        "claims.huge",
        "claims.beta",
        "claims.off",
        "claims.nothing",
        "claims.groups",
        "claims.numbers",
        "claims.none",
        "claims.mixed",
        "claims.inner",
        "claims.inner.x",
        "claims.absent",
        "claims['a b']",
        "path.id",
        "path.tenant",
        "query.q",
        "query.empty",
        "query.absent",
        "x",
        "true",
        "false",
        "null",
        "0",
        "1",
        "3",
        "-1",
        "2u",
        "2.5",
        "'a'",
        "'pro'",
        "''",
        "[1, 2]",
        "['a']",
        "[]",
        "{'a': 1}",
        "9223372036854775807",
        "has(claims.plan)",
        "has(claims.absent)",
        "has(query.q)",
        "'plan' in claims",
    ]);
    leaf.prop_map(str::to_owned).prop_recursive(4, 24, 3, |inner| {
        let binary =
            prop::sample::select(vec!["==", "!=", "<", "<=", ">", ">=", "&&", "||", "+", "-", "*", "/", "%", "in"]);
        let one = prop::sample::select(vec![
            "!(_)",
            "-_",
            "size(_)",
            "string(_)",
            "int(_)",
            "(_)",
            "_.size()",
            "_[0]",
            "_.x",
        ]);
        let two = prop::sample::select(vec!["_.contains(~)", "_.startsWith(~)", "_.endsWith(~)", "[_, ~]", "_[~]"]);
        let macros = prop::sample::select(vec!["exists", "all", "exists_one", "filter", "map"]);
        prop_oneof![
            6 => (inner.clone(), binary, inner.clone()).prop_map(|(a, op, b)| format!("({a} {op} {b})")),
            2 => (one, inner.clone()).prop_map(|(form, a)| form.replace('_', &a)),
            1 => (two, inner.clone(), inner.clone()).prop_map(|(form, a, b)| form.replace('_', &a).replace('~', &b)),
            1 => (inner.clone(), inner.clone(), inner.clone()).prop_map(|(a, b, c)| format!("({a} ? {b} : {c})")),
            1 => (inner.clone(), macros, inner.clone()).prop_map(|(a, name, b)| format!("{a}.{name}(x, {b})")),
            1 => inner.prop_map(|a| format!("{a}.matches('^a')")),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    /// What is taken at load is true exactly where the reference says so.
    #[test]
    fn agrees_with_the_reference(text in any_expression(), other in any_expression()) {
        for text in [text.clone(), format!("({text}) == ({other})"), format!("!(({text}) == ({other}))")] {
            if let Ok(expression) = Expression::parse(&text, &paths()) {
                prop_assert_eq!(evaluate(&expression, claims()).ok(), reference(&text), "{}", text);
            }
        }
    }

    #[test]
    fn never_panics(text in "\\PC{0,60}", words in prop::collection::vec(prop::sample::select(vec![
        "claims", ".", "a", "(", ")", "[", "]", "{", "}", "?", ":", ",", "!", "-", "==", "in", "&&", "||", "+", "%", "'", "\"",
        "'a'", "r'", "1", "2u", "0x", ".5", "1e", "null", "true", "has(", "size(", ".exists(x, ", "matches(", "\\", "\\u", "é", " ", "//",
    ]), 0..30)) {
        for text in [text, words.concat(), words.join(" ")] {
            match Expression::parse(&text, &paths()) {
                Ok(expression) => {
                    let _ = evaluate(&expression, claims());
                }
                Err(mistakes) => {
                    prop_assert!(!mistakes.is_empty());
                    for mistake in mistakes {
                        prop_assert!(text.get(mistake.span.clone()).is_some(), "{:?}", mistake);
                    }
                }
            }
        }
    }
}
