//! The commands over the API, on the local store.

use tempfile::TempDir;

use crate::command::{Finished, command, finish};
use crate::support::api::{ApiGateway, PASSWORD, site};
use crate::support::gateway::{DEADLINE, wait_for, write};
use crate::support::spy::Spy;

pub(super) const ACME: &str = "organization: acme\nowners: [alice]\nmembers: { bob: write }\n";

/// A gateway's files, with a store.
pub(super) struct Site(pub(super) TempDir);

impl Site {
    pub(super) fn new() -> Self {
        Self(site(ACME))
    }

    pub(super) fn run(&self, line: &str) -> Finished {
        self.run_with(line, "")
    }

    /// Runs `line`, whose words are parted by spaces.
    pub(super) fn run_with(&self, line: &str, input: &str) -> Finished {
        let words: Vec<_> = line.split_whitespace().collect();
        finish(command(self.0.path(), &words), input)
    }

    /// Makes a token of bob's at `acme`, and gives its text.
    #[track_caller]
    pub(super) fn create(&self, name: &str) -> String {
        let line =
            "token create --user bob --owner acme --repositories alpha --permissions contents=read --name";
        self.run(&format!("{line} {name}")).expect(0).stdout.trim().to_owned()
    }
}

#[test]
fn a_token_lives_in_the_local_store() {
    let site = Site::new();
    let create = "token create --user bob --name nightly --owner acme --repositories alpha,beta --permissions contents=read --reason why";
    let made = site.run(create).expect(0).tells(&[
        "is new",
        "token 1 `nightly` of `bob`; it expires 20",
        "at `acme` it waits for approval by an owner of `acme` (alice): request 1, `portcullis request approve acme 1`",
    ]);
    let secret = made.stdout.strip_suffix('\n').unwrap();
    assert!(secret.starts_with("portcullis_pat_") && !secret.contains(char::is_whitespace), "{secret}");
    assert!(!made.stderr.contains(secret));
    let (prefix, _) = secret.rsplit_once('_').unwrap();

    let listed = site.run("token list").expect(0);
    assert_eq!(listed.rows()[0][..5], ["1", "nightly", "bob", "pending", "acme"]);
    assert_eq!(listed.rows(), site.run("token list --user bob").expect(0).rows());
    assert_eq!(site.run("token list --user carol").expect(0).tells(&["no tokens"]).stdout, "");
    assert_eq!(site.run("token list --json").expect(0).json()[0]["state"], "pending");

    let asked = site.run("request list acme").expect(0);
    assert_eq!(asked.rows()[0][..5], ["1", "nightly", "bob", "alpha,beta", "contents=read"]);
    assert_eq!(asked.rows()[0].last().unwrap(), "why");
    assert_eq!(site.run("request list acme --json").expect(0).json()[0]["owner"]["login"], "bob");
    site.run("request approve acme 1 --reason fine").expect(0).tells(&["approved at `acme`: 1"]);
    assert_eq!(site.run("request list acme").expect(0).tells(&["nothing waits"]).stdout, "");
    let granted = site.run("grant list acme").expect(0);
    assert_eq!(granted.rows()[0][..5], ["1", "nightly", "bob", "alpha,beta", "contents=read"]);
    assert_eq!(site.run("grant list acme --json").expect(0).json()[0]["token_id"], 1);

    let shown = site.run("token show 1").expect(0).stdout;
    assert!(shown.contains("active, grant 1 by ") && shown.contains("alpha,beta: contents=read"), "{shown}");
    assert_eq!(site.run("token show 1 --json").expect(0).json()["name"], "nightly");
    let renewed =
        site.run("token regenerate 1 --expires 7d --overlap 1h").expect(0).tells(&["at `acme` it works now"]);
    assert!(renewed.stdout.starts_with(prefix) && renewed.stdout.trim() != secret);
    let json = site.run("token regenerate 1 --json").expect(0).json();
    assert!(json["token"].as_str().unwrap().starts_with(prefix));

    site.run("grant revoke acme 1").expect(0).tells(&["taken back at `acme`: 1"]);
    site.run("grant list acme").expect(0).tells(&["no token of the store reaches `acme`"]);
    site.run("token revoke 1 --why stolen").expect(0).tells(&["token 1 is taken back"]);
    for again in ["token revoke 1", "token show 1", "token regenerate 1"] {
        site.run(again).expect(1).tells(&["was taken back by", "stolen"]);
    }
}

