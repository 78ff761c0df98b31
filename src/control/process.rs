//! What the kernel knows of this process, under the names that all Prometheus clients use.
//!
//! Read from `/proc` at each scrape (proc(5)); what cannot be read is left out.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// What `times` in `/proc` are counted in, a second: `USER_HZ`, 100 wherever Linux runs today.
const TICKS: f64 = 100.0;

/// What the threads of workers are called, before their number.
pub const WORKER_THREAD: &str = "worker-";

/// One metric without labels.
struct Sample {
    name: &'static str,
    kind: &'static str,
    help: &'static str,
    value: Option<f64>,
}

/// The metrics in Prometheus' text format.
pub(crate) fn render() -> String {
    let proc = Path::new("/proc");
    samples(proc)
        .into_iter()
        .filter_map(|sample| {
            let Sample { name, kind, help, .. } = sample;
            let value = sample.value?;
            Some(format!("# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n"))
        })
        .chain(worker_lines(&worker_times(&proc.join("self/task"))))
        .collect()
}

fn worker_lines(times: &BTreeMap<usize, f64>) -> impl Iterator<Item = String> {
    let name = "portcullis_worker_cpu_seconds_total";
    let head = format!("# HELP {name} Processor time used, by worker.\n# TYPE {name} counter\n");
    let head = (!times.is_empty()).then_some(head);
    let line = move |(worker, seconds): (&usize, &f64)| format!("{name}{{worker=\"{worker}\"}} {seconds}\n");
    head.into_iter().chain(times.iter().map(line))
}

/// The processor time of the threads that are called `worker-<number>`, by number.
fn worker_times(tasks: &Path) -> BTreeMap<usize, f64> {
    let mut times = BTreeMap::new();
    let threads = fs::read_dir(tasks).into_iter().flatten().filter_map(Result::ok);
    for thread in threads {
        let stat = read(&thread.path().join("stat"));
        let name = stat.split_once('(').and_then(|(_, rest)| Some(rest.rsplit_once(')')?.0));
        let number = name.and_then(|name| name.strip_prefix(WORKER_THREAD)?.parse().ok());
        if let (Some(number), Some(seconds)) = (number, cpu_seconds(&stat)) {
            *times.entry(number).or_insert(0.0) += seconds;
        }
    }
    times
}

/// User and system time.
fn cpu_seconds(stat: &str) -> Option<f64> {
    Some((stat_field(stat, 14)? + stat_field(stat, 15)?) / TICKS)
}

fn samples(proc: &Path) -> [Sample; 9] {
    let own = proc.join("self");
    let stat = read(&own.join("stat"));
    let ticks = |field| Some(stat_field(&stat, field)? / TICKS);
    let boot = field_after(&read(&proc.join("stat")), "btime ");
    let network = read(&own.join("net/netstat"));
    [
        Sample {
            name: "process_cpu_seconds_total",
            kind: "counter",
            help: "Processor time used, user and system.",
            value: cpu_seconds(&stat),
        },
        Sample {
            name: "process_resident_memory_bytes",
            kind: "gauge",
            help: "Resident memory.",
            value: field_after(&read(&own.join("status")), "VmRSS:").map(|kibibytes| kibibytes * 1024.0),
        },
        Sample {
            name: "process_virtual_memory_bytes",
            kind: "gauge",
            help: "Virtual memory.",
            value: stat_field(&stat, 23),
        },
        Sample { name: "process_threads", kind: "gauge", help: "Threads.", value: stat_field(&stat, 20) },
        Sample {
            name: "process_network_receive_bytes_total",
            kind: "counter",
            help: "Bytes that came over the network, of the whole network namespace.",
            value: column(&network, "IpExt:", "InOctets"),
        },
        Sample {
            name: "process_network_transmit_bytes_total",
            kind: "counter",
            help: "Bytes that went over the network, of the whole network namespace.",
            value: column(&network, "IpExt:", "OutOctets"),
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

/// The number under `column` in the table of two lines that both start with `table`.
fn column(text: &str, table: &str, column: &str) -> Option<f64> {
    let mut lines = text.lines().filter_map(|line| line.strip_prefix(table));
    let mut pairs = lines.next()?.split_ascii_whitespace().zip(lines.next()?.split_ascii_whitespace());
    pairs.find(|(name, _)| *name == column)?.1.parse().ok()
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
    fn columns_are_found_by_name() {
        let text = "TcpExt: A InOctets\nTcpExt: 1 2\nIpExt: A InOctets B\nIpExt: 7 8 9\n";
        assert_eq!(column(text, "IpExt:", "InOctets"), Some(8.0));
        assert_eq!(column(text, "IpExt:", "C"), None);
        assert_eq!(column("IpExt: A\n", "IpExt:", "A"), None);
    }

    #[test]
    fn threads_of_workers_are_told_apart() {
        let tasks = tempfile::tempdir().unwrap();
        let threads = [
            ("1", "worker-0", "100 50"),
            ("2", "worker-1", "1 2"),
            ("3", "audit", "9 9"),
            ("4", "worker-x", "9 9"),
            ("5", "worker-1", "3 4"),
        ];
        for (thread, name, times) in threads {
            let directory = tasks.path().join(thread);
            fs::create_dir(&directory).unwrap();
            let stat = format!("{thread} ({name}) S 1 7 7 0 -1 4194560 1 2 3 4 {times} 0 0 20");
            fs::write(directory.join("stat"), stat).unwrap();
        }
        let times = worker_times(tasks.path());
        let rounded: Vec<_> =
            times.iter().map(|(worker, seconds)| (*worker, (seconds * 100.0).round())).collect();
        assert_eq!(rounded, [(0, 150.0), (1, 10.0)]);
        let text: String = worker_lines(&times).collect();
        assert!(text.contains("\nportcullis_worker_cpu_seconds_total{worker=\"0\"} 1.5\n"), "{text}");
        assert_eq!(worker_lines(&BTreeMap::new()).count(), 0);
    }

    #[test]
    fn this_process_is_seen() {
        assert!(value("process_threads") >= 2.0);
        assert!(value("process_virtual_memory_bytes") >= value("process_resident_memory_bytes"));
        assert!(value("process_network_receive_bytes_total") >= 0.0);
        assert!(value("process_network_transmit_bytes_total") >= 0.0);
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
