//! A password on standard input: never an argument, which everybody on the machine could see.

use std::io::{BufRead, IsTerminal, Read};

use zeroize::Zeroizing;

use crate::command::UsageError;
use crate::command::output::Output;
use crate::domain::secret::Secret;

/// More than any password, bytes.
const INPUT_LIMIT: u64 = 4096;

/// The one line on standard input.
///
/// # Errors
/// [`UsageError`] where there is none, or more than one. Tells nothing of what was read.
pub fn read_password(output: &Output) -> Result<Secret, UsageError> {
    let input = std::io::stdin();
    let limit = usize::try_from(INPUT_LIMIT).unwrap_or_default();
    let mut text = Zeroizing::new(String::with_capacity(limit));
    let read = if input.is_terminal() {
        output.message(format_args!("Type the password, which is shown, and press Enter:"));
        input.lock().take(INPUT_LIMIT).read_line(&mut text)
    } else {
        input.lock().take(INPUT_LIMIT).read_to_string(&mut text)
    };
    read.map_err(|error| {
        UsageError(format!("standard input cannot be read: {error}; expected one line with a password"))
    })?;
    let line = text.strip_suffix('\n').unwrap_or(&text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    if line.is_empty() || line.contains(char::is_control) {
        return Err(UsageError::new("standard input: expected one line with a password"));
    }
    Ok(Secret::new(line.to_owned()))
}
