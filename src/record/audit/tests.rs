//! The audit log never waits, never ends by a fault, and counts what it loses.

use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};

use super::*;
use crate::record::fixture::{DEADLINE, sum};
use crate::record::labels::{Effect, Mode};
use crate::record::request_id::RequestIds;

fn line() -> Box<AuditLine> {
    Box::new(AuditLine {
        time: clock::timestamp(),
        request_id: RequestIds::new(1).next(),
        upstream: None,
        method: None,
        path: None,
        route: None,
        token_id: None,
        token_name: None,
        user: None,
        resource: None,
        permission: None,
        verdict: None,
        mode: Mode::Enforce,
        effect: Effect::Aborted,
        reason: "undecided",
        status: None,
        request_bytes: 0,
        response_bytes: 0,
        duration: Duration::ZERO,
        decision: None,
        peer: IpAddr::from([127, 0, 0, 1]),
        policy_generation: None,
        shadow: Vec::new(),
    })
}

#[track_caller]
fn check_counts(metrics: &Metrics, written: u64, dropped: u64) {
    let text = metrics.render();
    let counts = ["lines", "dropped"].map(|name| sum(&text, &format!("portcullis_audit_{name}_total ")));
    assert_eq!(counts, [written, dropped]);
}

/// A sink that waits for leave before each write, and then answers as it is told.
struct Gate {
    entered: Sender<usize>,
    answers: Receiver<Result<(), WriteError>>,
}

impl Sink for Gate {
    fn write_lines(&mut self, lines: &[u8], _now: Instant) -> Result<(), WriteError> {
        let count = memchr::memchr_iter(b'\n', lines).count();
        self.entered.send(count).unwrap();
        self.answers.recv().unwrap()
    }
}

struct Gated {
    audit: Audit,
    metrics: Metrics,
    entered: Receiver<usize>,
    answers: Sender<Result<(), WriteError>>,
}

fn gated(capacity: usize) -> Gated {
    let metrics = Metrics::new(&[]);
    let (entered, has_entered) = channel();
    let (answers, to_answer) = channel();
    let gate = Gate { entered, answers: to_answer };
    Gated { audit: Audit::start(gate, &metrics, capacity).unwrap(), metrics, entered: has_entered, answers }
}

#[test]
fn all_lines_are_written_in_order_by_the_flush() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit");
    let metrics = Metrics::new(&[]);
    let audit = Audit::open(Output::File(path.clone()), &metrics).unwrap();
    for count in 0..1_000 {
        let mut line = line();
        line.request_bytes = count;
        audit.write(line);
    }
    assert_eq!(audit.flush(DEADLINE), Flushed::Whole);
    let text = fs::read_to_string(path).unwrap();
    let counts: Vec<_> = text
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["request_bytes"].clone())
        .collect();
    assert_eq!(counts, (0..1_000).map(serde_json::Value::from).collect::<Vec<_>>());
    check_counts(&metrics, 1_000, 0);
}

#[test]
fn an_idle_log_is_flushed_at_once_and_later_lines_are_counted() {
    let directory = tempfile::tempdir().unwrap();
    let metrics = Metrics::new(&[]);
    let audit = Audit::open(Output::File(directory.path().join("audit")), &metrics).unwrap();
    assert_eq!(audit.flush(DEADLINE), Flushed::Whole);
    assert_eq!(audit.flush(DEADLINE), Flushed::Whole);
    audit.write(line());
    check_counts(&metrics, 0, 1);
}

#[test]
fn a_full_queue_loses_lines_and_does_not_wait() {
    let Gated { audit, metrics, entered, answers } = gated(2);
    audit.write(line());
    assert_eq!(entered.recv_timeout(DEADLINE), Ok(1));
    // The writer stands in the sink: two lines find room, three do not.
    for _ in 0..5 {
        audit.write(line());
    }
    check_counts(&metrics, 0, 3);
    answers.send(Ok(())).unwrap();
    answers.send(Ok(())).unwrap();
    assert_eq!(audit.flush(DEADLINE), Flushed::Whole);
    check_counts(&metrics, 3, 3);
}

#[test]
fn a_failed_write_is_counted_and_the_next_one_is_tried() {
    let Gated { audit, metrics, entered, answers } = gated(8);
    audit.write(line());
    assert_eq!(entered.recv_timeout(DEADLINE), Ok(1));
    audit.write(line());
    audit.write(line());
    let error = || io::Error::from(io::ErrorKind::StorageFull);
    answers.send(Err(WriteError { lost: 1, error: error() })).unwrap();
    assert_eq!(entered.recv_timeout(DEADLINE), Ok(2));
    answers.send(Err(WriteError { lost: 1, error: error() })).unwrap();
    audit.write(line());
    answers.send(Ok(())).unwrap();
    assert_eq!(audit.flush(DEADLINE), Flushed::Whole);
    check_counts(&metrics, 2, 2);
}

#[test]
fn a_flush_ends_when_its_time_is_up() {
    let Gated { audit, entered, answers, .. } = gated(8);
    audit.write(line());
    assert_eq!(entered.recv_timeout(DEADLINE), Ok(1));
    assert_eq!(audit.flush(Duration::from_millis(1)), Flushed::CutShort);
    answers.send(Ok(())).unwrap();
}

#[test]
fn a_flush_of_a_full_queue_ends() {
    let Gated { audit, metrics, entered, answers } = gated(1);
    audit.write(line());
    assert_eq!(entered.recv_timeout(DEADLINE), Ok(1));
    audit.write(line());
    answers.send(Ok(())).unwrap();
    answers.send(Ok(())).unwrap();
    assert_eq!(audit.flush(DEADLINE), Flushed::Whole);
    check_counts(&metrics, 2, 0);
}

#[test]
fn a_full_disk_is_survived() {
    let metrics = Metrics::new(&[]);
    let audit = Audit::open(Output::File("/dev/full".into()), &metrics).unwrap();
    audit.write(line());
    audit.write(line());
    assert_eq!(audit.flush(DEADLINE), Flushed::Whole);
    check_counts(&metrics, 0, 2);
}

#[test]
fn a_file_that_cannot_be_opened_is_told_at_the_start() {
    let metrics = Metrics::new(&[]);
    let output = Output::File(Path::new("/nowhere/audit").to_owned());
    assert_eq!(Audit::open(output, &metrics).unwrap_err().kind(), io::ErrorKind::NotFound);
}

#[test]
fn off_keeps_nothing_and_loses_nothing() {
    let metrics = Metrics::new(&[]);
    let audit = Audit::open(Output::Off, &metrics).unwrap();
    assert!(!audit.is_on());
    audit.write(line());
    assert_eq!(audit.flush(DEADLINE), Flushed::Whole);
    check_counts(&metrics, 0, 0);
}

#[test]
fn complaints_come_once_a_second() {
    let mut complaints = Complaints::default();
    let start = clock::monotonic();
    assert!(complaints.is_due(start));
    assert!(!complaints.is_due(start + COMPLAINT_INTERVAL / 2));
    assert!(complaints.is_due(start + COMPLAINT_INTERVAL));
    assert!(!complaints.is_due(start + COMPLAINT_INTERVAL));
}
