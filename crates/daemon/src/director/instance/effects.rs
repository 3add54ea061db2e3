//! Carrying out what the core decides, in order, and bringing back how it went.

use std::collections::VecDeque;
use std::time::{Instant, SystemTime};

use control::{EventKind, RecordingSummary, Timestamp};
use vrrp::{Action, Advertisement, Alarm, AlarmKind, Event, State, Transition};

use super::{ALARM_INTERVAL, Dated, Held, Instance, KEPT, Notice};
use crate::director::addresses::{Order, Outcome};
use crate::director::announce::Schedule;
use crate::director::flight::Moved;
use crate::director::journal::Entry;
use crate::director::status;
use crate::director::wires::Wires;

impl Instance {
    /// Carries out one action; its failure comes back as an event.
    pub(in crate::director) fn carry_out(
        &mut self,
        now: Instant,
        action: Action,
        wires: &Wires,
        notices: &mut Vec<Notice>,
    ) -> Option<Event> {
        self.will_changed |= !matches!(action, Action::Send(_));
        match action {
            Action::Claim => return self.claim(now),
            Action::Release => self.release(),
            Action::Send(advertisement) => {
                let leaves = advertisement.priority.is_release() && self.is_holding();
                notices.extend(leaves.then(|| self.parting(false)));
                return self
                    .send(&advertisement, wires)
                    .err()
                    .map(Event::SendFailed);
            }
            Action::Announce(_) => {
                self.schedule = Some(Schedule::start(now, &self.config.announce));
                self.announce_due(now);
            }
            Action::StopAnnouncing => {
                self.schedule = None;
                notices.extend(self.is_holding().then(|| self.parting(true)));
            }
            Action::Transition(transition) => {
                self.note_for_evidence(now, &transition);
                notices.push(self.note_transition(now, transition));
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
            Action::Stopped => {
                self.stopped = true;
                self.remove_virtual_links();
                self.follow_accept_mode(now);
            }
        }
        None
    }

    fn parting(&self, taken: bool) -> Notice {
        Notice::Parting {
            number: self.number,
            taken,
        }
    }

    fn claim(&mut self, now: Instant) -> Option<Event> {
        self.claims += 1;
        self.succeeds = self.hears_a_router(now);
        self.steer_check_at = now;
        self.held = Held::Claiming {
            number: self.claims,
        };
        let order = Order::Claim {
            number: self.claims,
            links: self.virtual_indexes(),
            vips: self.vips(),
        };
        let queued = !self.vips().is_empty() && self.addresses.order(order);
        (!queued)
            .then(|| Event::ClaimFailed("the kernel does not answer address requests".to_owned()))
    }

    fn release(&mut self) {
        self.held = Held::No;
        self.schedule = None;
        let order = Order::Release {
            links: self.virtual_indexes(),
            vips: self.vips(),
        };
        if self.addresses.order(order) {
            self.releases_pending += 1;
        }
    }

    fn send(&mut self, advertisement: &Advertisement, wires: &Wires) -> Result<(), String> {
        let stamp = self.signing.stamp(advertisement);
        let key = self.sender_key(advertisement.family);
        let wire = wires
            .get(&key)
            .ok_or_else(|| format!("no socket on {}", key.link))?;
        for destination in &advertisement.destinations {
            let packet = advertisement.encode_at(*destination, stamp);
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

    fn note_transition(&mut self, now: Instant, transition: Transition) -> Notice {
        let entry = Entry::new(
            EventKind::Transition,
            format!("vrrp {}", self.config.name),
            transition.reason.to_string(),
        )
        .states(transition.from.as_str(), transition.to.as_str());
        self.since = Timestamp::from(SystemTime::now());
        self.count_cause(transition.reason.cause());
        // The core tells of it when the addresses have been announced.
        if transition.to == State::Active
            && let Some(before) = self.router.status().peer
        {
            self.outage = Some(now.saturating_duration_since(before.last_heard));
        }
        let moved = Moved {
            instance: self.number,
            at: now,
            summary: RecordingSummary {
                seq: 0,
                node: String::new(),
                name: self.config.name.clone(),
                vrid: self.config.settings.vrid.value(),
                interface: self.config.interface.clone(),
                cause: transition.reason.cause().to_owned(),
                transition: status::transition(self.since, &transition),
            },
        };
        keep(&mut self.transitions, transition);
        Notice::Moved(entry, Box::new(moved))
    }

    /// There are few causes, and fewer that ever happen.
    fn count_cause(&mut self, cause: &'static str) {
        match self.causes.binary_search_by_key(&cause, |(name, _)| name) {
            Ok(place) => self.causes[place].1 += 1,
            Err(place) => {
                self.causes.reserve_exact(1);
                self.causes.insert(place, (cause, 1));
            }
        }
    }

    /// Whether an alarm of this kind would say nothing new.
    pub(in crate::director) fn has_lately_alarmed(&self, kind: AlarmKind) -> bool {
        let mut alarms = self.alarms.iter();
        alarms.any(|old| old.what.kind == kind && old.noted_at.elapsed() < ALARM_INTERVAL)
    }

    /// Keeps an alarm; it is journaled when its kind has not been for a while.
    pub(in crate::director) fn note_alarm(&mut self, alarm: Alarm) -> Option<Entry> {
        if self.has_lately_alarmed(alarm.kind) {
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
    pub(in crate::director) fn on_outcome(
        &mut self,
        now: Instant,
        outcome: Outcome,
        wires: &Wires,
    ) -> Vec<Notice> {
        match (outcome, self.held) {
            (Outcome::Claimed { number }, Held::Claiming { number: current })
                if number == current =>
            {
                self.held = Held::Yes;
                self.paused = false;
                self.handle(now, Event::Claimed, wires)
            }
            (Outcome::ClaimFailed { number, reason }, Held::Claiming { number: current })
                if number == current =>
            {
                self.held = Held::No;
                self.handle(now, Event::ClaimFailed(reason), wires)
            }
            (Outcome::Lost { reason }, Held::Yes) => {
                self.handle(now, Event::AddressLost(reason), wires)
            }
            (Outcome::Restored { vip }, Held::Yes) => {
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
            (Outcome::Refused { rules, outcome }, _) => {
                self.note_refusal(now, &rules, outcome);
                Vec::new()
            }
            (Outcome::LinksMade { parent, links }, _) => {
                self.take_virtual_links(parent, links);
                Vec::new()
            }
            (Outcome::LinksFailed { parent, reason }, _) => {
                self.miss_virtual_links(now, parent, reason);
                Vec::new()
            }
            (Outcome::Prolonged, _) => {
                self.prolonged = true;
                Vec::new()
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
}

fn keep<T>(list: &mut VecDeque<Dated<T>>, what: T) {
    if list.len() == KEPT {
        list.pop_back();
    }
    list.reserve_exact(1);
    list.push_front(Dated {
        at: Timestamp::from(SystemTime::now()),
        noted_at: Instant::now(),
        what,
    });
}
