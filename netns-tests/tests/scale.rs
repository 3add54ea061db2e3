//! Hundreds of virtual routers on one node: all of them Active at once, no advertisement missing, each on its interval.

#![allow(clippy::unwrap_used)]

mod common;

use std::process::{Child, Command};
use std::time::{Duration, Instant};

use common::{assert_measured, assert_within, measured};
use netns_tests::{
    Crowd, Device, Host, Lab, Observer, PairConfig, Part, Tandem, cpu_time, missed, wait_until,
    within,
};
use serde_json::Value;

const ROUTERS: usize = 250;
/// From one advertisement to the next.
const INTERVAL: Duration = Duration::from_secs(1);
/// How long they are watched.
const WATCH: Duration = Duration::from_secs(6);
/// Three intervals and the skew of priority 200 (RFC 9568 §6.1), and a start on a busy machine.
const START: Duration = Duration::from_millis(3219 + 1500);

/// Raw sockets of VRRP over IPv4 on the node.
fn vrrp_sockets(lab: &Lab) -> usize {
    let read = || std::fs::read_to_string("/proc/thread-self/net/raw");
    let listed = lab.net(Host::Lb1).enter(read).unwrap().unwrap();
    // The number of the protocol, 112, stands where other tables have the port.
    let ours = |line: &&str| {
        let local = line.split_whitespace().nth(1);
        local.is_some_and(|local| local.ends_with(":0070"))
    };
    listed.lines().filter(ours).count()
}

#[test]
fn two_hundred_and_fifty_virtual_routers_miss_nothing() {
    measured(|| {
        let crowd = Crowd::of(ROUTERS);
        let lab = Lab::new().unwrap();
        crowd.plug(&lab, Host::Lb1, Host::Watch).unwrap();
        let observer = Observer::start(&lab).unwrap();
        let quiet = PairConfig {
            listener: false,
            pair: false,
            ..PairConfig::default()
        };
        let mut node = Tandem::new(&lab, Host::Lb1, &quiet).unwrap();
        node.write_config(&crowd.tandem(false)).unwrap();
        let begun = Instant::now();
        node.start().unwrap();
        let first = within("all of them advertise", 4 * START, || {
            let seen = crowd.adverts(&observer, Host::Lb1, begun);
            let first = seen.values().filter_map(|times| times.first().copied());
            (seen.len() == crowd.len()).then(|| first.max())
        });
        let last = first.unwrap().unwrap();
        assert_within("until the last is Active", last - begun, START);

        assert_eq!(
            vrrp_sockets(&lab),
            2,
            "one that receives and one that sends, for all"
        );
        let pids = node.pids(Part::All);
        let spent = || -> Duration { pids.iter().map(|pid| cpu_time(*pid).unwrap()).sum() };
        let (from, before) = (Instant::now(), spent());
        // The length of the watch is what is asked for here; no fact would end it sooner.
        std::thread::sleep(WATCH);
        let (to, after) = (Instant::now(), spent());
        let seen = crowd.adverts(&observer, Host::Lb1, from);
        let result = missed(&seen, crowd.len(), (from, to), INTERVAL);
        assert_measured(result.missed == 0, || format!("{result:?}"));
        // A hundredth of the interval is the node's own; the rest is the machine's.
        let longest = Duration::from_secs_f64(result.longest_gap_ms / 1000.0);
        assert_within("between two of one router", longest, INTERVAL * 3 / 2);
        let share = (after - before).as_secs_f64() / (to - from).as_secs_f64();
        assert_measured(share < 0.25, || {
            format!("{ROUTERS} routers need {share:.3} of a core")
        });
    });
}

