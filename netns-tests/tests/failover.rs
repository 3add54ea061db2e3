//! A node's processes die, hang, leave and come back, while a client asks once a millisecond (100 ms between
//! advertisements).

#![allow(clippy::unwrap_used)]

mod common;

use std::time::{Duration, Instant};

use common::{
    LIMIT, assert_blackout, assert_lost, assert_measured, assert_within, measured, probe, watch_on,
};
use netns_tests::{
    Address, Device as _, Host, Lab, Observer, PairConfig, Part, Tandem, VipWatch, wait_until,
};

/// Lease of two seconds, the kernel's whole-second clock and a little time to look.
const LEASE_BOUND: Duration = Duration::from_millis(2500);

/// Both nodes may have the address for the grace of a planned move and no longer.
const OVERLAP_BOUND: Duration = Duration::from_millis(250);

fn kill_and_watch(part: Part, bound_ms: f64) {
    let lab = Lab::new().unwrap();
    let config = PairConfig::default();
    let (one, two) = Tandem::pair(&lab, &config).unwrap();
    let watch = VipWatch::start(&lab, Address::VIP4).unwrap();
    let prober = probe(&lab, &config);

    let killed = one.kill(part).unwrap();
    wait_until("lb2 has the address", LIMIT, || {
        watch.log().gained_after(Host::Lb2, killed).is_some()
    })
    .unwrap();
    let (_, summary) = watch_on(prober, killed);
    assert_blackout(&summary, bound_ms, [&one, &two]);
    let metrics = two.metrics().unwrap();
    let outage = "tandem_failover_outage_seconds{name=\"main\"} ";
    let outage = metrics.lines().find_map(|line| line.strip_prefix(outage));
    let outage: f64 = outage.expect("the takeover was timed").parse().unwrap();
    // From the last advertisement on, which is at most an interval before the event; and no longer than clients were without service.
    let most = Duration::from_millis(150) + Duration::from_secs_f64(summary.blackout_ms / 1000.0);
    assert_within("the outage as told", Duration::from_secs_f64(outage), most);
    // The part that died may be back just then, and takes the address over from the other node.
    wait_until("one node has the address at the end", LIMIT, || {
        lab.holders(Address::VIP4).len() == 1
    })
    .unwrap();
    let log = watch.log();
    if matches!(part, Part::Keeper | Part::All) {
        let gone = log
            .lost_after(Host::Lb1, killed)
            .expect("the address leaves the dead node");
        assert_within("the dead node had the address for", gone, LEASE_BOUND);
        assert_eq!(lab.holders(Address::VIP4), [Host::Lb2]);
    } else {
        let overlap = log.longest_overlap(killed);
        assert_within("both nodes had the address for", overlap, OVERLAP_BOUND);
    }
}

#[test]
fn a_killed_forwarder_costs_50_ms() {
    measured(|| {
        kill_and_watch(Part::Forwarder, 50.0);
    });
}

#[test]
fn a_killed_director_costs_50_ms() {
    measured(|| {
        kill_and_watch(Part::Director, 50.0);
    });
}

#[test]
fn a_killed_keeper_costs_400_ms_and_leaves_no_address() {
    measured(|| {
        kill_and_watch(Part::Keeper, 400.0);
    });
}

#[test]
fn a_node_killed_whole_costs_400_ms_and_leaves_no_address() {
    measured(|| {
        kill_and_watch(Part::All, 400.0);
    });
}

#[test]
fn a_killed_forwarder_or_director_is_started_again_and_the_node_returns_without_loss() {
    let lab = Lab::new().unwrap();
    let config = PairConfig::default();
    let (one, two) = Tandem::pair(&lab, &config).unwrap();
    for part in [Part::Forwarder, Part::Director] {
        let before = one.pids(part);
        let watch = VipWatch::start(&lab, Address::VIP4).unwrap();
        let killed = one.kill(part).unwrap();
        wait_until("lb2 has the address", LIMIT, || {
            watch.log().gained_after(Host::Lb2, killed).is_some()
        })
        .unwrap();
        wait_until("the part runs again", LIMIT, || {
            let now = one.pids(part);
            now.len() == 1 && now != before
        })
        .unwrap();
        lab.wait_holder(Address::VIP4, Host::Lb1, LIMIT).unwrap();
        one.wait_state("active", LIMIT).unwrap();
        two.wait_state("backup", LIMIT).unwrap();
        one.wait_ready(LIMIT).unwrap();
    }
}

#[test]
fn a_frozen_node_loses_the_address_and_listens_when_it_wakes() {
    measured(|| {
        let lab = Lab::new().unwrap();
        let config = PairConfig::default();
        let (one, two) = Tandem::pair(&lab, &config).unwrap();
        let watch = VipWatch::start(&lab, Address::VIP4).unwrap();
        let observer = Observer::start(&lab).unwrap();
        let prober = probe(&lab, &config);

        let frozen = one.freeze(Part::All).unwrap();
        wait_until("the address leaves the frozen node", LIMIT, || {
            watch.log().lost_after(Host::Lb1, frozen).is_some()
        })
        .unwrap();
        let gone = watch.log().lost_after(Host::Lb1, frozen).unwrap();
        assert_within("the frozen node had the address for", gone, LEASE_BOUND);
        // A freeze of five seconds is the scenario.
        std::thread::sleep(
            (frozen + Duration::from_secs(5)).saturating_duration_since(Instant::now()),
        );
        assert_eq!(
            lab.holders(Address::VIP4),
            [Host::Lb2],
            "one node has the address during the freeze"
        );

        let thawed = one.thaw(Part::All).unwrap();
        lab.wait_holder(Address::VIP4, Host::Lb1, LIMIT).unwrap();
        let (run, summary) = watch_on(prober, frozen);
        assert_blackout(&summary, 400.0, [&one, &two]);
        let interruptions = run.interruptions(frozen, Duration::from_millis(50));
        assert_measured(interruptions.len() == 1, || {
            format!("the freeze is the only interruption: {interruptions:?}")
        });

        let first = observer
            .adverts(Host::Lb1.v4(), thawed)
            .into_iter()
            .find(|(_, advert)| advert.priority > 0);
        let (at, _) = first.expect("lb1 advertises again in the end");
        let listened = at.duration_since(thawed);
        assert!(
            listened >= 2 * config.interval,
            "lb1 listened for {listened:?} only"
        );
        let told = observer.announcements(Address::VIP4, thawed);
        let early = told.iter().find(|(at, mac)| {
            *mac == Host::Lb1.mac() && at.duration_since(thawed) < 2 * config.interval
        });
        assert!(
            early.is_none(),
            "lb1 claimed the address before it listened"
        );
    });
}

