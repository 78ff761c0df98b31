//! Programs in the place of `git http-backend`: what they are told, and what becomes of those that misbehave.

use std::fs::File;
use std::io::{self, Write};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::Body;
use http_body_util::{BodyExt, Empty, Full};

use super::{Caller, DEADLINE, Disk, Script, alice, processes_are, within};
use crate::domain::refusal::UpstreamError;
use crate::git_host::answer::CgiBody;
use crate::git_host::{GitHost, GitHostError, GitHostSettings, ServeError};

const TARGET: &str = "/acme/alpha.git/git-receive-pack";
const HEAD: &str = r"printf 'Content-Type: text/plain\r\n\r\n'";

/// A host whose backend is `script`.
fn host(disk: &Disk, script: &str, first_byte_timeout: Duration) -> GitHost {
    let programs = disk.program("programs/git-http-backend", &format!("#!/bin/sh\n{script}\n"));
    let directory = programs.parent().unwrap().display();
    let git = disk.program("bin/git", &format!("#!/bin/sh\necho {directory}\n"));
    std::fs::create_dir_all(disk.root().join("acme/alpha.git/objects")).unwrap();
    std::fs::write(disk.root().join("acme/alpha.git/HEAD"), "").unwrap();
    GitHost::new(GitHostSettings { git, first_byte_timeout, max_children: 1, ..disk.settings() }).unwrap()
}

fn post<B>(body: B) -> Request<B> {
    Request::post(TARGET).body(body).unwrap()
}

async fn text<B: Body<Data = Bytes, Error = io::Error>>(body: B) -> io::Result<String> {
    Ok(String::from_utf8_lossy(&within(body.collect()).await?.to_bytes()).into_owned())
}

/// The answer of `script` to a push.
async fn answer(script: &str) -> Result<Response<CgiBody>, ServeError> {
    let disk = Disk::new();
    let host = host(&disk, script, DEADLINE);
    within(host.serve_request(post(Empty::<Bytes>::new()), &alice())).await
}

#[tokio::test]
async fn the_environment_holds_what_is_meant_and_nothing_else() {
    let disk = Disk::new();
    let host = host(&disk, &format!("{HEAD}; env"), DEADLINE);
    let request = Request::post("/ACME/alpha/git-receive-pack?a=%41&b")
        .header("content-type", "application/x-git-receive-pack-request")
        .header("content-encoding", "gzip")
        .header("git-protocol", "version=2")
        .header("proxy", "http://evil.example.com")
        .header("remote-user", "root")
        .header("authorization", "Basic secret")
        .body(Full::new(Bytes::from_static(b"0000")));
    let peer = "[::ffff:192.0.2.7]:4711".parse().unwrap();
    let caller = Caller { user: "alice", peer, push: false };
    let response = within(host.serve_request(request.unwrap(), &caller)).await.unwrap();
    let said = text(response.into_body()).await.unwrap();
    // The shell adds these itself.
    let own = |line: &&str| ["PWD=", "OLDPWD=", "SHLVL=", "_="].iter().all(|name| !line.starts_with(name));
    let mut found: Vec<_> = said.lines().filter(own).collect();
    found.sort_unstable();
    let (root, home) = (disk.root(), disk.home.path());
    let (root, home) = (root.display(), home.display());
    let want = format!(
        "CONTENT_LENGTH=4
CONTENT_TYPE=application/x-git-receive-pack-request
GATEWAY_INTERFACE=CGI/1.1
GIT_CONFIG_COUNT=4
GIT_CONFIG_KEY_0=http.receivepack
GIT_CONFIG_KEY_1=http.uploadpack
GIT_CONFIG_KEY_2=uploadpack.allowFilter
GIT_CONFIG_KEY_3=safe.directory
GIT_CONFIG_NOSYSTEM=1
GIT_CONFIG_VALUE_0=false
GIT_CONFIG_VALUE_1=true
GIT_CONFIG_VALUE_2=true
GIT_CONFIG_VALUE_3=*
GIT_HTTP_EXPORT_ALL=1
GIT_HTTP_MAX_REQUEST_BUFFER=10485760
GIT_PROJECT_ROOT={root}
HOME=/nonexistent
HTTP_CONTENT_ENCODING=gzip
HTTP_GIT_PROTOCOL=version=2
PATH={home}/programs:{home}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
PATH_INFO=/acme/alpha.git/git-receive-pack
QUERY_STRING=a=%41&b
REMOTE_ADDR=192.0.2.7
REMOTE_USER=alice
REQUEST_METHOD=POST
SERVER_PROTOCOL=HTTP/1.1"
    );
    assert_eq!(found, want.lines().collect::<Vec<_>>());
}

