//! Policy that changes under load: no request fails, none sees half of one policy and half of another, and a bad edit
//! changes nothing.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::support::gateway::{
    TestGateway, authorization, head, policy_tokens, reason, status, wait_for, write,
};
use crate::support::policy::tokens;
use crate::support::secure::{Authority, Http2, get, run, secure_gateway};
use crate::support::wire::{Host, Wire, ok};

const GENERATION: &str = "portcullis_snapshot_generation";

/// Two policies of several files. In each, every route is closed to the token: by its own permissions in one, by a
/// rule or the organization in the other one. Half of one and half of the other would open some.
const PERMISSIONS: [&str; 2] = ["issues: read, pull_requests: read", "contents: read"];
const DENIED: [&str; 2] = ["GET /repos/{owner}/{repo}/issues", "GET /repos/{owner}/{repo}/commits"];
const CEILING: [&str; 2] = ["pull_requests: none", "contents: read"];
/// Routes with their reason under each of the two policies.
const ROUTES: [(&str, [&str; 2]); 3] = [
    ("/repos/acme/alpha/commits", ["permission_missing", "policy_forbids"]),
    ("/repos/acme/alpha/issues", ["policy_forbids", "permission_missing"]),
    ("/repos/acme/alpha/pulls", ["policy_forbids", "permission_missing"]),
];
/// Open under both.
const OPEN: &str = "/repos/acme/alpha";

fn upstreams(host: &Host) -> String {
    format!(
        "  - {{ name: forge, hosts: ['*'], url: 'http://{}', catalogs: [github], identity: {{ trusted_header: X-WEBAUTH-USER }} }}",
        host.address
    )
}

fn files(policy: usize) -> [(&'static str, String); 3] {
    let body = format!(
        "resource_owner: acme\nrepositories: [alpha]\npermissions: {{ metadata: read, {} }}",
        PERMISSIONS[policy]
    );
    [
        ("tokens/test.yaml", tokens(&[(1, &body)]).text),
        ("deny.yaml", format!("deny: [{{ name: closed, route: \"{}\" }}]\n", DENIED[policy])),
        (
            "organizations/acme.yaml",
            format!("organization: acme\nceiling: {{ {}, metadata: read, issues: read }}\n", CEILING[policy]),
        ),
    ]
}

/// Both policies as Kubernetes mounts them: folders of their own, and `..data` that leads to one.
fn mount(folder: &Path) {
    for policy in [0, 1] {
        for (name, text) in files(policy) {
            write(&folder.join(format!("..v{policy}")).join(name), &text);
        }
    }
    symlink("..v0", folder.join("..data")).unwrap();
    for name in ["tokens", "deny.yaml", "organizations"] {
        symlink(format!("..data/{name}"), folder.join(name)).unwrap();
    }
}

fn swap(folder: &Path, policy: usize) {
    symlink(format!("..v{policy}"), folder.join("..tmp")).unwrap();
    fs::rename(folder.join("..tmp"), folder.join("..data")).unwrap();
}

/// What was seen of each policy, and how many requests there were.
#[derive(Default)]
struct Seen {
    policies: [AtomicUsize; 2],
    requests: AtomicUsize,
}

impl Seen {
    #[track_caller]
    fn check(&self, target: &str, status: u16, body: &str) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let Some((_, reasons)) = ROUTES.iter().find(|(route, _)| *route == target) else {
            assert_eq!((status, body), (200, "hello"));
            return;
        };
        assert_eq!(status, 403, "{target} is closed by each policy, and open to a mixture: {body}");
        let why = reason(&format!("\r\n\r\n{body}"));
        let policy = reasons.iter().position(|reason| *reason == why);
        let policy = policy.unwrap_or_else(|| panic!("{target} under neither policy: {body}"));
        self.policies[policy].fetch_add(1, Ordering::Relaxed);
    }
}

fn targets() -> impl Iterator<Item = &'static str> {
    ROUTES.iter().map(|(route, _)| *route).chain([OPEN]).cycle()
}

