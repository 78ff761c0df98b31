//! What the kernel knows of this process, under the names that all Prometheus clients use.
//!
//! Read from `/proc` at each scrape (proc(5)); what cannot be read is left out.

use std::fs;
use std::path::Path;

/// What `times` in `/proc` are counted in, a second: `USER_HZ`, 100 wherever Linux runs today.
const TICKS: f64 = 100.0;

/// One metric without labels.
struct Sample {
    name: &'static str,
    kind: &'static str,
    help: &'static str,
    value: Option<f64>,
}

/// The metrics in Prometheus' text format.
pub(crate) fn render() -> String {
    samples(Path::new("/proc"))
        .into_iter()
        .filter_map(|sample| {
            let Sample { name, kind, help, .. } = sample;
            let value = sample.value?;
            Some(format!("# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n"))
        })
        .collect()
}

fn samples(proc: &Path) -> [Sample; 5] {
    let own = proc.join("self");
    let stat = read(&own.join("stat"));
    let ticks = |field| Some(stat_field(&stat, field)? / TICKS);
    let boot = field_after(&read(&proc.join("stat")), "btime ");
    [
        Sample {
            name: "process_cpu_seconds_total",
            kind: "counter",
            help: "Processor time used, user and system.",
            value: ticks(14).zip(ticks(15)).map(|(user, system)| user + system),
        },
        Sample {
            name: "process_resident_memory_bytes",
            kind: "gauge",
            help: "Resident memory.",
            value: field_after(&read(&own.join("status")), "VmRSS:").map(|kibibytes| kibibytes * 1024.0),
        },
        Sample {
            name: "process_open_fds",
            kind: "gauge",
            help: "Open file descriptors.",
            value: open_files(&own.join("fd")),
        },
        Sample {
            name: "process_max_fds",
            kind: "gauge",
            help: "File descriptors that may be open.",
            value: field_after(&read(&own.join("limits")), "Max open files"),
        },
        Sample {
            name: "process_start_time_seconds",
            kind: "gauge",
            help: "When the process started, as Unix time.",
            value: boot.zip(ticks(22)).map(|(boot, since)| boot + since),
        },
    ]
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// The field with this number, from 1, of `/proc/self/stat`. The second is the program's name in parentheses, which
/// may itself hold spaces and parentheses, so it is counted from behind it.
fn stat_field(stat: &str, number: usize) -> Option<f64> {
    let (_, behind_name) = stat.rsplit_once(") ")?;
    behind_name.split_ascii_whitespace().nth(number.checked_sub(3)?)?.parse().ok()
}

/// The first number behind `name` on the line that starts with it.
fn field_after(text: &str, name: &str) -> Option<f64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    rest.split_ascii_whitespace().next()?.parse().ok()
}

fn open_files(directory: &Path) -> Option<f64> {
    let count = fs::read_dir(directory).ok()?.count();
    // One of them is the directory that is being read.
    u32::try_from(count.saturating_sub(1)).ok().map(f64::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    fn value(name: &str) -> f64 {
        let samples = samples(Path::new("/proc"));
        let sample = samples.iter().find(|sample| sample.name == name).unwrap();
        sample.value.unwrap()
    }

    #[test]
    fn the_name_of_the_program_does_not_shift_the_fields() {
        let stat = "7 (a) b (c) ) S 1 7 7 0 -1 4194560 1 2 3 4 150 25 0 0";
        assert_eq!(stat_field(stat, 14), Some(150.0));
        assert_eq!(stat_field(stat, 15), Some(25.0));
        assert_eq!(stat_field(stat, 22), None);
        assert_eq!(stat_field("", 14), None);
    }

    #[test]
    fn fields_are_found_by_name() {
        let limits =
            "Limit  Soft  Hard  Units\nMax processes  1 1 x\nMax open files            1024  4096  files\n";
        assert_eq!(field_after(limits, "Max open files"), Some(1024.0));
        assert_eq!(field_after("Max open files unlimited unlimited files", "Max open files"), None);
    }

    #[test]
    fn this_process_is_seen() {
        let megabyte = 1024.0 * 1024.0;
        assert!(value("process_resident_memory_bytes") > megabyte);
        assert!(value("process_open_fds") >= 3.0);
        assert!(value("process_max_fds") >= value("process_open_fds"));
        assert!(value("process_cpu_seconds_total") >= 0.0);
        let now = UnixSeconds::from(u32::try_from(clock::now().0).unwrap());
        let age = now - value("process_start_time_seconds");
        assert!((-2.0..86_400.0).contains(&age), "{age}");
    }

    type UnixSeconds = f64;

    #[test]
    fn what_cannot_be_read_is_left_out() {
        assert!(samples(Path::new("/nowhere")).iter().all(|sample| sample.value.is_none()));
    }
}
