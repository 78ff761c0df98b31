//! `portcullis completions`.

use std::io::Write;

use clap::{Args, CommandFactory};
use clap_complete::{Shell, generate};

use crate::command::output::Output;
use crate::command::{self, Status};

/// Which completions to print.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  portcullis completions bash > /etc/bash_completion.d/portcullis
  portcullis completions zsh > \"${fpath[1]}/_portcullis\"
  portcullis completions fish > ~/.config/fish/completions/portcullis.fish")]
pub struct Arguments {
    /// The shell
    shell: Shell,
}

/// Prints the completions.
///
/// # Errors
/// The output cannot be written.
pub fn run(arguments: &Arguments, output: &mut Output) -> anyhow::Result<Status> {
    // `generate` panics where it cannot write, which memory never gives it cause for.
    let mut script = Vec::new();
    let mut command = command::Arguments::command();
    generate(arguments.shell, &mut command, "portcullis", &mut script);
    output.write_all(&script)?;
    Ok(Status::Fine)
}
