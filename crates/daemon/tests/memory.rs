//! What strangers can make the forwarder keep in memory: a reader that is slow, and many that never finish asking. Measured of the
//! process that moves the bytes, from outside.

#![allow(clippy::unwrap_used, clippy::print_stdout)] // the figures are told

mod node;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use node::{LIMIT, Node, free_port, memory_kib, read_head, wait_until};

const MIB: u64 = 1024;
/// A large answer.
const LARGE: usize = 100 * 1024 * 1024;

/// Answers `/large` with [`LARGE`] octets and everything else at once.
fn origin() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || drop(answer(stream)));
        }
    });
    port
}

fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    let piece = vec![b'x'; 1024 * 1024];
    loop {
        let head = read_head(&mut stream)?;
        let length = if head.starts_with("GET /large ") {
            LARGE
        } else {
            4
        };
        stream
            .write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n").as_bytes())?;
        let mut left = length;
        while left > 0 {
            let part = left.min(piece.len());
            stream.write_all(&piece[..part])?;
            left -= part;
        }
    }
}

fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream
}

/// One good answer; others are unharmed as long as there is one.
fn get(stream: &mut TcpStream) {
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        .unwrap();
    assert!(read_head(stream).unwrap().starts_with("HTTP/1.1 200"));
    stream.read_exact(&mut [0; 4]).unwrap();
}

/// A daemon before [`origin`] that has done some of everything, and its forwarder.
fn warm() -> (Node, u16, u32) {
    let (port, origin) = (free_port(), origin());
    let mut node = Node::prepare(&format!(
        "[listener.web]\nbind = \"127.0.0.1:{port}\"\nprotocol = \"http\"\nforward = \"app\"\n\
         [group.app]\ntargets = [\"127.0.0.1:{origin}\"]\nhealth = {{ tcp = true, every = \"60s\" }}\n"
    ));
    node.start();
    node.wait_for_service(port);
    let mut clients: Vec<TcpStream> = (0..32).map(|_| connect(port)).collect();
    clients.iter_mut().for_each(get);
    let mut reader = connect(port);
    reader
        .write_all(b"GET /large HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .unwrap();
    let read = std::io::copy(&mut reader, &mut std::io::sink()).unwrap();
    assert!(read > LARGE as u64);
    let pid = node.child("tandem-forward").unwrap();
    (node, port, pid)
}

#[test]
fn a_large_answer_to_a_slow_reader_is_not_kept_in_memory() {
    let (_node, port, pid) = warm();
    let mut other = connect(port);
    get(&mut other);
    let before = memory_kib(pid);
    // As a telephone at the edge of its cell: 10 kB a second, and little room for more.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket
        .connect(&SocketAddr::from(([127, 0, 0, 1], port)).into())
        .unwrap();
    let mut reader = TcpStream::from(socket);
    reader
        .write_all(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
        .unwrap();
    let (begun_at, mut most) = (Instant::now(), 0);
    while begun_at.elapsed() < Duration::from_secs(3) {
        reader.read_exact(&mut [0; 1000]).unwrap();
        get(&mut other);
        most = most.max(memory_kib(pid).saturating_sub(before));
        std::thread::sleep(Duration::from_millis(100)); // this is how slow it is
    }
    println!("memory grew by {most} KiB");
    assert!(most <= 2 * MIB, "memory grew by {most} KiB");
}

#[test]
fn a_thousand_clients_that_never_finish_asking_cost_little_and_harm_nobody() {
    let (node, port, pid) = warm();
    let mut other = connect(port);
    get(&mut other);
    let before = memory_kib(pid);
    let mut slow: Vec<TcpStream> = (0..1000).map(|_| connect(port)).collect();
    for piece in ["GET / HT", "TP/1.1\r\n", "Host: a\r\nX-", "Slow: "] {
        for stream in &mut slow {
            stream.write_all(piece.as_bytes()).unwrap();
        }
        get(&mut other);
    }
    wait_until("all are connected", || {
        let status = node.status();
        status.is_some_and(|status| {
            let open = status["listeners"][0]["connections"].as_u64();
            open.is_some_and(|open| open > 1000)
        })
    });
    get(&mut other);
    let grown = memory_kib(pid).saturating_sub(before);
    println!("memory grew by {grown} KiB");
    assert!(grown <= 2 * MIB, "memory grew by {grown} KiB");
}
