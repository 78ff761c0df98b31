//! Finds requests in an audit log, the newest first, and reads no more of it than that takes.

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{SHA256, digest};
use serde::Deserialize;
use serde_json::Value;
use thiserror::Error;

use crate::domain::grant::UnixTime;
use crate::record::log_files::files_of;

/// Bytes that are read at a time.
const BLOCK: usize = 256 * 1024;

/// What is longer than this is no line.
const LONGEST_LINE: usize = 1024 * 1024;

/// What is looked for. Each thing that is given must fit; names and words in any case.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// The login.
    pub user: Option<String>,
    /// The public id or the name of the token.
    pub token: Option<String>,
    /// Whose resource it was about.
    pub org: Option<String>,
    /// The repository, `acme/alpha`, with its wiki.
    pub repository: Option<String>,
    /// The word of the reason.
    pub reason: Option<String>,
    /// What rules refused, or would have in shadow mode.
    pub refused: bool,
    /// The client's address.
    pub peer: Option<String>,
    /// The request's id.
    pub id: Option<String>,
    /// From then on.
    pub since: Option<UnixTime>,
    /// Before then.
    pub until: Option<UnixTime>,
}

/// How far a search goes at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Requests that are found.
    pub lines: usize,
    /// Bytes that are read, about.
    pub bytes: u64,
}

/// A place between two lines. It stays what it is when the file is rotated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    file: FileMark,
    offset: u64,
}

/// What a file is known by, whatever it is called: how it begins, which no other one does.
type FileMark = u64;

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}-{:x}", self.file, self.offset)
    }
}

impl Position {
    /// Reads what it is printed as.
    pub fn parse(text: &str) -> Option<Self> {
        let (file, offset) = text.split_once('-')?;
        let number = |digits: &str| u64::from_str_radix(digits, 16).ok();
        Some(Self { file: number(file)?, offset: number(offset)? })
    }
}

/// What was found.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Audit lines, the newest first: by when their requests ended.
    pub lines: Vec<Value>,
    /// Where to go on; `None` where all was looked at.
    pub next: Option<Position>,
}

/// A search cannot go on.
#[derive(Debug, Error)]
pub enum SearchError {
    /// A file cannot be read.
    #[error("`{}` cannot be read: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The place to go on from is in no file any more.
    #[error("the file in which to go on is gone; begin again")]
    Gone,
}

/// Looks through the audit log in `log`, with the files that were rotated, from `from` back to older lines.
///
/// # Errors
/// [`SearchError`].
pub fn search(
    log: &Path,
    wanted: &Wanted,
    from: Option<Position>,
    bounds: Bounds,
) -> Result<Found, SearchError> {
    let (mut found, mut left, mut last) = (Found::default(), bounds.bytes, None);
    let mut begin = from;
    while let Some(LogFile { path, file, mark, modified, is_oldest }) =
        next_file(log, begin.map(|begin| begin.file), last)?
    {
        // Whatever is in it, and in older ones, ended before.
        if wanted.since.is_some_and(|since| modified < since) {
            return Ok(found);
        }
        last = Some(mark);
        let unreadable = |source| SearchError::Unreadable { path: path.clone(), source };
        let length = file.metadata().map_err(unreadable)?.len();
        let end = begin.take().map_or(length, |begin| begin.offset);
        if end > length {
            return Err(SearchError::Gone);
        }
        let mut backwards = Backwards::new(file, end);
        while let Some((offset, line)) = backwards.line().map_err(unreadable)? {
            let bytes = u64::try_from(line.len()).unwrap_or(u64::MAX).saturating_add(1);
            left = left.saturating_sub(bytes);
            match wanted.look(line) {
                Looked::Fits(line) => found.lines.push(line),
                Looked::Other => {}
                Looked::TooOld => return Ok(found),
            }
            let is_last = offset == 0 && is_oldest;
            if !is_last && (found.lines.len() >= bounds.lines || left == 0) {
                found.next = Some(Position { file: mark, offset });
                return Ok(found);
            }
        }
    }
    if begin.is_some() { Err(SearchError::Gone) } else { Ok(found) }
}

/// A file of the log.
struct LogFile {
    path: PathBuf,
    file: File,
    mark: FileMark,
    /// When it was written last.
    modified: UnixTime,
    is_oldest: bool,
}

