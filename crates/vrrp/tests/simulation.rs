//! Two or three real cores on virtual wires with virtual time and one seeded random source.
//!
//! A seed gives a plan (`plan`): nodes, the members of a group each on a wire of its own, and what goes wrong when. Packets are lost,
//! delayed, doubled and reordered; wires are cut one way or both, one of them or all; nodes freeze, crash, lose their process, stop, hand
//! over, restart with an announced pause, reload, lose a link or a source address, and fail to claim. Reloads that reach one node after the
//! other roll keys out, rotate them or get them wrong, and take members out of their group and back in (`sweeps`); strangers forge what
//! they have no keys for. What must hold is checked after every step (`checks`), and once more after everything has healed.
//!
//! A plan that fails is made smaller as long as it fails (`shrink`), and the smallest one is in the panic, with its trace.
//!
//! `VRRP_SIM_SEED=n` replays one seed with its trace, `VRRP_SIM_SEEDS=n` runs seeds 0 to n, `VRRP_SIM_FIRST=n` begins with seed n.
#![allow(clippy::unwrap_used)]

use std::cell::Cell;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

mod simulation {
    pub(crate) mod chance;
    pub(crate) mod checks;
    pub(crate) mod groups;
    pub(crate) mod keys;
    pub(crate) mod knowledge;
    pub(crate) mod node;
    pub(crate) mod plan;
    pub(crate) mod shrink;
    pub(crate) mod sweeps;
    pub(crate) mod trouble;
    pub(crate) mod world;
}

use rand::SeedableRng;
use rand::rngs::StdRng;
use simulation::keys::Ring;
use simulation::plan::{Blow, MS, Plan, STORM, Trouble, What};
use simulation::shrink::shrink;
use simulation::sweeps::{rollout, rotation, sweeps};
use simulation::world::{Loses, SOUND, World};
use vrrp::{Action, AuthMode, Preempt};

/// Seeds of an ordinary run.
const SEEDS: u64 = 2_000;
/// Parts of the seeds, side by side.
const THREADS: u64 = 2;

/// How a plan went well: who became Active, in order, and everything of note.
struct Run {
    takeovers: Vec<(u64, usize)>,
    history: Vec<String>,
}

/// How it did not: what broke, and everything of note until then.
struct Broken {
    words: String,
    history: Vec<String>,
}

impl Broken {
    /// The words without the numbers in them: whether it is the same thing that broke.
    fn kind(&self) -> String {
        self.words
            .chars()
            .filter(|letter| !letter.is_ascii_digit())
            .collect()
    }
}

thread_local! {
    /// Whether panics of this thread are expected.
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Runs a plan. Whatever breaks, a check here or an assertion of the core, comes back as a value.
fn run(plan: &Plan, loses: Loses, trace: bool) -> Result<Run, Broken> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let loud = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !QUIET.get() {
                loud(info);
            }
        }));
    });
    let mut world = World::new(plan, loses, trace);
    QUIET.set(true);
    let result = catch_unwind(AssertUnwindSafe(|| world.run()));
    QUIET.set(false);
    let history = world.history;
    match result {
        Ok(()) => Ok(Run {
            takeovers: world.takeovers,
            history,
        }),
        Err(cause) => {
            let words = cause.downcast_ref::<String>().cloned();
            let words = words.or_else(|| cause.downcast_ref::<&str>().map(|&words| words.into()));
            Err(Broken {
                words: words.unwrap_or_else(|| "something panicked".to_owned()),
                history,
            })
        }
    }
}

/// The smallest plan found that breaks the same thing, and how it does.
fn smallest(plan: &Plan, loses: Loses, broken: Broken) -> (Plan, Broken) {
    let kind = broken.kind();
    let fails = |plan: &Plan| run(plan, loses, false).is_err_and(|other| other.kind() == kind);
    let small = shrink(plan, fails);
    let broken = run(&small, loses, false).err().unwrap_or(broken);
    (small, broken)
}

