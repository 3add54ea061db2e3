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
        for (place, (vip, held)) in kept.iter().enumerate() {
            let last = place + 1 == kept.len();
            let flags = NLM_F_REQUEST | NLM_F_CREATE | NLM_F_REPLACE;
            let flags = flags | if last { NLM_F_ACK } else { 0 };
            let request = message::add(vip, held.no_prefix_route);
            let sequence = first.wrapping_add(place as u32);
            datagram.extend(netlink::encode(
                RouteNetlinkMessage::NewAddress(request),
                flags,
                sequence,
            ));
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
