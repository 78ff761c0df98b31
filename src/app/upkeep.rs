//! What has to be done now and then beside requests: looking whether the store is still followed, and taking back tokens
//! that nobody uses.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use crate::api::Api;
use crate::issuer::{Actor, Means};

/// How often the store is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How often unused tokens are looked for, in looks: each hour.
const LOOKS: u32 = 3600;

/// What is kept up.
#[derive(Debug)]
pub(super) struct Upkeep {
    /// The API, whose store it is.
    pub(super) api: Arc<Api>,
    /// How old what is in memory may be.
    pub(super) max_staleness: Duration,
    /// After which time without use a token is taken back; `None` is never.
    pub(super) unused_after: Option<Duration>,
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
        loop {
            looks.tick().await;
            self.look_at_store();
            until_search = until_search.saturating_sub(1);
            if until_search == 0 {
                until_search = LOOKS;
                self.take_back_unused().await;
            }
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
        let actor = Actor {
            login: "portcullis".to_owned(),
            by: Means::Gateway,
            from: None,
            user_agent: None,
            request_id: None,
        };
        let setting = self.api.issuer.setting(self.api.live.snapshot(), actor);
        match self.api.issuer.take_back_unused(setting, unused).await {
            Ok(0) => {}
            Ok(count) => tracing::info!(count, "tokens that nobody used were taken back"),
            Err(error) => tracing::warn!(%error, "unused tokens could not be looked for"),
        }
    }
}
