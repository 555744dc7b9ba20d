//! The table of keys as a page to read.

use std::fmt::Write;

use super::{Absent, Key, Kind, Rule, all, below, flow::flow};

const HEAD: &str = "\
# Reference: gateway.yaml

<!-- Made by `bearward schema --reference`. -->

Every key, grouped as the file is. [gateway.yaml](../gateway.yaml) shows most of them at work; `bearward check` says
what is wrong with a file. An editor says it while you write, and completes keys, where the file's first line is
`# yaml-language-server: $schema=gateway.schema.json` ([gateway.schema.json](../gateway.schema.json), or what
`bearward schema` prints).

- **Durations** are whole numbers with a unit: `250ms`, `30s`, `5m`, `2h`. **Sizes**: `512B`, `64KiB`, `10MiB`, `1GiB`.
  **Rates**: `100/s`, `600/m`.
- In any text, `${NAME}` and `${NAME:-default}` take an environment variable, `${file:/run/secrets/x}` a file's content
  without its last newline; `$$` is a dollar. What comes out is read as if it had been written plain.
- Relative paths of files are relative to the file that names them.
- A key that isn't known is an error, and so is one without a value: `{}` stands for all defaults.
- Never printed, logged or served: the values of keys that are marked as secret.
";

/// The whole page.
pub(in crate::config) fn markdown() -> String {
    let mut page = HEAD.to_owned();
    group(&mut page, "The file", None, below("").collect());
    for key in all() {
        let keys = below(key.path).collect::<Vec<_>>();
        if !keys.is_empty() {
            group(&mut page, &format!("`{}`", place_below(key)), Some(key), keys);
        }
    }
    page
}

fn group(page: &mut String, title: &str, of: Option<&Key>, keys: Vec<&Key>) {
    // Writing to a String never fails.
    let _ = writeln!(page, "\n## {title}\n");
    if let Some(key) = of {
        let _ = writeln!(page, "{}\n", key.doc);
        for rule in key.rules {
            let _ = writeln!(page, "{}\n", rule_in_words(rule));
        }
    }
    page.push_str("| key | value | if left out | meaning |\n| --- | --- | --- | --- |\n");
    for key in keys {
        let cells = [format!("`{}`", key.name()), value(&key.kind), absent(key), meaning(key)];
        let cells = cells.map(|cell| cell.replace('|', "\\|"));
        let _ = writeln!(page, "| {} |", cells.join(" | "));
    }
}

/// Where the keys below this one are: `routes[].allow[]`.
fn place_below(key: &Key) -> String {
    written(&format!("{}.*", key.path).replace(".*.*", ".*"), Some(key))
}

/// A path with its names and lists shown.
fn written(path: &str, last: Option<&Key>) -> String {
    let mut shown = String::new();
    let mut so_far = String::new();
    for part in path.split('.') {
        let above = last.filter(|key| key.path == so_far).or_else(|| all().find(|key| key.path == so_far));
        match above.map(|key| step(&key.kind)) {
            Some(step) if part == "*" => shown.push_str(&step),
            _ if shown.is_empty() => shown.push_str(part),
            _ => {
                shown.push('.');
                shown.push_str(part);
            }
        }
        if !so_far.is_empty() {
            so_far.push('.');
        }
        so_far.push_str(part);
    }
    shown
}

/// How one goes down to the map in a value of this kind.
fn step(kind: &Kind) -> String {
    match kind {
        Kind::List(_) | Kind::Some(_) => "[]".to_owned(),
        Kind::Named { name, .. } => format!(".<{name}>"),
        Kind::OneOf(kinds) => kinds.iter().map(step).find(|step| !step.is_empty()).unwrap_or_default(),
        _ => String::new(),
    }
}

fn value(kind: &Kind) -> String {
    let listed = |item: &Kind| format!("list: {}", value(item));
    match kind {
        Kind::Text | Kind::Scalar => "text".to_owned(),
        Kind::Secret => "secret".to_owned(),
        Kind::Url(_) => "URL".to_owned(),
        Kind::Flag => "`true` or `false`".to_owned(),
        Kind::Duration => "duration".to_owned(),
        Kind::Size => "size".to_owned(),
        Kind::Rate => "rate".to_owned(),
        Kind::Share => "percentage".to_owned(),
        Kind::Fraction => "number from 0 to 1".to_owned(),
        Kind::Count { least, most } if least == most => format!("`{least}`"),
        Kind::Count { least, most: 10_000_000.. } => format!("number from {least}"),
        Kind::Count { least, most } => format!("number from {least} to {most}"),
        Kind::Word(words) => {
            words.iter().map(|word| format!("`{}`", flow(&(*word).into()))).collect::<Vec<_>>().join(", ")
        }
        Kind::OneOf(kinds) => kinds.iter().map(value).collect::<Vec<_>>().join(", or "),
        Kind::List(item) | Kind::Some(item) => listed(item),
        Kind::Named { name, value: Kind::Section } => format!("map: each {name}'s name to a map"),
        Kind::Named { name, value: inner } => format!("map: each {name}'s name to {}", value(inner)),
        Kind::Section => "map".to_owned(),
        Kind::Json => "JSON object".to_owned(),
    }
}

fn absent(key: &Key) -> String {
    match key.absent {
        Absent::Nothing => String::new(),
        Absent::Required => "**required**".to_owned(),
        Absent::Means(words) => words.to_owned(),
        Absent::Default(_) => format!("`{}`", key.default_value().as_ref().map(flow).unwrap_or_default()),
    }
}

fn meaning(key: &Key) -> String {
    let mut text = key.doc.to_owned();
    if let Some(example) = key.example_value().map(|example| flow(&example)).filter(|example| example != "{}") {
        let _ = write!(text, " Example: `{}: {example}`", key.name());
    }
    text
}

fn rule_in_words(rule: &Rule) -> String {
    let names = |keys: &[&str], last: &str| {
        let shown = keys.iter().map(|key| format!("`{key}`")).collect::<Vec<_>>();
        match shown.split_last() {
            Some((end, begin)) if !begin.is_empty() => format!("{} {last} {end}", begin.join(", ")),
            _ => shown.join(""),
        }
    };
    match rule {
        Rule::ExactlyOne(keys) => format!("Exactly one of {} is there.", names(keys, "and")),
        Rule::AtMostOne(keys) => format!("At most one of {} is there.", names(keys, "and")),
        Rule::Needs(key, other) => format!("`{key}` needs `{other}`."),
        Rule::NotEmpty => "It says something at least: `{}` is an error.".to_owned(),
    }
}
