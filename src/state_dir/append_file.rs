//! A file that grows at its end, so that a change costs what it adds.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::PathBuf,
};

use super::{is_of, is_same};

/// A file of a `StateDir`, open at its end. After an error nobody knows how much of what was added is there: write it anew.
#[derive(Debug)]
pub struct AppendFile {
    file: File,
    path: PathBuf,
    owner: u32,
    length: u64,
}

impl AppendFile {
    pub(super) fn new(file: File, path: PathBuf, owner: u32, length: u64) -> AppendFile {
        AppendFile { file, path, owner, length }
    }

    /// Its length in bytes.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Adds this at its end. On disk when this returns.
    ///
    /// # Errors
    /// Of the file system; or it isn't in its place any more, others may have written it, or somebody did.
    pub fn append(&mut self, content: &[u8]) -> io::Result<()> {
        self.check()?;
        if content.is_empty() {
            return Ok(());
        }
        self.file.write_all(content)?;
        self.file.sync_data()?;
        self.length += content.len() as u64;
        Ok(())
    }

    /// Whether whoever starts next would read what is written here.
    pub(super) fn check(&self) -> io::Result<()> {
        let (named, opened) = (fs::symlink_metadata(&self.path)?, self.file.metadata()?);
        if is_of(&named, self.owner) && is_same(&named, &opened) && opened.len() == self.length {
            Ok(())
        } else {
            Err(replaced())
        }
    }
}

pub(super) fn replaced() -> io::Error {
    io::Error::other("replaced or changed by others")
}
