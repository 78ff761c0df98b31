//! What git may do, and does unharmed through the gateway.

use crate::git::{READER, Stage, WRITER, Way};
use crate::support::git::Git;

/// Whole clones in each version of the protocol, over the version of HTTP that was asked for.
pub(super) fn clones_in_each_protocol(stage: &mut Stage) {
    let url = stage.url(READER, "/acme/alpha.git");
    let want = stage.server_has("alpha", "main");
    for (version, trace) in [("0", "git< # service="), ("1", "version 1"), ("2", "version 2")] {
        let client = stage.client.with(&[("protocol.version", version)], &[("GIT_TRACE_PACKET", "1")]);
        let said = client.trace(&format!("clone --quiet {url} whole"));
        assert!(said.contains(trace), "protocol {version}: {said}");
        assert_eq!(said.contains("version "), version != "0", "{version}: {said}");
        assert_eq!(client.ok("-C whole rev-parse HEAD"), want);
        assert_eq!(client.ok("-C whole rev-list --count --all"), "6");
        assert_eq!(client.ok("-C whole tag"), "v1");
        client.ok("-C whole fsck --strict");
    }
    let loud = stage.client.with(&[], &[("GIT_CURL_VERBOSE", "1")]);
    let said = loud.trace(&format!("ls-remote {url}"));
    assert_eq!(said.contains("HTTP/2 200"), stage.way == Way::TlsHttp2, "{:?}: {said}", stage.way);
}

/// Parts of a repository, and what is fetched later.
pub(super) fn clones_in_part(stage: &mut Stage) {
    let url = stage.url(READER, "/acme/alpha.git");
    let client = &stage.client;
    for version in ["0", "2"] {
        let client = client.with(&[("protocol.version", version)], &[]);
        client.ok(&format!("clone --quiet --depth 2 {url} shallow"));
        assert_eq!(client.ok("-C shallow rev-list --count HEAD"), "2");
        client.ok("-C shallow fetch --quiet --unshallow");
        assert_eq!(client.ok("-C shallow rev-list --count HEAD"), "5");

        client.ok(&format!("clone --quiet --single-branch --branch topic {url} single"));
        let branches = client.ok("-C single for-each-ref --format=%(refname) refs/remotes");
        assert_eq!(branches, "refs/remotes/origin/topic");
    }
    client.ok(&format!("clone --quiet --no-checkout --filter=blob:none {url} partial"));
    let missing = || {
        let objects = client.ok("-C partial rev-list --objects --missing=print HEAD");
        objects.lines().filter(|line| line.starts_with('?')).count()
    };
    assert_eq!(missing(), 5);
    assert_eq!(client.ok("-C partial cat-file -p HEAD:main-3"), "main 3 false");
    assert_eq!(missing(), 4);
}

/// What has come since.
pub(super) fn fetches_what_is_new(stage: &mut Stage) {
    let url = stage.url(READER, "/acme/alpha");
    let client = &stage.client;
    client.ok(&format!("clone --quiet {url} work"));
    stage.server.commit("root/acme/alpha.git", "main", 3);
    stage.server.commit("root/acme/alpha.git", "fresh", 1);
    client.ok("-C work pull --quiet --ff-only");
    assert_eq!(client.ok("-C work rev-parse HEAD"), stage.server_has("alpha", "main"));
    assert_eq!(client.ok("-C work rev-parse origin/fresh"), stage.server_has("alpha", "fresh"));
}

/// All that a push can be, and in whose name the host does it.
pub(super) fn pushes(stage: &mut Stage) {
    let url = stage.url(WRITER, "/acme/alpha.git");
    let client = &stage.client;
    client.ok(&format!("clone --quiet {url} work"));
    let commit = |message: &str| client.ok(&format!("-C work commit --quiet --allow-empty -m {message}"));
    let head = || client.ok("-C work rev-parse HEAD");

    commit("one");
    client.ok("-C work push --quiet origin main");
    assert_eq!(stage.server_has("alpha", "main"), head());
    let log = std::fs::read_to_string(stage.root().join("acme/alpha.git/logs/refs/heads/main")).unwrap();
    assert!(log.contains(" user2 <user2@http."), "{log}");

    client.ok("-C work push --quiet origin main:refs/heads/feature/new");
    assert_eq!(stage.server_has("alpha", "feature/new"), head());

    client.ok("-C work tag light");
    client.ok("-C work tag -a -m two v2");
    client.ok("-C work push --quiet --tags origin");
    assert_eq!(stage.server_has("alpha", "light"), head());
    assert_eq!(stage.server_has("alpha", "v2^{commit}"), head());

    client.ok("-C work commit --quiet --amend --allow-empty -m other");
    let said = client.refused("-C work push origin main");
    assert!(said.contains("non-fast-forward"), "{said}");
    client.ok("-C work push --quiet --force origin main");
    assert_eq!(stage.server_has("alpha", "main"), head());

    client.ok("-C work push --quiet origin --delete feature/new");
    let left = stage.server.ok(&format!("-C {} for-each-ref refs/heads/feature", stage.repository("alpha")));
    assert_eq!(left, "");

    let wiki = stage.url(WRITER, "/acme/alpha.wiki.git");
    client.ok(&format!("clone --quiet {wiki} wiki"));
    client.ok("-C wiki commit --quiet --allow-empty -m page");
    client.ok("-C wiki push --quiet origin main");
    assert_eq!(stage.server_has("alpha.wiki", "main"), client.ok("-C wiki rev-parse HEAD"));
}

