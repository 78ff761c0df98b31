//! Issues tokens, changes what they open, and takes them back: each step of a token's life, with its rules and its trace in
//! the audit trail, as one transaction of the store.
//!
//! Who may call what is for the callers to settle (`api`, `command`): they know whether someone signed in, presented a token,
//! or sits at the machine. What may be had, and who has to approve it, is `policy::approval`.

pub mod draft;
pub mod edit;
pub mod end;
pub mod issue;
mod note;
pub mod notices;
pub mod outbox;
pub mod provided;
pub mod review;
pub mod rules;
pub mod shape;
mod tell;
pub mod users;

use std::net::IpAddr;
use std::sync::Arc;

use thiserror::Error;
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use crate::clock;
use crate::domain::grant::UnixTime;
use crate::domain::lifecycle::Part;
use crate::domain::secret::Secret;
use crate::domain::token::{TokenDigest, TokenFormat};
use crate::issuer::draft::FieldError;
use crate::issuer::outbox::Outbox;
use crate::policy::snapshot::{InForce, Snapshot};
use crate::store::error::StoreError;
use crate::store::rows::{GrantRow, RequestRow, TokenRow};
use crate::store::{Changes, Reads, Store};

/// Passwords that are looked at, at a time.
const VERIFYING: usize = 2;

/// Bounds of what one user may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IssuerLimits {
    /// Tokens of one user.
    pub tokens_per_user: usize,
    /// Repositories that one token may list, over all resource owners.
    pub repositories_per_token: usize,
}

impl Default for IssuerLimits {
    fn default() -> Self {
        Self { tokens_per_user: 500, repositories_per_token: 1000 }
    }
}

/// The one way to change tokens.
#[derive(Debug, Clone)]
pub struct Issuer {
    /// Where they are.
    pub store: Store,
    /// How their texts look.
    pub format: TokenFormat,
    /// What bounds them.
    pub limits: IssuerLimits,
    /// How many passwords are looked at, at a time: each takes 19 MiB and a processor.
    verifying: Arc<Semaphore>,
    /// Whom it is told.
    pub outbox: Arc<Outbox>,
}

/// Who does something, for the audit trail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// The user's login.
    pub login: String,
    /// By which means.
    pub by: Means,
    /// From where.
    pub from: Option<IpAddr>,
    /// The `User-Agent` of the client.
    pub user_agent: Option<String>,
    /// The id of the request.
    pub request_id: Option<String>,
}

/// By which means someone acts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Means {
    /// A session.
    Session,
    /// The word of a proxy that signs people in.
    TrustedHeader,
    /// A fine-grained token.
    Token(TokenDigest),
    /// The command line, at the store itself.
    Machine,
    /// Whoever holds the text of a token.
    Holder,
    /// The gateway by itself.
    Gateway,
}

/// As what someone acts: what they must be, still, when their turn has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Capacity {
    /// As anybody may who is not suspended.
    Themselves,
    /// As an owner of this organization, or as an administrator.
    OwnerOf(String),
    /// As an administrator of the gateway. Tokens never are.
    Administrator,
}

/// What a token is and opens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenView {
    /// The token.
    pub token: TokenRow,
    /// What it was granted.
    pub grants: Vec<GrantRow>,
    /// What it waits for.
    pub requests: Vec<RequestRow>,
}

/// A token whose text is shown this once.
#[derive(Debug)]
pub struct Issued {
    /// The text.
    pub text: Secret,
    /// The token.
    pub view: TokenView,
}

