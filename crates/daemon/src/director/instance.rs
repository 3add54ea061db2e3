//! One `[vrrp.NAME]`: the pure core, and the hands that carry out what it decides.
//!
//! [`Instance::handle`] is the only way in: an event for the core, its actions carried out in order, failures fed back as events.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::{Duration, Instant, SystemTime};

use control::{EventKind, Timestamp};
use linux::address::{Address, Link, Vip};
use linux::neighbour::Announcer;
use vrrp::{
    Action, Advertisement, Alarm, Counters, Event, Family, State, Transition, VirtualRouter,
};

use super::addresses::{Addresses, Order, Outcome, renewal_interval};
use super::announce::Schedule;
use super::facts::Facts;
use super::journal::Entry;
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
    /// A handover has ended: none when somebody took over, otherwise why not.
    Handover {
        name: String,
        failed: Option<String>,
    },
}

/// What is kept of a transition or an alarm.
pub(super) struct Dated<T> {
    pub(super) at: Timestamp,
    pub(super) what: T,
}

/// Whether the addresses are on the link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Held {
    No,
    Claiming { number: u64 },
    Yes { renew_at: Option<Instant> },
}

pub(super) struct Instance {
    /// Tells outcomes of this instance from those of another of the same name.
    pub(super) number: u64,
    /// It leaves for good and goes when it is done.
    pub(super) departing: bool,
    /// The core has said that it is done.
    pub(super) stopped: bool,
    /// What the keeper should know has changed.
    pub(super) will_changed: bool,
    pub(super) config: config::Vrrp,
    pub(super) router: VirtualRouter,
    pub(super) counters: Counters,
    pub(super) verdict: Verdict,
    pub(super) transitions: VecDeque<Dated<Transition>>,
    pub(super) alarms: VecDeque<Dated<Alarm>>,
    pub(super) since: Timestamp,
    addresses: Addresses,
    held: Held,
    claims: u64,
    releases_pending: usize,
    schedule: Option<Schedule>,
    announcer: Option<Announcer>,
    link: Option<Link>,
    sources: Vec<(Family, Option<IpAddr>)>,
    restored_at: VecDeque<Instant>,
}

impl Instance {
    /// A virtual router that has not been started.
    pub(super) fn new(number: u64, config: config::Vrrp, addresses: Addresses) -> Self {
        Self {
            number,
            departing: false,
            stopped: false,
            will_changed: false,
            router: VirtualRouter::new(config.settings.clone()),
            config,
            counters: Counters::default(),
            verdict: Verdict::default(),
            transitions: VecDeque::new(),
            alarms: VecDeque::new(),
            since: Timestamp::from(SystemTime::now()),
            addresses,
            held: Held::No,
            claims: 0,
            releases_pending: 0,
            schedule: None,
            announcer: None,
            link: None,
            sources: Vec::new(),
            restored_at: VecDeque::new(),
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
        let mut notices = Vec::new();
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            for action in self.router.handle(now, event) {
                events.extend(self.carry_out(now, action, wires, &mut notices));
            }
        }
        notices
    }

    /// Carries out one action; its failure comes back as an event.
    fn carry_out(
        &mut self,
        now: Instant,
        action: Action,
        wires: &Wires,
        notices: &mut Vec<Notice>,
    ) -> Option<Event> {
        self.will_changed |= !matches!(action, Action::Send(_));
        match action {
            Action::Claim => return self.claim(),
            Action::Release => self.release(),
            Action::Send(advertisement) => {
                return self
                    .send(&advertisement, wires)
                    .err()
                    .map(Event::SendFailed);
            }
            Action::Announce(_) => {
                self.schedule = Some(Schedule::start(now, &self.config.announce));
                self.announce_due(now);
            }
            Action::StopAnnouncing => self.schedule = None,
            Action::Transition(transition) => {
                notices.push(Notice::Journal(self.note_transition(transition)))
            }
            Action::Alarm(alarm) => notices.extend(self.note_alarm(alarm).map(Notice::Journal)),
            Action::HandedOver => notices.push(Notice::Handover {
                name: self.config.name.clone(),
                failed: None,
            }),
            Action::HandoverFailed(why) => notices.push(Notice::Handover {
                name: self.config.name.clone(),
                failed: Some(why),
            }),
            Action::Stopped => self.stopped = true,
        }
        None
    }

    fn claim(&mut self) -> Option<Event> {
        self.claims += 1;
        self.held = Held::Claiming {
            number: self.claims,
        };
        let order = Order::Claim {
            number: self.claims,
            vips: self.vips(),
        };
        let queued = !self.vips().is_empty() && self.addresses.order(order);
        (!queued)
            .then(|| Event::ClaimFailed("the kernel does not answer address requests".to_owned()))
    }

    fn release(&mut self) {
        self.held = Held::No;
        self.schedule = None;
        if self.addresses.order(Order::Release { vips: self.vips() }) {
            self.releases_pending += 1;
        }
    }

