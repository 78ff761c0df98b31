//! `portcullis serve`.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::IsTerminal;

use clap::{Args, ValueEnum};
use tracing_subscriber::EnvFilter;

use crate::app::inherit::TAKE_OVER;
use crate::app::{self, AppError};
use crate::command::load::and_policy;
use crate::command::output::Output;
use crate::command::{ConfigFile, Status, UsageError, warnings};
use crate::config;
use crate::domain::fault::describe;
use crate::gateway::worker::message;

/// How to serve.
#[derive(Debug, Args)]
#[command(
    after_help = "Policy files are watched: a change is in force within a second, and a bad one is refused as a
whole while the last good state stays. SIGHUP reads them again, and the listeners in the configuration. SIGUSR2
starts the program anew and hands the sockets over without a refused connection. SIGTERM finishes what has
begun, then stops.

Examples:
  portcullis serve
  portcullis serve --config /etc/portcullis/portcullis.yaml --log-format json
  portcullis serve --log info,portcullis=debug

Exit codes: 0 stopped as told, 1 failed, 2 faults in the files."
)]
pub struct Arguments {
    #[command(flatten)]
    config: ConfigFile,
    /// What to log, to standard error: a level, or `module=level` pairs
    #[arg(
        long,
        value_name = "FILTER",
        default_value = "info",
        env = "PORTCULLIS_LOG",
        hide_env_values = true
    )]
    log: String,
    /// How log lines look
    #[arg(
        long,
        value_name = "FORMAT",
        default_value = "text",
        env = "PORTCULLIS_LOG_FORMAT",
        hide_env_values = true
    )]
    log_format: LogFormat,
    /// The sockets that the process hands over which has started this one
    #[arg(long, value_name = "NAMES", env = TAKE_OVER, hide = true, hide_env = true)]
    take_over: Option<String>,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Serves until the process is told to stop.
///
/// # Errors
/// The log filter cannot be read, or the gateway fails.
pub fn run(arguments: &Arguments, output: &mut Output) -> anyhow::Result<Status> {
    start_log(arguments)?;
    log_panics();
    let file = &arguments.config.file;
    let config = match config::load(file) {
        Ok(config) => config,
        Err(faults) => {
            output.message(format_args!("{}", and_policy(file, faults).text()));
            return Ok(Status::Faulty);
        }
    };
    for warning in warnings::of_config(&config) {
        tracing::warn!("{warning}");
    }
    match app::run(&config, file, arguments.take_over.as_deref()) {
        Ok(()) => Ok(Status::Fine),
        Err(AppError::Faults(faults)) => {
            output.message(format_args!("{}", describe(&faults)));
            Ok(Status::Faulty)
        }
        Err(error) => Err(error.into()),
    }
}

fn start_log(arguments: &Arguments) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&arguments.log).map_err(|error| {
        UsageError::new(format!("`--log {}`: {error}; expected such as `info`", arguments.log))
    })?;
    // A journal or a file keeps colours as noise.
    let terminal = std::io::stderr().is_terminal();
    let log =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(terminal);
    let started = match arguments.log_format {
        LogFormat::Text => log.try_init(),
        LogFormat::Json => log.json().try_init(),
    };
    started.map_err(anyhow::Error::from_boxed)
}

/// Has panics told in the log, as everything else is, with the place and, where `RUST_BACKTRACE` asks for it, the way to it.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let text = message(panic.payload());
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let thread = std::thread::current();
        let backtrace = Backtrace::capture();
        let backtrace = (backtrace.status() == BacktraceStatus::Captured).then(|| backtrace.to_string());
        tracing::error!(thread = thread.name(), place, backtrace, "panicked: {text}");
    }));
}
