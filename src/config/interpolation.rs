//! `${NAME}`, `${NAME:-default}`, `${file:path}` and `$$` in the strings of a configuration.

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use super::{
    files::{FileRead, FilesRead},
    placeholder::Placeholders,
};
use crate::token::secret::Secret;

/// Bytes that one file may have: the configuration, a `${file:}`, a key set.
pub(super) const LARGEST_FILE: u64 = 1 << 20;

/// Bytes that all variables and files of one configuration may bring in together.
const LARGEST_EXPANSION: usize = 8 << 20;

/// Looks an environment variable up; None where it isn't set.
pub type Environment<'e> = dyn Fn(&str) -> Option<String> + 'e;

/// Where variables and files come from.
pub(super) struct Interpolation<'e> {
    environment: &'e Environment<'e>,
    folder: PathBuf,
    files: FilesRead,
    budget: usize,
    placeholders: Option<Placeholders>,
    is_verbatim: bool,
    /// What files brought in.
    confidential: Vec<Secret>,
}

/// A string after interpolation.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Expanded {
    pub(super) text: String,
    /// Whether a variable or a file is in it, so that it must not be shown.
    pub(super) foreign: bool,
    /// Whether a placeholder is in it, so that it says nothing about the real value.
    pub(super) placeholder: bool,
}

/// What is wrong, and what to do about it. Shows names, never values.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) message: String,
    pub(super) hint: Option<String>,
}

impl Fault {
    fn new(message: impl Into<String>) -> Fault {
        Fault { message: message.into(), hint: None }
    }

    fn hint(self, hint: impl Into<String>) -> Fault {
        Fault { hint: Some(hint.into()), ..self }
    }
}

impl<'e> Interpolation<'e> {
    /// Relative paths are relative to `folder`.
    pub(super) fn new(environment: &'e Environment<'e>, folder: &Path) -> Interpolation<'e> {
        Interpolation {
            environment,
            folder: folder.to_owned(),
            files: FilesRead::default(),
            budget: LARGEST_EXPANSION,
            placeholders: None,
            is_verbatim: false,
            confidential: Vec::new(),
        }
    }

    /// Leaves every string as it is: for a document that isn't a configuration.
    pub(super) fn none() -> Interpolation<'static> {
        Interpolation { is_verbatim: true, ..Interpolation::new(&|_| None, Path::new("")) }
    }

    /// From here on placeholders stand for variables that aren't set and for files of secrets that aren't there.
    pub(super) fn with_placeholders(self) -> Interpolation<'e> {
        Interpolation { placeholders: Some(Placeholders::default()), ..self }
    }

    /// From here on relative paths are relative to another folder.
    pub(super) fn enter(&mut self, folder: &Path) {
        folder.clone_into(&mut self.folder);
    }

    /// Takes out which files have come in.
    pub(super) fn take_files(&mut self) -> FilesRead {
        std::mem::take(&mut self.files)
    }

    /// Takes out what files have brought in, which is never to be shown.
    pub(super) fn take_confidential(&mut self) -> Vec<Secret> {
        std::mem::take(&mut self.confidential)
    }

    /// Whether placeholders stand for what isn't there.
    pub(super) fn has_placeholders(&self) -> bool {
        self.placeholders.is_some()
    }

    /// What placeholders stood for, as it is written between `${` and `}`.
    pub(super) fn into_placeholders(self) -> Vec<String> {
        self.placeholders.map(Placeholders::into_names).unwrap_or_default()
    }

    /// The value of `key` (the nearest one above it). None where there is nothing to do.
    pub(super) fn expand(&mut self, text: &str, key: Option<&str>) -> Result<Option<Expanded>, Fault> {
        if self.is_verbatim || !text.contains("$$") && !text.contains("${") {
            return Ok(None);
        }
        let mut out = Expanded { text: String::new(), foreign: false, placeholder: false };
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('$') {
            out.text.push_str(before);
            if let Some(after) = after.strip_prefix('$') {
                out.text.push('$');
                rest = after;
            } else if let Some(after) = after.strip_prefix('{') {
                let (reference, after) = after
                    .split_once('}')
                    .ok_or_else(|| Fault::new("`${` without its `}`").hint("a dollar is written `$$`"))?;
                match self.look_up(reference)? {
                    Some(value) => out.text.push_str(&value),
                    None => {
                        let placeholders = self.placeholders.get_or_insert_default();
                        let standing_in = placeholders.stand_in(reference, key, &out.text);
                        out.text.push_str(&standing_in);
                        out.placeholder = true;
                    }
                }
                out.foreign = true;
                rest = after;
            } else {
                out.text.push('$');
                rest = after;
            }
        }
        out.text.push_str(rest);
        Ok(Some(out))
    }

    /// None: a placeholder is wanted.
    fn look_up(&mut self, reference: &str) -> Result<Option<String>, Fault> {
        let value = match reference.strip_prefix("file:") {
            Some(path) => self.file(path)?,
            None => self.variable(reference)?,
        };
        let size = value.as_ref().map_or(0, String::len);
        self.budget = self.budget.checked_sub(size).ok_or_else(|| {
            Fault::new(format!("variables and files bring in more than {} MiB", LARGEST_EXPANSION >> 20))
        })?;
        Ok(value)
    }

    fn variable(&self, reference: &str) -> Result<Option<String>, Fault> {
        let (name, default) = match reference.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (reference, None),
        };
        let good = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if !good {
            return Err(Fault::new("`${…}` takes the name of an environment variable or `file:` and a path")
                .hint("a dollar is written `$$`"));
        }
        match ((self.environment)(name), default) {
            (Some(value), None) => Ok(Some(value)),
            (Some(value), Some(_)) if !value.is_empty() => Ok(Some(value)),
            (_, Some(default)) => Ok(Some(default.to_owned())),
            (None, None) if self.placeholders.is_some() => Ok(None),
            (None, None) => Err(Fault::new(format!("the environment variable `{name}` is not set"))
                .hint(format!("set it, or give a default: `${{{name}:-default}}`"))),
        }
    }

    fn file(&mut self, path: &str) -> Result<Option<String>, Fault> {
        if path.is_empty() {
            return Err(Fault::new("`${file:}` without a path"));
        }
        let file = self.folder.join(path);
        if self.placeholders.is_some() && !file.exists() {
            self.files.note(FileRead::new(file, None));
            return Ok(None);
        }
        let read = read_text(&file);
        self.files.note(FileRead::new(file, read.as_deref().ok()));
        let mut text = read.map_err(|fault| Fault::new(format!("`{path}`: {fault}")))?;
        if text.ends_with('\n') {
            text.pop();
            if text.ends_with('\r') {
                text.pop();
            }
        }
        if !text.is_empty() {
            self.confidential.push(Secret::new(text.clone().into_bytes()));
        }
        Ok(Some(text))
    }
}