    fn send(&mut self, advertisement: &Advertisement, wires: &Wires) -> Result<(), String> {
        let key = self.wire_key(advertisement.family);
        let wire = wires
            .get(&key)
            .ok_or_else(|| format!("no socket on {}", key.link))?;
        for destination in &advertisement.destinations {
            let packet = advertisement.encode(*destination);
            let sent = wire
                .sender
                .send(advertisement.source, *destination, &packet);
            sent.map_err(|error| {
                format!(
                    "send an advertisement to {destination} on {}: {error}",
                    key.link
                )
            })?;
            self.counters.count_sent(advertisement);
        }
        Ok(())
    }

    fn note_transition(&mut self, transition: Transition) -> Entry {
        let entry = Entry::new(
            EventKind::Transition,
            format!("vrrp {}", self.config.name),
            transition.reason.to_string(),
        )
        .states(transition.from.as_str(), transition.to.as_str());
        self.since = Timestamp::from(SystemTime::now());
        keep(&mut self.transitions, transition);
        entry
    }

    /// Keeps an alarm; it is journaled when its kind has not been for a while.
    fn note_alarm(&mut self, alarm: Alarm) -> Option<Entry> {
        let now = Timestamp::from(SystemTime::now());
        let recent = self
            .alarms
            .iter()
            .any(|old| old.what.kind == alarm.kind && old.at.age(now) < ALARM_INTERVAL);
        if recent {
            return None;
        }
        let entry = Entry::new(
            EventKind::Alarm,
            format!("vrrp {}", self.config.name),
            alarm.words.clone(),
        );
        keep(&mut self.alarms, alarm);
        Some(entry)
    }

    /// What the address task has to say.
    pub(super) fn on_outcome(
        &mut self,
        now: Instant,
        outcome: Outcome,
        wires: &Wires,
    ) -> Vec<Notice> {
        match (outcome, self.held) {
            (Outcome::Claimed { number }, Held::Claiming { number: current })
                if number == current =>
            {
                self.held = Held::Yes {
                    renew_at: self.next_renewal(now),
                };
                self.handle(now, Event::Claimed, wires)
            }
            (Outcome::ClaimFailed { number, reason }, Held::Claiming { number: current })
                if number == current =>
            {
                self.held = Held::No;
                self.handle(now, Event::ClaimFailed(reason), wires)
            }
            (Outcome::Lost { reason }, Held::Yes { .. }) => {
                self.handle(now, Event::AddressLost(reason), wires)
            }
            (Outcome::Restored { vip }, Held::Yes { .. }) => {
                self.announce_one(vip.address);
                let words = format!(
                    "{} was taken away by somebody and has been put back",
                    vip.address
                );
                vec![Notice::Journal(Entry::new(
                    EventKind::Address,
                    format!("vrrp {}", self.config.name),
                    words,
                ))]
            }
            (Outcome::Released, _) => {
                self.releases_pending = self.releases_pending.saturating_sub(1);
                Vec::new()
            }
            // An outcome that the core no longer waits for.
            (
                Outcome::Claimed { .. }
                | Outcome::ClaimFailed { .. }
                | Outcome::Lost { .. }
                | Outcome::Restored { .. },
                _,
            ) => Vec::new(),
        }
    }

    /// Whether the kernel has been asked to remove addresses and has not answered yet.
    pub(super) fn is_releasing(&self) -> bool {
        self.releases_pending > 0
    }