/// Swaps the policies every 50 ms until `done`.
fn swap_until(folder: &Path, done: &AtomicBool) {
    for policy in [1, 0].into_iter().cycle() {
        swap(folder, policy);
        if done.load(Ordering::Relaxed) {
            return;
        }
        std::thread::park_timeout(Duration::from_millis(50));
    }
}

/// A gateway that has read the first one of the two policies.
fn mounted(host: &Host) -> TestGateway {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("policies")).unwrap();
    mount(&directory.path().join("policies"));
    let top = "listeners: [{ bind: 127.0.0.1:0 }]";
    TestGateway::in_directory(directory, top, &upstreams(host), &[])
}

#[test]
fn no_request_of_ten_thousand_fails_or_sees_a_mixed_policy() {
    let host = Host::answering(|_| ok("hello"));
    let gateway = mounted(&host);
    let (seen, done) = (Seen::default(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| swap_until(&gateway.policy_file(""), &done));
        let clients: Vec<_> = (0..64)
            .map(|number| {
                let (seen, gateway) = (&seen, &gateway);
                scope.spawn(move || {
                    let mut client = Wire::connect(gateway.address());
                    for target in targets().skip(number) {
                        client.send(head("GET", target, &authorization(1)));
                        let (head, body) = client.answer();
                        seen.check(target, status(&head), &body);
                        let enough = seen.requests.load(Ordering::Relaxed) >= 10_000;
                        if enough && gateway.metric(GENERATION) > 10.0 {
                            return;
                        }
                    }
                })
            })
            .collect();
        let ended: Vec<_> = clients.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        done.store(true, Ordering::Relaxed);
        assert!(ended.iter().all(Result::is_ok));
    });
    let (requests, generation) = (seen.requests.load(Ordering::Relaxed), gateway.metric(GENERATION));
    println!("{requests} requests under {generation} policies: {:?}", seen.policies);
    assert!(seen.policies.iter().all(|count| count.load(Ordering::Relaxed) > 100));
    assert_eq!(gateway.audit().len(), requests);
}

#[test]
fn no_http2_request_fails_or_sees_a_mixed_policy() {
    let authority = Authority::new();
    let host = Host::answering(|_| ok("hello"));
    let gateway = secure_gateway(&authority, "", &upstreams(&host), &[]);
    mount(&gateway.policy_file(""));
    wait_for("the policy", || gateway.metric("portcullis_snapshot_tokens") > 0.5);
    let (seen, done) = (Seen::default(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| swap_until(&gateway.policy_file(""), &done));
        let tested = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            run(async {
                let mut client = Http2::connect(gateway.address(), &authority).await;
                for target in targets() {
                    let (status, _, body) = client.answer(get(target)).await.unwrap();
                    seen.check(target, status.as_u16(), &body);
                    if seen.requests.load(Ordering::Relaxed) >= 1000 && gateway.metric(GENERATION) > 10.0 {
                        return;
                    }
                }
            });
        }));
        done.store(true, Ordering::Relaxed);
        tested.unwrap();
    });
    assert!(seen.policies.iter().all(|count| count.load(Ordering::Relaxed) > 50));
}

/// Makes a change, and waits until it is in force.
#[track_caller]
fn in_force_soon(gateway: &TestGateway, what: &str, change: impl FnOnce(&Path)) {
    let before = gateway.metric(GENERATION);
    let start = Instant::now();
    change(&gateway.policy_file(""));
    wait_for(what, || gateway.metric(GENERATION) > before);
    let took = start.elapsed();
    println!("{what}: in force after {took:?}");
    assert!(took < Duration::from_secs(1), "{what}: {took:?}");
}

