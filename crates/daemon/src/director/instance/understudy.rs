//! A virtual router that takes over for practice: what a real one runs has run then, see [`crate::director::practice`].
//!
//! It is nobody's, has no wires, and its addresses are for a link that is not there; what it announces goes to this host itself.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use linux::address::Link;
use vrrp::{Action, Directive, Event, Family, Settings};

use super::{Held, Instance, Notice, Schedule};
use crate::director::addresses::{Addresses, Outcome};
use crate::director::announcers::Announcers;
use crate::director::wires::Wires;
use crate::experiment::{LOOPBACK, NOWHERE};

/// The made-up addresses: of this host itself, in case anything should come of it.
pub(in crate::director) const VIPS: [(IpAddr, u8); 2] = [
    (IpAddr::V4(Ipv4Addr::LOCALHOST), 32),
    (IpAddr::V6(Ipv6Addr::LOCALHOST), 128),
];
/// How long ago its story begins, so that it ends about now: long enough for a takeover at the usual interval.
const AGO: Duration = Duration::from_secs(2);
/// Timers that may run out until it claims: one for each phase, and some for evidence.
const TIMERS: usize = 16;

impl Instance {
    /// Number of an understudy: others are counted up from 1.
    pub(in crate::director) const NOBODY: u64 = 0;

    /// One that is much like this one, and is not started.
    pub(in crate::director) fn understudy(&self, now: Instant, addresses: Addresses) -> Self {
        let vips = VIPS.map(|(address, _)| address).to_vec();
        let vip = |(address, prefix_len)| config::VipAddress {
            address,
            prefix_len,
        };
        let config = config::Vrrp {
            group: None,
            interface: "lo".to_owned(),
            vips: VIPS.map(vip).to_vec(),
            settings: Settings::new("practice", self.config.settings.vrid, vips),
            unicast: None,
            virtual_mac: false,
            ..config::Vrrp::clone(&self.config)
        };
        let mut understudy = Self::new(now, Self::NOBODY, Arc::new(config), addresses);
        understudy.link = Some(Link {
            index: NOWHERE,
            name: "lo".to_owned(),
            up: true,
            running: true,
            mac: Some([0; 6]),
            mtu: 0,
            kind: None,
            alias: None,
            parent: None,
            master: None,
        });
        understudy.announcer = Announcers::default().open(LOOPBACK, [0; 6]).ok();
        understudy
    }

    /// Starts, hears nobody, takes over, and announces it. What there is to say of that is the answer.
    pub(in crate::director) fn rehearse(&mut self, now: Instant) -> Vec<Notice> {
        let wires = Wires::default();
        // A host that has just been started may have no such instant: then it practises ahead.
        let began = now.checked_sub(AGO).unwrap_or(now);
        let mut notices = self.handle(began, Event::Startup, &wires);
        for (source, _) in VIPS {
            notices.extend(self.set_source(began, Family::of(source), Some(source), &wires));
        }
        for _ in 0..TIMERS {
            let Some(at) = self.router.deadline().filter(|_| !self.is_holding()) else {
                break;
            };
            notices.extend(self.gather(at));
            notices.extend(self.on_timer(at, &wires));
        }
        // That of another claim: passed over.
        notices.extend(self.on_outcome(now, Outcome::Claimed { number: 0 }, &wires));
        self.held = Held::Yes;
        // It has no socket for its advertisements: that failure would be another story.
        let unsaid = |directive: &Directive| !matches!(directive.action, Action::Send(_));
        let directives = self.decide(now, Event::Claimed);
        let directives = directives.into_iter().filter(unsaid).collect();
        notices.extend(self.follow(now, directives, &wires));
        let due_at = self.schedule.as_ref().and_then(Schedule::due_at);
        self.announce_due(due_at.unwrap_or(now));
        self.refresh_signed_will(now);
        notices
    }

    /// Whether its connections in flight are steered.
    pub(in crate::director) fn is_steered(&self) -> bool {
        self.steering.is_some()
    }
}
