//! Whether a permit still stands while its request is under way.
//!
//! A clone of a large repository takes minutes. When the policy changes meanwhile, the same question is judged again by
//! the new snapshot, and a stream whose permit is gone ends with its next bytes.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::{HeaderMap, HeaderValue, Method};

use crate::clock;
use crate::domain::target::CanonicalTarget;
use crate::domain::token::TokenDigest;
use crate::live::LivePolicy;
use crate::policy::judge::{Claim, Question, judge_claim};

/// Never a generation: those count from 1.
const WITHDRAWN: u64 = 0;

/// A permitted request, in as many words as it takes to judge it again.
#[derive(Debug)]
pub struct Validity {
    live: Arc<LivePolicy>,
    asked: Asked,
    /// The generation that permitted it last, or [`WITHDRAWN`].
    judged_by: AtomicU64,
}

/// What was asked.
#[derive(Debug)]
pub struct Asked {
    /// The method.
    pub method: Method,
    /// The target.
    pub target: CanonicalTarget,
    /// The host name that the client asked for.
    pub host: HeaderValue,
    /// The client's address.
    pub peer: IpAddr,
    /// The token.
    pub token: TokenDigest,
}

impl Validity {
    /// `asked` was permitted by the snapshot of `generation`.
    pub fn new(live: Arc<LivePolicy>, asked: Asked, generation: u64) -> Self {
        Self {
            live,
            asked,
            judged_by: AtomicU64::new(generation),
        }
    }

    /// The target that is permitted.
    pub fn target(&self) -> &CanonicalTarget {
        &self.asked.target
    }

    /// Whether the policy in force still permits it. Judges again only when the policy has changed.
    pub fn stands(&self) -> bool {
        let judged_by = self.judged_by.load(Ordering::Relaxed);
        let generation = self.live.peek().generation;
        judged_by == generation || judged_by != WITHDRAWN && self.judge()
    }

    fn judge(&self) -> bool {
        let snapshot = self.live.snapshot();
        let question = Question {
            method: &self.asked.method,
            target: &self.asked.target,
            host: self.asked.host.to_str().unwrap_or_default(),
            server_name: None,
            headers: &HeaderMap::new(),
            peer: self.asked.peer,
            now: clock::now(),
        };
        let stands = judge_claim(&snapshot, &question, Claim::Digest(self.asked.token))
            .outcome
            .is_ok();
        let judged_by = if stands { snapshot.generation } else { WITHDRAWN };
        self.judged_by.store(judged_by, Ordering::Relaxed);
        stands
    }
}
