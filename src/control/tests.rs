//! The control listener over real sockets.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::*;
use crate::record::audit::{Audit, Output};
use crate::record::fixture::DEADLINE;
use crate::record::metrics::Metrics;
use crate::record::traces::Traces;

struct Server {
    address: SocketAddr,
    state: Arc<ControlState>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

async fn start() -> Server {
    let metrics = Metrics::new(&["forge".to_owned()]);
    let audit = Audit::open(Output::Off.into(), &metrics).unwrap();
    let state = Arc::new(ControlState {
        recorder: Arc::new(Recorder { metrics, audit, traces: Traces::off() }),
        readiness: Readiness::new(),
        api: None,
        hooks: None,
        request_ids: RequestIds::new(7),
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel();
    let shutdown = async {
        drop(stopped.await);
    };
    let task = tasks::spawn("control", serve(listener, Arc::clone(&state), shutdown));
    Server { address, state, stop, task }
}

/// Sends `head` and a Host, and reads to the end of the connection.
async fn ask(address: SocketAddr, head: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("{head}\r\nhost: control\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    timeout(DEADLINE, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    answer
}

#[track_caller]
fn check(answer: &str, status: &str, body: &str) {
    let (head, got) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
    assert_eq!(got, body, "{answer}");
}

#[tokio::test]
async fn health_follows_the_state() {
    let server = start().await;
    let address = server.address;
    check(&ask(address, "GET /livez HTTP/1.1").await, "200", "ok\n");
    let unloaded = "snapshot: no policy is loaded yet; see the log\n";
    check(&ask(address, "GET /readyz HTTP/1.1").await, "503", unloaded);
    server.state.readiness.snapshot_loaded();
    check(&ask(address, "GET /readyz HTTP/1.1").await, "200", "ok\n");
    server.state.readiness.draining();
    let draining = "drain: the gateway is shutting down\n";
    check(&ask(address, "GET /readyz HTTP/1.1").await, "503", draining);
    check(&ask(address, "GET /livez HTTP/1.1").await, "200", "ok\n");
}

#[tokio::test]
async fn metrics_have_their_type_and_the_process() {
    let server = start().await;
    let answer = ask(server.address, "GET /metrics HTTP/1.1").await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("\r\ncontent-type: text/plain; version=0.0.4; charset=utf-8"), "{head}");
    assert!(body.contains("\nportcullis_connections_open 0\n"), "{body}");
    let document = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md")).unwrap();
    let names: Vec<_> = body
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE process_"))
        .map(|rest| format!("process_{}", rest.split(' ').next().unwrap()))
        .collect();
    assert_eq!(names.len(), 9, "{names:?}");
    for name in names {
        assert!(body.contains(&format!("# HELP {name} ")), "{name}");
        assert!(document.contains(&format!("`{name}`")), "{name}");
    }
}

#[tokio::test]
async fn what_is_not_there_is_not_found() {
    let server = start().await;
    let want = format!("not found; there are\n{ROUTES}");
    for target in
        ["/metrics/", "/Metrics", "/x", "//metrics", "/x/../metrics", "/%6detrics", "http://control/metrics"]
    {
        check(&ask(server.address, &format!("GET {target} HTTP/1.1")).await, "404", &want);
    }
    check(&ask(server.address, "POST /x HTTP/1.1").await, "404", &want);
    check(&ask(server.address, "GET / HTTP/1.1").await, "200", ROUTES);
    check(&ask(server.address, "GET /livez?verbose HTTP/1.1").await, "200", "ok\n");
}

#[tokio::test]
async fn other_methods_are_told_which_are_allowed() {
    let server = start().await;
    for method in ["POST", "DELETE", "OPTIONS", "TRACE"] {
        let answer = ask(server.address, &format!("{method} /metrics HTTP/1.1")).await;
        check(&answer, "405", "method not allowed; use GET or HEAD\n");
        assert!(answer.contains("\r\nallow: GET, HEAD\r\n"), "{answer}");
    }
}

#[tokio::test]
async fn head_gives_the_head() {
    let server = start().await;
    let answer = ask(server.address, "HEAD /livez HTTP/1.1").await;
    check(&answer, "200", "");
    assert!(answer.contains("\r\ncontent-length: 3\r\n"), "{answer}");
}

#[tokio::test]
async fn past_the_limit_a_connection_waits_for_a_place() {
    let server = start().await;
    let mut idle = Vec::new();
    for _ in 0..MAX_CONNECTIONS {
        idle.push(TcpStream::connect(server.address).await.unwrap());
    }
    // All places are taken by connections that say nothing, so this one is not answered until one of them leaves.
    let address = server.address;
    let mut waiting = tasks::spawn("test", async move { ask(address, "GET /livez HTTP/1.1").await });
    let early = timeout(Duration::from_millis(100), &mut waiting).await;
    assert!(early.is_err(), "{early:?}");
    drop(idle.pop());
    let answer = timeout(HEADER_TIME / 2, waiting).await.unwrap().unwrap();
    check(&answer, "200", "ok\n");
}

#[tokio::test]
async fn shutdown_ends_the_listener() {
    let server = start().await;
    server.stop.send(()).unwrap();
    timeout(DEADLINE, server.task).await.unwrap().unwrap();
    assert!(TcpStream::connect(server.address).await.is_err());
}
