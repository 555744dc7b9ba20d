//! File descriptors: each connection takes one, and the shell or service manager that starts a process allows it few.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Lets this process have as many as its hard limit allows, and says how many that are; None: no limit. The soft limit is
/// kept low (often 1024) for programs that use `select`, which can't take higher numbers; this one doesn't.
pub fn raise_limit() -> Option<u64> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    // Not as large as it says: where that is more than the kernel gives (`fs.nr_open`), it stays as it is.
    match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        Ok(()) => maximum,
        Err(_) => current,
    }
}
