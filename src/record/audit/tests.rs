//! The audit log never waits, never ends by a fault, and counts what it loses.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};

use super::*;
use crate::domain::reason::Reason;
use crate::record::audit::verify::{LineFault, Verifier};
use crate::record::fixture::{DEADLINE, sum};
use crate::record::labels::Verdict;
use crate::record::line::Text;
use crate::record::log_files::files_of;
use crate::record::queue::Place;
use crate::record::sink::Rotation;

fn line() -> Line {
    Line::new(IpAddr::from([127, 0, 0, 1]), 0, clock::monotonic())
}

/// Writes a line as worker `number` does.
fn write_as(number: usize, audit: &Audit, line: Line) {
    let queue = audit.queue(number).unwrap();
    if queue.push(line, &Text::default(), Place::Any).is_err() {
        audit.lose();
    }
}

fn write(audit: &Audit, line: Line) {
    write_as(0, audit, line);
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
    fn prepare(&mut self, _now: Instant) -> bool {
        false
    }

    fn write_lines(&mut self, lines: &[u8]) -> Result<(), WriteError> {
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
    Gated {
        audit: Audit::start(gate, &metrics, (capacity, Kept::default())).unwrap(),
        metrics,
        entered: has_entered,
        answers,
    }
}

#[test]
fn all_lines_are_written_in_order_by_the_flush() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit");
    let metrics = Metrics::new(&[]);
    let audit = Audit::open(Output::File(path.clone(), None).into(), &metrics).unwrap();
    for count in 0..1_000 {
        let mut line = line();
        line.request_bytes = count;
        write(&audit, line);
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
    let audit = Audit::open(Output::File(directory.path().join("audit"), None).into(), &metrics).unwrap();
    assert_eq!(audit.flush(DEADLINE), Flushed::Whole);
    assert_eq!(audit.flush(DEADLINE), Flushed::Whole);
    write(&audit, line());
    check_counts(&metrics, 0, 1);
}

#[test]
fn a_full_queue_loses_lines_and_does_not_wait() {
    let Gated { audit, metrics, entered, answers } = gated(2);
    write(&audit, line());
    assert_eq!(entered.recv_timeout(DEADLINE), Ok(1));
    // The writer stands in the sink: two lines find room, three do not.
    for _ in 0..5 {
        write(&audit, line());
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
    write(&audit, line());
    assert_eq!(entered.recv_timeout(DEADLINE), Ok(1));
    write(&audit, line());
    write(&audit, line());
    let error = || io::Error::from(io::ErrorKind::StorageFull);
    answers.send(Err(WriteError { lost: 1, error: error() })).unwrap();
    assert_eq!(entered.recv_timeout(DEADLINE), Ok(2));
    answers.send(Err(WriteError { lost: 1, error: error() })).unwrap();
    write(&audit, line());
    answers.send(Ok(())).unwrap();
    assert_eq!(audit.flush(DEADLINE), Flushed::Whole);
    check_counts(&metrics, 2, 2);
}

#[test]
fn a_flush_ends_when_its_time_is_up() {
    let Gated { audit, entered, answers, .. } = gated(8);
    write(&audit, line());
    assert_eq!(entered.recv_timeout(DEADLINE), Ok(1));
    assert_eq!(audit.flush(Duration::from_millis(1)), Flushed::CutShort);
    answers.send(Ok(())).unwrap();
}

#[test]
fn a_flush_of_a_full_queue_ends() {
    let Gated { audit, metrics, entered, answers } = gated(1);
    write(&audit, line());
    assert_eq!(entered.recv_timeout(DEADLINE), Ok(1));
    write(&audit, line());
    answers.send(Ok(())).unwrap();
    answers.send(Ok(())).unwrap();
    assert_eq!(audit.flush(DEADLINE), Flushed::Whole);
    check_counts(&metrics, 2, 0);
}

#[test]
fn a_full_disk_is_survived() {
    let metrics = Metrics::new(&[]);
    let audit = Audit::open(Output::File("/dev/full".into(), None).into(), &metrics).unwrap();
    write(&audit, line());
    write(&audit, line());
    assert_eq!(audit.flush(DEADLINE), Flushed::Whole);
    check_counts(&metrics, 0, 2);
}

#[test]
fn a_file_that_cannot_be_opened_is_told_at_the_start() {
    let metrics = Metrics::new(&[]);
    let output = Output::File(Path::new("/nowhere/audit").to_owned(), None);
    assert_eq!(Audit::open(output.into(), &metrics).unwrap_err().kind(), io::ErrorKind::NotFound);
}

#[test]
fn off_keeps_nothing_and_loses_nothing() {
    let metrics = Metrics::new(&[]);
    let audit = Audit::open(Output::Off.into(), &metrics).unwrap();
    assert!(!audit.is_on());
    assert!(audit.queue(0).is_none(), "a queue");
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

#[test]
fn a_line_that_ended_after_the_round_began_waits_for_the_next() {
    let start = clock::monotonic();
    let reader = |moments: &[u64]| {
        let lines = moments.iter().map(|moment| {
            let mut line = line();
            line.ended = start + Duration::from_millis(*moment);
            line
        });
        let batch = Batch { lines: lines.collect(), text: String::new() };
        let queue = Arc::new(Queue::new(8, Arc::default()));
        Reader { queue, batches: [batch].into(), at: 0, spare: Batch::default() }
    };
    let mut readers = [reader(&[1, 4, 9]), reader(&[2, 3, 8])];
    let mut order = |until: u64, anyway: bool| {
        let mut order = Vec::new();
        while let Some(reader) = next(&mut readers, start + Duration::from_millis(until), anyway) {
            order.push(reader.ended().unwrap().saturating_duration_since(start).as_millis());
            reader.advance();
        }
        order
    };
    assert_eq!(order(5, false), [1, 2, 3, 4]);
    assert_eq!(order(5, true), [8, 9]);
}

#[test]
fn a_worker_that_comes_after_the_flush_loses_its_lines() {
    let Gated { audit, metrics, .. } = gated(8);
    assert_eq!(audit.flush(DEADLINE), Flushed::Whole);
    write_as(3, &audit, line());
    check_counts(&metrics, 0, 1);
}

#[test]
fn a_writer_that_sleeps_is_woken_by_a_line() {
    let Gated { audit, entered, answers, .. } = gated(8);
    let bell = &audit.shared.as_ref().unwrap().bell;
    let start = clock::monotonic();
    while !bell.is_quiet() {
        assert!(start.elapsed() < DEADLINE, "the writer does not go to sleep");
        thread::yield_now();
    }
    write(&audit, line());
    assert_eq!(entered.recv_timeout(DEADLINE), Ok(1));
    answers.send(Ok(())).unwrap();
}

#[test]
fn a_place_that_is_kept_is_nobody_elses() {
    let Gated { audit, metrics, entered, answers } = gated(2);
    write(&audit, line());
    assert_eq!(entered.recv_timeout(DEADLINE), Ok(1));
    // The writer stands in the sink, so nothing leaves the queue.
    let queue = audit.queue(0).unwrap();
    assert!(queue.reserve().is_ok());
    assert!(queue.reserve().is_ok());
    assert!(queue.reserve().is_err(), "a third");
    write(&audit, line());
    check_counts(&metrics, 0, 1);
    assert!(queue.push(line(), &Text::default(), Place::Reserved).is_ok());
    assert!(queue.reserve().is_err(), "the line has the place now");
    assert!(queue.push(line(), &Text::default(), Place::Reserved).is_ok());
    let text = metrics.render();
    assert_eq!(sum(&text, "portcullis_audit_queue_lines "), 2);
    assert_eq!(sum(&text, "portcullis_audit_queue_capacity_lines "), 2);
    answers.send(Ok(())).unwrap();
    answers.send(Ok(())).unwrap();
    assert_eq!(audit.flush(DEADLINE), Flushed::Whole);
    check_counts(&metrics, 3, 1);
    assert!(queue.reserve().is_err(), "after the end");
    assert_eq!(sum(&metrics.render(), "portcullis_audit_queue_lines "), 0);
}

#[test]
fn no_place_is_given_while_lines_cannot_be_written() {
    let Gated { audit, entered, answers, .. } = gated(8);
    let queue = audit.queue(0).unwrap();
    let is_given = |want: bool| {
        let start = clock::monotonic();
        while queue.reserve().is_ok() != want {
            assert!(start.elapsed() < DEADLINE, "{want}");
            thread::yield_now();
        }
    };
    let full = || io::Error::from(io::ErrorKind::StorageFull);
    write(&audit, line());
    answers.send(Err(WriteError { lost: 1, error: full() })).unwrap();
    assert_eq!(entered.recv_timeout(DEADLINE), Ok(1));
    is_given(false);
    // Lines of refusals are still tried.
    write(&audit, line());
    answers.send(Ok(())).unwrap();
    is_given(true);
}

/// A line that could not be written must not be the last one that was tried: where only refusals are kept, they are all
/// that comes while no request goes on.
#[test]
fn what_was_refused_for_want_of_a_place_is_kept_where_refusals_are() {
    let mut kept = Kept { leaves_out_allowed: true, ..Kept::default() };
    let mut is_kept = |reason: &'static str| {
        let mut line = line();
        (line.verdict, line.reason) = (Some(Verdict::Allow), reason);
        kept.write(&mut LineWriter::new(), (&line, ""), &mut Vec::new()).unwrap() == 1
    };
    assert!(is_kept("overloaded"));
    assert!(!is_kept("granted") && !is_kept("upstream_timeout"));
}

/// Writes lines with these verdicts, each in a process of its own, to `path`; a file holds three of them.
fn write_chained(path: &Path, verdicts: &[Option<Verdict>], leaves_out_allowed: bool) {
    for verdict in verdicts {
        let output = Output::File(path.to_owned(), Some(Rotation { size: 1_500, keep: 100 }));
        let settings = AuditSettings { chain: true, leaves_out_allowed, ..output.into() };
        let audit = Audit::open(settings, &Metrics::new(&[])).unwrap();
        for _ in 0..2 {
            let mut line = line();
            line.verdict = *verdict;
            write(&audit, line);
        }
        assert_eq!(audit.flush(DEADLINE), Flushed::Whole);
    }
}

fn verify(files: &[PathBuf]) -> Result<u64, (u64, LineFault)> {
    let mut verifier = Verifier::new(None);
    for file in files {
        verifier.file(io::BufReader::new(fs::File::open(file).unwrap())).unwrap()?;
    }
    Ok(verifier.lines)
}

#[test]
fn a_chain_goes_on_from_file_to_file_and_from_process_to_process() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit");
    write_chained(&path, &[Some(Verdict::Allow); 10], false);
    let all = files_of(&path).unwrap().paths;
    assert!(all.len() > 3, "{all:?}");
    assert_eq!(verify(&all), Ok(20));
    for file in &all {
        assert!(verify(std::slice::from_ref(file)).is_ok(), "each by itself");
    }
    assert_eq!(
        verify(&all[1..]).ok(),
        verify(&all[1..]).ok().filter(|lines| *lines < 20),
        "without the oldest"
    );
    let without_one = [&all[..1], &all[2..]].concat();
    assert_eq!(verify(&without_one), Err((1, LineFault::Missing)));
    let text = fs::read_to_string(&all[1]).unwrap();
    fs::write(&all[1], text.replacen("allow", "refuse", 1)).unwrap();
    assert!(verify(&all).is_err());
}

#[test]
fn allowed_requests_are_left_out_where_that_is_asked_for() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit");
    let refused = Some(Verdict::Refuse(Reason::NoRoute));
    write_chained(&path, &[Some(Verdict::Allow), refused, None, Some(Verdict::Allow)], true);
    let lines: String =
        files_of(&path).unwrap().paths.iter().map(|file| fs::read_to_string(file).unwrap()).collect();
    let verdicts =
        lines.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["verdict"].clone());
    let refuse = serde_json::Value::from("refuse");
    assert_eq!(
        verdicts.collect::<Vec<_>>(),
        [refuse.clone(), refuse, serde_json::Value::Null, serde_json::Value::Null]
    );
    assert_eq!(verify(&files_of(&path).unwrap().paths), Ok(4));
}
