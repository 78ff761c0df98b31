//! The head of a request of HTTP/2, out of its fields (RFC 9113 section 8).
//!
//! The same rules as for HTTP/1 wherever both have the matter, and the same form behind them: the target alone in the
//! URI, the host's name in `Host`.

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, Version, header};

use crate::domain::refusal::{FramingError, Limit};
use crate::domain::target::TargetError;
use crate::framing::head::fields::Fields;
use crate::framing::head::{
    BodyFraming, HeadFault, HeadLimits, RequestHead, USUAL_FIELDS, check_target, longest_target, may_trail,
};
use crate::framing::hpack::{Field, Name, Value};

/// What a field weighs beside its text, as in HTTP/1: a colon, a space, an end of line.
const AROUND: usize = 4;

/// What the fields of the connection are called, which HTTP/2 has not (RFC 9113 section 8.2.2).
const OF_CONNECTION: [&str; 6] =
    ["connection", "proxy-connection", "keep-alive", "transfer-encoding", "upgrade", "http2-settings"];

/// Whether the fields are all there is of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behind {
    /// A body comes behind them.
    Body,
    /// Nothing does.
    Nothing,
}

/// The fields of a request's head, as they come.
#[derive(Debug)]
pub struct HeadFields<'a> {
    limits: &'a HeadLimits,
    bytes: usize,
    method: Option<Method>,
    target: Option<Bytes>,
    has_scheme: bool,
    authority: Option<HeaderValue>,
    headers: HeaderMap,
    fields: Fields,
    /// The first one.
    fault: Option<HeadFault>,
}

impl<'a> HeadFields<'a> {
    /// None yet.
    pub fn new(limits: &'a HeadLimits) -> Self {
        Self {
            limits,
            bytes: 0,
            method: None,
            target: None,
            has_scheme: false,
            authority: None,
            headers: HeaderMap::with_capacity(USUAL_FIELDS),
            fields: Fields::default(),
            fault: None,
        }
    }

    /// Takes the next field. Behind a fault it is only passed over: others may refer to it.
    pub fn take(&mut self, field: &Field) {
        if self.fault.is_some() {
            return;
        }
        self.bytes += field.length + AROUND;
        let taken = if self.bytes > self.limits.header_bytes {
            Err(Limit::HeaderBytes.into())
        } else {
            self.take_field(field)
        };
        self.fault = taken.err();
    }

    fn take_field(&mut self, field: &Field) -> Result<(), HeadFault> {
        match (&field.name, &field.value) {
            (Name::Header(name), Value::Header(value)) => self.take_header(name, value),
            (Name::Header(_), Value::Text(_) | Value::Malformed) => Err(FramingError::FieldValue.into()),
            (Name::Malformed, _) => Err(FramingError::FieldName.into()),
            (Name::Method | Name::Scheme | Name::Authority | Name::Path | Name::UnknownPseudo, _) => {
                self.take_pseudo(&field.name, &field.value)
            }
        }
    }

    /// What the request line of HTTP/1 says, and the host's name: once each, and before all other fields.
    fn take_pseudo(&mut self, name: &Name, value: &Value) -> Result<(), HeadFault> {
        let fault = HeadFault::from(FramingError::PseudoField);
        if !self.headers.is_empty() {
            return Err(fault);
        }
        let is_first = match (name, value) {
            (Name::Method, Value::Text(text)) => {
                let method = Method::from_bytes(text).map_err(|_| FramingError::RequestLine)?;
                self.method.replace(method).is_none()
            }
            (Name::Path, Value::Text(text)) => {
                if text.len() > longest_target(self.limits) {
                    return Err(Limit::TargetLength.into());
                }
                self.target.replace(text.clone()).is_none()
            }
            (Name::Scheme, Value::Text(text)) => {
                let is_known = text.eq_ignore_ascii_case(b"https") || text.eq_ignore_ascii_case(b"http");
                is_known && !std::mem::replace(&mut self.has_scheme, true)
            }
            (Name::Authority, Value::Header(value)) => {
                self.fields.take(header::HOST.as_str().as_bytes(), value.as_bytes())?;
                self.authority.replace(value.clone()).is_none()
            }
            (Name::Authority, _) => return Err(FramingError::Host.into()),
            _ => false,
        };
        if is_first { Ok(()) } else { Err(fault) }
    }

