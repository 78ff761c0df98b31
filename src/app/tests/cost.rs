//! How often a whole request asks for memory: what does not depend on the machine.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener as StdListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use allocation_counter::measure;
use tempfile::TempDir;
use tokio::sync::mpsc;

use super::write_site;
use crate::app::recorder::recorder;
use crate::app::start::{gateway, host, inputs};
use crate::config;
use crate::domain::token::TokenFormat;
use crate::gateway::listener::{Drain, Waiting};
use crate::gateway::worker::{self, Order, Share, Worker};
use crate::live::LivePolicy;
use crate::record::worker::WorkerRecorder;

const WARM: u64 = 100;
const COUNT: u64 = 1000;

/// Sends `head` so often, each when the one before is answered.
fn ask(address: SocketAddr, head: &str, times: u64) {
    let mut stream = TcpStream::connect(address).unwrap();
    let mut answer = [0; 4096];
    for _ in 0..times {
        stream.write_all(head.as_bytes()).unwrap();
        let mut read = 0;
        // An answer of a length, in as many pieces as it comes.
        while !is_whole(&answer[..read]) {
            let count = stream.read(&mut answer[read..]).unwrap();
            assert!(count > 0, "{}", String::from_utf8_lossy(&answer[..read]));
            read += count;
        }
    }
}

fn is_whole(answer: &[u8]) -> bool {
    let text = String::from_utf8_lossy(answer);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    body.len() == length.parse::<usize>().unwrap()
}

/// How often a worker asks for memory from its start to its end, for so many requests on one connection.
fn allocations(token: impl Fn(&str) -> String, times: u64) -> u64 {
    let upstream = StdListener::bind("127.0.0.1:0").unwrap();
    let address = upstream.local_addr().unwrap();
    thread::spawn(move || {
        for mut stream in upstream.incoming().flatten() {
            while matches!(stream.read(&mut [0; 4096]), Ok(1..)) {
                stream
                    .write_all(b"HTTP/1.1 200 OK\r\nContent-Type: a\r\nContent-Length: 5\r\n\r\nhello")
                    .unwrap();
            }
        }
    });
    let directory = TempDir::new().unwrap();
    let (file, known) = write_site(directory.path(), address);
    let config = config::load(&file).unwrap();
    let recorder = Arc::new(recorder(&config).unwrap());
    let live = LivePolicy::load(inputs(&config, &file));
    let (gateway, served) = gateway(&config, live, &recorder).unwrap();
    let own = WorkerRecorder::new(&recorder, 0).unwrap();
    let backends = config
        .upstreams
        .iter()
        .map(|upstream| host(upstream, &recorder, None).unwrap().backend(&own))
        .collect();
    let socket = StdListener::bind("127.0.0.1:0").unwrap();
    socket.set_nonblocking(true).unwrap();
    let listening = socket.local_addr().unwrap();
    let listener = Arc::clone(&served[0].listener);
    let (orders, told) = mpsc::channel(1);
    let head = format!(
        "GET /repos/acme/alpha/commits HTTP/1.1\r\nHost: a.test\r\nUser-Agent: a\r\nAccept: */*\r\n\
         Authorization: Bearer {}\r\n\r\n",
        token(&known)
    );
    let shares = vec![Share { listener: Arc::clone(&listener), socket }];
    let client = thread::spawn(move || {
        ask(listening, &head, times);
        listener.drain(Drain { patience: Duration::ZERO, waiting: Waiting::Accept });
        orders.blocking_send(Order::End(Duration::from_secs(5))).unwrap();
    });
    let worker = Worker { gateway: Arc::new(gateway), recorder: own, backends };
    let counted = measure(|| worker::run(worker, shares, told, || {}).unwrap());
    client.join().unwrap();
    counted.count_total
}

/// That of one request, from what a thousand more of them take; now and then a queue grows, too.
fn allocations_a_request(token: impl Fn(&str) -> String) -> u64 {
    let warm = allocations(&token, WARM);
    let more = allocations(&token, WARM + COUNT).saturating_sub(warm);
    (more + COUNT / 2) / COUNT
}

/// Head and fields of request and answer, both ways, when the token expires, the record and its texts, what the streams share:
/// nothing that grows.
#[test]
fn a_request_asks_for_memory_so_often() {
    assert_eq!(allocations_a_request(str::to_owned), 17);
}

#[test]
fn a_refusal_asks_for_memory_so_often() {
    let format = TokenFormat::default();
    let other = format.assemble(&[8; TokenFormat::RANDOM_BYTES]).unwrap();
    assert_eq!(allocations_a_request(|_| other.expose().to_owned()), 12);
}
