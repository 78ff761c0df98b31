//! Which lines are kept, and in which chain.

use std::io;
use std::path::Path;

use crate::record::audit::chain::{self, BEFORE_ALL, Chain, Hash};
use crate::record::json::LineWriter;
use crate::record::line::Line;
use crate::record::log_files::rotated;

/// The hash that the first line of this process follows: the last one in `path`, or in the file before it.
pub(super) fn head_of(path: &Path) -> io::Result<Hash> {
    let found = match chain::last_of(path)? {
        None => chain::last_of(&rotated(path, 1))?,
        found => found,
    };
    Ok(found.unwrap_or(BEFORE_ALL))
}

/// Which lines are kept, and in which chain.
#[derive(Debug, Default)]
pub(super) struct Kept {
    pub(super) chain: Option<Chain>,
    pub(super) leaves_out_allowed: bool,
}

impl Kept {
    /// What is written next begins a file.
    pub(super) fn begin(&mut self) {
        if let Some(chain) = &mut self.chain {
            chain.begin();
        }
    }

    /// So many of the lines since the last call have gone out.
    pub(super) fn settle(&mut self, written: usize) {
        if let Some(chain) = &mut self.chain {
            chain.settle(written);
        }
    }

    /// Writes a line behind what `output` holds, where it is kept. Gives how many lines that are.
    pub(super) fn write(
        &mut self,
        json: &mut LineWriter,
        (line, text): (&Line, &str),
        output: &mut Vec<u8>,
    ) -> io::Result<usize> {
        if self.leaves_out_allowed && line.was_let_through() {
            return Ok(0);
        }
        let start = output.len();
        json.write(line, text, output)?;
        if let Some(chain) = &mut self.chain {
            chain.seal(output, start);
        }
        Ok(1)
    }
}
