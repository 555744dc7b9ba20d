//! Paths: where no reading is under `/admin`, no order of other servers' steps leads there.

use bearward::path::CanonicalPath;

use super::{Checked, fuzz, path_models::leads_to_admin};

fn check(input: &[u8]) -> Checked {
    let Ok(raw) = std::str::from_utf8(input) else { return Ok("not text".to_owned()) };
    let path = match CanonicalPath::parse(raw) {
        Ok(path) => path,
        Err(refusal) => return Ok(refusal.detail().to_owned()),
    };
    let text = path.as_str();
    match CanonicalPath::parse(text) {
        Ok(again) if again == path => {}
        again => return Err(format!("{text} isn't canonical: {again:?}")),
    }
    let small = path.readings_ignoring_case();
    if small.iter().all(Result::is_ok) && !path.readings().iter().all(|reading| small.contains(reading)) {
        return Err(format!("{text} loses readings where case is ignored"));
    }
    let admin = |path: &str| path == "/admin" || path.starts_with("/admin/");
    if admin(text) {
        return Ok("protected".to_owned());
    }
    if path.readings().iter().any(|reading| reading.as_ref().map_or(true, |path| admin(path))) {
        return Ok(format!("refused for one of {} readings", path.readings().len()));
    }
    if leads_to_admin(text.as_bytes()) {
        return Err(format!("{text} leads to /admin, and no reading does: {:?}", path.readings()));
    }
    Ok(format!("open in {} readings", path.readings().len() + 1))
}

#[test]
fn path() {
    #[rustfmt::skip]
    let words = [
        "/", "//", "/admin", "admin", "/x", "..", ".", "/../", "/./", "/..;/", ";", ";x=y", "%2e", "%2E%2e", "%252e",
        "%3b", "%253b", "%2f", "%5c", "%252f", "%25", "%2525", "%61", "%2561", "%c3%a9", "%c0%ae", "%00", "%20", "%3f",
        "{", "|", "\"", "@", ":", "A", "%41", "?", "#",
    ];
    let outcomes = fuzz("path", &words, 5_000, check);
    for outcome in ["protected", "open in 1 readings", "the path has an encoded slash", "refused for one of 1 readings"]
    {
        assert!(outcomes.contains_key(outcome), "{outcome}: {outcomes:?}");
    }
}
