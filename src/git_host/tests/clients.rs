//! Real git as the client: every version of the protocol, and every kind of fetch and push.

use std::fs;
use std::sync::atomic::Ordering;

use super::Server;

#[test]
fn clones_in_every_protocol_version() {
    let Some(server) = Server::start() else { return };
    let disk = &server.disk;
    disk.seed("acme/alpha.git", 3, 100_000);
    let tip = disk.ok("-C root/acme/alpha.git rev-parse main");
    for (version, header) in [("0", ""), ("1", "version=1"), ("2", "version=2")] {
        let url = server.url("acme/alpha.git");
        disk.ok(&format!("-c protocol.version={version} clone --quiet {url} v{version}"));
        assert_eq!(disk.ok(&format!("-C v{version} rev-parse HEAD")), tip);
        disk.ok(&format!("-C v{version} fsck --strict"));
        assert!(server.seen().iter().all(|seen| seen.protocol == header), "version {version}");
    }
}

#[test]
fn clones_by_the_dumb_protocol() {
    let Some(server) = Server::start() else { return };
    let disk = &server.disk;
    disk.seed("acme/alpha.git", 2, 1000);
    disk.ok("-C root/acme/alpha.git repack -adq");
    disk.seed("acme/beta.git", 2, 1000);
    for name in ["alpha", "beta"] {
        let line = format!("clone --quiet {} {name}", server.url(&format!("acme/{name}.git")));
        let output = disk.git_with(&line, b"", ("GIT_SMART_HTTP", "0"));
        assert!(output.status.success(), "{output:?}");
        disk.ok(&format!("-C {name} fsck --strict"));
    }
    let seen = server.seen();
    let asked = |end: &str| seen.iter().any(|seen| seen.target.ends_with(end));
    assert!(asked("/HEAD") && asked("/objects/info/packs") && asked(".pack") && asked("/info/refs"));
    assert!(!seen.iter().any(|seen| seen.target.contains("service=")));
}

#[test]
fn fetches_shallow_and_partially() {
    let Some(server) = Server::start() else { return };
    let disk = &server.disk;
    disk.seed("acme/alpha.git", 5, 1000);
    let url = server.url("acme/alpha");
    disk.ok(&format!("clone --quiet --depth 1 {url} shallow"));
    assert_eq!(disk.ok("-C shallow rev-list --count HEAD"), "1");
    disk.ok("-C shallow fetch --quiet --unshallow");
    assert_eq!(disk.ok("-C shallow rev-list --count HEAD"), "5");
    disk.ok(&format!("clone --quiet --no-checkout --filter=blob:none {url} partial"));
    let missing = disk.ok("-C partial rev-list --objects --all --missing=print");
    assert_eq!(missing.lines().filter(|line| line.starts_with('?')).count(), 5);
    disk.ok("-C partial checkout --quiet main");
    assert_eq!(fs::read(disk.home.path().join("partial/file-4-1000")).unwrap().len(), 1000);
}

#[test]
fn fetches_after_a_long_compressed_negotiation() {
    let Some(server) = Server::start() else { return };
    let disk = &server.disk;
    disk.seed("acme/alpha.git", 2, 10);
    for version in ["0", "2"] {
        let client = format!("client{version}");
        disk.ok(&format!("clone --quiet --bare {} {client}", server.url("acme/alpha.git")));
        disk.commit(&client, 300, 11);
        disk.commit("root/acme/alpha.git", 1, 12);
        server.seen();
        disk.ok(&format!("-C {client} -c protocol.version={version} fetch --quiet origin main:new"));
        let tip = disk.ok("-C root/acme/alpha.git rev-parse main");
        assert_eq!(disk.ok(&format!("-C {client} rev-parse new")), tip);
        assert!(server.seen().iter().any(|seen| seen.encoding == "gzip"), "version {version}");
    }
}

