//! What a document points at is there: files and headings by links, tests by name. And every page can be found.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// Folders whose documents aren't ours.
const OTHERS: [&str; 3] = ["target", "node_modules", ".git"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}

fn documents_below(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let path = entry.path();
        if entry.file_type().unwrap().is_dir() {
            if !OTHERS.iter().any(|other| path.ends_with(other)) {
                documents_below(&path, found);
            }
        } else if path.extension().is_some_and(|ending| ending == "md") {
            found.push(path);
        }
    }
}

/// The lines outside of code, numbered from 1, as they are.
fn prose(document: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut is_code = false;
    document.lines().enumerate().filter_map(move |(number, line)| {
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        (!is_code && !is_fence).then_some((number + 1, line))
    })
}

/// What the links of a line lead to, those in code apart.
fn targets(line: &str) -> Vec<String> {
    let text = line.split('`').step_by(2).collect::<String>();
    let ends = text.split("](").skip(1).filter_map(|rest| rest.split([')', ' ']).next());
    ends.map(ToOwned::to_owned).collect()
}

/// A link within the repository: the file, and the heading in it.
fn local(document: &Path, target: &str) -> Option<(PathBuf, Option<String>)> {
    if target.contains("://") || target.starts_with("mailto:") {
        return None;
    }
    let (file, heading) = target.split_once('#').map_or((target, None), |(file, heading)| (file, Some(heading)));
    let path = if file.is_empty() { document.to_owned() } else { document.parent().unwrap().join(file) };
    Some((path, heading.map(ToOwned::to_owned)))
}

/// What GitHub and its like call the headings of a document in links.
fn headings(document: &str) -> BTreeSet<String> {
    let mut known = BTreeSet::new();
    for (_, line) in prose(document).filter(|(_, line)| line.starts_with('#')) {
        let words = line.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
        let name = words.chars().filter(|c| c.is_alphanumeric() || "-_".contains(*c)).collect::<String>();
        let same = (1..).map(|count| format!("{name}-{count}"));
        let free = std::iter::once(name.clone()).chain(same).find(|name| !known.contains(name));
        known.extend(free);
    }
    known
}

#[test]
fn every_link_leads_somewhere() {
    let mut documents = Vec::new();
    documents_below(root(), &mut documents);
    assert!(documents.len() > 20, "{documents:?}");
    let (mut broken, mut links) = (Vec::new(), 0);
    for document in &documents {
        let text = read(document);
        for (number, line) in prose(&text) {
            for target in targets(line) {
                let Some((path, heading)) = local(document, &target) else { continue };
                links += 1;
                let is_there = path.exists() && heading.is_none_or(|heading| headings(&read(&path)).contains(&heading));
                if !is_there {
                    broken.push(format!("{}:{number}: {target}", document.display()));
                }
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
    assert!(links > 100, "{links} links");
}

#[test]
fn every_page_can_be_found_from_the_readme() {
    let (mut seen, mut next) = (BTreeSet::new(), vec![root().join("README.md")]);
    while let Some(document) = next.pop() {
        let document = document.canonicalize().unwrap();
        if !seen.insert(document.clone()) {
            continue;
        }
        let text = read(&document);
        let linked = prose(&text).flat_map(|(_, line)| targets(line)).filter_map(|target| local(&document, &target));
        next.extend(linked.map(|(path, _)| path).filter(|path| path.extension().is_some_and(|ending| ending == "md")));
    }
    let mut pages = Vec::new();
    documents_below(&root().join("docs"), &mut pages);
    let lost = pages.iter().filter(|page| !seen.contains(&page.canonicalize().unwrap())).collect::<Vec<_>>();
    assert!(lost.is_empty(), "nobody links to {lost:?}");
}

/// `admission::a_token_has_one_text` is a test of `tests/it/admission.rs`, `src/token/tests.rs::claims` one of that file.
#[test]
fn tests_that_the_security_model_names_are_there() {
    let document = root().join("docs/security.md");
    let text = read(&document);
    let (mut missing, mut named) = (Vec::new(), 0);
    for word in prose(&text).flat_map(|(_, line)| line.split('`').skip(1).step_by(2)) {
        let Some((file, test)) = word.split_once("::") else { continue };
        named += 1;
        let places = [file.to_owned(), format!("tests/it/{file}.rs")];
        let sources = places.iter().map(|place| root().join(place)).filter(|place| place.is_file());
        if !sources.map(|source| read(&source)).any(|source| source.contains(&format!("fn {test}("))) {
            missing.push(word);
        }
    }
    assert!(missing.is_empty(), "{missing:?}");
    assert!(named > 20, "{named} tests are named");
}

#[test]
fn every_reason_is_explained() {
    let source = read(&root().join("src/observe/handles.rs"));
    let (_, list) = source.split_once("const REASONS").unwrap();
    let (list, _) = list.split_once("];").unwrap();
    let reasons = list.split('"').skip(1).step_by(2).collect::<Vec<_>>();
    assert!(reasons.len() > 30, "{reasons:?}");
    for page in ["docs/refusals.md", "docs/observability.md"] {
        let text = read(&root().join(page));
        let missing = reasons.iter().filter(|reason| !text.contains(&format!("`{reason}`"))).collect::<Vec<_>>();
        assert!(missing.is_empty(), "{page} doesn't say {missing:?}");
    }
}

#[test]
fn headings_are_named_as_readers_are_used_to() {
    let document = "# A `b_c` & d\n## HTTP/2\n## Again\n## Again\n```\n# no heading\n```\n";
    let wanted = ["a-b_c--d", "http2", "again", "again-1"].map(ToOwned::to_owned);
    assert_eq!(headings(document), BTreeSet::from(wanted));
    assert_eq!(targets("[a](b.md), [`c`](d.md#e \"f\"), `[g](h.md)`"), ["b.md", "d.md#e"]);
}
