//! Renewing many leases with few calls: thousands of addresses a second cost the kernel their renewal and us next to nothing.
//!
//! Requests of one batch travel in one datagram. The kernel answers those that fail, and the last one; it has done all of them before
//! the call that hands them over returns. They have a socket of their own, so that [`crate::monitor::Monitor`] can be told to pass over
//! what they change.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use netlink_packet_core::{NLM_F_ACK, NLM_F_CREATE, NLM_F_REPLACE, NLM_F_REQUEST};
use netlink_packet_route::RouteNetlinkMessage;
use rustix::net::SocketFlags;

use super::kernel::{Held, Kernel};
use super::{AddressError, Attempt, Vip, message};
use crate::netlink;

/// Renewals in one datagram: some tenths of a millisecond of work for the kernel.
const BATCH: usize = 64;

/// The socket that renews.
#[derive(Debug)]
pub(super) struct Renewer {
    socket: OwnedFd,
    port: u32,
    sequence: AtomicU32,
}

impl Renewer {
    pub(super) fn open() -> io::Result<Self> {
        let socket = netlink::open(0, SocketFlags::NONBLOCK)?;
        Ok(Self {
            port: netlink::port(&socket)?,
            socket,
            sequence: AtomicU32::new(0),
        })
    }

    fn sequences(&self, count: usize) -> u32 {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        self.sequence.fetch_add(count, Ordering::Relaxed)
    }

    /// Sends one datagram of requests, with sequence numbers from `first` on, and takes the answers: the number of the request and its
    /// error. Never waits: the answers are there when the datagram has been sent.
    fn exchange(&self, datagram: &[u8], buffer: &mut [u8]) -> io::Result<Vec<(u32, io::Error)>> {
        netlink::send(&self.socket, datagram)?;
        let mut failures = Vec::new();
        loop {
            let len = match netlink::receive(&self.socket, buffer) {
                Ok(len) => len,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(failures),
                Err(error) => return Err(error),
            };
            for frame in netlink::frames(&buffer[..len]) {
                let frame = frame?;
                if let Some(Err(error)) = frame.result() {
                    failures.push((frame.sequence, error));
                }
            }
        }
    }
}

/// Requests of which most differ from the one before in the address alone.
#[derive(Debug, Default)]
struct Stencil {
    of: Option<(Vip, bool)>,
    bytes: Vec<u8>,
}

impl Stencil {
    fn request(&mut self, vip: &Vip, held: Held, flags: u16, sequence: u32) -> &[u8] {
        let like = |vip: Vip| {
            (
                vip.ifindex,
                vip.prefix_len,
                vip.lease,
                vip.address.is_ipv4(),
            )
        };
        let alike = self
            .of
            .is_some_and(|(old, flag)| flag == held.no_prefix_route && like(old) == like(*vip));
        if !alike || !netlink::readdress(&mut self.bytes, vip.address, flags, sequence) {
            let request = RouteNetlinkMessage::NewAddress(message::add(vip, held.no_prefix_route));
            self.bytes = netlink::encode(request, flags, sequence);
            self.of = Some((*vip, held.no_prefix_route));
        }
        &self.bytes
    }
}

impl Kernel {
    /// The port whose renewals a monitor need not tell; see [`crate::monitor::Monitor::pass_over_renewals`].
    pub fn renewal_port(&self) -> u32 {
        self.renewer.port
    }

    /// Renews the leases of those of `vips` that were added here and not removed since; the others are passed over. Says which could not
    /// be renewed. A lease that lasts longer as it is stays as it is: a renewal that was asked for before it was prolonged must not cut it
    /// short. Gives other tasks their turn between batches, and leaves out those that `not_after` passes by meanwhile.
    pub async fn renew(&self, vips: &[Vip], not_after: Instant) -> Vec<(Vip, AddressError)> {
        let mut buffer = vec![0; netlink::BUFFER];
        let mut failures = Vec::new();
        for batch in vips.chunks(BATCH) {
            if Instant::now() > not_after {
                break;
            }
            failures.extend(self.renew_batch(batch, &mut buffer));
            tokio::task::yield_now().await;
        }
        failures
    }

