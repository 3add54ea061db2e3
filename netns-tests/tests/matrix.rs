//! What the daemon makes of each kind of advertisement that can come, seen on the wire: accepted and learned, answered at once, or
//! counted under its reason and nothing else. One node is Active for five virtual routers: version 3 over IPv4, over IPv6 and with
//! `off_link = "drop"`, version 2 and the same with `other_list = "accept"`. A stranger sends.

#![allow(clippy::unwrap_used)]

mod common;

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use common::{LIMIT, assert_within, measured};
use netns_tests::{
    Address, Advert, Device as _, Frame, Host, Lab, Observer, PairConfig, Shot, Stranger, Sum,
    Tandem, get, wait_until, within,
};
use serde_json::Value;

/// What a busy machine may add to a timer.
const SLACK: Duration = Duration::from_millis(100);
/// Time for an answer that is sent at once.
const AT_ONCE: Duration = Duration::from_millis(30);
/// An own advertisement this close after a packet was on its way before it.
const CROSSING: Duration = Duration::from_millis(5);

/// 3 x 0.2 s and (256 - 150) / 256 of 0.2 s (RFC 9568 §6.1).
const DOWN_20_CS: Duration = Duration::from_micros(682_812);
/// 3 x 1 s and (256 - 150) / 256 of 1 s; version 2 comes to the same (RFC 3768 §6.1).
const DOWN_1_S: Duration = Duration::from_micros(3_414_062);

const CONFIG: &str = r#"
[global]
log = { level = "info", format = "text" }

[vrrp.four]
interface = "eth0"
vrid = 51
vips = ["10.0.0.10/24"]
advert_interval = "200ms"
priority = 150
preempt = true

[vrrp.six]
interface = "eth0"
vrid = 52
vips = ["fe80::10/64", "fd00::10/64"]
advert_interval = "200ms"
priority = 150
preempt = true

[vrrp.two]
interface = "eth0"
vrid = 53
version = 2
vips = ["10.0.0.11/24"]
advert_interval = "1s"
priority = 150
preempt = true

[vrrp.near]
interface = "eth0"
vrid = 55
vips = ["10.0.0.12/24"]
off_link = "drop"
advert_interval = "200ms"
priority = 150
preempt = true

[vrrp.lenient]
interface = "eth0"
vrid = 56
version = 2
vips = ["10.0.0.13/24"]
other_list = "accept"
advert_interval = "1s"
priority = 150
preempt = true
"#;

const FOUR: u8 = 51;
const SIX: u8 = 52;
const TWO: u8 = 53;
const NEAR: u8 = 55;
const LENIENT: u8 = 56;
const ALL: [u8; 5] = [FOUR, SIX, TWO, NEAR, LENIENT];

struct Stage<'lab> {
    node: Tandem<'lab>,
    observer: Observer,
    stranger: Stranger,
}

