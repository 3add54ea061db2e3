//! Floods of a hundred thousand packets a second: of junk, and of advertisements that lose. Nothing moves, advertisements leave on time,
//! every packet is counted, replies are few, and the director needs its share of a core and no more.

#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod common;

use std::net::IpAddr;
use std::time::{Duration, Instant};

use common::{LIMIT, assert_at_least, assert_within, measured};
use netns_tests::{
    Address, Device, Flood, Host, Lab, Observer, PairConfig, Part, Shot, Sum, Tandem, cpu_time,
    within,
};

/// Packets a second.
const RATE: u32 = 100_000;
/// How long they come.
const LENGTH: Duration = Duration::from_secs(3);
/// What the director may need of a core meanwhile, in percent.
const SHARE: f64 = 60.0;
/// What a machine of two cores that also makes the flood may add to an advertisement.
const SLACK: Duration = Duration::from_millis(100);

/// A flood of `shots` against a pair that is at peace: nobody changes, and lb1 is heard all the time.
struct Peace<'lab> {
    nodes: [&'lab Tandem<'lab>; 2],
    observer: Observer,
    config: PairConfig,
    before: Vec<(serde_json::Value, u64)>,
}

impl<'lab> Peace<'lab> {
    fn begin(lab: &Lab, config: &PairConfig, nodes: [&'lab Tandem<'lab>; 2]) -> Peace<'lab> {
        Flood::confine(lab).unwrap();
        let before = nodes
            .iter()
            .map(|node| (node.last_transition().unwrap(), node.rejected().unwrap()))
            .collect();
        Peace {
            nodes,
            observer: Observer::start(lab).unwrap(),
            config: config.clone(),
            before,
        }
    }

    /// Both nodes have counted this many refused packets, not one more or less.
    fn assert_counted(&self, sent: u64) {
        for (node, (_, before)) in self.nodes.iter().zip(&self.before) {
            let mut counted = 0;
            let found = within("every packet is counted", LIMIT, || {
                counted = node.rejected().unwrap() - before;
                (counted >= sent).then_some(counted)
            });
            assert_eq!(found.ok(), Some(sent), "counted {counted}");
        }
    }

    fn spent(&self) -> [Duration; 2] {
        self.nodes.map(|node| {
            let pids = node.pids(Part::Director);
            pids.iter().map(|pid| cpu_time(*pid).unwrap()).sum()
        })
    }

    /// Floods, and says how many packets came and how many advertisements lb1 sent meanwhile.
    fn flood(&self, lab: &Lab, what: &str, shots: &[Shot]) -> (u64, usize) {
        let (begun, before) = (Instant::now(), self.spent());
        let flood = Flood::start(lab, shots, RATE, LENGTH).unwrap();
        let flooded = flood.finish().unwrap();
        let (ended, after) = (Instant::now(), self.spent());
        let shares = [0, 1].map(|node| {
            let spent = after[node].saturating_sub(before[node]);
            100.0 * spent.as_secs_f64() / ended.duration_since(begun).as_secs_f64()
        });
        eprintln!(
            "{what}: {:.0} packets a second; directors need {:.1} % (active) and {:.1} % (backup) of a core",
            flooded.rate(),
            shares[0],
            shares[1]
        );
        let source = own(&self.config);
        let silence = self.observer.longest_silence(source, begun, ended);
        assert_within(
            "between two advertisements",
            silence,
            self.config.interval + SLACK,
        );
        for (node, (transition, _)) in self.nodes.iter().zip(&self.before) {
            assert_eq!(
                node.last_transition().unwrap(),
                *transition,
                "{}",
                node.tail()
            );
        }
        // A busy machine makes fewer; what the flood may not do does not depend on it.
        assert_at_least("packets a second", flooded.rate(), f64::from(RATE) / 20.0);
        for share in shares {
            let share = Duration::from_secs_f64(share / 100.0);
            assert_within(
                "of each second",
                share,
                Duration::from_secs_f64(SHARE / 100.0),
            );
        }
        let adverts = self.observer.adverts(source, begun);
        let sent = adverts.iter().filter(|(at, _)| *at <= ended).count();
        (flooded.sent, sent)
    }
}

/// What lb1 sends advertisements from.
fn own(config: &PairConfig) -> IpAddr {
    match config.address() {
        IpAddr::V4(_) => Host::Lb1.v4().into(),
        IpAddr::V6(_) => Host::Lb1.link_local().into(),
    }
}

fn quiet() -> PairConfig {
    PairConfig {
        listener: false,
        ..PairConfig::default()
    }
}

