//! Rounds of work for every proxy in turn, and what is made of them.

use std::net::TcpListener;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use serde::Serialize;

use super::load::{Job, Load, Tally};
use super::rivals::{LOAD_CORE, ORIGIN, Rival, Running};
use super::setups::Setup;
use super::{Answer, Speech, Work};
use crate::NetNs;

/// Before it counts: connections are open, pools filled, pages there.
const WARM_UP: Duration = Duration::from_millis(500);
/// It goes on until every client has had an answer, but no longer than this.
const WARM_UP_LIMIT: Duration = Duration::from_secs(20);

/// One kind of work for every proxy.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// For a person, such as `1 KiB, keep-alive`.
    pub title: &'static str,
    /// What the clients do.
    pub work: Work,
    /// How they speak.
    pub speech: Speech,
    /// Through the TCP listener instead of the HTTP one.
    pub raw: bool,
    /// What the proxies do besides forwarding.
    pub setup: Setup,
}

impl Comparison {
    /// What `scripts/bench http` measures.
    pub fn http() -> Vec<Comparison> {
        let one = |title, work| Comparison {
            title,
            work,
            speech: Speech::Clear,
            raw: false,
            setup: Setup::Plain,
        };
        let keep = |answer, post| Work::KeepAlive {
            clients: 64,
            answer,
            post,
        };
        vec![
            one("1 KiB, keep-alive", keep(Answer::Sized(1_024), 0)),
            Comparison {
                setup: Setup::Logged,
                ..one("1 KiB, with access log", keep(Answer::Sized(1_024), 0))
            },
            Comparison {
                setup: Setup::Full,
                ..one("1 KiB, all of it on", keep(Answer::Sized(1_024), 0))
            },
            one("64 KiB answers", keep(Answer::Sized(65_536), 0)),
            one("POST of 64 KiB", keep(Answer::Sized(128), 65_536)),
            one("20 kB chunked", keep(Answer::Chunked(20_000), 0)),
            one(
                "connection per request",
                Work::ConnectEach {
                    clients: 32,
                    answer: Answer::Sized(1_024),
                },
            ),
            one(
                "10,000 requests/s",
                Work::FixedRate {
                    clients: 64,
                    answer: Answer::Sized(1_024),
                    rate: 10_000,
                },
            ),
        ]
    }

    /// What `scripts/bench tls` measures.
    pub fn tls() -> Vec<Comparison> {
        let one = |title, work, resumes| Comparison {
            title,
            work,
            speech: Speech::Tls { resumes },
            raw: false,
            setup: Setup::Plain,
        };
        let each = Work::ConnectEach {
            clients: 32,
            answer: Answer::Sized(1_024),
        };
        let keep = |octets| Work::KeepAlive {
            clients: 64,
            answer: Answer::Sized(octets),
            post: 0,
        };
        vec![
            one("full handshake", each, false),
            one("resumed handshake", each, true),
            one("1 KiB, keep-alive", keep(1_024), false),
            one("64 KiB answers", keep(65_536), false),
        ]
    }

    /// What `scripts/bench h2` measures: answers of 1 KiB, and larger ones.
    pub fn http2() -> Vec<Comparison> {
        let sized = |title, (clients, streams), octets, encrypted| Comparison {
            title,
            work: Work::KeepAlive {
                clients,
                answer: Answer::Sized(octets),
                post: 0,
            },
            speech: Speech::Http2 { streams, encrypted },
            raw: false,
            setup: Setup::Plain,
        };
        let one =
            |title, clients, streams, encrypted| sized(title, (clients, streams), 1_024, encrypted);
        vec![
            one("16 connections x 32", 16, 32, true),
            one("64 connections x 1", 64, 1, true),
            one("16 x 32 in clear text", 16, 32, false),
            sized("64 KiB, 16 x 32", (16, 32), 65_536, true),
            sized("64 KiB, 64 x 1", (64, 1), 65_536, true),
            sized("1 MiB, 8 x 1", (8, 1), 1 << 20, true),
            sized("1 MiB, 2 x 32", (2, 32), 1 << 20, true),
        ]
    }

