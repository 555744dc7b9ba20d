//! Waits until one of several files changes: its text, or whether it is there. Folders are watched rather than files,
//! so that a save by renaming and a symlink's swap are seen, too.

use std::{
    collections::{HashMap, HashSet},
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    io::Read,
    path::{Path, PathBuf},
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    time::{Duration, Instant},
};

use notify::{RecommendedWatcher, RecursiveMode, Watcher};

/// Editors write a file in several steps: as long as one follows the other so closely, they are one change.
const SETTLED: Duration = Duration::from_millis(50);
/// No longer, however many steps there are.
const SETTLED_AT_LAST: Duration = Duration::from_secs(1);
/// Where the system tells nothing (network file systems, folders that came later), files are looked at so often.
const LOOK: Duration = Duration::from_secs(1);
/// Bytes of a file that are looked at: as many as one that is read may have, and some.
const LOOKED_AT: u64 = 4 << 20;

/// Files under watch.
pub(super) struct Watch {
    /// By path; None: it isn't there.
    files: HashMap<PathBuf, Option<u64>>,
    folders: HashSet<PathBuf>,
    events: Receiver<()>,
    /// None: the system has no means; then the files are only looked at.
    watcher: Option<RecommendedWatcher>,
}

impl Watch {
    /// Of no file yet.
    pub(super) fn new() -> Watch {
        let (tell, events) = mpsc::channel();
        let watcher = notify::recommended_watcher(move |_| {
            // Nobody waits any more: nothing to tell.
            let _ = tell.send(());
        });
        Watch { files: HashMap::new(), folders: HashSet::new(), events, watcher: watcher.ok() }
    }

    /// Watches these, too, as they are now.
    pub(super) fn add(&mut self, files: impl IntoIterator<Item = PathBuf>) {
        for file in files {
            if self.files.contains_key(&file) {
                continue;
            }
            let folder = match file.parent() {
                Some(folder) if !folder.as_os_str().is_empty() => folder,
                _ => Path::new("."),
            };
            if let Some(watcher) = self.watcher.as_mut().filter(|_| !self.folders.contains(folder)) {
                // A folder that can't be watched is looked at.
                let _ = watcher.watch(folder, RecursiveMode::NonRecursive);
                self.folders.insert(folder.to_owned());
            }
            let seen = fingerprint(&file);
            self.files.insert(file, seen);
        }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.files.len()
    }

    /// Waits until some have changed, and tells which. Empty where none did within `longest`.
    pub(super) fn changed_within(&mut self, longest: Duration) -> Vec<PathBuf> {
        let until = Instant::now() + longest;
        loop {
            let changed = self.changed();
            if !changed.is_empty() || Instant::now() >= until {
                return changed;
            }
            match self.events.recv_timeout(LOOK.min(until.saturating_duration_since(Instant::now()))) {
                Ok(()) => self.settle(),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => std::thread::sleep(LOOK),
            }
        }
    }

    fn settle(&self) {
        let until = Instant::now() + SETTLED_AT_LAST;
        while self.events.recv_timeout(SETTLED).is_ok() && Instant::now() < until {}
    }

    fn changed(&mut self) -> Vec<PathBuf> {
        let mut changed = Vec::new();
        for (path, before) in &mut self.files {
            let now = fingerprint(path);
            if now != *before {
                *before = now;
                changed.push(path.clone());
            }
        }
        changed.sort();
        changed
    }
}

/// Of what is in a file; None where it can't be read.
fn fingerprint(path: &Path) -> Option<u64> {
    let mut text = Vec::new();
    // A pipe or a device would have no end, or keep us waiting.
    fs::metadata(path).ok().filter(fs::Metadata::is_file)?;
    fs::File::open(path).ok()?.take(LOOKED_AT).read_to_end(&mut text).ok()?;
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    Some(hasher.finish())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(30);

    #[test]
    fn sees_every_kind_of_change() {
        let folder = tempfile::tempdir().unwrap();
        let [a, b, other] = ["a.yaml", "b.yaml", "other"].map(|name| folder.path().join(name));
        fs::write(&a, "one").unwrap();
        let mut watch = Watch::new();
        watch.add([a.clone(), b.clone()]);
        assert_eq!(watch.len(), 2);
        assert!(watch.changed_within(Duration::ZERO).is_empty());
        // In place.
        fs::write(&a, "two").unwrap();
        assert_eq!(watch.changed_within(LONG), std::slice::from_ref(&a));
        // By renaming.
        fs::write(&other, "three").unwrap();
        fs::rename(&other, &a).unwrap();
        assert_eq!(watch.changed_within(LONG), std::slice::from_ref(&a));
        // A file that comes, one that goes.
        fs::write(&b, "").unwrap();
        assert_eq!(watch.changed_within(LONG), std::slice::from_ref(&b));
        fs::remove_file(&a).unwrap();
        assert_eq!(watch.changed_within(LONG), std::slice::from_ref(&a));
        // A symlink's swap, as Kubernetes makes it.
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink(&b, &a).unwrap();
            assert_eq!(watch.changed_within(LONG), [a]);
        }
        // What is written again as it was is no change.
        fs::write(&b, "").unwrap();
        assert!(watch.changed_within(Duration::ZERO).is_empty());
    }

    #[test]
    fn a_folder_that_is_not_there_is_no_mistake() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("later").join("a.yaml");
        let mut watch = Watch::new();
        watch.add([file.clone()]);
        fs::create_dir(folder.path().join("later")).unwrap();
        fs::write(&file, "one").unwrap();
        assert_eq!(watch.changed_within(LONG), [file]);
    }
}
