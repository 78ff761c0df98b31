//! Where audit lines go: a file that may be rotated under us, or the standard output.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

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
    fn write_lines(&mut self, lines: &[u8], now: Instant) -> Result<(), WriteError>;
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
    fn write_lines(&mut self, lines: &[u8], _now: Instant) -> Result<(), WriteError> {
        self.write(lines)
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

/// A file, opened anew when its name no longer leads to it.
#[derive(Debug)]
pub(crate) struct FileSink {
    path: PathBuf,
    lines: LineSink<File>,
    check_interval: Duration,
    checked: Instant,
}

impl FileSink {
    /// Opens `path` to append, and makes it where it does not exist.
    pub(crate) fn open(path: PathBuf, now: Instant) -> io::Result<Self> {
        Self::with_interval(path, now, CHECK_INTERVAL)
    }

    fn with_interval(path: PathBuf, now: Instant, check_interval: Duration) -> io::Result<Self> {
        Ok(Self { lines: open_lines(&path)?, path, check_interval, checked: now })
    }

    fn reopen_where_rotated(&mut self) -> io::Result<()> {
        if !same_file(&self.path, &self.lines.output)? {
            self.lines = open_lines(&self.path)?;
            tracing::info!(path = %self.path.display(), "opened the audit file anew");
        }
        Ok(())
    }
}

impl Sink for FileSink {
    fn write_lines(&mut self, lines: &[u8], now: Instant) -> Result<(), WriteError> {
        if now.saturating_duration_since(self.checked) >= self.check_interval {
            self.checked = now;
            if let Err(error) = self.reopen_where_rotated() {
                // The old file still takes the lines, so nothing is lost yet.
                tracing::error!(
                    path = %self.path.display(), %error,
                    "could not open the audit file anew; check its directory"
                );
            }
        }
        self.lines.write(lines)
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

    fn file_sink(path: &Path) -> FileSink {
        FileSink::with_interval(path.to_owned(), clock::monotonic(), Duration::ZERO).unwrap()
    }

    fn write(sink: &mut impl Sink, lines: &str) -> Result<(), WriteError> {
        sink.write_lines(lines.as_bytes(), clock::monotonic())
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
        let mut sink = FileSink::open(path.clone(), start).unwrap();
        fs::remove_file(&path).unwrap();
        sink.write_lines(b"one\n", start + CHECK_INTERVAL / 2).unwrap();
        assert!(!path.exists());
        sink.write_lines(b"two\n", start + CHECK_INTERVAL).unwrap();
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
