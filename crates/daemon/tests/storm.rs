//! Reloads under load: each second and ten times a second, while clients ask, download and hold WebSockets open; and what the memory is
//! after many of them.
//!
//! Some seconds long, and as long as `TANDEM_STORM_SECONDS` says: from 60 on, a thousand reloads are compared.

#![allow(clippy::unwrap_used, clippy::print_stdout)] // the figures are told

mod node;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread::{JoinHandle, spawn};
use std::time::{Duration, Instant};

use node::{LIMIT, Node, free_port, memory_kib, read_head};

/// Threads that ask, and requests a second of each.
const ASKERS: usize = 5;
const RATE: u32 = 100;
/// Downloads and WebSockets that stay open all the time.
const DOWNLOADS: usize = 5;
const SOCKETS: usize = 20;

/// How long the reloads of each second go on.
fn seconds() -> u64 {
    let given = std::env::var("TANDEM_STORM_SECONDS").ok();
    given.map_or(4, |text| {
        text.parse().expect("TANDEM_STORM_SECONDS is a number")
    })
}

/// Answers at once, streams a download until told to end it, and echoes what comes after an upgrade.
fn origin(over: &Arc<AtomicBool>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let over = Arc::clone(over);
    spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let over = Arc::clone(&over);
            spawn(move || drop(answer(stream, &over)));
        }
    });
    port
}

fn answer(mut stream: TcpStream, over: &AtomicBool) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    loop {
        let head = read_head(&mut stream)?;
        if head.starts_with("GET /download ") {
            stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
            while !over.load(SeqCst) {
                stream.write_all(b"400\r\n")?;
                stream.write_all(&[b'x'; 1024])?;
                stream.write_all(b"\r\n")?;
                std::thread::sleep(Duration::from_millis(5)); // a download that takes its time
            }
            stream.write_all(b"0\r\n\r\n")?;
        } else if head.starts_with("GET /socket ") {
            stream.write_all(
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
            )?;
            let mut piece = [0; 64];
            loop {
                match stream.read(&mut piece)? {
                    0 => return Ok(()),
                    count => stream.write_all(&piece[..count])?,
                }
            }
        } else {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine")?;
        }
    }
}

fn connect(port: u16) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// One answer to a GET; true if the connection goes on.
fn get(stream: &mut TcpStream) -> std::io::Result<bool> {
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")?;
    let head = read_head(stream)?;
    let mut body = [0; 4];
    stream.read_exact(&mut body)?;
    if !head.starts_with("HTTP/1.1 200") || &body != b"fine" {
        return Err(std::io::Error::other(head));
    }
    Ok(!head.contains("Connection: close"))
}

/// Asks on schedule until told to stop, on kept and on new connections by turns; how many answers there were. Panics when one is missing.
fn ask(port: u16, over: &Arc<AtomicBool>) -> JoinHandle<usize> {
    let over = Arc::clone(over);
    spawn(move || {
        let (begun_at, mut answers) = (Instant::now(), 0_u32);
        let mut kept: Option<TcpStream> = None;
        while !over.load(SeqCst) {
            let mut stream = match kept.take().filter(|_| answers % 4 != 0) {
                Some(stream) => stream,
                None => connect(port).expect("the listener takes connections"),
            };
            let goes_on =
                get(&mut stream).unwrap_or_else(|error| panic!("answer {answers}: {error}"));
            kept = goes_on.then_some(stream);
            answers += 1;
            let next_at = begun_at + Duration::from_secs(1) / RATE * answers;
            std::thread::sleep(next_at.saturating_duration_since(Instant::now()));
        }
        answers as usize
    })
}

