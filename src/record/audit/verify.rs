//! Checks the chain of audit files, oldest first.

use std::collections::{HashSet, VecDeque};
use std::io::{self, BufRead};

use crate::record::audit::chain::{BEFORE_ALL, Hash, Sealed};

/// Chains that may be open at a time: one for each process that writes, and what failures to write left behind.
const OPEN: usize = 64;

/// The last so many lines may be followed by a process that begins.
const KNOWN: usize = 1 << 20;

/// What is wrong with a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LineFault {
    /// It has no hash, though lines before it have.
    #[error("it holds no hash, and lines before it do")]
    NoHash,
    /// What it follows is not there.
    #[error("the line that it says it follows is not there")]
    Missing,
    /// It says that it follows another line, though those before it hold no hash.
    #[error("it begins no chain, and the lines before it hold no hash")]
    NoBeginning,
    /// Its hash is not that of it and a line before it.
    #[error("it, or the line before it, was changed or taken away")]
    Changed,
}

/// The last line of a chain.
#[derive(Debug)]
struct Head {
    hash: Hash,
    /// Where it stands.
    at: LinePlace,
    /// Whether a line says that it follows this one.
    followed: bool,
}

/// A file, from 0, and a line in it, from 1.
pub type LinePlace = (usize, u64);

/// What checking found.
#[derive(Debug, Default)]
pub struct Verifier {
    /// The lines that the next line may follow without saying so.
    open: VecDeque<Head>,
    known: HashSet<Hash>,
    order: VecDeque<Hash>,
    noted: Option<Hash>,
    /// A line that cannot be read, which a crash may have cut: whoever writes next must say what it follows.
    torn: bool,
    files: usize,
    at: LinePlace,
    /// Where a line follows one that another line follows already.
    pub branches: Vec<LinePlace>,
    /// What the first line of the chain follows: 32 zero bytes where nothing is missing before it.
    pub begins_after: Option<Hash>,
    /// Lines that the chain covers.
    pub lines: u64,
    /// Lines before the first of these.
    pub unchained: u64,
    /// Lines that a crash or a full disk cut.
    pub cut: u64,
    met: bool,
}

impl Verifier {
    /// Looks for the hash that was noted, too.
    pub fn new(noted: Option<Hash>) -> Self {
        Self { noted, ..Self::default() }
    }

    /// Whether the hash that was noted was met, where there is one.
    pub fn head_met(&self) -> Option<bool> {
        self.noted.map(|_| self.met)
    }

    /// The hash of the last line.
    pub fn head(&self) -> Option<Hash> {
        self.order.back().copied()
    }

    /// Whether the last line cannot be read: a crash has cut it, or somebody has.
    pub fn is_cut_short(&self) -> bool {
        self.torn
    }

    /// Where chains end that are not the one that goes on to the last line.
    pub fn ends(&self) -> Vec<LinePlace> {
        let last = self.head();
        let ends = self.open.iter().filter(|head| !head.followed && Some(head.hash) != last);
        ends.map(|head| head.at).collect()
    }

