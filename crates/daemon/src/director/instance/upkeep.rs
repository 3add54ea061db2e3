//! What is due again and again while the addresses are held: renewals, announcements, putting back what others take away.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use control::What;
use linux::address::{Address, Vip};
use vrrp::State;

use super::{Held, Instance, Notice, RESTORE_LIMIT, RESTORE_WINDOW};
use crate::director::addresses::Order;
use crate::director::facts::Facts;
use crate::director::signing::WILL_REFRESH;
use crate::director::steer::{Share, Standing, Steering};
use crate::director::virtual_links;
use crate::director::wires::Wires;

/// Addresses that one virtual router announces at once, before others have their turn.
const AT_ONCE: usize = 32;
/// Between two looks at the steering of connections in flight, unless something has changed.
const STEER_INTERVAL: Duration = Duration::from_millis(100);

impl Instance {
    /// Does what is due. The core goes first: it may find that this node has been away for too long to touch an address.
    pub(in crate::director) fn run_due(&mut self, now: Instant, wires: &Wires) -> Vec<Notice> {
        let due = self.router.deadline().is_some_and(|at| at <= now);
        let mut notices = if due {
            self.on_timer(now, wires)
        } else {
            Vec::new()
        };
        notices.extend(self.gather(now));
        self.retry_virtual_links(now);
        self.retry_refusal(now);
        self.announce_due(now);
        self.steer(now);
        self.refresh_signed_will(now);
        notices
    }

    /// A farewell that is signed goes stale: the will is written anew in time.
    pub(super) fn refresh_signed_will(&mut self, now: Instant) {
        let signed = self.signs() && self.is_holding();
        let due_at = self.signing.will_due_at.filter(|_| signed);
        let due = due_at.is_some_and(|at| at <= now);
        self.will_changed |= due;
        self.signing.will_due_at = match due_at {
            Some(at) if !due => Some(at),
            _ => signed.then(|| now + WILL_REFRESH),
        };
    }

    /// Lets the steering of connections in flight follow; most turns of the loop change nothing for it.
    fn steer(&mut self, now: Instant) {
        let due = self
            .steering
            .as_ref()
            .and_then(Steering::deadline)
            .is_some_and(|at| at <= now);
        self.steer_check_pending = self.steering.is_some() && now < self.steer_check_at && !due;
        if self.steering.is_none() || self.steer_check_pending {
            return;
        }
        self.steer_check_at = now + STEER_INTERVAL;
        let standing = match self.held {
            Held::No if self.departing || self.is_releasing() => Standing::Idle,
            Held::No if self.state() == State::Backup && self.hears_a_router(now) => {
                Standing::Following
            }
            Held::No => Standing::Idle,
            Held::Claiming { .. } | Held::Yes if self.succeeds => Standing::Succeeding,
            Held::Claiming { .. } | Held::Yes => Standing::Holding,
        };
        let (router, vips) = (&self.router, &self.config.vips);
        let vrid = self.config.settings.vrid;
        let virtual_mac = self.config.virtual_mac;
        let shares = || {
            let share = |peer: vrrp::PeerStatus| Share {
                peer: peer.address,
                mac: virtual_mac.then(|| virtual_links::mac(vrrp::Family::of(peer.address), vrid)),
                vips: vips
                    .iter()
                    .map(|vip| vip.address)
                    .filter(|vip| vip.is_ipv4() == peer.address.is_ipv4())
                    .collect(),
            };
            router
                .status()
                .peers
                .into_iter()
                .map(share)
                .filter(|share| !share.vips.is_empty())
                .collect()
        };
        if let Some(steering) = &mut self.steering {
            steering.update(now, &self.config.interface, standing, shares);
        }
    }

    /// Whether another router has been heard within three of its intervals, its farewell included.
    pub(super) fn hears_a_router(&self, now: Instant) -> bool {
        let peer = self.router.peer();
        peer.is_some_and(|peer| {
            now.saturating_duration_since(peer.last_heard) <= peer.interval.as_duration() * 3
        })
    }

    /// Ends the steering of connections in flight: this virtual router goes.
    pub(in crate::director) fn stop_steering(&mut self, now: Instant) {
        if let Some(steering) = &mut self.steering {
            steering.remove(now);
        }
    }

    /// The lease that is to be renewed again and again; none while nothing is held, or without one.
    pub(in crate::director) fn lease_held(&self) -> Option<Duration> {
        let renewed = self.held == Held::Yes && !self.paused;
        self.config.lease.filter(|_| renewed)
    }

    /// Announces what is due, as far as the pace of the link allows.
    pub(super) fn announce_due(&mut self, now: Instant) {
        let vips = &self.config.vips;
        // Both forms of IPv4.
        let place = |addresses: usize| {
            let outlet = (vips.first()).and_then(|vip| self.announcer_of(vip.address));
            outlet.map_or(now, |outlet| outlet.place(now, 2 * addresses))
        };
        let Some(mut schedule) = self.schedule.clone() else {
            return;
        };
        let first = || place(vips.len().min(AT_ONCE));
        if schedule.take_due(now, &self.config.announce, first) {
            let part = schedule.part(vips.len(), AT_ONCE);
            for vip in &vips[part.clone()] {
                self.announce_one(vip.address);
            }
            let left = vips.len() - part.end;
            let rest_at = (left > 0).then(|| place(left.min(AT_ONCE)));
            schedule.went(part.end, rest_at);
            let addresses = part.len() as u64;
            self.lane.note(now, What::Announced { addresses });
        }
        self.schedule = Some(schedule);
    }

    /// Tells the neighbours where `address` is: both forms for IPv4, because some hosts learn from one of them only.
    pub(super) fn announce_one(&self, address: IpAddr) {
        let Some(announcer) = self.announcer_of(address) else {
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
    pub(in crate::director) fn on_address_removed(
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
        if let (Some(vip), Held::Yes) = (vip, self.held)
            && self.may_restore(now)
        {
            let not_after = now + self.config.lease.unwrap_or(RESTORE_WINDOW) / 2;
            self.addresses.order(Order::Restore { vip, not_after });
        }
        notices
    }

    /// After lost kernel events: puts back every address that should be there and is not.
    pub(in crate::director) fn put_back_missing(
        &mut self,
        now: Instant,
        facts: &Facts,
        wires: &Wires,
    ) -> Vec<Notice> {
        let notices = self.run_due(now, wires);
        if self.held == Held::Yes {
            let missing: Vec<Vip> = self
                .vips()
                .into_iter()
                .filter(|vip| !facts.is_ours(vip.ifindex, vip.address))
                .collect();
            if !missing.is_empty() {
                let not_after = now + self.config.lease.unwrap_or(RESTORE_WINDOW) / 2;
                self.addresses.order(Order::AddAgain {
                    vips: missing,
                    not_after,
                });
            }
        }
        notices
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
}
