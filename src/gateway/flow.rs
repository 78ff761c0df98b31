//! The way of one request: target, upstream, credential, principal, action, decision, inspect, forward, record.

use std::net::SocketAddr;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::request::Parts;
use http::{HeaderName, HeaderValue, Response, header};

use crate::catalog::errors::ErrorStyle;
use crate::domain::grant::UnixTime;
use crate::domain::permission::Level;
use crate::domain::reason::Reason;
use crate::domain::refusal::{FramingError, Refusal};
use crate::domain::target::{CanonicalTarget, TargetError};
use crate::framing::head::HeadFault;
use crate::gateway::Upstream;
use crate::gateway::body::{AnswerBody, Inbound, Received, Upload};
use crate::gateway::inspect::{inspect, needed};
use crate::gateway::upstream::Outgoing;
use crate::gateway::validity::{Asked, Holder, Validity};
use crate::gateway::worker::Worker;
use crate::headers::forward::{PeerText, to_client};
use crate::headers::identity::Identity;
use crate::policy::decide::Permit;
use crate::policy::grants::index::Kept;
use crate::policy::judge::{Judgment, Question, judge};
use crate::policy::snapshot::Snapshot;
use crate::record::body::{CountedBody, RecordedBody};
use crate::record::labels::{Mode, Verdict};
use crate::record::line::RequestPath;
use crate::record::{Caller, Judged, Record, RecordHead, Subject};
use crate::refuse::refuse;

/// The longest method that is recorded. Registered ones have 17 letters at most; a longer one is somebody's text, maybe
/// a secret in the wrong place.
const LONGEST_METHOD: usize = 32;

/// What is known of the connection that a request came over.
#[derive(Debug, Clone)]
pub struct Origin {
    /// The client's address.
    pub peer: SocketAddr,
    /// The same as text.
    pub peer_text: PeerText,
    /// `http` or `https`.
    pub scheme: &'static str,
    /// The name in TLS.
    pub server_name: Option<Arc<str>>,
}

/// What came of a request beside its head.
#[derive(Debug)]
pub struct Arrived {
    /// The body.
    pub body: Received,
    /// Why it does not pass, where that is known already; the head is made up then.
    pub fault: Option<HeadFault>,
}

/// A moment that never comes.
const NEVER: UnixTime = UnixTime(i64::MAX);

/// What answers a client.
pub type Answer = Response<RecordedBody<AnswerBody>>;

/// Answers one request. Every way through it ends in an answer that carries the record.
///
/// # Cancel safety
/// It is dropped when the client leaves; the record then closes itself as aborted.
pub async fn answer(worker: &Worker, origin: &Origin, parts: &Parts, arrived: Arrived) -> Answer {
    let Arrived { body, fault } = arrived;
    let mut record = Record::open(&worker.recorder, &record_head(origin, parts, fault));
    let body = CountedBody::new(body, &record);
    let answered = match fault {
        Some(fault) => Err(Refused::early(fault.into())),
        None => pass(worker, origin, parts, body, &mut record).await,
    };
    let response = match answered {
        Ok(response) => {
            record.responded(response.status());
            response
        }
        Err(Refused { refusal, style, accepted }) => {
            record.refused(refusal.reason());
            record.answered(style.status(&refusal));
            refuse(&refusal, &style, accepted.as_ref(), record.request_id().as_header()).map(AnswerBody::text)
        }
    };
    RecordedBody::attach(response, record)
}

/// From the first step to the head of the host's answer.
async fn pass(
    worker: &Worker,
    origin: &Origin,
    parts: &Parts,
    body: CountedBody<Received>,
    record: &mut Record,
) -> Result<Response<AnswerBody>, Refused> {
    let passage = judge_request(worker, origin, parts, record)?;
    let body = match needed(parts, &body, &passage.identity) {
        Ok(None) => Inbound::Streamed(body),
        Ok(Some(inspection)) => {
            let collected = Box::pin(inspect(body, inspection, &passage.validity)).await;
            record.waited();
            Inbound::Collected(collected.map_err(|refusal| passage.refused(refusal))?.into())
        }
        Err(refusal) => return Err(passage.refused(refusal)),
    };
    forward(worker, origin, passage, (parts, body), record).await
}

fn record_head<'a>(origin: &Origin, parts: &'a Parts, fault: Option<HeadFault>) -> RecordHead<'a> {
    let shown = fault.is_none().then_some(parts);
    RecordHead {
        method: shown.map(|parts| &parts.method).filter(|method| method.as_str().len() <= LONGEST_METHOD),
        path: shown.and_then(raw_target).map(RequestPath::of),
        headers: shown.map(|parts| &parts.headers),
        peer: origin.peer.ip(),
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one place that takes a target off a head; canonicalized next"
)]
fn raw_target(parts: &Parts) -> Option<&http::uri::PathAndQuery> {
    parts.uri.path_and_query()
}

