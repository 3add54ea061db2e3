//! The same for datagrams: clients that ask one question at a time, and an origin that sends each back.

use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::unistd::Pid;

use super::load::Tally;
use super::measurement::{Row, row};
use super::rivals::{LOAD_CORE, ORIGIN, Rival};
use super::setups::Setup;
use crate::NetNs;

/// Clients, each with a socket of its own.
const CLIENTS: usize = 64;
/// Octets of a question and its answer.
const OCTETS: usize = 200;
/// Before it counts.
const WARM_UP: Duration = Duration::from_millis(500);
/// A question that is not answered by then is bad, and asked again.
const PATIENCE: Duration = Duration::from_millis(200);
/// The token of the origin's socket.
const ORIGIN_TOKEN: u64 = u64::MAX;

/// How a flow ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Flows {
    /// With each answer: a new one for each question, as for DNS.
    Short,
    /// Not while it is measured.
    Long,
}

impl Flows {
    /// What `scripts/bench udp` measures.
    pub const ALL: [Flows; 2] = [Flows::Short, Flows::Long];

    /// For a person.
    pub fn title(self) -> &'static str {
        match self {
            Flows::Short => "a flow per question",
            Flows::Long => "64 long flows",
        }
    }
}

/// Measures datagrams for each of `rivals`, round by round, each for `time`. `each` is told every row as it comes.
///
/// # Errors
/// When a proxy does not start or nothing gets through.
pub fn compare_datagrams(
    flows: Flows,
    rivals: &[Rival],
    rounds: usize,
    time: Duration,
    mut each: impl FnMut(&Row),
) -> anyhow::Result<Vec<Row>> {
    let namespace = NetNs::create(&format!("tdm-{}-udp", std::process::id()))?;
    let folder = tempfile::tempdir()?;
    let mut rows = Vec::new();
    for round in 1..=rounds {
        for rival in rivals {
            let (tally, cpu) = measure(*rival, flows, time, &namespace, folder.path())
                .with_context(|| format!("{}, {}", rival.title(), flows.title()))?;
            let row = row(flows.title(), *rival, round, time, tally, cpu);
            each(&row);
            rows.push(row);
        }
    }
    Ok(rows)
}

fn measure(
    rival: Rival,
    flows: Flows,
    time: Duration,
    namespace: &NetNs,
    folder: &Path,
) -> anyhow::Result<(Tally, Duration)> {
    let running = rival.start(namespace, folder, Setup::Plain)?;
    let mut core = CpuSet::new();
    core.set(LOAD_CORE)?;
    namespace.enter(|| -> anyhow::Result<_> {
        sched_setaffinity(Pid::from_raw(0), &core)?;
        let mut load = Load::new(rival.udp(flows))?;
        load.run(WARM_UP)?;
        let before = running.cpu();
        let tally = load.run(time)?;
        anyhow::ensure!(tally.good > 0, "nothing came through");
        Ok((tally, running.cpu() - before))
    })?
}

/// Clients and origin in one loop.
struct Load {
    epoll: Epoll,
    origin: UdpSocket,
    clients: Vec<Client>,
}

struct Client {
    socket: UdpSocket,
    asked_at: Instant,
    number: u64,
}

impl Client {
    fn ask(&mut self, now: Instant) {
        self.asked_at = now;
        self.number += 1;
        let mut question = [0; OCTETS];
        question[..8].copy_from_slice(&self.number.to_be_bytes());
        // One that is lost here is asked again.
        let _ = self.socket.send(&question);
    }
}

impl Load {
    fn new(target: SocketAddr) -> anyhow::Result<Load> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let origin = UdpSocket::bind(ORIGIN)?;
        origin.set_nonblocking(true)?;
        epoll.add(
            origin.as_fd(),
            EpollEvent::new(EpollFlags::EPOLLIN, ORIGIN_TOKEN),
        )?;
        let mut clients = Vec::new();
        for token in 0..CLIENTS {
            let socket = UdpSocket::bind("127.0.0.1:0")?;
            socket.connect(target)?;
            socket.set_nonblocking(true)?;
            let event = EpollEvent::new(EpollFlags::EPOLLIN, token as u64);
            epoll.add(socket.as_fd(), event)?;
            clients.push(Client {
                socket,
                asked_at: Instant::now(),
                number: 0,
            });
        }
        Ok(Load {
            epoll,
            origin,
            clients,
        })
    }

    fn run(&mut self, time: Duration) -> anyhow::Result<Tally> {
        let mut tally = Tally::default();
        let begun = Instant::now();
        let mut looked_at = begun;
        self.clients.iter_mut().for_each(|client| client.ask(begun));
        let mut events = vec![EpollEvent::empty(); 128];
        loop {
            let now = Instant::now();
            if now - begun >= time {
                return Ok(tally);
            }
            if now - looked_at >= PATIENCE {
                looked_at = now;
                for client in &mut self.clients {
                    if now - client.asked_at >= PATIENCE {
                        tally.bad += 1;
                        client.ask(now);
                    }
                }
            }
            let count = self.epoll.wait(&mut events, EpollTimeout::from(10_u8))?;
            for event in &events[..count] {
                match self.clients.get_mut(event.data() as usize) {
                    Some(client) => take(client, &mut tally),
                    None => self.answer(),
                }
            }
        }
    }

    fn answer(&self) {
        let mut room = [0; OCTETS];
        while let Ok((length, peer)) = self.origin.recv_from(&mut room) {
            // One that is lost here is asked again.
            let _ = self.origin.send_to(&room[..length], peer);
        }
    }
}

fn take(client: &mut Client, tally: &mut Tally) {
    let mut room = [0; OCTETS];
    while let Ok(length) = client.socket.recv(&mut room) {
        // An answer that comes after its question was asked again is not counted.
        if length == OCTETS && room[..8] == client.number.to_be_bytes() {
            let now = Instant::now();
            tally.good += 1;
            let took = (now - client.asked_at).as_nanos();
            tally
                .latencies_ns
                .push(u64::try_from(took).unwrap_or(u64::MAX));
            client.ask(now);
        }
    }
}
