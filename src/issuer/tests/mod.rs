//! Each step of a token's life, by what whoever judges requests sees of it afterwards, and by its trace in the audit trail.

mod bound;
mod create;
mod edit;
mod end;
mod people;
mod renew;
mod review;
mod walk;

use std::cell::Cell;
use std::future::Future;

use serde_json::Value;
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

use super::*;
use crate::domain::grant::{Approval, GrantState};
use crate::domain::lifecycle::fixture::part;
use crate::issuer::draft::{Draft, Edit, Expiry};
use crate::issuer::issue::Renewal;
use crate::issuer::review::{Review, Verdict};
use crate::policy::compile::{Source, compile};
use crate::policy::grants::GrantPart;
use crate::policy::stored;
use crate::policy::upstream::{ClassicTokens, UpstreamSpec};
use crate::store::audit::{AuditQuery, Chain};

const NOW: i64 = 1_800_000_000;
const DAY: i64 = 24 * 60 * 60;

const CATALOG: &str = "
catalog: small
permissions:
  contents: { scope: repository, levels: [read, write] }
  issues: { scope: repository, levels: [read, write] }
  secrets: { scope: repository, levels: [read, write] }
  sealed: { scope: repository, levels: [] }
  members: { scope: organization, levels: [read, write] }
  emails: { scope: user, levels: [read, write] }
routes: {}
";

/// Organizations: `acme` approves, `commons` needs not, `initech` does beyond a rule, `closed` lets nobody in, `shady` would
/// not if it were enforced.
const ORGANIZATIONS: [(&str, &str); 6] = [
    (
        "acme",
        "owners: [alice]\nmembers: { bob: write, carol: read }\nfine_grained_tokens: { max_lifetime: 90d }\nceiling: { secrets: none, issues: read }",
    ),
    ("umbrella", "owners: [ulrich]"),
    ("commons", "fine_grained_tokens: { approval: automatic, max_lifetime: 5d }"),
    ("initech", "fine_grained_tokens: { approve_automatically: [{ max_level: read, max_lifetime: 7d }] }"),
    ("closed", "fine_grained_tokens: { access: deny, approval: automatic }"),
    ("shady", "mode: shadow\nfine_grained_tokens: { access: deny, max_lifetime: 1d }\nmembers: {}"),
];

/// The policy of [`ORGANIZATIONS`], below `enterprise`.
fn policy(enterprise: &str) -> Arc<Snapshot> {
    let source = |name: &str, text: String| Source { name: name.into(), file: name.into(), text };
    let mut sources = vec![source("catalogs/small.yaml", CATALOG.into())];
    for (name, text) in ORGANIZATIONS {
        let text = format!("organization: {name}\n{text}\n");
        sources.push(source(&format!("organizations/{name}.yaml"), text));
    }
    if !enterprise.is_empty() {
        sources.push(source("enterprise.yaml", format!("enterprise: holding\n{enterprise}\n")));
    }
    let upstream = UpstreamSpec {
        name: "forge".into(),
        hosts: vec!["*".into()],
        path_prefix: None,
        catalogs: vec!["small".into()],
        classic: ClassicTokens::default(),
        file: "portcullis.yaml".into(),
    };
    Arc::new(compile(&sources, &[upstream], &TokenFormat::default(), 1).unwrap())
}

struct Fixture {
    issuer: Issuer,
    policy: Arc<Snapshot>,
    runtime: Runtime,
    /// The last entry of the audit trail that was looked at.
    seen: Cell<i64>,
    /// How many seconds after [`NOW`] it is.
    later: Cell<i64>,
    _folder: TempDir,
}

impl Fixture {
    fn new() -> Self {
        Self::under("")
    }

