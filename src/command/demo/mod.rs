//! `portcullis demo`: two repositories, two tokens, and commands to paste that show what the tokens can do.

mod files;
mod walk;

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;

use crate::app::signals::Signals;
use crate::app::start::start;
use crate::command::output::Output;
use crate::command::{Status, UsageError};
use crate::config;
use crate::domain::fault::describe;

/// How to show it.
#[derive(Debug, Args)]
#[command(
    after_help = "Makes acme/alpha and acme/beta, a token that reads acme/alpha and one that writes it, serves them on
loopback, and prints commands to paste into a second terminal. Needs git, and nothing else.

Examples:
  portcullis demo                      serve, and print the commands
  portcullis demo --walk               run the commands here and show what they print, then end
  portcullis demo --directory ./try    keep the files, to look at and to go on with"
)]
pub struct Arguments {
    /// Where the files go; it must not exist yet. Default: a temporary directory, removed at the end
    #[arg(long, value_name = "DIRECTORY")]
    directory: Option<PathBuf>,
    /// The port to serve on; another one is taken where it is in use
    #[arg(long, value_name = "PORT", default_value_t = 8470)]
    port: u16,
    /// Run the commands here, show what they print, and end
    #[arg(long)]
    walk: bool,
}

/// Shows it.
///
/// # Errors
/// git is missing, the directory cannot be written, or nothing can be served.
pub fn run(arguments: &Arguments, output: &mut Output) -> anyhow::Result<Status> {
    let temporary = match &arguments.directory {
        Some(directory) if directory.exists() => {
            let message = format!("`{}` exists already; name a directory that does not", directory.display());
            return Err(UsageError::new(message).into());
        }
        Some(_) => None,
        None => Some(
            tempfile::Builder::new().prefix("portcullis-demo-").tempdir().context("making a directory")?,
        ),
    };
    let kept = arguments.directory.clone().unwrap_or_default();
    let root = temporary.as_ref().map_or(kept.as_path(), tempfile::TempDir::path);
    let served = serve_in(root, arguments, output);
    drop(temporary);
    served
}

fn serve_in(root: &Path, arguments: &Arguments, output: &mut Output) -> anyhow::Result<Status> {
    let port = free_port(arguments.port)?;
    let demo = files::Demo::make(root, port)?;
    let config = config::load(&demo.config).map_err(|faults| anyhow::anyhow!("{}", describe(&faults)))?;
    if arguments.walk {
        let running = start(&config, &demo.config)?;
        let walked = walk::walk(&demo, &running, output);
        running.stop()?;
        return walked;
    }
    let signals = Signals::listen()?;
    let running = start(&config, &demo.config)?;
    introduce(&demo, output)?;
    signals.until_told(running)?;
    Ok(Status::Fine)
}

/// `wanted`, or where it is in use another one.
fn free_port(wanted: u16) -> anyhow::Result<u16> {
    let bind = |port| TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    let listener = bind(wanted).or_else(|_| bind(0)).context("looking for a free port")?;
    Ok(listener.local_addr()?.port())
}

fn introduce(demo: &files::Demo, output: &mut Output) -> anyhow::Result<()> {
    writeln!(output, "Portcullis serves acme/alpha and acme/beta at {}", demo.url)?;
    writeln!(output, "Policy: {}   Audit log: {}\n", demo.tokens_file.display(), demo.audit_log.display())?;
    writeln!(output, "Paste into a second terminal:\n")?;
    writeln!(output, "    cd {}", demo.work.display())?;
    writeln!(output, "    export READ={}", demo.reader.expose())?;
    writeln!(output, "    export WRITE={}", demo.writer.expose())?;
    for step in walk::steps(demo) {
        writeln!(output, "\n# {}", step.shows)?;
        writeln!(output, "    {}", step.command)?;
    }
    writeln!(output, "\nCtrl-C ends it, and removes the files.")?;
    output.flush()?;
    Ok(())
}