/// Virtual routers of the node that is stopped.
const MANY: usize = 1000;
/// Programs that want the whole processor meanwhile.
const HOGS: usize = 4;
/// For what takes seconds; waiting longer than this means that it will not happen.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn a_thousand_virtual_routers_leave_with_a_farewell_each_and_nobody_is_killed() {
    let crowd = Crowd::of(MANY);
    let lab = Lab::new().unwrap();
    crowd.plug(&lab, Host::Lb1, Host::Watch).unwrap();
    let observer = Observer::start(&lab).unwrap();
    let quiet = PairConfig {
        listener: false,
        pair: false,
        ..PairConfig::default()
    };
    let mut node = Tandem::new(&lab, Host::Lb1, &quiet).unwrap();
    node.write_config(&crowd.tandem(false)).unwrap();
    let begun = Instant::now();
    node.start().unwrap();
    wait_until("all of them advertise", PATIENCE, || {
        crowd.adverts(&observer, Host::Lb1, begun).len() == crowd.len()
    })
    .unwrap();
    let hogs = Hogs::start(HOGS);
    // An exit code other than 0 is an error of its own.
    let asked = node.stop(PATIENCE).unwrap();
    drop(hogs);
    assert_eq!(
        crowd.farewells(&observer, Host::Lb1, asked).len(),
        crowd.len()
    );
    let log = node.log().join("\n");
    assert!(!log.contains("killing the director"), "{log}");
    assert!(!log.contains("not removed"), "{log}");
    let held = lab.net(Host::Lb1).ip("-o -4 addr show").unwrap();
    let on_links = held.lines().filter(|line| line.contains(": s"));
    assert_eq!(
        on_links.count(),
        usize::from(crowd.links),
        "each link has its own address only:\n{held}"
    );
}

/// Virtual routers that move together.
const TOGETHER: usize = 60;
/// Longer than a claim waits to be called a conflict.
const SUSPENSE: Duration = Duration::from_millis(1500);

/// Whether all virtual routers of a node are in a state.
fn all_are(node: &Tandem<'_>, state: &str) -> bool {
    let Ok(status) = node.status() else {
        return false;
    };
    let routers = status["vrrp"].as_array().cloned().unwrap_or_default();
    routers.len() == TOGETHER && routers.iter().all(|router| router["state"] == state)
}

/// Claims of others that a node took for conflicts.
fn conflicts(node: &Tandem<'_>) -> u64 {
    let (_, out, err) = node.cli(&["--json", "vrrp"]).unwrap();
    let routers: Value =
        serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {err}"));
    let routers = routers.as_array().unwrap();
    assert_eq!(routers.len(), TOGETHER);
    let counted = |router: &Value| router["counters"]["address_conflicts"].as_u64();
    routers.iter().map(|router| counted(router).unwrap()).sum()
}

/// The node that has the addresses sees sixty of them claimed before it has read that it has to yield.
#[test]
fn sixty_addresses_that_move_together_are_no_conflict() {
    measured(|| {
        let crowd = Crowd::of(TOGETHER);
        let lab = Lab::new().unwrap();
        crowd.plug(&lab, Host::Lb1, Host::Lb2).unwrap();
        let quiet = PairConfig {
            listener: false,
            ..PairConfig::default()
        };
        let [mut one, mut two] =
            [Host::Lb1, Host::Lb2].map(|host| Tandem::new(&lab, host, &quiet).unwrap());
        for node in [&mut one, &mut two] {
            node.write_config(&crowd.tandem(true)).unwrap();
            node.start().unwrap();
        }
        let settled = |one: &Tandem<'_>, two: &Tandem<'_>| {
            wait_until("the preferred node has all of them", PATIENCE, || {
                all_are(one, "active") && all_are(two, "backup")
            })
            .unwrap();
        };
        settled(&one, &two);
        one.stop(PATIENCE).unwrap();
        wait_until("the other node has all of them", PATIENCE, || {
            all_are(&two, "active")
        })
        .unwrap();
        // Within the first second after a takeover a claim would count for nothing.
        std::thread::sleep(SUSPENSE);
        one.start().unwrap();
        settled(&one, &two);
        // What would have been called a conflict by then; no fact would end it sooner.
        std::thread::sleep(SUSPENSE);
        let found = [&one, &two].map(conflicts);
        assert_measured(found == [0, 0], || {
            let events = [&one, &two].map(|node| node.cli(&["events"]).unwrap().1);
            format!("conflicts {found:?}\n{}", events.join("\n"))
        });
        for node in [&one, &two] {
            let events = node.cli(&["events"]).unwrap().1;
            assert!(!events.contains("is claimed by"), "{events}");
        }
    });
}

/// Shells that do nothing without end.
struct Hogs(Vec<Child>);

impl Hogs {
    fn start(count: usize) -> Self {
        let hog = || {
            Command::new("sh")
                .args(["-c", "while :; do :; done"])
                .spawn()
                .unwrap()
        };
        Self((0..count).map(|_| hog()).collect())
    }
}

impl Drop for Hogs {
    fn drop(&mut self) {
        for hog in &mut self.0 {
            hog.kill().unwrap();
            hog.wait().unwrap();
        }
    }
}