impl Stage<'_> {
    fn detail(&self, vrid: u8) -> Value {
        let all = get(&self.node.socket(), "/vrrp").unwrap();
        let found = all
            .as_array()
            .unwrap()
            .iter()
            .find(|one| one["vrid"] == vrid);
        found.unwrap().clone()
    }

    fn rejects(&self, vrid: u8, reason: &str) -> u64 {
        self.detail(vrid)["rejects"][reason].as_u64().unwrap_or(0)
    }

    /// Advertisements of one virtual router from `since` on, of the node itself or of the stranger.
    fn adverts(&self, vrid: u8, own: bool, since: Instant) -> Vec<(Instant, Advert)> {
        let node = [
            IpAddr::V4(Host::Lb1.v4()),
            IpAddr::V6(Host::Lb1.link_local()),
        ];
        let seen = self.observer.seen(since).into_iter();
        seen.filter_map(|seen| match seen.frame {
            Frame::Advert(advert)
                if advert.vrid == vrid && node.contains(&advert.source) == own =>
            {
                Some((seen.at, advert))
            }
            Frame::Advert(_)
            | Frame::GratuitousArp { .. }
            | Frame::NeighbourAdvertisement { .. } => None,
        })
        .collect()
    }

    /// Sends, and says when it was on the wire.
    fn shoot(&mut self, shot: &Shot) -> Instant {
        let before = Instant::now();
        self.stranger.shoot(shot).unwrap();
        within("the packet is on the wire", LIMIT, || {
            self.adverts(shot.vrid, false, before)
                .first()
                .map(|(at, _)| *at)
        })
        .unwrap()
    }

    /// The packet is counted under `reason`.
    fn refused(&mut self, what: &str, shot: &Shot, vrid: u8, reason: &str) {
        let before = self.rejects(vrid, reason);
        self.stranger.shoot(shot).unwrap();
        wait_until(&format!("{what} is counted as {reason}"), LIMIT, || {
            self.rejects(vrid, reason) > before
        })
        .unwrap_or_else(|error| panic!("{error:#}\n{:#}", self.detail(vrid)["rejects"]));
    }

    /// The Active router yields and is back after the down interval of what it learned.
    fn yields(&mut self, what: &str, shot: &Shot, back: Duration) {
        let at = self.shoot(shot);
        self.came_back(what, shot.vrid, at, back);
    }

    fn came_back(&self, what: &str, vrid: u8, at: Instant, back: Duration) {
        let first = within(&format!("{what}: it is Active again"), LIMIT, || {
            let own = self.adverts(vrid, true, at + CROSSING);
            own.first().map(|(at, _)| *at)
        })
        .unwrap();
        let took = first.duration_since(at);
        assert!(
            took + CROSSING >= back,
            "{what}: back after {took:?}, before {back:?}"
        );
        assert_within(what, took, back + SLACK);
        wait_until("it is Active", LIMIT, || {
            self.detail(vrid)["state"] == "active"
        })
        .unwrap();
    }

    /// The Active router answers at once and stays.
    fn answers(&mut self, what: &str, shot: &Shot) {
        // An answer is due again a tenth of the interval after the last one.
        std::thread::sleep(Duration::from_millis(110));
        let before = self.detail(shot.vrid)["last_transition"].clone();
        let at = self.shoot(shot);
        let first = within(&format!("{what}: an answer"), LIMIT, || {
            self.adverts(shot.vrid, true, at).first().map(|(at, _)| *at)
        })
        .unwrap();
        assert_within(what, first.duration_since(at), AT_ONCE);
        assert_eq!(self.detail(shot.vrid)["last_transition"], before, "{what}");
    }

    fn has_alarm(&self, vrid: u8, kind: &str) -> bool {
        let detail = self.detail(vrid);
        detail["alarms"]
            .as_array()
            .unwrap()
            .iter()
            .any(|alarm| alarm["kind"] == kind)
    }
}

fn vip4() -> [IpAddr; 1] {
    [Address::VIP4.into()]
}

fn vip2() -> [IpAddr; 1] {
    [Ipv4Addr::new(10, 0, 0, 11).into()]
}

fn vip_near() -> [IpAddr; 1] {
    [Ipv4Addr::new(10, 0, 0, 12).into()]
}

fn off_link() -> Option<IpAddr> {
    Some(Ipv4Addr::new(192, 0, 2, 7).into())
}

fn vip6() -> [IpAddr; 2] {
    [Address::VIP6_LINK_LOCAL.into(), Address::VIP6.into()]
}