/// A request that may pass, in owned words.
struct Passage {
    permit: Permit,
    upstream: usize,
    identity: Arc<Identity>,
    user: Arc<str>,
    writes: bool,
    validity: Arc<Validity>,
    /// Fields of the answer: what would have been enough, when the token expires.
    told: [Option<(HeaderName, HeaderValue)>; 2],
    style: Arc<ErrorStyle>,
}

impl Passage {
    /// After the decision.
    fn refused(&self, refusal: Refusal) -> Refused {
        Refused { refusal, style: Arc::clone(&self.style), accepted: None }
    }
}

/// A request that does not pass, with how its client is told.
struct Refused {
    refusal: Refusal,
    style: Arc<ErrorStyle>,
    accepted: Option<HeaderValue>,
}

impl Refused {
    /// Before anything is known of the upstream.
    fn early(refusal: Refusal) -> Self {
        Self { refusal, style: Arc::default(), accepted: None }
    }
}

/// Steps 1 to 11. No `.await`: the snapshot is the same for the whole decision.
fn judge_request(
    worker: &Worker,
    origin: &Origin,
    parts: &Parts,
    record: &mut Record,
) -> Result<Passage, Refused> {
    // Before the snapshot: what changes in between is judged again.
    let version = worker.gateway.live.version();
    let snapshot = worker.gateway.live.snapshot();
    let (host, target) = check_head(parts).map_err(Refused::early)?;
    let question = Question {
        method: &parts.method,
        target: &target,
        host: host.to_str().unwrap_or_default(),
        server_name: origin.server_name.as_deref(),
        headers: &parts.headers,
        peer: origin.peer.ip(),
        now: record.time(),
        kept: &Kept::default(),
    };
    let judgment = judge(&snapshot, &question);
    describe(&judgment, &snapshot, worker, record);
    record.judged(verdict(&judgment.outcome, snapshot.generation));
    let accepted = judgment.matched.map(|matched| matched.needed.header.clone());
    let style = judgment.style(&parts.method, &target);
    let writes = judgment
        .matched
        .is_some_and(|matched| matched.action.requirement.needs().any(|need| need.level > Level::Read));
    let upstreams = &worker.gateway.upstreams;
    let upstream = judgment.upstream.and_then(|(index, _)| Some((index, upstreams.get(index)?)));
    let Some((upstream, shared)) = upstream else {
        // A permit without an upstream cannot be; if it were, it would not pass.
        return Err(Refused {
            refusal: judgment.outcome.err().unwrap_or(Refusal::NoUpstream),
            style,
            accepted,
        });
    };
    let holder = holder(&judgment, parts, shared);
    match (judgment.outcome, holder) {
        (Ok(permit), Some((by, (user, expires_at), identity))) => {
            let asked =
                Asked { by, expires_at, method: parts.method.clone(), peer: origin.peer.ip(), target, host };
            let live = Arc::clone(&worker.gateway.live);
            let validity = Validity::new(live, asked, version, record.withdrawal());
            Ok(Passage {
                permit,
                upstream,
                identity,
                user,
                writes,
                validity: Arc::new(validity),
                told: [
                    style.accepted_header.clone().zip(accepted),
                    style.expiration_header.clone().and_then(|name| Some((name, expiration(expires_at)?))),
                ],
                style,
            })
        }
        // A permit for nobody cannot be; if it were, it would not pass.
        (outcome, _) => Err(Refused { refusal: outcome.err().unwrap_or(Refusal::NoRoute), style, accepted }),
    }
}

/// Who asks, the user and until when, and how the host is told of them.
type Held = (Holder, (Arc<str>, UnixTime), Arc<Identity>);

fn holder(judgment: &Judgment<'_>, parts: &Parts, shared: &Upstream) -> Option<Held> {
    match (judgment.token, judgment.grant, judgment.classic) {
        (Some(token), Some(grant), None) => {
            let who = (Arc::from(grant.user()), grant.expires_at());
            Some((Holder::Token(token.digest), who, shared.identity.load_full()))
        }
        (None, None, Some(digest)) => {
            let identity = own_credential(parts, shared)?;
            Some((Holder::Classic(digest), (Arc::from(""), NEVER), identity))
        }
        _ => None,
    }
}

/// How a host is told of whoever came with a credential that it issued: by that credential.
fn own_credential(parts: &Parts, shared: &Upstream) -> Option<Arc<Identity>> {
    let mut authorization = parts.headers.get(header::AUTHORIZATION)?.clone();
    authorization.set_sensitive(true);
    let others = shared.identity.load_full();
    Some(Arc::new(Identity::Classic { authorization, others }))
}

/// What the record keeps of a decision.
fn verdict(outcome: &Result<Permit, Refusal>, generation: u64) -> Judged {
    let (verdict, mode, shadow) = match outcome {
        // What a rule on trial says is the verdict; that it is on trial is the mode.
        Ok(permit) if !permit.shadow().is_empty() => (
            Verdict::Refuse(Reason::PolicyForbids),
            Mode::Shadow,
            permit.shadow().iter().map(|rule| rule.as_str().into()).collect(),
        ),
        Ok(_) => (Verdict::Allow, Mode::Enforce, Vec::new()),
        Err(refusal) => (Verdict::Refuse(refusal.reason()), Mode::Enforce, Vec::new()),
    };
    Judged { verdict, mode, policy_generation: generation, shadow }
}