#[test]
fn a_node_that_is_stopped_loses_two_probes_at_most_and_none_when_it_returns() {
    measured(|| {
        let lab = Lab::new().unwrap();
        let config = PairConfig::default();
        let (mut one, two) = Tandem::pair(&lab, &config).unwrap();
        let prober = probe(&lab, &config);

        let stopped = one.stop(LIMIT).unwrap();
        lab.wait_holder(Address::VIP4, Host::Lb2, LIMIT).unwrap();
        prober.wait_steady(300, LIMIT).unwrap();
        let summary = prober.run().summary(Some(stopped));
        assert_lost(&summary, 2, [&one, &two]);

        let returning = Instant::now();
        one.start().unwrap();
        one.wait_state("active", LIMIT).unwrap();
        lab.wait_holder(Address::VIP4, Host::Lb1, LIMIT).unwrap();
        let (_, summary) = watch_on(prober, returning);
        assert_lost(&summary, 0, [&one, &two]);
        assert!(
            summary.nodes.contains_key(&Host::Lb1.v4().into()),
            "lb1 serves again: {summary:?}"
        );
    });
}

#[test]
fn a_stop_that_waits_an_interval_of_six_seconds_for_the_other_node_is_a_clean_one() {
    let lab = Lab::new().unwrap();
    let quiet = PairConfig {
        listener: false,
        pair: false,
        ..PairConfig::default()
    };
    let mut node = Tandem::new(&lab, Host::Lb1, &quiet).unwrap();
    // The owner waits for nobody at the start.
    let config = "[vrrp.main]\ninterface = \"eth0\"\nvrid = 51\nvips = [\"10.0.0.10/24\"]\n\
                  advert_interval = \"6s\"\npriority = 255\n";
    node.write_config(config).unwrap();
    node.start().unwrap();
    node.wait_state("active", LIMIT).unwrap();
    let observer = Observer::start(&lab).unwrap();
    // An exit code other than 0 is an error of its own.
    let asked = node.stop(4 * LIMIT).unwrap();
    assert!(asked.elapsed() >= Duration::from_secs(6), "it waited");
    let said = observer.adverts(Host::Lb1.v4(), asked);
    assert!(said.iter().any(|(_, advert)| advert.priority == 0));
    let log = node.log().join("\n");
    assert!(!log.contains("killing the director"), "{log}");
    assert!(lab.holders(Address::VIP4).is_empty());
}

#[test]
fn a_handover_loses_nothing_and_is_not_undone() {
    measured(|| {
        let lab = Lab::new().unwrap();
        let config = PairConfig::default();
        let (one, two) = Tandem::pair(&lab, &config).unwrap();
        let watch = VipWatch::start(&lab, Address::VIP4).unwrap();
        let prober = probe(&lab, &config);

        let asked = Instant::now();
        let (code, out, err) = one.cli(&["handover"]).unwrap();
        assert_eq!(code, 0, "tandem handover: {out}{err}");
        two.wait_state("active", LIMIT).unwrap();
        one.wait_state("backup", LIMIT).unwrap();
        let (_, summary) = watch_on(prober, asked);
        assert_lost(&summary, 0, [&one, &two]);
        assert_eq!(
            lab.holders(Address::VIP4),
            [Host::Lb2],
            "the preferred node does not take it back"
        );
        assert_eq!(watch.log().gains(asked), 1, "the address moved once");
        let overlap = watch.log().longest_overlap(asked);
        assert_within("both nodes had the address for", overlap, OVERLAP_BOUND);

        // And back, by the other node's operator.
        let prober = probe(&lab, &config);
        let asked = Instant::now();
        let (code, out, err) = two.cli(&["handover"]).unwrap();
        assert_eq!(code, 0, "tandem handover: {out}{err}");
        one.wait_state("active", LIMIT).unwrap();
        let (_, summary) = watch_on(prober, asked);
        assert_lost(&summary, 0, [&one, &two]);
    });
}

#[test]
fn a_handover_that_nobody_takes_keeps_the_service() {
    measured(|| {
        let lab = Lab::new().unwrap();
        let config = PairConfig::default();
        let (one, mut two) = Tandem::pair(&lab, &config).unwrap();
        two.stop(LIMIT).unwrap();
        let prober = probe(&lab, &config);
        let asked = Instant::now();
        let (code, out, err) = one.cli(&["handover"]).unwrap();
        assert_ne!(
            code, 0,
            "tandem handover must say that nobody took over: {out}{err}"
        );
        one.wait_state("active", LIMIT).unwrap();
        let (_, summary) = watch_on(prober, asked);
        assert_lost(&summary, 0, [&one, &two]);
    });
}
