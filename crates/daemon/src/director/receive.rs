//! From a datagram on a wire to an event of a virtual router, or to a counter.

use std::time::{Duration, Instant};

use linux::raw::Received;
use vrrp::{Alarm, Datagram, Event, Expectation, Family, Guard, Reject, Vrid};

use super::Director;
use super::instance::Notice;
use super::instances::Instances;
use super::signing;
use super::wires::WireKey;

/// Datagrams taken from one wire before everything else has its turn: less than a millisecond of work.
const BATCH: usize = 256;
/// More datagrams than this within [`SURGE_SPAN`] are a flood.
const SURGE: usize = 100;
/// See [`SURGE`].
const SURGE_SPAN: Duration = Duration::from_millis(10);
/// How long a flood gathers before it is looked at again: to be woken for each packet would cost more than the packet. The receive
/// buffer holds several times what a flood of 100,000 packets a second brings meanwhile.
const REST: Duration = Duration::from_millis(1);
/// Larger than any advertisement: 255 IPv6 addresses and an IPv4 header with options.
const BUFFER: usize = 4608;

impl Director {
    /// Takes what waits on a wire, up to a batch. In a flood it waits a moment afterwards, for more to gather.
    pub(super) fn receive(&mut self, now: Instant, key: &WireKey) {
        self.instances.refresh_directory();
        let taken = self.take_datagrams(now, key);
        if self.surge.note(now, taken) && taken < BATCH {
            std::thread::sleep(REST);
        }
    }

    fn take_datagrams(&mut self, now: Instant, key: &WireKey) -> usize {
        let mut buffer = [0; BUFFER];
        for taken in 0..BATCH {
            let receiver = self.wires.get(key).and_then(|wire| wire.receiver.as_ref());
            let Some(receiver) = receiver else {
                return taken;
            };
            match receiver.try_receive(&mut buffer) {
                Ok(Some(received)) => {
                    self.on_datagram(now, key, &buffer[..received.len.min(BUFFER)], &received)
                }
                Ok(None) => return taken,
                Err(error) => {
                    tracing::debug!(link = key.link, %error, "receive failed");
                    return taken;
                }
            }
        }
        BATCH
    }

    fn on_datagram(&mut self, now: Instant, key: &WireKey, octets: &[u8], received: &Received) {
        let local = self
            .wires
            .get(key)
            .map(|wire| self.facts.local(wire.ifindex))
            .unwrap_or_default();
        let datagram = datagram(key, octets, received);
        let accepted = datagram.and_then(|datagram| {
            vrrp::accept_authentic(&datagram, local, |vrid| {
                expectation(&mut self.instances, key, vrid)
            })
            .map(|(vrid, accepted)| (vrid, datagram.source, accepted))
        });
        match accepted {
            Ok((vrid, source, accepted)) => {
                let family = if key.v6 { Family::V6 } else { Family::V4 };
                for index in self.instances.listening(key, vrid).to_vec() {
                    let instance = &mut self.instances[index];
                    instance.counters.count_accepted(&accepted);
                    instance.evidence.note_peer();
                    let event = Event::Advertisement {
                        family,
                        source,
                        accepted: accepted.clone(),
                    };
                    let notices = instance.handle(now, event, &self.wires);
                    self.on_notices(notices);
                }
            }
            Err(reject) => self.refuse(now, key, octets, datagram.ok(), reject),
        }
    }

    /// Counts a refused packet at the virtual router it names, or else at the wire, and touches nothing more.
    fn refuse(
        &mut self,
        now: Instant,
        key: &WireKey,
        octets: &[u8],
        datagram: Option<Datagram<'_>>,
        reject: Reject,
    ) {
        let named = named_vrid(key, octets)
            .map(|vrid| self.instances.listening(key, vrid).to_vec())
            .unwrap_or_default();
        for index in &named {
            self.instances[*index].counters.reject(reject);
        }
        if let (Some(kind), Some(datagram)) = (signing::alarm_kind(reject), datagram) {
            for index in &named {
                let instance = &mut self.instances[*index];
                if !instance.has_lately_alarmed(kind) {
                    let words = signing::alarm_words(&datagram, reject);
                    let entry = instance.note_alarm(Alarm { kind, words });
                    self.on_notices(entry.map(Notice::Journal).into_iter().collect());
                }
            }
        }
        if let Some(wire) = self.wires.get_mut(key) {
            if named.is_empty() {
                wire.strangers.reject(reject);
            }
            wire.note_refusal(now, key, reject);
        }
    }
}

