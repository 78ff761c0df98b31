//! The chain of audit lines: the last field of each is a hash of the line and of all before it.
//!
//! `"hash"` is SHA-256, in hexadecimal digits, over the 32 bytes of the hash before and the line up to the comma in front of
//! `"hash"`. A line that does not simply follow the one before it in its process (the first one of a process, of a file, and
//! after a failure to write) says what it follows in `"after"`, the field in front; so each file can be checked by itself, and
//! two processes may write to one while one succeeds the other. Whoever changes or takes away lines in the middle has to write all
//! later hashes anew; whoever has noted one can tell. Lines that are added behind a true one are a branch, which a check shows.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use aws_lc_rs::digest::{Context, SHA256};

/// The hash before the first line.
pub(crate) const BEFORE_ALL: Hash = [0; 32];

/// How far from its end a file is read for its last hash: no line is longer.
const LAST_BYTES: u64 = 256 * 1024;

/// A hash.
pub type Hash = [u8; 32];

/// The name of the last field, and all that stands before its digits.
const HASH: &[u8] = b",\"hash\":\"";

/// The same of the field that says what a line follows.
const AFTER: &[u8] = b",\"after\":\"";

/// What stands behind a hash.
const END: &[u8] = b"\"}";

/// Digits of a hash.
const DIGITS: usize = 64;

/// Chains lines as they are written.
#[derive(Debug)]
pub(super) struct Chain {
    head: Hash,
    /// The hash of the last line that is known to be written.
    written: Hash,
    /// The hashes of the lines since then.
    unsettled: Vec<Hash>,
    /// Whether the next line says what it follows.
    says: bool,
}

impl Chain {
    /// Goes on behind the line with this hash.
    pub(super) fn after(head: Hash) -> Self {
        Self { head, written: head, unsettled: Vec::new(), says: true }
    }

    /// The next line is the first of a file.
    pub(super) fn begin(&mut self) {
        self.says = true;
    }

    /// So many of the lines since the last call are written. Where those are not all, the next one follows the last that is.
    pub(super) fn settle(&mut self, written: usize) {
        if let Some(last) = written.checked_sub(1).and_then(|last| self.unsettled.get(last)) {
            self.written = *last;
        }
        if written < self.unsettled.len() {
            self.head = self.written;
            self.says = true;
        }
        self.unsettled.clear();
    }

    /// Ends the line that begins at `start` of `output`, and ends in `}` and a line feed, with its hash.
    pub(super) fn seal(&mut self, output: &mut Vec<u8>, start: usize) {
        output.truncate(output.len().saturating_sub(END.len()));
        if self.says {
            self.says = false;
            output.extend_from_slice(AFTER);
            push_digits(&self.head, output);
            output.push(b'"');
        }
        self.head = hash_of(&self.head, output.get(start..).unwrap_or_default());
        self.unsettled.push(self.head);
        output.extend_from_slice(HASH);
        push_digits(&self.head, output);
        output.extend_from_slice(END);
        output.push(b'\n');
    }
}

/// A line, taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sealed<'l> {
    covered: &'l [u8],
    /// What it says it follows.
    pub(crate) after: Option<Hash>,
    /// What it says its hash is.
    pub(crate) hash: Hash,
}

impl<'l> Sealed<'l> {
    /// Takes `line`, without its line feed, apart; `None` where it holds no hash.
    pub(crate) fn read(line: &'l [u8]) -> Option<Self> {
        let (covered, hash) = split(line.strip_suffix(END)?, HASH)?;
        let after = covered.strip_suffix(b"\"").and_then(|rest| split(rest, AFTER));
        Some(Self { covered, after: after.map(|(_, after)| after), hash })
    }

    /// Whether it is what it says it is, behind a line with the hash `before`.
    pub(crate) fn follows(&self, before: &Hash) -> bool {
        hash_of(before, self.covered) == self.hash
    }
}

/// What stands before `name`, and the digits behind it, with which `text` ends.
fn split<'t>(text: &'t [u8], name: &[u8]) -> Option<(&'t [u8], Hash)> {
    let (rest, digits) = text.split_at_checked(text.len().checked_sub(DIGITS)?)?;
    Some((rest.strip_suffix(name)?, hash(digits)?))
}

