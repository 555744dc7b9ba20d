//! `tests/data/paths.txt`: request targets, and what comes of each.

/// One line.
pub(crate) struct Case {
    /// As the file has it.
    pub(crate) written: String,
    /// The target's bytes.
    pub(crate) target: Vec<u8>,
    /// 200, 400 or 401.
    pub(crate) status: u16,
    /// What goes upstream.
    pub(crate) arrives: Option<String>,
}

/// All cases.
pub(crate) fn paths() -> Vec<Case> {
    let text = include_str!("../data/paths.txt");
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let cases: Vec<Case> = lines.map(case).collect();
    assert!(cases.len() >= 200, "{} cases", cases.len());
    cases
}

fn case(line: &str) -> Case {
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    let (status, written, arrives) = match words.as_slice() {
        ["200", target] => (200, *target, Some(*target)),
        ["200", target, arrives] => (200, *target, Some(*arrives)),
        ["400", target] => (400, *target, None),
        ["401", target] => (401, *target, None),
        _ => panic!("{line:?}"),
    };
    Case { written: written.to_owned(), target: unescape(written), status, arrives: arrives.map(str::to_owned) }
}

/// `\xNN` is a byte.
fn unescape(text: &str) -> Vec<u8> {
    let mut parts = text.split("\\x");
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        bytes.push(u8::from_str_radix(&part[..2], 16).unwrap());
        bytes.extend_from_slice(&part.as_bytes()[2..]);
    }
    bytes
}