/// Why something was not done. Nothing has changed then.
#[derive(Debug, Error)]
pub enum IssueError {
    /// There is no such thing, or it is nothing of the actor's.
    #[error("not found")]
    NotFound,
    /// It may not be done.
    #[error("{0}")]
    Forbidden(String),
    /// What was asked for cannot be had.
    #[error("{}", draft::describe(.0))]
    Invalid(Vec<FieldError>),
    /// The generator of random numbers fails.
    #[error("the system's random generator fails; try again")]
    Random,
    /// The store did not do it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What every step of a token's life is judged and noted by.
#[derive(Debug, Clone)]
pub struct Setting {
    /// The policy, as it is in force when the step is done.
    pub policy: Arc<Snapshot>,
    /// Where that is found.
    pub in_force: InForce,
    /// Who acts.
    pub actor: Actor,
    /// As what.
    pub capacity: Capacity,
    /// What is the most that they can hand on; `None` is whatever policy lets them.
    pub bound: Option<Bound>,
    /// When.
    pub now: UnixTime,
    /// The same in microseconds since 1970, for the audit trail.
    pub now_micros: i64,
    /// What bounds tokens.
    pub limits: IssuerLimits,
    /// Whom it is told.
    pub outbox: Arc<Outbox>,
}

/// What a token that makes or changes others can hand on: no more than it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bound {
    /// What it was granted.
    pub parts: Vec<Part>,
    /// Until when it works.
    pub expires_at: UnixTime,
}

impl Issuer {
    /// Over `store`, for tokens of `format`, that tells `outbox`.
    pub fn new(store: Store, format: TokenFormat, limits: IssuerLimits, outbox: Arc<Outbox>) -> Self {
        Self { store, format, limits, verifying: Arc::new(Semaphore::new(VERIFYING)), outbox }
    }

    /// `actor` acts now.
    pub fn setting(&self, in_force: InForce, actor: Actor) -> Setting {
        let moment = clock::timestamp();
        Setting {
            policy: in_force.now(),
            in_force,
            actor,
            capacity: Capacity::Themselves,
            bound: None,
            now: UnixTime(moment.as_second()),
            now_micros: moment.as_microsecond(),
            limits: self.limits,
            outbox: Arc::clone(&self.outbox),
        }
    }

    /// As [`Self::change`], by whoever acts: they may have lost what they act with while the call waited for its turn, and
    /// the rules may be others.
    async fn act<T: Send + 'static>(
        &self,
        mut setting: Setting,
        work: impl FnOnce(&Changes<'_>, &Setting) -> Result<T, IssueError> + Send + 'static,
    ) -> Result<T, IssueError> {
        let act = move |changes: &Changes<'_>| {
            setting.policy = setting.in_force.now();
            check_actor(changes, &mut setting)?;
            work(changes, &setting)
        };
        self.change(act).await
    }

    async fn change<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Changes<'_>) -> Result<T, IssueError> + Send + 'static,
    ) -> Result<T, IssueError> {
        let done = self.store.write(work).await?;
        self.outbox.fill();
        Ok(done)
    }

    /// A new text; with the public id of a token that there is, where one is given.
    fn text(&self, public_id: Option<&str>) -> Result<(Secret, String, TokenDigest), IssueError> {
        let mut random = Zeroizing::new([0; TokenFormat::RANDOM_BYTES]);
        aws_lc_rs::rand::fill(&mut *random).map_err(|_| IssueError::Random)?;
        let text = match public_id {
            None => self.format.assemble(&*random),
            Some(id) => self.format.assemble_for(id, &*random),
        };
        let text = text.ok_or(IssueError::Random)?;
        let token = self.format.parse(text.expose()).map_err(|_| IssueError::Random)?;
        Ok((text, token.public_id.as_str().to_owned(), token.digest))
    }

    /// A token with what it opens.
    ///
    /// # Errors
    /// [`IssueError::NotFound`], [`IssueError::Store`].
    pub async fn token(&self, id: i64) -> Result<TokenView, IssueError> {
        self.store.read(move |reads| view(reads, id)).await
    }

    /// The token with this digest.
    ///
    /// # Errors
    /// [`IssueError::NotFound`], [`IssueError::Store`].
    pub async fn token_by_digest(&self, digest: TokenDigest) -> Result<TokenView, IssueError> {
        let find = move |reads: Reads<'_>| {
            let token = reads.token_by_digest(&digest)?.ok_or(IssueError::NotFound)?;
            view(reads, token.id)
        };
        self.store.read(find).await
    }

    /// The tokens of a user, the latest first, behind the first `skip` and at most `limit`; and how many there are in all.
    ///
    /// # Errors
    /// [`IssueError::Store`].
    pub async fn tokens_of(
        &self,
        login: String,
        (skip, limit): (usize, usize),
    ) -> Result<(Vec<TokenView>, usize), IssueError> {
        let find = move |reads: Reads<'_>| {
            let Some(user) = reads.user(&login)? else { return Ok((Vec::new(), 0)) };
            let with_parts = |token: TokenRow| {
                let (grants, requests) = (reads.grants_of(token.id)?, reads.requests_of(token.id)?);
                Ok(TokenView { token, grants, requests })
            };
            let tokens = reads.tokens_of(user.id)?;
            let total = tokens.len();
            let page = tokens.into_iter().skip(skip).take(limit).map(with_parts);
            Ok((page.collect::<Result<_, IssueError>>()?, total))
        };
        self.store.read(find).await
    }
}

