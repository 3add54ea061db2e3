//! One `[vrrp.NAME]`: the pure core, and the hands that carry out what it decides.
//!
//! [`Instance::handle`] is the only way in: an event for the core, its actions carried out in order, failures fed back as events.

mod acceptance;
mod carrier;
mod effects;
mod gathering;
mod pause;
mod understudy;
mod upkeep;

use std::collections::VecDeque;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use control::Timestamp;
use linux::address::{Link, Vip};
use vrrp::{
    Action, Alarm, Counters, Directive, Event, Family, PeerKnowledge, State, Timer, Transition,
};

use self::acceptance::Refusal;
use self::carrier::VirtualLinks;
pub(super) use self::understudy::VIPS as PRACTICE_VIPS;
use super::addresses::{Addresses, Order};
use super::announce::Schedule;
use super::announcers::{Announcers, Outlet};
use super::evidence::{Evidence, PeerSays};
use super::facts::Facts;
use super::flight::{Lane, Moved};
use super::grid::{Grid, advert_step};
use super::journal::Entry;
use super::seat::Seat;
use super::signing::{Highest, Signing};
use super::steer::{self, Steering};
use super::tracking::Verdict;
use super::wires::{self, WireKey, Wires};

/// Transitions and alarms kept for `tandem vrrp`.
const KEPT: usize = 10;
/// An alarm of the same kind is journaled again after this long.
const ALARM_INTERVAL: Duration = Duration::from_secs(60);
/// How often an address may be put back within [`RESTORE_WINDOW`] before the next renewal has to do.
const RESTORE_LIMIT: usize = 10;
/// See [`RESTORE_LIMIT`].
const RESTORE_WINDOW: Duration = Duration::from_secs(1);

/// What the director must know of what an instance did.
#[derive(Debug)]
pub(super) enum Notice {
    /// For the journal.
    Journal(Entry),
    /// The state has changed: for the journal and whoever else is told. The number of the event is not known yet.
    Moved(Entry, Box<Moved>),
    /// A handover has ended: none when somebody took over, otherwise why not.
    Handover {
        name: String,
        failed: Option<String>,
    },
    /// Its addresses are about to go to another router.
    Parting {
        number: u64,
        /// Another router has them already, and they are kept here for a moment only.
        taken: bool,
    },
    /// Something for another virtual router of its group to carry out.
    Elsewhere {
        number: u64,
        now: Instant,
        action: Box<Action>,
    },
}

/// What is kept of a transition or an alarm.
pub(super) struct Dated<T> {
    /// For people.
    pub(super) at: Timestamp,
    /// For its age: the clock for people may be set.
    pub(super) noted_at: Instant,
    pub(super) what: T,
}

/// Whether the addresses are on the link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Held {
    No,
    Claiming { number: u64 },
    Yes,
}