#[test]
fn pushes_branches_and_tags_and_deletes() {
    let Some(server) = Server::start() else { return };
    let disk = &server.disk;
    disk.seed("acme/alpha.git", 1, 10);
    disk.ok("-C root/acme/alpha.git config core.logAllRefUpdates always");
    disk.ok(&format!("clone --quiet {} client", server.url("acme/alpha.git")));
    disk.ok("-C client commit --quiet --allow-empty -m second");
    disk.ok("-C client tag -a v1 -m v1");
    disk.ok("-C client push --quiet origin main main:topic v1");
    let tip = disk.ok("-C client rev-parse main");
    let refs = disk.ok("-C root/acme/alpha.git for-each-ref --format=%(refname:short)=%(objectname)");
    let tag = disk.ok("-C client rev-parse v1");
    assert_eq!(refs, format!("main={tip}\ntopic={tip}\nv1={tag}"));
    let log = fs::read_to_string(disk.root().join("acme/alpha.git/logs/refs/heads/main")).unwrap();
    assert!(log.contains(" alice <alice@http.127.0.0.1> "), "{log}");
    disk.ok("-C client push --quiet origin :topic");
    disk.ok("-C client push --quiet --force origin main~1:main");
    let refs = disk.ok("-C root/acme/alpha.git for-each-ref --format=%(refname:short)");
    assert_eq!(refs, "main\nv1");
}

#[test]
fn pushes_what_is_larger_than_the_buffer() {
    let Some(server) = Server::start() else { return };
    let disk = &server.disk;
    disk.seed("acme/alpha.git", 1, 10);
    disk.ok(&format!("clone --quiet --bare {} client", server.url("acme/alpha.git")));
    disk.commit("client", 3, 1 << 20);
    disk.ok("-C client -c http.postBuffer=65536 push --quiet origin main");
    let tip = disk.ok("-C client rev-parse main");
    assert_eq!(disk.ok("-C root/acme/alpha.git rev-parse main"), tip);
    disk.ok("-C root/acme/alpha.git fsck --strict");
    assert!(server.seen().iter().any(|seen| seen.chunked && seen.target.ends_with("/git-receive-pack")));
}

#[test]
fn refuses_a_push_that_was_not_allowed() {
    let Some(server) = Server::start() else { return };
    let disk = &server.disk;
    disk.seed("acme/alpha.git", 1, 10);
    // What the repository itself says does not count.
    disk.ok("-C root/acme/alpha.git config http.receivepack true");
    disk.ok(&format!("clone --quiet {} client", server.url("acme/alpha.git")));
    disk.ok("-C client commit --quiet --allow-empty -m second");
    server.push.store(false, Ordering::SeqCst);
    let before = disk.ok("-C root/acme/alpha.git for-each-ref");
    let said = disk.refused("-C client push origin main:topic");
    assert!(said.contains("403"), "{said}");
    assert_eq!(disk.ok("-C root/acme/alpha.git for-each-ref"), before);
    disk.ok("-C client fetch --quiet");
    server.push.store(true, Ordering::SeqCst);
    disk.ok("-C client push --quiet origin main:topic");
}

#[test]
fn finds_names_in_any_case_and_nothing_outside() {
    let Some(server) = Server::start() else { return };
    let disk = &server.disk;
    disk.seed("Acme/Alpha.git", 1, 10);
    disk.seed("Acme/Alpha.wiki.git", 1, 20);
    disk.ok(&format!("clone --quiet {} mixed", server.url("aCME/aLPHA")));
    disk.ok(&format!("clone --quiet {} wiki", server.url("acme/alpha.wiki.git")));
    assert!(disk.home.path().join("wiki/file-0-20").is_file());
    disk.ok("init --quiet --bare secret.git");
    std::os::unix::fs::symlink(disk.home.path().join("secret.git"), disk.root().join("Acme/secret.git"))
        .unwrap();
    for name in ["acme/secret.git", "acme/beta.git", "nobody/alpha.git"] {
        let said = disk.refused(&format!("ls-remote {}", server.url(name)));
        assert!(said.contains("repository not found"), "{said}");
    }
}
