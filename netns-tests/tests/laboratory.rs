//! The laboratory itself, proven with Debian's Keepalived and HAProxy as the devices: what it measures must be what is
//! known of them.

#![allow(clippy::unwrap_used)]

mod common;

use std::time::{Duration, Instant};

use common::{
    LIMIT, assert_at_least, assert_measured, assert_not_before, assert_within, measured, probe,
};
use netns_tests::{
    Address, Device as _, Host, Injector, Junk, Keepalived, Lab, Observer, PairConfig, Part,
    VipWatch, wait_until, within,
};

/// What a busy machine may add to a timer of Keepalived's.
const SLACK: Duration = Duration::from_millis(500);

#[test]
fn the_prober_sees_the_takeover_after_a_cut_cable() {
    measured(|| {
        let lab = Lab::new().unwrap();
        let config = PairConfig::default();
        let (_one, two) = Keepalived::pair(&lab, &config).unwrap();
        let observer = Observer::start(&lab).unwrap();
        let watch = VipWatch::start(&lab, Address::VIP4).unwrap();
        let prober = probe(&lab, &config);

        let cut = Instant::now();
        lab.partition(Host::Lb1).unwrap();
        let is_cut = Instant::now();
        wait_until("lb2 has the address", LIMIT, || {
            watch.log().gained_after(Host::Lb2, cut).is_some()
        })
        .unwrap();
        prober.wait_steady(300, LIMIT).unwrap();
        let run = prober.finish().unwrap();
        let summary = run.summary(Some(cut));

        // Down interval of priority 100 at 100 ms: 361 ms after the last advertisement, which was 0 to 100 ms before the cut;
        // the upper end leaves room for Keepalived on a busy machine.
        assert_measured((230.0..500.0).contains(&summary.blackout_ms), || {
            format!("{summary:?}")
        });
        assert_measured(summary.lost > 100, || {
            format!("an outage of a quarter second costs probes: {summary:?}")
        });
        assert!(
            summary.backends.len() == 2,
            "both origins answer: {summary:?}"
        );
        assert!(
            summary.nodes.contains_key(&Host::Lb2.v4().into()),
            "lb2 answers: {summary:?}"
        );
        wait_until("lb2 tells the neighbours", LIMIT, || {
            !observer.announcements(Address::VIP4, cut).is_empty()
        })
        .unwrap();
        assert!(
            observer.adverts(Host::Lb1.v4(), is_cut).is_empty(),
            "lb1 is cut off"
        );
        assert!(
            observer.longest_silence(Host::Lb2.v4(), cut, Instant::now())
                > Duration::from_millis(200)
        );

        // Cut off, both hold it; healed, one gives it up.
        assert_eq!(lab.holders(Address::VIP4), [Host::Lb1, Host::Lb2]);
        lab.heal(Host::Lb1).unwrap();
        lab.wait_holder(Address::VIP4, Host::Lb1, LIMIT).unwrap();
        wait_until("lb2 says it, too", LIMIT, || {
            two.said("Entering MASTER STATE")
        })
        .unwrap();
    });
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
    measured(|| {
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
        assert_within("one each 100 ms", silence, Duration::from_millis(750));

        let begun = Instant::now();
        let length = Duration::from_secs(2);
        let sent = Injector::start(&lab, &[Junk::Ttl], config.vrid, 5000, length)
            .unwrap()
            .finish()
            .unwrap();
        assert_at_least("packets", sent as f64, 8000.0);
        wait_until("the observer has seen the junk", LIMIT, || {
            observer.adverts(Host::Client.v4(), begun).len() as u64 >= sent * 9 / 10
        })
        .unwrap();
        let silence = observer.longest_silence(Host::Lb1.v4(), begun, begun + length);
        assert_not_before("silenced for", silence, Duration::from_millis(1500));
    });
}

fn keepalived_elects_the_preferred_node(config: PairConfig) {
    let lab = Lab::new().unwrap();
    let config = PairConfig {
        listener: false,
        ..config
    };
    let (mut one, _two) = Keepalived::pair(&lab, &config).unwrap();
    let observer = Observer::start(&lab).unwrap();
    let watch = VipWatch::start(&lab, config.address()).unwrap();
    let stopped = one.stop(LIMIT).unwrap();
    lab.wait_holder(config.address(), Host::Lb2, LIMIT + 3 * config.interval)
        .unwrap();
    // After priority 0 the backup waits its skew time, less than an interval (version 2: than a second).
    let gained = within("the watch has seen it", LIMIT, || {
        watch.log().gained_after(Host::Lb2, stopped)
    });
    let gained = gained.unwrap();
    let skew = config.down_interval(Host::Lb2) - 3 * config.interval;
    assert_within("after a farewell", gained, skew + SLACK);
    wait_until("lb2 tells the neighbours", LIMIT, || {
        observer
            .announcements(config.address(), stopped)
            .iter()
            .any(|(_, mac)| *mac == Host::Lb2.mac())
    })
    .unwrap();
}

#[test]
fn keepalived_version_2_with_a_password_is_configured_right() {
    measured(|| keepalived_elects_the_preferred_node(PairConfig::v2_password()));
}

#[test]
fn keepalived_version_3_ipv6_is_configured_right() {
    measured(|| keepalived_elects_the_preferred_node(PairConfig::ipv6()));
}

/// Killed without a chance to clean up, a laboratory leaves nothing behind.
#[test]
fn nothing_is_left_after_a_laboratory_was_killed() {
    let mut bench = std::process::Command::new(env!("CARGO_BIN_EXE_bench"))
        .args([
            "failover",
            "--rounds",
            "1",
            "--product",
            "keepalived, 1 s",
            "--only",
            "returns",
        ])
        .args(["--json", "/dev/null"])
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let prefix = format!("tdm-{}-", bench.id());
    let left = |folder: &str| {
        let names = std::fs::read_dir(folder)
            .unwrap()
            .flatten()
            .map(|entry| entry.file_name());
        names
            .filter(|name| name.to_string_lossy().starts_with(&prefix))
            .count()
    };
    let temporary = std::env::temp_dir().to_string_lossy().into_owned();
    wait_until(
        "the laboratory stands and Keepalived runs",
        Duration::from_secs(60),
        || {
            left("/run/netns") == 7
                && std::fs::read_dir("/proc").unwrap().flatten().any(|entry| {
                    let words =
                        std::fs::read_to_string(entry.path().join("cmdline")).unwrap_or_default();
                    words.starts_with("keepalived") && words.contains(&prefix)
                })
        },
    )
    .unwrap();
    bench.kill().unwrap();
    bench.wait().unwrap();
    wait_until("everything is gone", LIMIT, || {
        left("/run/netns") == 0
            && left(&temporary) == 0
            && !std::fs::read_dir("/proc").unwrap().flatten().any(|entry| {
                let words =
                    std::fs::read_to_string(entry.path().join("cmdline")).unwrap_or_default();
                words.contains(&prefix)
            })
    })
    .unwrap();
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
