//! Clients that mean no good, in HTTP/2 and TLS, against a running daemon: whoever floods is cut off and counted, others are
//! served in time meanwhile, and the forwarder's memory stays bounded.

#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod node;

#[path = "../../forwarder/tests/integration/frames.rs"]
#[allow(dead_code)] // the part of it that floods need
mod frames;

/// What the frames need of their surroundings.
mod support {
    /// How long an answer may take on a busy machine.
    pub(crate) const LIMIT: std::time::Duration = std::time::Duration::from_secs(20);
}

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use frames::*;
use node::{Node, free_port, wait_until};

/// What others may have to wait.
const BOUND: Duration = Duration::from_secs(2);
/// How often a machine that is busy with something else may miss it.
const ATTEMPTS: usize = 3;
/// What the forwarder's memory may grow by, over all attacks together.
const GROWTH: u64 = 64 * 1024 * 1024;
/// Bytes of a big answer.
const BIG: usize = 1024 * 1024;

/// A target that sends [`BIG`] bytes for `/big` and two for everything else.
fn target() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || serve(stream));
        }
    });
    port
}

/// Answers each head; bodies are read until something looks like the next one.
fn serve(mut stream: TcpStream) {
    let (mut input, mut buf) = (Vec::new(), [0; 4096]);
    while let Ok(count @ 1..) = stream.read(&mut buf) {
        input.extend(&buf[..count]);
        while let Some(end) = input.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            let big = input.starts_with(b"GET /big");
            input.drain(..end + 4);
            let length = if big { BIG } else { 2 };
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
            let body = vec![b'x'; length];
            if stream
                .write_all(&[head.as_bytes(), &body].concat())
                .is_err()
            {
                return;
            }
        }
    }
}

/// A daemon under attack.
struct Ground {
    node: Node,
    port: u16,
    tls_port: u16,
}

impl Ground {
    fn prepare() -> Ground {
        let (port, tls_port) = (free_port(), free_port());
        let mut node = Node::prepare(&format!(
            "[listener.web]\nbind = \"127.0.0.1:{port}\"\nprotocol = \"http\"\nh2c = true\nforward = \"app\"\n\
             timeouts = {{ header = \"2s\", body_idle = \"2s\" }}\n\
             [listener.secure]\nbind = \"127.0.0.1:{tls_port}\"\nprotocol = \"https\"\nforward = \"app\"\n\
             timeouts = {{ handshake = \"2s\" }}\ntls = {{ certificates = [\"app\"] }}\n\
             [certificate.app]\ncert = \"app.pem\"\nkey = \"app.key\"\n\
             [group.app]\ntargets = [\"127.0.0.1:{}\"]\nhealth = \"off\"\n",
            target()
        ));
        certificate(&node);
        node.start();
        node.wait_for_service(port);
        Ground {
            node,
            port,
            tls_port,
        }
    }

    fn memory(&self) -> u64 {
        let pid = self.node.child("tandem-forward").unwrap();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.unwrap().trim().trim_end_matches(" kB");
        1024 * kib.parse::<u64>().unwrap()
    }

    /// How often this cause came up at any listener.
    fn count(&self, cause: &str) -> u64 {
        let status = self.node.status().unwrap();
        let listeners = status["listeners"].as_array().unwrap();
        let counts = listeners.iter().map(|listener| &listener["causes"][cause]);
        counts.filter_map(serde_json::Value::as_u64).sum()
    }

    /// Lets the attack go on while others ask, and says how long the slowest of them had to wait.
    fn others_meanwhile(&self, attack: &dyn Fn(&Ground)) -> Duration {
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            let plain = scope.spawn(|| worst(&stop, || get_plain(self.port)));
            let framed = scope.spawn(|| worst(&stop, || get_framed(self.port)));
            let attacked = catch_unwind(AssertUnwindSafe(|| attack(self)));
            stop.store(true, SeqCst);
            attacked.unwrap_or_else(|panic| resume_unwind(panic));
            plain.join().unwrap().max(framed.join().unwrap())
        })
    }

    /// An attack: its name, what it is counted as, and itself.
    fn withstands(&self, name: &str, cause: &str, attack: impl Fn(&Ground)) {
        for attempt in 1..=ATTEMPTS {
            let counted = self.count(cause);
            let waited = self.others_meanwhile(&attack);
            // A connection has ended a moment before it is counted.
            wait_until(&format!("{name} is counted as {cause}"), || {
                self.count(cause) > counted
            });
            wait_until("the attackers are gone", || {
                let status = self.node.status().unwrap();
                status["listeners"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .all(|listener| listener["connections"] == 0)
            });
            eprintln!(
                "{name}: others waited {waited:?}, memory {} KiB",
                self.memory() / 1024
            );
            if waited < BOUND {
                return;
            }
            assert!(attempt < ATTEMPTS, "{name}: others had to wait {waited:?}");
            // Straight to the terminal, where `scripts/test` counts it.
            let mut terminal = std::io::stderr();
            let _ = writeln!(
                terminal,
                "\nREPEATED {name} (attempt {attempt}): others had to wait {waited:?}"
            );
        }
    }
}

