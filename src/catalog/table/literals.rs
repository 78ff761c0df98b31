//! What stands below a node under a text of its own.
//!
//! Kept in the order of a hash: a search then compares numbers that lie side by side, and one text at its end. The hash
//! is no defence: literals come from catalogs, and a request can at most choose which of them it is compared to.

/// Texts, each with what stands below it.
#[derive(Debug, Clone)]
pub(super) struct Literals<T> {
    /// In order; several texts may share one.
    hashes: Vec<u64>,
    /// In the order of their hashes.
    entries: Vec<(Box<str>, T)>,
}

impl<T> Default for Literals<T> {
    fn default() -> Self {
        Self { hashes: Vec::new(), entries: Vec::new() }
    }
}

impl<T> Literals<T> {
    /// What stands below `text`.
    pub(super) fn find(&self, text: &str) -> Option<&T> {
        if self.hashes.is_empty() {
            return None;
        }
        let hash = hash(text);
        let first = self.hashes.partition_point(|known| *known < hash);
        let same = self.hashes.iter().skip(first).take_while(|known| **known == hash);
        let mut entries = same.zip(self.entries.iter().skip(first)).map(|(_, entry)| entry);
        // Texts are a few bytes long: to call for a comparison costs more than to compare.
        let is_text = |known: &str| known.len() == text.len() && known.bytes().eq(text.bytes());
        entries.find(|(known, _)| is_text(known)).map(|(_, below)| below)
    }
}

impl<T: Default> Literals<T> {
    /// What stands below `text`, which is put there if it is new.
    pub(super) fn put(&mut self, text: &str) -> &mut T {
        let hash = hash(text);
        let first = self.hashes.partition_point(|known| *known < hash);
        let count = self.hashes.iter().skip(first).take_while(|known| **known == hash).count();
        let known = self.entries.iter().skip(first).take(count).position(|(known, _)| **known == *text);
        let at = first
            + known.unwrap_or_else(|| {
                self.hashes.insert(first, hash);
                self.entries.insert(first, (text.into(), T::default()));
                0
            });
        // INVARIANT: `at` is where the text was found or has just been put.
        #[expect(clippy::indexing_slicing, reason = "`at` was found or inserted above")]
        &mut self.entries[at].1
    }
}

/// Eight bytes at a time, each multiplied away from the others.
fn hash(text: &str) -> u64 {
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let (words, rest) = text.as_bytes().as_chunks::<8>();
    let add = |hash: u64, word: u64| (hash.rotate_left(26) ^ word).wrapping_mul(FACTOR);
    let hash = words.iter().fold(text.len() as u64, |hash, word| add(hash, u64::from_le_bytes(*word)));
    let rest = rest.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
    let hash = add(hash, rest);
    hash ^ hash >> 29
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_is_found_and_no_other() {
        let mut literals: Literals<usize> = Literals::default();
        assert_eq!(literals.find(""), None);
        let text = |at: usize| "segment-".repeat(at % 5) + &at.to_string();
        for at in 0..2_000 {
            *literals.put(&text(at)) = at;
        }
        for at in 0..2_000 {
            assert_eq!(literals.find(&text(at)), Some(&at));
            assert_eq!(*literals.put(&text(at)), at, "is not put twice");
            assert_eq!(literals.find(&text(at + 2_000)), None);
        }
        assert!(literals.hashes.is_sorted());
        assert_eq!(literals.entries.len(), 2_000);
    }

    #[test]
    fn texts_that_share_a_hash_are_told_apart() {
        let mut literals =
            Literals { hashes: vec![hash("a"); 2], entries: vec![("b".into(), 1), ("a".into(), 2)] };
        assert_eq!(literals.find("a"), Some(&2));
        assert_eq!((*literals.put("a"), literals.entries.len()), (2, 2));
        literals.entries.pop();
        literals.hashes.pop();
        assert_eq!(literals.find("a"), None);
        assert_eq!((*literals.put("a"), literals.entries.len()), (0, 2));
    }
}