    fn take_header(&mut self, name: &HeaderName, value: &HeaderValue) -> Result<(), HeadFault> {
        if self.headers.len() >= self.limits.header_count {
            return Err(Limit::HeaderCount.into());
        }
        let is_te = *name == header::TE;
        if OF_CONNECTION.contains(&name.as_str())
            || is_te && !value.as_bytes().eq_ignore_ascii_case(b"trailers")
        {
            return Err(FramingError::ConnectionField.into());
        }
        match &self.authority {
            // Both may be said, if they say the same, and each once.
            Some(authority) if *name == header::HOST => {
                let is_same = authority.as_bytes().eq_ignore_ascii_case(value.as_bytes());
                if !is_same || self.headers.contains_key(name) {
                    return Err(FramingError::Host.into());
                }
            }
            _ => self.fields.take(name.as_str().as_bytes(), value.as_bytes())?,
        }
        self.headers.append(name, value.clone());
        Ok(())
    }

    /// The head, when all fields have come.
    ///
    /// # Errors
    /// The first fault in the order of the fields; then what is missing.
    pub fn head(self, behind: Behind) -> Result<Box<RequestHead>, HeadFault> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        let missing = HeadFault::from(FramingError::PseudoField);
        let method = self.method.ok_or(missing)?;
        // It has no target at all (RFC 9113 section 8.5).
        if method == Method::CONNECT {
            return Err(TargetError::NotOriginForm.into());
        }
        let target = self.target.filter(|_| self.has_scheme).ok_or(missing)?;
        check_target(method.as_str().as_bytes(), &target)?;
        let body = match (self.fields.framing(Version::HTTP_2)?, behind) {
            (BodyFraming::Empty, Behind::Nothing) => BodyFraming::Empty,
            (BodyFraming::Length(_) | BodyFraming::Chunked, Behind::Nothing) => {
                return Err(FramingError::ContentLength.into());
            }
            // How much there is must be true, also where it is nothing.
            (_, Behind::Body) => self.fields.length.map_or(BodyFraming::Chunked, BodyFraming::Length),
        };
        let mut headers = self.headers;
        // A `Host` that stood beside it said the same.
        if let Some(authority) = self.authority {
            headers.insert(header::HOST, authority);
        }
        let mut read = Box::<RequestHead>::default();
        read.parts.method = method;
        read.parts.uri = PathAndQuery::from_maybe_shared(target)
            .map(Uri::from)
            .map_err(|_| TargetError::InvalidCharacter)?;
        read.parts.version = Version::HTTP_2;
        read.parts.headers = headers;
        read.body = body;
        read.persistent = true;
        read.expects_continue = self.fields.expects_continue;
        read.takes_trailers = true;
        Ok(read)
    }
}

/// The trailers of a request, as they come.
#[derive(Debug)]
pub struct TrailerFields<'a> {
    limits: &'a HeadLimits,
    bytes: usize,
    trailers: Result<HeaderMap, FramingError>,
}

impl<'a> TrailerFields<'a> {
    /// None yet.
    pub fn new(limits: &'a HeadLimits) -> Self {
        Self { limits, bytes: 0, trailers: Ok(HeaderMap::new()) }
    }

    /// Takes the next field.
    pub fn take(&mut self, field: &Field) {
        self.bytes += field.length + AROUND;
        let Ok(trailers) = &mut self.trailers else { return };
        let has_room = self.bytes <= self.limits.header_bytes && trailers.len() < self.limits.header_count;
        match (&field.name, &field.value) {
            (Name::Header(name), Value::Header(value)) if has_room && may_trail(name.as_str().as_bytes()) => {
                trailers.append(name, value.clone());
            }
            _ => self.trailers = Err(FramingError::Trailers),
        }
    }

    /// All of them; `None` where there are none.
    ///
    /// # Errors
    /// [`FramingError::Trailers`], whatever is wrong.
    pub fn trailers(self) -> Result<Option<HeaderMap>, FramingError> {
        self.trailers.map(|trailers| Some(trailers).filter(|trailers| !trailers.is_empty()))
    }
}
