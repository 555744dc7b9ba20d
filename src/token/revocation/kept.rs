//! Revocations on disk (`state.dir`): what has ended doesn't begin anew with a restart.
//!
//! A file of lines, each a change: what was added, in the order in which it was, and what was lifted of that. A change costs
//! its own line. Now and then the file is written anew, all at once, as what is in force.

use std::{
    collections::HashMap,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{Change, Ledger, Revocation};
use crate::state_dir::{AppendFile, StateDir};

const FILE: &str = "revocations.jsonl";
/// What couldn't be read of it, for the operator.
const SPOILED: &str = "revocations.spoiled";
/// As many as there may be, each with long names.
const LARGEST: u64 = 512 << 20;
/// Lines that nobody needs and the file may have, besides as many as there are revocations.
const SLACK: usize = 1000;
/// Changes that wait to be written. Where there are more, all is.
const MOST_WAITING: usize = 10_000;

pub(super) struct Kept {
    dir: Arc<StateDir>,
    waiting: Mutex<Waiting>,
    /// Who writes holds it, also while it takes the ledger's lock: never the other way round.
    disk: Mutex<Disk>,
    slack: usize,
}

/// A version, and what is in force.
type State<'l> = (u64, MutexGuard<'l, Ledger>);

/// What has changed since the file was written, in order.
#[derive(Default)]
struct Waiting {
    changes: Vec<Change>,
    /// There were more.
    is_incomplete: bool,
}

struct Disk {
    /// Of the state that is there.
    version: u64,
    /// None: it is to be written anew.
    file: Option<AppendFile>,
    lines: usize,
}

impl Kept {
    /// Those that were kept and aren't over. Lines that can't be read are left out, logged and set aside.
    ///
    /// # Errors
    /// The file can't be read.
    pub(super) fn load(dir: Arc<StateDir>, now: i64) -> Result<(Kept, Vec<Arc<Revocation>>), String> {
        let content = dir.read(FILE, LARGEST).map_err(|error| format!("state.dir: {error}"))?;
        let mut disk = Disk { version: 0, file: None, lines: 0 };
        let mut in_force = Ledger::new();
        if let Some(content) = content {
            let found = Found::read(&content, now);
            if found.left_out == 0 && found.ends_with_a_line {
                // If it can't be continued, it is written anew.
                disk.file = dir.resume(FILE, content.len() as u64).ok();
                disk.lines = found.lines;
            }
            if found.left_out > 0
                && let Err(error) = dir.write(SPOILED, &content)
            {
                tracing::error!(file = SPOILED, %error, "what is left out could not be set aside");
            }
            in_force = found.in_force;
        }
        let kept = Kept { dir, waiting: Mutex::default(), disk: Mutex::new(disk), slack: SLACK };
        Ok((kept, in_force.into_values().collect()))
    }

    /// Writes all anew where much of the file is of no use. One that couldn't be read in full waits for a change: until then, who
    /// knows better may look at it.
    pub(super) fn fold<'l>(&self, state: impl Fn() -> State<'l>) {
        let mut disk = self.disk();
        let held = state().1.len();
        if disk.file.is_some()
            && !self.has_room(&disk, 0, held)
            && let Err(error) = self.write_all(&mut disk, state)
        {
            tracing::warn!(file = FILE, %error, "could not be written anew: it stays as it is");
        }
    }

    /// Keeps a change for the next writing.
    pub(super) fn note(&self, change: Change) {
        let mut waiting = self.waiting();
        if waiting.changes.len() < MOST_WAITING {
            waiting.changes.push(change);
        } else {
            waiting.is_incomplete = true;
        }
    }

    /// Whether there are changes that nobody has written yet.
    pub(super) fn has_waiting(&self) -> bool {
        let waiting = self.waiting();
        !waiting.changes.is_empty() || waiting.is_incomplete
    }

    /// Writes what has changed, unless what is on disk is of that version, or a later one, already.
    pub(super) fn save<'l>(&self, wanted: u64, state: impl Fn() -> State<'l>) -> io::Result<()> {
        let mut disk = self.disk();
        if disk.version >= wanted {
            return Ok(());
        }
        let (version, ledger) = state();
        let waiting = std::mem::take(&mut *self.waiting());
        let has_room = !waiting.is_incomplete && self.has_room(&disk, waiting.changes.len(), ledger.len());
        drop(ledger);
        if has_room && disk.append(&waiting.changes) {
            disk.version = version;
            return Ok(());
        }
        self.write_all(&mut disk, state)
    }

    fn write_all<'l>(&self, disk: &mut Disk, state: impl Fn() -> State<'l>) -> io::Result<()> {
        disk.file = None;
        let (version, ledger) = state();
        // All of them are in it.
        *self.waiting() = Waiting::default();
        let all: Vec<Arc<Revocation>> = ledger.values().cloned().collect();
        drop(ledger);
        let text: String = all.iter().map(|revocation| format!("{}\n", revocation.to_line())).collect();
        *disk = Disk { version, file: Some(self.dir.begin(FILE, text.as_bytes())?), lines: all.len() };
        Ok(())
    }

    /// Whether so many lines more leave the file small enough, where so many revocations are held. Between two times that all
    /// is written there are more changes than there were revocations: each pays for a few lines.
    fn has_room(&self, disk: &Disk, more: usize, held: usize) -> bool {
        disk.lines + more <= 2 * held + self.slack
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Disk {
    /// Whether these changes are in the file now. If not, all is to be written.
    fn append(&mut self, changes: &[Change]) -> bool {
        let Some(mut file) = self.file.take() else { return false };
        let text: String = changes.iter().map(|change| format!("{}\n", change.to_line())).collect();
        if file.length() + text.len() as u64 > LARGEST {
            return false;
        }
        if let Err(error) = file.append(text.as_bytes()) {
            tracing::warn!(file = FILE, %error, "could not be continued: it is written anew");
            return false;
        }
        self.lines += changes.len();
        self.file = Some(file);
        true
    }
}

/// What is in a file.
struct Found {
    in_force: Ledger,
    lines: usize,
    /// Lines that can't be read.
    left_out: usize,
    ends_with_a_line: bool,
}

impl Found {
    fn read(content: &[u8], now: i64) -> Found {
        let mut found = Found { in_force: HashMap::new(), lines: 0, left_out: 0, ends_with_a_line: true };
        for (index, written) in content.split_inclusive(|byte| *byte == b'\n').enumerate() {
            let line = written.strip_suffix(b"\n");
            found.ends_with_a_line = line.is_some();
            let text = line.unwrap_or(written);
            if text.is_empty() {
                continue;
            }
            found.lines += 1;
            match Change::from_line(text) {
                Some(Change::Added { revocation, .. }) if revocation.is_over(now) => {}
                Some(Change::Added { revocation, instead_of }) => {
                    for old in instead_of {
                        found.in_force.remove(&old);
                    }
                    found.in_force.insert(revocation.id.clone(), revocation);
                }
                // Who lifts is told when the line is finished.
                Some(Change::Lifted(id)) if line.is_some() => {
                    found.in_force.remove(&id);
                }
                Some(Change::Lifted(_)) | None => {
                    found.left_out += 1;
                    if line.is_some() {
                        tracing::error!(file = FILE, line = index + 1, "not a revocation: left out");
                    } else {
                        tracing::warn!(file = FILE, line = index + 1, "the last line is not finished: left out");
                    }
                }
            }
        }
        found
    }
}

#[cfg(test)]
mod tests;
