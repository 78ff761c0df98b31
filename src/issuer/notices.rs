//! What is told without anyone having done something: that a token expires, that one is used from elsewhere; and what
//! administrators do about notices.

use std::net::IpAddr;
use std::time::Duration;

use crate::domain::grant::UnixTime;
use crate::domain::network::Network;
use crate::issuer::note::Event;
use crate::issuer::tell::{TokenNotice, tell_token};
use crate::issuer::{Actor, IssueError, Issuer, Means, Setting};
use crate::policy::snapshot::InForce;
use crate::store::Changes;
use crate::store::audit::{PRUNED, hexadecimal};
use crate::store::deliveries::DeliveryRow;
use crate::store::error::StoreError;
use crate::store::notices::{Expiring, Seen};
use crate::store::rows::LastUse;

/// Tokens that are told of in one transaction.
const AT_ONCE: usize = 500;

const DAY: i64 = 24 * 60 * 60;

/// The last use of a token, or of a token from one network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenUse {
    /// The token's public id.
    pub public_id: String,
    /// When.
    pub at: UnixTime,
    /// The client's address.
    pub from: IpAddr,
    /// `git` or `rest`.
    pub by: &'static str,
}

impl Actor {
    /// The gateway by itself.
    pub fn gateway() -> Self {
        Self {
            login: "portcullis".to_owned(),
            by: Means::Gateway,
            from: None,
            user_agent: None,
            request_id: None,
        }
    }
}

impl Issuer {
    /// Tells of tokens that expire within 14, 3 or 1 days, or have expired, each time once for each secret. Gives how
    /// many were told of.
    ///
    /// # Errors
    /// [`IssueError::Store`], [`IssueError::Random`]; what was told of before stays told.
    ///
    /// # Cancel safety
    /// What has begun in the store goes on to its end.
    pub async fn tell_expiries(&self, setting: Setting) -> Result<usize, IssueError> {
        let mut told = 0;
        // Nobody is told later of what nobody wanted to know.
        while !self.outbox.is_unwanted() {
            let setting = setting.clone();
            let tell = move |changes: &Changes<'_>| {
                let found = changes.reads().expiring(setting.now, AT_ONCE)?;
                found.iter().try_for_each(|expiring| tell_expiry(changes, &setting, expiring))?;
                Ok(found.len())
            };
            let count = self.change(tell).await?;
            told += count;
            if count < AT_ONCE {
                break;
            }
        }
        Ok(told)
    }

    /// Notes when tokens were used last, where nobody waits for it, and tells of those that were used from elsewhere.
    pub fn note_uses(&self, in_force: InForce, uses: Vec<TokenUse>) {
        let setting = self.setting(in_force, Actor::gateway());
        self.store.write_aside(move |changes| {
            uses.iter().try_for_each(|used| match note_use(changes, &setting, used) {
                Ok(()) => Ok(()),
                Err(IssueError::Store(error)) => Err(error),
                Err(error) => Err(StoreError::Unreadable(error.to_string())),
            })
        });
    }

    /// Removes notices that were delivered, or given up, for longer than `age`. Gives how many.
    ///
    /// # Errors
    /// [`IssueError::Store`].
    ///
    /// # Cancel safety
    /// They are removed though nobody waits for it.
    pub async fn forget_deliveries(&self, setting: Setting, age: Duration) -> Result<usize, IssueError> {
        let age = i64::try_from(age.as_secs()).unwrap_or(i64::MAX);
        let before = UnixTime(setting.now.0.saturating_sub(age));
        self.change(move |changes| Ok(changes.forget_deliveries(before)?)).await
    }

    /// Takes entries that are older than `age` off the beginning of the audit trail, but for the last one, and says so at its
    /// end. Gives how many they were.
    ///
    /// # Errors
    /// [`IssueError::Store`].
    pub async fn prune_trail(&self, setting: Setting, age: Duration) -> Result<usize, IssueError> {
        let age = i64::try_from(age.as_micros()).unwrap_or(i64::MAX);
        let moment = setting.now_micros.saturating_sub(age);
        let prune = move |changes: &Changes<'_>| {
            let Some(pruned) = changes.prune_audit(moment)? else { return Ok(0) };
            let event = Event::new(PRUNED).with("up_to", pruned.up_to).with("entries", pruned.entries);
            event.with("hash", hexadecimal(&pruned.hash)).note(changes, &setting)?;
            Ok(pruned.entries)
        };
        self.change(prune).await
    }

    /// Has a notice delivered again, whatever became of it.
    ///
    /// # Errors
    /// [`IssueError::NotFound`]; [`IssueError::Forbidden`] where its webhook is not configured any more;
    /// [`IssueError::Store`].
    ///
    /// # Cancel safety
    /// It is delivered though nobody waits for it.
    pub async fn deliver_again(&self, setting: Setting, id: i64) -> Result<DeliveryRow, IssueError> {
        let again = move |changes: &Changes<'_>, setting: &Setting| {
            let delivery = changes.reads().delivery(id)?.ok_or(IssueError::NotFound)?;
            if !setting.outbox.has(&delivery.hook) {
                let message = format!("the webhook `{}` is not configured any more", delivery.hook);
                return Err(IssueError::Forbidden(message));
            }
            changes.deliver_again(id, setting.now)?;
            Event::new("webhook.redeliver")
                .with("delivery_id", id)
                .with("delivery_guid", delivery.guid.clone())
                .with("hook", delivery.hook)
                .note(changes, setting)?;
            changes.reads().delivery(id)?.ok_or(IssueError::NotFound)
        };
        self.act(setting, again).await
    }
}

fn tell_expiry(changes: &Changes<'_>, setting: &Setting, expiring: &Expiring) -> Result<(), IssueError> {
    changes.note_expiring(expiring)?;
    let notice = if expiring.days == 0 {
        TokenNotice::whole("expired")
    } else {
        let token = changes.reads().token(expiring.token_id)?.ok_or(IssueError::NotFound)?;
        let left = token.expires_at.map_or(0, |moment| moment.0 - setting.now.0);
        TokenNotice::whole("expiring").with("days_left", (left + DAY - 1).div_euclid(DAY))
    };
    tell_token(changes, setting, expiring.token_id, notice)
}

fn note_use(changes: &Changes<'_>, setting: &Setting, used: &TokenUse) -> Result<(), IssueError> {
    let last = LastUse { at: used.at, from: used.from.to_string(), by: used.by.to_owned() };
    changes.note_use(&used.public_id, &last)?;
    let Some(id) = changes.reads().token_of_public_id(&used.public_id)? else { return Ok(()) };
    let network = Network::of(used.from);
    match changes.note_network(id, network, used.at)? {
        Seen::First | Seen::Before => Ok(()),
        Seen::Elsewhere => {
            let notice = TokenNotice::whole("last_used_from_new_network")
                .with("used_from", used.from.to_string())
                .with("used_at", crate::issuer::shape::moment(used.at))
                .with("network", network.to_string());
            tell_token(changes, setting, id, notice)
        }
    }
}
