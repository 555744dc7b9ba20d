//! What a configuration is read from, and how it is read again.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
};

use super::{Diagnostic, Loaded};

/// A file, or a folder of files, that a configuration was read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileRead {
    /// As it was named.
    pub path: PathBuf,
    /// Tells what was in it from anything else; None: it couldn't be read, or what was read isn't known.
    pub contents: Option<u64>,
    /// A folder in which files were looked for.
    pub is_folder: bool,
    /// Whoever works with it reads it again when it changes: the configuration needn't be.
    pub has_own_watch: bool,
}

impl FileRead {
    /// One that was read as the configuration was, or couldn't be.
    pub(super) fn new(path: PathBuf, text: Option<&str>) -> FileRead {
        let contents = text.map(|text| {
            let mut hasher = DefaultHasher::new();
            text.hash(&mut hasher);
            hasher.finish()
        });
        FileRead { path, contents, is_folder: false, has_own_watch: false }
    }
}

/// Notes what is read, each once.
#[derive(Clone, Debug, Default)]
pub(super) struct FilesRead(Vec<FileRead>);

impl FilesRead {
    pub(super) fn note(&mut self, file: FileRead) {
        match self.0.iter_mut().find(|known| known.path == file.path) {
            None => self.0.push(file),
            Some(known) => {
                known.contents = known.contents.or(file.contents);
                known.has_own_watch &= file.has_own_watch;
            }
        }
    }

    /// Where there is nothing, but may be later.
    pub(super) fn note_missing(&mut self, path: &Path) {
        if !path.exists() {
            self.note(FileRead::new(path.to_owned(), None));
        }
    }

    pub(super) fn append(&mut self, others: FilesRead) {
        others.0.into_iter().for_each(|file| self.note(file));
    }

    /// Of the files alone.
    pub(super) fn paths(&self) -> impl Iterator<Item = PathBuf> {
        self.0.iter().filter(|file| !file.is_folder).map(|file| file.path.clone())
    }

    pub(super) fn into_list(self) -> Vec<FileRead> {
        self.0
    }
}

/// What came of reading a configuration.
#[derive(Debug)]
pub struct Attempt {
    /// All that was read or looked for, also where the configuration can't be used.
    pub files: Vec<FileRead>,
    /// The configuration, or all that is wrong with it.
    pub outcome: Result<Loaded, Vec<Diagnostic>>,
}

/// A configuration's file, to be read as often as it changes.
#[derive(Clone, Debug)]
pub struct Origin {
    /// Where it is.
    pub path: PathBuf,
    /// Looks environment variables up.
    pub environment: fn(&str) -> Option<String>,
}

impl Origin {
    /// Reads it now.
    #[must_use]
    pub fn read(&self) -> Attempt {
        super::attempt(&self.path, |folder: &Path| super::Interpolation::new(&self.environment, folder))
    }
}
