//! What is open for long, gathered from the threads.

use std::cmp::Reverse;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use super::{Forwarder, whole};
use crate::sessions::{SessionId, SessionQuery, Sessions};
use crate::worker::Command;

/// How long a thread may take to answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(2);

impl Forwarder {
    /// The connections of TCP and the tunnels that are open and match, the oldest first. Every connection is woken for it. Blocks until
    /// each thread has answered, 2 s at most; what a thread does not say in time is left out.
    pub fn sessions(&self, query: &SessionQuery) -> Sessions {
        let _one_at_a_time = whole(&self.asking);
        let (answer, answers) = mpsc::channel();
        drop(self.tell_all(|_| Command::Sessions(query.clone(), answer.clone())));
        drop(answer);
        let mut all = Sessions::default();
        for part in gathered(&answers) {
            all.total += part.total;
            all.listed.extend(part.listed);
        }
        all.listed.sort_by_key(|session| Reverse(session.age));
        all
    }

    /// Ends just these; the ones that were ended by it. A client of TCP and its target see a reset, a WebSocket is closed in its own words.
    /// Blocks as [`Forwarder::sessions`].
    pub fn end_sessions(&self, wanted: &[SessionId]) -> Vec<SessionId> {
        let _one_at_a_time = whole(&self.asking);
        let (answer, answers) = mpsc::channel();
        drop(self.tell_all(|thread| {
            let own = wanted.iter().filter(|id| id.thread as usize == thread);
            Command::EndSessions(own.map(|id| id.number).collect(), answer.clone())
        }));
        drop(answer);
        let mut ended = gathered(&answers).concat();
        ended.sort();
        ended
    }
}

/// What the threads answer in time.
fn gathered<T>(answers: &mpsc::Receiver<T>) -> Vec<T> {
    let limit_at = Instant::now() + ANSWER_LIMIT;
    let mut all = Vec::new();
    loop {
        match answers.recv_timeout(limit_at.saturating_duration_since(Instant::now())) {
            Ok(part) => all.push(part),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return all,
        }
    }
}
