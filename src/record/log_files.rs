//! The files of an audit log: the one that is written, and those that were rotated.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The most files that are kept beside the one that is written.
pub const MOST_FILES: usize = 1000;

/// How often files are looked at anew that are rotated meanwhile.
const LOOKS: usize = 10;

/// The name of the file that was written before `path`, `number` files ago.
pub fn rotated(path: &Path, number: usize) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
}

/// The files of an audit log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogFiles {
    /// Those that were rotated, the oldest first, and the one that is written.
    pub paths: Vec<PathBuf>,
    /// The first that is missing between them.
    pub missing: Option<PathBuf>,
}

/// The files of the audit log in `file`: beside it those with a number behind it, up to [`MOST_FILES`].
///
/// # Errors
/// Its folder cannot be read.
pub fn files_of(file: &Path) -> io::Result<LogFiles> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let mut numbers = BTreeSet::new();
    for entry in fs::read_dir(folder.unwrap_or_else(|| Path::new(".")))? {
        let entry = entry?.file_name();
        let entry = entry.to_string_lossy();
        let digits = entry.strip_prefix(&*name).and_then(|rest| rest.strip_prefix('.'));
        let number = digits
            .and_then(|digits| digits.parse::<usize>().ok().filter(|number| number.to_string() == digits));
        numbers.extend(number.filter(|number| (1..=MOST_FILES).contains(number)));
    }
    let missing = (1..).zip(&numbers).find(|(expected, number)| expected != *number);
    let mut paths: Vec<_> = numbers.iter().rev().map(|number| rotated(file, *number)).collect();
    paths.push(file.to_owned());
    Ok(LogFiles { paths, missing: missing.map(|(expected, _)| rotated(file, expected)) })
}

/// Opens the files of the audit log in `file`, the oldest first, as they are at one moment: none is missed, and none taken
/// twice, because they are rotated meanwhile.
///
/// # Errors
/// One cannot be opened, or is missing between others; they are rotated all the time.
pub fn open_files(file: &Path) -> io::Result<Vec<(PathBuf, File)>> {
    for _ in 0..LOOKS {
        let LogFiles { paths, missing } = files_of(file)?;
        let opened: io::Result<Vec<_>> = paths.into_iter().map(opened).collect();
        // Where something has changed since, it may have been missing in between alone.
        let changed = match &opened {
            Ok(opened) => !opened.iter().all(is_still_there) || files_of(file)?.paths.len() != opened.len(),
            Err(error) => error.kind() == io::ErrorKind::NotFound && file.exists(),
        };
        match (missing, opened) {
            (_, _) if changed => {}
            (None, opened) => return opened,
            (Some(missing), _) => {
                let message = format!("`{}` is missing, and older ones are there", missing.display());
                return Err(io::Error::new(io::ErrorKind::NotFound, message));
            }
        }
    }
    let message = format!("the files of `{}` are rotated all the time; try again", file.display());
    Err(io::Error::other(message))
}

fn opened(path: PathBuf) -> io::Result<(PathBuf, File)> {
    match File::open(&path) {
        Ok(file) => Ok((path, file)),
        Err(error) => {
            let message = format!("`{}` cannot be read: {error}", path.display());
            Err(io::Error::new(error.kind(), message))
        }
    }
}

/// Whether the name leads to the file that was opened by it.
fn is_still_there((path, file): &(PathBuf, File)) -> bool {
    let (Ok(named), Ok(opened)) = (fs::metadata(path), file.metadata()) else { return false };
    (named.dev(), named.ino()) == (opened.dev(), opened.ino())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_of_a_log_have_numbers_without_a_gap() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit");
        for file in [path.clone(), rotated(&path, 1)] {
            fs::write(file, "").unwrap();
        }
        for other in ["audit.04", "audit.gz", "audit.20261128", "audit.x.4", "audits.2", "x.audit.2"] {
            fs::write(directory.path().join(other), "").unwrap();
        }
        let paths = vec![rotated(&path, 1), path.clone()];
        assert_eq!(files_of(&path).unwrap(), LogFiles { paths: paths.clone(), missing: None });
        let opened = open_files(&path).unwrap();
        assert_eq!(opened.into_iter().map(|(path, _)| path).collect::<Vec<_>>(), paths);
        fs::write(rotated(&path, 4), "").unwrap();
        let paths = vec![rotated(&path, 4), rotated(&path, 1), path.clone()];
        assert_eq!(files_of(&path).unwrap(), LogFiles { paths, missing: Some(rotated(&path, 2)) });
        let gap = open_files(&path).unwrap_err().to_string();
        assert!(gap.contains("audit.2` is missing"), "{gap}");
    }
}
