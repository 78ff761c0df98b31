//! Standard output and standard error, as commands use them.
//!
//! Results go to standard output, messages to standard error. Where the reader of the results has gone (`| head`), the
//! rest of them is dropped and the command ends as it would have.

use std::fmt::Arguments;
use std::io::{self, ErrorKind, Write};

/// Where a command writes.
#[derive(Debug, Default)]
pub struct Output {
    closed: bool,
}

impl Output {
    /// Tells the person at the terminal something that is not a result. A message that cannot be told is dropped.
    pub fn message(&self, text: Arguments<'_>) {
        drop(writeln!(io::stderr(), "{text}"));
    }

    /// Writes `value` as JSON.
    ///
    /// # Errors
    /// The output cannot be written.
    pub fn json(&mut self, value: &impl serde::Serialize) -> io::Result<()> {
        serde_json::to_writer_pretty(&mut *self, value)?;
        writeln!(self)
    }

    fn forgive<T>(&mut self, result: io::Result<T>, otherwise: T) -> io::Result<T> {
        match result {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {
                self.closed = true;
                Ok(otherwise)
            }
            result => result,
        }
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.closed {
            return Ok(bytes.len());
        }
        let written = io::stdout().write(bytes);
        self.forgive(written, bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.closed {
            return Ok(());
        }
        let flushed = io::stdout().flush();
        self.forgive(flushed, ())
    }
}
