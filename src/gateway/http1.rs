//! The requests of one HTTP/1 connection, one after the other.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Method, Response, StatusCode, Version, header};
use http_body::Body;
use tokio::task::coop::unconstrained;
use tokio::time::sleep;

use crate::framing::head::{HeadLimits, RequestHead};
use crate::gateway::body::Received;
use crate::gateway::client::{Client, ClientBody, Next, Timeouts};
use crate::gateway::flow::{Answer, Arrived, Origin, answer};
use crate::gateway::listener::Listener;
use crate::gateway::outflow::{Framing, Outflow, push_field};
use crate::gateway::said::{is_never_sent, with_date};
use crate::gateway::socket::Socket;
use crate::gateway::worker::Worker;

/// Room for the head of most answers.
const USUAL_HEAD: usize = 1024;

/// How one exchange ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    /// Another one may follow.
    Open,
    /// None may.
    Closing,
    /// There is nobody to say anything to.
    Left,
}

/// What of a request decides how its answer is written.
#[derive(Debug)]
struct Asked {
    is_head: bool,
    version: Version,
    persistent: bool,
    takes_trailers: bool,
}

/// Serves one connection until it ends, or until its request is answered after `listener` drains.
///
/// # Cancel safety
/// Dropping it closes the connection; a request under way is recorded as aborted.
pub async fn serve(worker: Arc<Worker>, socket: Box<dyn Socket>, origin: Origin, listener: &Listener) {
    let limits = &worker.gateway.limits;
    let head = HeadLimits {
        header_bytes: limits.header_bytes,
        header_count: limits.header_count,
        target_bytes: limits.target_bytes,
    };
    let timeouts = Timeouts { head: limits.header_time, idle: limits.idle_time, body: limits.body_idle_time };
    let client = Client::new(socket, head, timeouts);
    let mut buffer = Vec::with_capacity(USUAL_HEAD);
    let mut farewell = Farewell { waiting: Some(pin!(farewell(listener))), is_set: false };
    loop {
        let mut next = pin!(client.next());
        let next = poll_fn(|context| match next.as_mut().poll(context) {
            Poll::Pending if farewell.is_over(listener, context) && !client.has_begun() => {
                Poll::Ready(Next::End)
            }
            next @ (Poll::Ready(_) | Poll::Pending) => next,
        })
        .await;
        let is_faulty = matches!(next, Next::Fault(_));
        let (head, body, fault) = match next {
            Next::End => return client.close(false).await,
            Next::Fault(fault) => (Box::new(RequestHead::default()), ClientBody::NOTHING, Some(fault)),
            Next::Request(head, body) => (head, body, None),
        };
        let asked = Asked::from(&*head);
        let mut exchange = pin!(async {
            let arrived = Arrived { body: Received::Http1(body), fault };
            let response = answer(&worker, &origin, &head.parts, arrived).await;
            let asked = Asked { persistent: asked.persistent && !listener.is_draining(), ..asked };
            send(response, &asked, &client, &mut buffer).await
        });
        let ended = poll_fn(|context| match exchange.as_mut().poll(context) {
            Poll::Ready(ended) => Poll::Ready(ended),
            Poll::Pending => client.poll_left(context).map(|()| Ended::Left),
        })
        .await;
        if ended == Ended::Left {
            return;
        }
        let is_whole = client.end_exchange();
        if ended == Ended::Closing || !is_whole {
            // What nobody will read is on its way, or was read already.
            let is_sending = is_faulty || !is_whole || client.has_begun();
            return client.close(is_sending).await;
        }
    }
}

/// The end of an idle connection whose listener drains.
struct Farewell<F> {
    /// `None` when it has come.
    waiting: Option<F>,
    /// Whether the task of the connection is woken when the listener drains.
    is_set: bool,
}

impl<F: Future<Output = ()> + Unpin> Farewell<F> {
    /// Whether it has come by now. Asked for each request, so it looks at no lock before the listener drains.
    fn is_over(&mut self, listener: &Listener, context: &mut Context<'_>) -> bool {
        if let Some(waiting) = &mut self.waiting
            && (!std::mem::replace(&mut self.is_set, true) || listener.is_draining())
            // A task that has done much would be told to wait, and not when to go on.
            && pin!(unconstrained(waiting)).poll(context).is_ready()
        {
            self.waiting = None;
            return true;
        }
        false
    }
}

