//! The JSON of audit lines.
//!
//! Written by hand, since it is most of what a line costs: names of fields are pieces of constant text, texts without
//! anything to escape are copied whole, and the second that a line begins with is made once a second.

use std::io::{self, Write};

use jiff::Timestamp;

use crate::clock;
use crate::record::labels::Verdict;
use crate::record::line::{Field, Line, RequestPath};

const MICROS: i64 = 1_000_000;

/// Writes lines.
#[derive(Debug)]
pub(crate) struct LineWriter {
    /// The second of the last line, and its text up to the point.
    second: i64,
    text: String,
}

impl LineWriter {
    pub(crate) fn new() -> Self {
        Self { second: i64::MIN, text: String::new() }
    }

    /// Writes `line`, whose texts are in `texts`, with a line feed, behind what `output` holds. The order of the fields
    /// is part of the format.
    ///
    /// # Errors
    /// None is known; `output` may then end within a line.
    pub(crate) fn write(&mut self, line: &Line, texts: &str, output: &mut Vec<u8>) -> io::Result<()> {
        let text = |field| line.text(texts, field);
        output.extend_from_slice(b"{\"time\":\"");
        self.time(line.time, output)?;
        output.extend_from_slice(b"\",\"request_id\":");
        text_or_null(text(Field::RequestId).or(Some("")), output)?;
        output.extend_from_slice(b",\"upstream\":");
        text_or_null(text(Field::Upstream), output)?;
        output.extend_from_slice(b",\"method\":");
        text_or_null(text(Field::Method), output)?;
        output.extend_from_slice(b",\"path\":");
        let path = text(Field::Path).map(|path| RequestPath(path).shown());
        text_or_null(path.as_deref(), output)?;
        for (name, field) in [
            (&b",\"route\":"[..], Field::Route),
            (b",\"token_id\":", Field::TokenId),
            (b",\"token_name\":", Field::TokenName),
            (b",\"user\":", Field::User),
            (b",\"resource\":", Field::Resource),
            (b",\"permission\":", Field::Permission),
        ] {
            output.extend_from_slice(name);
            text_or_null(text(field), output)?;
        }
        outcome(line, output)
    }

    fn time(&mut self, micros: i64, output: &mut Vec<u8>) -> io::Result<()> {
        let second = micros.div_euclid(MICROS);
        if second != self.second || self.text.is_empty() {
            let moment = Timestamp::from_second(second).unwrap_or_default();
            self.text = clock::rfc3339_micros(moment);
            // What stands behind the point, and the zone, follow for each line.
            self.text.truncate(self.text.rfind('.').unwrap_or_default());
            self.second = second;
        }
        output.extend_from_slice(self.text.as_bytes());
        write!(output, ".{:06}Z", micros.rem_euclid(MICROS))
    }
}

/// From the verdict to the end.
fn outcome(line: &Line, output: &mut Vec<u8>) -> io::Result<()> {
    output.extend_from_slice(b",\"verdict\":");
    text_or_null(line.verdict.map(Verdict::as_str), output)?;
    for (name, word) in [
        (&b",\"mode\":\""[..], line.mode.as_str()),
        (b"\",\"effect\":\"", line.effect.as_str()),
        (b"\",\"reason\":\"", line.reason),
    ] {
        output.extend_from_slice(name);
        output.extend_from_slice(word.as_bytes());
    }
    output.extend_from_slice(b"\",\"status\":");
    serde_json::to_writer(&mut *output, &line.status.map(|status| status.as_u16()))?;
    output.extend_from_slice(b",\"request_bytes\":");
    serde_json::to_writer(&mut *output, &line.request_bytes)?;
    output.extend_from_slice(b",\"response_bytes\":");
    serde_json::to_writer(&mut *output, &line.response_bytes)?;
    output.extend_from_slice(b",\"seconds\":");
    serde_json::to_writer(&mut *output, &rounded(line.duration.as_secs_f64()))?;
    output.extend_from_slice(b",\"decision_microseconds\":");
    let decision = line.decision.map(|decision| rounded(decision.as_secs_f64() * 1e6));
    serde_json::to_writer(&mut *output, &decision)?;
    write!(output, ",\"peer\":\"{}\",\"policy_generation\":", line.peer.to_canonical())?;
    serde_json::to_writer(&mut *output, &line.policy_generation)?;
    for (at, rule) in line.shadow.iter().enumerate() {
        output.extend_from_slice(if at == 0 { b",\"shadow\":[" } else { b"," });
        text_or_null(Some(rule), output)?;
    }
    output.extend_from_slice(if line.shadow.is_empty() { b"}\n" } else { b"]}\n" });
    Ok(())
}

fn text_or_null(text: Option<&str>, output: &mut Vec<u8>) -> io::Result<()> {
    let Some(text) = text else {
        output.extend_from_slice(b"null");
        return Ok(());
    };
    // No early end: so the compiler looks at many bytes at a time.
    let is_special = |byte: u8| byte < b' ' || byte == b'"' || byte == b'\\';
    let is_plain = !text.bytes().fold(false, |found, byte| found | is_special(byte));
    if is_plain {
        output.push(b'"');
        output.extend_from_slice(text.as_bytes());
        output.push(b'"');
        return Ok(());
    }
    Ok(serde_json::to_writer(output, text)?)
}

/// Six digits behind the point: finer is noise.
fn rounded(value: f64) -> f64 {
    (value * 1e6).round() / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str) {
        let mut output = Vec::new();
        text_or_null(Some(text), &mut output).unwrap();
        assert_eq!(str::from_utf8(&output).unwrap(), serde_json::to_string(text).unwrap());
    }

    #[test]
    fn texts_are_escaped_where_they_must_be() {
        for text in ["", "plain", "ü ✓ \u{7f}", "a\"b", "a\\b", "a\nb", "\u{1f}", "\0"] {
            check(text);
            check(&format!("{}{text}{}", "x".repeat(40), "y".repeat(40)));
        }
    }

    #[test]
    fn times_are_those_of_their_line() {
        let mut writer = LineWriter::new();
        for (micros, want) in [
            (0, "1970-01-01T00:00:00.000000Z"),
            (999_999, "1970-01-01T00:00:00.999999Z"),
            (1_000_000_000_000_123, "2001-09-09T01:46:40.000123Z"),
            (1_000_000_001_000_000, "2001-09-09T01:46:41.000000Z"),
            (-1, "1969-12-31T23:59:59.999999Z"),
        ] {
            let mut output = Vec::new();
            writer.time(micros, &mut output).unwrap();
            assert_eq!(str::from_utf8(&output).unwrap(), want);
        }
    }
}
