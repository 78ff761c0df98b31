//! What the tests of records share: a recorder that writes to a file, and its lines.

use std::fs;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use http::uri::PathAndQuery;
use serde_json::Value;
use tempfile::TempDir;

use crate::record::audit::{Audit, Flushed, Output};
use crate::record::line::RequestPath;
use crate::record::metrics::{Metrics, UpstreamId};
use crate::record::traces::Traces;
use crate::record::worker::WorkerRecorder;
use crate::record::{Record, RecordHead, Recorder};

/// How long tests wait for what should happen at once.
pub(crate) const DEADLINE: Duration = Duration::from_secs(10);

/// A recorder for the upstreams `forge` and `billing`.
pub(crate) struct Fixture {
    pub(crate) recorder: Arc<Recorder>,
    pub(crate) worker: Arc<WorkerRecorder>,
    directory: TempDir,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let metrics = Metrics::with_tokens(&["forge".to_owned(), "billing".to_owned()], 10);
        let output = Output::File(directory.path().join("audit"), None);
        let audit = Audit::open(output.into(), &metrics).unwrap();
        let recorder = Arc::new(Recorder { metrics, audit, traces: Traces::off() });
        let worker = WorkerRecorder::new(&recorder, 0).unwrap();
        Self { recorder, worker, directory }
    }

    pub(crate) fn open(&self, method: &Method, target: &str) -> Record {
        let target = PathAndQuery::try_from(target).unwrap();
        Record::open(&self.worker, &head(method, &target))
    }

    pub(crate) fn forge(&self) -> UpstreamId {
        self.recorder.metrics.upstream("forge").unwrap()
    }

    /// Ends the audit log and gives its lines.
    #[track_caller]
    pub(crate) fn text(&self) -> String {
        assert_eq!(self.recorder.audit.flush(DEADLINE), Flushed::Whole);
        fs::read_to_string(self.directory.path().join("audit")).unwrap()
    }

    /// The one line that there must be.
    #[track_caller]
    pub(crate) fn line(&self) -> Value {
        let text = self.text();
        let [line] = text.lines().collect::<Vec<_>>()[..] else {
            panic!("not one line: {text:?}");
        };
        serde_json::from_str(line).unwrap()
    }

    /// The sum of all samples whose name and labels start with `prefix`.
    pub(crate) fn sum(&self, prefix: &str) -> u64 {
        sum(&self.recorder.metrics.render(), prefix)
    }

    /// Asserts that one request was counted with these labels.
    #[track_caller]
    pub(crate) fn check_labels(&self, labels: [&str; 5]) {
        assert_eq!(self.sum(&requests(labels)), 1, "{labels:?}");
    }

    /// Asserts that exactly one request was counted and none is under way.
    #[track_caller]
    pub(crate) fn check_counted_once(&self) {
        assert_eq!(self.sum("portcullis_requests_total{"), 1);
        assert_eq!(self.sum("portcullis_request_duration_seconds_count{"), 1);
        assert_eq!(self.sum("portcullis_requests_in_flight "), 0);
    }
}

pub(crate) fn head<'a>(method: &'a Method, target: &'a PathAndQuery) -> RecordHead<'a> {
    RecordHead {
        method: Some(method),
        path: Some(RequestPath::of(target)),
        headers: None,
        peer: IpAddr::from([192, 0, 2, 7]),
    }
}

/// The sample of requests with this decision, method class, reason, status class and upstream.
pub(crate) fn requests([decision, method, reason, status, upstream]: [&str; 5]) -> String {
    format!(
        "portcullis_requests_total{{decision=\"{decision}\",method_class=\"{method}\",reason=\"{reason}\",\
         status_class=\"{status}\",upstream=\"{upstream}\"}} "
    )
}

/// The sum of all samples in `text` that start with `prefix`.
pub(crate) fn sum(text: &str, prefix: &str) -> u64 {
    text.lines()
        .filter(|line| line.starts_with(prefix))
        .map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap())
        .sum()
}
