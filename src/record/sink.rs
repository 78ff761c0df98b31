//! Where audit lines go: a file that may be rotated under us, or the standard output.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::record::log_files::{MOST_FILES, rotated};

/// How often the file is compared with its name. One `stat` a second costs nothing, and after a rotation the old
/// file gets lines for a second at most.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// Within this a write that has begun has grown the file.
const WRITE_TIME: Duration = Duration::from_millis(20);

/// A pipe takes so much in one piece, which nobody else's lines come into (pipe(7)): while one process succeeds another,
/// both write.
const PIPE_PIECE: usize = 4096;

/// Owner only: the lines tell who reads and writes what.
const FILE_MODE: u32 = 0o600;

/// Takes whole lines.
pub(crate) trait Sink: Send {
    /// Writes `lines`, each ending in a line feed, as far as it goes.
    ///
    /// # Errors
    /// [`WriteError`]: some or all of the lines were not written.
    fn write_lines(&mut self, lines: &[u8]) -> Result<(), WriteError>;

    /// Looks, at `now`, where the lines that come next go. Tells whether they begin a file.
    fn prepare(&mut self, now: Instant) -> bool;
}

/// Lines that were not written.
#[derive(Debug)]
pub(crate) struct WriteError {
    /// How many.
    pub(crate) lost: usize,
    /// Why.
    pub(crate) error: io::Error,
}

/// Lines to anything that takes bytes. A line that was cut by an error is ended before the next one begins.
#[derive(Debug)]
pub(crate) struct LineSink<W> {
    output: W,
    torn: bool,
    /// How many bytes of whole lines are written at a time.
    piece: usize,
}

impl<W: Write> LineSink<W> {
    pub(crate) fn new(output: W) -> Self {
        Self { output, torn: false, piece: usize::MAX }
    }

    fn write(&mut self, lines: &[u8]) -> Result<(), WriteError> {
        let mut rest = lines;
        let result = self.write_rest(&mut rest);
        if rest.len() < lines.len() {
            let written = lines.get(..lines.len() - rest.len()).unwrap_or_default();
            self.torn = !written.ends_with(b"\n");
        }
        result.map_err(|error| WriteError { lost: memchr::memchr_iter(b'\n', rest).count(), error })
    }

    fn write_rest(&mut self, rest: &mut &[u8]) -> io::Result<()> {
        if self.torn {
            self.output.write_all(b"\n")?;
            self.torn = false;
        }
        while !rest.is_empty() {
            match self.output.write(whole_lines(rest, self.piece)) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => *rest = rest.get(count..).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.output.flush()
    }
}

impl<W: Write + Send> Sink for LineSink<W> {
    fn write_lines(&mut self, lines: &[u8]) -> Result<(), WriteError> {
        self.write(lines)
    }

    fn prepare(&mut self, _now: Instant) -> bool {
        false
    }
}

/// The standard output, without the buffer that the standard library puts before it.
pub(crate) fn standard_output() -> io::Result<LineSink<File>> {
    let output = io::stdout().as_fd().try_clone_to_owned()?;
    Ok(LineSink { piece: PIPE_PIECE, ..LineSink::new(File::from(output)) })
}

/// As many of the first lines as fit into `piece`; at least one.
fn whole_lines(lines: &[u8], piece: usize) -> &[u8] {
    let fitting = lines.get(..piece).map_or(Some(lines.len()), |fitting| {
        memchr::memrchr(b'\n', fitting).or_else(|| memchr::memchr(b'\n', lines)).map(|at| at + 1)
    });
    lines.get(..fitting.unwrap_or(lines.len())).unwrap_or(lines)
}

/// When a file makes room for the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rotation {
    /// From this size, bytes.
    pub size: u64,
    /// How many files are kept beside the one that is written.
    pub keep: usize,
}

/// A file, opened anew when its name no longer leads to it.
#[derive(Debug)]
pub(crate) struct FileSink {
    path: PathBuf,
    lines: LineSink<File>,
    rotation: Option<Rotation>,
    /// About how many bytes the file has.
    size: u64,
    check_interval: Duration,
    checked: Instant,
}

