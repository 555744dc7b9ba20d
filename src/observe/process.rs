//! The process's own numbers, read from /proc at each scrape. Where there is no /proc, there are no such metrics.

use std::fs;

use super::line::push_fmt;

/// The unit of times in /proc: fixed at a hundredth of a second in what the kernel shows to programs.
const TICKS_PER_SECOND: f64 = 100.0;

/// Fields of /proc/self/stat.
const THREADS: usize = 20;
const VIRTUAL_BYTES: usize = 23;

/// Names, kinds and help of what `render` adds.
pub(super) const METRICS: [(&str, &str, &str); 7] = [
    ("process_cpu_seconds_total", "counter", "CPU time of the process, user and system."),
    ("process_resident_memory_bytes", "gauge", "Memory of the process in RAM."),
    ("process_virtual_memory_bytes", "gauge", "Memory of the process that is mapped, in RAM or not."),
    ("process_threads", "gauge", "Threads of the process."),
    ("process_open_fds", "gauge", "Open file descriptors."),
    ("process_max_fds", "gauge", "File descriptors that may be open."),
    ("process_start_time_seconds", "gauge", "Unix time at which the process began."),
];

/// Adds the metrics of this process in the Prometheus text format.
pub(super) fn render(text: &mut String) {
    let read = |path: &str| fs::read_to_string(path).ok();
    let stat = read("/proc/self/stat");
    let values = [
        stat.as_deref().and_then(cpu_seconds),
        read("/proc/self/status").as_deref().and_then(resident_bytes),
        stat.as_deref().and_then(|stat| stat_field(stat, VIRTUAL_BYTES)),
        stat.as_deref().and_then(|stat| stat_field(stat, THREADS)),
        fs::read_dir("/proc/self/fd").ok().map(|entries| entries.count() as f64),
        read("/proc/self/limits").as_deref().and_then(max_files),
        stat.as_deref().zip(read("/proc/stat").as_deref()).and_then(|(stat, system)| start_time(stat, system)),
    ];
    for ((name, kind, help), value) in METRICS.into_iter().zip(values) {
        if let Some(value) = value {
            push_fmt(text, format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n"));
        }
    }
}

/// A field of /proc/self/stat by its number in proc_pid_stat(5). The second one, the program's name, may hold spaces and
/// parentheses, so fields are counted from the last parenthesis.
fn stat_field(stat: &str, number: usize) -> Option<f64> {
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_ascii_whitespace().nth(number.checked_sub(3)?)?.parse().ok()
}

fn cpu_seconds(stat: &str) -> Option<f64> {
    Some((stat_field(stat, 14)? + stat_field(stat, 15)?) / TICKS_PER_SECOND)
}

fn start_time(stat: &str, system: &str) -> Option<f64> {
    let boot: f64 = labelled(system, "btime ")?.parse().ok()?;
    Some(boot + stat_field(stat, 22)? / TICKS_PER_SECOND)
}

fn resident_bytes(status: &str) -> Option<f64> {
    let kibibytes: f64 = labelled(status, "VmRSS:")?.parse().ok()?;
    Some(kibibytes * 1024.0)
}

fn max_files(limits: &str) -> Option<f64> {
    labelled(limits, "Max open files")?.parse().ok()
}

/// The first word after a line's beginning.
fn labelled<'t>(text: &'t str, begin: &str) -> Option<&'t str> {
    text.lines().find_map(|line| line.strip_prefix(begin))?.split_ascii_whitespace().next()
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str =
        "42 (a) b (c) S 1 42 42 0 -1 4194560 100 0 0 0 150 50 0 0 20 0 4 0 12345 1000 200 18446744073709551615";

    #[test]
    fn fields_are_counted_from_the_last_parenthesis() {
        assert_eq!(cpu_seconds(STAT), Some(2.0));
        assert_eq!(start_time(STAT, "cpu 1 2 3\nbtime 1700000000\n"), Some(1_700_000_123.45));
        assert_eq!((stat_field(STAT, THREADS), stat_field(STAT, VIRTUAL_BYTES)), (Some(4.0), Some(1000.0)));
        assert_eq!(cpu_seconds("42 (x) S"), None);
        assert_eq!(cpu_seconds(""), None);
    }

    #[test]
    fn other_files() {
        assert_eq!(resident_bytes("Name:\tx\nVmRSS:\t    2048 kB\n"), Some(2_097_152.0));
        assert_eq!(
            max_files("Limit\nMax open files            1024                 4096                 files\n"),
            Some(1024.0)
        );
        assert_eq!(max_files("Max open files            unlimited            unlimited            files\n"), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_process_has_all_of_them() {
        let mut text = String::new();
        render(&mut text);
        for (name, ..) in METRICS {
            assert!(text.contains(&format!("\n{name} ")), "{text}");
        }
    }
}