    fn renew_batch(&self, batch: &[Vip], buffer: &mut [u8]) -> Vec<(Vip, AddressError)> {
        let asked_at = Instant::now();
        let grows = |vip: &Vip, held: &Held| match (vip.lease, held.expires_at) {
            (Some(lease), Some(expires_at)) => expires_at < asked_at + lease,
            (None, _) | (_, None) => true,
        };
        let kept: Vec<(&Vip, Held)> = (batch.iter())
            .filter_map(|vip| Some((vip, self.kept(vip)?)))
            .filter(|(vip, held)| grows(vip, held))
            .collect();
        let first = self.renewer.sequences(kept.len());
        let mut datagram = Vec::new();
        let mut stencil = Stencil::default();
        for (place, (vip, held)) in kept.iter().enumerate() {
            let last = place + 1 == kept.len();
            let flags = NLM_F_REQUEST | NLM_F_CREATE | NLM_F_REPLACE;
            let flags = flags | if last { NLM_F_ACK } else { 0 };
            let sequence = first.wrapping_add(place as u32);
            datagram.extend_from_slice(stencil.request(vip, *held, flags, sequence));
        }
        if datagram.is_empty() {
            return Vec::new();
        }
        let outcome = self.renewer.exchange(&datagram, buffer);
        let errors = outcome.unwrap_or_else(|error| {
            // Nothing is known of any of them.
            let words = error.to_string();
            let all = 0..kept.len() as u32;
            all.map(|place| (first.wrapping_add(place), io::Error::other(words.clone())))
                .collect()
        });
        for (vip, held) in &kept {
            let expires_at = vip.lease.map(|lease| asked_at + lease);
            self.remember(
                vip,
                Some(Held {
                    expires_at,
                    ..*held
                }),
            );
        }
        let failure = |(sequence, source): (u32, io::Error)| {
            let (vip, _) = kept.get(sequence.wrapping_sub(first) as usize)?;
            self.remember(vip, None);
            let attempt = Attempt::Add(**vip);
            Some((**vip, AddressError::Refused { attempt, source }))
        };
        errors.into_iter().filter_map(failure).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_request_made_from_the_one_before_is_the_same_as_one_made_anew() {
        let vip = |ifindex, address: &str, prefix_len, lease| Vip {
            ifindex,
            address: address.parse().expect("a valid address"),
            prefix_len,
            lease,
            parent: None,
        };
        let lease = Some(Duration::from_secs(2));
        let all = [
            (vip(3, "10.0.0.1", 24, lease), false),
            (vip(3, "10.0.0.2", 24, lease), false),
            (vip(3, "10.0.0.3", 24, lease), true),
            (vip(4, "10.0.0.4", 24, lease), true),
            (vip(4, "10.0.0.5", 32, lease), true),
            (vip(4, "10.0.0.6", 32, None), true),
            (vip(4, "2001:db8::1", 64, lease), true),
            (vip(4, "2001:db8::2", 64, lease), true),
            (vip(4, "10.0.0.7", 32, None), true),
        ];
        let mut stencil = Stencil::default();
        for (place, (vip, no_prefix_route)) in all.into_iter().enumerate() {
            let held = Held {
                no_prefix_route,
                expires_at: None,
            };
            let (flags, sequence) = (NLM_F_REQUEST | NLM_F_ACK, 700 + place as u32);
            let request = RouteNetlinkMessage::NewAddress(message::add(&vip, no_prefix_route));
            let anew = netlink::encode(request, flags, sequence);
            assert_eq!(
                stencil.request(&vip, held, flags, sequence),
                anew,
                "{place}"
            );
        }
    }
}