impl FileSink {
    /// Opens `path` to append, and makes it where it does not exist.
    pub(crate) fn open(path: PathBuf, rotation: Option<Rotation>, now: Instant) -> io::Result<Self> {
        Self::with_interval(path, rotation, (now, CHECK_INTERVAL))
    }

    fn with_interval(
        path: PathBuf,
        rotation: Option<Rotation>,
        (checked, check_interval): (Instant, Duration),
    ) -> io::Result<Self> {
        let lines = open_lines(&path)?;
        let size = lines.output.metadata()?.len();
        Ok(Self { path, lines, rotation, size, check_interval, checked })
    }

    /// Opens the file that its name leads to, where that is another one. Tells whether it is.
    fn reopen_where_rotated(&mut self) -> io::Result<bool> {
        if same_file(&self.path, &self.lines.output)? {
            let (before, size) = (self.size, self.lines.output.metadata()?.len());
            // Another process may write to it as well. What is less than was written has been cut off.
            self.size = size;
            return Ok(size < before);
        }
        self.reopen()?;
        tracing::info!(path = %self.path.display(), "opened the audit file anew");
        Ok(true)
    }

    fn reopen(&mut self) -> io::Result<()> {
        self.lines = open_lines(&self.path)?;
        self.size = self.lines.output.metadata()?.len();
        Ok(())
    }

