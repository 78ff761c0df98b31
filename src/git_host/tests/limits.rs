//! How children end, and how many there are: clients that leave, requests that break off, slots that run out.

use std::fs;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty, Full};

use super::{Disk, Script, Server, alice, processes, processes_are, within};
use crate::git_host::{GitHost, GitHostSettings, ServeError};

const FETCH: &str = "/acme/alpha.git/git-upload-pack";
const PUSH: &str = "/acme/alpha.git/git-receive-pack";
const CHILDREN: u32 = 2;

fn settings(disk: &Disk) -> GitHostSettings {
    GitHostSettings { max_children: 2, ..disk.settings() }
}

fn post<B>(target: &str, body: B) -> Request<B> {
    let kind = target.rsplit('/').next().unwrap();
    Request::post(target)
        .header("content-type", format!("application/x-{kind}-request"))
        .header("git-protocol", "version=2")
        .body(body)
        .unwrap()
}

/// The parent of a process, a zombie's too; none when there is no such process.
fn parent(id: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().nth(1)?.parse().ok()
}

/// Waits until every slot is free and every process has ended. By then all of our own among `seen` were reaped.
async fn all_end(host: &GitHost, disk: &Disk, seen: &[u32]) {
    drop(within(host.0.children.acquire_many(CHILDREN)).await.unwrap());
    for id in seen {
        assert_ne!(parent(*id), Some(std::process::id()), "process {id} was not reaped");
    }
    processes_are(disk, 0).await;
}

fn packet(text: &str) -> String {
    format!("{:04x}{text}", text.len() + 4)
}

/// A push of `main` as a new branch, whole.
fn push(disk: &Disk) -> Vec<u8> {
    let pack = disk.git("-C root/acme/source.git pack-objects --quiet --stdout --revs", b"main\n").stdout;
    let new = disk.ok("-C root/acme/source.git rev-parse main");
    let old = "0".repeat(40);
    let command = packet(&format!("{old} {new} refs/heads/main\0report-status"));
    [command.as_bytes(), b"0000", &pack].concat()
}

#[tokio::test]
async fn a_client_that_leaves_in_the_middle_of_its_request_ends_git() {
    let disk = Disk::new();
    let Some(host) = Disk::host(settings(&disk)) else {
        return;
    };
    disk.seed("acme/alpha.git", 1, 10);
    let (sender, body) = Script::new();
    let response = within(host.serve_request(post(FETCH, body), &alice())).await.unwrap();
    let seen = processes(&disk);
    assert!(!seen.is_empty());
    assert_eq!(host.0.children.available_permits(), 1);
    drop(response);
    all_end(&host, &disk, &seen).await;
    assert!(sender.is_closed());
}

#[tokio::test]
async fn a_client_that_leaves_in_the_middle_of_the_answer_ends_git() {
    let disk = Disk::new();
    let Some(host) = Disk::host(settings(&disk)) else {
        return;
    };
    disk.seed("acme/alpha.git", 1, 8 << 20);
    let tip = disk.ok("-C root/acme/alpha.git rev-parse main");
    let want = packet(&format!("want {tip}\n"));
    let request = format!("{}0001{want}{}0000", packet("command=fetch\n"), packet("done\n"));
    let mut response = within(host.serve_request(post(FETCH, Full::from(request)), &alice())).await.unwrap();
    let mut first = within(response.body_mut().frame()).await.unwrap().unwrap().into_data().unwrap();
    assert_eq!(first.split_to(13), "000dpackfile\n");
    // Nobody reads, so git waits.
    let seen = processes(&disk);
    assert!(seen.len() > 1, "{seen:?}");
    drop(response);
    all_end(&host, &disk, &seen).await;
}

#[test]
fn a_connection_that_breaks_ends_git() {
    let Some(server) = Server::start() else { return };
    let disk = &server.disk;
    disk.seed("acme/alpha.git", 1, 10);
    let head = "Host: x\r\nContent-Type: application/x-git-upload-pack-request\r\nTransfer-Encoding: chunked";
    let mut client = TcpStream::connect(server.address).unwrap();
    write!(client, "POST {FETCH} HTTP/1.1\r\n{head}\r\n\r\n4\r\n0032\r\n").unwrap();
    let mut status = [0; 15];
    client.read_exact(&mut status).unwrap();
    assert_eq!(&status, b"HTTP/1.1 200 OK");
    let seen = processes(disk);
    assert!(!seen.is_empty());
    drop(client);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        drop(within(server.host.0.children.acquire_many(8)).await.unwrap());
        processes_are(disk, 0).await;
    });
    assert!(seen.into_iter().all(|id| parent(id) != Some(std::process::id())));
}