    /// What `scripts/bench tcp` measures.
    pub fn tcp() -> Vec<Comparison> {
        let one = |title, work| Comparison {
            title,
            work,
            speech: Speech::Clear,
            raw: true,
            setup: Setup::Plain,
        };
        vec![
            one(
                "1 MiB answers",
                Work::KeepAlive {
                    clients: 8,
                    answer: Answer::Sized(1 << 20),
                    post: 0,
                },
            ),
            one(
                "1 KiB answers",
                Work::KeepAlive {
                    clients: 64,
                    answer: Answer::Sized(1_024),
                    post: 0,
                },
            ),
            one(
                "connect, request, close",
                Work::ConnectEach {
                    clients: 32,
                    answer: Answer::Sized(1_024),
                },
            ),
        ]
    }
}

/// One round of one proxy.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// The comparison's title.
    pub title: String,
    /// Whose round.
    pub rival: Rival,
    /// Which round, from 1.
    pub round: usize,
    /// CPU time for each good answer, in microseconds.
    pub cpu_us: f64,
    /// Good answers a second.
    pub per_second: f64,
    /// Half of the answers came within this, in microseconds.
    pub p50_us: f64,
    /// 99 of 100 did.
    pub p99_us: f64,
    /// Answers that were not good, and connections that ended early.
    pub bad: u64,
}

/// Measures `comparison` for each of `rivals`, round by round, each for `time`. Rounds are on the outside: what the
/// machine does meanwhile hits all alike. `each` is told every row as it comes, and a round without one: because a proxy did not
/// start, or because nothing got through.
///
/// # Errors
/// When no namespace can be made.
pub fn compare(
    comparison: &Comparison,
    rivals: &[Rival],
    rounds: usize,
    time: Duration,
    mut each: impl FnMut(Result<&Row, anyhow::Error>),
) -> anyhow::Result<Vec<Row>> {
    let namespace = NetNs::create(&format!("tdm-{}-bench", std::process::id()))?;
    let folder = tempfile::tempdir()?;
    let mut rows = Vec::new();
    for round in 1..=rounds {
        for rival in rivals {
            let row = measure(comparison, *rival, round, time, &namespace, folder.path())
                .with_context(|| format!("{}, {}", rival.title(), comparison.title));
            match row {
                Ok(row) => {
                    each(Ok(&row));
                    rows.push(row);
                }
                Err(error) => each(Err(error)),
            }
        }
    }
    Ok(rows)
}

fn measure(
    comparison: &Comparison,
    rival: Rival,
    round: usize,
    time: Duration,
    namespace: &NetNs,
    folder: &Path,
) -> anyhow::Result<Row> {
    let target = if comparison.raw {
        rival.tcp()
    } else {
        rival.speaking(comparison.speech)
    };
    let job = Job {
        target,
        work: comparison.work,
        speech: comparison.speech,
    };
    let (tally, cpu) = with_load(
        namespace,
        || rival.start(namespace, folder, comparison.setup),
        job,
        |load, running| {
            warm_up(load, comparison.work)?;
            let before = running.cpu();
            let tally = load.run(time, true)?;
            Ok((tally, running.cpu() - before))
        },
    )?;
    anyhow::ensure!(tally.good > 0, "nothing came through");
    Ok(row(comparison.title, rival, round, time, tally, cpu))
}

/// Lets the clients work until each of them has had an answer: the first large bodies may take seconds on a busy machine.
fn warm_up(load: &mut Load, work: Work) -> anyhow::Result<()> {
    let begun_at = Instant::now();
    let mut good = 0;
    while begun_at.elapsed() < WARM_UP || good < u64::from(work.clients()) {
        anyhow::ensure!(
            begun_at.elapsed() < WARM_UP_LIMIT,
            "{good} answers in {WARM_UP_LIMIT:?}"
        );
        good += load.run(WARM_UP / 5, true)?.good;
    }
    Ok(())
}