/// What to say of a seed that failed.
fn report(seed: u64, small: &Plan, broken: &Broken) -> String {
    let mut words = format!("VRRP_SIM_SEED={seed}: {}\n", broken.words);
    let history = broken.history.join("\n");
    write!(
        words,
        "the smallest plan that does it:\n{small}and how it went:\n{history}"
    )
    .unwrap();
    words
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name)
        .ok()
        .map(|text| text.parse().expect("a number of seeds"))
}

/// The number of takeovers of a seed.
fn run_seed(seed: u64, trace: bool) -> usize {
    let plan = Plan::of_seed(seed);
    match run(&plan, SOUND, trace) {
        Ok(run) => run.takeovers.len(),
        Err(broken) => {
            let (small, broken) = smallest(&plan, SOUND, broken);
            panic!("{}", report(seed, &small, &broken));
        }
    }
}

#[test]
fn no_seed_breaks_an_invariant() {
    if let Some(seed) = number("VRRP_SIM_SEED") {
        run_seed(seed, true);
        return;
    }
    let first = number("VRRP_SIM_FIRST").unwrap_or(0);
    let seeds = number("VRRP_SIM_SEEDS").unwrap_or(SEEDS);
    let parts: Vec<_> = (0..THREADS)
        .map(|part| {
            std::thread::spawn(move || {
                (first + part..seeds)
                    .step_by(THREADS as usize)
                    .map(|seed| run_seed(seed, false))
                    .sum::<usize>()
            })
        })
        .collect();
    let mut takeovers = 0;
    for part in parts {
        match part.join() {
            Ok(count) => takeovers += count,
            Err(cause) => std::panic::resume_unwind(cause),
        }
    }
    assert!(
        takeovers as u64 > (seeds - first) * 3,
        "the storms are too mild to show anything: {takeovers} takeovers"
    );
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let history = |seed| run(&Plan::of_seed(seed), SOUND, false).map(|run| run.history);
    for seed in [1, 42, 1_000] {
        assert_eq!(history(seed).ok(), history(seed).ok());
    }
}

/// A pair or three, a group or not, whose Active process is restarted once, with nothing else going wrong.
#[test]
fn a_restart_with_an_announced_pause_moves_nothing() {
    for seed in 0..200 {
        let mut plan = Plan::of_seed(seed);
        plan.apart.fill(false);
        let nodes = plan.nodes.iter_mut();
        let members = nodes.flat_map(|node| &mut node.members);
        members.for_each(|member| member.preempt = Preempt::Immediately);
        let restart = |node| Trouble {
            at: 1_500 * MS,
            what: What::Node {
                node,
                blow: Blow::Restart {
                    away: (seed + 1) * 16 * MS,
                },
            },
        };
        plan.troubles = (0..plan.nodes.len()).map(restart).collect();
        let Run { takeovers, history } = run(&plan, SOUND, false)
            .unwrap_or_else(|broken| panic!("{}", report(seed, &plan, &broken)));
        let words = history.join("\n");
        let after: Vec<_> = takeovers
            .iter()
            .filter(|(at, _)| *at > 1_500 * MS)
            .collect();
        assert!(
            words.contains("goes on after a planned restart"),
            "seed {seed}:\n{words}"
        );
        assert_eq!(
            after.len(),
            1,
            "seed {seed}: somebody else took over\n{words}"
        );
    }
}

