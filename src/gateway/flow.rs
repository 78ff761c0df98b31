//! The way of one request: target, upstream, credential, principal, action, decision, forward, record.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::request::Parts;
use http::{HeaderName, HeaderValue, Request, Response, Version, header};
use hyper::body::Incoming;

use crate::catalog::errors::ErrorStyle;
use crate::clock;
use crate::domain::permission::Level;
use crate::domain::reason::Reason;
use crate::domain::refusal::{FramingError, Limit, Refusal};
use crate::domain::target::{CanonicalTarget, TargetError};
use crate::framing::head::HeadFault;
use crate::framing::slot::Answering;
use crate::gateway::body::{AnswerBody, Upload};
use crate::gateway::patience::PatientBody;
use crate::gateway::refuse::refuse;
use crate::gateway::upstream::{Outgoing, client_host};
use crate::gateway::validity::{Asked, Validity};
use crate::gateway::worker::Worker;
use crate::headers::forward::to_client;
use crate::policy::decide::Permit;
use crate::policy::judge::{Judgment, Question, judge};
use crate::policy::snapshot::Snapshot;
use crate::record::body::{CountedBody, RecordedBody};
use crate::record::labels::{Mode, Verdict};
use crate::record::line::RequestPath;
use crate::record::{Caller, Judged, Record, RecordHead, Subject};

/// The longest method that is recorded. Registered ones have 17 letters at most; a longer one is somebody's text, maybe
/// a secret in the wrong place.
const LONGEST_METHOD: usize = 32;

/// What is known of the connection that a request came over.
#[derive(Debug, Clone)]
pub struct Origin {
    /// The client's address.
    pub peer: SocketAddr,
    /// `http` or `https`.
    pub scheme: &'static str,
    /// The name in TLS.
    pub server_name: Option<Arc<str>>,
}

/// A request as it came off its connection.
#[derive(Debug)]
pub struct Arrived {
    /// The request.
    pub request: Request<Incoming>,
    /// Why it does not pass, where that is known already; what `request` shows is made up then.
    pub fault: Option<HeadFault>,
    /// Keeps the connection from counting as idle.
    pub answering: Option<Answering>,
}

/// What answers a client.
pub type Answer = Response<RecordedBody<AnswerBody>>;

/// Answers one request. Every way through it ends in an answer that carries the record.
///
/// # Cancel safety
/// hyper drops the future when the client leaves; the record then closes itself as aborted.
pub async fn answer(worker: &Worker, origin: &Origin, arrived: Arrived) -> Answer {
    let Arrived {
        request,
        fault,
        answering,
    } = arrived;
    let (parts, body) = request.into_parts();
    let mut record = Record::open(
        &worker.gateway.recorder,
        record_head(worker, origin, &parts, fault),
    );
    let request_id = HeaderValue::from(record.request_id());
    let judged = match fault {
        Some(fault) => Err(Refused::early(fault.into())),
        None => judge_request(worker, origin, &parts, &mut record),
    };
    let answered = match judged {
        Ok(passage) => {
            let accepted = passage.accepted.clone();
            let sent = forward(
                worker,
                origin,
                passage,
                Request::from_parts(parts, body),
                &mut record,
            )
            .await;
            sent.map(|response| with_accepted(response, accepted, &request_id))
        }
        Err(refused) => Err(refused),
    };
    let response = match answered {
        Ok(response) => {
            record.responded(response.status());
            response
        }
        Err(Refused {
            refusal,
            style,
            accepted,
        }) => {
            record.refused(refusal.reason());
            record.answered(refusal.status());
            refuse(&refusal, &style, accepted.as_ref(), &request_id)
        }
    };
    RecordedBody::attach(response.map(|body| body.while_answering(answering)), record)
}

fn record_head(worker: &Worker, origin: &Origin, parts: &Parts, fault: Option<HeadFault>) -> RecordHead {
    // What hyper shows of a faulty head is made up.
    let shown = fault.is_none().then_some(parts);
    RecordHead {
        request_id: worker.gateway.request_ids.next(),
        method: shown
            .map(|parts| parts.method.clone())
            .filter(|method| method.as_str().len() <= LONGEST_METHOD),
        path: shown.and_then(|parts| raw_target(parts)).map(RequestPath::of),
        peer: origin.peer.ip(),
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one place that takes a target off hyper; canonicalized next"
)]
fn raw_target(parts: &Parts) -> Option<&http::uri::PathAndQuery> {
    parts.uri.path_and_query()
}

