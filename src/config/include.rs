//! `include`: the files that a configuration is made of.

use std::{
    fs, io,
    path::{Component, Path, PathBuf},
};

use super::{
    diagnostic::{Finding, Findings},
    file::{self, ConfigFile},
    files::{FileRead, FilesRead},
    interpolation::{Interpolation, read_text},
    reader::{At, Reader},
    source::{Source, Sources},
    yaml::{self, Node},
};

/// Files that one configuration may have.
const MOST_FILES: usize = 500;
/// Bytes that all of them may have together.
const LARGEST_TOGETHER: usize = 16 << 20;
/// How deep files may include each other.
const DEEPEST: usize = 8;
/// Entries of a folder that a wildcard looks at.
const MOST_ENTRIES: usize = 10_000;

/// Reads a file and all that it includes.
pub(super) struct Files<'e> {
    pub(super) interpolation: Interpolation<'e>,
    pub(super) findings: Findings,
    pub(super) sources: Sources,
    /// As they were named, the first one apart, and the folders in which wildcards were looked for.
    pub(super) included: FilesRead,
    /// Resolved: those that are read, and those that are being read, from the first one down.
    seen: Vec<PathBuf>,
    chain: Vec<PathBuf>,
    bytes: usize,
    /// A file could not be read as YAML, so that names of it may be missing.
    pub(super) incomplete: bool,
}