/// The hash of the last line with one at the end of `path`; `None` where there is none.
pub(super) fn last_of(path: &Path) -> io::Result<Option<Hash>> {
    let mut file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(LAST_BYTES)))?;
    let mut bytes = Vec::new();
    file.take(LAST_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes.rsplit(|byte| *byte == b'\n').find_map(|line| Some(Sealed::read(line)?.hash)))
}

fn hash_of(before: &Hash, covered: &[u8]) -> Hash {
    let mut context = Context::new(&SHA256);
    context.update(before);
    context.update(covered);
    context.finish().as_ref().try_into().unwrap_or(BEFORE_ALL)
}

fn push_digits(hash: &Hash, output: &mut Vec<u8>) {
    const HEXADECIMAL: &[u8; 16] = b"0123456789abcdef";
    let digit = |four: u8| HEXADECIMAL.get(usize::from(four)).copied().unwrap_or(b'0');
    output.extend(hash.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]));
}

/// 64 digits in lower case.
pub fn hash(digits: &[u8]) -> Option<Hash> {
    let mut hash = BEFORE_ALL;
    let (pairs, rest) = digits.as_chunks::<2>();
    if pairs.len() != hash.len() || !rest.is_empty() {
        return None;
    }
    let value = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    for (byte, [high, low]) in hash.iter_mut().zip(pairs) {
        *byte = value(*high)? << 4 | value(*low)?;
    }
    Some(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed(chain: &mut Chain, output: &mut Vec<u8>, text: &str) {
        let start = output.len();
        output.extend_from_slice(format!("{{\"text\":\"{text}\"}}\n").as_bytes());
        chain.seal(output, start);
    }

    #[test]
    fn a_line_says_what_it_follows_where_that_is_not_plain() {
        let (mut chain, mut output) = (Chain::after(BEFORE_ALL), Vec::new());
        sealed(&mut chain, &mut output, "a");
        sealed(&mut chain, &mut output, "b");
        chain.settle(2);
        sealed(&mut chain, &mut output, "lost");
        chain.settle(0);
        sealed(&mut chain, &mut output, "c");
        chain.begin();
        sealed(&mut chain, &mut output, "d");
        let lines: Vec<_> = output
            .split(|byte| *byte == b'\n')
            .filter_map(|line| Some((Sealed::read(line)?, line)))
            .collect();
        let [(a, text), (b, _), (lost, _), (c, _), (d, _)] = lines.as_slice() else { panic!("{lines:?}") };
        assert!(text.starts_with(b"{\"text\":\"a\",\"after\":\"0000"), "{text:?}");
        assert_eq!((a.after, b.after, lost.after), (Some(BEFORE_ALL), None, None));
        assert_eq!((c.after, d.after), (Some(b.hash), Some(c.hash)));
        assert!(a.follows(&BEFORE_ALL) && b.follows(&a.hash) && lost.follows(&b.hash));
        assert!(c.follows(&b.hash) && d.follows(&c.hash));
        assert!(!b.follows(&BEFORE_ALL) && !d.follows(&b.hash));
        for line in output.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            assert!(serde_json::from_slice::<serde_json::Value>(line).is_ok());
        }
    }

    #[test]
    fn the_next_line_follows_the_last_that_was_written() {
        let (mut chain, mut output) = (Chain::after(BEFORE_ALL), Vec::new());
        for text in ["one", "two", "lost"] {
            sealed(&mut chain, &mut output, text);
        }
        chain.settle(2);
        sealed(&mut chain, &mut output, "next");
        let lines: Vec<_> = output.split(|byte| *byte == b'\n').filter_map(Sealed::read).collect();
        let [_, two, lost, next] = lines.as_slice() else { panic!("{lines:?}") };
        assert!(lost.follows(&two.hash) && next.follows(&two.hash));
        assert_eq!(next.after, Some(two.hash));
    }

    #[test]
    fn a_hash_is_64_digits_at_the_end() {
        let digits = "0f".repeat(32);
        let line = format!("{{\"a\":1,\"hash\":\"{digits}\"}}");
        assert_eq!(Sealed::read(line.as_bytes()).unwrap().hash, [15; 32]);
        for line in [
            "",
            "{}",
            "{\"a\":1}",
            &line.replace("0f", "0F"),
            &line.replacen("0f", "0", 1),
            &format!("{line} "),
        ] {
            assert_eq!(Sealed::read(line.as_bytes()), None, "{line}");
        }
    }
}