    /// Below an enterprise.
    fn under(enterprise: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("store.db")).unwrap();
        let limits = IssuerLimits { tokens_per_user: 3, repositories_per_token: 4 };
        Self {
            issuer: Issuer::new(store, TokenFormat::default(), limits, Arc::default()),
            policy: policy(enterprise),
            runtime: Builder::new_current_thread().enable_all().build().unwrap(),
            seen: Cell::new(0),
            later: Cell::new(0),
            _folder: folder,
        }
    }

    fn run<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    fn now(&self) -> UnixTime {
        UnixTime(NOW + self.later.get())
    }

    /// `login` acts, in a session.
    fn by(&self, login: &str) -> Setting {
        let actor = Actor {
            login: login.into(),
            by: Means::Session,
            from: Some([192, 0, 2, 7].into()),
            user_agent: None,
            request_id: None,
        };
        let now = self.now();
        let (policy, limits) = (Arc::clone(&self.policy), self.issuer.limits);
        let in_force = Arc::clone(&policy);
        Setting {
            policy,
            in_force: InForce::new(move || Arc::clone(&in_force)),
            capacity: Capacity::Themselves,
            actor,
            bound: None,
            now,
            now_micros: now.0 * 1_000_000,
            limits,
            outbox: Arc::default(),
        }
    }

    fn create(&self, login: &str, draft: Draft) -> Result<TokenView, IssueError> {
        self.run(self.issuer.create(self.by(login), draft)).map(|issued| issued.view)
    }

    /// A token of bob's that asks for `parts`, which must be granted or pending. Its events are of no interest.
    #[track_caller]
    fn token(&self, parts: &[&str]) -> i64 {
        let name = format!("token {}", self.seen.get());
        let id = self.create("bob", draft(&name, parts)).unwrap().token.id;
        self.events();
        id
    }

    /// Bob asks for `parts` from now on.
    fn edit(&self, id: i64, parts: &[&str]) -> Result<TokenView, IssueError> {
        let parts = Some(parts.iter().map(|text| part(text)).collect());
        self.run(self.issuer.edit(self.by("bob"), id, Edit { parts, ..Edit::default() }))
    }

    /// What `org` decides about `requests`, by alice.
    fn decide(&self, org: &str, verdict: Verdict, requests: &[i64]) -> Result<(), IssueError> {
        let review = Review { org: org.into(), requests: requests.into(), verdict, reason: None };
        self.run(self.issuer.review(self.by("alice"), review))
    }

    /// Approves everything that the token waits for at `org`.
    #[track_caller]
    fn approve(&self, org: &str, id: i64) {
        let requests = self.requests(org, id);
        assert!(!requests.is_empty(), "nothing waits");
        self.decide(org, Verdict::Approve, &requests).unwrap();
        self.events();
    }

    /// The numbers of what the token waits for at `org`.
    fn requests(&self, org: &str, id: i64) -> Vec<i64> {
        let view = self.run(self.issuer.token(id)).unwrap();
        let here = view.requests.iter().filter(|request| request.part.owner.eq_ignore_ascii_case(org));
        here.map(|request| request.id).collect()
    }

    fn grants(&self, id: i64) -> Vec<i64> {
        self.run(self.issuer.token(id)).unwrap().grants.iter().map(|grant| grant.id).collect()
    }

    fn regenerate(&self, id: i64, expiry: Expiry, overlap: i64) -> Result<Issued, IssueError> {
        self.run(self.issuer.regenerate(self.by("bob"), id, Renewal { expiry, overlap }))
    }

    /// What happened since the last call, as `action owner by whom`, the oldest first; the chain must hold.
    #[track_caller]
    fn events(&self) -> Vec<String> {
        let all = self.issuer.store.read_now(|reads| {
            assert!(matches!(reads.verify_audit()?, Chain::Whole { .. }));
            reads.audit(&AuditQuery::default(), 100)
        });
        let mut new: Vec<_> = all.unwrap().into_iter().filter(|entry| entry.id > self.seen.get()).collect();
        new.reverse();
        self.seen.set(new.last().map_or_else(|| self.seen.get(), |entry| entry.id));
        let shown = new.iter().map(|entry| {
            let entry: Value = serde_json::from_str(&entry.entry).unwrap();
            let field = |name: &str| entry[name].as_str().unwrap_or_default().to_owned();
            let action = field("action").replace("personal_access_token.", "");
            [action, field("org"), format!("by {}", field("actor"))].join(" ").replace("  ", " ")
        });
        shown.collect()
    }

    /// How whoever judges requests sees the token `id`: its state, and what it opens; what it only asked for after a `?`.
    fn seen(&self, id: i64) -> (GrantState, Vec<String>) {
        let digest = self.run(self.issuer.token(id)).unwrap().token.digest;
        let mut found = None;
        let take = |token: &crate::domain::lifecycle::StoredToken, _: usize| {
            let packed = stored::alone(token, &self.policy.vocabulary).unwrap();
            if let Some((_, file)) = packed.iter().find(|(known, _)| *known == digest) {
                let grant = file.grant(0).unwrap();
                found = Some((grant.state(), grant.parts().map(|part| self.shown(&part)).collect()));
            }
        };
        self.issuer.store.each_token(take).unwrap();
        found.unwrap()
    }

    fn shown(&self, part: &GrantPart<'_>) -> String {
        let names: Vec<_> = match part.selection {
            crate::policy::grants::Selection::All => vec!["all"],
            crate::policy::grants::Selection::Selected(names) if names.is_empty() => vec!["-"],
            crate::policy::grants::Selection::Selected(names) => names.iter().collect(),
        };
        let held: Vec<_> = part
            .permissions
            .iter()
            .map(|(id, level)| format!("{}={level}", self.policy.vocabulary.name(id)))
            .collect();
        let asked = match part.approval {
            Approval::Granted => "",
            Approval::Awaited => "? ",
        };
        format!("{asked}{} {} {}", part.owner, names.join(","), held.join(","))
    }

    /// What the token `id` opens now, and what happened since the last look.
    #[track_caller]
    fn check(&self, id: i64, state: GrantState, opens: &[&str], events: &[&str]) {
        let (found, parts) = self.seen(id);
        assert_eq!(parts, opens);
        assert_eq!(found, state);
        assert_eq!(self.events(), events);
    }
}

/// For 5 days, so that every organization may take it.
fn draft(name: &str, parts: &[&str]) -> Draft {
    Draft {
        name: name.into(),
        description: None,
        expiry: Expiry::At(UnixTime(NOW + 5 * DAY)),
        parts: parts.iter().map(|text| part(text)).collect(),
        reason: None,
    }
}

/// The fields that `outcome` objects to, with the words of `what` in the message of each.
#[track_caller]
fn check_invalid<T: std::fmt::Debug>(outcome: Result<T, IssueError>, want: &[(&str, &str)]) {
    let Err(IssueError::Invalid(errors)) = outcome else { panic!("{outcome:?}") };
    assert_eq!(errors.len(), want.len(), "{errors:?}");
    for (error, (field, words)) in errors.iter().zip(want) {
        assert!(error.field == *field && error.message.contains(words), "{error:?}, not {field}: {words}");
    }
}

#[track_caller]
fn check_not_found<T>(outcome: Result<T, IssueError>) {
    assert_eq!(outcome.err().map(|error| error.to_string()).as_deref(), Some("not found"));
}
