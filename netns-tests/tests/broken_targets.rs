//! Targets that are real processes and break in every way there is, under clients that read and write: which requests fail, when, and
//! that nothing is ever written twice.

#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use common::{LIMIT, assert_within, measured, quick_checks};
use netns_tests::{Address, Host, Lab, Process, Tandem, wait_until};
use nix::sys::signal::Signal;

/// The port of the targets; the laboratory's own origins have another.
const PORT: u16 = 9000;
/// Clients that read, and clients that write, each with one request at a time.
const READERS: usize = 6;
const WRITERS: usize = 3;
/// Longer than any request may take; who waits longer has been forgotten.
const ANSWER: Duration = Duration::from_secs(10);
/// From here on after an event nothing fails any more.
const NOTICED: Duration = Duration::from_secs(1);

/// What became of one request.
struct Record {
    path: String,
    is_post: bool,
    started: Instant,
    ended: Instant,
    /// The status, or why there is none.
    outcome: Result<u16, String>,
}

/// Clients that ask all the time.
struct Load {
    over: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    threads: Vec<JoinHandle<anyhow::Result<Vec<Record>>>>,
}

impl Load {
    fn start(lab: &Lab) -> Load {
        let (over, answered) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let threads = (0..READERS + WRITERS).map(|number| {
            let (over, answered) = (Arc::clone(&over), Arc::clone(&answered));
            let work = move || Ok(ask_on(number, number >= READERS, &over, &answered));
            lab.net(Host::Client).thread("lab-load", work).unwrap()
        });
        Load {
            threads: threads.collect(),
            over,
            answered,
        }
    }

    /// Waits until so many more requests have been answered.
    fn wait_answers(&self, count: u64) {
        let goal = self.answered.load(SeqCst) + count;
        wait_until("the clients get answers", LIMIT, || {
            self.answered.load(SeqCst) >= goal
        })
        .unwrap();
    }

    fn finish(self) -> Vec<Record> {
        self.over.store(true, SeqCst);
        let records = (self.threads.into_iter()).map(|thread| thread.join().unwrap().unwrap());
        records.flatten().collect()
    }
}

/// Request after request, on one connection for as long as it holds.
fn ask_on(number: usize, is_post: bool, over: &AtomicBool, answered: &AtomicU64) -> Vec<Record> {
    let mut records = Vec::new();
    let mut kept = None;
    while !over.load(SeqCst) {
        let path = format!("/{number}/{}", records.len());
        let started = Instant::now();
        let outcome = ask(&mut kept, is_post, &path).map_err(|error| error.to_string());
        if outcome.is_err() {
            kept = None;
        }
        if outcome == Ok(200) {
            answered.fetch_add(1, SeqCst);
        }
        records.push(Record {
            path,
            is_post,
            started,
            ended: Instant::now(),
            outcome,
        });
    }
    records
}

fn ask(kept: &mut Option<TcpStream>, is_post: bool, path: &str) -> std::io::Result<u16> {
    let mut stream = match kept.take() {
        Some(stream) => stream,
        None => TcpStream::connect(SocketAddr::from((Address::VIP4, Address::HTTP)))?,
    };
    stream.set_read_timeout(Some(ANSWER))?;
    let (method, body) = if is_post {
        ("POST", "one more")
    } else {
        ("GET", "")
    };
    let length = body.len();
    let head = format!("{method} {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n");
    stream.write_all((head + body).as_bytes())?;
    let mut answer = Vec::new();
    let mut piece = [0; 1024];
    // Every answer here has a length; its body is short.
    while !is_whole(&answer) {
        match stream.read(&mut piece)? {
            0 => return Err(std::io::Error::other("closed before the answer")),
            count => answer.extend_from_slice(&piece[..count]),
        }
    }
    let text = String::from_utf8_lossy(&answer);
    if !text.to_ascii_lowercase().contains("connection: close") {
        *kept = Some(stream);
    }
    (text.get(9..12).and_then(|status| status.parse().ok()))
        .ok_or_else(|| std::io::Error::other("no status"))
}

fn is_whole(answer: &[u8]) -> bool {
    let text = String::from_utf8_lossy(answer);
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return false;
    };
    let length = (head.lines()).find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.trim().parse::<usize>().unwrap())
    });
    body.len() >= length.unwrap_or(0)
}

