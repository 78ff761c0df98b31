//! Quantities with their unit in the text: `30s`, `32KiB`. Pure.

use std::time::Duration;

use thiserror::Error;

/// Why a text is no quantity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum UnitError {
    /// Not a number and a unit of time.
    #[error("expected a duration: a whole number and `ms`, `s`, `m`, `h` or `d`, such as `30s`")]
    Duration,
    /// Not a number, or a number and a unit of size.
    #[error("expected a size: a whole number of bytes, or one with `KiB`, `MiB` or `GiB`, such as `32KiB`")]
    Size,
    /// Less than a second, where whole seconds are counted.
    #[error("expected at least `1s`")]
    TooShort,
    /// More than can be counted.
    #[error("the number is too large; expected a smaller one")]
    TooLarge,
}

/// Reads a duration: `500ms`, `30s`, `5m`, `12h`, `90d`. A day is 24 hours. The unit is never left out.
///
/// # Errors
/// [`UnitError::Duration`] or [`UnitError::TooLarge`].
pub fn parse_duration(text: &str) -> Result<Duration, UnitError> {
    let (number, unit) = split(text, UnitError::Duration)?;
    let milliseconds = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(UnitError::Duration),
    };
    number.checked_mul(milliseconds).map(Duration::from_millis).ok_or(UnitError::TooLarge)
}

/// Reads a lifetime in whole seconds, one at least.
///
/// # Errors
/// Those of [`parse_duration`], and [`UnitError::TooShort`].
pub fn parse_lifetime(text: &str) -> Result<i64, UnitError> {
    match i64::try_from(parse_duration(text)?.as_secs()) {
        Ok(0) => Err(UnitError::TooShort),
        Ok(seconds) => Ok(seconds),
        Err(_) => Err(UnitError::TooLarge),
    }
}

/// A duration as [`parse_duration`] reads it, in the largest unit that it is a whole number of: `90d`, `36h`, `5s`.
pub fn duration_text(seconds: u64) -> String {
    let units = [(86_400, "d"), (3_600, "h"), (60, "m")];
    let whole = units.iter().find(|(length, _)| seconds > 0 && seconds.is_multiple_of(*length));
    whole.map_or_else(|| format!("{seconds}s"), |(length, unit)| format!("{}{unit}", seconds / length))
}

/// Reads a size in bytes: `8192`, `32KiB`, `1MiB`, `2GiB`. Units of 1000 are refused, for `KB` is read both ways.
///
/// # Errors
/// [`UnitError::Size`] or [`UnitError::TooLarge`].
pub fn parse_size(text: &str) -> Result<u64, UnitError> {
    let (number, unit) = split(text, UnitError::Size)?;
    let bytes = match unit {
        "" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err(UnitError::Size),
    };
    number.checked_mul(bytes).ok_or(UnitError::TooLarge)
}

/// The digits at the start of `text` and what follows them.
fn split(text: &str, otherwise: UnitError) -> Result<(u64, &str), UnitError> {
    let end = text.bytes().take_while(u8::is_ascii_digit).count();
    match text.split_at_checked(end) {
        Some((digits, unit)) if !digits.is_empty() => {
            let number = digits.parse().map_err(|_| UnitError::TooLarge)?;
            Ok((number, unit))
        }
        _ => Err(otherwise),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lifetimes_are_whole_seconds() {
        for (text, want) in [
            ("90d", Ok(90 * 86_400)),
            ("1s", Ok(1)),
            ("1500ms", Ok(1)),
            ("999ms", Err(UnitError::TooShort)),
            ("0d", Err(UnitError::TooShort)),
            ("90", Err(UnitError::Duration)),
        ] {
            assert_eq!(parse_lifetime(text), want, "{text}");
        }
        for (seconds, text) in [
            (0, "0s"),
            (5, "5s"),
            (90, "90s"),
            (120, "2m"),
            (5_400, "90m"),
            (129_600, "36h"),
            (7_776_000, "90d"),
        ] {
            assert_eq!(duration_text(seconds), text);
        }
    }

    #[test]
    fn durations() {
        for (text, want) in [
            ("0s", Ok(Duration::ZERO)),
            ("500ms", Ok(Duration::from_millis(500))),
            ("30s", Ok(Duration::from_secs(30))),
            ("5m", Ok(Duration::from_secs(300))),
            ("12h", Ok(Duration::from_secs(43_200))),
            ("90d", Ok(Duration::from_secs(90 * 86_400))),
            ("30", Err(UnitError::Duration)),
            ("", Err(UnitError::Duration)),
            ("s", Err(UnitError::Duration)),
            ("1.5s", Err(UnitError::Duration)),
            ("-1s", Err(UnitError::Duration)),
            ("1 s", Err(UnitError::Duration)),
            ("1S", Err(UnitError::Duration)),
            ("1h30m", Err(UnitError::Duration)),
            ("1y", Err(UnitError::Duration)),
            ("99999999999999999999s", Err(UnitError::TooLarge)),
            ("9999999999999999999s", Err(UnitError::TooLarge)),
        ] {
            assert_eq!(parse_duration(text), want, "{text}");
        }
    }

    #[test]
    fn sizes() {
        for (text, want) in [
            ("0", Ok(0)),
            ("8192", Ok(8192)),
            ("32KiB", Ok(32_768)),
            ("1MiB", Ok(1_048_576)),
            ("2GiB", Ok(2_147_483_648)),
            ("32KB", Err(UnitError::Size)),
            ("32k", Err(UnitError::Size)),
            ("32 KiB", Err(UnitError::Size)),
            ("0x10", Err(UnitError::Size)),
            ("1_000", Err(UnitError::Size)),
            ("KiB", Err(UnitError::Size)),
            ("99999999999999999999", Err(UnitError::TooLarge)),
            ("99999999999GiB", Err(UnitError::TooLarge)),
        ] {
            assert_eq!(parse_size(text), want, "{text}");
        }
    }
}
