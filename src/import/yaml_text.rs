//! Texts of others in a configuration: as scalars that are read as they are, and in comments that end where they end.

/// How long a line may be.
const WIDTH: usize = 118;
/// Of one that is told in a line.
const LONGEST_COMMENT: usize = 400;

/// A value behind a key.
pub(super) fn block(text: &str) -> String {
    scalar(text, "{}")
}

/// An item between brackets.
pub(super) fn flow(text: &str) -> String {
    scalar(text, "")
}

/// `[a, b]`
pub(super) fn list(texts: &[impl AsRef<str>]) -> String {
    let items = texts.iter().map(|text| flow(text.as_ref())).collect::<Vec<_>>();
    format!("[{}]", items.join(", "))
}

/// Plain where nobody can take it for something else; else in double quotes.
fn scalar(text: &str, besides: &str) -> String {
    const WORDS: [&str; 9] = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-:+@".contains(c) || besides.contains(c);
    let is_plain = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/')
        && text.chars().all(is_plain)
        && !text.ends_with(':')
        && !WORDS.contains(&text.to_ascii_lowercase().as_str());
    if is_plain {
        return text.to_owned();
    }
    let text = if text.contains("$$") || text.contains("${") { text.replace('$', "$$") } else { text.to_owned() };
    let mut quoted = "\"".to_owned();
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            _ if is_shown(character) => quoted.push(character),
            _ => quoted += &format!("\\U{:08X}", u32::from(character)),
        }
    }
    quoted + "\""
}

/// Whether a character is seen where it stands, and does nothing to what is around it.
fn is_shown(character: char) -> bool {
    !character.is_control()
        && !matches!(
            character,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{e000}'..='\u{f8ff}' | '\u{feff}' | '\u{fff0}'..='\u{ffff}' | '\u{1fffe}'..
        )
}

/// A text in one line: its line breaks and whatever else isn't seen are spaces, and there is an end to it.
fn in_a_line(text: &str, longest: usize) -> String {
    let shown = text.chars().map(|c| if is_shown(c) { c } else { ' ' }).collect::<String>();
    let line = shown.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(longest) {
        None => line,
        Some((end, _)) => line.get(..end).unwrap_or_default().trim_end().to_owned() + "…",
    }
}

/// One line of comment, cut where it is too long.
pub(super) fn comment(indent: usize, text: &str) -> String {
    let room = WIDTH.saturating_sub(indent + 2);
    format!("{}# {}\n", " ".repeat(indent), in_a_line(text, room))
}

/// A comment of as many lines as it needs; from the second one on they stand in a bit.
pub(super) fn comments(indent: usize, text: &str) -> String {
    let before = format!("{}#", " ".repeat(indent));
    let (mut out, mut line) = (String::new(), before.clone());
    for word in in_a_line(text, LONGEST_COMMENT).split(' ') {
        if line.chars().count() + word.chars().count() >= WIDTH && line.len() > before.len() + 3 {
            out += &line;
            out.push('\n');
            line = before.clone() + "  ";
        }
        line.push(' ');
        line += word;
    }
    out + &line + "\n"
}
