//! The network fails, lies and is meddled with.

#![allow(clippy::unwrap_used)]

mod common;

use std::time::{Duration, Instant};

use common::{
    LIMIT, assert_at_least, assert_blackout, assert_heard, assert_lost, assert_measured,
    assert_within, measured, probe, watch_on,
};
use netns_tests::{
    Address, Auth, Device as _, Host, Injector, Junk, Lab, Observer, PairConfig, Tandem, VipWatch,
    wait_until, within,
};

/// Time for the kernel and the observer to do their part of what is measured from a command.
const LOOKING: Duration = Duration::from_millis(30);

/// The grace for connections in flight when an Active router yields to a higher one.
const LINGER: Duration = Duration::from_millis(150);

fn partition(interval: Duration, bound_ms: f64) {
    let lab = Lab::new().unwrap();
    let config = PairConfig {
        interval,
        ..PairConfig::default()
    };
    let (one, two) = Tandem::pair(&lab, &config).unwrap();
    let observer = Observer::start(&lab).unwrap();
    let watch = VipWatch::start(&lab, Address::VIP4).unwrap();
    let prober = probe(&lab, &config);

    let cut = Instant::now();
    lab.partition(Host::Lb1).unwrap();
    wait_until("lb2 has the address", LIMIT, || {
        watch.log().gained_after(Host::Lb2, cut).is_some()
    })
    .unwrap();
    let (_, summary) = watch_on(prober, cut);
    assert_blackout(&summary, bound_ms, [&one, &two]);

    let prober = probe(&lab, &config);
    let before = Instant::now();
    lab.heal(Host::Lb1).unwrap();
    let healed = Instant::now();
    one.wait_state("active", LIMIT).unwrap();
    two.wait_state("backup", LIMIT).unwrap();
    lab.wait_holder(Address::VIP4, Host::Lb1, LIMIT).unwrap();
    let last = observer
        .adverts(Host::Lb2.v4(), healed)
        .last()
        .map(|(at, _)| *at);
    let settled = last.map_or(Duration::ZERO, |at| at.duration_since(healed));
    assert_within("lb2 went on as Active for", settled, 2 * interval + LOOKING);
    let lost = within("lb2 gives the address up", LIMIT, || {
        watch.log().lost_after(Host::Lb2, before)
    })
    .unwrap();
    assert_within(
        "lb2 had the address for",
        lost,
        2 * interval + LINGER + LOOKING,
    );
    wait_until("the neighbours are told again", LIMIT, || {
        let told = observer.announcements(Address::VIP4, before);
        told.iter().any(|(_, mac)| *mac == Host::Lb1.mac())
    })
    .unwrap();
    let (_, summary) = watch_on(prober, before);
    assert!(
        summary.nodes.contains_key(&Host::Lb1.v4().into()),
        "lb1 serves again: {summary:?}"
    );
}

#[test]
fn a_partition_at_100_ms_costs_400_ms() {
    measured(|| {
        partition(Duration::from_millis(100), 400.0);
    });
}

#[test]
fn a_partition_at_10_ms_costs_45_ms() {
    measured(|| {
        partition(Duration::from_millis(10), 45.0);
    });
}

#[test]
fn a_cut_cable_costs_400_ms() {
    measured(|| {
        let lab = Lab::new().unwrap();
        let config = PairConfig::default();
        let (one, two) = Tandem::pair(&lab, &config).unwrap();
        let watch = VipWatch::start(&lab, Address::VIP4).unwrap();
        let prober = probe(&lab, &config);

        let cut = Instant::now();
        lab.cut_cable(Host::Lb1).unwrap();
        wait_until("lb2 has the address", LIMIT, || {
            watch.log().gained_after(Host::Lb2, cut).is_some()
        })
        .unwrap();
        one.wait_state("fault", LIMIT).unwrap();
        let (_, summary) = watch_on(prober, cut);
        assert_blackout(&summary, 400.0, [&one, &two]);
        assert_eq!(lab.holders(Address::VIP4), [Host::Lb2]);
    });
}

#[test]
fn a_node_whose_cable_is_mended_returns_without_loss() {
    measured(|| {
        let lab = Lab::new().unwrap();
        let config = PairConfig::default();
        let (one, two) = Tandem::pair(&lab, &config).unwrap();
        // Cut for less than the kernel needs to find out which neighbours it can still reach, and for longer.
        for cut in [500, 1000, 4000].map(Duration::from_millis) {
            lab.cut_cable(Host::Lb1).unwrap();
            one.wait_state("fault", LIMIT).unwrap();
            lab.wait_holder(Address::VIP4, Host::Lb2, LIMIT).unwrap();
            std::thread::sleep(cut);
            let prober = probe(&lab, &config);
            let mended = Instant::now();
            lab.mend_cable(Host::Lb1).unwrap();
            lab.wait_holder(Address::VIP4, Host::Lb1, LIMIT).unwrap();
            let (_, summary) = watch_on(prober, mended);
            assert_blackout(&summary, 50.0, [&one, &two]);
            assert_lost(&summary, 0, [&one, &two]);
        }
    });
}

