//! The `portcullis` command: reads the arguments, calls the subcommand, turns its outcome into an exit code.

use std::io::Write;
use std::process::ExitCode;

use portcullis::command::output::Output;
use portcullis::command::{Status, parse, report, run};

/// A request asks for memory some dozen times; this one is faster at it, and gives more of it back.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let mut output = Output::default();
    let status = start(&mut output);
    status.unwrap_or_else(|error| report(&error, &output)).into()
}

fn start(output: &mut Output) -> anyhow::Result<Status> {
    let arguments = parse(std::env::args_os().collect())?;
    let status = run(arguments, output)?;
    output.flush()?;
    Ok(status)
}
