//! Queues under load, simulated: ten servers with eight workers each, most requests short and a few long.
//!
//! Requests come at random (Poisson); each server works them off in order. The seeds are fixed, so a run always
//! gives the same figures.
#![allow(clippy::unwrap_used)]

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

use balancer::{Algorithm, Check, GroupSettings, Lease, Outcome, Plan};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

const SERVERS: usize = 10;
const WORKERS: usize = 8;
const REQUESTS: usize = 120_000;
/// Mean of 95 % with 5 ms and 5 % with 500 ms.
const MEAN_MS: f64 = 0.95 * 5.0 + 0.05 * 500.0;

/// How it went.
#[derive(Debug)]
struct Figures {
    /// Most requests at one server at a time, those being worked on included.
    worst_queue: u32,
    /// 99th percentile of waiting and work, in ms.
    p99_ms: f64,
    /// Part of the requests the first server got.
    first_share: f64,
}

/// Nanoseconds of virtual time.
fn ns(ms: f64) -> u64 {
    (ms * 1e6) as u64
}

/// `load`: part of the capacity that is asked for. `slow`: how many times slower the first server is.
fn simulate(seed: u64, algorithm: Algorithm, load: f64, slow: f64) -> Figures {
    let addresses = (1..=SERVERS).map(|n| format!("10.0.0.{n}:80").parse().unwrap());
    let mut settings = GroupSettings::new("g", addresses);
    settings.algorithm = algorithm;
    settings.health.check = Check::Off;
    let plan = Plan::build(vec![], vec![settings], None).unwrap();
    let group = plan.group("g").unwrap();
    let start = Instant::now();
    let rng = &mut StdRng::seed_from_u64(seed);

    let capacity = (SERVERS as f64 - 1.0 + 1.0 / slow) * WORKERS as f64 / MEAN_MS;
    let mut free_at = vec![[0u64; WORKERS]; SERVERS];
    let mut ends = BinaryHeap::new();
    let mut leases: Vec<Option<Lease>> = Vec::new();
    let mut took = Vec::new();
    let (mut now, mut worst, mut first) = (0u64, 0, 0u32);
    for number in 0..REQUESTS {
        now += ns(-(1.0 - rng.random::<f64>()).ln() / (load * capacity));
        while let Some(Reverse((at, ended))) = ends.peek().copied()
            && at <= now
        {
            ends.pop();
            let lease: Lease = leases[ended as usize].take().unwrap();
            lease.finish(start, Outcome::Ok);
        }
        let lease = group.pick(start, rng.random(), None, &[]).unwrap();
        let server = lease.target().id().index();
        worst = worst.max(lease.target().state().in_flight());
        first += u32::from(server == 0);
        let work = if rng.random_bool(0.05) { 500.0 } else { 5.0 };
        let work = ns(work * if server == 0 { slow } else { 1.0 });
        let worker = free_at[server].iter_mut().min().unwrap();
        *worker = now.max(*worker) + work;
        took.push(*worker - now);
        ends.push(Reverse((*worker, number as u32)));
        leases.push(Some(lease));
    }
    took.sort_unstable();
    Figures {
        worst_queue: worst,
        p99_ms: took[REQUESTS * 99 / 100] as f64 / 1e6,
        first_share: f64::from(first) / REQUESTS as f64,
    }
}

/// The figures of every algorithm, in the order round robin, random, power of two, least connections.
fn run(seed: u64, load: f64, slow: f64) -> [Figures; 4] {
    [
        Algorithm::RoundRobin,
        Algorithm::Random,
        Algorithm::PowerOfTwo,
        Algorithm::LeastConnections,
    ]
    .map(|algorithm| simulate(seed, algorithm, load, slow))
}

#[test]
fn queues_stay_short_among_equal_servers() {
    for seed in 0..3 {
        let figures = run(seed, 0.8, 1.0);
        let [turns, random, two, least] = &figures;
        let (worst, most) = (two.worst_queue, least.worst_queue);
        assert!(worst <= 2 * most, "seed {seed}: {figures:?}");
        assert!(4 * worst <= turns.worst_queue, "seed {seed}: {figures:?}");
        assert!(4 * most <= turns.worst_queue, "seed {seed}: {figures:?}");
        assert!(4 * worst <= random.worst_queue, "seed {seed}: {figures:?}");
        // A long request takes 500 ms by itself: hardly anyone waits.
        assert!(two.p99_ms < 505.0 && least.p99_ms < 505.0, "{figures:?}");
        assert!(turns.p99_ms > 550.0, "seed {seed}: {figures:?}");
    }
}

#[test]
fn a_slow_server_is_spared_by_those_who_count() {
    for seed in 0..3 {
        let figures = run(seed, 0.7, 3.0);
        let [turns, _, two, least] = &figures;
        assert!((turns.first_share - 0.1).abs() < 0.001, "{figures:?}");
        assert!(two.first_share < 0.05, "seed {seed}: {figures:?}");
        assert!(least.first_share < 0.05, "seed {seed}: {figures:?}");
        assert!(100 * two.worst_queue <= turns.worst_queue, "{figures:?}");
        assert!(100 * least.worst_queue <= turns.worst_queue, "{figures:?}");
        assert!(two.p99_ms < 505.0 && least.p99_ms < 505.0, "{figures:?}");
    }
}
