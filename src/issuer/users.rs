//! Users with a password of their own, and sessions.

use std::sync::Arc;

use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Argon2, PasswordHash};
use zeroize::Zeroizing;

use crate::domain::grant::UnixTime;
use crate::domain::secret::Secret;
use crate::domain::token::{SESSION_PREFIX, TokenDigest};
use crate::issuer::draft::FieldError;
use crate::issuer::note::Event;
use crate::issuer::{Actor, IssueError, Issuer, Means, Setting};
use crate::store::Changes;
use crate::store::rows::UserRow;

/// How long a session lasts, seconds: 12 hours, a working day.
const SESSION_TIME: i64 = 12 * 60 * 60;

/// The shortest password, characters.
const SHORTEST_PASSWORD: usize = 12;

/// The longest one, bytes: more is no password but a load.
const LONGEST_PASSWORD: usize = 1024;

/// The hash that a user without a password is compared with, so that it takes as long.
const NOBODY: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// What is to become of a user.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UserEdit {
    /// The hash of a new password.
    pub password: Option<String>,
    /// Whether they administer the gateway.
    pub administrator: Option<bool>,
    /// Whether they are suspended.
    pub suspended: Option<bool>,
}

/// A session that has begun.
#[derive(Debug)]
pub struct Session {
    /// Its text, shown this once.
    pub text: Secret,
    /// When it ends.
    pub expires_at: UnixTime,
    /// Whose it is.
    pub user: UserRow,
}

/// The hash of `password` by argon2id, with the parameters that OWASP recommends (19 MiB, 2 passes). Takes some tens of
/// milliseconds.
///
/// # Errors
/// [`IssueError::Invalid`] for a password that is too short or too long, [`IssueError::Random`].
pub fn hash_password(password: &Secret) -> Result<String, IssueError> {
    let text = password.expose();
    if text.chars().count() < SHORTEST_PASSWORD || text.len() > LONGEST_PASSWORD {
        let message =
            format!("expected {SHORTEST_PASSWORD} characters or more, and at most {LONGEST_PASSWORD} bytes");
        return Err(IssueError::Invalid(vec![FieldError::invalid("password", message)]));
    }
    let mut salt = [0; 16];
    aws_lc_rs::rand::fill(&mut salt).map_err(|_| IssueError::Random)?;
    let hashed = Argon2::default().hash_password_with_salt(text.as_bytes(), &salt);
    hashed.map(|hash| hash.to_string()).map_err(|_| IssueError::Random)
}

fn verify(password: &Secret, hash: &str) -> bool {
    let within = password.expose().len() <= LONGEST_PASSWORD;
    let hash = PasswordHash::new(hash);
    within
        && hash
            .is_ok_and(|hash| Argon2::default().verify_password(password.expose().as_bytes(), &hash).is_ok())
}

impl Issuer {
    /// Makes a user, or changes one.
    ///
    /// # Errors
    /// [`IssueError`].
    ///
    /// # Cancel safety
    /// It is done though nobody waits for it.
    pub async fn set_user(
        &self,
        setting: Setting,
        login: String,
        edit: UserEdit,
    ) -> Result<UserRow, IssueError> {
        self.act(setting, move |changes, setting| set_user(changes, setting, &login, &edit)).await
    }

    /// Begins a session for a user who knows their password. Takes some tens of milliseconds in any case, on a thread of
    /// its own.
    ///
    /// # Errors
    /// [`IssueError::Forbidden`], which does not tell whether there is such a user.
    ///
    /// # Cancel safety
    /// The session begins though nobody waits for it; then nobody knows its text.
    pub async fn sign_in(&self, setting: Setting, password: Secret) -> Result<Session, IssueError> {
        let login = setting.actor.login.clone();
        let found = self.store.read::<_, IssueError>(move |reads| Ok(reads.user(&login)?)).await?;
        let hash = found.as_ref().and_then(|user| user.password.clone());
        // The place is held by the thread, so that whoever leaves does not make room for more.
        let place = Arc::clone(&self.verifying).acquire_owned().await;
        let fits = tokio::task::spawn_blocking(move || {
            let _place = place;
            let fits = verify(&password, hash.as_deref().unwrap_or(NOBODY));
            fits && hash.is_some()
        });
        let wrong = || IssueError::Forbidden("unknown login, or wrong password".to_owned());
        let user = found.filter(|user| user.suspended_at.is_none());
        let (true, Some(user)) = (fits.await.unwrap_or(false), user) else { return Err(wrong()) };
        self.begin_session(setting, user).await
    }

