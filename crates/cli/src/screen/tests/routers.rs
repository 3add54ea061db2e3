//! The screens of virtual routers.

use super::super::vrrp;
use super::*;

#[test]
fn vrrp_of_a_backup_held_back() {
    let expected = "\
main  BACKUP for 12s  vrid 51 on eth0
  why         10.0.0.3 advertises priority 180, above 170
  held back   does not claim: handed over by order 12 s ago
  timer       active down in 261ms
  priority    200 - 30 eth2 down = 170
  tracked     interface eth2 down, weight -30: it has no carrier
              script disk up 1.2s ago, fault: exit code 0
  interval    own 100ms, learned 100ms; 333ms of silence and the active router
              is down (skew 33ms)
  ipv4        192.0.2.10/24
    peer      10.0.0.3  priority 180  heard 40ms ago  every 100ms
              checksum rfc5798
    signed    enforce  with key 2 of 1 2  anti-replay monotonic
              the peer signs with key 1, its clock 3 s ahead
    counted   accepted 1,234  sent 88
    rejected  hop limit 3
  evidence    the gateway 10.0.0.1 answers
  changes     12s ago active -> backup: a higher priority is heard: 180 from
                10.0.0.3
              1h00m ago backup -> active: no advertisement for 333 ms
  ! alarms    1m00s ago interval mismatch: 10.0.0.3 advertises every 1 s, this
                router every 100 ms
";
    assert_screen(&vrrp(&[recorded_vrrp()], now()), expected);
    assert_eq!(vrrp(&[], now()), "no virtual routers\n");
}

#[test]
fn vrrp_of_an_active_router_in_two_families() {
    let mut v4 = recorded_vrrp();
    v4.status.state = VrrpState::Active;
    v4.status.effective_priority = 200;
    v4.contributions.clear();
    v4.tracked.clear();
    v4.phase = "leaving".to_owned();
    v4.why = "shutdown was asked for".to_owned();
    v4.held_back = None;
    v4.authentication = None;
    v4.evidence.clear();
    v4.learned_interval_ms = None;
    v4.timers[0].in_ms = 0;
    v4.counters = BTreeMap::new();
    v4.rejects = BTreeMap::new();
    v4.checksum_sent = Some(control::ChecksumForm::Rfc9568);
    v4.transitions.clear();
    v4.alarms.clear();
    let mut v6 = v4.clone();
    v6.status.family = Family::Ipv6;
    v6.status.vips = vec!["fe80::10/64".to_owned(), "2001:db8::10/64".to_owned()];
    v6.status.peer = None;
    let mut other = v4.clone();
    other.status.name = "dmz".to_owned();
    other.status.virtual_mac = Some("00:00:5e:00:01:33".to_owned());
    other.status.link = Some("td4.51.2".to_owned());
    other.status.accepts = false;
    other.status.peer = None;
    other.timers.clear();
    other.status.priority = 255;
    other.status.effective_priority = 255;
    let expected = "\
main  ACTIVE for 12s  vrid 51 on eth0
  why         leaving: shutdown was asked for
  timer       active down is due
  priority    200
  interval    own 100ms
  ipv4        192.0.2.10/24
    peer      10.0.0.3  priority 180  heard 40ms ago  every 100ms
              checksum rfc5798, we send rfc9568
  ipv6        fe80::10/64 2001:db8::10/64
    peer      never heard
  changes     none yet

dmz  ACTIVE for 12s  vrid 51 on eth0
  why         leaving: shutdown was asked for
  timer       none runs
  priority    255: owns the addresses, nothing moves it
  interval    own 100ms
  ipv4        192.0.2.10/24
    mac       00:00:5e:00:01:33  on td4.51.2
    accepts   no: packets to these addresses are dropped (not ARP, NS, NA)
    peer      never heard
  changes     none yet
";
    assert_screen(&vrrp(&[v4, v6, other], now()), expected);
}

#[test]
fn priority_is_shown_as_arithmetic() {
    let of = |effective: u8, terms: &[(&str, i16, Option<u8>)]| {
        let mut router = recorded_vrrp();
        router.status.effective_priority = effective;
        let terms = terms.iter();
        router.contributions = terms
            .map(|(what, delta, cap)| ContributionStatus {
                what: (*what).to_owned(),
                delta: *delta,
                cap: *cap,
            })
            .collect();
        let screen = vrrp(&[router], now());
        screen
            .lines()
            .find_map(|line| line.strip_prefix("  priority    "))
            .unwrap()
            .to_owned()
    };
    assert_eq!(of(200, &[]), "200");
    assert_eq!(of(170, &[]), "200 = 170");
    assert_eq!(
        of(190, &[("eth2 down", -30, None), ("app full", 20, None)]),
        "200 - 30 eth2 down + 20 app full = 190"
    );
    assert_eq!(
        of(1, &[("first health round pending", 0, Some(1))]),
        "200, at most 1 (first health round pending) = 1"
    );
    assert_eq!(
        of(50, &[("x", -5, Some(50))]),
        "200 - 5 x (at most 50) = 50"
    );
}

#[test]
fn hooks_of_a_router_say_what_became_of_them() {
    let mut router = recorded_vrrp();
    router.hooks = Some(control::HooksStatus {
        running: Some("/usr/local/bin/on-transition".to_owned()),
        running_ms: Some(1200),
        waiting: 3,
        succeeded: 12,
        failed: 1,
        dropped: 2,
        last: Some(control::HookRun {
            program: "/usr/local/bin/on-transition".to_owned(),
            from: VrrpState::Backup,
            to: VrrpState::Active,
            event: 41,
            at: "2026-03-04T05:06:00.000Z".parse().unwrap(),
            took_ms: 35,
            succeeded: false,
            outcome: "exit code 1: no route".to_owned(),
        }),
    });
    let screen = vrrp(&[router], now());
    let expected = "\
  hooks       12 ok, 1 failed, 2 DROPPED, too many waited, 3 wait
              /usr/local/bin/on-transition runs for 1.2s
              /usr/local/bin/on-transition backup -> active, 7s ago in 35ms:
                exit code 1: no route
";
    assert!(screen.contains(expected), "{screen}");
    assert_narrow(&screen);
}