impl<'e> Files<'e> {
    pub(super) fn new(interpolation: Interpolation<'e>) -> Files<'e> {
        Files {
            interpolation,
            findings: Findings::default(),
            sources: Sources::default(),
            included: FilesRead::default(),
            seen: Vec::new(),
            chain: Vec::new(),
            bytes: 0,
            incomplete: false,
        }
    }

    /// The whole configuration that begins with this text. `path` is where the text is from, if from a file.
    pub(super) fn read(&mut self, text: &str, name: &str, folder: &Path, path: Option<&Path>) -> Option<ConfigFile> {
        let tree = self.tree(text, name, folder)?;
        let mut all = file::read(&tree, &mut Reader::new(&mut self.findings, &self.sources));
        self.chain.extend(path.and_then(|path| fs::canonicalize(path).ok()));
        let includes = std::mem::take(&mut all.include);
        self.include(&includes, &mut all);
        Some(all)
    }

    fn tree(&mut self, text: &str, name: &str, folder: &Path) -> Option<Node> {
        let mut source = Source::new(name, text, folder);
        let mut findings = Findings::default();
        self.bytes += text.len();
        self.interpolation.enter(folder);
        let tree = yaml::parse(&source, text, &mut self.interpolation, &mut findings);
        if let Some(tree) = &tree {
            source.hide(yaml::secret_places(tree));
        }
        self.incomplete |= tree.is_none();
        let base = self.sources.push(source);
        self.findings.append(findings, base);
        tree.map(|tree| tree.moved(base))
    }

    fn include(&mut self, patterns: &[At<String>], all: &mut ConfigFile) {
        for pattern in patterns {
            let folder = self.sources.folder(pattern.span).to_owned();
            match matching(&folder, &pattern.value, &mut self.included) {
                Err(words) => self.fail(pattern.error_about(&words)),
                Ok(found) if found.is_empty() && has_wildcard(&pattern.value) => {
                    self.findings.push(pattern.warning(format!("no file fits {}", pattern.shown())));
                }
                Ok(found) if found.is_empty() => {
                    let finding = pattern.error(format!("{}: there is no such file", pattern.shown()));
                    self.fail(
                        finding
                            .hint("a path is relative to the file that holds it; with a `*` in it, none need be there"),
                    );
                }
                Ok(found) => found.iter().for_each(|path| self.include_file(path, pattern, all)),
            }
        }
    }

    fn include_file(&mut self, path: &Path, pattern: &At<String>, all: &mut ConfigFile) {
        let shown = if pattern.foreign { String::new() } else { format!("`{}`: ", path.display()) };
        let text = fs::canonicalize(path).map_err(|error| error.to_string()).and_then(|resolved| {
            let text = read_text(path)?;
            Ok((resolved, text))
        });
        self.included.note(FileRead::new(path.to_owned(), text.as_ref().ok().map(|(_, text)| text.as_str())));
        let (resolved, text) = match text {
            Ok(read) => read,
            Err(words) => return self.fail(pattern.error(format!("{shown}{words}"))),
        };
        if self.chain.contains(&resolved) {
            let finding = pattern.error(format!("{shown}this file includes itself, perhaps by way of others"));
            return self.fail(finding.hint_if(has_wildcard(&pattern.value).then(|| {
                "the wildcard takes in the file that holds it: keep included files in a folder of their own".to_owned()
            })));
        }
        if self.seen.contains(&resolved) {
            return;
        }
        let too_much = if self.chain.len() >= DEEPEST {
            Some(format!("files include each other more than {DEEPEST} deep"))
        } else if self.seen.len() >= MOST_FILES {
            Some(format!("more than {MOST_FILES} files are included"))
        } else if self.bytes + text.len() > LARGEST_TOGETHER {
            Some(format!("the files of this configuration have more than {} MiB together", LARGEST_TOGETHER >> 20))
        } else {
            None
        };
        if let Some(words) = too_much {
            return self.fail(pattern.error(words));
        }
        self.seen.push(resolved.clone());
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
        let folder = path.parent().unwrap_or(Path::new(""));
        let Some(tree) = self.tree(text, &path.display().to_string(), folder) else { return };
        let includes = file::read_included(&tree, all, &mut Reader::new(&mut self.findings, &self.sources));
        self.chain.push(resolved);
        self.include(&includes, all);
        self.chain.pop();
    }

    fn fail(&mut self, finding: Finding) {
        self.incomplete = true;
        self.findings.push(finding);
    }
}

fn has_wildcard(pattern: &str) -> bool {
    pattern.contains(['*', '?'])
}

/// The files that a pattern names, in the order of their names. Without a wildcard: the one, if it is there. Notes where
/// it looks: what comes there later may fit, too.
fn matching(folder: &Path, pattern: &str, looked_at: &mut FilesRead) -> Result<Vec<PathBuf>, String> {
    if pattern.contains(['[', ']', '{', '}']) || pattern.split('/').any(|part| part == "**") {
        return Err(format!("`{pattern}`: the wildcards here are `*` and `?`, within a name"));
    }
    let mut found = vec![folder.to_owned()];
    for part in Path::new(pattern).components() {
        let name = match part {
            Component::Normal(name) => name.to_str().filter(|name| has_wildcard(name)),
            _ => None,
        };
        let mut next = Vec::new();
        for path in found {
            match name {
                Some(name) => {
                    let here = if path.as_os_str().is_empty() { Path::new(".") } else { &path };
                    looked_at.note(FileRead { is_folder: true, ..FileRead::new(here.to_owned(), None) });
                    next.extend(entries(&path, name).map_err(|error| format!("`{pattern}`: {error}"))?);
                }
                None => next.push(path.join(part)),
            }
        }
        found = next;
    }
    for path in &found {
        looked_at.note_missing(path);
    }
    found.retain(|path| path.exists());
    Ok(found)
}

/// The entries of a folder whose names fit, in order; hidden ones only where the pattern begins with a dot, too.
fn entries(folder: &Path, pattern: &str) -> io::Result<Vec<PathBuf>> {
    let here = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let listing = match fs::read_dir(here) {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        listing => listing?,
    };
    let mut names = Vec::new();
    for (count, entry) in listing.enumerate() {
        if count >= MOST_ENTRIES {
            return Err(io::Error::other(format!("more than {MOST_ENTRIES} entries in one folder")));
        }
        let Ok(name) = entry?.file_name().into_string() else { continue };
        if fits(&name, pattern) && (pattern.starts_with('.') || !name.starts_with('.')) {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names.into_iter().map(|name| folder.join(name)).collect())
}

/// `*` is any text, `?` any character. In time linear in the name for each star.
fn fits(name: &str, pattern: &str) -> bool {
    let (name, pattern) = (name.chars().collect::<Vec<_>>(), pattern.chars().collect::<Vec<_>>());
    let (mut at, mut of, mut star) = (0, 0, None);
    while let Some(c) = name.get(at) {
        match pattern.get(of) {
            Some('*') => {
                star = Some((at, of));
                of += 1;
            }
            Some(wanted) if *wanted == '?' || wanted == c => (at, of) = (at + 1, of + 1),
            _ => match star {
                Some((from, place)) => {
                    star = Some((from + 1, place));
                    (at, of) = (from + 1, place + 1);
                }
                None => return false,
            },
        }
    }
    pattern.get(of..).is_some_and(|rest| rest.iter().all(|c| *c == '*'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards() {
        for (name, pattern, fit) in [
            ("a.yaml", "*.yaml", true),
            ("a.yml", "*.yaml", false),
            ("a.yaml", "a.yaml", true),
            ("ab", "a?", true),
            ("a", "a?", false),
            ("abcbd", "a*b*d", true),
            ("", "*", true),
            ("aaab", "*a*a*b", true),
            ("ü.yaml", "?.yaml", true),
            ("a.yaml.bak", "*.yaml", false),
        ] {
            assert_eq!(fits(name, pattern), fit, "{name} {pattern}");
        }
        let (long, many) = ("a".repeat(200), "*a".repeat(100));
        assert!(!fits(&long, &format!("{many}b")));
    }
}