pub(super) struct Instance {
    /// Tells outcomes of this instance from those of another of the same name.
    pub(super) number: u64,
    /// The core has been told to start.
    pub(super) started: bool,
    /// It leaves for good and goes when it is done.
    pub(super) departing: bool,
    /// The core has said that it is done.
    pub(super) stopped: bool,
    /// What the keeper should know has changed.
    pub(super) will_changed: bool,
    pub(super) config: Arc<config::Vrrp>,
    pub(super) router: Seat,
    pub(super) counters: Counters,
    pub(super) verdict: Verdict,
    pub(super) signing: Signing,
    pub(super) evidence: Evidence,
    peer_says: Option<PeerSays>,
    pub(super) transitions: VecDeque<Dated<Transition>>,
    /// Transitions by cause, since the start.
    pub(super) causes: Vec<(&'static str, u64)>,
    /// Of the last takeover: from the last word of the router before to the announcement of the addresses here.
    pub(super) outage: Option<Duration>,
    pub(super) alarms: VecDeque<Dated<Alarm>>,
    pub(super) since: Timestamp,
    /// Why the link cannot be used, as the last survey found it.
    pub(super) obstacle: Option<String>,
    /// What the flight recorder knows of it.
    pub(super) lane: Lane,
    addresses: Addresses,
    held: Held,
    claims: u64,
    /// The leases have been prolonged for a restart, and nobody renews them.
    paused: bool,
    releases_pending: usize,
    /// The kernel has confirmed that the leases outlast a pause.
    prolonged: bool,
    schedule: Option<Schedule>,
    pub(super) announcers: Announcers,
    announcer: Option<Rc<Outlet>>,
    virtual_links: VirtualLinks,
    refusal: Refusal,
    link: Option<Link>,
    sources: Vec<(Family, Option<IpAddr>)>,
    restored_at: VecDeque<Instant>,
    steering: Option<Steering>,
    succeeds: bool,
    /// Not before this instant is steering looked at again,
    steer_check_at: Instant,
    /// and then it is, because something has happened meanwhile.
    steer_check_pending: bool,
}

impl Instance {
    /// A virtual router that has not been started.
    pub(super) fn new(
        now: Instant,
        number: u64,
        config: Arc<config::Vrrp>,
        addresses: Addresses,
    ) -> Self {
        let pair = config.settings.peer == PeerKnowledge::Pair;
        let table = steer::table_name(config.settings.vrid.value(), number);
        Self {
            number,
            started: false,
            departing: false,
            stopped: false,
            will_changed: false,
            router: Seat::alone(number, config.settings.clone()),
            config,
            counters: Counters::default(),
            verdict: Verdict::default(),
            signing: Signing::new(Highest::default()),
            evidence: Evidence::default(),
            peer_says: None,
            transitions: VecDeque::new(),
            causes: Vec::new(),
            outage: None,
            alarms: VecDeque::new(),
            since: Timestamp::from(SystemTime::now()),
            obstacle: None,
            lane: Lane::default(),
            addresses,
            held: Held::No,
            claims: 0,
            paused: false,
            releases_pending: 0,
            prolonged: false,
            schedule: None,
            announcers: Announcers::default(),
            announcer: None,
            virtual_links: VirtualLinks::None,
            refusal: Refusal::None,
            link: None,
            sources: Vec::new(),
            restored_at: VecDeque::new(),
            steering: pair.then(|| Steering::start(now, table)),
            succeeds: false,
            steer_check_at: now,
            steer_check_pending: false,
        }
    }

    /// Families this virtual router has addresses of, IPv4 first.
    pub(super) fn families(&self) -> Vec<Family> {
        let vips = &self.config.vips;
        Family::ALL
            .into_iter()
            .filter(|family| vips.iter().any(|vip| Family::of(vip.address) == *family))
            .collect()
    }

    /// The wire it uses in `family`.
    pub(super) fn wire_key(&self, family: Family) -> WireKey {
        let unicast = self.config.unicast.as_ref().map(|unicast| unicast.source);
        wires::key(&self.config.interface, family, unicast)
    }

    /// The keys of all wires it uses.
    pub(super) fn wire_keys(&self) -> Vec<WireKey> {
        self.families()
            .into_iter()
            .map(|family| self.wire_key(family))
            .collect()
    }

    /// Hands an event to the core and carries out what it decides.
    pub(super) fn handle(&mut self, now: Instant, event: Event, wires: &Wires) -> Vec<Notice> {
        let directives = self.decide(now, event);
        self.follow(now, directives, wires)
    }

    /// Hands an event to the core; event and decision are recorded.
    fn decide(&mut self, now: Instant, event: Event) -> Vec<Directive> {
        self.lane.event(now, &event);
        let due = match event {
            Event::Timer => self.router.next_timer(),
            _ => None,
        };
        let directives = self.router.handle(now, event);
        let meant: Vec<&Action> = (directives.iter())
            .filter(|directive| self.router.is_meant(directive))
            .map(|directive| &directive.action)
            .collect();
        self.lane.actions(now, due, &meant, &self.router);
        directives
    }

    /// Carries out what another virtual router of its group has decided; its failure comes back as an event.
    pub(super) fn follow_mate(
        &mut self,
        now: Instant,
        action: Action,
        wires: &Wires,
        notices: &mut Vec<Notice>,
    ) -> Option<Event> {
        self.lane.actions(now, None, &[&action], &self.router);
        self.carry_out(now, action, wires, notices)
    }

    /// Ends at once, without a farewell.
    pub(super) fn abandon(&mut self, now: Instant, wires: &Wires) -> Vec<Notice> {
        self.router.leave_group(now);
        let directives = self.router.abandon(now);
        self.follow(now, directives, wires)
    }