/// The file to look at: the one with the mark `wanted`, or the one that is older than the one with the mark `last`, or the
/// newest. They are looked up anew each time, since they may have been rotated meanwhile.
fn next_file(
    log: &Path,
    wanted: Option<FileMark>,
    last: Option<FileMark>,
) -> Result<Option<LogFile>, SearchError> {
    let unreadable = |path: &Path, source| SearchError::Unreadable { path: path.to_owned(), source };
    // One that is missing is stepped over.
    let mut paths = files_of(log).map_err(|source| unreadable(log, source))?.paths;
    let (mut is_behind, mut seen) = (last.is_none(), false);
    while let Some(path) = paths.pop() {
        // A pipe in the place of a file is not waited for.
        match fs::metadata(&path) {
            Ok(found) if found.is_file() => {}
            Ok(_) if path == log => return Err(unreadable(&path, io::Error::other("it is no file"))),
            Ok(_) => continue,
            // In the middle of a rotation there is none for a moment.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(unreadable(&path, error)),
        }
        seen = true;
        let file = File::open(&path).map_err(|source| unreadable(&path, source))?;
        let metadata = file.metadata().map_err(|source| unreadable(&path, source))?;
        if usize::try_from(metadata.len()).is_ok_and(|length| length < MARKED) {
            // There is no line in it yet, and nothing that it is known by.
            continue;
        }
        let mark = mark_of(&file).map_err(|source| unreadable(&path, source))?;
        if !is_behind {
            is_behind = Some(mark) == last;
            continue;
        }
        if wanted.is_some_and(|wanted| wanted != mark) || last == Some(mark) {
            continue;
        }
        let modified = UnixTime(metadata.mtime().saturating_add(1));
        return Ok(Some(LogFile { path, file, mark, modified, is_oldest: paths.is_empty() }));
    }
    if seen || last.is_some() {
        return Ok(None);
    }
    Err(unreadable(log, io::ErrorKind::NotFound.into()))
}

/// Bytes that hold the time and the id of a file's first request.
const MARKED: usize = 96;

fn mark_of(file: &File) -> io::Result<FileMark> {
    let mut first = [0; MARKED];
    file.read_exact_at(&mut first, 0)?;
    let digest = digest(&SHA256, &first);
    let (first, _) = digest.as_ref().split_first_chunk::<8>().ok_or(io::ErrorKind::InvalidData)?;
    Ok(u64::from_be_bytes(*first))
}

/// What a line is judged by.
#[derive(Debug, Deserialize)]
struct Told {
    time: String,
    request_id: String,
    token_id: Option<String>,
    token_name: Option<String>,
    user: Option<String>,
    resource: Option<String>,
    verdict: Option<String>,
    reason: String,
    peer: String,
    #[serde(default)]
    seconds: f64,
}

/// What became of looking at a line.
enum Looked {
    /// It is looked for.
    Fits(Value),
    /// It is not.
    Other,
    /// It is not, nor is any before it: lines stand in the order in which their requests ended.
    TooOld,
}

/// Lines of several workers may stand out of order by less than this, seconds.
const DISORDER: f64 = 300.0;

impl Told {
    /// Whether the request had ended long before `moment`.
    fn ended_before(&self, moment: UnixTime) -> bool {
        let began: Option<jiff::Timestamp> = self.time.parse().ok();
        began.is_some_and(|began| {
            let ended = began.as_duration().as_secs_f64() + self.seconds;
            jiff::Timestamp::from_second(moment.0)
                .is_ok_and(|moment| ended + DISORDER < moment.as_duration().as_secs_f64())
        })
    }
}

impl Wanted {
    fn look(&self, line: &[u8]) -> Looked {
        let Ok(told) = serde_json::from_slice::<Told>(line) else { return Looked::Other };
        if self.since.is_some_and(|since| told.ended_before(since)) {
            return Looked::TooOld;
        }
        if !self.fits(&told) {
            return Looked::Other;
        }
        serde_json::from_slice(line).map_or(Looked::Other, Looked::Fits)
    }

    fn fits(&self, told: &Told) -> bool {
        let is = |wanted: &Option<String>, value: Option<&str>| {
            let Some(wanted) = wanted else { return true };
            value.is_some_and(|value| value.eq_ignore_ascii_case(wanted))
        };
        let resource = told.resource.as_deref();
        let owner = resource.map(|resource| resource.split_once('/').map_or(resource, |(owner, _)| owner));
        let without_wiki = resource.and_then(|resource| resource.strip_suffix(".wiki"));
        // Both are RFC 3339 in UTC; a whole second stands before its parts where the zone is cut off.
        let from =
            |moment: UnixTime| told.time.trim_end_matches('Z') >= moment.to_string().trim_end_matches('Z');
        is(&self.user, told.user.as_deref())
            && (is(&self.token, told.token_id.as_deref()) || is(&self.token, told.token_name.as_deref()))
            && is(&self.org, owner)
            && (is(&self.repository, resource) || is(&self.repository, without_wiki))
            && is(&self.reason, Some(&told.reason))
            && is(&self.peer, Some(&told.peer))
            && is(&self.id, Some(&told.request_id))
            && (!self.refused || told.verdict.as_deref() == Some("refuse"))
            && self.since.is_none_or(from)
            && self.until.is_none_or(|until| !from(until))
    }
}

