//! Signs people in by OpenID Connect: the authorization code flow with PKCE, `state` and `nonce`.
//!
//! A provider's own description is fetched when it is first needed and kept for an hour; its keys with it, and once more where
//! a token names one that is unknown. What someone is allowed is not known here.

mod claims;
mod client;
mod form;
mod metadata;
mod pending;
pub mod roles;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use std::{fmt, io};

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{Request, StatusCode};
use http_body_util::Full;
use rustls::ClientConfig;
use serde::Deserialize;
use serde_json::{Map, Value};
use thiserror::Error;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use zeroize::Zeroizing;

use crate::clock;
use crate::config::credential::read_credential;
use crate::config::{OidcProvider, UpstreamTls};
use crate::domain::fault::Fault;
use crate::domain::jwt::{JwtError, PublicKeys};
use crate::domain::membership::Memberships;
use crate::domain::secret::Secret;
use crate::domain::token::TokenDigest;
use crate::oidc::claims::Expected;
use crate::oidc::client::{Client, Endpoint};
use crate::oidc::form::encode;
use crate::oidc::metadata::Metadata;
use crate::oidc::pending::{Logins, Pending};
use crate::tls;

/// How long a provider's description is kept.
const KEPT: Duration = Duration::from_secs(60 * 60);

/// How long a provider may take over everything that one call asks of it: less than a connection to the control listener lasts,
/// so that its answer still gets through.
const ANSWER_TIME: Duration = Duration::from_secs(8);

/// Why someone is not signed in.
#[derive(Debug, Error)]
pub enum OidcError {
    /// The callback fits no login that has begun.
    #[error("the login is unknown, over, too old, or began in another browser")]
    Unknown,
    /// The provider says no.
    #[error("the provider did not sign the person in: `{0}`")]
    Denied(String),
    /// The provider does not do its part, so nothing is known of the person.
    #[error("the provider cannot be used: {0}")]
    Unavailable(String),
    /// What the provider said of the person is not believed.
    #[error("what the provider says is not believed: {0}")]
    Untrusted(String),
}

/// A login that has begun.
#[derive(Debug)]
pub struct Begun {
    /// Where the browser goes.
    pub location: String,
    /// What it has to bring back.
    pub browser: Secret,
}

/// What a browser brings back from the provider.
#[derive(Clone, Copy, Default)]
pub struct Callback<'c> {
    /// `state`.
    pub state: Option<&'c str>,
    /// `code`.
    pub code: Option<&'c str>,
    /// `error`.
    pub error: Option<&'c str>,
    /// `iss` (RFC 9207).
    pub issuer: Option<&'c str>,
    /// What was given to it when the login began.
    pub browser: Option<&'c str>,
}

impl fmt::Debug for Callback<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Callback")
            .field("error", &self.error)
            .field("issuer", &self.issuer)
            .finish_non_exhaustive()
    }
}

/// Who someone is by a provider's word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedIn {
    /// What the provider calls them, for ever.
    pub subject: String,
    /// The login that it claims for them.
    pub login: String,
    /// Their groups, as far as something is made of them.
    pub groups: Vec<String>,
    /// What they are at organizations by their groups.
    pub memberships: Memberships,
    /// Whether they administer the gateway by their groups; `None` leaves it as it is.
    pub administrator: Option<bool>,
}

/// A provider.
#[derive(Debug)]
pub struct Provider {
    settings: OidcProvider,
    redirect: String,
    client: Client,
    logins: Logins,
    known: Mutex<Option<Known>>,
}

/// What is known of a provider by its own word.
#[derive(Debug, Clone)]
struct Known {
    since: Instant,
    metadata: Arc<Metadata>,
    keys: Option<Arc<PublicKeys>>,
}

#[derive(Deserialize)]
struct TokenAnswer {
    id_token: Option<String>,
    error: Option<String>,
}

impl Provider {
    /// The provider of `settings`, of a gateway whose API is at `url`.
    ///
    /// # Errors
    /// The authorities or the secret cannot be read.
    pub fn new(settings: OidcProvider, url: &str) -> Result<Self, Fault> {
        read_credential(&settings.client_secret_file)?;
        let tls = client_config(&settings)?.map(TlsConnector::from);
        Ok(Self {
            redirect: format!("{url}/login/{}/callback", settings.name),
            client: Client { tls },
            logins: Logins::default(),
            known: Mutex::new(None),
            settings,
        })
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        &self.settings.name
    }

