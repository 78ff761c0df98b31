//! What has to be done now and then beside requests: looking whether the store is still followed, and taking back tokens
//! that nobody uses, telling of those that expire.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use crate::api::Api;
use crate::app::sign_in::tell_applied;
use crate::issuer::provided::GroupMapping;
use crate::issuer::{Actor, Setting};

/// How often the store is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How often unused tokens are looked for, in looks: each hour.
const LOOKS: u32 = 3600;

/// How often groups are applied again where that fails, in looks.
const TRY_EVERY: u32 = 10;

/// In how many of these rounds groups are applied again: an older process that ends may have signed people in by its own
/// configuration.
const ROUNDS_OF_GROUPS: u32 = 2;

/// How long notices are kept that were delivered, or given up.
const KEPT: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// What is kept up.
pub(super) struct Upkeep {
    /// The API, whose store it is.
    pub(super) api: Arc<Api>,
    /// How old what is in memory may be.
    pub(super) max_staleness: Duration,
    /// How long after the start tokens that expire are looked for first.
    pub(super) notices_after: Duration,
    /// After which time without use a token is taken back; `None` is never.
    pub(super) unused_after: Option<Duration>,
    /// What groups make of people.
    pub(super) mapping: GroupMapping,
    /// For how long the audit trail is kept; `None` is for ever.
    pub(super) trail_kept: Option<Duration>,
}

impl Upkeep {
    /// Keeps it up for ever.
    ///
    /// # Cancel safety
    /// What has begun in the store goes on to its end.
    pub(super) async fn run(self) {
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut until_search = LOOKS / 60;
        let mut until_notices = u32::try_from(self.notices_after.as_secs()).unwrap_or(LOOKS);
        let (mut to_apply, mut rounds, mut until_try) = (true, 0_u32, 0_u32);
        loop {
            looks.tick().await;
            self.look_at_store();
            until_try = until_try.checked_sub(1).unwrap_or(TRY_EVERY);
            if to_apply && until_try == TRY_EVERY {
                let mapping = Arc::clone(&self.mapping);
                to_apply = !tell_applied(&self.api.issuer.apply_groups(self.setting(), mapping).await);
            }
            until_search = until_search.saturating_sub(1);
            if until_search == 0 {
                until_search = LOOKS;
                self.take_back_unused().await;
                self.forget_deliveries().await;
                self.prune_trail().await;
                // Not for ever: a process that another one succeeds must not undo what that one makes of groups.
                to_apply |= rounds < ROUNDS_OF_GROUPS;
                rounds = rounds.saturating_add(1);
            }
            if until_notices == 0 {
                until_notices = LOOKS;
                self.tell_expiries().await;
            }
            until_notices = until_notices.saturating_sub(1);
        }
    }

    fn look_at_store(&self) {
        if let Some(stale) = self.api.live.look_at_store(self.max_staleness) {
            if stale {
                tracing::error!(
                    "the store cannot be followed for too long; its tokens are refused until it can"
                );
            } else {
                tracing::info!("the store is followed again; its tokens work again");
            }
        }
    }

    async fn take_back_unused(&self) {
        let Some(unused) = self.unused_after else { return };
        let setting = self.setting();
        match self.api.issuer.take_back_unused(setting, unused).await {
            Ok(0) => {}
            Ok(count) => tracing::info!(count, "tokens that nobody used were taken back"),
            Err(error) => tracing::warn!(%error, "unused tokens could not be looked for"),
        }
    }

    async fn tell_expiries(&self) {
        match self.api.issuer.tell_expiries(self.setting()).await {
            Ok(0) => {}
            Ok(count) => tracing::info!(count, "webhooks are told of tokens that expire"),
            Err(error) => tracing::warn!(%error, "tokens that expire could not be looked for"),
        }
    }

    async fn forget_deliveries(&self) {
        if let Err(error) = self.api.issuer.forget_deliveries(self.setting(), KEPT).await {
            tracing::warn!(%error, "old notices could not be removed");
        }
    }

    async fn prune_trail(&self) {
        let Some(kept) = self.trail_kept else { return };
        match self.api.issuer.prune_trail(self.setting(), kept).await {
            Ok(0) => {}
            Ok(entries) => tracing::info!(entries, "old entries of the audit trail were removed"),
            Err(error) => tracing::warn!(%error, "old entries of the audit trail could not be removed"),
        }
    }

    fn setting(&self) -> Setting {
        self.api.issuer.setting(self.api.live.in_force(), Actor::gateway())
    }
}