    /// Makes room for the next file where this one is large enough. Tells whether that was done.
    fn rotate_where_large(&mut self) -> io::Result<bool> {
        let Some(Rotation { keep, .. }) = self.rotation.filter(|rotation| self.size >= rotation.size) else {
            return Ok(false);
        };
        // While one process succeeds another, both write, and both find the file large enough. Where there are no locks, one goes
        // on without.
        if matches!(self.lines.output.try_lock(), Err(TryLockError::WouldBlock)) {
            return Ok(false);
        }
        if self.reopen_where_rotated()? {
            return Ok(true);
        }
        for number in (1..keep).rev() {
            match fs::rename(rotated(&self.path, number), rotated(&self.path, number + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
        fs::rename(&self.path, rotated(&self.path, 1))?;
        // Where fewer are kept than before, too.
        let beyond = (keep + 1..=MOST_FILES).map(|number| rotated(&self.path, number));
        for file in beyond.take_while(|file| file.exists()) {
            fs::remove_file(file)?;
        }
        self.reopen()?;
        tracing::info!(path = %self.path.display(), keep, "began a new audit file");
        Ok(true)
    }
}

impl Sink for FileSink {
    fn write_lines(&mut self, lines: &[u8]) -> Result<(), WriteError> {
        let written = self.lines.write(lines);
        self.size = self.size.saturating_add(u64::try_from(lines.len()).unwrap_or_default());
        written
    }

    fn prepare(&mut self, now: Instant) -> bool {
        let is_due = now.saturating_duration_since(self.checked) >= self.check_interval;
        let mut outcome = Ok(false);
        if is_due {
            self.checked = now;
            outcome = self.reopen_where_rotated();
        }
        if self.rotation.is_some_and(|rotation| self.size >= rotation.size) && matches!(outcome, Ok(false)) {
            outcome = self.rotate_where_large();
        }
        outcome.unwrap_or_else(|error| {
            // The old file still takes the lines, so nothing is lost yet. It is tried again at the next look.
            if is_due {
                tracing::error!(
                    path = %self.path.display(), %error,
                    "could not open the audit file anew; check its directory"
                );
            }
            false
        })
    }
}

fn open_lines(path: &Path) -> io::Result<LineSink<File>> {
    let file = OpenOptions::new().append(true).create(true).mode(FILE_MODE).open(path)?;
    let torn = ends_torn(path, &file);
    Ok(LineSink { torn, ..LineSink::new(file) })
}

/// Whether the file ends within a line, as a crash or a full disk leaves it. Where that can't be read, it is taken
/// to end well: at worst one line is joined to a broken one.
///
/// Another process may be writing: its write is one to whoever else appends, but its length is seen while it grows.
fn ends_torn(path: &Path, file: &File) -> bool {
    let mut seen = None;
    loop {
        let length = file.metadata().map(|file| file.len()).unwrap_or_default();
        let Some(last) = length.checked_sub(1) else { return false };
        let mut byte = [0];
        let read = File::open(path).and_then(|file| file.read_exact_at(&mut byte, last));
        if read.is_err() || byte == *b"\n" {
            return false;
        }
        if seen == Some(length) {
            return true;
        }
        seen = Some(length);
        std::thread::sleep(WRITE_TIME);
    }
}

fn same_file(path: &Path, file: &File) -> io::Result<bool> {
    let open = file.metadata()?;
    match path.metadata() {
        Ok(named) => Ok(named.dev() == open.dev() && named.ino() == open.ino()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::clock;
    use crate::record::log_files::files_of;

    fn file_sink(path: &Path) -> FileSink {
        FileSink::with_interval(path.to_owned(), None, (clock::monotonic(), Duration::ZERO)).unwrap()
    }

    fn write(sink: &mut impl Sink, lines: &str) -> Result<(), WriteError> {
        sink.prepare(clock::monotonic());
        sink.write_lines(lines.as_bytes())
    }

    #[test]
    fn a_new_file_is_for_its_owner_alone_and_an_old_one_is_kept() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit.jsonl");
        write(&mut file_sink(&path), "one\n").unwrap();
        write(&mut file_sink(&path), "two\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "one\ntwo\n");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_rotated_or_deleted_file_is_opened_anew() {
        let directory = tempfile::tempdir().unwrap();
        let (path, old) = (directory.path().join("audit"), directory.path().join("audit.1"));
        let mut sink = file_sink(&path);
        write(&mut sink, "one\n").unwrap();
        fs::rename(&path, &old).unwrap();
        write(&mut sink, "two\n").unwrap();
        assert_eq!(fs::read_to_string(&old).unwrap(), "one\n");
        assert_eq!(fs::read_to_string(&path).unwrap(), "two\n");
        fs::remove_file(&path).unwrap();
        write(&mut sink, "three\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "three\n");
        fs::rename(&old, &path).unwrap();
        write(&mut sink, "four\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "one\nfour\n");
    }

    #[test]
    fn the_name_is_checked_once_in_an_interval() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit");
        let start = clock::monotonic();
        let mut sink = FileSink::open(path.clone(), None, start).unwrap();
        fs::remove_file(&path).unwrap();
        assert!(!sink.prepare(start + CHECK_INTERVAL / 2));
        sink.write_lines(b"one\n").unwrap();
        assert!(!path.exists());
        assert!(sink.prepare(start + CHECK_INTERVAL));
        sink.write_lines(b"two\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "two\n");
    }

    #[test]
    fn a_directory_that_vanished_loses_nothing_that_the_old_file_takes() {
        let directory = tempfile::tempdir().unwrap();
        let inner = directory.path().join("logs");
        fs::create_dir(&inner).unwrap();
        let path = inner.join("audit");
        let mut sink = file_sink(&path);
        fs::rename(&inner, directory.path().join("moved")).unwrap();
        write(&mut sink, "one\n").unwrap();
        assert_eq!(fs::read_to_string(directory.path().join("moved/audit")).unwrap(), "one\n");
    }

    #[test]
    fn a_line_that_a_crash_cut_is_ended_first() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit");
        fs::write(&path, "whole\ncut").unwrap();
        write(&mut file_sink(&path), "one\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "whole\ncut\none\n");
    }

    #[test]
    fn lines_are_written_in_pieces_that_hold_whole_ones() {
        for (piece, want) in [
            (usize::MAX, "a\nbb\nccc\n"),
            (9, "a\nbb\nccc\n"),
            (8, "a\nbb\n"),
            (5, "a\nbb\n"),
            (4, "a\n"),
            (1, "a\n"),
        ] {
            assert_eq!(whole_lines(b"a\nbb\nccc\n", piece), want.as_bytes(), "{piece}");
        }
        assert_eq!(whole_lines(b"long\nb\n", 2), b"long\n");
        assert_eq!(whole_lines(b"torn", 2), b"torn");
    }

    #[test]
    fn a_file_that_was_emptied_begins_anew() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit");
        let mut sink = file_sink(&path);
        write(&mut sink, "one\n").unwrap();
        assert!(!sink.prepare(clock::monotonic()));
        File::options().write(true).open(&path).unwrap().set_len(0).unwrap();
        assert!(sink.prepare(clock::monotonic()));
        assert!(!sink.prepare(clock::monotonic()));
    }

    #[test]
    fn a_large_file_makes_room_for_the_next() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit");
        let rotation = Some(Rotation { size: 8, keep: 2 });
        let mut sink = FileSink::open(path.clone(), rotation, clock::monotonic()).unwrap();
        for (lines, files) in [
            ("one\ntwo\n", ["one\ntwo\n", "", ""]),
            ("3\n", ["3\n", "one\ntwo\n", ""]),
            ("four\n", ["3\nfour\n", "one\ntwo\n", ""]),
            ("five\n", ["3\nfour\nfive\n", "one\ntwo\n", ""]),
            ("six is long\n", ["six is long\n", "3\nfour\nfive\n", "one\ntwo\n"]),
            ("7\n", ["7\n", "six is long\n", "3\nfour\nfive\n"]),
        ] {
            write(&mut sink, lines).unwrap();
            let names = [path.clone(), rotated(&path, 1), rotated(&path, 2)];
            assert_eq!(names.map(|name| fs::read_to_string(name).unwrap_or_default()), files, "{lines}");
        }
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 3);
        // Fewer are kept from now on.
        sink.rotation = Some(Rotation { size: 1, keep: 1 });
        write(&mut sink, "8\n").unwrap();
        assert_eq!(files_of(&path).unwrap().paths, [rotated(&path, 1), path]);
    }

    #[test]
    fn of_two_processes_one_makes_room() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit");
        let rotation = Some(Rotation { size: 1, keep: 2 });
        let mut sink = FileSink::open(path.clone(), rotation, clock::monotonic()).unwrap();
        write(&mut sink, "one\n").unwrap();
        // The other one is about to.
        let other = File::open(&path).unwrap();
        other.lock().unwrap();
        write(&mut sink, "two\n").unwrap();
        assert_eq!(files_of(&path).unwrap().paths, std::slice::from_ref(&path));
        fs::rename(&path, rotated(&path, 1)).unwrap();
        fs::write(&path, "three\n").unwrap();
        drop(other);
        write(&mut sink, "four\n").unwrap();
        let texts = files_of(&path).unwrap().paths.into_iter().map(|path| fs::read_to_string(path).unwrap());
        assert_eq!(texts.collect::<Vec<_>>(), ["one\ntwo\n", "three\nfour\n"]);
    }

    #[test]
    fn a_file_that_cannot_make_room_takes_the_lines() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit");
        let rotation = Some(Rotation { size: 1, keep: 1 });
        let mut sink = FileSink::open(path.clone(), rotation, clock::monotonic()).unwrap();
        fs::create_dir_all(rotated(&path, 1).join("full")).unwrap();
        write(&mut sink, "one\n").unwrap();
        write(&mut sink, "two\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "one\ntwo\n");
    }

    /// Takes as many bytes as it has room for, then is full.
    struct Disk {
        written: Vec<u8>,
        room: usize,
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let count = bytes.len().min(self.room);
            if count == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.room -= count;
            self.written.extend_from_slice(&bytes[..count]);
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_full_disk_costs_the_lines_that_did_not_fit() {
        let mut sink = LineSink::new(Disk { written: Vec::new(), room: 6 });
        assert_eq!(write(&mut sink, "one\ntwo\nthree\n").unwrap_err().lost, 2);
        assert_eq!(write(&mut sink, "four\n").unwrap_err().lost, 1);
        sink.output.room = 100;
        write(&mut sink, "five\n").unwrap();
        write(&mut sink, "six\n").unwrap();
        assert_eq!(str::from_utf8(&sink.output.written).unwrap(), "one\ntw\nfive\nsix\n");
    }

    #[test]
    fn a_device_without_room_is_an_error() {
        let mut sink = file_sink(Path::new("/dev/full"));
        let error = write(&mut sink, "one\ntwo\n").unwrap_err();
        assert_eq!((error.lost, error.error.kind()), (2, io::ErrorKind::StorageFull));
    }
}