#[tokio::test]
async fn a_client_that_leaves_before_the_answer_ends_git() {
    let disk = Disk::new();
    let Some(host) = Disk::host(settings(&disk)) else {
        return;
    };
    disk.seed("acme/alpha.git", 1, 10);
    let caller = alice();
    for _ in 0..10 {
        let (_sender, body) = Script::new();
        // Dropped at whatever await it has reached.
        let serve = host.serve_request(post(PUSH, body), &caller);
        drop(tokio::time::timeout(Duration::from_millis(1), serve).await);
    }
    all_end(&host, &disk, &[]).await;
}

#[tokio::test]
async fn a_push_that_breaks_off_is_not_ended_properly() {
    let disk = Disk::new();
    let Some(host) = Disk::host(settings(&disk)) else {
        return;
    };
    disk.seed("acme/source.git", 3, 100_000);
    disk.ok("init --quiet --bare root/acme/alpha.git");
    let whole = Bytes::from(push(&disk));
    let half = whole.slice(..whole.len() / 2);
    for stated in [None, Some(whole.len())] {
        let (sender, body) = Script::new();
        let mut request = post(PUSH, body);
        if let Some(stated) = stated {
            request.headers_mut().insert("content-length", stated.into());
        }
        let response = within(host.serve_request(request, &alice())).await.unwrap();
        let seen = processes(&disk);
        sender.send(Ok(half.clone())).await.unwrap();
        if stated.is_none() {
            sender.send(Err(io::Error::other("the connection broke"))).await.unwrap();
        }
        drop(sender);
        // Had its input been closed, git would have answered with a report.
        assert!(within(response.into_body().collect()).await.is_err());
        all_end(&host, &disk, &seen).await;
        assert_eq!(disk.ok("-C root/acme/alpha.git for-each-ref"), "");
    }
    let response = within(host.serve_request(post(PUSH, Full::new(whole)), &alice())).await.unwrap();
    let report = within(response.into_body().collect()).await.unwrap().to_bytes();
    assert!(report.starts_with(b"000eunpack ok\n"), "{report:?}");
    assert!(disk.ok("-C root/acme/alpha.git for-each-ref").ends_with("refs/heads/main"));
}

#[tokio::test]
async fn no_more_children_than_allowed() {
    let disk = Disk::new();
    let settings = GitHostSettings { queue_timeout: Duration::from_millis(10), ..settings(&disk) };
    let Some(host) = Disk::host(settings) else { return };
    disk.seed("acme/alpha.git", 1, 10);
    let caller = alice();
    let (_first, body) = Script::new();
    let first = within(host.serve_request(post(FETCH, body), &caller)).await.unwrap();
    let (_second, body) = Script::new();
    let second = within(host.clone().serve_request(post(FETCH, body), &caller)).await.unwrap();
    let request = || Request::get("/acme/alpha.git/HEAD").body(Empty::<Bytes>::new()).unwrap();
    let refused = within(host.serve_request(request(), &caller)).await.unwrap_err();
    assert_eq!(refused, ServeError::Overloaded);
    drop((first, second));
    all_end(&host, &disk, &[]).await;
    let response = within(host.serve_request(request(), &caller)).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_request_waits_for_a_slot() {
    let disk = Disk::new();
    let Some(host) = Disk::host(GitHostSettings { max_children: 1, ..settings(&disk) }) else {
        return;
    };
    disk.seed("acme/alpha.git", 1, 10);
    let caller = alice();
    let (_sender, body) = Script::new();
    let first = within(host.serve_request(post(FETCH, body), &caller)).await.unwrap();
    let request = Request::get("/acme/alpha.git/HEAD").body(Empty::<Bytes>::new()).unwrap();
    let leave = async {
        tokio::task::yield_now().await;
        drop(first);
    };
    let (second, ()) = within(async { tokio::join!(host.serve_request(request, &caller), leave) }).await;
    let body = within(second.unwrap().into_body().collect()).await.unwrap().to_bytes();
    assert_eq!(body, "ref: refs/heads/main\n");
}

#[tokio::test]
async fn children_that_end_by_themselves_are_reaped() {
    let disk = Disk::new();
    let Some(host) = Disk::host(settings(&disk)) else {
        return;
    };
    disk.seed("acme/alpha.git", 1, 10);
    let mut seen = Vec::new();
    for _ in 0..10 {
        let request = Request::get("/acme/alpha.git/info/refs?service=git-upload-pack");
        let request = request.body(Empty::<Bytes>::new()).unwrap();
        let response = within(host.serve_request(request, &alice())).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        seen.append(&mut processes(&disk));
        assert!(!within(response.into_body().collect()).await.unwrap().to_bytes().is_empty());
    }
    all_end(&host, &disk, &seen).await;
}