    /// Carries out what concerns this virtual router, and passes on what concerns others of its group.
    pub(super) fn follow(
        &mut self,
        now: Instant,
        directives: Vec<Directive>,
        wires: &Wires,
    ) -> Vec<Notice> {
        let mut notices = Vec::new();
        let mut events = VecDeque::new();
        let mut directives = VecDeque::from(directives);
        loop {
            while let Some(directive) = directives.pop_front() {
                notices.extend(self.for_others(now, &directive));
                if self.router.is_meant(&directive) {
                    events.extend(self.carry_out(now, directive.action, wires, &mut notices));
                }
            }
            let Some(event) = events.pop_front() else {
                return notices;
            };
            directives.extend(self.decide(now, event));
        }
    }

    fn for_others(&self, now: Instant, directive: &Directive) -> Vec<Notice> {
        let meant = match directive.member {
            Some(_) if self.router.is_meant(directive) => return Vec::new(),
            Some(other) => vec![other.0],
            None => self.router.mates(),
        };
        let elsewhere = |number| Notice::Elsewhere {
            number,
            now,
            action: Box::new(directive.action.clone()),
        };
        meant.into_iter().map(elsewhere).collect()
    }

    /// Whether the kernel has been asked to remove addresses and has not answered yet.
    pub(super) fn is_releasing(&self) -> bool {
        self.releases_pending > 0
    }

    /// Whether it has left for good and nothing of it is left to wait for.
    pub(super) fn has_departed(&self) -> bool {
        self.departing && self.stopped && !self.is_releasing()
    }

