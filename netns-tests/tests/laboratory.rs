//! The laboratory itself, proven with Debian's Keepalived and HAProxy as the devices: what it measures must be what is
//! known of them.

#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use netns_tests::{
    Address, Device as _, Host, Injector, Junk, Keepalived, Lab, Observer, PairConfig, Part,
    ProbeSettings, Prober, VipWatch, wait_until,
};

const LIMIT: Duration = Duration::from_secs(15);

fn probe(lab: &Lab) -> Prober {
    let settings = ProbeSettings::new((Address::VIP4, Address::HTTP));
    let prober = Prober::start(lab.net(Host::Client), settings).unwrap();
    prober.wait_steady(300, LIMIT).unwrap();
    prober
}

#[test]
fn the_prober_sees_the_takeover_after_a_cut_cable() {
    let lab = Lab::new().unwrap();
    let config = PairConfig::default();
    let (_one, two) = Keepalived::pair(&lab, &config).unwrap();
    let observer = Observer::start(&lab).unwrap();
    let watch = VipWatch::start(&lab, Address::VIP4).unwrap();
    let prober = probe(&lab);

    let cut = Instant::now();
    lab.partition(Host::Lb1).unwrap();
    wait_until("lb2 has the address", LIMIT, || {
        watch.log().gained_after(Host::Lb2, cut).is_some()
    })
    .unwrap();
    prober.wait_steady(300, LIMIT).unwrap();
    let run = prober.finish().unwrap();
    let summary = run.summary(Some(cut));

    // Down interval of priority 100 at 100 ms: 361 ms after the last advertisement, which was 0 to 100 ms before the cut.
    assert!((230.0..420.0).contains(&summary.blackout_ms), "{summary:?}");
    assert!(
        summary.lost > 100,
        "an outage of a quarter second costs probes: {summary:?}"
    );
    assert!(
        summary.backends.len() == 2,
        "both origins answer: {summary:?}"
    );
    assert!(
        summary.nodes.contains_key(&Host::Lb2.v4().into()),
        "lb2 answers: {summary:?}"
    );
    assert!(
        !observer.announcements(Address::VIP4, cut).is_empty(),
        "lb2 told the neighbours"
    );
    assert!(
        observer
            .adverts(Host::Lb1.v4(), cut + Duration::from_millis(50))
            .is_empty(),
        "lb1 is cut off"
    );
    assert!(
        observer.longest_silence(Host::Lb2.v4(), cut, Instant::now()) > Duration::from_millis(200)
    );

    // Cut off, both hold it; healed, one gives it up.
    assert_eq!(lab.holders(Address::VIP4), [Host::Lb1, Host::Lb2]);
    lab.heal(Host::Lb1).unwrap();
    lab.wait_holder(Address::VIP4, Host::Lb1, LIMIT).unwrap();
    assert!(two.said("Entering MASTER STATE"));
}

#[test]
fn a_cut_cable_is_seen_as_a_lost_carrier() {
    let lab = Lab::new().unwrap();
    let config = PairConfig {
        listener: false,
        ..PairConfig::default()
    };
    let (one, _two) = Keepalived::pair(&lab, &config).unwrap();
    lab.cut_cable(Host::Lb1).unwrap();
    wait_until("lb1 is in Fault", LIMIT, || {
        one.said("Entering FAULT STATE")
    })
    .unwrap();
    lab.wait_holder(Address::VIP4, Host::Lb2, LIMIT).unwrap();
    lab.mend_cable(Host::Lb1).unwrap();
    lab.wait_holder(Address::VIP4, Host::Lb1, LIMIT).unwrap();
}

/// Known of Keepalived: killed, it leaves the address behind, and then both nodes have it.
#[test]
fn the_vip_watch_sees_an_address_left_behind() {
    let lab = Lab::new().unwrap();
    let config = PairConfig {
        listener: false,
        ..PairConfig::default()
    };
    let (one, _two) = Keepalived::pair(&lab, &config).unwrap();
    let watch = VipWatch::start(&lab, Address::VIP4).unwrap();
    let killed = one.kill(Part::All).unwrap();
    wait_until("both nodes hold the address", LIMIT, || {
        watch.log().longest_overlap(killed) > Duration::from_millis(500)
    })
    .unwrap();
    assert_eq!(watch.log().lost_after(Host::Lb1, killed), None);
}

/// Known of Keepalived: junk that comes faster than its interval silences it.
#[test]
fn the_injector_silences_keepalived() {
    let lab = Lab::new().unwrap();
    let config = PairConfig {
        listener: false,
        ..PairConfig::default()
    };
    let mut one = Keepalived::new(&lab, Host::Lb1, &config).unwrap();
    one.start().unwrap();
    lab.wait_holder(Address::VIP4, Host::Lb1, LIMIT).unwrap();
    let observer = Observer::start(&lab).unwrap();
    let calm = Instant::now();
    wait_until("twenty advertisements", LIMIT, || {
        observer.adverts(Host::Lb1.v4(), calm).len() >= 20
    })
    .unwrap();
    let silence = observer.longest_silence(Host::Lb1.v4(), calm, calm + Duration::from_secs(1));
    assert!(
        silence < Duration::from_millis(150),
        "calm, one each 100 ms: {silence:?}"
    );

    let begun = Instant::now();
    let length = Duration::from_secs(2);
    let sent = Injector::start(&lab, &[Junk::Ttl], config.vrid, 5000, length)
        .unwrap()
        .finish()
        .unwrap();
    assert!(sent > 8000, "sent {sent}");
    let silence = observer.longest_silence(Host::Lb1.v4(), begun, begun + length);
    assert!(
        silence > Duration::from_millis(1500),
        "longest silence {silence:?}"
    );
    let junk = observer.adverts(Host::Client.v4(), begun);
    assert!(
        junk.len() as u64 >= sent * 9 / 10,
        "the observer saw {} of {sent}",
        junk.len()
    );
}

#[test]
fn nothing_is_left_after_a_laboratory() {
    let lab = Lab::new().unwrap();
    let mut one = Keepalived::new(&lab, Host::Lb1, &PairConfig::default()).unwrap();
    one.start().unwrap();
    wait_until("the VRRP child runs", LIMIT, || {
        !one.pids(Part::Director).is_empty()
    })
    .unwrap();
    let pids = one.pids(Part::All);
    let names: Vec<_> = [Host::Lb1, Host::Lb2, Host::Client]
        .map(|host| lab.net(host).name().to_owned())
        .into();
    let folder = lab.folder().to_owned();
    drop(one);
    drop(lab);
    for pid in pids {
        let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        assert!(
            state.is_empty() || state.contains(") Z "),
            "{pid} lives: {state}"
        );
    }
    for name in names {
        assert!(
            !std::path::Path::new("/run/netns").join(&name).exists(),
            "{name} is left"
        );
    }
    assert!(!folder.exists());
}
