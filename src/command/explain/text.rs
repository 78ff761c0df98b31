//! A report for people.

use std::io::{self, Write};

use crate::command::output::Output;
use crate::explain::report::{Outcome, Report, Reports};

/// Writes all reports.
pub(super) fn write(reports: &Reports, output: &mut Output) -> io::Result<()> {
    for (at, report) in reports.requests.iter().enumerate() {
        if at > 0 {
            writeln!(output)?;
        }
        write_one(report, output)?;
    }
    if reports.requests.len() > 1 {
        let verdict = if reports.allowed { "allowed" } else { "refused" };
        writeln!(output, "\n{} requests: {verdict}", reports.requests.len())?;
    }
    Ok(())
}

fn write_one(report: &Report, output: &mut Output) -> io::Result<()> {
    writeln!(output, "{} {} at {}", report.method, report.target, report.host)?;
    let assumed = if report.peer_assumed { " (assumed)" } else { "" };
    writeln!(output, "from {}{assumed} at {}\n", report.peer, report.at)?;
    for step in &report.steps {
        let mark = match step.outcome {
            Outcome::Passed => '✓',
            Outcome::Refused => '✗',
            Outcome::NotReached => '–',
        };
        let line = format!("  {mark} {:>2} {:<11} {}", step.step, step.name, step.found);
        writeln!(output, "{}", line.trim_end())?;
    }
    writeln!(output)?;
    match &report.refusal {
        None => writeln!(output, "allowed")?,
        Some(refusal) => {
            writeln!(output, "refused: {} ({})", refusal.reason, refusal.status)?;
            writeln!(output, "  {}", refusal.message)?;
            if !refusal.missing.is_empty() {
                writeln!(output, "  missing: {}", refusal.missing.join(" and "))?;
            }
        }
    }
    if let Some(enough) = &report.enough {
        writeln!(output, "  enough: {enough}")?;
    }
    if let Some(grantor) = &report.grantor {
        writeln!(output, "  granted by: {grantor}")?;
    }
    for hint in &report.hints {
        writeln!(output, "  {hint}")?;
    }
    for rule in &report.shadow {
        writeln!(output, "  would be refused if it were enforced (mode `shadow`): {rule}")?;
    }
    Ok(())
}
