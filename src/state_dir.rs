//! `state.dir`: what outlives a restart.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

/// Written by others: the group's and everybody's write permission.
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// A folder of small files that this process alone writes. Whoever can write there decides which keys are believed, so
/// nothing is read that others may have written.
#[derive(Debug)]
pub struct StateDir(PathBuf);

impl StateDir {
    /// Creates the folder (0700) where it isn't there, and tries whether it can be written.
    ///
    /// # Errors
    /// It can't be; in words for the operator.
    pub fn open(path: &Path) -> Result<StateDir, String> {
        let shown = path.display();
        let created = DirBuilder::new().recursive(true).mode(0o700).create(path);
        created.map_err(|error| format!("state.dir: {shown} can't be created: {error}"))?;
        let dir = StateDir(path.to_owned());
        let tried = dir.write("probe", b"").and_then(|()| fs::remove_file(path.join("probe")));
        tried.map_err(|error| format!("state.dir: {shown} can't be written: {error}"))?;
        Ok(dir)
    }

    /// A file's content; None where there is none.
    ///
    /// # Errors
    /// It can't be read, is larger than `most` bytes, or others may have written it; in words for the operator.
    pub fn read(&self, name: &str, most: u64) -> Result<Option<Vec<u8>>, String> {
        let path = self.0.join(name);
        let file = match fs::symlink_metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(format!("{}: {error}", path.display())),
            Ok(file) => file,
        };
        if !file.is_file() || file.mode() & WRITABLE_BY_OTHERS != 0 {
            return Err(format!("{}: not a file that its owner alone may write", path.display()));
        }
        let mut content = Vec::new();
        let read = File::open(&path).and_then(|file| file.take(most + 1).read_to_end(&mut content));
        read.map_err(|error| format!("{}: {error}", path.display()))?;
        if content.len() as u64 > most {
            return Err(format!("{}: larger than {most} bytes", path.display()));
        }
        Ok(Some(content))
    }

    /// Replaces a file's content, all at once: whoever reads it finds the old one or the new one. 0600.
    ///
    /// # Errors
    /// Of the file system; the old content is still there.
    pub fn write(&self, name: &str, content: &[u8]) -> io::Result<()> {
        let unfinished = self.0.join(format!(".{name}.{}", std::process::id()));
        // What a process of this number left behind when it died.
        match fs::remove_file(&unfinished) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let written =
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished).and_then(|mut file| {
                file.write_all(content)?;
                file.sync_all()
            });
        let placed = written.and_then(|()| fs::rename(&unfinished, self.0.join(name)));
        if placed.is_err() {
            // It may not even have been created.
            let _ = fs::remove_file(&unfinished);
        }
        placed
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn what_is_written_is_found_again_and_is_its_owners_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b");
        let dir = StateDir::open(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o700);
        assert_eq!(dir.read("keys", 10), Ok(None));
        dir.write("keys", b"first").unwrap();
        dir.write("keys", b"second").unwrap();
        assert_eq!(fs::metadata(path.join("keys")).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(&path).unwrap().count(), 1, "nothing unfinished is left");
        let again = StateDir::open(&path).unwrap();
        assert_eq!(again.read("keys", 10), Ok(Some(b"second".to_vec())));
        assert!(again.read("keys", 5).unwrap_err().contains("larger than 5"));
    }

    #[test]
    fn what_others_may_have_written_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let dir = StateDir::open(folder.path()).unwrap();
        dir.write("keys", b"x").unwrap();
        symlink(folder.path().join("keys"), folder.path().join("link")).unwrap();
        assert!(dir.read("link", 10).is_err());
        assert!(dir.read(".", 10).is_err());
        for mode in [0o620, 0o602, 0o666] {
            fs::set_permissions(folder.path().join("keys"), fs::Permissions::from_mode(mode)).unwrap();
            assert!(dir.read("keys", 10).is_err(), "{mode:o}");
        }
    }

    #[test]
    fn a_folder_that_cannot_be_is_an_error_that_names_it() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("file"), "").unwrap();
        let error = StateDir::open(&folder.path().join("file/state")).unwrap_err();
        assert!(error.starts_with("state.dir: ") && error.contains("file/state can't be created"), "{error}");
        let error = StateDir::open(&folder.path().join("file")).unwrap_err();
        assert!(error.contains("can't be"), "{error}");
    }
}
