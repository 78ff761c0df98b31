//! Where one message of a connection ends and the next begins.
//!
//! Pure: looks at the bytes of a client in the order in which they come and says how many of them may be passed on.

use crate::domain::refusal::FramingError;
use crate::framing::chunks::{Chunks, Progress};
use crate::framing::head::{BodyFraming, HeadFault, HeadLimits, check_head, head_end};

/// The messages of one connection.
#[derive(Debug)]
pub(super) struct Messages {
    limits: HeadLimits,
    place: Place,
    heads: u64,
}

/// What to do with the bytes that [`Messages::scan`] saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Verdict {
    /// This many of them, from the first on, are to be passed on.
    pub(super) pass: usize,
    /// And the others?
    pub(super) rest: Rest,
}

/// The bytes behind those that are passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rest {
    /// There are none.
    Empty,
    /// They begin a head whose end has not come. They must come again, with more behind them.
    PartialHead,
    /// They begin a message that does not pass. Nothing of it was passed on, and nothing behind it may be.
    Refused(HeadFault),
    /// They belong to a body that does not pass, and the head before it was passed on earlier.
    Broken(FramingError),
}

#[derive(Debug)]
enum Place {
    Between,
    Length(u64),
    Chunked(Chunks),
}

impl Messages {
    pub(super) fn new(limits: HeadLimits) -> Self {
        Self { limits, place: Place::Between, heads: 0 }
    }

    /// How many heads were passed on.
    pub(super) fn heads(&self) -> u64 {
        self.heads
    }

    /// Whether a message ended, or none began yet, but for a partial head.
    pub(super) fn is_between(&self) -> bool {
        matches!(self.place, Place::Between)
    }

    /// Judges the next bytes. They begin where the last verdict's `pass` ended; `searched` is how many of them an
    /// earlier call has judged to be a partial head.
    pub(super) fn scan(&mut self, bytes: &[u8], searched: usize) -> Verdict {
        let mut rest = bytes;
        let mut searched = searched;
        // Where the head of the message at hand begins, if it is among these bytes.
        let mut head = None;
        while !rest.is_empty() {
            let at = bytes.len() - rest.len();
            let used = match &mut self.place {
                Place::Between => match self.take_head(rest, std::mem::take(&mut searched)) {
                    Ok(Some(length)) => {
                        head = Some(at);
                        length
                    }
                    Ok(None) => return Verdict::new(at, Rest::PartialHead),
                    Err(fault) => return Verdict::new(at, Rest::Refused(fault)),
                },
                Place::Length(left) => {
                    let length = usize::try_from(*left).unwrap_or(usize::MAX).min(rest.len());
                    *left = left.saturating_sub(length as u64);
                    if *left == 0 {
                        self.place = Place::Between;
                    }
                    length
                }
                Place::Chunked(chunks) => match (chunks.advance(rest), head) {
                    (Ok(Progress { used, ended }), _) => {
                        if ended {
                            self.place = Place::Between;
                        }
                        used
                    }
                    (Err(error), Some(head)) => {
                        self.heads = self.heads.saturating_sub(1);
                        return Verdict::new(head, Rest::Refused(error.into()));
                    }
                    (Err(error), None) => return Verdict::new(at, Rest::Broken(error)),
                },
            };
            rest = rest.get(used..).unwrap_or_default();
        }
        Verdict::new(bytes.len(), Rest::Empty)
    }

    /// Takes the head that `bytes` begin with, and gives its length, if it is whole.
    fn take_head(&mut self, bytes: &[u8], searched: usize) -> Result<Option<usize>, HeadFault> {
        let Some(length) = head_end(bytes, searched, &self.limits)? else {
            return Ok(None);
        };
        let head = bytes.get(..length).unwrap_or(bytes);
        self.place = match check_head(head, &self.limits)? {
            BodyFraming::Empty => Place::Between,
            BodyFraming::Length(length) => Place::Length(length),
            BodyFraming::Chunked => Place::Chunked(Chunks::new(self.limits)),
        };
        self.heads += 1;
        Ok(Some(length))
    }
}

impl Verdict {
    fn new(pass: usize, rest: Rest) -> Self {
        Self { pass, rest }
    }
}