    /// Checks the lines of one more file. Gives the number of the first line that is wrong, from 1, and what is.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn file(&mut self, mut file: impl BufRead) -> io::Result<Result<(), (u64, LineFault)>> {
        let (mut line, mut number, file_number) = (Vec::new(), 0, self.files);
        self.files += 1;
        loop {
            line.clear();
            if file.read_until(b'\n', &mut line)? == 0 {
                return Ok(Ok(()));
            }
            number += 1;
            self.at = (file_number, number);
            let text = line.strip_suffix(b"\n").unwrap_or(&line);
            match self.line(text) {
                Ok(false) => {}
                Ok(true) => self.branches.push(self.at),
                Err(fault) => return Ok(Err((number, fault))),
            }
        }
    }

    /// Checks a line. Gives whether it is a branch.
    fn line(&mut self, text: &[u8]) -> Result<bool, LineFault> {
        let Some(sealed) = Sealed::read(text) else {
            // Two that cannot be read do not come of one crash.
            let is_cut = !self.torn
                && text.starts_with(b"{")
                && serde_json::from_slice::<serde_json::Value>(text).is_err();
            if is_cut {
                self.torn = true;
            } else if self.order.is_empty() {
                self.unchained += 1;
            } else {
                return Err(LineFault::NoHash);
            }
            return Ok(false);
        };
        let branches = self.follow(&sealed)?;
        if self.torn {
            self.torn = false;
            self.cut += 1;
        }
        self.lines += 1;
        self.met |= self.noted == Some(sealed.hash);
        self.know(sealed.hash);
        Ok(branches)
    }

    /// Finds what `sealed` follows, and puts it in its place. Gives whether another line follows the same one already.
    fn follow(&mut self, sealed: &Sealed<'_>) -> Result<bool, LineFault> {
        let branches = if let Some(after) = sealed.after {
            self.check_start(after)?;
            self.begins_after.get_or_insert(after);
            if !sealed.follows(&after) {
                return Err(LineFault::Changed);
            }
            match self.open.iter_mut().find(|head| head.hash == after) {
                // The process that wrote it may go on for a while.
                Some(head) => std::mem::replace(&mut head.followed, true),
                None => !self.order.is_empty(),
            }
        } else {
            // What comes behind a line that was cut says what it follows.
            let found = self.open.iter().position(|head| sealed.follows(&head.hash));
            let found = found.filter(|_| !self.torn).and_then(|found| self.open.remove(found));
            found.ok_or(LineFault::Changed)?.followed
        };
        self.open.push_front(Head { hash: sealed.hash, at: self.at, followed: false });
        self.open.truncate(OPEN);
        Ok(branches)
    }

    /// Whether a line may say that it follows `after`.
    fn check_start(&self, after: Hash) -> Result<(), LineFault> {
        match (self.order.is_empty(), self.unchained) {
            // What came before it is kept no longer.
            (true, 0) => Ok(()),
            (true, _) if after == BEFORE_ALL => Ok(()),
            (true, _) => Err(LineFault::NoBeginning),
            (false, _) if self.known.contains(&after) => Ok(()),
            (false, _) => Err(LineFault::Missing),
        }
    }

    fn know(&mut self, hash: Hash) {
        self.known.insert(hash);
        self.order.push_back(hash);
        if self.order.len() > KNOWN
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::audit::chain::Chain;

    /// Lines of one process behind the hash `head`, `name1` and so on; and the hash of the last.
    fn process(head: Hash, name: &str, lines: usize) -> Vec<String> {
        let (mut chain, mut output) = (Chain::after(head), Vec::new());
        for number in 1..=lines {
            let start = output.len();
            output.extend_from_slice(format!("{{\"text\":\"{name}{number}\"}}\n").as_bytes());
            chain.seal(&mut output, start);
        }
        String::from_utf8(output).unwrap().lines().map(str::to_owned).collect()
    }

    fn hash(line: &str) -> Hash {
        Sealed::read(line.as_bytes()).unwrap().hash
    }

    fn verify(lines: &[String]) -> (Verifier, Result<(), (u64, LineFault)>) {
        let mut verifier = Verifier::default();
        let outcome = verifier.file(io::Cursor::new(lines.join("\n"))).unwrap();
        (verifier, outcome)
    }

    #[track_caller]
    fn check(lines: &[String], want: Result<(), (u64, LineFault)>) {
        assert_eq!(verify(lines).1, want, "{lines:#?}");
    }

    #[test]
    fn lines_that_were_changed_added_or_taken_away_are_found() {
        let lines = process(BEFORE_ALL, "a", 5);
        let (verifier, outcome) = verify(&lines);
        assert_eq!((outcome, verifier.lines, verifier.head()), (Ok(()), 5, Some(hash(&lines[4]))));
        let changed = |at: usize, with: &dyn Fn(&mut Vec<String>)| {
            let mut lines = lines.clone();
            with(&mut lines);
            check(&lines, Err((at.try_into().unwrap(), LineFault::Changed)));
        };
        changed(3, &|lines| lines[2] = lines[2].replace("a3", "a9"));
        changed(1, &|lines| lines[0] = lines[0].replace("a1", "a9"));
        changed(5, &|lines| lines[4] = lines[4].replace("a5", "a9"));
        changed(3, &|lines| drop(lines.remove(2)));
        changed(1, &|lines| drop(lines.remove(0)));
        changed(3, &|lines| lines.swap(2, 3));
        changed(4, &|lines| lines.insert(3, lines[2].clone()));
        let mut added = lines.clone();
        added.insert(2, "{\"text\":\"b\"}".to_owned());
        check(&added, Err((3, LineFault::NoHash)));
    }

    #[test]
    fn processes_follow_one_another_and_write_side_by_side() {
        let one = process(BEFORE_ALL, "a", 4);
        let two = process(hash(&one[1]), "b", 3);
        let mixed: Vec<_> =
            [&one[0], &one[1], &two[0], &one[2], &two[1], &one[3], &two[2]].into_iter().cloned().collect();
        let (verifier, outcome) = verify(&mixed);
        let ends = verifier.ends();
        assert_eq!((outcome, verifier.branches), (Ok(()), vec![(0, 4)]), "one writes on beside the other");
        assert_eq!(ends, [(0, 6)], "until it ends, before the other");
        // Behind its last line others can be added, and they are its end then.
        let mut longer = mixed.clone();
        longer.extend(process(hash(&one[3]), "forged", 1));
        longer.push(mixed[6].clone());
        longer.remove(6);
        assert_eq!(verify(&longer).0.ends(), [(0, 7)]);
        let three = process(hash(&two[2]), "c", 2);
        let all = [mixed, three].concat();
        check(&all, Ok(()));
        // Of each of them a line is missed.
        for (taken, at, fault) in
            [(3, 5, LineFault::Changed), (4, 6, LineFault::Changed), (6, 7, LineFault::Missing)]
        {
            let mut lines = all.clone();
            lines.remove(taken);
            check(&lines, Err((at, fault)));
        }
        // Of a file whose beginning is kept no longer, what it follows is not known.
        check(&all[2..3], Ok(()));
    }

    /// Whoever can write the file can add lines behind any other. They cannot do it unseen.
    #[test]
    fn lines_that_were_added_behind_others_are_branches() {
        let lines = process(BEFORE_ALL, "a", 4);
        for (behind, at) in [(1, 2), (1, 4), (2, 3)] {
            let mut added = lines.clone();
            added.splice(at..at, process(hash(&lines[behind - 1]), "forged", 2));
            let (verifier, outcome) = verify(&added);
            assert_eq!(outcome, Ok(()));
            // Where the forged line comes first, it is the true one that branches off.
            let branch = if at == behind { at + 3 } else { at + 1 };
            assert_eq!(verifier.branches, [(0, branch.try_into().unwrap())], "{behind} {at}");
        }
        // A process that begins where the one before has ended is none, nor is the next file.
        let two = process(hash(&lines[3]), "b", 2);
        let mut verifier = Verifier::default();
        for lines in [lines, two] {
            verifier.file(io::Cursor::new(lines.join("\n"))).unwrap().unwrap();
        }
        assert_eq!(verifier.branches, []);
    }

    #[test]
    fn a_line_that_a_crash_cut_is_no_fault_and_one_that_somebody_cut_is() {
        let one = process(BEFORE_ALL, "a", 3);
        let two = process(hash(&one[1]), "b", 2);
        let cut = |line: &String| line.chars().take(9).collect::<String>();
        let lines = vec![one[0].clone(), one[1].clone(), cut(&one[2]), two[0].clone(), two[1].clone()];
        let (verifier, outcome) = verify(&lines);
        assert_eq!((outcome, verifier.lines, verifier.cut), (Ok(()), 4, 1));
        assert!(!verifier.is_cut_short());
        check(&[one[0].clone(), cut(&one[1]), one[2].clone()], Err((3, LineFault::Changed)));
        let (verifier, outcome) = verify(&[one[0].clone(), cut(&one[1])]);
        assert_eq!((outcome, verifier.is_cut_short()), (Ok(()), true));
        check(&[one[0].clone(), one[1].clone(), cut(&one[2]), cut(&one[2])], Err((4, LineFault::NoHash)));
        let two = process(hash(&one[2]), "b", 2);
        check(&[one[0].clone(), one[1].clone(), cut(&one[2]), two[0].clone()], Err((4, LineFault::Missing)));
    }

    #[test]
    fn lines_from_before_the_chain_are_counted() {
        let mut lines = vec!["{\"text\":\"old\"}".to_owned(), "{}".to_owned()];
        lines.extend(process(BEFORE_ALL, "a", 2));
        let (verifier, outcome) = verify(&lines);
        assert_eq!((outcome, verifier.lines, verifier.unchained), (Ok(()), 2, 2));
        // Without their hashes, and changed, the first lines of a chain would look like those.
        let mut stripped = process(BEFORE_ALL, "a", 2);
        let rest = process(hash(&stripped[1]), "b", 2);
        stripped = vec!["{\"text\":\"a9\"}".to_owned(), "{\"text\":\"a8\"}".to_owned()];
        check(&[stripped, rest].concat(), Err((3, LineFault::NoBeginning)));
    }

    #[test]
    fn a_log_says_where_it_begins() {
        let lines = process(BEFORE_ALL, "a", 2);
        let next = process(hash(&lines[1]), "b", 2);
        assert_eq!(verify(&[lines.clone(), next.clone()].concat()).0.begins_after, Some(BEFORE_ALL));
        assert_eq!(verify(&next).0.begins_after, Some(hash(&lines[1])));
        // Also where its very first line was cut.
        let cut = [vec!["{\"text\":\"b".to_owned()], next].concat();
        let (verifier, outcome) = verify(&cut);
        assert_eq!((outcome, verifier.cut, verifier.unchained), (Ok(()), 1, 0));
    }

    #[test]
    fn a_hash_that_was_noted_is_met() {
        let lines = process(BEFORE_ALL, "a", 3);
        for (noted, met) in [(hash(&lines[1]), true), ([1; 32], false)] {
            let mut verifier = Verifier::new(Some(noted));
            verifier.file(io::Cursor::new(lines.join("\n"))).unwrap().unwrap();
            assert_eq!(verifier.head_met(), Some(met));
        }
    }
}
