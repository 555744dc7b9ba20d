//! `state.dir`: what outlives a restart.

mod append_file;

use std::{
    fs::{self, DirBuilder, File, Metadata, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

pub use self::append_file::AppendFile;

/// Written by others: the group's and everybody's write permission.
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// A folder of small files that this process alone writes. Whoever can write there decides which keys are believed, so
/// nothing is read that others may have written.
#[derive(Debug)]
pub struct StateDir {
    path: PathBuf,
    /// Whom the files belong to that this process makes (a user id).
    owner: u32,
}

impl StateDir {
    /// Creates the folder (0700) where it isn't there, and tries whether it can be written.
    ///
    /// # Errors
    /// It can't be; in words for the operator.
    pub fn open(path: &Path) -> Result<StateDir, String> {
        let shown = path.display();
        let created = DirBuilder::new().recursive(true).mode(0o700).create(path);
        created.map_err(|error| format!("state.dir: {shown} can't be created: {error}"))?;
        let tried = create(path, "probe").and_then(|(probe, file)| {
            let owner = file.metadata()?.uid();
            fs::remove_file(probe)?;
            sync_folder(path).map(|()| owner)
        });
        let owner = tried.map_err(|error| format!("state.dir: {shown} can't be written: {error}"))?;
        Ok(StateDir { path: path.to_owned(), owner })
    }

    /// A file's content; None where there is none.
    ///
    /// # Errors
    /// It can't be read, is larger than `most` bytes, or others may have written it (it is somebody else's, a link, or
    /// writable for others); in words for the operator.
    pub fn read(&self, name: &str, most: u64) -> Result<Option<Vec<u8>>, String> {
        let path = self.path.join(name);
        let wrong = |error: io::Error| format!("{}: {error}", path.display());
        let named = match fs::symlink_metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            named => named.map_err(wrong)?,
        };
        if !is_of(&named, self.owner) {
            return Err(format!("{}: not a file of this process's user that nobody else may write", path.display()));
        }
        let file = File::open(&path).map_err(wrong)?;
        let opened = file.metadata().map_err(wrong)?;
        if !is_same(&opened, &named) {
            return Err(format!("{}: replaced while it was opened", path.display()));
        }
        let mut content = Vec::new();
        file.take(most + 1).read_to_end(&mut content).map_err(wrong)?;
        if content.len() as u64 > most {
            return Err(format!("{}: larger than {most} bytes", path.display()));
        }
        Ok(Some(content))
    }

    /// Replaces a file's content, all at once: whoever reads it finds the old one or the new one, also when the machine
    /// stops meanwhile. On disk when this returns. 0600.
    ///
    /// # Errors
    /// Of the file system; the old content is still there, or the new one already.
    pub fn write(&self, name: &str, content: &[u8]) -> io::Result<()> {
        self.begin(name, content).map(drop)
    }

    /// The same for a file that is to grow.
    ///
    /// # Errors
    /// As `write`.
    pub fn begin(&self, name: &str, content: &[u8]) -> io::Result<AppendFile> {
        let (unfinished, mut file) = create(&self.path, name)?;
        let path = self.path.join(name);
        let written = file.write_all(content).and_then(|()| file.sync_all());
        if let Err(error) = written.and_then(|()| fs::rename(&unfinished, &path)) {
            // If that fails, too, it is in nobody's way.
            let _ = fs::remove_file(&unfinished);
            return Err(error);
        }
        sync_folder(&self.path)?;
        Ok(AppendFile::new(file, path, self.owner, content.len() as u64))
    }

    /// A file that is there and is to grow from this length on, which is what was read of it.
    ///
    /// # Errors
    /// It can't be written, has grown meanwhile, or others may have written it.
    pub fn resume(&self, name: &str, length: u64) -> io::Result<AppendFile> {
        let path = self.path.join(name);
        if !is_of(&fs::symlink_metadata(&path)?, self.owner) {
            return Err(append_file::replaced());
        }
        let file = OpenOptions::new().append(true).open(&path)?;
        let file = AppendFile::new(file, path, self.owner, length);
        file.check()?;
        Ok(file)
    }
}

/// Whether it is a file of this user's that nobody else may write.
fn is_of(named: &Metadata, owner: u32) -> bool {
    named.is_file() && named.uid() == owner && named.mode() & WRITABLE_BY_OTHERS == 0
}

fn is_same(one: &Metadata, other: &Metadata) -> bool {
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

/// Without it, a file that was renamed may have its old name again when the machine stops.
fn sync_folder(folder: &Path) -> io::Result<()> {
    match File::open(folder)?.sync_all() {
        // File systems that know no such thing.
        Err(error) if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) => Ok(()),
        synced => synced,
    }
}

/// A new file for what will get this name when it is finished. 0600. Two that are made at once, for issuers whose keys
/// are the same, are two files.
fn create(folder: &Path, name: &str) -> io::Result<(PathBuf, File)> {
    static CREATED: AtomicU64 = AtomicU64::new(0);
    let number = CREATED.fetch_add(1, Ordering::Relaxed);
    let path = folder.join(format!(".{name}.{}.{number}", std::process::id()));
    // What a process of this number left behind when it died.
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = OpenOptions::new().append(true).create_new(true).mode(0o600).open(&path)?;
    Ok((path, file))
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
    fn what_is_somebody_elses_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let dir = StateDir::open(folder.path()).unwrap();
        dir.write("keys", b"x").unwrap();
        assert_eq!(dir.read("keys", 10), Ok(Some(b"x".to_vec())));
        let other = StateDir { owner: dir.owner + 1, ..dir };
        assert!(other.read("keys", 10).unwrap_err().contains("of this process's user"));
    }

    #[test]
    fn one_file_written_by_many_at_once_is_always_whole() {
        let folder = tempfile::tempdir().unwrap();
        let dir = StateDir::open(folder.path()).unwrap();
        let contents: Vec<Vec<u8>> = (0..8).map(|byte| vec![byte; 10_000]).collect();
        std::thread::scope(|scope| {
            for content in &contents {
                scope.spawn(|| (0..30).for_each(|_| dir.write("keys", content).unwrap()));
            }
        });
        assert!(contents.contains(&dir.read("keys", 10_000).unwrap().unwrap()));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing unfinished is left");
    }

    #[test]
    fn a_file_grows_from_where_it_was_read_to_and_only_while_it_is_that_file() {
        let folder = tempfile::tempdir().unwrap();
        let dir = StateDir::open(folder.path()).unwrap();
        let path = folder.path().join("log");
        let read = || fs::read_to_string(&path).unwrap();
        assert!(dir.resume("log", 0).is_err(), "there is none");
        let mut file = dir.begin("log", b"one\n").unwrap();
        file.append(b"two\n").unwrap();
        file.append(b"").unwrap();
        assert_eq!((read().as_str(), file.length()), ("one\ntwo\n", 8));
        assert!(dir.resume("log", 7).is_err(), "somebody has written meanwhile");
        dir.resume("log", 8).unwrap().append(b"three\n").unwrap();
        assert_eq!(read(), "one\ntwo\nthree\n");
        assert!(file.append(b"x").is_err() && file.append(b"").is_err(), "it has grown by another");

        type Harm = fn(&Path);
        let harms: [Harm; 5] = [
            |path| fs::remove_file(path).unwrap(),
            |path| fs::rename(path, path.with_extension("old")).unwrap(),
            |path| fs::write(path, "").unwrap(),
            |path| fs::set_permissions(path, fs::Permissions::from_mode(0o620)).unwrap(),
            |path| {
                let moved = path.with_extension("moved");
                fs::rename(path, &moved).unwrap();
                symlink(&moved, path).unwrap();
            },
        ];
        for (number, harm) in harms.into_iter().enumerate() {
            let mut file = dir.begin("log", b"one\n").unwrap();
            harm(&path);
            assert!(file.append(b"two\n").is_err(), "{number}");
            assert!(dir.resume("log", 4).is_err(), "{number}");
        }
        let other = StateDir { owner: dir.owner + 1, ..dir };
        fs::remove_file(&path).unwrap();
        fs::write(&path, "").unwrap();
        assert!(other.resume("log", 0).is_err(), "somebody else's");
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