/// Keys that come, go and change on one node after the other, in the order that the manual has, on a network that loses nothing: whatever
/// the seed, nobody refuses what the other says, and nobody moves.
#[test]
fn keys_rolled_out_rotated_or_withdrawn_in_order_move_nothing() {
    let withdrawal = || rollout().into_iter().rev().collect();
    for seed in 0..240 {
        let mut plan = Plan::of_seed(seed);
        let mut steps: Vec<_> = [rollout, rotation, withdrawal][seed as usize % 3]();
        let first = steps.remove(0);
        plan.ring_at_last.clone_from(steps.last().unwrap());
        for node in &mut plan.nodes {
            node.ring.clone_from(&first);
        }
        let nodes = plan.nodes.iter_mut();
        let members = nodes.flat_map(|node| &mut node.members);
        members.for_each(|member| member.preempt = Preempt::Never);
        let mut rng = StdRng::seed_from_u64(seed);
        let times = (2_000 * MS, STORM);
        plan.apart.fill(false);
        plan.troubles = sweeps(&mut rng, plan.nodes.len(), &steps, times);
        plan.troubles.sort_by_key(|trouble| trouble.at);
        let mut world = World::new(&plan, SOUND, false);
        world.run();
        let late = world.takeovers.iter().any(|(at, _)| *at >= times.0);
        let words = world.history.join("\n");
        assert!(!late, "seed {seed}: somebody took over\n{plan}{words}");
        assert_eq!(world.disbelieved, 0, "seed {seed}\n{plan}{words}");
    }
}

/// A node with a wrong key hears nobody and is heard by nobody, until it has the right one.
#[test]
fn a_wrong_key_is_no_key() {
    for seed in 0..60 {
        let mut plan = Plan::of_seed(seed);
        let ring = |secret| Some(Ring::new(AuthMode::Enforce, &[(1, secret)], 1));
        plan.ring_at_last = ring(1);
        plan.apart.fill(false);
        plan.nodes.truncate(2);
        for (node, secret) in plan.nodes.iter_mut().zip([1, 2]) {
            node.ring = ring(secret);
        }
        plan.troubles.clear();
        let mut world = World::new(&plan, SOUND, false);
        world.run();
        let (storm, calm): (Vec<_>, Vec<_>) =
            world.takeovers.iter().partition(|(at, _)| *at < STORM);
        let words = world.history.join("\n");
        let who: BTreeSet<_> = storm.iter().map(|(_, node)| node).collect();
        assert_eq!(who.len(), 2, "seed {seed}: each is alone\n{plan}{words}");
        assert!(world.disbelieved > 20, "seed {seed}\n{plan}{words}");
        assert!(calm.len() < 3, "seed {seed}: one yields\n{plan}{words}");
    }
}

/// A predicate in place of the simulation: what is needed stays, in its order, and nothing else does.
#[test]
fn shrinking_leaves_what_is_needed_and_nothing_else() {
    let plan = (0..)
        .map(Plan::of_seed)
        .find(|plan| plan.nodes.len() == 3 && plan.wires() == 3 && plan.troubles.len() > 15)
        .unwrap();
    let needed = [plan.troubles[3].clone(), plan.troubles[11].clone()];
    let small = shrink(&plan, |plan| {
        let mut left = plan.troubles.iter();
        needed.iter().all(|one| left.any(|other| other == one))
    });
    assert_eq!(small.troubles, needed);
    assert!(small.smooth);
}

/// A kernel that loses what it should take away once the node hands over: found, and told with the few troubles that show it.
#[test]
fn a_kernel_that_keeps_addresses_is_found_and_the_plan_that_shows_it_is_small() {
    let keeps: Loses = |_, action| matches!(action, Action::Release);
    let mut found = 0;
    for seed in 0..20 {
        let plan = Plan::of_seed(seed);
        let Err(broken) = run(&plan, keeps, false) else {
            continue;
        };
        found += 1;
        let before = plan.troubles.len();
        let (small, broken) = smallest(&plan, keeps, broken);
        let words = report(seed, &small, &broken);
        assert!(broken.words.contains("hold"), "{words}");
        assert!(before > 5 && small.troubles.len() <= 3, "{words}");
        let left = small.nodes.iter().filter(|node| node.starts_at.is_some());
        assert!(left.count() <= 2 && small.wires() == 1, "{words}");
        assert!(small.troubles.iter().all(|one| one.at < STORM), "{words}");
    }
    assert!(found > 10, "only {found} of 20 seeds show it");
}
