//! A chunked body, read to the letter (RFC 9112 section 7.1).
//!
//! Pure. Of clients chunk extensions are refused: nobody sends them, and parsers have disagreed about where they end.
//! Of hosts they are passed over.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use memchr::memchr;

use crate::domain::refusal::FramingError;
use crate::framing::head::{HeadLimits, check_trailer, split_field};

/// The most digits of a chunk's size: what 60 bits hold, so that no parser overflows.
const SIZE_DIGITS: u8 = 15;

/// Who sends a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sender {
    Client,
    Host,
}

/// Where in a chunked body its reader stands. Takes the bytes in any cut.
#[derive(Debug)]
pub struct Chunks {
    place: Place,
    sender: Sender,
    limits: HeadLimits,
    trailers: HeaderMap,
    trailer_bytes: usize,
    trailer_count: usize,
    /// The beginning of a trailer line whose end has not come.
    line: Vec<u8>,
}

/// How far [`Chunks::advance`] came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// How many of the bytes belong to the body.
    pub used: usize,
    /// Whether the body ended behind them.
    pub ended: bool,
}

/// What [`Chunks::next`] came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// How many of the bytes were read.
    pub used: usize,
    /// The last so many of these are data.
    pub data: usize,
    /// Whether the body ended behind them.
    pub ended: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Size { value: u64, digits: u8 },
    Extension { value: u64 },
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
    /// Reads what a client sends. `limits` bound the trailers.
    pub fn of_client(limits: HeadLimits) -> Self {
        Self::of(Sender::Client, limits)
    }

    /// Reads what a host sends. `limits` bound the trailers.
    pub fn of_host(limits: HeadLimits) -> Self {
        Self::of(Sender::Host, limits)
    }

    fn of(sender: Sender, limits: HeadLimits) -> Self {
        Self {
            place: Place::SIZE,
            sender,
            limits,
            trailers: HeaderMap::new(),
            trailer_bytes: 0,
            trailer_count: 0,
            line: Vec::new(),
        }
    }

    /// Whether a host sends them.
    pub fn is_of_host(&self) -> bool {
        self.sender == Sender::Host
    }

    /// The trailer fields, once the body has ended.
    pub fn take_trailers(&mut self) -> Option<HeaderMap> {
        Some(std::mem::take(&mut self.trailers)).filter(|trailers| !trailers.is_empty())
    }

    /// Reads on. Data is skipped, not looked at.
    ///
    /// # Errors
    /// [`FramingError::Chunk`], whatever is wrong.
    pub fn advance(&mut self, bytes: &[u8]) -> Result<Progress, FramingError> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let piece = self.next(rest)?;
            rest = rest.get(piece.used..).unwrap_or_default();
            if piece.ended {
                return Ok(Progress { used: bytes.len() - rest.len(), ended: true });
            }
        }
        Ok(Progress { used: bytes.len(), ended: false })
    }

    /// Reads on to the end of the next data, of the body, or of the bytes.
    ///
    /// # Errors
    /// [`FramingError::Chunk`], whatever is wrong.
    pub fn next(&mut self, bytes: &[u8]) -> Result<Piece, FramingError> {
        let mut rest = bytes;
        while let Some((&byte, after)) = rest.split_first() {
            match self.place {
                Place::Bytes { left } => {
                    let data = self.skip(left, rest.len());
                    return Ok(Piece { used: bytes.len() - rest.len() + data, data, ended: false });
                }
                Place::Trailers => {
                    let (after, ended) = self.take_trailer(rest)?;
                    rest = after;
                    if ended {
                        return Ok(Piece { used: bytes.len() - rest.len(), data: 0, ended });
                    }
                }
                Place::Size { .. }
                | Place::Extension { .. }
                | Place::SizeLineFeed { .. }
                | Place::BytesReturn
                | Place::BytesLineFeed => {
                    self.place = step(self.sender, self.place, byte).ok_or(FramingError::Chunk)?;
                    rest = after;
                }
            }
        }
        Ok(Piece { used: bytes.len(), data: 0, ended: false })
    }

    /// Passes over the data among `length` bytes; gives how many that are.
    fn skip(&mut self, left: u64, length: usize) -> usize {
        let data = usize::try_from(left).map_or(length, |left| left.min(length));
        let left = left.saturating_sub(data as u64);
        self.place = if left == 0 { Place::BytesReturn } else { Place::Bytes { left } };
        data
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
        if self.sender == Sender::Client {
            check_trailer(line).map_err(|_| FramingError::Chunk)?;
        }
        self.keep_trailer(line).ok_or(FramingError::Chunk)?;
        Ok(false)
    }

    fn keep_trailer(&mut self, line: &[u8]) -> Option<()> {
        let (name, value) = split_field(line).ok()?;
        let name = HeaderName::from_bytes(name).ok()?;
        let value = HeaderValue::from_maybe_shared(Bytes::copy_from_slice(value.trim_ascii())).ok()?;
        self.trailers.append(name, value);
        Some(())
    }
}

/// One byte of what stands around the data.
fn step(sender: Sender, place: Place, byte: u8) -> Option<Place> {
    match (place, byte) {
        (Place::Size { value, digits: 1.. } | Place::Extension { value }, b'\r') => {
            Some(Place::SizeLineFeed { value })
        }
        (Place::Size { value, digits: 1.. }, b';' | b' ' | b'\t') if sender == Sender::Host => {
            Some(Place::Extension { value })
        }
        (Place::Extension { .. }, _) if byte != b'\n' => Some(place),
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
