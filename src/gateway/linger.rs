//! Keeps a client's socket until the client has taken what was sent last.
//!
//! A socket that is closed while the client still sends makes the kernel throw away what the client has not taken yet.
//! An HTTP/2 client always sends: it makes room for more with each piece that it reads (RFC 9113 section 6.9). So the
//! protocol is lent the socket, gets through with it, and here is read on until the client closes too.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::timeout;

/// How long a client that neither sends nor closes is waited for: it loses nothing by being left.
const SILENCE: Duration = Duration::from_secs(2);

/// How long at all.
const LONGEST: Duration = Duration::from_secs(30);

/// A socket that goes back to its [`Owner`], if it has one, when it is dropped.
#[derive(Debug)]
pub struct Lent {
    stream: Option<TcpStream>,
    back: Option<oneshot::Sender<TcpStream>>,
}

/// Gets a socket back.
#[derive(Debug)]
pub struct Owner(oneshot::Receiver<TcpStream>);

/// Lends `stream` to a protocol.
pub fn lend(stream: TcpStream) -> (Lent, Owner) {
    let (back, owner) = oneshot::channel();
    let lent = Lent { stream: Some(stream), back: Some(back) };
    (lent, Owner(owner))
}

impl Owner {
    /// Waits until the socket is given back, then until the client closes it or is silent.
    ///
    /// # Cancel safety
    /// Dropping it closes the socket at once.
    pub async fn linger(self) {
        let Ok(mut stream) = self.0.await else { return };
        let mut unread = [0; 4096];
        let reading = async { while let Ok(Ok(1..)) = timeout(SILENCE, stream.read(&mut unread)).await {} };
        if timeout(LONGEST, reading).await.is_err() {
            tracing::debug!("a client went on sending after the end");
        }
    }
}

impl Lent {
    /// A socket that nobody wants back.
    pub fn given(stream: TcpStream) -> Self {
        Self { stream: Some(stream), back: None }
    }

    /// Has the connection end in a reset.
    pub fn break_off(&self) {
        if let Some(Err(error)) = self.stream.as_ref().map(TcpStream::set_zero_linger) {
            tracing::debug!(%error, "a connection that breaks off may look like one that ended");
        }
    }

    fn poll<T>(
        self: Pin<&mut Self>,
        poll: impl FnOnce(Pin<&mut TcpStream>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        match &mut self.get_mut().stream {
            Some(stream) => poll(Pin::new(stream)),
            None => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some((stream, back)) = self.stream.take().zip(self.back.take()) {
            // An owner that does not want it back has it closed here.
            drop(back.send(stream));
        }
    }
}

impl AsyncRead for Lent {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.poll(|stream| stream.poll_read(context, buffer))
    }
}

impl AsyncWrite for Lent {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        self.poll(|stream| stream.poll_write(context, buffer))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll(|stream| stream.poll_flush(context))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll(|stream| stream.poll_shutdown(context))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll(|stream| stream.poll_write_vectored(context, buffers))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.as_ref().is_some_and(TcpStream::is_write_vectored)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_slow_client_that_sends_to_the_end_gets_everything() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        stream.writable().await.unwrap();
        let mut sent = 0;
        while let Ok(count) = stream.try_write(&[7; 4096]) {
            sent += count;
        }
        let (mut lent, owner) = lend(stream);
        lent.shutdown().await.unwrap();
        drop(lent);
        let exchange = async {
            let mut taken = 0;
            let mut buffer = vec![0; 65536];
            loop {
                client.write_all(b"more").await.unwrap();
                match client.read(&mut buffer).await.unwrap() {
                    0 => break,
                    count => taken += count,
                }
            }
            drop(client);
            taken
        };
        let (taken, ()) = tokio::join!(exchange, owner.linger());
        assert_eq!(taken, sent);
    }
}
