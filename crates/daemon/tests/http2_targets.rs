//! Targets of HTTP/2 that mean no good, against a running daemon: whoever asked one of them gets an answer of ours in time, others are
//! served meanwhile, and the forwarder's memory stays bounded.

#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod node;

#[path = "../../forwarder/tests/integration/frames.rs"]
#[allow(dead_code)] // the part of it that a target needs
mod frames;

/// What the frames need of their surroundings.
mod support {
    /// How long an answer may take on a busy machine.
    pub(crate) const LIMIT: std::time::Duration = std::time::Duration::from_secs(30);
}

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::mpsc::{self, Receiver};
use std::thread;

use frames::*;
use node::{Node, free_port, wait_until};

/// What the forwarder's memory may grow by, over all attacks together.
const GROWTH_KIB: u64 = 64 * 1024;
/// What a target sends of what it repeats, unless it is cut off before. Kept in pieces it would take many times that.
const FLOOD_BYTES: usize = 16 << 20;

/// What a target does once it was asked.
struct Attack {
    name: &'static str,
    /// What it asks for at the beginning.
    settings: Vec<u8>,
    /// What it says first, and then again and again.
    first: Vec<u8>,
    repeated: Vec<u8>,
    /// What the client may get.
    statuses: &'static [u16],
}

/// A head of an answer on stream 1.
fn answer(flags: u8, fields: &[(&str, &[u8])]) -> Vec<u8> {
    headers(1, flags, fields)
}

/// A head of 16 kB that stands for 60 MB: one field of 4,000 bytes is put into the table, then named again and again.
fn bomb() -> Vec<u8> {
    let mut fields = block(&[(":status", b"200")]);
    fields.push(0x40);
    text(&mut fields, b"x-a");
    text(&mut fields, &[b'v'; 3900]);
    fields.resize(16_000, 0xbe);
    frame(HEADERS, END_HEADERS, 1, &fields)
}

fn attacks() -> Vec<Attack> {
    let one = |name, first, repeated, statuses| Attack {
        name,
        settings: settings(&[]),
        first,
        repeated,
        statuses,
    };
    let begun = || answer(0, &[(":status", b"200")]);
    let early = || answer(END_HEADERS, &[(":status", b"103"), ("link", b"</a>")]);
    let more = frame(CONTINUATION, 0, 1, &block(&[("x-a", b"1")]));
    let pushed = frame(PUSH_PROMISE, END_HEADERS, 1, &[0, 0, 0, 2, 0x82]);
    let beyond = frame(DATA, 0, 1, &[b'x'; 16_000]);
    let never: &[u16] = &[504];
    let broken: &[u16] = &[502];
    // A flood may end the connection, or last until the time of the request is over.
    let either: &[u16] = &[502, 504];
    vec![
        one("interim answers without end", Vec::new(), early(), broken),
        one("CONTINUATION without end", begun(), more, broken),
        one("a head that unpacks to 60 MB", bomb(), bomb(), broken),
        one("SETTINGS", Vec::new(), settings(&[(4, 70_000)]), either),
        one(
            "a table as large as can be",
            Vec::new(),
            settings(&[(1, u32::MAX)]),
            either,
        ),
        one("PING", Vec::new(), frame(PING, 0, 0, &[7; 8]), either),
        one(
            "PRIORITY",
            Vec::new(),
            frame(PRIORITY, 0, 1, &dependency(0)),
            either,
        ),
        one(
            "unknown frames",
            Vec::new(),
            frame(77, 0, 0, &[7; 9]),
            either,
        ),
        one("WINDOW_UPDATE", Vec::new(), window_update(1, 1), either),
        one("RST_STREAM", Vec::new(), reset(1, CANCEL), broken),
        one(
            "RST_STREAM of what nobody asked",
            reset(1, CANCEL),
            reset(3, CANCEL),
            broken,
        ),
        one("promises", Vec::new(), pushed, broken),
        one(
            "an answer nobody asked for",
            Vec::new(),
            headers(5, WHOLE, &[(":status", b"200")]),
            broken,
        ),
        one("a body without a head", Vec::new(), beyond, broken),
        one("what is no frame", Vec::new(), vec![255; 4096], broken),
        one("nothing at all", Vec::new(), Vec::new(), never),
        Attack {
            settings: settings(&[(3, 0)]),
            ..one("no stream allowed", Vec::new(), Vec::new(), never)
        },
        Attack {
            settings: settings(&[(4, 0)]),
            ..one("no window", Vec::new(), Vec::new(), never)
        },
    ]
}