    /// Whether browsers come back by TLS.
    pub fn is_secure(&self) -> bool {
        self.redirect.starts_with("https:")
    }

    /// Begins a login.
    ///
    /// # Errors
    /// [`OidcError::Unavailable`].
    ///
    /// # Cancel safety
    /// Nothing has begun then.
    pub async fn begin(&self) -> Result<Begun, OidcError> {
        let metadata = in_time(self.metadata()).await?;
        let [state, nonce, verifier, browser] = [random()?, random()?, random()?, random()?];
        let challenge = URL_SAFE_NO_PAD.encode(digest(&SHA256, verifier.expose().as_bytes()));
        let fields = encode(&[
            ("response_type", "code"),
            ("client_id", &self.settings.client_id),
            ("redirect_uri", &self.redirect),
            ("scope", &metadata.scope),
            ("state", state.expose()),
            ("nonce", nonce.expose()),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
        ]);
        let joint = if metadata.authorization.contains('?') { '&' } else { '?' };
        let login = Pending {
            state: TokenDigest::of(state.expose()),
            browser: TokenDigest::of(browser.expose()),
            nonce,
            verifier,
        };
        self.logins.begin(login, clock::monotonic());
        Ok(Begun { location: format!("{}{joint}{}", metadata.authorization, &*fields), browser })
    }

    /// Ends a login.
    ///
    /// # Errors
    /// [`OidcError`].
    ///
    /// # Cancel safety
    /// The login is over in any case.
    pub async fn finish(&self, callback: &Callback<'_>) -> Result<SignedIn, OidcError> {
        let state = callback.state.ok_or(OidcError::Unknown)?;
        let login =
            self.logins.take(state, callback.browser, clock::monotonic()).ok_or(OidcError::Unknown)?;
        if let Some(error) = callback.error {
            return Err(OidcError::Denied(shown(error)));
        }
        let code = callback.code.ok_or(OidcError::Unknown)?;
        let claims = in_time(async {
            let metadata = self.metadata().await?;
            let is_its = match callback.issuer {
                Some(issuer) => issuer == self.settings.issuer,
                None => !metadata.names_itself,
            };
            if !is_its {
                return Err(OidcError::Untrusted("the answer is another provider's".to_owned()));
            }
            let token = self.exchange(&metadata, code, &login.verifier).await?;
            self.verify(&metadata, token.expose()).await
        });
        let claims = claims.await?;
        let expected = Expected {
            issuer: &self.settings.issuer,
            client_id: &self.settings.client_id,
            nonce: login.nonce.expose(),
            now: clock::now(),
            login_claim: &self.settings.login_claim,
            groups_claim: &self.settings.groups_claim,
        };
        let claimed = expected.read(&claims).map_err(|error| OidcError::Untrusted(error.to_string()))?;
        let (memberships, administrator) = roles::of(&self.settings, &claimed.groups);
        let groups = roles::named(&self.settings, &claimed.groups);
        Ok(SignedIn { subject: claimed.subject, login: claimed.login, groups, memberships, administrator })
    }

    /// The ID token for `code`.
    async fn exchange(
        &self,
        metadata: &Metadata,
        code: &str,
        verifier: &Secret,
    ) -> Result<Secret, OidcError> {
        let secret = read_credential(&self.settings.client_secret_file)
            .map_err(|fault| OidcError::Unavailable(fault.to_string()))?;
        let mut fields = vec![
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", &self.redirect),
            ("code_verifier", verifier.expose()),
        ];
        let mut request = Request::post("/").header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        if metadata.basic {
            let pair = encode(&[(&self.settings.client_id, secret.expose())]);
            // An encoded pair has one `=`, between its two parts (RFC 6749 section 2.3.1).
            let pair = Zeroizing::new(pair.replacen('=', ":", 1));
            request = request.header(AUTHORIZATION, format!("Basic {}", STANDARD.encode(&*pair)));
        } else {
            fields.extend([("client_id", &*self.settings.client_id), ("client_secret", secret.expose())]);
        }
        let body = Full::new(Bytes::from(encode(&fields).to_string()));
        let request = request.body(body).map_err(|error| OidcError::Unavailable(error.to_string()))?;
        let (status, text) =
            self.client.send(&metadata.token, request).await.map_err(|error| unavailable(&error))?;
        if status.is_server_error() {
            return Err(OidcError::Unavailable(format!("its token endpoint answered {status}")));
        }
        let answer: Option<TokenAnswer> = serde_json::from_slice(&text).ok();
        match answer {
            Some(TokenAnswer { id_token: Some(token), .. }) if status == StatusCode::OK => {
                Ok(Secret::new(token))
            }
            answer => {
                let error = answer.and_then(|answer| answer.error).unwrap_or_default();
                Err(OidcError::Untrusted(format!("its token endpoint answered {status} `{}`", shown(&error))))
            }
        }
    }