/// One of each kind that has to be dropped.
fn junk(vrid: u8) -> Vec<Shot> {
    let good = || Shot::v3(vrid, &[Address::VIP4.into()]).but(|shot| shot.priority = 254);
    vec![
        good().but(|shot| shot.sum = Sum::Broken),
        good().but(|shot| shot.hop_limit = 254),
        good().but(|shot| shot.first = 0x41),
        good().but(|shot| shot.first = 0x32),
        good().but(|shot| shot.trailer = vec![0; 4]),
        good().but(|shot| shot.count = Some(2)),
        good().but(|shot| shot.count = Some(0)),
        good().but(|shot| shot.interval = [0, 0]),
        good().but(|shot| shot.vrid = shot.vrid.wrapping_add(1)),
        Shot::v2(vrid, &[Address::VIP4.into()]).but(|shot| shot.priority = 254),
    ]
}

#[test]
fn a_flood_of_junk_moves_nothing_and_every_packet_is_counted() {
    measured(|| {
        let config = quiet();
        let lab = Lab::new().unwrap();
        let (one, two) = Tandem::pair(&lab, &config).unwrap();
        let peace = Peace::begin(&lab, &config, [&one, &two]);
        let (sent, adverts) = peace.flood(&lab, "junk", &junk(config.vrid));
        let most = LENGTH.as_millis() / config.interval.as_millis();
        assert!(
            adverts as u128 <= most + 3,
            "{adverts} advertisements: junk was answered"
        );
        peace.assert_counted(sent);
    });
}

#[test]
fn a_flood_of_losing_advertisements_moves_nothing_and_gets_few_replies() {
    measured(|| {
        let config = quiet();
        let lab = Lab::new().unwrap();
        let (one, two) = Tandem::pair(&lab, &config).unwrap();
        let peace = Peace::begin(&lab, &config, [&one, &two]);
        let losing = |last: u8| {
            Shot::v3(config.vrid, &[Address::VIP4.into()]).but(|shot| {
                shot.priority = 1;
                shot.interval = [0, 10];
                shot.source = Some(IpAddr::V4([10, 0, 0, last].into()));
            })
        };
        let same = [losing(100)];
        let (_, adverts) = peace.flood(&lab, "losing advertisements of one router", &same);
        assert_few_replies(&config, adverts);
        let many: Vec<Shot> = (101..=200).map(losing).collect();
        let (_, adverts) = peace.flood(&lab, "losing advertisements of a hundred", &many);
        assert_few_replies(&config, adverts);
    });
}

/// The same over IPv6, where the checksum needs the pseudo-header and addresses and source must be link-local.
fn junk6(vrid: u8) -> Vec<Shot> {
    let (local, global) = (Address::VIP6_LINK_LOCAL.into(), Address::VIP6.into());
    let good = || Shot::v3(vrid, &[local, global]).but(|shot| shot.priority = 254);
    vec![
        good().but(|shot| shot.sum = Sum::Broken),
        good().but(|shot| shot.sum = Sum::Plain),
        good().but(|shot| shot.hop_limit = 254),
        good().but(|shot| shot.first = 0x41),
        good().but(|shot| shot.first = 0x32),
        good().but(|shot| shot.trailer = vec![0; 4]),
        good().but(|shot| shot.count = Some(0)),
        good().but(|shot| shot.interval = [0, 0]),
        good().but(|shot| shot.vrid = shot.vrid.wrapping_add(1)),
        good().but(|shot| shot.addresses = vec![global, local]),
    ]
}

#[test]
fn floods_over_ipv6_move_nothing_either() {
    measured(|| {
        let config = PairConfig {
            listener: false,
            ..PairConfig::ipv6()
        };
        let lab = Lab::new().unwrap();
        let (one, two) = Tandem::pair(&lab, &config).unwrap();
        let peace = Peace::begin(&lab, &config, [&one, &two]);
        let (sent, adverts) = peace.flood(&lab, "junk over IPv6", &junk6(config.vrid));
        let most = LENGTH.as_millis() / config.interval.as_millis();
        assert!(
            adverts as u128 <= most + 3,
            "{adverts} advertisements: junk was answered"
        );
        peace.assert_counted(sent);
        let vips = [Address::VIP6_LINK_LOCAL.into(), Address::VIP6.into()];
        let losing = Shot::v3(config.vrid, &vips).but(|shot| {
            shot.priority = 1;
            shot.interval = [0, 10];
        });
        let (_, adverts) = peace.flood(&lab, "losing advertisements over IPv6", &[losing]);
        assert_few_replies(&config, adverts);
    });
}

/// A reply at most each 10 ms (a tenth of the interval), besides the advertisements themselves.
fn assert_few_replies(config: &PairConfig, adverts: usize) {
    let own = LENGTH.as_millis() / config.interval.as_millis();
    let replies = LENGTH.as_millis() / 10;
    assert!(
        (adverts as u128) <= own + replies + 10,
        "{adverts} advertisements in {LENGTH:?}"
    );
}