/// What must be refused: the words, the packet, where and under which reason it is counted.
fn refusals() -> Vec<(&'static str, Shot, u8, &'static str)> {
    let four = || Shot::v3(FOUR, &vip4());
    let six = || Shot::v3(SIX, &vip6());
    let two = || Shot::v2(TWO, &vip2());
    let global = Some(Host::Client.v6().into());
    vec![
        (
            "v4 checksum",
            four().but(|s| s.sum = Sum::Broken),
            FOUR,
            "checksum",
        ),
        (
            "v4 TTL 254",
            four().but(|s| s.hop_limit = 254),
            FOUR,
            "hop_limit",
        ),
        (
            "v4 version 4",
            four().but(|s| s.first = 0x41),
            FOUR,
            "version",
        ),
        ("v4 version 2", Shot::v2(FOUR, &vip4()), FOUR, "version"),
        ("v4 type 2", four().but(|s| s.first = 0x32), FOUR, "type"),
        (
            "v4 other id",
            four().but(|s| s.vrid = 54),
            FOUR,
            "unknown_vrid",
        ),
        (
            "v4 interval 0",
            four().but(|s| s.interval = [0, 0]),
            FOUR,
            "interval_zero",
        ),
        ("v4 count 0", Shot::v3(FOUR, &[]), FOUR, "count_zero"),
        (
            "v4 count 2 of 1",
            four().but(|s| s.count = Some(2)),
            FOUR,
            "length",
        ),
        (
            "v4 count 1 of 2",
            Shot::v3(FOUR, &[vip4()[0], vip2()[0]]).but(|s| s.count = Some(1)),
            FOUR,
            "length",
        ),
        (
            "v6 hop limit 254",
            six().but(|s| s.hop_limit = 254),
            SIX,
            "hop_limit",
        ),
        (
            "v6 without pseudo-header",
            six().but(|s| s.sum = Sum::Plain),
            SIX,
            "checksum",
        ),
        (
            "v6 interval 0",
            six().but(|s| s.interval = [0, 0]),
            SIX,
            "interval_zero",
        ),
        (
            "v6 first global",
            Shot::v3(SIX, &[vip6()[1], vip6()[0]]),
            SIX,
            "not_link_local",
        ),
        (
            "v6 none link-local",
            Shot::v3(SIX, &[vip6()[1]]),
            SIX,
            "not_link_local",
        ),
        (
            "v6 global source",
            six().but(|s| s.source = global),
            SIX,
            "not_link_local",
        ),
        (
            "v2 checksum",
            two().but(|s| s.sum = Sum::Broken),
            TWO,
            "checksum",
        ),
        (
            "v2 TTL 254",
            two().but(|s| s.hop_limit = 254),
            TWO,
            "hop_limit",
        ),
        ("v2 version 3", Shot::v3(TWO, &vip2()), TWO, "version"),
        (
            "v2 interval 2",
            two().but(|s| s.interval = [0, 2]),
            TWO,
            "v2_interval",
        ),
        (
            "v2 interval 0",
            two().but(|s| s.interval = [0, 0]),
            TWO,
            "interval_zero",
        ),
        (
            "v2 type 1",
            two().but(|s| s.interval = [1, 1]),
            TWO,
            "auth_type",
        ),
        (
            "v2 type 2",
            two().but(|s| s.interval = [2, 1]),
            TWO,
            "auth_type",
        ),
        (
            "v2 no trailer",
            two().but(|s| s.trailer = Vec::new()),
            TWO,
            "length",
        ),
        ("v2 other list", Shot::v2(TWO, &vip4()), TWO, "address_list"),
        (
            "v4 source off link, where that is dropped",
            Shot::v3(NEAR, &vip_near()).but(|s| s.source = off_link()),
            NEAR,
            "off_link",
        ),
    ]
}

/// Refused packets: each is counted, and a stream of them, faster than the interval, moves neither a timer nor a state and gets no answer.
fn refuses(stage: &mut Stage<'_>) {
    let transitions =
        |stage: &Stage<'_>| ALL.map(|vrid| stage.detail(vrid)["last_transition"].clone());
    let before = transitions(stage);
    for (what, shot, vrid, reason) in refusals() {
        stage.refused(what, &shot, vrid, reason);
    }
    assert!(
        stage.has_alarm(TWO, "list_mismatch"),
        "a refused list is worth an alarm"
    );
    assert!(
        stage.has_alarm(NEAR, "off_link"),
        "a refused neighbour is worth an alarm"
    );

    // Not VRRP at all for a router that listens to the group: the kernel gives it to nobody.
    let unicast = Shot::v3(FOUR, &vip4()).but(|s| s.destination = Some(Host::Lb1.v4().into()));
    let own = Shot::v3(FOUR, &vip4()).but(|s| s.source = Some(Host::Lb1.v4().into()));
    let begun = Instant::now();
    let length = Duration::from_secs(2);
    let mut sent = 0_u32;
    while begun.elapsed() < length {
        for (_, shot, _, _) in refusals() {
            stage.stranger.shoot(&shot).unwrap();
        }
        stage.stranger.shoot(&unicast).unwrap();
        stage.stranger.shoot(&own).unwrap();
        sent += 1;
        std::thread::sleep(Duration::from_millis(5));
    }
    let ended = Instant::now();
    assert!(sent > 50, "{sent} rounds in two seconds are no stream");
    for (vrid, interval) in [(FOUR, 200), (SIX, 200), (TWO, 1000), (NEAR, 200)]
        .map(|(vrid, ms)| (vrid, Duration::from_millis(ms)))
    {
        // What was sent in our name is not ours: the hardware address is not in the record, the priority is.
        let own = stage.adverts(vrid, true, begun - interval).into_iter();
        let own: Vec<_> = own
            .filter(|(at, advert)| advert.priority == 150 && *at <= ended)
            .map(|(at, _)| at)
            .collect();
        for pair in own.windows(2) {
            let gap = pair[1].duration_since(pair[0]);
            assert_within(
                "from one advertisement to the next",
                gap,
                interval + AT_ONCE,
            );
            assert!(gap + AT_ONCE >= interval, "{vrid}: an answer after {gap:?}");
        }
        assert!(own.len() >= 2, "{vrid} fell silent");
    }
    assert_eq!(
        transitions(stage),
        before,
        "junk moved a state\n{}",
        stage.node.tail()
    );
}