/// The lines of a file, the last one first.
#[derive(Debug)]
struct Backwards {
    file: File,
    /// Where `held` begins in the file.
    start: u64,
    held: Vec<u8>,
    /// How much of `held` was not given yet.
    end: usize,
}

impl Backwards {
    /// The lines before `end`.
    fn new(file: File, end: u64) -> Self {
        Self { file, start: end, held: Vec::new(), end: 0 }
    }

    /// The next line without its line feed, and where it begins.
    fn line(&mut self) -> io::Result<Option<(u64, &[u8])>> {
        let start = loop {
            let held = self.held.get(..self.end).unwrap_or_default();
            let body = held.strip_suffix(b"\n").unwrap_or(held);
            if let Some(feed) = body.iter().rposition(|byte| *byte == b'\n') {
                break feed + 1;
            }
            if self.start == 0 || held.len() > LONGEST_LINE {
                break 0;
            }
            self.read_on()?;
        };
        if self.end == 0 {
            return Ok(None);
        }
        let end = std::mem::replace(&mut self.end, start);
        let line = self.held.get(start..end).unwrap_or_default();
        let offset = self.start + u64::try_from(start).unwrap_or_default();
        Ok(Some((offset, line.strip_suffix(b"\n").unwrap_or(line))))
    }

    /// Puts the bytes before what is held in front of it.
    fn read_on(&mut self) -> io::Result<()> {
        let length = usize::try_from(self.start).unwrap_or(usize::MAX).min(BLOCK);
        let mut held = vec![0; length];
        self.start -= u64::try_from(length).unwrap_or_default();
        self.file.read_exact_at(&mut held, self.start)?;
        held.extend_from_slice(self.held.get(..self.end).unwrap_or_default());
        self.end = held.len();
        self.held = held;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::json;
    use tempfile::TempDir;

    use super::*;
    use crate::record::log_files::rotated;

    const ALL: Bounds = Bounds { lines: usize::MAX, bytes: u64::MAX };

    /// A line of the user `bob` about `resource`, in the second `at` of a day.
    fn line(at: u32, resource: &str, reason: &str) -> String {
        let verdict = if reason == "granted" { "allow" } else { "refuse" };
        let line = json!({
            "time": format!("2026-11-28T00:00:{at:02}.500000Z"), "request_id": format!("{at:032x}"), "token_id": "abc",
            "token_name": "nightly", "user": "bob", "resource": resource, "verdict": verdict, "reason": reason,
            "peer": "192.0.2.7", "padding": "x".repeat(usize::try_from(at).unwrap()),
        });
        format!("{line}\n")
    }

    /// Lines 1 to 9 in three files of three; the odd ones are about `acme`, every third is refused.
    fn log() -> (TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit");
        for (number, file) in [rotated(&path, 2), rotated(&path, 1), path.clone()].iter().enumerate() {
            let lines = (1..=3).map(|at| {
                let at = u32::try_from(number).unwrap() * 3 + at;
                let owner = if at % 2 == 1 { "acme" } else { "umbrella" };
                line(at, &format!("{owner}/r{at}"), if at % 3 == 0 { "no_route" } else { "granted" })
            });
            fs::write(file, lines.collect::<String>()).unwrap();
        }
        (directory, path)
    }

    fn numbers(found: &Found) -> Vec<u64> {
        let id = |line: &Value| u64::from_str_radix(line["request_id"].as_str().unwrap(), 16).unwrap();
        found.lines.iter().map(id).collect()
    }

    #[track_caller]
    fn check(wanted: &Wanted, want: &[u64]) {
        let (_directory, path) = log();
        let found = search(&path, wanted, None, ALL).unwrap();
        assert_eq!((numbers(&found), found.next), (want.to_vec(), None), "{wanted:?}");
    }

    #[test]
    fn what_fits_is_found_the_newest_first() {
        let text = |text: &str| Some(text.to_owned());
        check(&Wanted::default(), &[9, 8, 7, 6, 5, 4, 3, 2, 1]);
        check(&Wanted { org: text("ACME"), ..Wanted::default() }, &[9, 7, 5, 3, 1]);
        check(&Wanted { org: text("acme"), refused: true, ..Wanted::default() }, &[9, 3]);
        check(&Wanted { repository: text("Acme/R5"), ..Wanted::default() }, &[5]);
        check(&Wanted { reason: text("no_route"), ..Wanted::default() }, &[9, 6, 3]);
        check(&Wanted { id: text(&format!("{:032x}", 4)), ..Wanted::default() }, &[4]);
        check(
            &Wanted { token: text("nightly"), user: text("BOB"), ..Wanted::default() },
            &[9, 8, 7, 6, 5, 4, 3, 2, 1],
        );
        check(&Wanted { token: text("ABC"), peer: text("192.0.2.8"), ..Wanted::default() }, &[]);
        let at = |second: i64| Some(UnixTime(1_795_824_000_i64 + second));
        check(&Wanted { since: at(7), until: at(9), ..Wanted::default() }, &[8, 7]);
    }

    #[test]
    fn a_search_goes_on_where_it_stopped_though_the_log_was_rotated() {
        let (_directory, path) = log();
        let acme = Wanted { org: Some("acme".into()), ..Wanted::default() };
        let two = Bounds { lines: 2, ..ALL };
        let first = search(&path, &acme, None, two).unwrap();
        assert_eq!(numbers(&first), [9, 7]);
        let next = Position::parse(&first.next.unwrap().to_string());
        assert_eq!(next, first.next);
        for number in [3, 2, 1] {
            fs::rename(rotated(&path, number - 1), rotated(&path, number)).ok();
        }
        fs::rename(&path, rotated(&path, 1)).unwrap();
        fs::write(&path, line(10, "acme/r10", "granted")).unwrap();
        let second = search(&path, &acme, next, two).unwrap();
        assert_eq!(numbers(&second), [5, 3]);
        let third = search(&path, &acme, second.next, two).unwrap();
        assert_eq!((numbers(&third), third.next), (vec![1], None));
        // What was read so far counts, whether it fits or not.
        let few = search(&path, &acme, None, Bounds { bytes: 300, ..ALL }).unwrap();
        assert!(few.lines.len() < 5 && few.next.is_some(), "{few:?}");
        // What is written next into a file that was deleted has another beginning, whatever becomes of its inode.
        for gone in ["1-0", &format!("{}-ffffff", next.unwrap().to_string().split_once('-').unwrap().0)] {
            let from = Position::parse(gone);
            assert!(matches!(search(&path, &acme, from, two), Err(SearchError::Gone)), "{gone}");
        }
    }

    #[test]
    fn what_is_no_file_is_stepped_over_and_none_at_all_is_told() {
        let (_directory, path) = log();
        fs::remove_file(rotated(&path, 1)).unwrap();
        fs::create_dir(rotated(&path, 1)).unwrap();
        fs::remove_file(&path).unwrap();
        assert_eq!(numbers(&search(&path, &Wanted::default(), None, ALL).unwrap()), [3, 2, 1]);
        fs::write(&path, "{\"time\"").unwrap();
        assert_eq!(numbers(&search(&path, &Wanted::default(), None, ALL).unwrap()), [3, 2, 1]);
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        let refused = search(&path, &Wanted::default(), None, ALL).unwrap_err();
        assert!(refused.to_string().contains("it is no file"), "{refused}");
        let refused = search(&path.join("none"), &Wanted::default(), None, ALL).unwrap_err();
        assert!(refused.to_string().contains("cannot be read"), "{refused}");
    }

    #[test]
    fn a_search_ends_where_all_is_too_old() {
        let since = |moment: i64| Wanted { since: Some(UnixTime(moment)), ..Wanted::default() };
        let old = serde_json::from_str(&line(5, "acme/r5", "granted")).map(|told: Told| told).unwrap();
        let ended = 1_795_824_005;
        assert!(!old.ended_before(UnixTime(ended)) && old.ended_before(UnixTime(ended + 301)));
        let long = Told { seconds: 4000.0, ..old };
        assert!(!long.ended_before(UnixTime(ended + 301)));
        let text = line(5, "acme/r5", "granted");
        assert!(matches!(since(ended + 301).look(text.as_bytes()), Looked::TooOld));
        assert!(matches!(since(ended + 30).look(text.as_bytes()), Looked::Other));
        // Files that were not written since are not read.
        let (_directory, path) = log();
        let far = since(i64::from(u32::MAX));
        assert_eq!(search(&path, &far, None, ALL).unwrap(), Found::default());
    }

    #[test]
    fn lines_come_whole_whatever_the_blocks_are() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit");
        let long = "y".repeat(BLOCK * 2 + 7);
        let lines = ["a".repeat(BLOCK - 1), String::new(), long, "b".repeat(BLOCK), "cut".into()];
        fs::write(&path, lines.join("\n")).unwrap();
        let mut backwards = Backwards::new(File::open(&path).unwrap(), fs::metadata(&path).unwrap().len());
        let mut read = Vec::new();
        while let Some((offset, line)) = backwards.line().unwrap() {
            let start = usize::try_from(offset).unwrap();
            assert_eq!(fs::read(&path).unwrap().get(start..start + line.len()), Some(line));
            read.push(String::from_utf8(line.to_vec()).unwrap());
        }
        read.reverse();
        assert_eq!(read, lines);
        // What is far too long is given in pieces, which are no lines.
        fs::write(&path, vec![b'z'; LONGEST_LINE * 3]).unwrap();
        assert_eq!(search(&path, &Wanted::default(), None, ALL).unwrap(), Found::default());
    }
}
