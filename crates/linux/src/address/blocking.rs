//! Removing addresses without a runtime, for the process that acts when the others no longer can.
//!
//! It only removes: nothing here adds, renews or lists.

use std::cell::Cell;
use std::io;
use std::os::fd::OwnedFd;
use std::time::Instant;

use netlink_packet_core::{NLM_F_ACK, NLM_F_REQUEST};
use netlink_packet_route::RouteNetlinkMessage;
use rustix::net::SocketFlags;
use rustix::net::sockopt::{self, Timeout};

use super::kernel::absent_is_success;
use super::{TIME_LIMIT, Vip, message};
use crate::netlink;

/// Answers asked for at a time: few enough that they fit the socket's receive buffer.
const BATCH: usize = 64;

/// A netlink socket that was opened in advance and waits at most [`TIME_LIMIT`] for the answers of one batch.
#[derive(Debug)]
pub struct BlockingNetlink {
    socket: OwnedFd,
    sequence: Cell<u32>,
}

impl BlockingNetlink {
    /// Opens the socket, in the network namespace of the calling thread.
    ///
    /// # Errors
    /// What the system says when it gives no socket.
    pub fn open() -> io::Result<Self> {
        let socket = netlink::open(0, SocketFlags::empty())?;
        sockopt::set_socket_timeout(&socket, Timeout::Send, Some(TIME_LIMIT))?;
        sockopt::set_socket_timeout(&socket, Timeout::Recv, Some(TIME_LIMIT))?;
        Ok(Self {
            socket,
            sequence: Cell::new(0),
        })
    }

    /// Sends one removal; the sequence number its answer will carry.
    fn send(&self, vip: &Vip) -> io::Result<u32> {
        let sequence = self.sequence.get().wrapping_add(1);
        self.sequence.set(sequence);
        let request = RouteNetlinkMessage::DelAddress(message::remove(vip));
        let bytes = netlink::encode(request, NLM_F_REQUEST | NLM_F_ACK, sequence);
        netlink::send(&self.socket, &bytes)?;
        Ok(sequence)
    }

    /// Takes answers until each of `waiting` has its outcome in `outcomes`, or the time is up.
    fn collect(&self, waiting: &[u32], outcomes: &mut [io::Result<()>]) -> io::Result<()> {
        let mut buffer = vec![0; netlink::BUFFER];
        let deadline = Instant::now() + TIME_LIMIT;
        let mut missing = waiting.len();
        while missing > 0 {
            if Instant::now() >= deadline {
                return Err(no_answer());
            }
            let len = match netlink::receive(&self.socket, &mut buffer) {
                Ok(len) => len,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(no_answer()),
                Err(error) => return Err(error),
            };
            for frame in netlink::frames(&buffer[..len]) {
                let frame = frame?;
                let place = waiting.iter().position(|number| *number == frame.sequence);
                if let (Some(place), Some(outcome)) = (place, frame.result()) {
                    outcomes[place] = absent_is_success(outcome);
                    missing -= 1;
                }
            }
        }
        Ok(())
    }
}

fn no_answer() -> io::Error {
    io::Error::new(
        io::ErrorKind::TimedOut,
        "no answer from the kernel within a second",
    )
}

/// Removes one address. That it was not there, or that its link is gone, is success.
///
/// # Errors
/// What the kernel says, with the address and link in words; [`io::ErrorKind::TimedOut`] without an answer.
pub fn remove_blocking(socket: &BlockingNetlink, vip: &Vip) -> io::Result<()> {
    remove_all_blocking(socket, std::slice::from_ref(vip))
        .pop()
        .unwrap_or(Ok(()))
}

/// Removes all of `vips`, sending every request before it waits for the first answer. One outcome for each, in order.
pub fn remove_all_blocking(socket: &BlockingNetlink, vips: &[Vip]) -> Vec<io::Result<()>> {
    let mut all = Vec::with_capacity(vips.len());
    for batch in vips.chunks(BATCH) {
        all.extend(remove_batch(socket, batch));
    }
    all
}

fn remove_batch(socket: &BlockingNetlink, batch: &[Vip]) -> Vec<io::Result<()>> {
    let mut outcomes: Vec<io::Result<()>> = batch.iter().map(|_| Err(no_answer())).collect();
    let mut waiting = Vec::with_capacity(batch.len());
    for vip in batch {
        match socket.send(vip) {
            Ok(sequence) => waiting.push(sequence),
            Err(error) => {
                outcomes[waiting.len()] = Err(error);
                break;
            }
        }
    }
    if let Err(error) = socket.collect(&waiting, &mut outcomes) {
        for outcome in outcomes.iter_mut().filter(|outcome| outcome.is_err()) {
            *outcome = Err(io::Error::new(error.kind(), error.to_string()));
        }
    }
    batch
        .iter()
        .zip(outcomes)
        .map(|(vip, outcome)| outcome.map_err(|error| in_words(vip, &error)))
        .collect()
}

fn in_words(vip: &Vip, error: &io::Error) -> io::Error {
    io::Error::new(
        error.kind(),
        format!("cannot {}: {error}", super::Attempt::Remove(*vip)),
    )
}
