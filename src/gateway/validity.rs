//! Whether a permit still stands while its request is under way.
//!
//! A clone of a large repository takes minutes. When the policy changes meanwhile, the same question is judged again by
//! the new snapshot, and a stream whose permit is gone ends with its next bytes.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use http::{HeaderMap, HeaderValue, Method};

use crate::clock;
use crate::domain::grant::UnixTime;
use crate::domain::refusal::Refusal;
use crate::domain::target::CanonicalTarget;
use crate::domain::token::TokenDigest;
use crate::live::LivePolicy;
use crate::policy::grants::index::Kept;
use crate::policy::judge::{Claim, Question, judge_claim};
use crate::record::Withdrawal;

/// A permitted request, in as many words as it takes to judge it again.
#[derive(Debug)]
pub struct Validity {
    live: Arc<LivePolicy>,
    asked: Asked,
    /// The version of the policy that permitted it last.
    judged_by: AtomicU64,
    /// Why it is no longer permitted.
    refusal: OnceLock<Refusal>,
    withdrawal: Withdrawal,
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
    /// Who asked.
    pub by: Holder,
    /// When their credential expires, as far as that is known.
    pub expires_at: UnixTime,
}

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holder {
    /// Whoever holds the token with this digest.
    Token(TokenDigest),
    /// Whoever holds the credential with this digest, which the host issued.
    Classic(TokenDigest),
}

impl Validity {
    /// `asked` was permitted when the policy had `version`, or later; `withdrawal` is told when it no longer is.
    pub fn new(live: Arc<LivePolicy>, asked: Asked, version: u64, withdrawal: Withdrawal) -> Self {
        Self { live, asked, judged_by: AtomicU64::new(version), refusal: OnceLock::new(), withdrawal }
    }

    /// The target that was judged, and is forwarded.
    pub fn target(&self) -> &CanonicalTarget {
        &self.asked.target
    }

    /// Who asked.
    pub fn holder(&self) -> Holder {
        self.asked.by
    }

    /// The host name that the client asked for.
    pub fn host(&self) -> &HeaderValue {
        &self.asked.host
    }

    /// Why it is no longer permitted, where that has been found out.
    pub fn refusal(&self) -> Option<&Refusal> {
        self.refusal.get()
    }

    /// Why it is no longer permitted, looked up now.
    pub fn withdrawn(&self) -> Option<&Refusal> {
        if self.stands() { None } else { self.refusal() }
    }

    /// Why it is no longer permitted, where the policy has changed. Costs nothing where it has not.
    pub fn overtaken(&self) -> Option<&Refusal> {
        let unchanged = self.judged_by.load(Ordering::Relaxed) == self.live.version();
        if unchanged { self.refusal() } else { self.withdrawn() }
    }

    /// Whether it is still permitted. Judges again only when the policy has changed.
    pub fn stands(&self) -> bool {
        if self.refusal.get().is_some() {
            return false;
        }
        let version = self.live.version();
        if self.judged_by.load(Ordering::Relaxed) == version && self.asked.expires_at > clock::now() {
            return true;
        }
        self.judge(version)
    }

    /// Judges by the policy as it is now, which has `version` or a later one.
    fn judge(&self, version: u64) -> bool {
        let snapshot = self.live.snapshot();
        let question = Question {
            method: &self.asked.method,
            target: &self.asked.target,
            host: self.asked.host.to_str().unwrap_or_default(),
            server_name: None,
            headers: &HeaderMap::new(),
            peer: self.asked.peer,
            now: clock::now(),
            kept: &Kept::default(),
        };
        let claim = match self.asked.by {
            Holder::Token(digest) => Claim::Digest(digest),
            Holder::Classic(digest) => Claim::Classic(digest),
        };
        match judge_claim(&snapshot, &question, claim).outcome {
            Ok(_permit) => {
                self.judged_by.store(version, Ordering::Relaxed);
                true
            }
            Err(refusal) => {
                self.withdrawal.because(refusal.reason());
                self.refusal.get_or_init(|| refusal);
                false
            }
        }
    }
}