/// Resolves when an idle connection has to end, since its listener drains. Until then it is answered once more and told
/// to close: a client must not send a request into a socket that is being closed.
async fn farewell(listener: &Listener) {
    sleep(listener.drained().await.patience).await;
}

impl From<&RequestHead> for Asked {
    fn from(head: &RequestHead) -> Self {
        Self {
            is_head: head.parts.method == Method::HEAD,
            version: head.parts.version,
            persistent: head.persistent,
            takes_trailers: head.takes_trailers,
        }
    }
}

/// Sends an answer. `buffer` is where its head is written.
async fn send(response: Answer, asked: &Asked, client: &Client, buffer: &mut Vec<u8>) -> Ended {
    let framing = framing(&response, asked);
    let goes_on = asked.persistent && framing != Framing::Close && client.can_go_on();
    write_head(buffer, &response, framing, asked, goes_on);
    let framing = if has_no_body(response.status(), asked) { Framing::Length(0) } else { framing };
    let mut outflow = Outflow::new(std::mem::take(buffer), response.into_body(), framing);
    let mut receiver = client.clone();
    let sent = poll_fn(|context| outflow.poll_send(&mut receiver, context)).await;
    *buffer = outflow.into_buffer();
    match sent {
        Ok(()) if goes_on => Ended::Open,
        Ok(()) => Ended::Closing,
        // What breaks off must not look like what ended.
        Err(_) => {
            if framing == Framing::Close {
                client.break_off();
            }
            Ended::Left
        }
    }
}

/// Whether HTTP leaves the body out.
fn has_no_body(status: StatusCode, asked: &Asked) -> bool {
    asked.is_head || is_never_sent(status)
}

/// How the body is delimited, or would be.
fn framing(response: &Answer, asked: &Asked) -> Framing {
    let declared = || {
        let length = response.headers().get(header::CONTENT_LENGTH)?;
        length.to_str().ok()?.parse().ok()
    };
    let hint = response.body().size_hint().exact();
    let length =
        if has_no_body(response.status(), asked) { declared().or(hint) } else { hint.or_else(declared) };
    match length {
        Some(length) => Framing::Length(length),
        None if asked.version == Version::HTTP_10 => Framing::Close,
        None => Framing::Chunked { trailers: asked.takes_trailers },
    }
}

fn write_head<B>(head: &mut Vec<u8>, response: &Response<B>, framing: Framing, asked: &Asked, goes_on: bool) {
    let status = response.status();
    head.clear();
    head.extend_from_slice(b"HTTP/1.1 ");
    head.extend_from_slice(status.as_str().as_bytes());
    head.push(b' ');
    match response.extensions().get::<hyper::ext::ReasonPhrase>() {
        Some(phrase) => head.extend_from_slice(phrase.as_bytes()),
        None => head.extend_from_slice(status.canonical_reason().unwrap_or("Unknown").as_bytes()),
    }
    head.extend_from_slice(b"\r\n");
    for (name, value) in response.headers() {
        if !matches!(*name, header::CONTENT_LENGTH | header::TRANSFER_ENCODING | header::CONNECTION) {
            push_field(head, name.as_str(), &[value.as_bytes()]);
        }
    }
    if !response.headers().contains_key(header::DATE) {
        with_date(|date| push_field(head, "date", &[date.as_bytes()]));
    }
    match framing {
        // The length of a body that is not sent is known only where somebody said it.
        Framing::Length(0) | Framing::Chunked { .. } if has_no_body(status, asked) => {}
        Framing::Length(_) if status == StatusCode::NO_CONTENT => {}
        Framing::Length(length) => push_field(head, "content-length", &[length.to_string().as_bytes()]),
        Framing::Chunked { .. } => push_field(head, "transfer-encoding", &[b"chunked"]),
        Framing::Close => {}
    }
    if !goes_on {
        push_field(head, "connection", &[b"close"]);
    } else if asked.version == Version::HTTP_10 {
        push_field(head, "connection", &[b"keep-alive"]);
    }
    head.extend_from_slice(b"\r\n");
}
