//! What requests are recorded by: metrics, the audit log, traces.

use crate::app::AppError;
use crate::app::start::connector;
use crate::config::{self, AuditOutput, Config};
use crate::record::Recorder;
use crate::record::audit::{Audit, AuditSettings, Output, WhenFull};
use crate::record::log_files::MOST_FILES;
use crate::record::metrics::Metrics;
use crate::record::sink::Rotation;
use crate::record::traces::{Collector, TraceSettings, Traces};

// Whatever number of files is kept, they are found.
const _: () = assert!(config::audit::MOST_FILES <= MOST_FILES, "files would be kept that nobody looks for");

/// What the configuration asks for.
///
/// # Errors
/// [`AppError::System`]: the audit log cannot be opened; [`AppError`] of the collector of traces.
pub(super) fn recorder(config: &Config) -> Result<Recorder, AppError> {
    let names: Vec<_> = config.upstreams.iter().map(|upstream| upstream.name.clone()).collect();
    let metrics = Metrics::with_tokens(&names, config.metrics.tokens);
    metrics.connections_limited(config.limits.connections);
    let audit = Audit::open(audit_settings(config), &metrics)
        .map_err(|source| AppError::System { what: "opening the audit log".into(), source })?;
    let traces = match &config.tracing {
        None => Traces::off(),
        Some(tracing) => traces(tracing, &metrics)?,
    };
    Ok(Recorder { metrics, audit, traces })
}

fn audit_settings(config: &Config) -> AuditSettings {
    let config::AuditLog { output, when_full, lines, chain, rotation } = &config.audit;
    AuditSettings {
        output: match output {
            AuditOutput::Stdout => Output::Stdout,
            AuditOutput::File(file) => {
                let rotation = rotation.map(|config::Rotation { size, keep }| Rotation {
                    size: u64::try_from(size).unwrap_or(u64::MAX),
                    keep,
                });
                Output::File(file.clone(), rotation)
            }
            AuditOutput::Off => Output::Off,
        },
        when_full: match when_full {
            config::WhenFull::Drop => WhenFull::Drop,
            config::WhenFull::Refuse => WhenFull::Refuse,
        },
        leaves_out_allowed: *lines == config::AuditLines::Refused,
        chain: *chain,
    }
}

fn traces(tracing: &config::Tracing, metrics: &Metrics) -> Result<Traces, AppError> {
    let tls = tracing.tls.as_ref().map(connector).transpose()?;
    let (authority, path) = (tracing.authority.clone(), tracing.path.clone());
    let settings = TraceSettings {
        collector: Collector { authority, path, tls },
        sample: tracing.sample,
        service: tracing.service.clone(),
    };
    Traces::start(settings, metrics)
        .map_err(|source| AppError::System { what: "starting the exporter of traces".into(), source })
}