/// A target that does what it is told, one connection after the other.
fn target(attack: &Attack) -> (u16, Receiver<usize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (tell, told) = mpsc::channel();
    let (opening, first, repeated) = (
        attack.settings.clone(),
        attack.first.clone(),
        attack.repeated.clone(),
    );
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let _ = tell.send(attend(stream, &opening, &first, &repeated));
        }
    });
    (port, told)
}

/// Serves one connection; how many octets of what is repeated were taken.
fn attend(mut stream: TcpStream, opening: &[u8], first: &[u8], repeated: &[u8]) -> usize {
    stream.set_read_timeout(Some(support::LIMIT)).unwrap();
    stream.set_write_timeout(Some(support::LIMIT)).unwrap();
    let mut input = vec![0; 16 * 1024];
    if stream.write_all(opening).is_err() {
        return 0;
    }
    // The request comes with the first words or behind them; who may not ask says less.
    let mut said = 0;
    while said < PREFACE.len() + 60 {
        match stream.read(&mut input) {
            Ok(count @ 1..) => said += count,
            Ok(_) | Err(_) => return 0,
        }
    }
    // What it is told it reads, so that no answer is in the way.
    let mut reading = stream.try_clone().unwrap();
    let reader = thread::spawn(move || while let Ok(1..) = reading.read(&mut input) {});
    let mut taken = 0;
    if stream.write_all(first).is_ok() && !repeated.is_empty() {
        let batch = repeated.repeat(1 + 16_000 / repeated.len());
        while taken < FLOOD_BYTES && stream.write_all(&batch).is_ok() {
            taken += batch.len();
        }
        let _ = stream.shutdown(Shutdown::Both);
    }
    reader.join().unwrap();
    taken
}

/// The most memory that a process ever had, in KiB.
fn peak_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let value = line.unwrap().trim().trim_end_matches(" kB");
    value.parse().unwrap()
}

/// A target that answers with two octets.
fn good() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || {
                while node::read_head(&mut stream).is_ok_and(|head| !head.is_empty()) {
                    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
                    if stream.write_all(answer).is_err() {
                        return;
                    }
                }
            });
        }
    });
    port
}

/// The status of the answer to one request on a connection of its own.
fn ask(port: u16, method: &str) -> u16 {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(support::LIMIT)).unwrap();
    let head = format!("{method} / HTTP/1.1\r\nHost: a\r\nContent-Length: 200000\r\n\r\n");
    let head = match method {
        "POST" => head,
        _ => "GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
    };
    stream.write_all(head.as_bytes()).unwrap();
    if method == "POST" {
        // An answer may come before all of it was taken.
        let _ = stream.write_all(&[b'x'; 200_000]);
    }
    loop {
        // 0 if there is none.
        let Ok(head) = node::read_head(&mut stream) else {
            return 0;
        };
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        if status >= 200 {
            return status;
        }
    }
}

#[test]
fn targets_that_flood_or_stall_harm_only_who_asked_them() {
    let attacks = attacks();
    let (port, good) = (free_port(), good());
    let targets: Vec<_> = attacks.iter().map(target).collect();
    let ports: Vec<u16> = attacks.iter().map(|_| free_port()).collect();
    let mut config = format!(
        "[listener.web]\nbind = \"127.0.0.1:{port}\"\nprotocol = \"http\"\nforward = \"app\"\n\
         [group.app]\ntargets = [\"127.0.0.1:{good}\"]\nhealth = \"off\"\n"
    );
    for (number, ((target, _), port)) in targets.iter().zip(&ports).enumerate() {
        config += &format!(
            "[listener.bad{number}]\nbind = \"127.0.0.1:{port}\"\nprotocol = \"http\"\nforward = \"bad{number}\"\n\
             [group.bad{number}]\ntargets = [\"127.0.0.1:{target}\"]\nhealth = \"off\"\nhttp = \"2\"\nretry = {{ tries = 0 }}\n\
             timeouts = {{ first_byte = \"2s\", idle = \"2s\" }}\n"
        );
    }
    let mut node = Node::prepare(&config);
    node.start();
    node.wait_for_service(port);
    let memory = || peak_kib(node.child("tandem-forward").unwrap());
    (0..20).for_each(|_| assert_eq!(ask(port, "GET"), 200));
    let before = memory();

    let (stop, mut wrong) = (AtomicBool::new(false), Vec::new());
    thread::scope(|scope| {
        let others = scope.spawn(|| {
            let mut asked = 0_u64;
            while !stop.load(SeqCst) {
                assert_eq!(ask(port, "GET"), 200);
                asked += 1;
                thread::sleep(std::time::Duration::from_millis(10));
            }
            asked
        });
        for ((attack, (_, told)), port) in attacks.iter().zip(&targets).zip(&ports) {
            let method = if attack.name == "no window" {
                "POST"
            } else {
                "GET"
            };
            let status = ask(*port, method);
            let taken = match attack.repeated.is_empty() {
                true => Ok(0),
                false => told.recv_timeout(2 * support::LIMIT),
            };
            eprintln!("{}: {status}, {taken:?} octets were taken", attack.name);
            if !attack.statuses.contains(&status) || taken.is_err() {
                wrong.push((attack.name, status, taken));
            }
        }
        stop.store(true, SeqCst);
        assert!(others.join().unwrap() > 0);
    });
    assert!(wrong.is_empty(), "{wrong:?}\n{}", node.log());
    let most = memory();
    eprintln!("memory: {before} KiB before, {most} KiB at most");
    assert!(
        most < before + GROWTH_KIB,
        "memory grew from {before} to {most} KiB"
    );
    wait_until("all is over", || {
        let status = node.status().unwrap();
        let groups = status["groups"].as_array().unwrap();
        let mut targets = groups
            .iter()
            .flat_map(|group| group["targets"].as_array().unwrap());
        targets.all(|target| target["in_flight"] == 0)
    });
}