/// Everything the Active router of version 3 over IPv4 yields to.
fn yields_v4(stage: &mut Stage<'_>) {
    let four = || Shot::v3(FOUR, &vip4());
    let rows = [
        ("pseudo-header checksum", four()),
        ("message-only checksum", four().but(|s| s.sum = Sum::Plain)),
        ("reserved bits", four().but(|s| s.interval = [0xf0, 20])),
        ("other list", Shot::v3(FOUR, &vip2())),
        ("source off link", four().but(|s| s.source = off_link())),
        (
            "virtual source MAC",
            four().but(|s| s.mac = Some([0, 0, 0x5e, 0, 1, FOUR])),
        ),
        ("priority 255", four().but(|s| s.priority = 255)),
        (
            "equal priority, higher address",
            four().but(|s| s.priority = 150),
        ),
    ];
    for (what, shot) in rows {
        stage.yields(what, &shot, DOWN_20_CS);
    }
    assert!(stage.has_alarm(FOUR, "list_mismatch"));
}

fn answers(stage: &mut Stage<'_>) {
    let four = || Shot::v3(FOUR, &vip4());
    let six = || Shot::v3(SIX, &vip6());
    let two = || Shot::v2(TWO, &vip2());
    let lower = Some(Ipv4Addr::new(10, 0, 0, 1).into());
    for (what, shot) in [
        (
            "v4 equal priority, lower address",
            four().but(|s| s.priority = 150).but(|s| s.source = lower),
        ),
        ("v4 priority 100", four().but(|s| s.priority = 100)),
        ("v4 priority 0", four().but(|s| s.priority = 0)),
        ("v6 priority 100", six().but(|s| s.priority = 100)),
        ("v6 priority 0", six().but(|s| s.priority = 0)),
        ("v2 priority 100", two().but(|s| s.priority = 100)),
        ("v2 priority 0", two().but(|s| s.priority = 0)),
    ] {
        stage.answers(what, &shot);
    }
}

#[test]
fn every_kind_of_packet_gets_what_it_should() {
    measured(|| {
        let lab = Lab::new().unwrap();
        let mut node = Tandem::new(&lab, Host::Lb1, &PairConfig::default()).unwrap();
        node.write_config(CONFIG).unwrap();
        node.start().unwrap();
        let mut stage = Stage {
            node,
            observer: Observer::start(&lab).unwrap(),
            stranger: Stranger::new(&lab).unwrap(),
        };
        for vrid in ALL {
            wait_until("it is Active", LIMIT, || {
                stage.node.status().is_ok() && stage.detail(vrid)["state"] == "active"
            })
            .unwrap();
        }
        refuses(&mut stage);
        answers(&mut stage);

        // The slow ones of version 2 while the quick ones of version 3 take their turns.
        let garbage = Shot::v2(TWO, &vip2()).but(|s| s.trailer = b"garbage!".to_vec());
        let at = stage.shoot(&garbage);
        let other = Shot::v2(LENIENT, &vip4());
        let other_at = stage.shoot(&other);
        yields_v4(&mut stage);
        stage.came_back("v2 other list, where accepted", LENIENT, other_at, DOWN_1_S);
        assert!(stage.has_alarm(LENIENT, "list_mismatch"));
        let near = Shot::v3(NEAR, &vip_near());
        stage.yields(
            "source on link, where others are dropped",
            &near,
            DOWN_20_CS,
        );
        stage.came_back("v2 garbage where no password is", TWO, at, DOWN_1_S);

        let owner = Shot::v2(TWO, &vip4()).but(|s| s.priority = 255);
        let owner_at = stage.shoot(&owner);
        let slow = Shot::v3(FOUR, &vip4()).but(|s| s.interval = [0, 100]);
        let slow_at = stage.shoot(&slow);
        stage.yields("v6", &Shot::v3(SIX, &vip6()), DOWN_20_CS);
        stage.came_back("v2 other list from an owner", TWO, owner_at, DOWN_1_S);
        stage.came_back("interval learned", FOUR, slow_at, DOWN_1_S);
    });
}