/// Steps 1 and 2, as far as reading the head has not taken them.
fn check_head(parts: &Parts) -> Result<(HeaderValue, CanonicalTarget), Refusal> {
    let target = raw_target(parts).ok_or(TargetError::NotOriginForm)?;
    let target = CanonicalTarget::from_path_and_query(target)?;
    let host = parts.headers.get(header::HOST).ok_or(FramingError::Host)?;
    Ok((host.clone(), target))
}

/// Tells the record what was found out.
fn describe(judgment: &Judgment<'_>, snapshot: &Snapshot, worker: &Worker, record: &mut Record) {
    if let Some((index, _)) = judgment.upstream
        && let Some(id) = worker.gateway.upstreams.get(index).and_then(|upstream| upstream.id)
    {
        record.routed(id);
    }
    if let (Some(token), Some(_)) = (judgment.token, judgment.grant) {
        record.recognized(token.public_id);
    }
    if let Some(operation) = judgment.matched.and_then(|matched| matched.needed.git) {
        record.is_git(operation);
    }
    if !record.is_described() {
        return;
    }
    if let Some(token) = judgment.token {
        let (token_name, user) = judgment.grant.map(|grant| (grant.name(), grant.user())).unzip();
        record.identified(&Caller { token_id: Some(token.public_id), token_name, hashed_token: None, user });
    }
    if let Some(digest) = judgment.classic {
        let hashed_token = STANDARD.encode(digest.as_bytes());
        record.identified(&Caller { hashed_token: Some(&hashed_token), ..Caller::default() });
    }
    if let Some(matched) = judgment.matched {
        let action = matched.action;
        record.understood(&Subject {
            route: Some(action.route),
            resource: action.resource,
            permission: Some(&matched.needed.text),
        });
    }
    tracing::debug!(generation = snapshot.generation, outcome = ?judgment.outcome, "judged");
}

/// Step 12: to the host.
async fn forward(
    worker: &Worker,
    origin: &Origin,
    passage: Passage,
    (parts, body): (&Parts, Inbound),
    record: &mut Record,
) -> Result<Response<AnswerBody>, Refused> {
    let Ok(place) = Arc::clone(&worker.gateway.under_way).try_acquire_owned() else {
        return Err(passage.refused(Refusal::Overloaded));
    };
    if record.reserve().is_err() {
        return Err(passage.refused(Refusal::Overloaded));
    }
    let validity = Arc::clone(&passage.validity);
    let Some(backend) = worker.backends.get(passage.upstream) else {
        return Err(passage.refused(Refusal::NoUpstream));
    };
    let traced = record.tell_trace(&parts.headers);
    let request_id = record.request_id().as_header().clone();
    let upload = Upload::new(body, Arc::clone(&validity), Arc::clone(&passage.identity));
    let progress = upload.progress();
    let outgoing = Outgoing {
        parts,
        headers: traced.as_ref().unwrap_or(&parts.headers),
        upload,
        validity: Arc::clone(&validity),
        user: &passage.user,
        writes: passage.writes,
        peer: origin.peer,
        peer_text: &origin.peer_text,
        scheme: origin.scheme,
        client_host: validity.host(),
        request_id: &request_id,
        identity: &passage.identity,
    };
    record.forwarding();
    let sent = backend.forward(passage.permit, outgoing).await;
    match sent {
        // Of the answer nothing has gone out yet: a refusal tells more than a connection that ends.
        Ok(_) if let Some(refusal) = validity.overtaken() => {
            record.withdrawal().because(refusal.reason());
            Err(Refused { refusal: refusal.clone(), style: passage.style, accepted: None })
        }
        Ok(response) => {
            let response = response.map(|body| body.in_place(place));
            Ok(with_fields(response, passage.told, &request_id))
        }
        // An upload that was cut, because its permit no longer stands or by its client, looks like a failure of the host.
        Err(refusal) => {
            if let Some(withdrawn) = validity.refusal() {
                record.withdrawal().because(withdrawn.reason());
            }
            let refusal = validity.refusal().or_else(|| progress.fault()).cloned().unwrap_or(refusal);
            Err(Refused { refusal, style: passage.style, accepted: None })
        }
    }
}

/// What goes back: the host's answer, scrubbed, with the gateway's own fields.
fn with_fields(
    mut response: Response<AnswerBody>,
    told: [Option<(HeaderName, HeaderValue)>; 2],
    request_id: &HeaderValue,
) -> Response<AnswerBody> {
    to_client(response.headers_mut(), request_id);
    for (name, value) in told.into_iter().flatten() {
        response.headers_mut().insert(name, value);
    }
    response
}

/// When a token expires, as GitHub has it: `2027-10-12 09:00:00 UTC`; `None` where it does not.
fn expiration(moment: UnixTime) -> Option<HeaderValue> {
    let moment = jiff::Timestamp::from_second(moment.0).ok()?;
    HeaderValue::try_from(moment.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()).ok()
}