#[test]
fn every_way_of_writing_is_in_force_within_a_second() {
    let host = Host::answering(|_| ok("hello"));
    let gateway = mounted(&host);
    in_force_soon(&gateway, "a swapped link", |folder| swap(folder, 1));
    in_force_soon(&gateway, "a swapped link back", |folder| swap(folder, 0));
    in_force_soon(&gateway, "an atomic rename", |folder| {
        write(&folder.join("..data/deny.yaml"), "deny: [] # 1\n");
    });
    in_force_soon(&gateway, "a file rewritten in place", |folder| {
        fs::write(folder.join("..data/deny.yaml"), "deny: [] # 2\n").unwrap();
    });
    in_force_soon(&gateway, "an asked-for look", |folder| {
        fs::write(folder.join("..data/deny.yaml"), "deny: [] # 3\n").unwrap();
        gateway.running().reload();
    });
    let replacement = |folder: &Path, name: &str, note: &str| {
        let other = folder.parent().unwrap().join(name);
        write(&other.join("deny.yaml"), &format!("deny: [] # {note}\n"));
        other
    };
    for round in ["one", "two"] {
        in_force_soon(&gateway, "a replaced directory", |folder| {
            let other = replacement(folder, "other", round);
            fs::rename(folder, folder.parent().unwrap().join(round)).unwrap();
            fs::rename(other, folder).unwrap();
        });
        in_force_soon(&gateway, "a file in the replaced directory", |folder| {
            write(&folder.join("deny.yaml"), &format!("deny: [] # {round} again\n"));
        });
    }
}

#[test]
fn a_directory_that_is_a_link_may_be_swapped() {
    let host = Host::answering(|_| ok("hello"));
    let directory = tempfile::tempdir().unwrap();
    let folder = directory.path().join("policies");
    for version in ["v1", "v2"] {
        write(&directory.path().join(version).join("deny.yaml"), &format!("deny: [] # {version}\n"));
    }
    symlink("v1", &folder).unwrap();
    let top = "listeners: [{ bind: 127.0.0.1:0 }]";
    let gateway = TestGateway::in_directory(directory, top, &upstreams(&host), &[]);
    for version in ["v2", "v1", "v2"] {
        in_force_soon(&gateway, "a swapped directory link", |_| {
            symlink(version, folder.with_extension("new")).unwrap();
            fs::rename(folder.with_extension("new"), &folder).unwrap();
        });
    }
}

#[test]
fn a_bad_edit_changes_nothing_and_is_seen_until_it_is_mended() {
    const REFUSED: &str = "portcullis_snapshot_reload_total{result=\"refused\"}";
    const STALE: &str = "portcullis_snapshot_stale";

    let host = Host::answering(|_| ok("hello"));
    let body = "resource_owner: acme\nrepositories: [alpha]\npermissions: { contents: read }";
    let (name, good) = policy_tokens(&[(1, body)]);
    let gateway = TestGateway::before(host.address, "github", body);
    let serves = || status(&gateway.request("GET", "/repos/acme/alpha/commits", "")) == 200;
    let stale = |want: f64| {
        wait_for("the metric", || (gateway.metric(STALE) - want).abs() < 0.5);
        assert!(serves());
    };
    assert!(gateway.metric(REFUSED) < 0.5);
    for bad in ["tokens: [", "", "tokens: []\ntokens: []\n", "surprise: true\n"] {
        let before = gateway.metric(REFUSED);
        write(&gateway.policy_file(name), bad);
        stale(1.0);
        assert!(gateway.metric(REFUSED) > before, "{bad}");
        // The text that is in force already.
        write(&gateway.policy_file(name), &good);
        stale(0.0);
    }
    let before = gateway.metric(REFUSED);
    write(&gateway.policy_file("unheard-of.yaml"), "a: 1\n");
    stale(1.0);
    fs::remove_file(gateway.policy_file("unheard-of.yaml")).unwrap();
    stale(0.0);
    assert!(gateway.metric(REFUSED) > before);

    let folder = gateway.policy_file("");
    let moved = folder.parent().unwrap().join("moved");
    fs::rename(&folder, &moved).unwrap();
    stale(1.0);
    fs::rename(&moved, &folder).unwrap();
    stale(0.0);
    gateway.edit(name, &policy_tokens(&[]).1.replace("tokens:\n", "tokens: []\n"));
    assert!(!serves());
}
