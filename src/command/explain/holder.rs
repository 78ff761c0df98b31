//! Who asks: a token on standard input, a declared one, or a set of permissions.
//!
//! A declared token's text is known to nobody, and permissions have none. A text made up for the question stands in for
//! it, so that every step is judged as the gateway judges it.

use anyhow::Context;
use clap::Args;
use http::HeaderValue;
use zeroize::Zeroizing;

use crate::command::UsageError;
use crate::command::declaration::{Declaration, permissions, reach};
use crate::command::token::{random_token, read_token};
use crate::domain::grant::UnixTime;
use crate::domain::secret::Secret;
use crate::domain::token::TokenDigest;
use crate::explain::report::StandsIn;
use crate::policy::grants::Grant;
use crate::policy::grants::packed::{Packer, TokenFile};
use crate::policy::judge::Claim;
use crate::policy::snapshot::Snapshot;

/// Who asks.
#[derive(Debug, Args)]
pub struct Who {
    /// Read the token's text on standard input
    #[arg(long, group = "holder")]
    token_stdin: bool,
    /// The declared token of this name
    #[arg(long, value_name = "NAME", group = "holder")]
    token_name: Option<String>,
    /// The declared token of this digest
    #[arg(long, value_name = "DIGEST", group = "holder")]
    token_sha256: Option<String>,
    /// Any token with these permissions, such as `contents=read,issues=write`
    #[arg(long, group = "holder", requires = "repositories", requires = "user")]
    permissions: Option<String>,
    /// What the permissions are for: `acme/alpha,acme/beta`, `acme/*`, or `acme` for the organization alone
    #[arg(long, value_name = "NAMES", requires = "permissions")]
    repositories: Option<String>,
    /// The token's user
    #[arg(long)]
    user: Option<String>,
}

/// What the request carries.
#[derive(Debug)]
pub struct Holder {
    /// The value of `Authorization`, marked sensitive.
    pub authorization: HeaderValue,
    /// Whether a made-up text stands in for the token's.
    pub stands_in: StandsIn,
    /// What the token opens whose text is made up, alone.
    token: Option<TokenFile>,
}

impl Holder {
    /// Who a request with this credential is from.
    pub fn claim(&self) -> Claim<'_> {
        let grant = self.token.as_ref().and_then(|file| file.grant(0));
        grant.map_or(Claim::Presented, Claim::PresentedAs)
    }
}

/// Makes `who` present a token.
///
/// # Errors
/// [`UsageError`] where it is nobody, or more than one.
pub fn present(who: &Who, snapshot: &Snapshot, now: UnixTime) -> anyhow::Result<Holder> {
    if who.token_stdin {
        return Ok(Holder { authorization: bearer(&read_token()?)?, stands_in: StandsIn::No, token: None });
    }
    let text = random_token(&snapshot.format)?;
    let digest = TokenDigest::of(text.expose());
    let (token, stands_in) =
        if let (Some(permissions), Some(repositories)) = (&who.permissions, &who.repositories) {
            (who.grant(permissions, repositories, snapshot, (digest, now))?, StandsIn::ForPermissions)
        } else {
            let mut packer = Packer::default();
            packer.copy(who.declared(snapshot)?, digest)?;
            (packer.finish("standing in".into()), StandsIn::ForToken)
        };
    Ok(Holder { authorization: bearer(&text)?, stands_in, token: Some(token) })
}

fn bearer(token: &Secret) -> anyhow::Result<HeaderValue> {
    let text = Zeroizing::new(format!("Bearer {}", token.expose()));
    let mut value = HeaderValue::from_str(&text)
        .ok()
        .context(UsageError::new("standard input: expected one line with a token"))?;
    value.set_sensitive(true);
    Ok(value)
}

impl Who {
    fn grant(
        &self,
        text: &str,
        repositories: &str,
        snapshot: &Snapshot,
        (digest, now): (TokenDigest, UnixTime),
    ) -> Result<TokenFile, UsageError> {
        let declaration = Declaration {
            name: "permissions".into(),
            digest,
            user: self.user.clone().unwrap_or_default(),
            reach: reach(repositories)?,
            permissions: permissions(text)?,
            created_at: now,
            // No organization's longest lifetime is shorter.
            expires_at: UnixTime(now.0.saturating_add(1)),
        };
        declaration.compile(&snapshot.vocabulary)
    }

    /// The declared token that is meant.
    fn declared<'s>(&self, snapshot: &'s Snapshot) -> Result<Grant<'s>, UsageError> {
        if let Some(text) = &self.token_sha256 {
            let digest = TokenDigest::from_hex(text)
                .ok_or_else(|| UsageError::new("`--token-sha256`: expected 64 hexadecimal digits"))?;
            let grant = snapshot.tokens.get(&digest);
            return grant.ok_or_else(|| UsageError(format!("no declared token has the digest `{digest}`")));
        }
        let name = self.token_name.as_deref().unwrap_or_default();
        let of_user = |grant: &Grant<'_>| {
            let user = self.user.as_deref();
            user.is_none_or(|user| user.eq_ignore_ascii_case(grant.user()))
        };
        let mut found = snapshot.tokens.grants().filter(|grant| grant.name() == name && of_user(grant));
        match (found.next(), found.next()) {
            (Some(grant), None) => Ok(grant),
            (Some(one), Some(other)) => Err(UsageError(format!(
                "more than one token is called `{name}` (of {}, until {}; of {}, until {}); add `--user`, or use `--token-sha256`",
                one.user(),
                one.expires_at(),
                other.user(),
                other.expires_at()
            ))),
            (None, _) => Err(UsageError(format!(
                "no declared token is called `{name}`{}; see `name` in `policies/tokens/`",
                self.user.as_ref().map_or_else(String::new, |user| format!(" and belongs to `{user}`"))
            ))),
        }
    }
}
