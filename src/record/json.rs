//! The JSON of audit lines.
//!
//! Written by hand, since it is most of what a line costs: names of fields are pieces of constant text, texts without
//! anything to escape are copied whole, and the second that a line begins with is made once a second.

use std::io::{self, Write};
use std::net::IpAddr;
use std::time::Duration;

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
        self.time(line.time, output);
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
            (b",\"hashed_token\":", Field::HashedToken),
            (b",\"user\":", Field::User),
            (b",\"resource\":", Field::Resource),
            (b",\"permission\":", Field::Permission),
        ] {
            output.extend_from_slice(name);
            text_or_null(text(field), output)?;
        }
        outcome(line, output)
    }

    fn time(&mut self, micros: i64, output: &mut Vec<u8>) {
        let second = micros.div_euclid(MICROS);
        if second != self.second || self.text.is_empty() {
            let moment = Timestamp::from_second(second).unwrap_or_default();
            self.text = clock::rfc3339_micros(moment);
            // What stands behind the point, and the zone, follow for each line.
            self.text.truncate(self.text.rfind('.').unwrap_or_default());
            self.second = second;
        }
        output.extend_from_slice(self.text.as_bytes());
        output.push(b'.');
        push_number(micros.rem_euclid(MICROS).unsigned_abs(), 6, output);
        output.push(b'Z');
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
    match line.status {
        Some(status) => output.extend_from_slice(status.as_str().as_bytes()),
        None => output.extend_from_slice(b"null"),
    }
    output.extend_from_slice(b",\"request_bytes\":");
    push_number(line.request_bytes, 1, output);
    output.extend_from_slice(b",\"response_bytes\":");
    push_number(line.response_bytes, 1, output);
    output.extend_from_slice(b",\"seconds\":");
    // To the microsecond: finer is noise.
    push_decimal(rounded(line.duration) * 1000, 9, output);
    output.extend_from_slice(b",\"decision_microseconds\":");
    match line.decision {
        Some(decision) => push_decimal(nanoseconds(decision), 3, output),
        None => output.extend_from_slice(b"null"),
    }
    output.extend_from_slice(b",\"peer\":\"");
    push_address(line.peer.to_canonical(), output)?;
    output.extend_from_slice(b"\",\"policy_generation\":");
    match line.policy_generation {
        Some(generation) => push_number(generation, 1, output),
        None => output.extend_from_slice(b"null"),
    }
    for (at, rule) in line.shadow.iter().enumerate() {
        output.extend_from_slice(if at == 0 { b",\"shadow\":[" } else { b"," });
        text_or_null(Some(rule), output)?;
    }
    output.extend_from_slice(if line.shadow.is_empty() { b"}\n" } else { b"]}\n" });
    Ok(())
}

fn text_or_null(text: Option<&str>, output: &mut Vec<u8>) -> io::Result<()> {
    if let Some(text) = text {
        return push_text(text, output);
    }
    output.extend_from_slice(b"null");
    Ok(())
}

/// Writes a text, with the marks around it.
///
/// # Errors
/// None is known.
pub(crate) fn push_text(text: &str, output: &mut Vec<u8>) -> io::Result<()> {
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

/// Writes `number`, in as many digits as it has, and `least` at least.
fn push_number(mut number: u64, least: usize, output: &mut Vec<u8>) {
    // The longest has 20.
    let mut digits = [b'0'; 20];
    let mut count = 0;
    for digit in digits.iter_mut().rev() {
        if number == 0 && count >= least {
            break;
        }
        *digit = b'0' + (number % 10).to_le_bytes()[0];
        number /= 10;
        count += 1;
    }
    output.extend_from_slice(digits.get(digits.len() - count..).unwrap_or_default());
}

/// Writes `nanoseconds` in units of 10^`digits` of them, with what stands behind the point as far as it is not nothing.
fn push_decimal(nanoseconds: u64, digits: u32, output: &mut Vec<u8>) {
    let unit = 10_u64.pow(digits);
    push_number(nanoseconds / unit, 1, output);
    let (mut behind, mut places) = (nanoseconds % unit, digits as usize);
    while behind > 0 && behind.is_multiple_of(10) {
        behind /= 10;
        places -= 1;
    }
    output.push(b'.');
    push_number(behind, if behind == 0 { 1 } else { places }, output);
}

fn push_address(address: IpAddr, output: &mut Vec<u8>) -> io::Result<()> {
    let IpAddr::V4(address) = address else { return write!(output, "{address}") };
    for (at, part) in address.octets().into_iter().enumerate() {
        if at > 0 {
            output.push(b'.');
        }
        push_number(part.into(), 1, output);
    }
    Ok(())
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Microseconds, up or down.
fn rounded(time: Duration) -> u64 {
    nanoseconds(time).saturating_add(500) / 1000
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
    fn numbers_are_json() {
        for number in [0, 9, 10, 123_456, u64::MAX] {
            let mut output = Vec::new();
            push_number(number, 1, &mut output);
            assert_eq!(output, number.to_string().as_bytes());
        }
        for (nanoseconds, digits, want) in [
            (0, 9, "0.0"),
            (1000, 9, "0.000001"),
            (1_230_000_000, 9, "1.23"),
            (60_000_000_000, 9, "60.0"),
            (u64::MAX, 9, "18446744073.709551615"),
            (1500, 3, "1.5"),
            (1007, 3, "1.007"),
            (12_000, 3, "12.0"),
        ] {
            let mut output = Vec::new();
            push_decimal(nanoseconds, digits, &mut output);
            assert_eq!(str::from_utf8(&output).unwrap(), want);
            serde_json::from_slice::<f64>(&output).unwrap();
        }
        for (time, want) in [(0, 0), (499, 0), (500, 1), (1_499, 1)] {
            assert_eq!(rounded(Duration::from_nanos(time)), want);
        }
    }

    #[test]
    fn addresses_are_as_they_are_written() {
        for address in ["0.0.0.0", "192.0.2.7", "255.255.255.255", "::1", "2001:db8::7"] {
            let mut output = Vec::new();
            push_address(address.parse().unwrap(), &mut output).unwrap();
            assert_eq!(output, address.as_bytes());
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
            writer.time(micros, &mut output);
            assert_eq!(str::from_utf8(&output).unwrap(), want);
        }
    }
}