/// Reads a download to its end, which has to be the right one; its octets.
fn download(port: u16, begun: &Arc<AtomicUsize>) -> JoinHandle<usize> {
    let begun = Arc::clone(begun);
    spawn(move || {
        let mut stream = connect(port).unwrap();
        stream
            .write_all(b"GET /download HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            .unwrap();
        assert!(read_head(&mut stream).unwrap().starts_with("HTTP/1.1 200"));
        begun.fetch_add(1, SeqCst);
        let mut body = Vec::new();
        stream.read_to_end(&mut body).expect("a download was cut");
        assert!(body.ends_with(b"0\r\n\r\n"), "a download was cut");
        body.len()
    })
}

/// WebSockets of which each says something by turns and hears it again.
fn hold_sockets(port: u16, begun: &Arc<AtomicUsize>, over: &Arc<AtomicBool>) -> JoinHandle<usize> {
    let (begun, over) = (Arc::clone(begun), Arc::clone(over));
    spawn(move || {
        let open = |_| {
            let mut stream = connect(port).unwrap();
            stream
                .write_all(
                    b"GET /socket HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
                )
                .unwrap();
            assert!(read_head(&mut stream).unwrap().starts_with("HTTP/1.1 101"));
            begun.fetch_add(1, SeqCst);
            stream
        };
        let mut sockets: Vec<TcpStream> = (0..SOCKETS).map(open).collect();
        let mut said = 0;
        // Once more after all is over: each of them has outlived everything.
        loop {
            let last = over.load(SeqCst);
            for stream in &mut sockets {
                let mut heard = [0; 5];
                stream.write_all(b"hello").unwrap();
                stream.read_exact(&mut heard).expect("a WebSocket was cut");
                assert_eq!(&heard, b"hello");
                said += 1;
            }
            if last {
                return said;
            }
            std::thread::sleep(Duration::from_millis(50)); // they are there, and not what is measured
        }
    })
}

/// A file that differs from the one before: times, weights, and a listener that comes and goes.
fn configuration(port: u16, origin: u16, extra: u16, round: u64) -> String {
    let more = match round % 2 {
        0 => String::new(),
        _ => format!(
            "[listener.extra]\nbind = \"127.0.0.1:{extra}\"\nprotocol = \"http\"\nforward = \"app\"\n"
        ),
    };
    format!(
        "[listener.web]\nbind = \"127.0.0.1:{port}\"\nprotocol = \"http\"\nforward = \"app\"\n\
         [[listener.web.rule]]\nwhen = {{ path = \"/never/{round}/*\" }}\nrespond = 404\n{more}\
         [group.app]\ntargets = [{{ name = \"one\", address = \"127.0.0.1:{origin}\", weight = {} }}]\n\
         health = {{ tcp = true, every = \"{}ms\" }}\n",
        1 + round % 3,
        1000 + round % 500,
    )
}

/// A daemon that is reloaded again and again.
struct Storm {
    node: Node,
    ports: [u16; 3],
    round: u64,
}

impl Storm {
    fn reload(&mut self) {
        self.round += 1;
        let [port, origin, extra] = self.ports;
        self.node
            .write_config(&configuration(port, origin, extra, self.round));
        let answer = self.node.reload();
        let outcome = &answer["outcome"];
        assert!(outcome == "applied" || outcome == "unchanged", "{answer}");
    }

    /// So many reloads, one each `every`.
    fn reload_each(&mut self, every: Duration, times: u64) {
        let begun_at = Instant::now();
        for number in 1..=times {
            self.reload();
            let next_at = begun_at + every * u32::try_from(number).unwrap();
            std::thread::sleep(next_at.saturating_duration_since(Instant::now()));
        }
    }

    fn memory(&self) -> [u64; 2] {
        ["tandem-forward", "tandem-director"].map(|name| memory_kib(self.node.child(name).unwrap()))
    }
}

#[test]
fn reloads_under_load_fail_no_request_cut_nothing_and_keep_no_memory() {
    let over = Arc::<AtomicBool>::default();
    let begun = Arc::<AtomicUsize>::default();
    let ports = [free_port(), origin(&over), free_port()];
    let [port, ..] = ports;
    let mut node = Node::prepare(&configuration(port, ports[1], ports[2], 0));
    node.start();
    node.wait_for_service(port);
    let mut storm = Storm {
        node,
        ports,
        round: 0,
    };

    let downloads: Vec<_> = (0..DOWNLOADS).map(|_| download(port, &begun)).collect();
    let sockets = hold_sockets(port, &begun, &over);
    let askers: Vec<_> = (0..ASKERS).map(|_| ask(port, &over)).collect();
    node::wait_until("all of them are open", || {
        begun.load(SeqCst) == DOWNLOADS + SOCKETS
    });
    let begun_at = Instant::now();
    storm.reload_each(Duration::from_secs(1), seconds());
    storm.reload_each(Duration::from_millis(100), seconds() * 5);

    // What the first ones need stays, up to a journal of a thousand events; the others need nothing. A few reloads show no more than that
    // there is no great leak.
    let (many, slack_kib) = if seconds() < 60 { (50, 512) } else { (1000, 0) };
    storm.reload_each(Duration::from_millis(100), many);
    let before = storm.memory();
    storm.reload_each(Duration::from_millis(100), many);
    let after = storm.memory();
    over.store(true, SeqCst);

    let answers: usize = askers.into_iter().map(|asker| asker.join().unwrap()).sum();
    let octets: usize = (downloads.into_iter())
        .map(|download| download.join().unwrap())
        .sum();
    let said = sockets.join().unwrap();
    let took = begun_at.elapsed().as_secs_f64();
    println!(
        "{} reloads in {took:.1} s: {answers} answers ({:.0} a second), {octets} octets downloaded, {said} words over WebSockets; \
         memory of forwarder and director before and after the last {many}: {before:?} and {after:?} KiB",
        storm.round,
        answers as f64 / took,
    );
    for (before, after) in before.into_iter().zip(after) {
        let most = before * 11 / 10 + slack_kib;
        assert!(after <= most, "{before} KiB became {after}");
    }
}

#[test]
fn after_reloads_that_were_refused_or_failed_a_good_one_is_applied() {
    let over = Arc::<AtomicBool>::default();
    let ports = [free_port(), origin(&over), free_port()];
    let [port, target, extra] = ports;
    let good = |round| configuration(port, target, extra, round);
    let mut node = Node::prepare(&good(0));
    node.start();
    node.wait_for_service(port);
    // Somebody else has this address.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = configuration(port, target, taken.local_addr().unwrap().port(), 1);
    let rows = [
        ("[listener.web\n".to_owned(), "refused"),
        (good(0).replace("forward", "froward"), "refused"),
        (taken, "failed"),
    ];
    let mut kept = connect(port).unwrap();
    for (text, outcome) in rows {
        node.write_config(&text);
        let answer = node.reload();
        assert_eq!(answer["outcome"], outcome, "{answer}");
        assert!(get(&mut kept).unwrap(), "what ran goes on");
    }
    node.write_config(&good(1));
    let answer = node.reload();
    assert_eq!(answer["outcome"], "applied", "{answer}");
    assert!(get(&mut kept).unwrap());
    assert!(get(&mut connect(extra).unwrap()).unwrap(), "it is in force");
    // A listener that is taken away is gone, and its port free.
    node.write_config(&good(2));
    let answer = node.reload();
    assert_eq!(answer["outcome"], "applied", "{answer}");
    node::wait_until("nobody listens there", || connect(extra).is_err());
    over.store(true, SeqCst);
}