/// A request that may pass, in owned words.
struct Passage {
    permit: Permit,
    upstream: usize,
    user: Arc<str>,
    writes: bool,
    asked: Asked,
    generation: u64,
    accepted: Option<(HeaderName, HeaderValue)>,
    style: Arc<ErrorStyle>,
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
        Self {
            refusal,
            style: Arc::default(),
            accepted: None,
        }
    }
}

/// Steps 1 to 11. No `.await`: the snapshot is the same for the whole decision.
fn judge_request(
    worker: &Worker,
    origin: &Origin,
    parts: &Parts,
    record: &mut Record,
) -> Result<Passage, Refused> {
    let started = clock::monotonic();
    let snapshot = worker.gateway.live.snapshot();
    let (host, target) = check_head(worker, parts).map_err(Refused::early)?;
    let question = Question {
        method: &parts.method,
        target: &target,
        host: host.to_str().unwrap_or_default(),
        server_name: origin.server_name.as_deref(),
        headers: &parts.headers,
        peer: origin.peer.ip(),
        now: record.time(),
    };
    let judgment = judge(&snapshot, &question);
    describe(&judgment, &snapshot, worker, record);
    let took = clock::monotonic().saturating_duration_since(started);
    record.judged(verdict(&judgment.outcome, snapshot.generation, took));
    let accepted = judgment.matched.map(|matched| matched.needed.header.clone());
    let style = judgment.style(&question);
    let writes = judgment.matched.is_some_and(|matched| {
        matched
            .action
            .requirement
            .needs()
            .any(|need| need.level > Level::Read)
    });
    let found = (
        judgment.upstream.map(|(index, _)| index),
        judgment.grant,
        judgment.token,
    );
    match (judgment.outcome, found) {
        (Ok(permit), (Some(upstream), Some(grant), Some(token))) => Ok(Passage {
            permit,
            upstream,
            user: Arc::clone(&grant.user),
            writes,
            asked: Asked {
                expires_at: grant.expires_at,
                token: token.digest,
                method: parts.method.clone(),
                peer: origin.peer.ip(),
                target,
                host,
            },
            generation: snapshot.generation,
            accepted: style.accepted_header.clone().zip(accepted),
            style,
        }),
        // A permit without an upstream, a grant and a token cannot be; if it were, it would not pass.
        (Ok(_), _) => Err(Refused {
            refusal: Refusal::NoRoute,
            style,
            accepted,
        }),
        (Err(refusal), _) => Err(Refused {
            refusal,
            style,
            accepted,
        }),
    }
}

/// What the record keeps of a decision.
fn verdict(outcome: &Result<Permit, Refusal>, generation: u64, took: Duration) -> Judged {
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
    Judged {
        verdict,
        mode,
        policy_generation: generation,
        took,
        shadow,
    }
}

/// Steps 1 and 2, as far as the guard of HTTP/1 has not taken them; HTTP/2 has no guard.
fn check_head(worker: &Worker, parts: &Parts) -> Result<(HeaderValue, CanonicalTarget), Refusal> {
    let limits = &worker.gateway.limits;
    let target = raw_target(parts).ok_or(TargetError::NotOriginForm)?;
    if target.as_str().len() > limits.target_bytes {
        return Err(Limit::TargetLength.into());
    }
    if parts.headers.len() > limits.header_count {
        return Err(Limit::HeaderCount.into());
    }
    let lengths = parts.headers.get_all(header::CONTENT_LENGTH);
    if lengths.iter().count() > 1 {
        return Err(FramingError::ContentLength.into());
    }
    if parts.version == Version::HTTP_2 && header_bytes(parts, target.as_str()) > limits.header_bytes {
        return Err(Limit::HeaderBytes.into());
    }
    let target = CanonicalTarget::from_path_and_query(target)?;
    let host = client_host(&parts.uri, &parts.headers).ok_or(FramingError::Host)?;
    Ok((host, target))
}

