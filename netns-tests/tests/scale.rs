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