/// The protocol of git before 1.6.6: files.
pub(super) fn clones_over_the_dumb_protocol(stage: &mut Stage) {
    let url = stage.url(READER, "/acme/alpha.git");
    let client = stage.client.with(&[], &[("GIT_SMART_HTTP", "0"), ("GIT_CURL_VERBOSE", "1")]);
    let said = client.trace(&format!("clone {url} work"));
    assert!(said.contains("/objects/") && !said.contains("git-upload-pack"), "{said}");
    assert_eq!(client.ok("-C work rev-parse HEAD"), stage.server_has("alpha", "main"));
    client.ok("-C work fsck --strict");
}

/// So much to negotiate that git compresses it.
pub(super) fn negotiates_about_many_refs(stage: &mut Stage) {
    let repository = stage.repository("alpha");
    stage.server.commit("root/acme/alpha.git", "many", 300);
    let commits = stage.server.ok(&format!("-C {repository} rev-list many"));
    let mut names: Vec<_> = (0..300).map(|at| format!("refs/heads/many-{at}")).collect();
    names.sort();
    let lines = commits.lines().zip(&names).map(|(commit, name)| format!("{commit} {name}\n"));
    let packed = format!("# pack-refs with: peeled fully-peeled sorted \n{}", lines.collect::<String>());
    std::fs::write(format!("{repository}/packed-refs"), packed).unwrap();
    for version in ["0", "2"] {
        let client = stage.client.with(&[("protocol.version", version)], &[("GIT_CURL_VERBOSE", "1")]);
        clones_compressed(stage, &client);
    }
}

fn clones_compressed(stage: &Stage, client: &Git) {
    let url = stage.url(READER, "/acme/alpha.git");
    client.ok("init --quiet work");
    client.ok(&format!("-C work remote add origin {url}"));
    let said = client.trace("-C work fetch --quiet origin").to_ascii_lowercase();
    assert!(said.contains("content-encoding: gzip"), "{said}");
    let branches = client.ok("-C work for-each-ref --format=%(refname) refs/remotes/origin/many-*");
    assert_eq!(branches.lines().count(), 300);
    // The same the other way: commits that the server does not have.
    client.commit("work/.git", "own", 300);
    let new = format!("new-{}", client.home.path().file_name().unwrap().display());
    stage.server.commit("root/acme/alpha.git", &new, 1);
    let said = client.trace("-C work fetch --quiet origin").to_ascii_lowercase();
    assert!(said.contains("content-encoding: gzip"), "{said}");
    assert_eq!(client.ok(&format!("-C work rev-parse origin/{new}")), stage.server_has("alpha", &new));
}

/// Names without regard to case, with `.git` or without: one repository, one grant.
pub(super) fn one_repository_by_each_name(stage: &mut Stage) {
    let want = stage.server_has("alpha", "main");
    for name in ["alpha", "alpha.git"] {
        let url = stage.url(READER, &format!("/acme/{name}"));
        let found = stage.client.ok(&format!("ls-remote {url} main"));
        assert!(found.starts_with(&want), "{name}: {found}");
    }
    for name in ["ALPHA", "Alpha.GIT", "alpha.Git"] {
        let url = stage.url(READER, &format!("/ACME/{name}"));
        if stage.nginx.is_none() {
            let found = stage.client.ok(&format!("ls-remote {url} main"));
            assert!(found.starts_with(&want), "{name}: {found}");
        } else {
            // Granted as well; but the file system behind this host knows no such name.
            let said = stage.client.refused(&format!("ls-remote {url}"));
            assert!(said.contains("not found") && !said.contains("Portcullis"), "{said}");
        }
    }
}
