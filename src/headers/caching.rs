//! Answers that belong to one caller.

use hyper::{
    HeaderMap,
    header::{CACHE_CONTROL, HeaderValue},
};

/// Makes an answer private (RFC 9111, section 5.2.2.7): caches that look for `Authorization` don't see that it was given
/// to somebody (RFC 6750, section 2.3). Directives that say the contrary go.
pub fn make_private(headers: &mut HeaderMap) {
    let mut directives = Vec::new();
    for value in headers.get_all(CACHE_CONTROL) {
        // What isn't text says nothing that a cache would understand.
        let Ok(text) = value.to_str() else { continue };
        directives.extend(text.split(',').map(str::trim).filter(|directive| !is_about_sharing(directive)));
    }
    directives.push("private");
    // Parts of header values, joined, are one.
    let value = HeaderValue::from_str(&directives.join(", ")).unwrap_or(HeaderValue::from_static("private"));
    headers.insert(CACHE_CONTROL, value);
}

fn is_about_sharing(directive: &str) -> bool {
    let name = directive.split('=').next().unwrap_or_default().trim_end();
    name.is_empty() || ["private", "public", "s-maxage"].iter().any(|known| name.eq_ignore_ascii_case(known))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn answers_become_private() {
        for (before, after) in [
            (&[][..], "private"),
            (&["private"], "private"),
            (&["no-store"], "no-store, private"),
            (&["public, max-age=60"], "max-age=60, private"),
            (&["max-age=60", "S-MaxAge=5, must-revalidate"], "max-age=60, must-revalidate, private"),
            (&["private=\"set-cookie\""], "private"),
            (&[" , "], "private"),
        ] {
            let mut headers = HeaderMap::new();
            headers.extend(before.iter().map(|value| (CACHE_CONTROL, value.parse().unwrap())));
            make_private(&mut headers);
            let values = headers.get_all(CACHE_CONTROL).iter().collect::<Vec<_>>();
            assert_eq!(values, [after], "{before:?}");
        }
    }
}