fn certificate(node: &Node) {
    let at = |name: &str| node.folder().join(name);
    let made = Command::new("openssl")
        .args(["req", "-x509", "-nodes", "-newkey", "ec", "-pkeyopt"])
        .args([
            "ec_paramgen_curve:prime256v1",
            "-subj",
            "/CN=app.test",
            "-keyout",
        ])
        .arg(at("app.key"))
        .arg("-out")
        .arg(at("app.pem"))
        .output()
        .expect("openssl is installed (scripts/setup)");
    assert!(made.status.success(), "{made:?}");
}

fn worst(stop: &AtomicBool, ask: impl Fn()) -> Duration {
    let mut worst = Duration::ZERO;
    while !stop.load(SeqCst) {
        let begun = Instant::now();
        ask();
        worst = worst.max(begun.elapsed());
        thread::sleep(Duration::from_millis(10));
    }
    worst
}

/// A request on a connection of its own, in HTTP/1.1.
fn get_plain(port: u16) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(support::LIMIT)).unwrap();
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
}

/// The same in HTTP/2.
fn get_framed(port: u16) {
    let mut raw = connect(port, &[]);
    raw.send(get(1, b"/"));
    assert_eq!(raw.fate(1), Fate::Answered(200));
}

fn connect(port: u16, pairs: &[(u16, u32)]) -> Raw {
    Raw::connect_with(([127, 0, 0, 1], port).into(), pairs)
}

fn get(stream: u32, path: &[u8]) -> Vec<u8> {
    let [method, scheme, authority, _] = REQUEST;
    headers(stream, WHOLE, &[method, scheme, authority, (":path", path)])
}

/// Numbers of streams, in order.
fn streams(count: u32) -> impl Iterator<Item = u32> {
    (0..count).map(|number| 2 * number + 1)
}

/// Reads until the connection ends; the last error that was said.
fn watch(mut raw: Raw) -> JoinHandle<Option<u32>> {
    thread::spawn(move || {
        let mut said = None;
        while let Some(frame) = raw.next() {
            if frame.kind == GOAWAY {
                said = Some(u32::from_be_bytes(frame.payload[4..8].try_into().unwrap()));
            }
        }
        said
    })
}

/// Sends all of it, unless it is cut off before, which it must be. Other words than to calm down are none: the end of the
/// connection may overtake them.
fn flood(port: u16, frames: &[Vec<u8>]) {
    let mut raw = connect(port, &[]);
    let watched = watch(raw.twin());
    let cut = frames.chunks(50).any(|batch| !raw.try_send(batch.concat()));
    // If it took all of it, its end is still to come.
    let said = watched.join().unwrap();
    assert!(cut || said.is_some(), "the end came without a reason");
    assert!(matches!(said, None | Some(ENHANCE_YOUR_CALM)), "{said:?}");
}

/// Frames that are too many, each piece on its own.
fn floods() -> Vec<(&'static str, Vec<Vec<u8>>)> {
    let many = |pieces: &dyn Fn(u32) -> Vec<Vec<u8>>| -> Vec<Vec<u8>> {
        streams(10_000)
            .map(|stream| pieces(stream).concat())
            .collect()
    };
    let endless = |begin: Vec<u8>, more: Vec<u8>| {
        let mut frames = vec![begin];
        frames.extend(std::iter::repeat_n(more, 100_000));
        frames
    };
    let post = |stream| headers(stream, END_HEADERS, &POST);
    let beyond = |stream| window_update(stream, 0x7fff_ffff);
    let sized = with(&POST, &[("content-length", &b"1"[..])]);
    let unended = frame(HEADERS, END_STREAM, 1, &block(&REQUEST));
    vec![
        (
            "10,000 resets",
            many(&|stream| vec![get(stream, b"/"), reset(stream, CANCEL)]),
        ),
        (
            "10,000 resets of ours, by windows",
            many(&|stream| vec![post(stream), beyond(stream), beyond(stream)]),
        ),
        (
            "10,000 resets of ours, by lengths",
            many(&|stream| {
                vec![
                    headers(stream, END_HEADERS, &sized),
                    frame(DATA, 0, stream, b"xx"),
                ]
            }),
        ),
        (
            "endless CONTINUATION",
            endless(unended, frame(CONTINUATION, 0, 1, &block(&[("x-a", b"1")]))),
        ),
        ("SETTINGS", endless(post(1), settings(&[(4, 70_000)]))),
        ("PING", endless(post(1), frame(PING, 0, 0, &[7; 8]))),
        (
            "PRIORITY",
            endless(post(1), frame(PRIORITY, 0, 1, &dependency(0))),
        ),
        ("unknown frames", endless(post(1), frame(77, 0, 0, &[]))),
        (
            "WINDOW_UPDATE of the connection",
            endless(post(1), window_update(0, 1)),
        ),
        (
            "WINDOW_UPDATE of a stream",
            endless(post(1), window_update(1, 1)),
        ),
        ("RST_STREAM", endless(post(1), reset(1, CANCEL))),
        ("empty DATA", endless(post(1), frame(DATA, 0, 1, &[]))),
    ]
}