    /// The earliest instant at which something is due.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let renewal = match self.held {
            Held::Yes { renew_at } => renew_at,
            Held::No | Held::Claiming { .. } => None,
        };
        let announcement = self.schedule.as_ref().and_then(Schedule::due_at);
        [self.router.deadline(), renewal, announcement]
            .into_iter()
            .flatten()
            .min()
    }

    /// Does what is due. The core goes first: it may find that this node has been away for too long to touch an address.
    pub(super) fn run_due(&mut self, now: Instant, wires: &Wires) -> Vec<Notice> {
        let due = self.router.deadline().is_some_and(|at| at <= now);
        let notices = if due {
            self.handle(now, Event::Timer, wires)
        } else {
            Vec::new()
        };
        if let Held::Yes { renew_at: Some(at) } = self.held
            && at <= now
        {
            let lease = self.config.lease.unwrap_or_default();
            // An order that cannot be queued is repeated at the next renewal; the lease has room for three failures.
            self.addresses.order(Order::Renew {
                vips: self.vips(),
                not_after: now + lease / 2,
            });
            self.held = Held::Yes {
                renew_at: self.next_renewal(now),
            };
        }
        self.announce_due(now);
        notices
    }

    fn next_renewal(&self, now: Instant) -> Option<Instant> {
        self.config.lease.map(|lease| now + renewal_interval(lease))
    }

    fn announce_due(&mut self, now: Instant) {
        let settings = &self.config.announce;
        if self
            .schedule
            .as_mut()
            .is_some_and(|schedule| schedule.take_due(now, settings))
        {
            for vip in self.config.vips.clone() {
                self.announce_one(vip.address);
            }
        }
    }

    /// Tells the neighbours where `address` is: both forms for IPv4, because some hosts learn from one of them only.
    fn announce_one(&self, address: IpAddr) {
        let Some(announcer) = &self.announcer else {
            return;
        };
        let reply_forms: &[bool] = if address.is_ipv4() {
            &[false, true]
        } else {
            &[false]
        };
        for reply_form in reply_forms {
            if let Err(error) = announcer.announce(address, *reply_form, false) {
                tracing::warn!(link = self.config.interface, vip = %address, %error, "announcement not sent");
            }
        }
    }

    /// An address has vanished from a link: put it back if it should be there.
    pub(super) fn on_address_removed(
        &mut self,
        now: Instant,
        gone: &Address,
        wires: &Wires,
    ) -> Vec<Notice> {
        let notices = self.run_due(now, wires);
        let vip = self
            .vips()
            .into_iter()
            .find(|vip| vip.address == gone.address && vip.ifindex == gone.ifindex);
        if let (Some(vip), Held::Yes { .. }) = (vip, self.held)
            && self.may_restore(now)
        {
            let not_after = now + self.config.lease.unwrap_or(RESTORE_WINDOW) / 2;
            self.addresses.order(Order::Restore { vip, not_after });
        }
        notices
    }

    /// After lost kernel events: puts back every address that should be there and is not.
    pub(super) fn put_back_missing(
        &mut self,
        now: Instant,
        facts: &Facts,
        wires: &Wires,
    ) -> Vec<Notice> {
        let notices = self.run_due(now, wires);
        if matches!(self.held, Held::Yes { .. }) {
            let missing: Vec<Vip> = self
                .vips()
                .into_iter()
                .filter(|vip| !facts.is_ours(vip.ifindex, vip.address))
                .collect();
            if !missing.is_empty() {
                let not_after = now + self.config.lease.unwrap_or(RESTORE_WINDOW) / 2;
                self.addresses.order(Order::Renew {
                    vips: missing,
                    not_after,
                });
            }
        }
        notices
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

    /// Bounds a war with whoever removes the address: beyond the limit only the renewals bring it back.
    fn may_restore(&mut self, now: Instant) -> bool {
        while self
            .restored_at
            .front()
            .is_some_and(|at| *at + RESTORE_WINDOW <= now)
        {
            self.restored_at.pop_front();
        }
        let allowed = self.restored_at.len() < RESTORE_LIMIT;
        if allowed {
            self.restored_at.push_back(now);
        }
        allowed
    }

    /// Takes over what is known of the link it runs on; another index or MAC means new announcements from there.
    pub(super) fn set_link(&mut self, link: Option<&Link>) {
        if self.link.as_ref().map(|old| (old.index, old.mac))
            == link.map(|new| (new.index, new.mac))
            && self.announcer.is_some()
        {
            self.link = link.cloned();
            return;
        }
        self.announcer = link.and_then(|link| link.mac.map(|mac| (link.index, mac))).and_then(|(index, mac)| {
            let opened = Announcer::open(index, mac);
            opened.inspect_err(|error| tracing::warn!(link = self.config.interface, %error, "no announcements possible")).ok()
        });
        self.link = link.cloned();
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
        config: config::Vrrp,
        wires: &Wires,
    ) -> Vec<Notice> {
        let gone: Vec<Vip> = self
            .vips()
            .into_iter()
            .filter(|vip| !config.vips.iter().any(|kept| kept.address == vip.address))
            .collect();
        if self.is_holding()
            && !gone.is_empty()
            && self.addresses.order(Order::Release { vips: gone })
        {
            self.releases_pending += 1;
        }
        self.config = config;
        self.will_changed = true;
        self.handle(now, Event::Reconfigure(self.config.settings.clone()), wires)
    }

    /// Whether addresses are, or may be, on the link by our doing.
    pub(super) fn is_holding(&self) -> bool {
        self.held != Held::No
    }

    pub(super) fn state(&self) -> State {
        self.router.state()
    }

    /// The addresses as the kernel takes them; none while the link is unknown.
    pub(super) fn vips(&self) -> Vec<Vip> {
        let Some(ifindex) = self.ifindex() else {
            return Vec::new();
        };
        let vip = |vip: &config::VipAddress| Vip {
            ifindex,
            address: vip.address,
            prefix_len: vip.prefix_len,
            lease: self.config.lease,
        };
        self.config.vips.iter().map(vip).collect()
    }
}

fn keep<T>(list: &mut VecDeque<Dated<T>>, what: T) {
    if list.len() == KEPT {
        list.pop_back();
    }
    list.push_front(Dated {
        at: Timestamp::from(SystemTime::now()),
        what,
    });
}
