//! A fault in a file that an operator wrote: where, what, and what was expected.

use std::fmt;
use std::path::PathBuf;

/// A place in a file. Lines and columns count from 1; 0 means unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Place {
    /// Line.
    pub line: u64,
    /// Column, in characters.
    pub column: u64,
}

/// One fault. [`fmt::Display`] gives `file:line:column: message` and the offending line with a caret under it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fault {
    /// The file, as the operator would name it.
    pub file: PathBuf,
    /// Where in it.
    pub place: Place,
    /// What is wrong and what was expected.
    pub message: String,
    /// The offending line, without its end.
    pub text: String,
}

impl Fault {
    /// A fault at `place` of `file`, whose whole text is `source`.
    pub fn new(file: impl Into<PathBuf>, place: Place, message: impl Into<String>, source: &str) -> Self {
        let line = usize::try_from(place.line).ok().and_then(|line| line.checked_sub(1));
        let text = line.and_then(|line| source.lines().nth(line)).unwrap_or_default();
        Self { file: file.into(), place, message: message.into(), text: text.trim_end().to_owned() }
    }

    /// A fault of a file as a whole: it cannot be read, or does not exist.
    pub fn of_file(file: impl Into<PathBuf>, message: impl Into<String>) -> Self {
        Self::new(file, Place::default(), message, "")
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if self.place.line > 0 {
            write!(f, ":{}:{}", self.place.line, self.place.column)?;
        }
        write!(f, ": {}", self.message)?;
        if !self.text.is_empty() {
            let column = usize::try_from(self.place.column).unwrap_or(1).max(1);
            let margin = self.place.line.to_string().len();
            write!(f, "\n  {} | {}\n  {:margin$} | {:>column$}", self.place.line, self.text, "", "^")?;
        }
        Ok(())
    }
}

impl std::error::Error for Fault {}

/// Faults in the order of files and lines, as one text.
pub fn describe(faults: &[Fault]) -> String {
    let mut faults: Vec<_> = faults.iter().collect();
    faults.sort();
    faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_points_at_its_text() {
        let fault = Fault::new("a.yaml", Place { line: 2, column: 4 }, "unknown word `c`", "a: b\nx: c\n");
        assert_eq!(fault.to_string(), "a.yaml:2:4: unknown word `c`\n  2 | x: c\n    |    ^");
    }
}
