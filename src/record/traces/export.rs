//! Sends spans to a collector, some at a time.
//!
//! A batch that is not taken is lost and counted: traces are a sample, and a collector that is down must cost nothing but
//! them.

use std::fmt;
use std::io;
use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST};
use http::{Request, StatusCode};
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper::rt::{Read, Write};
use hyper_util::rt::TokioIo;
use prometheus::IntCounter;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::sync::{Notify, mpsc};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::clock;
use crate::record::traces::{FinishedSpan, json};

/// The most spans of one export.
const BATCH_SPANS: usize = 512;

/// How long the first span of a batch waits for company.
const BATCH_TIME: Duration = Duration::from_secs(1);

/// How long an export may take: the protocol's default.
const EXPORT_TIME: Duration = Duration::from_secs(10);

/// The shortest time between two complaints.
const COMPLAINT_INTERVAL: Duration = Duration::from_secs(60);

/// Who takes spans.
#[derive(Clone)]
pub struct Collector {
    /// `host:port`.
    pub authority: String,
    /// The path of traces, `/v1/traces` as a rule.
    pub path: String,
    /// `None` speaks plain HTTP.
    pub tls: Option<(TlsConnector, ServerName<'static>)>,
}

impl fmt::Debug for Collector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Collector").field("authority", &self.authority).finish_non_exhaustive()
    }
}

/// The thread's work.
pub(super) struct Exporter {
    pub(super) collector: Collector,
    pub(super) service: String,
    pub(super) spans: mpsc::Receiver<FinishedSpan>,
    pub(super) stop: Arc<Notify>,
    pub(super) exported: IntCounter,
    pub(super) dropped: IntCounter,
}

impl Exporter {
    /// Exports until it is told to stop, and then what is left.
    ///
    /// # Cancel safety
    /// Dropped, it loses what it holds.
    pub(super) async fn run(mut self) {
        let mut complained = None;
        loop {
            let mut batch = Vec::new();
            let is_last = tokio::select! {
                count = self.spans.recv_many(&mut batch, BATCH_SPANS) => count == 0 || self.gather(&mut batch).await,
                () = self.stop.notified() => self.close(),
            };
            if is_last {
                self.close();
            }
            loop {
                if !batch.is_empty() {
                    self.export(mem::take(&mut batch), &mut complained).await;
                }
                if !is_last || self.spans.recv_many(&mut batch, BATCH_SPANS).await == 0 {
                    break;
                }
            }
            if is_last {
                return;
            }
        }
    }

    fn close(&mut self) -> bool {
        self.spans.close();
        true
    }

    /// Waits for more spans. Tells whether it was told to stop.
    async fn gather(&mut self, batch: &mut Vec<FinishedSpan>) -> bool {
        let more = async {
            while batch.len() < BATCH_SPANS {
                let room = BATCH_SPANS - batch.len();
                if self.spans.recv_many(batch, room).await == 0 {
                    return;
                }
            }
        };
        tokio::select! {
            ended = timeout(BATCH_TIME, more) => ended.is_ok() && self.spans.is_closed(),
            () = self.stop.notified() => true,
        }
    }

    async fn export(&self, batch: Vec<FinishedSpan>, complained: &mut Option<Instant>) {
        let count = u64::try_from(batch.len()).unwrap_or(u64::MAX);
        let body = Bytes::from(json::request(&self.service, &batch).to_string());
        let sent = timeout(EXPORT_TIME, self.send(body)).await;
        let problem = match sent {
            Ok(Ok(status)) if status.is_success() => {
                self.exported.inc_by(count);
                return;
            }
            Ok(Ok(status)) => format!("the collector answered {status}"),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "the collector did not answer in time".to_owned(),
        };
        self.dropped.inc_by(count);
        let now = clock::monotonic();
        if complained.is_none_or(|last| now.saturating_duration_since(last) >= COMPLAINT_INTERVAL) {
            *complained = Some(now);
            tracing::warn!(collector = %self.collector.authority, problem, "spans are lost; check `tracing.otlp`");
        }
    }

    async fn send(&self, body: Bytes) -> io::Result<StatusCode> {
        let Collector { authority, path, tls } = &self.collector;
        let request = Request::post(path)
            .header(HOST, authority)
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .map_err(io::Error::other)?;
        let stream = TcpStream::connect(authority).await?;
        match tls {
            None => post(TokioIo::new(stream), request).await,
            Some((connector, name)) => {
                post(TokioIo::new(connector.connect(name.clone(), stream).await?), request).await
            }
        }
    }
}

/// One request over a connection of its own; there is one a second at most.
async fn post<S>(stream: S, request: Request<Full<Bytes>>) -> io::Result<StatusCode>
where
    S: Read + Write + Unpin + 'static,
{
    let (mut sender, connection) = http1::handshake(stream).await.map_err(io::Error::other)?;
    tokio::select! {
        answer = sender.send_request(request) => answer.map(|answer| answer.status()).map_err(io::Error::other),
        ended = connection => Err(ended.map_or_else(io::Error::other, |()| io::ErrorKind::UnexpectedEof.into())),
    }
}