#[test]
fn floods_are_cut_off_while_others_are_served_in_bounded_memory() {
    let ground = Ground::prepare();
    for _ in 0..20 {
        get_plain(ground.port);
        get_framed(ground.port);
    }
    let before = ground.memory();

    for (name, frames) in floods() {
        ground.withstands(name, "limit@frames", |ground| flood(ground.port, &frames));
    }
    let grown = ground.memory().saturating_sub(before);
    assert!(grown < GROWTH, "memory grew by {grown}");
    assert_logged_seldom(&ground);
}

/// Of what many attackers did there are few lines.
fn assert_logged_seldom(ground: &Ground) {
    let log = ground.node.log();
    let lines = log.matches("http/2 client cut off").count();
    let cut = ground.count("limit@frames");
    assert!(lines > 0, "{log}");
    assert!((lines as u64) <= cut, "{lines} lines of {cut}: {log}");
}

/// Heads of 28,000 bytes in eight: one field of 4,000 bytes is put into the table, then named seven times.
fn bomb(stream: u32, first: bool) -> Vec<u8> {
    let mut fields = block(&REQUEST);
    if first {
        fields.push(0x40);
        text(&mut fields, b"x-a");
        text(&mut fields, &[b'v'; 4000]);
    }
    fields.extend([0xbe; 7]);
    frame(HEADERS, WHOLE, stream, &fields)
}

#[test]
fn stalls_end_in_time_while_others_are_served_in_bounded_memory() {
    const CLIENTS: usize = 4;
    let ground = Ground::prepare();
    for _ in 0..20 {
        get_plain(ground.port);
        get_framed(ground.port);
    }
    let before = ground.memory();

    ground.withstands(
        "small heads that are large, with no window",
        "client-abort@answer",
        |ground| {
            stall(ground, CLIENTS, &[(4, 0)], |raw| {
                streams(100).for_each(|stream| raw.send(bomb(stream, stream == 1)));
            });
        },
    );
    ground.withstands(
        "big answers with no window",
        "client-abort@answer",
        |ground| {
            stall(ground, CLIENTS, &[(4, 0)], |raw| {
                streams(100).for_each(|stream| raw.send(get(stream, b"/big")));
            });
        },
    );
    ground.withstands(
        "big answers nobody reads",
        "client-abort@answer",
        |ground| {
            let most = 0x7fff_ffff;
            let clients: Vec<Raw> = (0..CLIENTS)
                .map(|_| {
                    let mut raw = connect(ground.port, &[(4, most)]);
                    raw.send(window_update(0, most - 65_535));
                    streams(100).for_each(|stream| raw.send(get(stream, b"/big")));
                    raw
                })
                .collect();
            let counted = ground.count("client-abort@answer");
            wait_until("what they do not take is given up", || {
                ground.count("client-abort@answer") > counted + 50
            });
            drop(clients);
        },
    );
    ground.withstands("half of a head", "client-timeout@headers", |ground| {
        stall(ground, 100, &[], |raw| {
            raw.send(frame(HEADERS, END_STREAM, 1, &block(&REQUEST)));
        });
    });
    ground.withstands(
        "300 handshakes that go no further",
        "client-timeout@handshake",
        |ground| {
            let stalled: Vec<TcpStream> = (0..300)
                .map(|_| {
                    let mut stream = TcpStream::connect(("127.0.0.1", ground.tls_port)).unwrap();
                    stream.set_read_timeout(Some(support::LIMIT)).unwrap();
                    // The beginning of a record of a handshake.
                    stream.write_all(&[22, 3, 1, 2, 0, 1]).unwrap();
                    stream
                })
                .collect();
            for mut stream in stalled {
                let end = stream.read(&mut [0; 64]);
                assert!(
                    !matches!(end, Err(error) if error.kind() == std::io::ErrorKind::WouldBlock),
                    "it goes on"
                );
            }
        },
    );
    let grown = ground.memory().saturating_sub(before);
    assert!(grown < GROWTH, "memory grew by {grown}");
}

/// Lets clients ask and then do nothing but wait until they are left alone: their streams are reset, or the connection ends.
fn stall(ground: &Ground, count: usize, pairs: &[(u16, u32)], ask: impl Fn(&mut Raw)) {
    let mut clients: Vec<Raw> = (0..count).map(|_| connect(ground.port, pairs)).collect();
    clients.iter_mut().for_each(&ask);
    for mut raw in clients {
        let given_up = |frame: Frame| matches!(frame.kind, RST_STREAM | GOAWAY);
        while raw.next().is_some_and(|frame| !given_up(frame)) {}
    }
}