#[test]
fn what_is_denied_does_not_work_and_several_owners_decide_apart() {
    let site = Site::new();
    write(
        &site.0.path().join("policies/organizations/umbrella.yaml"),
        "organization: umbrella\nowners: [carol]\n",
    );
    let create = "token create --user bob --name two --grant acme:alpha:contents=read --grant umbrella:all:contents=read,issues=write --json";
    let made =
        site.run(create).expect(0).tells(&["at `acme` it waits", "at `umbrella` it waits", "(carol)"]).json();
    assert_eq!(made["resource_owners"].as_array().unwrap().len(), 2);
    let asked = site.run("request list umbrella").expect(0).rows();
    assert_eq!(asked[0][1..5], ["two", "bob", "all", "contents=read,issues=write"]);
    site.run(&format!("request deny umbrella {} --reason no", asked[0][0])).expect(0).tells(&["denied at"]);
    let shown = site.run("token show 1").expect(0).stdout;
    assert!(shown.contains("at acme") && !shown.contains("at umbrella"), "{shown}");
}

#[test]
fn users_are_made_suspended_and_resumed() {
    let site = Site::new();
    site.run_with("user add alice --administrator --password-stdin", PASSWORD).expect(0).tells(&["is made"]);
    site.run("user add bob").expect(0);
    site.run("user add bob").expect(0).tells(&["nothing is changed"]);
    let rows = site.run("user list").expect(0).rows();
    assert_eq!(
        (&rows[0][..3], &rows[1][..3]),
        (&["alice", "yes", "yes"].map(String::from)[..], &["bob", "no", "no"].map(String::from)[..])
    );
    let set = site.run_with("user password bob", &format!("{PASSWORD}\n")).expect(0);
    assert!(!set.stderr.contains(PASSWORD) && set.stdout.is_empty());
    site.run("user add alice --administrator=false").expect(0).tells(&["is changed"]);
    site.run("user suspend bob").expect(0).tells(&["`bob` is suspended"]);
    let users = site.run("user list --json").expect(0).json();
    assert!(users[1]["suspended_at"].is_string() && users[0]["administrator"] == false, "{users}");
    let create = "token create --user bob --name n --owner acme --permissions contents=read";
    site.run(create).expect(1).tells(&["suspended"]);
    site.run("user resume bob").expect(0).tells(&["`bob` is suspended no more"]);
    assert_eq!(site.run("user list").expect(0).rows()[1].last().unwrap(), "-");
    for (line, input, code) in [
        ("user suspend nobody", "", 1),
        ("user password nobody", PASSWORD, 1),
        ("user password bob", "short", 2),
        ("user password bob", "", 2),
        ("user password bob", "two lines of\na password\n", 2),
        ("user add b/b", "", 2),
        ("user add", "", 2),
    ] {
        let told = site.run_with(line, input).expect(code);
        assert!(input.is_empty() || !told.stderr.contains(input.trim()), "{}", told.stderr);
    }
}

#[test]
fn a_refusal_says_everything_and_ends_with_one() {
    let site = Site::new();
    site.create("nightly");
    let create = "token create --user bob --name nightly --owner acme --permissions contents=read,foo=read --expires 9999d";
    let told =
        site.run(create).expect(1).tells(&["\n  name: ", "\n  permissions: ", "`foo`", "\n  expires_at: "]);
    assert_eq!(told.stdout, "");
    for line in [
        "request approve acme 1 99",
        "request deny umbrella 1",
        "grant revoke acme 7",
        "token show 9",
        "token revoke 9",
    ] {
        assert_eq!(site.run(line).expect(1).tells(&["not found"]).stdout, "", "{line}");
    }
    assert_eq!(site.run("request list acme").expect(0).rows().len(), 1, "all of it or nothing");
}

