//! Credential files: one secret each, named by the configuration or the command line, which may take a variable in place of it.

use std::fs::{File, Metadata};
use std::io::Read;
use std::path::Path;

use zeroize::Zeroizing;

use crate::domain::fault::Fault;
use crate::domain::secret::Secret;

/// The most bytes of a credential: what fits a header field everywhere.
const MAX_BYTES: usize = 8 * 1024;

const NOT_TEXT: &str = "is not UTF-8; expected one line of text";

/// Reads the secret out of the file at `path`. One newline at its end is not part of it.
///
/// # Errors
/// The file cannot be read, is empty, holds more than 8 KiB, is not UTF-8, or holds a control character (a second
/// line, most of all) or white space at an end. The fault never tells what stands in it.
pub fn read_credential(path: &Path) -> Result<Secret, Fault> {
    let fault = |message: String| Fault::of_file(path, message);
    let unreadable = |error| fault(format!("cannot be read: {error}; expected a file with one credential"));
    let file = File::open(path).map_err(unreadable)?;
    warn_if_exposed(path, &file.metadata().map_err(unreadable)?);
    // Full capacity from the start: growing would leave a copy behind that nobody wipes.
    let limit = MAX_BYTES + 2;
    let mut bytes = Zeroizing::new(Vec::with_capacity(limit + 1));
    file.take(limit as u64 + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    let text = str::from_utf8(&bytes).map_err(|_| fault(NOT_TEXT.into()))?;
    checked(text).map_err(|wrong| fault(wrong.into()))
}

/// Reads the secret in the environment variable `name`; `None` where it is not set, or empty.
///
/// # Errors
/// As [`read_credential`].
pub fn read_variable(name: &str) -> Result<Option<Secret>, Fault> {
    let Some(value) = std::env::var_os(name).filter(|value| !value.is_empty()) else {
        return Ok(None);
    };
    let fault = |message: &str| Fault::of_file(name, message);
    let text = value.to_str().ok_or_else(|| fault(NOT_TEXT))?;
    checked(text).map(Some).map_err(fault)
}

/// The one credential in `text`; else what is wrong.
fn checked(text: &str) -> Result<Secret, &'static str> {
    let text = text.strip_suffix('\n').unwrap_or(text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    let wrong = if text.is_empty() {
        "is empty; expected one line with the credential"
    } else if text.len() > MAX_BYTES {
        "is too long; expected one line of at most 8 KiB"
    } else if text.chars().any(char::is_control) {
        "holds a second line or a control character; expected one line of text"
    } else if text.trim() != text {
        "starts or ends with white space; expected the credential alone"
    } else {
        return Ok(Secret::new(text.to_owned()));
    };
    Err(wrong)
}

/// Warns in the log where everybody on the machine may read a file that holds a secret.
pub fn warn_if_exposed(path: &Path, metadata: &Metadata) {
    use std::os::unix::fs::PermissionsExt;

    if metadata.permissions().mode() & 0o004 != 0 {
        tracing::warn!(
            file = %path.display(),
            "everybody on this machine may read the file; take the permission away (`chmod o-r`)"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(content: &[u8], want: Result<&str, &str>) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret");
        std::fs::write(&path, content).unwrap();
        let read = read_credential(&path);
        let read = read.as_ref().map(Secret::expose);
        match (read, want) {
            (Ok(text), Ok(want)) => assert_eq!(text, want),
            (Err(fault), Err(want)) => {
                assert!(fault.message.contains(want), "{fault}");
                assert_eq!(fault.file, path);
                assert!(!fault.to_string().contains("hunter2"), "{fault}");
            }
            (read, want) => panic!("{read:?}, not {want:?}"),
        }
    }

    #[test]
    fn one_line_is_a_credential() {
        check(b"hunter2", Ok("hunter2"));
        check(b"hunter2\n", Ok("hunter2"));
        check(b"hunter2\r\n", Ok("hunter2"));
        check(b"a b:c", Ok("a b:c"));
        check(&[b'x'; MAX_BYTES], Ok(&"x".repeat(MAX_BYTES)));
        check(&[&[b'x'; MAX_BYTES][..], b"\r\n"].concat(), Ok(&"x".repeat(MAX_BYTES)));
        check(b"", Err("is empty"));
        check(b"\n", Err("is empty"));
        check(b"hunter2\n\n", Err("second line"));
        check(b"hunter2\nhunter3\n", Err("second line"));
        check(b"hunter2\0", Err("control character"));
        check(b"hunter2 \n", Err("white space"));
        check(b"hunter2\xff", Err("not UTF-8"));
        check(&[b'x'; MAX_BYTES + 1], Err("too long"));
        check(&vec![b'x'; 10 * MAX_BYTES], Err("too long"));
    }

    #[test]
    fn a_missing_file_is_named() {
        let fault = read_credential(Path::new("/nowhere/secret")).unwrap_err();
        assert!(fault.to_string().starts_with("/nowhere/secret: cannot be read: "), "{fault}");
    }
}
