//! What the guard of a connection and the service behind hyper tell each other.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use crate::framing::head::HeadFault;

/// The service's side of a guarded connection. A clone speaks of the same connection.
#[derive(Debug, Clone, Default)]
pub struct FaultSlot(Arc<Shared>);

/// As long as one of these lives, a connection on which nothing moves is not idle.
#[derive(Debug)]
#[must_use = "the connection counts as idle as soon as this is dropped"]
pub struct Answering(FaultSlot);

#[derive(Debug, Default)]
struct Shared {
    fault: OnceLock<(u64, HeadFault)>,
    answering: AtomicUsize,
}

impl FaultSlot {
    /// Why the request with this number does not pass, counted from 0 on this connection. What hyper shows of such a
    /// request is made up: the service must answer with the refusal, and look at nothing else.
    pub fn fault_at(&self, ordinal: u64) -> Option<HeadFault> {
        let (at, fault) = self.0.fault.get()?;
        (*at == ordinal).then_some(*fault)
    }

    /// Says that a request is being answered. To be taken when it arrives and kept until its response body ends or is
    /// dropped: a host may take longer to answer than a client may be idle.
    pub fn answering(&self) -> Answering {
        self.0.answering.fetch_add(1, Ordering::Relaxed);
        Answering(self.clone())
    }

    /// Stores the fault of the connection. There is one at most: nothing is read behind it.
    pub(super) fn store(&self, ordinal: u64, fault: HeadFault) {
        self.0.fault.get_or_init(|| (ordinal, fault));
    }

    /// Whether a request is being answered.
    pub fn is_answering(&self) -> bool {
        self.0.answering.load(Ordering::Relaxed) > 0
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.0.answering.fetch_sub(1, Ordering::Relaxed);
    }
}
