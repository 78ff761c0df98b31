//! A bare TCP relay for the bench: what it costs to take bytes in and send them on, and nothing else. `relay PORT UPSTREAM`

use anyhow::Context as _;
use tokio::io::copy_bidirectional_with_sizes;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{LocalSet, spawn_local};

/// The size of a buffer; one for each direction.
const BUFFER: usize = 64 << 10;

fn main() -> anyhow::Result<()> {
    let mut ports = std::env::args().skip(1).map(|port| port.parse::<u16>());
    let port = ports.next().context("no port")??;
    let upstream = ports.next().context("no upstream")??;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, serve(port, upstream))
}

async fn serve(port: u16, upstream: u16) -> anyhow::Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    loop {
        let (client, _) = listener.accept().await?;
        spawn_local(async move {
            // A connection that breaks is the client's to notice.
            drop(relay(client, upstream).await);
        });
    }
}

async fn relay(mut client: TcpStream, upstream: u16) -> std::io::Result<()> {
    let mut host = TcpStream::connect(("127.0.0.1", upstream)).await?;
    client.set_nodelay(true)?;
    host.set_nodelay(true)?;
    copy_bidirectional_with_sizes(&mut client, &mut host, BUFFER, BUFFER).await?;
    Ok(())
}