#[test]
fn arguments_and_files_that_mean_nothing_end_with_two() {
    let site = Site::new();
    for (line, want) in [
        ("token create --name n --owner acme --permissions contents=read", "--user LOGIN"),
        ("token create --user bob --name n --owner acme", "--permissions"),
        ("token create --user bob --name n --grant acme:all", "owner:repositories:permissions"),
        ("token create --user bob --name n --grant a:b:c=read --owner acme", "cannot be used with"),
        ("token create --user bob --name n --owner acme --permissions contents", "contents=read"),
        ("token regenerate 1 --overlap long", "--overlap long"),
        ("token show x", "invalid value"),
        ("request approve acme", "required"),
        ("audit query --since soon", "no moment"),
        ("audit verify --head 12", "64 digits"),
        ("user list --ca ca.pem", "--server"),
        ("sign-in --login bob", "--server"),
    ] {
        assert_eq!(site.run(line).expect(2).tells(&[want]).stdout, "", "{line}");
    }
    let file = site.0.path().join("portcullis.yaml");
    let config = std::fs::read_to_string(&file).unwrap();
    let without: Vec<_> =
        config.lines().filter(|line| !line.starts_with("store:") && !line.starts_with("api:")).collect();
    write(&file, &without.join("\n"));
    for line in ["token list", "user add bob", "audit verify", "request list acme"] {
        site.run(line).expect(2).tells(&["add `store: sqlite:portcullis.db`", "--server"]);
    }
    write(&file, &config.replace("workers: 1", "workers: none"));
    site.run("token list").expect(2).tells(&["portcullis.yaml:4:"]);
    write(&file, &config);
    write(&site.0.path().join("policies/organizations/acme.yaml"), "organisation: acme\n");
    site.run("token list").expect(2).tells(&["acme.yaml:1:"]);
    std::fs::remove_file(&file).unwrap();
    site.run("token list").expect(2).tells(&["there is no `portcullis.yaml`", "--config", "--server"]);
}

#[test]
fn a_change_of_the_local_store_is_seen_by_a_gateway_that_runs() {
    const READ: &str = "/repos/acme/alpha/contents/README.md";
    let spy = Spy::start();
    let gateway = ApiGateway::before(spy.address, "github", &[("organizations/acme.yaml", ACME.into())]);
    let folder = gateway.gateway.directory.path();
    let run = |line: &str| {
        let words: Vec<_> = line.split_whitespace().collect();
        finish(command(folder, &words), "").expect(0)
    };
    let made =
        run("token create --user bob --name n --owner acme --repositories alpha --permissions contents=read");
    let token = made.stdout.trim();
    let head =
        format!("GET {READ} HTTP/1.1\r\nHost: git.example.com\r\nAuthorization: Bearer {token}\r\n\r\n");
    // An answer that is under way when its token is taken back is cut.
    let tells = |what: &str| gateway.gateway.raw(&head).contains(what);
    let passes = || tells("HTTP/1.1 200 OK");
    wait_for("the new token", || tells("\"token_pending\""));
    run("request approve acme 1");
    wait_for("the approval", passes);
    run("user suspend bob");
    wait_for("the suspension", || tells("\"user_suspended\""));
    run("user resume bob");
    wait_for("its end", passes);
    run("token revoke 1");
    let revoked = std::time::Instant::now();
    wait_for("the revocation", || tells("\"token_revoked\""));
    assert!(revoked.elapsed() < DEADLINE / 4, "{:?}", revoked.elapsed());
}