/// Whether whoever acts still may; what a token can hand on is looked up now.
fn check_actor(changes: &Changes<'_>, setting: &mut Setting) -> Result<(), IssueError> {
    let digest = match &setting.actor.by {
        Means::Machine | Means::Holder | Means::Gateway => return Ok(()),
        Means::Session | Means::TrustedHeader => None,
        Means::Token(digest) => Some(*digest),
    };
    let login = &setting.actor.login;
    let user = changes.reads().user(login)?;
    if user.as_ref().is_some_and(|user| user.suspended_at.is_some()) {
        return Err(IssueError::Forbidden(format!("the user `{login}` is suspended")));
    }
    let stored = user.is_some_and(|user| user.administrator);
    let administers = digest.is_none() && setting.policy.is_administrator(login, stored);
    match &setting.capacity {
        Capacity::Themselves => {}
        Capacity::OwnerOf(_) | Capacity::Administrator if administers => {}
        Capacity::OwnerOf(org) => {
            let memberships = changes.reads().memberships(login)?;
            if !setting.policy.is_owned_by(org, login, &memberships) {
                return Err(IssueError::Forbidden(format!("`{login}` owns `{org}` no longer")));
            }
        }
        Capacity::Administrator => {
            return Err(IssueError::Forbidden(format!("`{login}` administers the gateway no longer")));
        }
    }
    if let Some(digest) = digest.filter(|_| setting.bound.is_none()) {
        setting.bound = Some(bound(changes.reads(), &digest, setting.now)?);
    }
    Ok(())
}

/// What the token with this digest can hand on. One that files declare is not in the store, and can hand on nothing.
fn bound(reads: Reads<'_>, digest: &TokenDigest, now: UnixTime) -> Result<Bound, IssueError> {
    let Some(token) = reads.token_by_digest(digest)? else {
        return Ok(Bound { parts: Vec::new(), expires_at: now });
    };
    let never = UnixTime(i64::MAX);
    let until = match token.previous {
        _ if token.digest == *digest => Some(token.expires_at.unwrap_or(never)),
        Some((previous, until)) if previous == *digest => Some(until),
        Some(_) | None => None,
    };
    let lives = until.filter(|until| *until > now && token.revoked.is_none());
    let expires_at = lives.ok_or_else(|| IssueError::Forbidden("this token no longer works".to_owned()))?;
    let parts = reads.grants_of(token.id)?.into_iter().map(|grant| grant.part).collect();
    Ok(Bound { parts, expires_at })
}

/// The token `id`, which was not taken back.
fn view(reads: Reads<'_>, id: i64) -> Result<TokenView, IssueError> {
    let token = reads.token(id)?.ok_or(IssueError::NotFound)?;
    Ok(TokenView { grants: reads.grants_of(id)?, requests: reads.requests_of(id)?, token })
}

/// The token `id`, where it is one of `login`'s and good.
fn own(reads: Reads<'_>, id: i64, login: &str) -> Result<TokenView, IssueError> {
    let found = view(reads, id)?;
    let own = found.token.user.eq_ignore_ascii_case(login) && found.token.revoked.is_none();
    if own { Ok(found) } else { Err(IssueError::NotFound) }
}

#[cfg(test)]
mod tests;
