//! A request on its way to a host.

use std::task::{Context, Poll};

use http::Method;
use http_body::Body;

use crate::gateway::body::Upload;
use crate::gateway::link::Link;
use crate::gateway::outflow::{Framing, Outflow, Stopped};

/// A request, in as far as it has not gone out.
#[derive(Debug)]
pub struct Sending {
    outflow: Outflow<Upload>,
    method: Method,
    has_body: bool,
}

impl Sending {
    /// A request whose head is `head`, but for the field that frames the body. `has_length` is whether the client said
    /// how long its body is, in case there is none.
    pub fn new(mut head: Vec<u8>, method: Method, upload: Upload, has_length: bool) -> Self {
        let framing = if upload.is_end_stream() {
            Framing::Length(0)
        } else {
            upload.size_hint().exact().map_or(Framing::Chunked { trailers: true }, Framing::Length)
        };
        match framing {
            Framing::Length(0) if !has_length => {}
            Framing::Length(length) => {
                head.extend_from_slice(format!("content-length: {length}\r\n").as_bytes());
            }
            Framing::Chunked { .. } | Framing::Close => {
                head.extend_from_slice(b"transfer-encoding: chunked\r\n");
            }
        }
        head.extend_from_slice(b"\r\n");
        let has_body = framing != Framing::Length(0);
        Self { outflow: Outflow::new(head, upload, framing), method, has_body }
    }

    /// Whether the answer has no body, whatever its head says.
    pub fn is_head(&self) -> bool {
        self.method == Method::HEAD
    }

    /// Whether all of it went out, and no host can take a part of it for another request: where HTTP gives a body no
    /// meaning, some hosts leave it unread (RFC 9110 sections 9.3.1, 9.3.2 and 9.3.5).
    pub fn is_settled(&self) -> bool {
        let is_meaningless = self.has_body && (self.method.is_safe() || self.method == Method::DELETE);
        self.outflow.has_ended() && !is_meaningless
    }

    /// From the beginning, for another connection; `None` where the host may have seen it, and might do it twice: all
    /// but the safe methods (RFC 9110 section 9.2.1), and what has a body, which is not kept.
    pub fn again(mut self) -> Option<Self> {
        let may = self.outflow.is_unseen() || !self.has_body && self.method.is_safe();
        self.outflow.rewind();
        may.then_some(self)
    }

    /// Sends what can be sent. Ready once all of it has gone out.
    pub fn poll_send(&mut self, link: &mut Link, context: &mut Context<'_>) -> Poll<Result<(), Stopped>> {
        self.outflow.poll_send(&mut link.inflow.socket, context)
    }
}
