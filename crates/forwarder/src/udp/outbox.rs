//! Answers on their way to clients: sent together, once everything that has come was looked at. Who gets several wakes up
//! once.

use std::net::SocketAddr;

use super::batch::{self, BATCH};
use super::flow::FlowKey;
use super::socket::Socket;

/// Octets that wait at most, the last answer apart.
const MAX_OCTETS: usize = 64 * 1024;

/// Answers that wait, in order.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    octets: Vec<u8>,
    answers: Vec<Answer>,
}

#[derive(Debug)]
struct Answer {
    key: FlowKey,
    /// Where it ends among the octets; it begins where the one before ends.
    end: usize,
}

impl Outbox {
    /// True if nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.answers.is_empty()
    }

    /// True if what waits should go before more comes.
    pub(super) fn is_full(&self) -> bool {
        self.answers.len() >= BATCH || self.octets.len() >= MAX_OCTETS
    }

    /// Takes in an answer.
    pub(super) fn push(&mut self, key: FlowKey, answer: &[u8]) {
        self.octets.extend_from_slice(answer);
        let end = self.octets.len();
        self.answers.push(Answer { key, end });
    }

    /// Sends all of them; how many were taken, and how many were not.
    pub(super) fn send(&mut self, socket: &Socket) -> (usize, usize) {
        let count = self.answers.len();
        let mut begin = 0;
        let mut sent = 0;
        let mut room = [(SocketAddr::from(([0; 4], 0)), &[][..]); BATCH];
        let mut waiting = 0;
        for answer in &self.answers {
            let octets = &self.octets[begin..answer.end];
            begin = answer.end;
            let peer = answer.key.peer;
            match answer.key.local {
                Some(local) => {
                    sent += usize::from(batch::send_from(socket, local, peer, octets).is_ok());
                }
                None => {
                    room[waiting] = (peer, octets);
                    waiting += 1;
                }
            }
            if waiting == BATCH {
                sent += batch::send_to_each(socket, &room);
                waiting = 0;
            }
        }
        sent += batch::send_to_each(socket, &room[..waiting]);
        self.octets.clear();
        self.answers.clear();
        (sent, count - sent)
    }
}