    /// Begins a session for `user`, who has shown who they are.
    ///
    /// # Errors
    /// [`IssueError`].
    ///
    /// # Cancel safety
    /// As [`Self::sign_in`].
    pub async fn begin_session(&self, setting: Setting, user: UserRow) -> Result<Session, IssueError> {
        let mut random = Zeroizing::new([0; 32]);
        aws_lc_rs::rand::fill(&mut *random).map_err(|_| IssueError::Random)?;
        let hex = random.iter().fold(Zeroizing::new(String::with_capacity(64)), |mut hex, byte| {
            hex.extend([byte >> 4, byte & 15].map(|digit| char::from_digit(digit.into(), 16).unwrap_or('0')));
            hex
        });
        let text = Secret::new(format!("{SESSION_PREFIX}{}", &*hex));
        let (digest, expires_at) = (TokenDigest::of(text.expose()), UnixTime(setting.now.0 + SESSION_TIME));
        let id = user.id;
        let password = user.password.clone();
        let begin = move |changes: &Changes<'_>| {
            // They may have been suspended, or given another password, while theirs was looked at.
            let now = changes.reads().user(&setting.actor.login)?.ok_or(IssueError::NotFound)?;
            if now.suspended_at.is_some() || now.password != password {
                return Err(IssueError::Forbidden("unknown login, or wrong password".to_owned()));
            }
            changes.add_session(id, &digest, (setting.now, expires_at))?;
            Event::new("user.sign_in").to(&setting.actor.login).note(changes, &setting)
        };
        self.change(begin).await?;
        Ok(Session { text, expires_at, user })
    }

    /// Whose session `text` is, where it has not ended and its user is not suspended.
    ///
    /// # Errors
    /// [`IssueError::Store`].
    pub async fn session(&self, text: &str, now: UnixTime) -> Result<Option<UserRow>, IssueError> {
        let digest = TokenDigest::of(text);
        let found = self.store.read::<_, IssueError>(move |reads| Ok(reads.session(&digest, now)?)).await?;
        Ok(found.filter(|user| user.suspended_at.is_none()))
    }

    /// Ends the session whose text has this digest.
    ///
    /// # Errors
    /// [`IssueError::Store`].
    ///
    /// # Cancel safety
    /// It ends though nobody waits for it.
    pub async fn sign_out(&self, digest: TokenDigest) -> Result<(), IssueError> {
        self.change(move |changes| Ok(changes.end_session(&digest)?)).await
    }
}

/// Whether `text` can be a login: 1 to 100 letters, digits, `.`, `_`, `-`, `+` and `@`.
pub fn is_login(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-+@".contains(&byte);
    (1..=100).contains(&text.len()) && text.bytes().all(plain)
}

fn set_user(
    changes: &Changes<'_>,
    setting: &Setting,
    login: &str,
    edit: &UserEdit,
) -> Result<UserRow, IssueError> {
    if !is_login(login) {
        let message = "expected 1 to 100 letters, digits, `.`, `_`, `-`, `+` and `@`";
        return Err(IssueError::Invalid(vec![FieldError::invalid("login", message)]));
    }
    let known = changes.reads().user(login)?;
    let user = changes.user(login, setting.now)?;
    if known.is_none() {
        Event::new("user.create").to(&user.login).note(changes, setting)?;
    }
    if let Some(hash) = &edit.password {
        changes.set_password(user.id, Some(hash))?;
        Event::new("user.change_password").to(&user.login).note(changes, setting)?;
    }
    if let Some(administrator) =
        edit.administrator.filter(|administrator| *administrator != user.administrator)
    {
        changes.set_administrator(user.id, administrator)?;
        let action = if administrator { "user.promote" } else { "user.demote" };
        Event::new(action).to(&user.login).note(changes, setting)?;
    }
    if let Some(suspended) = edit.suspended.filter(|suspended| *suspended != user.suspended_at.is_some()) {
        changes.set_suspended(user.id, suspended.then_some(setting.now))?;
        let action = if suspended { "user.suspend" } else { "user.unsuspend" };
        Event::new(action).to(&user.login).note(changes, setting)?;
    }
    changes.reads().user(login)?.ok_or(IssueError::NotFound)
}

impl Actor {
    /// Whoever sits at the machine, under the name that the system has for them.
    pub fn machine(name: String) -> Self {
        Self { login: name, by: Means::Machine, from: None, user_agent: None, request_id: None }
    }
}
