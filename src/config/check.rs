//! Checks of single values, and the list of faults that they add to.

use std::fmt::Display;
use std::fs::Metadata;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::HeaderName;

use crate::domain::fault::{Fault, Place};
use crate::units::{parse_duration, parse_size};
use crate::yaml::{Spanned, place};

/// The longest name of an upstream or a catalog.
const MAX_NAME: usize = 40;

/// No limit of a request or of a drain is longer than a day.
const MAX_DURATION: Duration = Duration::from_secs(24 * 60 * 60);

/// Fields that a proxy ends, writes itself, or that say how the message is read. A user's name in one of them would
/// break the message or be taken off again (RFC 9110 section 7.6.1).
const RESERVED_FIELDS: &[&str] = &[
    "accept-encoding",
    "authorization",
    "connection",
    "cookie",
    "expect",
    "forwarded",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "range",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
];

/// Gathers faults of one file. A check gives `None` exactly where it has added a fault.
pub(super) struct Checker<'a> {
    file: &'a Path,
    text: &'a str,
    faults: Vec<Fault>,
}

/// What metrics and audit lines say where a request is for no upstream.
const NO_UPSTREAM: &str = "none";

impl<'a> Checker<'a> {
    pub(super) fn new(file: &'a Path, text: &'a str) -> Self {
        Self { file, text, faults: Vec::new() }
    }

    /// The faults, in the order of lines.
    pub(super) fn finish(mut self) -> Vec<Fault> {
        self.faults.sort();
        self.faults
    }

    /// Adds a fault. Gives nothing, so that a check can end with it.
    pub(super) fn fault<T>(&mut self, place: Place, message: impl Into<String>) -> Option<T> {
        self.faults.push(Fault::new(self.file, place, message, self.text));
        None
    }

    /// Adds a fault that does not show its line, for there may be a secret in it.
    pub(super) fn fault_without_text<T>(&mut self, place: Place, message: &str) -> Option<T> {
        self.faults.push(Fault::new(self.file, place, message, ""));
        None
    }

    /// The value of a field that must stand in the mapping at `place`.
    pub(super) fn required<T>(&mut self, field: Option<T>, name: &str, place: Place) -> Option<T> {
        if field.is_none() {
            let message = format!("the field `{name}` is missing or empty in this mapping; add it");
            return self.fault(place, message);
        }
        field
    }

    /// `result`, or the fault `<error>, not <value>` at the place of `value`.
    pub(super) fn accept<T, E: Display>(
        &mut self,
        value: &Spanned<String>,
        result: Result<T, E>,
    ) -> Option<T> {
        match result {
            Ok(accepted) => Some(accepted),
            Err(expected) => self.fault(place(value), format!("{expected}, not `{}`", value.value)),
        }
    }

    /// The directory of the file, where relative paths start.
    pub(super) fn directory(&self) -> PathBuf {
        match self.file.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.into(),
            _ => ".".into(),
        }
    }

    /// `value` from the directory of the file, which is not checked to exist.
    pub(super) fn path(&mut self, value: &Spanned<String>) -> Option<PathBuf> {
        if value.value.is_empty() {
            return self.fault(place(value), "expected a path; relative ones start at this file's directory");
        }
        Some(self.directory().join(&value.value))
    }

    /// A file that exists.
    pub(super) fn file(&mut self, value: &Spanned<String>) -> Option<PathBuf> {
        self.existing(value, "file", |found| !found.is_dir())
    }

    /// A directory that exists.
    pub(super) fn existing_directory(&mut self, value: &Spanned<String>) -> Option<PathBuf> {
        self.existing(value, "directory", Metadata::is_dir)
    }

    fn existing(
        &mut self,
        value: &Spanned<String>,
        kind: &str,
        fits: impl Fn(&Metadata) -> bool,
    ) -> Option<PathBuf> {
        let path = self.path(value)?;
        let shown = path.display();
        match path.metadata() {
            Ok(found) if fits(&found) => Some(path),
            Ok(_) => self.fault(place(value), format!("expected a {kind}; `{shown}` is none")),
            Err(error) => {
                let message = format!("expected an existing {kind}; `{shown}`: {error}");
                self.fault(place(value), message)
            }
        }
    }

    /// An address to listen on.
    pub(super) fn address(&mut self, value: &Spanned<String>) -> Option<SocketAddr> {
        let expected = "expected an IP address and a port, such as `0.0.0.0:8443` or `[::]:8443`";
        self.accept(value, value.value.parse().map_err(|_| expected))
    }

    /// The name of an upstream or a catalog.
    pub(super) fn name(&mut self, value: &Spanned<String>) -> Option<String> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let name = &value.value;
        let fits =
            !name.is_empty() && name.len() <= MAX_NAME && name.bytes().all(plain) && name != NO_UPSTREAM;
        let expected = "expected a name of 1 to 40 lower-case letters, digits and `-`, other than `none`";
        self.accept(value, if fits { Ok(name.clone()) } else { Err(expected) })
    }

    /// The name of a field that carries a user's name to an upstream.
    pub(super) fn identity_header(&mut self, value: &Spanned<String>) -> Option<HeaderName> {
        let expected = "expected the name of a header field, such as `X-WEBAUTH-USER`";
        let name: HeaderName = self.accept(value, value.value.parse().map_err(|_| expected))?;
        if RESERVED_FIELDS.contains(&name.as_str()) || name.as_str().starts_with("content-") {
            let message = format!(
                "the header field `{name}` has a meaning of its own; expected one that carries nothing else"
            );
            return self.fault(place(value), message);
        }
        Some(name)
    }

    /// A number within `range`, or `default` where the field is absent.
    pub(super) fn number(
        &mut self,
        field: Option<&Spanned<u64>>,
        range: RangeInclusive<usize>,
        default: usize,
    ) -> Option<usize> {
        let Some(field) = field else {
            return Some(default);
        };
        match usize::try_from(field.value) {
            Ok(number) if range.contains(&number) => Some(number),
            _ => {
                let message = format!("expected a number from {} to {}", range.start(), range.end());
                self.fault(place(field), message)
            }
        }
    }

    /// A size within `range`, or `default` where the field is absent.
    pub(super) fn size(
        &mut self,
        field: Option<&Spanned<String>>,
        range: RangeInclusive<usize>,
        default: usize,
    ) -> Option<usize> {
        let Some(field) = field else {
            return Some(default);
        };
        let size = self.accept(field, parse_size(&field.value))?;
        match usize::try_from(size) {
            Ok(size) if range.contains(&size) => Some(size),
            _ => {
                let message = format!("expected a size from {} to {} bytes", range.start(), range.end());
                self.fault(place(field), message)
            }
        }
    }

    /// A duration from a millisecond to a day, or `default` where the field is absent.
    pub(super) fn duration(
        &mut self,
        field: Option<&Spanned<String>>,
        default: Duration,
    ) -> Option<Duration> {
        let Some(field) = field else {
            return Some(default);
        };
        let duration = self.accept(field, parse_duration(&field.value))?;
        if duration.is_zero() || duration > MAX_DURATION {
            return self.fault(place(field), "expected a duration from `1ms` to `24h`");
        }
        Some(duration)
    }
}
