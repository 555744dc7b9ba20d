//! Files that are read again when they change.

use std::{
    collections::HashMap,
    fs,
    io::Read,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::Duration,
};

/// How often files are looked at. By asking rather than being told, every way to replace a file is seen: in place, by
/// rename, by a symbolic link that leads elsewhere, on a file system of the network.
const PAUSE: Duration = Duration::from_millis(200);
/// Bytes that a watched file may have.
const LARGEST: u64 = 1 << 20;

/// A file's text, or why there is none, in a few words.
pub type Text = Result<String, String>;

/// Files, and what was last read of them.
#[derive(Debug)]
pub struct WatchedFiles {
    files: Stamped,
    texts: Vec<Text>,
}

/// Files and folders, and how they were when they were last looked at; what is in them isn't read.
#[derive(Debug, Default)]
pub struct Stamped {
    paths: Vec<PathBuf>,
    /// Outer None: not looked at so far. Inner None: there was nothing.
    seen: Vec<Option<Option<Stamp>>>,
}

/// What changes with a file. None of it can be set back, since the time of the last change is part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl WatchedFiles {
    /// Files of which these texts are known already.
    pub fn new(files: impl IntoIterator<Item = (PathBuf, String)>) -> WatchedFiles {
        let (paths, texts): (Vec<_>, Vec<_>) = files.into_iter().map(|(path, text)| (path, Ok(text))).unzip();
        WatchedFiles { files: Stamped::new(paths), texts }
    }

    /// Waits until one of the files says something else than when it was last read, and returns what all of them say,
    /// each beside its path. A change is told once the files have been at rest for a moment, so that a file in the
    /// middle of being written is rarely seen.
    pub async fn change(&mut self) -> impl Iterator<Item = (&Path, &Text)> {
        loop {
            self.files.change().await;
            let paths = self.files.paths.clone();
            let read = off_runtime(move || paths.iter().map(|path| read_text(path)).collect::<Vec<_>>()).await;
            let Some(texts) = read else { continue };
            if texts != self.texts {
                self.texts = texts;
                return self.files.paths.iter().map(PathBuf::as_path).zip(&self.texts);
            }
        }
    }
}

impl Stamped {
    /// None of them has been looked at: the first look is a change.
    pub fn new(paths: Vec<PathBuf>) -> Stamped {
        Stamped { seen: vec![None; paths.len()], paths }
    }

    /// These from now on. Those among them that it has watched before are known.
    pub fn watch(&mut self, paths: Vec<PathBuf>) {
        let before = self.paths.iter().zip(&self.seen).collect::<HashMap<_, _>>();
        self.seen = paths.iter().map(|path| before.get(path).copied().cloned().flatten()).collect();
        self.paths = paths;
    }

    /// Waits until one of them isn't as it was, and all have been at rest for a moment. Can be given up and begun anew.
    pub async fn change(&mut self) {
        let mut before = None;
        loop {
            tokio::time::sleep(PAUSE).await;
            match self.look().await {
                Some(found) if found == self.seen => before = None,
                Some(found) if before.as_ref() == Some(&found) => {
                    self.seen = found;
                    return;
                }
                found => before = found,
            }
        }
    }

    /// Whether they are as they were when the last change was told: what was read since then is all of one piece.
    pub async fn are_at_rest(&self) -> bool {
        self.look().await.is_some_and(|found| found == self.seen)
    }

    async fn look(&self) -> Option<Vec<Option<Option<Stamp>>>> {
        let paths = self.paths.clone();
        off_runtime(move || paths.iter().map(|path| Some(stamp(path))).collect()).await
    }
}

/// A disk may be slow. None: the runtime ends.
async fn off_runtime<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    tokio::task::spawn_blocking(work).await.ok()
}

/// None: there is nothing.
fn stamp(path: &Path) -> Option<Stamp> {
    let file = fs::metadata(path).ok()?;
    Some(Stamp {
        device: file.dev(),
        inode: file.ino(),
        size: file.size(),
        modified: (file.mtime(), file.mtime_nsec()),
        changed: (file.ctime(), file.ctime_nsec()),
    })
}

fn read_text(path: &Path) -> Text {
    // Asked before opening: to open a named pipe would wait for its writer.
    if !fs::metadata(path).map_err(|error| error.to_string())?.is_file() {
        return Err("it isn't a regular file".to_owned());
    }
    let mut text = String::new();
    let file = fs::File::open(path).map_err(|error| error.to_string())?;
    file.take(LARGEST + 1).read_to_string(&mut text).map_err(|error| error.to_string())?;
    if text.len() as u64 > LARGEST {
        return Err(format!("it is larger than {} MiB", LARGEST >> 20));
    }
    Ok(text)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    async fn next(files: &mut WatchedFiles) -> Vec<Text> {
        files.change().await.map(|(_, text)| text.clone()).collect()
    }

    #[tokio::test]
    async fn every_way_to_change_a_file_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("one"), "old").unwrap();
        let mut files = WatchedFiles::new([(at("one"), "old".to_owned())]);

        fs::write(at("one"), "new").unwrap();
        assert_eq!(next(&mut files).await, [Ok("new".to_owned())]);
        fs::write(at("other"), "renamed").unwrap();
        fs::rename(at("other"), at("one")).unwrap();
        assert_eq!(next(&mut files).await, [Ok("renamed".to_owned())]);
        fs::remove_file(at("one")).unwrap();
        assert!(next(&mut files).await[0].is_err());
        fs::create_dir(at("one")).unwrap();
        assert_eq!(next(&mut files).await, [Err("it isn't a regular file".to_owned())]);
        fs::remove_dir(at("one")).unwrap();
        fs::write(at("one"), "x".repeat((1 << 20) + 1)).unwrap();
        assert_eq!(next(&mut files).await, [Err("it is larger than 1 MiB".to_owned())]);
        fs::write(at("one"), [0xff]).unwrap();
        assert!(next(&mut files).await[0].is_err());
    }

    /// As Kubernetes replaces a ConfigMap: `keys -> ..data/keys`, `..data -> ..1`.
    #[tokio::test]
    async fn a_folder_that_is_swapped_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for (version, text) in [("..1", "old"), ("..2", "new")] {
            fs::create_dir(at(version)).unwrap();
            fs::write(at(version).join("keys"), text).unwrap();
        }
        symlink("..1", at("..data")).unwrap();
        symlink("..data/keys", at("keys")).unwrap();
        let mut files = WatchedFiles::new([(at("keys"), "old".to_owned())]);
        symlink("..2", at("..data_tmp")).unwrap();
        fs::rename(at("..data_tmp"), at("..data")).unwrap();
        assert_eq!(next(&mut files).await, [Ok("new".to_owned())]);
    }

    /// What was written between the first reading and the first look is a change; a touch isn't.
    #[tokio::test]
    async fn what_is_told_is_another_text() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        fs::write(&path, "meanwhile").unwrap();
        let mut files = WatchedFiles::new([(path.clone(), "at load".to_owned())]);
        assert_eq!(next(&mut files).await, [Ok("meanwhile".to_owned())]);
        fs::write(&path, "meanwhile").unwrap();
        let told = tokio::time::timeout(PAUSE * 5, next(&mut files)).await;
        assert!(told.is_err(), "{told:?}");
        fs::write(&path, "at last").unwrap();
        assert_eq!(next(&mut files).await, [Ok("at last".to_owned())]);
    }
}