/// The pair, its two targets, and what they have noted.
struct Scene<'lab> {
    lab: &'lab Lab,
    node: Tandem<'lab>,
    _other: Tandem<'lab>,
    targets: BTreeMap<Host, Process>,
}

/// Where the target of this host notes its requests.
fn file(lab: &Lab, host: Host) -> PathBuf {
    lab.folder().join(format!("{}.requests", host.name()))
}

fn start_target(lab: &Lab, host: Host) -> Process {
    let mut command = Command::new(env!("CARGO_BIN_EXE_target"));
    command.arg(PORT.to_string()).arg(file(lab, host));
    Process::start(lab.net(host), "target", &mut command).unwrap()
}

impl<'lab> Scene<'lab> {
    fn new(lab: &'lab Lab) -> Scene<'lab> {
        let hosts = [Host::Backend1, Host::Backend2];
        let targets = hosts.map(|host| (host, start_target(lab, host))).into();
        let (node, other) = Tandem::pair(lab, &quick_checks(PORT)).unwrap();
        let scene = Scene {
            lab,
            node,
            _other: other,
            targets,
        };
        for host in hosts {
            scene.wait_check(host, "up");
        }
        scene
    }

    /// Starts a target again.
    fn start(&mut self, host: Host) {
        self.targets.insert(host, start_target(self.lab, host));
    }

    fn signal(&self, host: Host, signal: Signal) {
        self.targets[&host].signal(signal).unwrap();
    }

    /// SIGKILL, and its end.
    fn kill(&mut self, host: Host) {
        let mut process = self.targets.remove(&host).unwrap();
        process.signal(Signal::SIGKILL).unwrap();
        process.wait_end(LIMIT).unwrap();
    }

    fn wait_check(&self, host: Host, wanted: &str) {
        let address = format!("{}:{PORT}", host.v4());
        let found = || {
            let status = self.node.status().ok()?;
            let targets = status["groups"][0]["targets"].as_array()?.clone();
            let target = targets
                .into_iter()
                .find(|target| target["address"] == address.as_str())?;
            Some(target["check"] == wanted)
        };
        let what = format!("the check of {} is {wanted}", host.name());
        wait_until(&what, LIMIT, || found() == Some(true)).unwrap();
    }

    /// One rule of nftables for what comes to the target of this host, or none.
    fn filter(&self, host: Host, verdict: Option<&str>) {
        let rules = match verdict {
            Some(verdict) => format!(
                "table inet broken {{ chain in {{ type filter hook input priority 0; tcp dport {PORT} {verdict}; }}; }}"
            ),
            None => "delete table inet broken".to_owned(),
        };
        let nft = || Command::new("nft").arg(&rules).output().unwrap();
        let done = self.lab.net(host).enter(nft).unwrap();
        assert!(done.status.success(), "{done:?}");
    }

    /// How often each POST was read whole by a target.
    fn written(&self) -> BTreeMap<String, usize> {
        let mut count = BTreeMap::new();
        for host in [Host::Backend1, Host::Backend2] {
            let text = std::fs::read_to_string(file(self.lab, host)).unwrap();
            for path in text.lines().filter_map(|line| line.strip_prefix("POST ")) {
                *count.entry(path.to_owned()).or_default() += 1;
            }
        }
        count
    }

    /// Nothing was written twice, and what was confirmed was written.
    fn assert_written_once(&self, records: &[Record]) {
        let written = self.written();
        let posts = || records.iter().filter(|record| record.is_post);
        assert!(posts().count() > 50, "there was something to write");
        for record in posts() {
            let times = written.get(&record.path).copied().unwrap_or(0);
            let confirmed = usize::from(record.outcome == Ok(200));
            assert!(
                (confirmed..=1).contains(&times),
                "POST {} was written {times} times, and answered {:?}",
                record.path,
                record.outcome
            );
        }
    }
}

fn failed(records: &[Record]) -> impl Iterator<Item = &Record> {
    records.iter().filter(|record| record.outcome != Ok(200))
}

#[test]
fn killed_resetting_and_flapping_targets_fail_no_get_and_write_nothing_twice() {
    measured(|| {
        let lab = Lab::new().unwrap();
        let mut scene = Scene::new(&lab);
        let load = Load::start(&lab);
        load.wait_answers(200);

        scene.kill(Host::Backend1);
        scene.wait_check(Host::Backend1, "down");
        load.wait_answers(200);
        scene.start(Host::Backend1);
        scene.wait_check(Host::Backend1, "up");
        load.wait_answers(200);

        // Every segment that comes for it is answered with a reset: connections in use, kept ones, new ones.
        scene.filter(Host::Backend2, Some("reject with tcp reset"));
        scene.wait_check(Host::Backend2, "down");
        load.wait_answers(200);
        scene.filter(Host::Backend2, None);
        scene.wait_check(Host::Backend2, "up");

        for _ in 0..4 {
            load.wait_answers(50);
            scene.kill(Host::Backend1);
            load.wait_answers(50);
            scene.start(Host::Backend1);
        }
        load.wait_answers(200);

        let records = load.finish();
        let gets: Vec<_> = failed(&records).filter(|record| !record.is_post).collect();
        let first = gets.iter().map(|record| record.started).min();
        assert!(
            gets.is_empty(),
            "{} GETs have failed, the first {:?} ago\n{}",
            gets.len(),
            first.map(|first| first.elapsed()),
            scene.node.tail()
        );
        for record in failed(&records) {
            assert!(
                record.outcome.is_ok(),
                "POST {} was not answered: {:?}",
                record.path,
                record.outcome
            );
        }
        scene.assert_written_once(&records);
    });
}

#[test]
fn frozen_and_black_holed_targets_fail_at_most_what_was_in_flight_and_nothing_after_a_second() {
    measured(|| {
        let lab = Lab::new().unwrap();
        let scene = Scene::new(&lab);
        let load = Load::start(&lab);
        load.wait_answers(200);

        let mut events = Vec::new();
        let mut noticed_after = |event: Instant| {
            events.push(event);
            let noticed = event.elapsed();
            load.wait_answers(100);
            // The second after which nothing may be felt any more has to be over, and something to follow.
            std::thread::sleep((event + NOTICED).saturating_duration_since(Instant::now()));
            load.wait_answers(200);
            noticed
        };
        let event = Instant::now();
        scene.signal(Host::Backend1, Signal::SIGSTOP);
        scene.wait_check(Host::Backend1, "down");
        let frozen = noticed_after(event);
        scene.signal(Host::Backend1, Signal::SIGCONT);
        scene.wait_check(Host::Backend1, "up");
        load.wait_answers(200);

        let event = Instant::now();
        scene.filter(Host::Backend2, Some("drop"));
        scene.wait_check(Host::Backend2, "down");
        let dropped = noticed_after(event);
        scene.filter(Host::Backend2, None);
        scene.wait_check(Host::Backend2, "up");
        load.wait_answers(200);

        let records = load.finish();
        scene.assert_written_once(&records);
        assert_within("the frozen target was noticed", frozen, NOTICED);
        assert_within("the black hole was noticed", dropped, NOTICED);
        for (number, event) in events.iter().enumerate() {
            // Who was still asking when the next one broke is judged there.
            let next = events.get(number + 1);
            let until = *event + 2 * NOTICED;
            let here = |record: &&Record| {
                let is_over = next.is_none_or(|next| record.ended < *next);
                record.ended >= *event && record.started < until && is_over
            };
            let lost: Vec<_> = failed(&records).filter(here).collect();
            let told: Vec<_> = (lost.iter())
                .map(|record| {
                    (
                        &record.path,
                        record.started.saturating_duration_since(*event),
                        &record.outcome,
                    )
                })
                .collect();
            assert!(
                lost.len() <= READERS + WRITERS,
                "{told:?}\n{}",
                scene.node.tail()
            );
            assert!(
                lost.iter().all(|record| record.is_post),
                "a GET is tried again: {told:?}"
            );
            for record in records.iter().filter(here) {
                let late = record.started.saturating_duration_since(*event) > NOTICED;
                assert!(!late || record.outcome == Ok(200), "{told:?}");
                let bound = if late { NOTICED / 4 } else { 2 * NOTICED };
                assert_within("a request", record.ended - record.started, bound);
            }
        }
        let all = failed(&records).count();
        assert!(
            all <= events.len() * (READERS + WRITERS),
            "{all} requests failed in all"
        );
    });
}