/// How many bytes a head of HTTP/2 would be in HTTP/1.1, beside the version and the host.
fn header_bytes(parts: &Parts, target: &str) -> usize {
    let field = |(name, value): (&HeaderName, &HeaderValue)| name.as_str().len() + value.len() + 4;
    let fields: usize = parts.headers.iter().map(field).sum();
    parts.method.as_str().len() + target.len() + fields
}

/// Tells the record what was found out.
fn describe(judgment: &Judgment<'_>, snapshot: &Snapshot, worker: &Worker, record: &mut Record) {
    if let Some((index, _)) = judgment.upstream
        && let Some(id) = worker
            .gateway
            .upstreams
            .get(index)
            .and_then(|upstream| upstream.id)
    {
        record.routed(id);
    }
    if !record.is_audited() {
        return;
    }
    let token_id = judgment.token.map(|token| token.public_id);
    if token_id.is_some() {
        record.identified(Caller {
            token_id,
            token_name: judgment.grant.map(|grant| Arc::from(&*grant.name)),
            user: judgment.grant.map(|grant| Arc::clone(&grant.user)),
        });
    }
    if let Some(matched) = judgment.matched {
        let action = matched.action;
        let resource = action
            .resource
            .owner()
            .map(|_| action.resource.to_string().into());
        record.understood(Subject {
            route: Some(action.route.into()),
            resource,
            permission: Some(Arc::clone(&matched.needed.text)),
        });
    }
    tracing::debug!(generation = snapshot.generation, outcome = ?judgment.outcome, "judged");
}

/// Step 12: to the host.
async fn forward(
    worker: &Worker,
    origin: &Origin,
    passage: Passage,
    request: Request<Incoming>,
    record: &mut Record,
) -> Result<Response<AnswerBody>, Refused> {
    let Passage {
        permit,
        upstream,
        user,
        writes,
        asked,
        generation,
        style,
        ..
    } = passage;
    let gateway = &worker.gateway;
    let refused = |refusal| Refused {
        refusal,
        style: Arc::clone(&style),
        accepted: None,
    };
    let shared = gateway.upstreams.get(upstream).zip(worker.backends.get(upstream));
    let (shared, backend) = shared.ok_or_else(|| refused(Refusal::NoUpstream))?;
    let client_host = asked.host.clone();
    let validity = Validity::new(Arc::clone(&gateway.live), asked, generation, record.withdrawal());
    let validity = Arc::new(validity);
    let request_id = HeaderValue::from(record.request_id());
    let identity = shared.identity.load_full();
    // Bodies of HTTP/1 are watched by the guard.
    let patience = (request.version() == Version::HTTP_2).then_some(gateway.limits.body_idle_time);
    let upload = |body| {
        let body = CountedBody::new(PatientBody::new(body, patience), record);
        Upload::new(body, Arc::clone(&validity), Arc::clone(&identity))
    };
    let outgoing = Outgoing {
        request: request.map(upload),
        validity: Arc::clone(&validity),
        user: &user,
        writes,
        peer: origin.peer,
        scheme: origin.scheme,
        client_host: &client_host,
        request_id: &request_id,
        identity: &identity,
    };
    let place = Arc::clone(&gateway.under_way)
        .try_acquire_owned()
        .map_err(|_| refused(Refusal::Overloaded))?;
    record.forwarding();
    let sent = backend.forward(permit, outgoing).await;
    let sent = sent.map(|response| response.map(|body| body.in_place(place)));
    // An upload that was cut because its permit no longer stands looks like a failure of the host.
    sent.map_err(|refusal| refused(validity.refusal().cloned().unwrap_or(refusal)))
}

/// What goes back: the host's answer, scrubbed, with what would have been enough.
fn with_accepted(
    mut response: Response<AnswerBody>,
    accepted: Option<(HeaderName, HeaderValue)>,
    request_id: &HeaderValue,
) -> Response<AnswerBody> {
    to_client(response.headers_mut(), request_id);
    if let Some((name, value)) = accepted {
        response.headers_mut().insert(name, value);
    }
    response
}
