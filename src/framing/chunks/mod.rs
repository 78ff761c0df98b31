//! A chunked body, read to the letter and not changed (RFC 9112 section 7.1).
//!
//! Pure. Chunk extensions are refused: nobody sends them, and parsers have disagreed about where they end.

use memchr::memchr;

use crate::domain::refusal::FramingError;
use crate::framing::head::{HeadLimits, check_trailer};

/// The most digits of a chunk's size: what 60 bits hold, so that no parser overflows.
const SIZE_DIGITS: u8 = 15;

/// Where in a chunked body its reader stands. Takes the bytes in any cut.
#[derive(Debug)]
pub(super) struct Chunks {
    place: Place,
    limits: HeadLimits,
    trailer_bytes: usize,
    trailer_count: usize,
    /// The beginning of a trailer line whose end has not come.
    line: Vec<u8>,
}

/// How far [`Chunks::advance`] came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Progress {
    /// How many of the bytes belong to the body.
    pub(super) used: usize,
    /// Whether the body ended behind them.
    pub(super) ended: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Size { value: u64, digits: u8 },
    SizeLineFeed { value: u64 },
    Bytes { left: u64 },
    BytesReturn,
    BytesLineFeed,
    Trailers,
}

impl Place {
    const SIZE: Self = Self::Size { value: 0, digits: 0 };
}

impl Chunks {
    pub(super) fn new(limits: HeadLimits) -> Self {
        Self { place: Place::SIZE, limits, trailer_bytes: 0, trailer_count: 0, line: Vec::new() }
    }

    /// Reads on. Data is skipped, not looked at.
    ///
    /// # Errors
    /// [`FramingError::Chunk`], whatever is wrong.
    pub(super) fn advance(&mut self, bytes: &[u8]) -> Result<Progress, FramingError> {
        let mut rest = bytes;
        while let Some((&byte, after)) = rest.split_first() {
            match self.place {
                Place::Bytes { left } => {
                    rest = self.skip(left, rest);
                    continue;
                }
                Place::Trailers => {
                    let (after, ended) = self.take_trailer(rest)?;
                    rest = after;
                    if ended {
                        let used = bytes.len() - rest.len();
                        return Ok(Progress { used, ended });
                    }
                    continue;
                }
                Place::Size { .. }
                | Place::SizeLineFeed { .. }
                | Place::BytesReturn
                | Place::BytesLineFeed => {}
            }
            self.place = step(self.place, byte).ok_or(FramingError::Chunk)?;
            rest = after;
        }
        Ok(Progress { used: bytes.len(), ended: false })
    }

    fn skip<'a>(&mut self, left: u64, bytes: &'a [u8]) -> &'a [u8] {
        if let Some(rest) = usize::try_from(left).ok().and_then(|left| bytes.get(left..)) {
            self.place = Place::BytesReturn;
            rest
        } else {
            let left = left.saturating_sub(bytes.len() as u64);
            self.place = Place::Bytes { left };
            &[]
        }
    }

    /// Takes one line of the trailer section, or what has come of it. `true` at the empty line that ends the body.
    fn take_trailer<'a>(&mut self, bytes: &'a [u8]) -> Result<(&'a [u8], bool), FramingError> {
        let end = memchr(b'\n', bytes).map_or(bytes.len(), |at| at + 1);
        let (piece, rest) = bytes.split_at(end);
        self.trailer_bytes = self.trailer_bytes.saturating_add(piece.len());
        if self.trailer_bytes > self.limits.header_bytes {
            return Err(FramingError::Chunk);
        }
        if !piece.ends_with(b"\n") {
            self.line.extend_from_slice(piece);
            return Ok((rest, false));
        }
        let ended = if self.line.is_empty() {
            self.end_trailer(piece)?
        } else {
            let mut line = std::mem::take(&mut self.line);
            line.extend_from_slice(piece);
            self.end_trailer(&line)?
        };
        Ok((rest, ended))
    }

    /// Judges a whole line of the trailer section.
    fn end_trailer(&mut self, line: &[u8]) -> Result<bool, FramingError> {
        let line = line.strip_suffix(b"\r\n").ok_or(FramingError::Chunk)?;
        if line.is_empty() {
            return Ok(true);
        }
        self.trailer_count += 1;
        if self.trailer_count > self.limits.header_count {
            return Err(FramingError::Chunk);
        }
        check_trailer(line).map_err(|_| FramingError::Chunk)?;
        Ok(false)
    }
}

/// One byte of what stands around the data.
fn step(place: Place, byte: u8) -> Option<Place> {
    match (place, byte) {
        (Place::Size { value, digits: 1.. }, b'\r') => Some(Place::SizeLineFeed { value }),
        (Place::Size { value, digits }, _) if digits < SIZE_DIGITS => {
            let digit = char::from(byte).to_digit(16)?;
            Some(Place::Size { value: value << 4 | u64::from(digit), digits: digits + 1 })
        }
        (Place::SizeLineFeed { value: 0 }, b'\n') => Some(Place::Trailers),
        (Place::SizeLineFeed { value }, b'\n') => Some(Place::Bytes { left: value }),
        (Place::BytesReturn, b'\r') => Some(Place::BytesLineFeed),
        (Place::BytesLineFeed, b'\n') => Some(Place::SIZE),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
