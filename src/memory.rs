//! How much memory this process may take: what its container or service is given, where that is less than the machine has.

use std::{fs, path::Path, sync::OnceLock};

/// A limit above this is none: version 1 of cgroups writes one that nothing can reach.
const NONE_FROM: u64 = 1 << 60;

/// The lowest memory limit of the cgroups (version 1 or 2) that this process is in, in bytes; None: it has none. As long as
/// a process lives the same.
pub fn limit() -> Option<u64> {
    static LIMIT: OnceLock<Option<u64>> = OnceLock::new();
    *LIMIT.get_or_init(|| limit_under(Path::new("/")))
}

/// So many bytes; where there is a limit of which one in `parts` is less, that.
pub fn at_most(bytes: u64, parts: u64) -> u64 {
    of_limit(limit(), bytes, parts)
}

fn of_limit(limit: Option<u64>, bytes: u64, parts: u64) -> u64 {
    limit.map_or(bytes, |limit| bytes.min(limit / parts))
}

/// Under another root than the machine's.
fn limit_under(root: &Path) -> Option<u64> {
    let memberships = fs::read_to_string(root.join("proc/self/cgroup")).ok()?;
    let all = root.join("sys/fs/cgroup");
    let limits = memberships.lines().filter_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next()?, fields.next()?);
        if controllers.is_empty() {
            lowest(&all, path, "memory.max")
        } else if controllers.split(',').any(|controller| controller == "memory") {
            lowest(&all.join("memory"), path, "memory.limit_in_bytes")
        } else {
            None
        }
    });
    limits.min()
}

/// Of a group and those around it. What a container sees may begin at its own group, whatever its path says: what isn't
/// there has no limit.
fn lowest(mount: &Path, path: &str, file: &str) -> Option<u64> {
    let group = mount.join(path.trim_start_matches('/'));
    let groups = group.ancestors().take_while(|group| group.starts_with(mount));
    // `max` is no number, and no limit.
    let limits = groups.filter_map(|group| fs::read_to_string(group.join(file)).ok()?.trim().parse::<u64>().ok());
    limits.filter(|limit| *limit < NONE_FROM).min()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// By name, what stands in them.
    type Files<'a> = &'a [(&'a str, &'a str)];

    fn machine(files: Files<'_>) -> Option<u64> {
        let root = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        limit_under(root.path())
    }

    #[test]
    fn under_a_low_limit_less_is_taken() {
        for (limit, bytes) in [(None, 64), (Some(1000), 64), (Some(256), 64), (Some(100), 25), (Some(0), 0)] {
            assert_eq!(of_limit(limit, 64, 4), bytes, "{limit:?}");
        }
    }

    #[test]
    fn the_lowest_limit_around_a_process_holds() {
        const CGROUP: &str = "proc/self/cgroup";
        let cases: [(&str, Files<'_>, Option<u64>); 9] = [
            ("no cgroups", &[], None),
            ("version 2, none", &[(CGROUP, "0::/a\n"), ("sys/fs/cgroup/a/memory.max", "max\n")], None),
            (
                "version 2, its own",
                &[(CGROUP, "0::/a\n"), ("sys/fs/cgroup/a/memory.max", "67108864\n")],
                Some(67_108_864),
            ),
            (
                "version 2, the group's around it",
                &[
                    (CGROUP, "0::/a/b\n"),
                    ("sys/fs/cgroup/a/memory.max", "1000\n"),
                    ("sys/fs/cgroup/a/b/memory.max", "2000\n"),
                ],
                Some(1000),
            ),
            (
                "version 2, a container's root",
                &[(CGROUP, "0::/\n"), ("sys/fs/cgroup/memory.max", "3000\n")],
                Some(3000),
            ),
            (
                "version 1, none",
                &[(CGROUP, "4:memory:/a\n"), ("sys/fs/cgroup/memory/a/memory.limit_in_bytes", "9223372036854771712\n")],
                None,
            ),
            (
                "version 1, with another controller",
                &[
                    (CGROUP, "5:cpu:/z\n4:freezer,memory:/a\n"),
                    ("sys/fs/cgroup/memory/a/memory.limit_in_bytes", "4000\n"),
                ],
                Some(4000),
            ),
            (
                "version 1, the path of the machine in a container",
                &[(CGROUP, "4:memory:/pods/x\n0::/y\n"), ("sys/fs/cgroup/memory/memory.limit_in_bytes", "5000\n")],
                Some(5000),
            ),
            ("no such line", &[(CGROUP, "nonsense\n1:cpu:/\n"), ("sys/fs/cgroup/memory.max", "1\n")], None),
        ];
        for (what, files, limit) in cases {
            assert_eq!(machine(files), limit, "{what}");
        }
    }
}
