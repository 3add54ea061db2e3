//! Removing addresses and setting links down without a runtime, for the process that acts when the others no longer can.
//!
//! It only takes away: nothing here adds, renews or lists.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::OwnedFd;
use std::time::Instant;

use netlink_packet_core::{NLM_F_ACK, NLM_F_REQUEST};
use netlink_packet_route::RouteNetlinkMessage;
use rustix::net::SocketFlags;
use rustix::net::sockopt::{self, Timeout};

use super::kernel::absent_is_success;
use super::virtual_link::switch;
use super::{Attempt, TIME_LIMIT, Vip, message};
use crate::netlink;

/// Answers asked for at a time: few enough that they fit the socket's receive buffer.
const BATCH: usize = 64;

/// A netlink socket that was opened in advance and waits at most [`TIME_LIMIT`] for the answers of one batch.
#[derive(Debug)]
pub struct BlockingNetlink {
    socket: OwnedFd,
    sequence: Cell<u32>,
    buffer: RefCell<Vec<u8>>,
}

/// A request that was sent: its sequence number, and what became of it.
struct Asked {
    sequence: u32,
    outcome: Option<io::Result<()>>,
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
            buffer: RefCell::new(vec![0; netlink::BUFFER]),
        })
    }

    fn send(&self, request: RouteNetlinkMessage) -> Asked {
        let sequence = self.sequence.get().wrapping_add(1);
        self.sequence.set(sequence);
        let bytes = netlink::encode(request, NLM_F_REQUEST | NLM_F_ACK, sequence);
        let failed = netlink::send(&self.socket, &bytes).err();
        Asked {
            sequence,
            outcome: failed.map(Err),
        }
    }

    /// Takes answers until every request has its outcome. An error leaves some without.
    fn collect(&self, asked: &mut [Asked]) -> io::Result<()> {
        let mut buffer = self.buffer.borrow_mut();
        let deadline = Instant::now() + TIME_LIMIT;
        while asked.iter().any(|asked| asked.outcome.is_none()) {
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
                let answered = asked
                    .iter_mut()
                    .find(|asked| asked.sequence == frame.sequence);
                if let (Some(answered), Some(outcome)) = (answered, frame.result()) {
                    answered.outcome = Some(absent_is_success(outcome));
                }
            }
        }
        Ok(())
    }
}

impl BlockingNetlink {
    /// Sends all requests before it waits for the first answer. `attempts` names them in the same order.
    fn ask_all(
        &self,
        requests: impl Iterator<Item = RouteNetlinkMessage>,
        attempts: impl Iterator<Item = Attempt>,
    ) -> Vec<io::Result<()>> {
        let mut asked: Vec<Asked> = requests.map(|request| self.send(request)).collect();
        let failure = self.collect(&mut asked).err();
        let unanswered = || match &failure {
            Some(error) => Err(io::Error::new(error.kind(), error.to_string())),
            None => Err(no_answer()),
        };
        asked
            .into_iter()
            .zip(attempts)
            .map(|(asked, attempt)| {
                let outcome = asked.outcome.unwrap_or_else(unanswered);
                outcome.map_err(|error| {
                    io::Error::new(error.kind(), format!("cannot {attempt}: {error}"))
                })
            })
            .collect()
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

/// Removes all of `vips`, sending many requests before it waits for the first answer. One outcome for each, in order.
pub fn remove_all_blocking(socket: &BlockingNetlink, vips: &[Vip]) -> Vec<io::Result<()>> {
    vips.chunks(BATCH)
        .flat_map(|batch| remove_batch(socket, batch))
        .collect()
}

fn remove_batch(socket: &BlockingNetlink, batch: &[Vip]) -> Vec<io::Result<()>> {
    let request = |vip| RouteNetlinkMessage::DelAddress(message::remove(vip));
    let attempts = batch.iter().map(|vip| Attempt::Remove(*vip));
    socket.ask_all(batch.iter().map(request), attempts)
}

/// Sets links down, so that nothing leaves through them any more. A link that is gone is down. One outcome for each, in order.
pub fn set_down_blocking(socket: &BlockingNetlink, links: &[u32]) -> Vec<io::Result<()>> {
    let down = |ifindex: &u32| RouteNetlinkMessage::SetLink(switch(*ifindex, false));
    let attempt = |ifindex: &u32| Attempt::SetLink {
        ifindex: *ifindex,
        up: false,
    };
    links
        .chunks(BATCH)
        .flat_map(|batch| socket.ask_all(batch.iter().map(down), batch.iter().map(attempt)))
        .collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_silent_kernel_is_given_up_after_the_time_limit() {
        let socket = BlockingNetlink::open().unwrap();
        let mut never_sent = [Asked {
            sequence: 4711,
            outcome: None,
        }];
        let started_at = Instant::now();
        let error = socket.collect(&mut never_sent).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        let waited = started_at.elapsed();
        assert!(waited >= Duration::from_millis(990), "{waited:?}");
        assert!(waited < Duration::from_secs(10), "{waited:?}");
    }
}