    /// The claims of `token`, by the provider's keys.
    async fn verify(&self, metadata: &Arc<Metadata>, token: &str) -> Result<Map<String, Value>, OidcError> {
        let untrusted = |error: JwtError| OidcError::Untrusted(format!("the ID token: {error}"));
        if let Some(keys) = self.known_keys() {
            match keys.verify(token) {
                Err(JwtError::UnknownKey) => {}
                judged => return judged.map_err(untrusted),
            }
        }
        let text = self.fetch(&metadata.keys).await?;
        let keys = PublicKeys::parse(&text).map_err(|error| OidcError::Unavailable(error.to_string()))?;
        let keys = Arc::new(keys);
        if let Some(known) = &mut *self.known.lock().unwrap_or_else(PoisonError::into_inner) {
            known.keys = Some(Arc::clone(&keys));
        }
        keys.verify(token).map_err(untrusted)
    }

    fn known_keys(&self) -> Option<Arc<PublicKeys>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).as_ref()?.keys.clone()
    }

    /// The provider's description, as it is known or as it is fetched.
    async fn metadata(&self) -> Result<Arc<Metadata>, OidcError> {
        let now = clock::monotonic();
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(known) = known.filter(|known| now.saturating_duration_since(known.since) < KEPT) {
            return Ok(known.metadata);
        }
        let plain = self.client.tls.is_none();
        let bare = self.settings.issuer.strip_suffix('/').unwrap_or(&self.settings.issuer);
        let unusable = || OidcError::Unavailable("its URL names no server".to_owned());
        let url = format!("{bare}/.well-known/openid-configuration");
        let text = self.fetch(&Endpoint::parse(&url, plain).ok_or_else(unusable)?).await?;
        let metadata = Metadata::read(&text, &self.settings.issuer, plain).map_err(OidcError::Unavailable)?;
        let metadata = Arc::new(metadata);
        let known = Known { since: now, metadata: Arc::clone(&metadata), keys: None };
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = Some(known);
        Ok(metadata)
    }

    async fn fetch(&self, endpoint: &Endpoint) -> Result<Bytes, OidcError> {
        let request = Request::get("/").body(Full::default());
        let request = request.map_err(|error| OidcError::Unavailable(error.to_string()))?;
        match self.client.send(endpoint, request).await {
            Ok((StatusCode::OK, text)) => Ok(text),
            Ok((status, _)) => Err(OidcError::Unavailable(format!("it answered {status}"))),
            Err(error) => Err(unavailable(&error)),
        }
    }
}

/// The TLS towards a provider; `None` where it is spoken to without.
///
/// # Errors
/// The authorities cannot be read.
pub fn client_config(settings: &OidcProvider) -> Result<Option<Arc<ClientConfig>>, Fault> {
    // The name is that of whatever is asked.
    let tls = UpstreamTls { server_name: String::new(), ca: settings.ca.clone() };
    settings.issuer.starts_with("https:").then(|| tls::client_config(&tls)).transpose()
}

/// What `work` gives, on the heap: handshakes of TLS are large, and rare here.
async fn in_time<T>(work: impl Future<Output = Result<T, OidcError>>) -> Result<T, OidcError> {
    let late = || OidcError::Unavailable("it did not answer in time".to_owned());
    timeout(ANSWER_TIME, Box::pin(work)).await.unwrap_or_else(|_| Err(late()))
}

fn unavailable(error: &io::Error) -> OidcError {
    OidcError::Unavailable(error.to_string())
}

/// 256 bits that nobody guesses, as text that fits everywhere.
fn random() -> Result<Secret, OidcError> {
    let mut bytes = Zeroizing::new([0; 32]);
    let failed = |_| OidcError::Unavailable("the system's random generator fails".to_owned());
    aws_lc_rs::rand::fill(&mut *bytes).map_err(failed)?;
    Ok(Secret::new(URL_SAFE_NO_PAD.encode(*bytes)))
}

/// A word of another's, fit for the log.
fn shown(word: &str) -> String {
    word.chars().filter(char::is_ascii_graphic).take(64).collect()
}
