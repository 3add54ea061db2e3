//! What is open for long: connections of TCP and tunnels, listed and ended one by one when somebody asks.
//!
//! Nothing is kept of them for that. Whoever asks wakes the connections of a thread, and each that relays bytes says what it is when it
//! has its turn; one whose number is named then ends. Asking costs a thread a turn of each of its connections, and the relay of bytes a
//! look at a number of its own thread.

use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::{Duration, Instant};

use balancer::{Group, Target};

use crate::relay::Moved;

/// Sessions told of by one thread at most, the oldest ones.
const MAX_TOLD: usize = 1000;

/// Which session: never given again while the process runs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SessionId {
    /// Number of its thread, from 0.
    pub thread: u32,
    /// Its number there.
    pub number: u64,
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.thread, self.number)
    }
}

impl FromStr for SessionId {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (thread, number) = text.split_once('.').ok_or(())?;
        Ok(Self {
            thread: thread.parse().map_err(drop)?,
            number: number.parse().map_err(drop)?,
        })
    }
}

/// Which sessions are asked for; what is `None` plays no part.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SessionQuery {
    /// At least so old.
    pub older: Duration,
    /// Of this listener.
    pub listener: Option<String>,
    /// Of this group.
    pub group: Option<String>,
    /// Of this target of the group.
    pub target: Option<String>,
}

/// One that is open.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Session {
    /// Its number.
    pub id: SessionId,
    /// True for a request that was answered with another protocol, such as WebSocket; false for a connection of TCP.
    pub tunnel: bool,
    /// Name of its listener.
    pub listener: String,
    /// Name of its group.
    pub group: String,
    /// Name of its target.
    pub target: String,
    /// Whose it is, as the listener sees it.
    pub client: SocketAddr,
    /// How long it has been open.
    pub age: Duration,
    /// Bytes from the client to the target, and back.
    pub bytes: (u64, u64),
}

/// Those that were asked for.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Sessions {
    /// The oldest first; no more than a thousand for each thread.
    pub listed: Vec<Session>,
    /// How many there are.
    pub total: u64,
}

/// What a session says of itself.
pub(crate) struct Subject<'s> {
    pub(crate) listener: &'s str,
    pub(crate) group: &'s Group,
    pub(crate) target: &'s Target,
    pub(crate) client: SocketAddr,
    pub(crate) begun_at: Instant,
    pub(crate) moved: &'s Moved,
    pub(crate) tunnel: bool,
}

/// What is asked of the sessions of a thread.
#[derive(Debug, Default)]
pub(crate) struct Census {
    /// Grows with each question, so that every session answers once.
    asked: Cell<u32>,
    numbered: Cell<u64>,
    query: RefCell<SessionQuery>,
    found: RefCell<Sessions>,
    condemned: RefCell<Vec<u64>>,
    ended: RefCell<Vec<u64>>,
}

impl Census {
    /// Asks those who match to say what they are. They have to be woken.
    pub(crate) fn ask(&self, query: SessionQuery) {
        *self.query.borrow_mut() = query;
        *self.found.borrow_mut() = Sessions::default();
        self.asked.set(self.asked.get().wrapping_add(1));
    }

    /// What they have said.
    pub(crate) fn answers(&self) -> Sessions {
        let mut found = self.found.take();
        keep_oldest(&mut found.listed);
        found
    }

    /// Those of these numbers end when they have their turn.
    pub(crate) fn condemn(&self, numbers: Vec<u64>) {
        self.ended.borrow_mut().clear();
        *self.condemned.borrow_mut() = numbers;
    }

    /// Those that have ended for it.
    pub(crate) fn ended(&self) -> Vec<u64> {
        self.condemned.borrow_mut().clear();
        self.ended.take()
    }
}

/// One session's part in a census.
pub(crate) struct Member {
    answered: u32,
    number: Option<u64>,
}

impl Member {
    /// One that has nothing to say to what was asked before it.
    pub(crate) fn new(census: &Census) -> Self {
        Self {
            answered: census.asked.get(),
            number: None,
        }
    }

    /// Says what it is, if that is asked and not said; true if it is to end.
    pub(crate) fn take_part(
        &mut self,
        census: &Census,
        thread: usize,
        subject: &Subject<'_>,
    ) -> bool {
        if self.answered != census.asked.get() {
            self.answered = census.asked.get();
            self.answer(census, thread, subject);
        }
        // Nobody is named who has not said its number.
        let Some(number) = self.number else {
            return false;
        };
        let condemned = census.condemned.borrow().contains(&number);
        if condemned {
            census.ended.borrow_mut().push(number);
        }
        condemned
    }

    fn answer(&mut self, census: &Census, thread: usize, subject: &Subject<'_>) {
        let age = subject.begun_at.elapsed();
        let (group, target) = (
            &subject.group.settings().name,
            &subject.target.settings().name,
        );
        let query = census.query.borrow();
        let is = |wanted: &Option<String>, name: &str| {
            wanted.as_ref().is_none_or(|wanted| wanted == name)
        };
        let wanted = age >= query.older
            && is(&query.listener, subject.listener)
            && is(&query.group, group)
            && is(&query.target, target);
        if !wanted {
            return;
        }
        let number = *self.number.get_or_insert_with(|| {
            census.numbered.set(census.numbered.get() + 1);
            census.numbered.get()
        });
        let mut found = census.found.borrow_mut();
        found.total += 1;
        found.listed.push(Session {
            id: SessionId {
                thread: u32::try_from(thread).unwrap_or(u32::MAX),
                number,
            },
            tunnel: subject.tunnel,
            listener: subject.listener.to_owned(),
            group: group.clone(),
            target: target.clone(),
            client: subject.client,
            age,
            bytes: (subject.moved.up.count(), subject.moved.down.count()),
        });
        if found.listed.len() >= 2 * MAX_TOLD {
            keep_oldest(&mut found.listed);
        }
    }
}

fn keep_oldest(sessions: &mut Vec<Session>) {
    sessions.sort_by_key(|session| Reverse(session.age));
    sessions.truncate(MAX_TOLD);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_written_and_read() {
        let id = SessionId {
            thread: 1,
            number: 17,
        };
        assert_eq!(id.to_string(), "1.17");
        assert_eq!("1.17".parse(), Ok(id));
        for bad in ["", "17", "1.", ".17", "1.17.2", "-1.17", "1.x"] {
            assert_eq!(bad.parse::<SessionId>(), Err(()), "{bad}");
        }
    }
}