fn junk(config: &PairConfig, kinds: &[Junk], length: Duration) {
    let lab = Lab::new().unwrap();
    let (one, two) = Tandem::pair(&lab, config).unwrap();
    let observer = Observer::start(&lab).unwrap();
    let transitions = || [&one, &two].map(|node| node.last_transition().unwrap().to_string());
    let before = transitions();
    let rejected = one.rejected().unwrap();

    let begun = Instant::now();
    let sent = Injector::start(&lab, kinds, config.vrid, 5000, length)
        .unwrap()
        .finish()
        .unwrap();
    let ended = Instant::now();
    // 5,000 packets a second are asked for; a machine that cannot send four fifths of that tests nothing.
    assert_at_least("packets", sent as f64, 4000.0 * length.as_secs_f64());
    wait_until("the observer has seen the junk", LIMIT, || {
        observer.adverts(Host::Client.v4(), begun).len() as u64 >= sent * 9 / 10
    })
    .unwrap();

    assert_heard(&observer, Host::Lb1, config, begun);
    let own = observer.adverts(Host::Lb1.v4(), begun).len() as u128;
    let due = length.as_millis() / config.interval.as_millis();
    assert_measured(own + 1 >= due * 9 / 10, || {
        format!("{own} advertisements of {due}")
    });
    assert!(
        observer.adverts(Host::Lb2.v4(), begun).is_empty(),
        "the backup spoke\n{}",
        two.tail()
    );
    assert_eq!(transitions(), before, "junk moved a state\n{}", one.tail());
    // One kind is for another virtual router and not counted at this one; a burst may overflow the socket.
    let counted = one.rejected().unwrap() - rejected;
    assert_measured(counted >= sent * 3 / 4, || {
        format!("{counted} of {sent} packets were counted")
    });
    for node in [&one, &two] {
        let lines = node.log_lines_between(begun, ended) as u64;
        let most = 5 * (ended - begun).as_secs();
        assert!(lines <= most, "{lines} log lines\n{}", node.tail());
    }
}

#[test]
fn junk_of_every_kind_moves_nothing() {
    measured(|| {
        junk(&PairConfig::default(), &Junk::ALL, Duration::from_secs(5));
    });
}

#[test]
fn a_wrong_password_moves_nothing() {
    measured(|| {
        let config = PairConfig::v2_password();
        assert!(matches!(config.auth, Auth::V2Password(_)));
        junk(&config, &[Junk::Password], Duration::from_secs(3));
    });
}

/// A losing advertisement is answered (RFC 9568 §6.4.3), but a stream of them must not make a stream of answers.
#[test]
fn answers_to_losing_advertisements_are_limited() {
    measured(|| {
        let lab = Lab::new().unwrap();
        let config = PairConfig::default();
        let (one, _two) = Tandem::pair(&lab, &config).unwrap();
        let observer = Observer::start(&lab).unwrap();
        let before = one.last_transition().unwrap();
        let begun = Instant::now();
        let length = Duration::from_secs(3);
        Injector::start(&lab, &[Junk::Losing], config.vrid, 5000, length)
            .unwrap()
            .finish()
            .unwrap();
        wait_until("a losing advertisement is answered", LIMIT, || {
            observer.adverts(Host::Lb1.v4(), begun).len() > 30
        })
        .unwrap();
        let own = observer.adverts(Host::Lb1.v4(), begun).len();
        // In three seconds 30 of its own, and one answer in 10 ms at most.
        let seconds = begun.elapsed().as_secs_f64();
        assert!(
            own as f64 <= 110.0 * seconds + 10.0,
            "{own} advertisements in {seconds} s"
        );
        // A conflict is answered with a schedule of announcements at most once a second; 15,000 packets came.
        let told = observer.announcements(Address::VIP4, begun).len();
        assert!(
            told as f64 <= 10.0 * seconds + 5.0,
            "{told} announcements in {seconds} s"
        );
        assert_heard(&observer, Host::Lb1, &config, begun);
        assert_eq!(one.last_transition().unwrap(), before);
    });
}

#[test]
fn a_deleted_address_is_put_back_in_place() {
    measured(|| {
        let lab = Lab::new().unwrap();
        let config = PairConfig::default();
        let (one, two) = Tandem::pair(&lab, &config).unwrap();
        let before = [&one, &two].map(|node| node.last_transition().unwrap().to_string());
        let prober = probe(&lab, &config);
        let deleted = Instant::now();
        lab.net(Host::Lb1)
            .ip(&format!("addr del {}/24 dev eth0", Address::VIP4))
            .unwrap();
        let (_, summary) = watch_on(prober, deleted);
        assert_blackout(&summary, 100.0, [&one, &two]);
        let after = [&one, &two].map(|node| node.last_transition().unwrap().to_string());
        assert_eq!(
            after,
            before,
            "a deleted address moved a state\n{}",
            one.tail()
        );
        assert_eq!(lab.holders(Address::VIP4), [Host::Lb1]);
        assert_eq!(two.host(), Host::Lb2);
    });
}