#[tokio::test]
async fn an_anonymous_caller_and_a_request_of_unknown_length_are_told_as_such() {
    let disk = Disk::new();
    let host = host(&disk, &format!("{HEAD}; cat; env"), DEADLINE);
    let (sender, body) = Script::new();
    sender.send(Ok(Bytes::from_static(b"body\n"))).await.unwrap();
    drop(sender);
    let caller = Caller { user: "", ..alice() };
    let response = within(host.serve_request(post(body), &caller)).await.unwrap();
    let said = text(response.into_body()).await.unwrap();
    assert!(said.starts_with("body\n"), "{said}");
    assert!(said.contains("GIT_CONFIG_VALUE_0=true\n"), "{said}");
    assert!(!said.contains("REMOTE_USER") && !said.contains("CONTENT_LENGTH"), "{said}");
}

#[tokio::test]
async fn the_head_is_passed_on() {
    let head = r"printf 'Status: 403 Forbidden\r\nExpires: x\r\nCache-Control: no-cache\r\n\r\nno'";
    let response = answer(head).await.unwrap();
    assert_eq!(response.status(), StatusCode::FORBIDDEN);
    let want = [("expires", "x"), ("cache-control", "no-cache")];
    let headers: HeaderMap =
        want.map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).into_iter().collect();
    assert_eq!(*response.headers(), headers);
    assert_eq!(text(response.into_body()).await.unwrap(), "no");
}

#[tokio::test]
async fn an_answer_without_a_proper_head_has_failed() {
    let long = r"head -c 20000 /dev/zero | tr '\0' a; printf ': x\r\n\r\n'";
    for script in ["exit 0", "exit 1", "printf 'Content-Type: text/plain\n'", "echo; echo", long] {
        let failed = answer(script).await.map(Response::into_parts).map(|(parts, _)| parts);
        assert_eq!(failed.unwrap_err(), ServeError::Upstream(UpstreamError::Failed), "{script}");
    }
    let absent = answer("exec /nonexistent/program").await.unwrap_err();
    assert_eq!(absent, ServeError::Upstream(UpstreamError::Failed));
}

#[tokio::test]
async fn a_program_that_does_not_start_is_unreachable() {
    let disk = Disk::new();
    let host = host(&disk, "exit 0", DEADLINE);
    std::fs::remove_file(disk.home.path().join("programs/git-http-backend")).unwrap();
    let error = within(host.serve_request(post(Empty::<Bytes>::new()), &alice())).await.unwrap_err();
    assert_eq!(error, ServeError::Upstream(UpstreamError::Unreachable));
    let user = Caller { user: "al\0ice", ..alice() };
    let error = within(host.serve_request(post(Empty::<Bytes>::new()), &user)).await.unwrap_err();
    assert_eq!(error, ServeError::Upstream(UpstreamError::Unreachable));
    assert_eq!(host.0.children.available_permits(), 1);
}

#[tokio::test]
async fn an_answer_that_does_not_begin_in_time_is_given_up() {
    let disk = Disk::new();
    let host = host(&disk, "sleep 1000", Duration::from_millis(1));
    let error = within(host.serve_request(post(Empty::<Bytes>::new()), &alice())).await.unwrap_err();
    assert_eq!(error, ServeError::Upstream(UpstreamError::Timeout));
    drop(within(host.0.children.acquire_many(1)).await.unwrap());
}

#[tokio::test]
async fn a_program_that_is_stopped_can_clean_up() {
    let disk = Disk::new();
    let host = host(&disk, &format!("trap 'echo > cleaned; exit' TERM; {HEAD}; sleep 1000 & wait"), DEADLINE);
    let response = within(host.serve_request(post(Empty::<Bytes>::new()), &alice())).await.unwrap();
    assert!(!disk.root().join("cleaned").exists());
    drop(response);
    drop(within(host.0.children.acquire_many(1)).await.unwrap());
    assert!(disk.root().join("cleaned").exists());
}

#[tokio::test]
async fn a_program_need_not_read_all_of_the_request() {
    let disk = Disk::new();
    let script = format!("exec <&-; mkfifo fifo; {HEAD}; head -c 4 fifo");
    let host = host(&disk, &script, DEADLINE);
    let (sender, body) = Script::new();
    let response = within(host.serve_request(post(body), &alice())).await.unwrap();
    sender.send(Ok(Bytes::from(vec![0; 1 << 20]))).await.unwrap();
    within(sender.closed()).await;
    // Open for reading too, so that opening does not wait for a program that has ended.
    let mut fifo = File::options().read(true).write(true).open(disk.root().join("fifo")).unwrap();
    fifo.write_all(b"done").unwrap();
    assert_eq!(text(response.into_body()).await.unwrap(), "done");
}