/// Starts origin, proxy and clients, each on its core, and lets `measure` use them.
pub(super) fn with_load<T: Send>(
    namespace: &NetNs,
    start: impl FnOnce() -> anyhow::Result<Running>,
    job: Job,
    measure: impl FnOnce(&mut Load, &Running) -> anyhow::Result<T> + Send,
) -> anyhow::Result<T> {
    let origin = namespace.enter(|| TcpListener::bind(ORIGIN))??;
    let running = {
        // The proxy's first check wants an answer before there is any load.
        let stop = std::sync::atomic::AtomicBool::new(false);
        let early = origin.try_clone()?;
        std::thread::scope(|scope| -> anyhow::Result<Running> {
            let stop = &stop;
            let answering = scope.spawn(move || -> anyhow::Result<()> {
                let mut load = Load::new(early, job)?;
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    load.run(Duration::from_millis(10), false)?;
                }
                Ok(())
            });
            let running = start();
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
            answering
                .join()
                .map_err(|_| anyhow::anyhow!("the origin panicked"))??;
            running
        })?
    };
    let mut core = CpuSet::new();
    core.set(LOAD_CORE)?;
    namespace.enter(|| -> anyhow::Result<T> {
        sched_setaffinity(Pid::from_raw(0), &core)?;
        let mut load = Load::new(origin, job)?;
        load.open()?;
        measure(&mut load, &running)
    })?
}

pub(super) fn row(
    title: &str,
    rival: Rival,
    round: usize,
    time: Duration,
    mut tally: Tally,
    cpu: Duration,
) -> Row {
    tally.latencies_ns.sort_unstable();
    let at = |share: usize| {
        let index = tally.latencies_ns.len() * share / 100;
        let value = tally.latencies_ns.get(index).copied().unwrap_or(0);
        value as f64 / 1e3
    };
    Row {
        title: title.to_owned(),
        rival,
        round,
        cpu_us: cpu.as_secs_f64() * 1e6 / tally.good as f64,
        per_second: tally.good as f64 / time.as_secs_f64(),
        p50_us: at(50),
        p99_us: at(99),
        bad: tally.bad,
    }
}

/// Proportional memory of a proxy for each of `clients` idle keep-alive connections that have had one answer, in octets.
///
/// # Errors
/// When the proxy does not start or an answer is missing.
pub fn idle_memory(rival: Rival, speech: Speech, clients: u32) -> anyhow::Result<f64> {
    /// Connections opened at a time: few enough that the origin is asked on few connections.
    const BATCH: u32 = 50;
    let namespace = NetNs::create(&format!("tdm-{}-idle", std::process::id()))?;
    let folder = tempfile::tempdir()?;
    let work = Work::Once {
        clients: BATCH,
        answer: Answer::Sized(1_024),
    };
    let job = Job {
        target: rival.speaking(speech),
        work,
        speech,
    };
    with_load(
        &namespace,
        || rival.start(&namespace, folder.path(), Setup::Plain),
        job,
        |load, running| {
            let mut answered = 0;
            let mut open = |load: &mut Load, count: u32| -> anyhow::Result<()> {
                for _ in 0..count / BATCH {
                    load.open()?;
                    let until = answered + u64::from(BATCH);
                    let limit = Instant::now() + WARM_UP * 10;
                    while answered < until {
                        anyhow::ensure!(Instant::now() < limit, "an answer is missing");
                        answered += load.run(Duration::from_millis(2), true)?.good;
                    }
                }
                Ok(())
            };
            // What every proxy has once is there before it counts.
            open(load, BATCH * 10)?;
            let before = running.memory_kib();
            open(load, clients)?;
            load.run(WARM_UP, false)?;
            let grown = running.memory_kib().saturating_sub(before);
            Ok(grown as f64 * 1024.0 / f64::from(clients))
        },
    )
}