/// A head of an early answer that stands for 60 kB: one field is put into the table by the first, then named again and again.
fn early(stream: u32, first: bool) -> Vec<u8> {
    let mut fields = block(&[(":status", b"103")]);
    if first {
        fields.push(0x40);
        text(&mut fields, b"x-a");
        text(&mut fields, &[b'v'; 3900]);
    } else {
        fields.extend([0xbe; 15]);
    }
    frame(HEADERS, END_HEADERS, stream, &fields)
}

/// Answers early without end whoever has asked first; how many octets of it were taken. `None` if fewer have asked.
fn answer_early(mut stream: TcpStream) -> Option<usize> {
    const ASKED: usize = 4;
    stream.set_write_timeout(Some(support::LIMIT)).unwrap();
    stream.write_all(&settings(&[])).ok()?;
    let (mut input, mut at, mut asked) = (Vec::new(), PREFACE.len(), Vec::new());
    while asked.len() < ASKED {
        while input.len() < at + 9 {
            let mut more = [0; 4096];
            let count = stream.read(&mut more).ok().filter(|count| *count > 0)?;
            input.extend_from_slice(&more[..count]);
        }
        if input[at + 3] == HEADERS {
            asked.push(u32::from_be_bytes(
                input[at + 5..at + 9].try_into().unwrap(),
            ));
        }
        at += 9 + usize::from(input[at + 1]) * 256 + usize::from(input[at + 2]);
    }
    let mut reading = stream.try_clone().unwrap();
    thread::spawn(move || while let Ok(1..) = reading.read(&mut input) {});
    let mut taken = 0;
    if stream.write_all(&early(asked[0], true)).is_ok() {
        let batch: Vec<u8> = asked
            .iter()
            .flat_map(|stream| early(*stream, false))
            .collect();
        let batch = batch.repeat(100);
        while taken < FLOOD_BYTES && stream.write_all(&batch).is_ok() {
            taken += batch.len();
        }
    }
    Some(taken)
}

#[test]
fn interim_answers_that_nobody_takes_are_not_kept_without_end() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = listener.local_addr().unwrap().port();
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let tell = tell.clone();
            thread::spawn(move || answer_early(stream).map(|taken| tell.send(taken)));
        }
    });
    let (port, other, good) = (free_port(), free_port(), good());
    let mut node = Node::prepare(&format!(
        "[listener.other]\nbind = \"127.0.0.1:{other}\"\nprotocol = \"http\"\nforward = \"good\"\n\
         [group.good]\ntargets = [\"127.0.0.1:{good}\"]\nhealth = \"off\"\n\
         [listener.web]\nbind = \"127.0.0.1:{port}\"\nprotocol = \"http\"\nh2c = true\nforward = \"app\"\n\
         [group.app]\ntargets = [\"127.0.0.1:{target}\"]\nhealth = \"off\"\nhttp = \"2\"\nretry = {{ tries = 0 }}\n"
    ));
    node.start();
    node.wait_for_service(other);
    let memory = || peak_kib(node.child("tandem-forward").unwrap());
    let before = memory();

    // A client that asks and takes nothing.
    let mut client = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let mut asking = [PREFACE, &settings(&[])[..]].concat();
    (1..180)
        .step_by(2)
        .for_each(|stream| asking.extend(headers(stream, WHOLE, &REQUEST)));
    client.write_all(&asking).unwrap();
    let taken = told.recv_timeout(2 * support::LIMIT).unwrap();
    let most = memory();
    eprintln!("{taken} octets were taken; memory: {before} KiB before, {most} KiB at most");
    assert!(taken < FLOOD_BYTES, "the target was not cut off");
    assert!(most < before + GROWTH_KIB, "from {before} to {most} KiB");
}
