//! The machine by tables: expected times are absolute numbers, worked out by hand from the formulas of the RFC.
#![allow(clippy::unwrap_used)]

use std::net::IpAddr;
use std::time::Duration;

use super::*;
use crate::action::FaultReason;
use crate::receive::{Datagram, Local, accept, parse_ipv4};
use crate::types::{ChecksumForm, Family, Interval, PeerKnowledge, Preempt, Version, Vrid};
use crate::wire::group;

mod active;
mod backup;
mod families;
mod fault;
mod groups;
mod leaving;
mod pairs;
mod properties;
mod rehearsal;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn centis(value: u16) -> Interval {
    Interval::from_centis(value).unwrap()
}

/// VRID 51, 1 s, priority 100, one IPv4 address, a pair: Skew_Time 609.375 ms, down interval 3.609375 s.
fn pair() -> Settings {
    let mut settings = Settings::new("t", Vrid::new(51).unwrap(), vec![ip("10.0.0.10")]);
    settings.advert_interval = centis(100);
    settings.peer = PeerKnowledge::Pair;
    settings
}

/// The same with peers unknown.
fn unknown() -> Settings {
    Settings {
        peer: PeerKnowledge::Unknown,
        ..pair()
    }
}

/// Both families.
fn dual() -> Settings {
    Settings {
        vips: vec![ip("10.0.0.10"), ip("fe80::10")],
        ..pair()
    }
}

/// A virtual router on a clock that counts microseconds from 0.
#[derive(Clone)]
struct Bench {
    router: VirtualRouter,
    start: Instant,
}

impl Bench {
    /// In Initialize, with sources 10.0.0.2 and fe80::2.
    fn new(settings: Settings) -> Self {
        let mut bench = Self {
            router: VirtualRouter::new(settings),
            start: Instant::now(),
        };
        for source in ["10.0.0.2", "fe80::2"] {
            bench.source(0, Family::of(ip(source)), Some(source));
        }
        bench
    }

    /// In Backup since 0.
    fn backup(settings: Settings) -> Self {
        let mut bench = Self::new(settings);
        bench.handle(0, Event::Startup);
        bench
    }

    /// Active since `at`, which is when the down timer of the settings ends.
    fn active(settings: Settings, at: u64) -> Self {
        let mut bench = Self::backup(settings);
        assert_eq!(bench.deadline(), Some(at));
        assert_eq!(bench.handle(at, Event::Timer), ["claim"]);
        bench.handle(at, Event::Claimed);
        assert_eq!(bench.phase(), "active");
        bench
    }

    fn handle(&mut self, at: u64, event: Event) -> Vec<String> {
        let now = self.start + Duration::from_micros(at);
        self.router.handle(now, event).iter().map(word).collect()
    }

    fn timer(&mut self, at: u64) -> Vec<String> {
        self.handle(at, Event::Timer)
    }

    /// Runs every timer that is due up to `until`, each at its time.
    fn run(&mut self, until: u64) -> Vec<(u64, Vec<String>)> {
        let mut log = Vec::new();
        while let Some(at) = self.deadline().filter(|&at| at <= until) {
            let words = self.timer(at);
            assert!(
                self.deadline().is_none_or(|next| next > at),
                "the timer stands still at {at}"
            );
            if !words.is_empty() {
                log.push((at, words));
            }
        }
        log
    }

    fn source(&mut self, at: u64, family: Family, source: Option<&str>) -> Vec<String> {
        self.handle(
            at,
            Event::SourceChanged {
                family,
                source: source.map(ip),
            },
        )
    }

    fn fault(&mut self, at: u64) -> Vec<String> {
        self.handle(at, Event::Fault(FaultReason::new("eth1 is down")))
    }

    /// An advertisement with our own list and interval.
    fn hear(&mut self, at: u64, from: &str, priority: u8) -> Vec<String> {
        self.hear_each(
            at,
            from,
            priority,
            self.router.settings().advert_interval.centis(),
        )
    }

    fn hear_each(&mut self, at: u64, from: &str, priority: u8, interval: u16) -> Vec<String> {
        let event = self.advertisement(from, priority, interval, ChecksumForm::Rfc5798);
        self.handle(at, event)
    }

    /// Through the wire: encoded as a peer would, and accepted by our own expectation.
    fn advertisement(
        &self,
        from: &str,
        priority: u8,
        interval: u16,
        checksum: ChecksumForm,
    ) -> Event {
        self.arrival(&self.advert(from, priority, interval, checksum))
    }

    /// What a router of the same settings sends.
    fn advert(
        &self,
        from: &str,
        priority: u8,
        interval: u16,
        checksum: ChecksumForm,
    ) -> Advertisement {
        let (source, family) = (ip(from), Family::of(ip(from)));
        let settings = self.router.settings();
        Advertisement {
            family,
            vrid: settings.vrid,
            version: settings.version,
            priority: Priority::new(priority),
            interval: centis(interval),
            source,
            destinations: vec![group(family)],
            addresses: settings.wire_list(family),
            checksum,
            password: settings.password.clone(),
            authentication: None,
        }
    }

    fn arrival(&self, advert: &Advertisement) -> Event {
        let (source, family) = (advert.source, advert.family);
        let octets = advert.encode(group(family));
        let datagram = match family {
            Family::V4 => parse_ipv4(&octets).unwrap(),
            Family::V6 => Datagram {
                family,
                source,
                destination: group(family),
                hop_limit: 255,
                payload: &octets,
            },
        };
        let expectation = self.router.expectation();
        let own = [ip("10.0.0.2"), ip("fe80::2")];
        let own = Local::addresses(&own);
        let (_, accepted) = accept(&datagram, own, |_| Some(&expectation)).unwrap();
        Event::Advertisement {
            family,
            source,
            accepted,
        }
    }

    /// In microseconds, rounded up, so that it is due then.
    fn deadline(&self) -> Option<u64> {
        let at = self.router.deadline()?;
        Some(u64::try_from((at - self.start).as_nanos().div_ceil(1_000)).unwrap())
    }

    fn phase(&self) -> &'static str {
        self.router.status().phase.as_str()
    }
}

/// An action in a few words.
fn word(action: &Action) -> String {
    match action {
        Action::Claim => "claim".to_owned(),
        Action::Release => "release".to_owned(),
        Action::Send(advert) => format!("send {} {}", advert.family, advert.priority),
        Action::Announce(reason) => format!("announce {reason:?}"),
        Action::StopAnnouncing => "stop announcing".to_owned(),
        Action::Transition(transition) => transition.to_string(),
        Action::Alarm(alarm) => format!("alarm {}", alarm.kind.as_str()),
        Action::HandoverFailed(_) => "handover failed".to_owned(),
        Action::HandedOver => "handed over".to_owned(),
        Action::Stopped => "stopped".to_owned(),
    }
}
