//! Two or three real cores on a virtual LAN with virtual time and one seeded random source.
//!
//! Packets are lost, delayed, doubled and reordered; links are cut one way or both; nodes freeze, crash, lose their
//! process, stop, hand over, reload and fail to claim. What must hold is checked after every step (`checks`), and once
//! more after everything has healed.
//!
//! `VRRP_SIM_SEED=n` replays one seed with its trace, `VRRP_SIM_SEEDS=n` runs seeds 0 to n.
#![allow(clippy::unwrap_used)]

use std::panic::{AssertUnwindSafe, catch_unwind};

mod simulation {
    pub(crate) mod chaos;
    pub(crate) mod checks;
    pub(crate) mod world;
}

use simulation::world::World;

/// Seeds of an ordinary run.
const SEEDS: u64 = 2_000;
/// Two halves of the seeds, side by side.
const THREADS: u64 = 2;

fn number(name: &str) -> Option<u64> {
    std::env::var(name)
        .ok()
        .map(|text| text.parse().expect("a number of seeds"))
}

fn run(seed: u64, trace: bool) -> usize {
    let world = AssertUnwindSafe(World::new(seed, trace));
    let result = catch_unwind(move || {
        let AssertUnwindSafe(mut world) = world;
        world.run();
        world.takeovers
    });
    result.unwrap_or_else(|_| panic!("the invariant above broke with VRRP_SIM_SEED={seed}"))
}

#[test]
fn no_seed_breaks_an_invariant() {
    if let Some(seed) = number("VRRP_SIM_SEED") {
        run(seed, true);
        return;
    }
    let seeds = number("VRRP_SIM_SEEDS").unwrap_or(SEEDS);
    let halves: Vec<_> = (0..THREADS)
        .map(|half| {
            std::thread::spawn(move || {
                (half..seeds)
                    .step_by(2)
                    .map(|seed| run(seed, false))
                    .sum::<usize>()
            })
        })
        .collect();
    let mut takeovers = 0;
    for half in halves {
        match half.join() {
            Ok(count) => takeovers += count,
            Err(cause) => std::panic::resume_unwind(cause),
        }
    }
    assert!(
        takeovers as u64 > seeds * 3,
        "the storms are too mild to show anything: {takeovers} takeovers"
    );
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let history = |seed| {
        let mut world = World::new(seed, false);
        world.run();
        world.history
    };
    for seed in [1, 42, 1_000] {
        assert_eq!(history(seed), history(seed));
    }
}
