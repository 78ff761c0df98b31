//! A client's socket, with TLS or without, and its end.
//!
//! A socket that is closed while the client still sends makes the kernel throw away what the client has not taken yet. So
//! whoever has said everything says that, and then listens until the client closes too.

use std::future::poll_fn;
use std::pin::Pin;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::server::TlsStream;

use crate::gateway::patience::PatientSocket;

/// How long a client that neither sends nor closes is waited for: it loses nothing by being left.
const SILENCE: Duration = Duration::from_secs(2);

/// How long at all.
const LONGEST: Duration = Duration::from_secs(30);

/// A socket, with TLS or without.
pub trait Socket: AsyncRead + AsyncWrite + Unpin + Send {
    /// Has the connection end in a reset, not like one over which everything was said.
    fn break_off(&self);
}

impl Socket for PatientSocket<TcpStream> {
    fn break_off(&self) {
        if let Err(error) = self.inner().set_zero_linger() {
            tracing::debug!(%error, "a connection that breaks off may look like one that ended");
        }
    }
}

impl Socket for TlsStream<PatientSocket<TcpStream>> {
    fn break_off(&self) {
        self.get_ref().0.break_off();
    }
}

/// Says that everything was said, and waits until the client closes it or is silent.
///
/// # Cancel safety
/// Dropping it leaves the client unheard.
pub async fn linger(socket: &mut dyn Socket) {
    if poll_fn(|context| Pin::new(&mut *socket).poll_shutdown(context)).await.is_err() {
        return;
    }
    let mut unread = [0; 4096];
    let reading = async { while let Ok(Ok(1..)) = timeout(SILENCE, socket.read(&mut unread)).await {} };
    if timeout(LONGEST, reading).await.is_err() {
        tracing::debug!("a client went on sending after the end");
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
        let mut socket = PatientSocket::new(stream, LONGEST);
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
        let ended = async {
            linger(&mut socket).await;
            drop(socket);
        };
        let (taken, ()) = tokio::join!(exchange, ended);
        assert_eq!(taken, sent);
    }
}