    /// The earliest instant at which something is due. Advertisements are sent on `grid`.
    pub(super) fn deadline(&self, grid: Grid) -> Option<Instant> {
        let announcement = self.schedule.as_ref().and_then(Schedule::due_at);
        let steering = self.steering.as_ref().and_then(Steering::deadline);
        let steer_check = self.steer_check_pending.then_some(self.steer_check_at);
        [
            self.core_due_at(grid),
            announcement,
            steering,
            steer_check,
            self.signing.will_due_at,
            self.virtual_retry_at(),
            self.refusal_retry_at(),
            self.evidence.deadline(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// When the core has something to do. An advertisement waits for the next instant of a grid that divides the interval, so that many
    /// leave in one turn of the loop: each is as late as the one before it, and the interval stays what it is.
    fn core_due_at(&self, grid: Grid) -> Option<Instant> {
        let timer = self.router.next_timer()?;
        let interval = self.config.settings.advert_interval.as_duration();
        Some(match timer.name {
            Timer::ADVERT => grid.not_before(timer.at, advert_step(interval)),
            _ => timer.at,
        })
    }

    /// The address its advertisements of `family` come from. Unicast has exactly one, and its loss is a fault.
    pub(super) fn choose_source(
        &self,
        facts: &Facts,
        ifindex: u32,
        family: Family,
    ) -> Option<IpAddr> {
        let vips: Vec<IpAddr> = self.config.vips.iter().map(|vip| vip.address).collect();
        let unicast = self.config.unicast.as_ref().map(|unicast| unicast.source);
        let source = facts.source(ifindex, family, unicast, &vips);
        source.filter(|source| unicast.is_none_or(|wanted| wanted == *source))
    }

    /// Takes over what is known of the link it runs on; another index or MAC means new announcements from there.
    pub(super) fn set_link(&mut self, now: Instant, link: Option<&Link>) {
        let identity = |link: &Link| (link.index, link.mac);
        let same = self.link.as_ref().map(identity) == link.map(identity);
        let same_index = self.ifindex() == link.map(|link| link.index);
        self.link = link.cloned();
        self.follow_parent(link);
        if same && self.announcer.is_some() {
            return;
        }
        self.announcer = link.and_then(|link| link.mac.map(|mac| (link.index, mac))).and_then(|(index, mac)| {
            let opened = self.announcers.open(index, mac);
            opened.inspect_err(|error| tracing::warn!(link = self.config.interface, %error, "no announcements possible")).ok()
        });
        if let Some(link) = link.filter(|_| !same_index)
            && let Err(error) = linux::address::set_promote_secondaries(&link.name)
        {
            tracing::info!(link = link.name, %error, "promote_secondaries not set");
        }
        if self.held == Held::Yes && !self.config.virtual_mac {
            // The neighbours know another hardware address.
            self.schedule = Some(Schedule::start(now, &self.config.announce));
        }
    }

    /// Index of the link it runs on.
    pub(super) fn ifindex(&self) -> Option<u32> {
        self.link.as_ref().map(|link| link.index)
    }

    /// Tells the core about a changed source address.
    pub(super) fn set_source(
        &mut self,
        now: Instant,
        family: Family,
        source: Option<IpAddr>,
        wires: &Wires,
    ) -> Vec<Notice> {
        let known = self.sources.iter_mut().find(|(known, _)| *known == family);
        match known {
            Some((_, current)) if *current == source => return Vec::new(),
            Some((_, current)) => *current = source,
            None => self.sources.push((family, source)),
        }
        self.will_changed = true;
        self.handle(now, Event::SourceChanged { family, source }, wires)
    }

    /// Takes over a new verdict of tracking.
    pub(super) fn set_verdict(
        &mut self,
        now: Instant,
        verdict: Verdict,
        wires: &Wires,
    ) -> Vec<Notice> {
        if verdict == self.verdict {
            return Vec::new();
        }
        let old = std::mem::replace(&mut self.verdict, verdict);
        let mut notices = Vec::new();
        let priority = self.effective_priority();
        self.lane.verdict(now, &old, &self.verdict);
        if priority != vrrp::effective_priority(self.config.settings.priority, &old.contributions) {
            notices.extend(self.handle(now, Event::PriorityChanged(priority), wires));
        }
        match (&old.fault, self.verdict.fault.clone()) {
            (before, Some(fault)) if before.as_ref() != Some(&fault) => {
                notices.extend(self.handle(
                    now,
                    Event::Fault(vrrp::FaultReason::new(fault)),
                    wires,
                ));
            }
            (Some(_), None) => notices.extend(self.handle(now, Event::FaultCleared, wires)),
            (None, None) | (_, Some(_)) => {}
        }
        notices
    }

    pub(super) fn effective_priority(&self) -> vrrp::Priority {
        vrrp::effective_priority(self.config.settings.priority, &self.verdict.contributions)
    }

    /// Takes over a changed configuration without stopping anything that did not change.
    pub(super) fn reconfigure(
        &mut self,
        now: Instant,
        config: Arc<config::Vrrp>,
        wires: &Wires,
    ) -> Vec<Notice> {
        let gone: Vec<Vip> = self
            .vips()
            .into_iter()
            .filter(|vip| !config.vips.iter().any(|kept| kept.address == vip.address))
            .collect();
        if self.is_holding()
            && !gone.is_empty()
            && self.addresses.order(Order::Release {
                links: Vec::new(),
                vips: gone,
            })
        {
            self.releases_pending += 1;
        }
        self.config = config;
        self.follow_accept_mode(now);
        self.will_changed = true;
        let mut notices = self.handle(now, Event::Reconfigure(self.config.settings.clone()), wires);
        // The base may have changed under contributions that did not.
        let priority = self.effective_priority();
        notices.extend(self.handle(now, Event::PriorityChanged(priority), wires));
        notices
    }

    /// Whether what it sends is signed.
    pub(super) fn signs(&self) -> bool {
        let authentication = self.config.settings.authentication.as_ref();
        authentication.is_some_and(|authentication| authentication.signs())
    }

    /// Whether addresses are, or may be, on the link by our doing.
    pub(super) fn is_holding(&self) -> bool {
        self.held != Held::No
    }

    pub(super) fn state(&self) -> State {
        self.router.state()
    }

    /// The addresses as the kernel takes them; none while their link is unknown.
    pub(super) fn vips(&self) -> Vec<Vip> {
        let parent = self.ifindex().filter(|_| self.config.virtual_mac);
        let vip = |vip: &config::VipAddress| {
            Some(Vip {
                ifindex: self.place(Family::of(vip.address))?,
                address: vip.address,
                prefix_len: vip.prefix_len,
                lease: self.config.lease,
                parent,
            })
        };
        self.config.vips.iter().filter_map(vip).collect()
    }
}