#[tokio::test]
async fn what_a_program_says_on_the_side_does_not_block_it() {
    let script =
        format!("head -c 1000000 /dev/zero >&2; {HEAD}; head -c 1000000 /dev/zero >&2; echo done; exit 3");
    let response = answer(&script).await.unwrap();
    assert_eq!(text(response.into_body()).await.unwrap(), "done\n");
}

#[tokio::test]
async fn a_program_that_was_killed_leaves_a_broken_body() {
    let response = answer(&format!("{HEAD}; echo half; kill -KILL $$")).await.unwrap();
    let mut body = response.into_body();
    assert_eq!(within(body.frame()).await.unwrap().unwrap().into_data().unwrap(), "half\n");
    assert!(within(body.frame()).await.unwrap().is_err());
    assert!(within(body.frame()).await.is_none());
    assert!(body.is_end_stream());
}

#[tokio::test]
async fn what_does_not_stop_is_killed() {
    let stubborn = ["trap '' TERM; sleep 1000 &", "trap '' TERM; sleep 1000 & trap - TERM;"];
    for script in stubborn {
        let disk = Disk::new();
        let host = host(&disk, &format!("{script} {HEAD}; wait"), DEADLINE);
        let response = within(host.serve_request(post(Empty::<Bytes>::new()), &alice())).await.unwrap();
        processes_are(&disk, 2).await;
        drop(response);
        drop(within(host.0.children.acquire_many(1)).await.unwrap());
        processes_are(&disk, 0).await;
    }
}

#[tokio::test]
async fn a_request_that_breaks_off_never_looks_as_if_it_ended() {
    for broken in [true, false] {
        let disk = Disk::new();
        // Lives until it is killed, or has read all.
        let host = host(&disk, &format!("trap '' TERM; {HEAD}; cat > /dev/null; echo > ended"), DEADLINE);
        let (sender, body) = Script::new();
        let response = within(host.serve_request(post(body), &alice())).await.unwrap();
        if broken {
            sender.send(Err(io::Error::other("the connection broke"))).await.unwrap();
            assert!(text(response.into_body()).await.is_err());
        } else {
            drop((sender, response));
        }
        drop(within(host.0.children.acquire_many(1)).await.unwrap());
        assert!(!disk.root().join("ended").exists(), "broken: {broken}");
    }
}

#[test]
fn a_runtime_that_ends_takes_all_with_it() {
    let disk = Disk::new();
    let host = host(&disk, &format!("sleep 1000 & {HEAD}; wait"), DEADLINE);
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let first = runtime();
    let request = post(Empty::<Bytes>::new());
    let response = first.block_on(async {
        let response = within(host.serve_request(request, &alice())).await.unwrap();
        processes_are(&disk, 2).await;
        response
    });
    drop(first);
    drop(response);
    runtime().block_on(async {
        drop(within(host.0.children.acquire_many(1)).await.unwrap());
        processes_are(&disk, 0).await;
    });
}

#[track_caller]
fn check(settings: GitHostSettings, want: &str) {
    let message = GitHost::new(settings).unwrap_err().to_string();
    assert!(message.contains(want), "{message}");
}

#[test]
fn what_is_missing_is_named() {
    let disk = Disk::new();
    let failing = disk.program("bin/failing", "#!/bin/sh\nexit 9\n");
    let file = disk.program("file", "");
    let git = disk.program("bin/git", "#!/bin/sh\necho /nonexistent\n");
    check(GitHostSettings { git, ..disk.settings() }, "`git-http-backend` is not in `/nonexistent`; install");
    let absent = GitHostSettings { git: "/nonexistent/git".into(), ..disk.settings() };
    check(absent, "`/nonexistent/git --exec-path` does not run");
    check(GitHostSettings { git: failing, ..disk.settings() }, "exit status: 9; install git");
    let absent = GitHostSettings { directory: "/nonexistent".into(), ..disk.settings() };
    check(absent, "`/nonexistent` cannot be opened");
    check(GitHostSettings { directory: file, ..disk.settings() }, "is not a directory");
    disk.program("programs/git-http-backend", "");
    let git = disk.program("bin/git", &format!("#!/bin/sh\necho {}/programs\n", disk.home.path().display()));
    let none = GitHost::new(GitHostSettings { git, max_children: 0, ..disk.settings() }).unwrap_err();
    assert!(matches!(none, GitHostError::NoChildren));
}