/// Reads a regular file of text, up to `LARGEST_FILE`.
///
/// # Errors
/// What is wrong, in a few words.
pub(super) fn read_text(path: &Path) -> Result<String, String> {
    read_text_up_to(LARGEST_FILE, path)
}

/// The same up to so many bytes, in whole MiB.
///
/// # Errors
/// What is wrong, in a few words.
pub(super) fn read_text_up_to(most: u64, path: &Path) -> Result<String, String> {
    let what = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => "there is no such file".to_owned(),
        std::io::ErrorKind::PermissionDenied => "it may not be read (permission denied)".to_owned(),
        _ => error.to_string(),
    };
    // Asked before opening: to open a named pipe would wait for its writer.
    if !std::fs::metadata(path).map_err(what)?.is_file() {
        return Err("it isn't a regular file".to_owned());
    }
    let file = File::open(path).map_err(what)?;
    text_of(file, most)
}

/// A text of up to so many bytes, in whole MiB.
///
/// # Errors
/// What is wrong, in a few words.
pub(super) fn text_of(from: impl Read, most: u64) -> Result<String, String> {
    let mut bytes = Vec::new();
    from.take(most + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() as u64 > most {
        return Err(format!("it is larger than {} MiB", most >> 20));
    }
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err("it is UTF-16; save it as UTF-8".to_owned());
    }
    String::from_utf8(bytes).map_err(|error| {
        let good = error.as_bytes().get(..error.utf8_error().valid_up_to()).unwrap_or_default();
        let line = good.iter().filter(|byte| **byte == b'\n').count() + 1;
        format!("it isn't UTF-8 text (line {line})")
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn expand(text: &str) -> Result<Option<String>, String> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("secret"), "s3cret\n\n").unwrap();
        let environment = |name: &str| match name {
            "N" => Some("4".to_owned()),
            "EMPTY" => Some(String::new()),
            "DOLLAR" => Some("${N}$$".to_owned()),
            _ => None,
        };
        let mut interpolation = Interpolation::new(&environment, folder.path());
        interpolation.expand(text, None).map(|found| found.map(|found| found.text)).map_err(|fault| fault.message)
    }

    #[test]
    fn what_comes_out() {
        let good = [
            ("${N}", "4"),
            ("a${N}b${N}", "a4b4"),
            ("${M:-7}", "7"),
            ("${EMPTY:-7}", "7"),
            ("${EMPTY}", ""),
            ("${M:-}", ""),
            ("${M:-a:-b}", "a:-b"),
            ("$${N}", "${N}"),
            ("a$$", "a$"),
            ("${N}$", "4$"),
            // What comes out is not looked at again.
            ("${DOLLAR}", "${N}$$"),
            // One newline at the end goes, no more.
            ("${file:secret}", "s3cret\n"),
        ];
        for (text, out) in good {
            assert_eq!(expand(text), Ok(Some(out.to_owned())), "{text}");
        }
        for untouched in ["", "plain", "@example\\.com$", "$N", "{x}"] {
            assert_eq!(expand(untouched), Ok(None));
        }
    }

    #[test]
    fn what_is_refused() {
        for bad in ["${M}", "${N", "${}", "${1A}", "${a b}", "${N:7}", "${file:}", "${file:none}", "${file:.}", "${ N}"]
        {
            assert!(expand(bad).is_err(), "{bad}");
        }
        assert_eq!(expand("${M}").unwrap_err(), "the environment variable `M` is not set");
    }

    #[test]
    fn endless_files_and_expansions_are_bounded() {
        assert!(read_text(Path::new("/dev/zero")).is_err());
        let environment = |_: &str| Some("x".repeat(1 << 20));
        let mut interpolation = Interpolation::new(&environment, Path::new("."));
        assert!(interpolation.expand(&"${A}".repeat(100), None).is_err());
    }

    proptest! {
        #[test]
        fn nothing_panics(text in "[${}:a-z$-]{0,40}") {
            let _ = Interpolation::new(&|_| None, Path::new("/nowhere")).expand(&text, None);
        }
    }
}
