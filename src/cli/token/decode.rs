//! A token as it reads, for people. Nothing of it is verified.

use base64::{
    Engine,
    alphabet::{STANDARD, URL_SAFE},
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
    prelude::BASE64_URL_SAFE_NO_PAD,
};
use serde_json::{Map, Value};

use crate::{
    config::printable,
    moment,
    token::{issuer::Algorithm, json},
};

/// The claims that are NumericDates (RFC 7519, section 4.1; OpenID Connect Core, section 2).
const DATES: [&str; 5] = ["exp", "nbf", "iat", "auth_time", "updated_at"];
/// Later than this is rather in milliseconds: the year 5138.
const MILLISECONDS_FROM: i64 = 100_000_000_000;

/// Header and claims, and what is odd about them.
///
/// # Errors
/// The text isn't a JWT; in words for whoever pasted it.
pub(super) fn shown(text: &str, now: i64) -> Result<String, String> {
    let mut odd = Vec::new();
    let token = bare(text, &mut odd);
    let parts = token.split('.').collect::<Vec<_>>();
    let (header, claims, signature) = match parts.as_slice() {
        [header, claims, signature] => (*header, *claims, *signature),
        [_, _, _, _, _] => {
            return Err("this is an encrypted token (JWE, five parts): only its audience can read it".to_owned());
        }
        _ => {
            return Err(format!(
                "this is not a JWT: it has {}, not three parts with dots between; an opaque token says nothing by itself",
                counted(parts.len(), "part")
            ));
        }
    };
    let header = object("header", header, &mut odd)?;
    let claims = object("claims", claims, &mut odd)?;
    let length = decode("signature", signature, &mut odd).map(|bytes| bytes.len())?;
    look_at_header(&header, length, &mut odd);
    look_at_claims(&claims, now, &mut odd);

    let mut lines = vec!["header".to_owned()];
    lines.extend(header.iter().map(|(name, value)| format!("  {}: {value}", printable(name))));
    lines.push("claims".to_owned());
    lines.extend(claims.iter().map(|(name, value)| claim(name, value, now)));
    lines.push(format!("signature: {}, not verified", counted(length, "byte")));
    lines.extend(odd.iter().map(|what| format!("note: {what}")));
    let lines = lines.iter().map(|line| printable(line)).collect::<Vec<_>>();
    Ok(lines.join("\n"))
}

/// The token without what is pasted along with it.
fn bare<'t>(text: &'t str, odd: &mut Vec<String>) -> &'t str {
    let mut token = text.trim();
    for around in ["Authorization:", "Bearer "] {
        if let Some(start) = token.get(..around.len()).filter(|start| start.eq_ignore_ascii_case(around)) {
            odd.push(format!("`{}` before the token was left out", start.trim()));
            token = token.get(around.len()..).unwrap_or_default().trim_start();
        }
    }
    token
}

fn object(what: &str, part: &str, odd: &mut Vec<String>) -> Result<Map<String, Value>, String> {
    let bytes = decode(what, part, odd)?;
    match json::parse_object(&bytes) {
        Ok(object) => Ok(object),
        Err(strict) => match serde_json::from_slice(&bytes) {
            Ok(Value::Object(object)) => {
                odd.push(format!("the {what} would be refused: {strict}; the last one is shown"));
                Ok(object)
            }
            _ => Err(format!("this is not a JWT: its {what} is not a JSON object")),
        },
    }
}

/// base64 in any spelling; only one is right (RFC 7515, section 2).
fn decode(what: &str, part: &str, odd: &mut Vec<String>) -> Result<Vec<u8>, String> {
    if let Ok(bytes) = BASE64_URL_SAFE_NO_PAD.decode(part) {
        return Ok(bytes);
    }
    let lenient = GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let spellings = [URL_SAFE, STANDARD].map(|alphabet| GeneralPurpose::new(&alphabet, lenient));
    let joined = part.split_whitespace().collect::<String>();
    let bytes = spellings.iter().find_map(|spelling| spelling.decode(&joined).ok());
    let bytes = bytes.ok_or_else(|| format!("this is not a JWT: its {what} is not base64url"))?;
    odd.push(format!("the {what} would be refused: it is not base64url without padding, spaces and unused bits"));
    Ok(bytes)
}

fn look_at_header(header: &Map<String, Value>, signature: usize, odd: &mut Vec<String>) {
    match header.get("alg") {
        None => odd.push("there is no `alg`: this is not a JWT to a gateway".to_owned()),
        Some(Value::String(alg)) if alg.eq_ignore_ascii_case("none") => {
            odd.push("`alg` is none: nobody signed this token, and no gateway should take it".to_owned());
        }
        Some(Value::String(alg)) if alg.starts_with("HS") => {
            odd.push(format!("`{alg}` is signed with a shared secret: whoever can verify it can make it"));
        }
        Some(Value::String(alg)) if Algorithm::from_name(alg).is_none() => {
            odd.push(format!("`{alg}` is never accepted"))
        }
        Some(Value::String(_)) => {}
        Some(_) => odd.push("`alg` is not a text".to_owned()),
    }
    for name in ["jwk", "jku", "x5u", "x5c"].iter().filter(|name| header.contains_key(**name)) {
        odd.push(format!("`{name}` brings or names a key; it is never looked at"));
    }
    if header.contains_key("crit") {
        odd.push("`crit` asks for extensions that are not supported: the token is refused".to_owned());
    }
    if header.contains_key("enc") {
        odd.push("`enc` belongs to encrypted tokens".to_owned());
    }
    match header.get("typ") {
        None | Some(Value::Null) => {}
        Some(Value::String(typ)) => {
            let short = typ.to_ascii_lowercase();
            if !["jwt", "at+jwt"].contains(&short.strip_prefix("application/").unwrap_or(&short)) {
                odd.push(format!("`typ` is `{typ}`: accepted only where an issuer's `types` says so"));
            }
        }
        Some(_) => odd.push("`typ` is not a text".to_owned()),
    }
    if !matches!(header.get("kid"), None | Some(Value::String(_))) {
        odd.push("`kid` is not a text".to_owned());
    }
    if signature == 0 {
        odd.push("the signature is empty".to_owned());
    }
}

