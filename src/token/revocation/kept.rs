//! Revocations on disk (`state.dir`): what has ended doesn't begin anew with a restart.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
};

use super::Revocation;
use crate::state_dir::StateDir;

const FILE: &str = "revocations.jsonl";
/// What couldn't be read of it, for the operator.
const SPOILED: &str = "revocations.spoiled";
/// As many as there may be, each with long names.
const LARGEST: u64 = 512 << 20;

pub(super) struct Kept {
    dir: Arc<StateDir>,
    /// Which version of the state is on disk.
    written: Mutex<u64>,
}

impl Kept {
    pub(super) fn new(dir: Arc<StateDir>) -> Kept {
        Kept { dir, written: Mutex::new(0) }
    }

    /// Those that were kept and aren't over. Lines that aren't revocations are left out, logged and set aside.
    ///
    /// # Errors
    /// The file can't be read.
    pub(super) fn load(&self, now: i64) -> Result<Vec<Revocation>, String> {
        let Some(content) = self.dir.read(FILE, LARGEST).map_err(|error| format!("state.dir: {error}"))? else {
            return Ok(Vec::new());
        };
        let mut kept = Vec::new();
        let mut spoiled = 0_u64;
        for (index, line) in content.split(|byte| *byte == b'\n').enumerate().filter(|(_, line)| !line.is_empty()) {
            match Revocation::from_line(line) {
                Some(revocation) if revocation.is_over(now) => {}
                Some(revocation) => kept.push(revocation),
                None => {
                    spoiled += 1;
                    tracing::error!(file = FILE, line = index + 1, "not a revocation: left out");
                }
            }
        }
        if spoiled > 0
            && let Err(error) = self.dir.write(SPOILED, &content)
        {
            tracing::error!(file = SPOILED, %error, "what is left out could not be set aside");
        }
        Ok(kept)
    }

    /// Writes the state, unless what is on disk is of that version, or a later one, already.
    pub(super) fn save(&self, wanted: u64, state: impl FnOnce() -> (u64, Vec<Arc<Revocation>>)) -> io::Result<()> {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        if *written >= wanted {
            return Ok(());
        }
        let (version, revocations) = state();
        let text: String = revocations.iter().map(|revocation| format!("{}\n", revocation.to_line())).collect();
        self.dir.write(FILE, text.as_bytes())?;
        *written = version;
        Ok(())
    }
}
