//! The client: one HTTP request on a connection of its own each millisecond, on schedule, whatever became of the
//! earlier ones (an open loop, so that an outage cannot hide by slowing the questions down).

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use socket2::{Domain, Socket, Type};

use crate::NetNs;
use crate::run::{Outcome, Probe, Run};
use crate::wait::wait_until;

/// An answer longer than this is no answer of the laboratory's origins.
const ANSWER_LIMIT: usize = 4096;

/// What to ask and how often.
#[derive(Clone, Debug)]
pub struct ProbeSettings {
    /// The address asked.
    pub target: SocketAddr,
    /// The path asked for.
    pub path: String,
    /// From one probe to the next.
    pub every: Duration,
    /// A probe without an answer after this is lost.
    pub limit: Duration,
}

impl ProbeSettings {
    /// One probe a millisecond with a limit of one second.
    pub fn new(target: impl Into<SocketAddr>) -> ProbeSettings {
        ProbeSettings {
            target: target.into(),
            path: "/".into(),
            every: Duration::from_millis(1),
            limit: Duration::from_secs(1),
        }
    }
}

/// A running prober. Dropping it ends it.
#[derive(Debug)]
pub struct Prober {
    stop: Arc<AtomicBool>,
    probes: Mutex<Collected>,
    limit: Duration,
    thread: Option<JoinHandle<anyhow::Result<Duration>>>,
}

impl Prober {
    /// Begins to probe from inside `namespace`.
    ///
    /// # Errors
    /// When the namespace cannot be entered.
    pub fn start(namespace: &NetNs, settings: ProbeSettings) -> anyhow::Result<Prober> {
        let stop: Arc<AtomicBool> = Arc::default();
        // A channel, because a lock would make the prober wait for whoever looks on.
        let (send, receive) = mpsc::channel();
        let thread_stop = Arc::clone(&stop);
        let limit = settings.limit;
        let thread = namespace.thread("lab-prober", move || {
            run_ahead();
            let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
            Loop {
                settings,
                epoll,
                flying: Vec::new(),
                free: Vec::new(),
                probes: send,
                lag: Duration::ZERO,
            }
            .run(&thread_stop)
        })?;
        Ok(Prober {
            stop,
            limit,
            probes: Mutex::new(Collected {
                receive,
                probes: Vec::new(),
            }),
            thread: Some(thread),
        })
    }

    /// Waits until `count` probes in a row, all started from this call on, were answered.
    ///
    /// # Errors
    /// When that does not happen within `limit`; the error counts how the probes ended.
    pub fn wait_steady(&self, count: usize, limit: Duration) -> anyhow::Result<Duration> {
        let since = Instant::now();
        wait_until(
            &format!("{count} probes in a row are answered"),
            limit,
            || {
                self.collected(|probes| {
                    let tail = probes.iter().rev().take(count);
                    let good = tail.filter(|probe| {
                        probe.outcome == Outcome::Answered && probe.started >= since
                    });
                    good.count() == count
                })
            },
        )
        .with_context(|| format!("outcomes: {:?}", self.run().summary(None).outcomes))
    }

    /// Waits until a probe that started after `since` was answered, and says how long after `since` that was.
    ///
    /// # Errors
    /// When none was within `limit`.
    pub fn wait_answered(&self, since: Instant, limit: Duration) -> anyhow::Result<Duration> {
        let mut ended = None;
        wait_until("a probe is answered", limit, || {
            ended = self.collected(|probes| {
                probes
                    .iter()
                    .find(|probe| probe.outcome == Outcome::Answered && probe.started >= since)
                    .map(|p| p.ended)
            });
            ended.is_some()
        })?;
        Ok(ended
            .map(|ended| ended.duration_since(since))
            .unwrap_or_default())
    }

    /// Waits until every probe started before this call has ended, so that a loss counts for what caused it.
    pub fn settle(&self) {
        // The limit of a probe is the longest it can take; what has no end to be seen can only be waited for.
        std::thread::sleep(self.limit + Duration::from_millis(50));
    }

    /// What was seen up to this moment, the prober going on.
    pub fn run(&self) -> Run {
        let probes = self.collected(|probes| probes.clone());
        Run::new(probes, Duration::ZERO, Instant::now())
    }