/// How much has come in lately, on all wires.
#[derive(Debug, Default)]
pub(super) struct Surge {
    since: Option<Instant>,
    datagrams: usize,
}

impl Surge {
    /// Notes datagrams that came in; whether they are part of a flood.
    fn note(&mut self, now: Instant, datagrams: usize) -> bool {
        let lately = |since: Instant| now.saturating_duration_since(since) < SURGE_SPAN;
        if !self.since.is_some_and(lately) {
            // What filled the last span goes on until this one has shown that it does not.
            self.datagrams = self.datagrams.min(SURGE) / 2;
            self.since = Some(now);
        }
        self.datagrams += datagrams;
        self.datagrams > SURGE
    }
}

/// The datagram as the receive checks take it.
fn datagram<'b>(
    key: &WireKey,
    octets: &'b [u8],
    received: &Received,
) -> Result<Datagram<'b>, Reject> {
    if received.truncated {
        return Err(Reject::Length);
    }
    if !key.v6 {
        return vrrp::parse_ipv4(octets);
    }
    // Without the control data of the kernel nothing is known of where it was sent and from how far.
    let (Some(destination), Some(hop_limit)) = (received.destination, received.hop_limit) else {
        return Err(Reject::HopLimit);
    };
    Ok(Datagram {
        family: Family::V6,
        source: received.source,
        destination,
        hop_limit,
        payload: octets,
    })
}

/// What the receive checks need of the virtual router of this id on this wire.
fn expectation<'i>(
    instances: &'i mut Instances,
    key: &WireKey,
    vrid: Vrid,
) -> Option<(&'i Expectation, Guard<'i>)> {
    let index = *instances.listening(key, vrid).last()?;
    let instance = &mut instances[index];
    let guard = Guard {
        wall: signing::wall(),
        marks: &mut instance.signing.marks,
    };
    Some((instance.router.expectation(), guard))
}

/// The id a packet claims to be for, whatever else is wrong with it.
fn named_vrid(key: &WireKey, octets: &[u8]) -> Option<Vrid> {
    let header = if key.v6 {
        0
    } else {
        usize::from(octets.first()? & 0x0f) * 4
    };
    Vrid::new(*octets.get(header + 1)?)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_begins_and_ends() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut surge = Surge::default();
        assert!(!surge.note(at(0), 60));
        assert!(!surge.note(at(20), 60));
        assert!(surge.note(at(25), 60));
        assert!(surge.note(at(36), 60));
        assert!(!surge.note(at(50), 1));
        // A thousand advertisements a second are none.
        let mut floods = 0;
        for ms in 100..1100 {
            floods += usize::from(surge.note(at(ms), 1));
        }
        assert_eq!(floods, 0);
    }

    #[test]
    fn the_named_id_is_read_from_any_octets_without_harm() {
        let v4 = WireKey {
            link: "eth0".to_owned(),
            v6: false,
            unicast: None,
            send_only: false,
        };
        let v6 = WireKey {
            v6: true,
            ..v4.clone()
        };
        let mut packet = vec![0x45; 20];
        packet.extend([0x31, 51]);
        assert_eq!(named_vrid(&v4, &packet), Vrid::new(51));
        assert_eq!(named_vrid(&v6, &[0x31, 52]), Vrid::new(52));
        assert_eq!(named_vrid(&v4, &[0x4f]), None);
        assert_eq!(named_vrid(&v4, &[]), None);
        assert_eq!(named_vrid(&v6, &[0x31, 0]), None);
    }
}