fn look_at_claims(claims: &Map<String, Value>, now: i64, odd: &mut Vec<String>) {
    for name in DATES {
        match claims.get(name) {
            Some(Value::String(_)) => odd.push(format!("`{name}` is a text: accepted only with `string_dates: true`")),
            Some(Value::Number(number)) if number.as_i64().is_some_and(|date| date >= MILLISECONDS_FROM) => {
                odd.push(format!("`{name}` is very far off: perhaps in milliseconds, where seconds are meant"));
            }
            None | Some(Value::Number(_) | Value::Null) => {}
            Some(_) => odd.push(format!("`{name}` is not a number")),
        }
    }
    let date = |name: &str| claims.get(name).and_then(moment::of);
    match date("exp") {
        Some(end) if end <= now => odd.push(format!("it expired {}", moment::relative(end, now))),
        None if !claims.contains_key("exp") => {
            odd.push("there is no `exp`: refused unless `require_claims` leaves it out".to_owned())
        }
        _ => {}
    }
    if let Some(begin) = date("nbf").filter(|begin| *begin > now) {
        odd.push(format!("it is good only {}", moment::relative(begin, now)));
    }
    if let Some(made) = date("iat").filter(|made| *made > now) {
        odd.push(format!("it was made {}: somebody's clock is wrong", moment::relative(made, now)));
    }
    if let (Some(made), Some(end)) = (date("iat"), date("exp"))
        && end <= made
    {
        odd.push("`exp` is not after `iat`".to_owned());
    }
    match claims.get("iss") {
        Some(Value::String(_)) => {}
        None => odd.push("there is no `iss`: no issuer can be found for it".to_owned()),
        Some(_) => odd.push("`iss` is not a text".to_owned()),
    }
    let is_audience = |value: &Value| match value {
        Value::String(_) => true,
        Value::Array(all) => !all.is_empty() && all.iter().all(Value::is_string),
        _ => false,
    };
    match claims.get("aud") {
        None => odd.push("there is no `aud`: accepted only with `audiences: any`".to_owned()),
        Some(Value::String(only)) if only == "account" => {
            odd.push(
                "`aud` is `account` alone: Keycloak's default; an audience mapper on the client adds that of the API"
                    .to_owned(),
            );
        }
        Some(value) if is_audience(value) => {}
        Some(_) => odd.push("`aud` is neither a text nor a list of texts".to_owned()),
    }
}

fn claim(name: &str, value: &Value, now: i64) -> String {
    let date = moment::of(value).filter(|_| DATES.contains(&name));
    match date.and_then(|date| moment::in_words(date, now)) {
        Some(words) => format!("  {name}: {value} ({words})"),
        None => format!("  {name}: {value}"),
    }
}

fn counted(number: usize, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: i64 = 1_800_000_000;

    fn token(header: &str, claims: &str, signature: &[u8]) -> String {
        [header.as_bytes(), claims.as_bytes(), signature].map(|part| BASE64_URL_SAFE_NO_PAD.encode(part)).join(".")
    }

    #[test]
    fn a_good_one() {
        let token = token(
            r#"{"alg":"RS256","kid":"a","typ":"at+jwt"}"#,
            r#"{"iss":"https://auth.example.org","aud":["api"],"sub":"u1","iat":1799999700,"exp":1800003300,"scope":"a b","realm_access":{"roles":["x"]}}"#,
            &[7; 256],
        );
        insta::assert_snapshot!(shown(&format!("{token}\n"), NOW).unwrap());
    }

    #[test]
    fn an_odd_one() {
        let token = token(
            r#"{"alg":"none","jku":"https://evil.example","crit":["x"],"typ":"ID","kid":5}"#,
            r#"{"exp":1799913599,"exp":1799913600,"nbf":1800000060.5,"iat":1900000000,"auth_time":"1700000000","updated_at":1700000000000,"aud":"account","iss":["x"],"a":"\u001b[31m\u202e"}"#,
            b"",
        );
        insta::assert_snapshot!(shown(&format!("Authorization: bearer {token}"), NOW).unwrap());
        insta::assert_snapshot!(shown("e30=.e30.AB", NOW).unwrap());
    }

    #[test]
    fn what_is_no_jwt() {
        for (text, part) in [
            ("", "1 part"),
            ("0123456789abcdef", "opaque"),
            ("a.b.c.d.e", "encrypted"),
            ("a.b.c.d", "4 parts"),
            ("é.e30.e30", "header is not base64url"),
            ("e30.W10.e30", "claims is not a JSON object"),
            ("e30.e30.*", "signature is not base64url"),
        ] {
            assert!(shown(text, NOW).unwrap_err().contains(part), "{text}");
        }
    }

    proptest! {
        #[test]
        fn nothing_steers_the_terminal(claims in "\\PC{0,40}", name in "\\PC{0,8}", text in ".{0,40}") {
            let claims = serde_json::json!({name: claims}).to_string();
            for text in [text, token("{}", &claims, b"x")] {
                if let Ok(shown) = shown(&text, NOW) {
                    prop_assert!(!shown.chars().any(|c| c.is_control() && c != '\n'));
                }
            }
        }
    }
}