    /// Stops asking, waits for the probes under way, and returns all of them.
    ///
    /// # Errors
    /// When the prober itself failed.
    pub fn finish(mut self) -> anyhow::Result<Run> {
        let ended = Instant::now();
        self.stop.store(true, Ordering::Relaxed);
        let thread = self
            .thread
            .take()
            .context("the prober was finished already")?;
        let lag = thread
            .join()
            .map_err(|_| anyhow::anyhow!("the prober panicked"))??;
        let probes = self.collected(std::mem::take);
        Ok(Run::new(probes, lag, ended))
    }
}

impl Prober {
    fn collected<T>(&self, look: impl FnOnce(&mut Vec<Probe>) -> T) -> T {
        let mut collected = self.probes.lock().unwrap_or_else(PoisonError::into_inner);
        let Collected { receive, probes } = &mut *collected;
        probes.extend(receive.try_iter());
        look(probes)
    }
}

/// Probes that have ended, and where the next ones come from.
#[derive(Debug)]
struct Collected {
    receive: mpsc::Receiver<Probe>,
    probes: Vec<Probe>,
}

impl Drop for Prober {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Puts the calling thread before all ordinary work: the client is another machine in truth, and what keeps the nodes
/// busy must not make it late. Where that is not allowed, [`crate::Summary::prober_lag_ms`] shows the price.
fn run_ahead() {
    let thread = nix::unistd::gettid().to_string();
    let _ = std::process::Command::new("chrt")
        .args(["--rr", "--pid", "1", &thread])
        .stdin(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .status();
}

/// A probe under way.
struct Flying {
    socket: Socket,
    started: Instant,
    asked: bool,
    answer: Vec<u8>,
    /// Already recorded; kept only until the server closes, so that the client side has no TIME_WAIT.
    done: bool,
}

struct Loop {
    settings: ProbeSettings,
    epoll: Epoll,
    flying: Vec<Option<Flying>>,
    free: Vec<usize>,
    probes: mpsc::Sender<Probe>,
    lag: Duration,
}

impl Loop {
    fn run(mut self, stop: &AtomicBool) -> anyhow::Result<Duration> {
        let request = format!(
            "GET {} HTTP/1.1\r\nHost: lab\r\nConnection: close\r\n\r\n",
            self.settings.path
        );
        let mut next_at = Instant::now();
        let mut swept_at = next_at;
        let mut events = [EpollEvent::empty(); 256];
        loop {
            let now = Instant::now();
            let stopping = stop.load(Ordering::Relaxed);
            while !stopping && next_at <= now {
                self.lag = self.lag.max(now.duration_since(next_at));
                self.launch();
                next_at += self.settings.every;
            }
            if stopping && self.flying.iter().flatten().all(|flying| flying.done) {
                return Ok(self.lag);
            }
            if now.duration_since(swept_at) > Duration::from_millis(20) {
                swept_at = now;
                self.give_up_old(now);
            }
            let pause = if stopping {
                Duration::from_millis(5)
            } else {
                next_at.saturating_duration_since(Instant::now())
            };
            let mut waiting = [PollFd::new(self.epoll.0.as_fd(), PollFlags::POLLIN)];
            let _ = ppoll(&mut waiting, Some(pause.into()), None);
            let count = self
                .epoll
                .wait(&mut events, EpollTimeout::ZERO)
                .unwrap_or(0);
            for event in &events[..count] {
                self.step(usize::try_from(event.data())?, request.as_bytes());
            }
        }
    }

    fn launch(&mut self) {
        let started = Instant::now();
        match self.connect() {
            Ok(socket) => {
                let index = self.free.pop().unwrap_or_else(|| {
                    self.flying.push(None);
                    self.flying.len() - 1
                });
                let wanted = EpollFlags::EPOLLIN
                    | EpollFlags::EPOLLOUT
                    | EpollFlags::EPOLLRDHUP
                    | EpollFlags::EPOLLET;
                match self
                    .epoll
                    .add(&socket, EpollEvent::new(wanted, index as u64))
                {
                    Ok(()) => {
                        self.flying[index] = Some(Flying {
                            socket,
                            started,
                            asked: false,
                            answer: Vec::new(),
                            done: false,
                        });
                    }
                    Err(_) => {
                        self.free.push(index);
                        self.record(started, Outcome::Local, &[]);
                    }
                }
            }
            Err(error) => self.record(started, outcome_of(&error), &[]),
        }
    }

    fn connect(&self) -> std::io::Result<Socket> {
        let socket = Socket::new(
            Domain::for_address(self.settings.target),
            Type::STREAM.nonblocking().cloexec(),
            None,
        )?;
        match socket.connect(&self.settings.target.into()) {
            Ok(()) => Ok(socket),
            Err(error) if error.raw_os_error() == Some(nix::errno::Errno::EINPROGRESS as i32) => {
                Ok(socket)
            }
            Err(error) => Err(error),
        }
    }

    /// Moves one probe on as far as its socket allows.
    fn step(&mut self, index: usize, request: &[u8]) {
        let Some(mut flying) = self.flying[index].take() else {
            return;
        };
        let outcome = advance(&mut flying, request);
        let keep = match outcome {
            None => true,
            Some(outcome) => {
                if !flying.done {
                    self.record(flying.started, outcome, &flying.answer);
                }
                // An answered one stays until the server has closed.
                let stay = outcome == Outcome::Answered && !flying.done;
                flying.done = true;
                stay
            }
        };
        if keep {
            self.flying[index] = Some(flying);
        } else {
            self.free.push(index);
        }
    }

    fn give_up_old(&mut self, now: Instant) {
        for index in 0..self.flying.len() {
            let old = self.flying[index]
                .take_if(|flying| now.duration_since(flying.started) >= self.settings.limit);
            if let Some(flying) = old {
                self.free.push(index);
                if !flying.done {
                    self.record(flying.started, Outcome::TimedOut, &flying.answer);
                }
            }
        }
    }

    fn record(&self, started: Instant, outcome: Outcome, answer: &[u8]) {
        let (backend, node) = if outcome == Outcome::Answered {
            who(answer)
        } else {
            (None, None)
        };
        // Nobody listens any more only when the prober is being dropped.
        let _ = self.probes.send(Probe {
            started,
            ended: Instant::now(),
            outcome,
            backend,
            node,
        });
    }
}

/// Sends, receives, and says how the probe ended, or `None` while it goes on.
fn advance(flying: &mut Flying, request: &[u8]) -> Option<Outcome> {
    if !flying.asked {
        if let Some(error) = flying.socket.take_error().ok().flatten() {
            return Some(outcome_of(&error));
        }
        match flying.socket.write(request) {
            Ok(_) => flying.asked = true,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return None,
            Err(error) if error.kind() == std::io::ErrorKind::NotConnected => return None,
            Err(error) => return Some(outcome_of(&error)),
        }
    }
    let mut buffer = [0_u8; 1024];
    loop {
        match flying.socket.read(&mut buffer) {
            Ok(0) => {
                return Some(if flying.done {
                    Outcome::Answered
                } else {
                    Outcome::Closed
                });
            }
            Ok(count) => flying.answer.extend(&buffer[..count]),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return None,
            Err(error) if flying.done => return Some(outcome_of(&error)),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {
                return Some(Outcome::Reset);
            }
            Err(error) => return Some(outcome_of(&error)),
        }
        if !flying.done
            && let Some(good) = whole(&flying.answer)
        {
            return Some(if good {
                Outcome::Answered
            } else {
                Outcome::BadAnswer
            });
        }
        if flying.answer.len() > ANSWER_LIMIT {
            return Some(Outcome::BadAnswer);
        }
    }
}

/// `Some(is it a 200)` when the answer is there with all of its body.
fn whole(answer: &[u8]) -> Option<bool> {
    let (head, body) = split(answer)?;
    let wanted: usize = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.trim().parse().ok())?
    })?;
    (body.len() >= wanted).then(|| head.starts_with("HTTP/1.1 200"))
}

fn split(answer: &[u8]) -> Option<(&str, &[u8])> {
    let at = answer.windows(4).position(|four| four == b"\r\n\r\n")?;
    Some((std::str::from_utf8(&answer[..at]).ok()?, &answer[at + 4..]))
}

/// Reads `NAME via PEER`.
fn who(answer: &[u8]) -> (Option<String>, Option<IpAddr>) {
    let body = split(answer)
        .and_then(|(_, body)| std::str::from_utf8(body).ok())
        .unwrap_or_default();
    match body.trim().split_once(" via ") {
        Some((backend, node)) => (Some(backend.to_owned()), node.parse().ok()),
        None => (None, None),
    }
}

fn outcome_of(error: &std::io::Error) -> Outcome {
    use std::io::ErrorKind;
    match error.kind() {
        ErrorKind::ConnectionRefused => Outcome::Refused,
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => Outcome::Reset,
        ErrorKind::TimedOut => Outcome::TimedOut,
        ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable | ErrorKind::NetworkDown => {
            Outcome::Unreachable
        }
        _ => Outcome::Local,
    }
}
