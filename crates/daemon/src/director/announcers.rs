//! The sockets that announce, one for each link and hardware address, and the pace at which the virtual routers there may use them: a
//! switch drops what hundreds of them would say at once.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::ops::Deref;
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};

use linux::neighbour::Announcer;

/// What one frame takes of the time of a link: 5,000 frames a second.
const FRAME_TIME: Duration = Duration::from_micros(200);
/// Frames that may leave at once after a pause.
const BURST: u32 = 100;

/// Those that are in use.
#[derive(Debug, Clone, Default)]
pub(super) struct Announcers(Rc<RefCell<Open>>);

/// By index of the link and hardware address.
#[derive(Debug, Default)]
struct Open {
    outlets: BTreeMap<(u32, [u8; 6]), Weak<Outlet>>,
}

impl Announcers {
    /// The one of this link and hardware address, opened if nobody uses it yet. It is closed when nobody does any more.
    ///
    /// # Errors
    /// As [`Announcer::open`].
    pub(super) fn open(&self, ifindex: u32, mac: [u8; 6]) -> io::Result<Rc<Outlet>> {
        let open = &mut self.0.borrow_mut().outlets;
        open.retain(|_, outlet| outlet.strong_count() > 0);
        if let Some(outlet) = open.get(&(ifindex, mac)).and_then(Weak::upgrade) {
            return Ok(outlet);
        }
        let outlet = Rc::new(Outlet {
            announcer: Announcer::open(ifindex, mac)?,
            pace: Pace::default(),
        });
        open.insert((ifindex, mac), Rc::downgrade(&outlet));
        Ok(outlet)
    }
}

/// A socket that announces, and its pace.
#[derive(Debug)]
pub(super) struct Outlet {
    announcer: Announcer,
    pace: Pace,
}

impl Outlet {
    /// When this many frames may leave: now, or at a later instant that is kept for them. Whoever asks first goes first.
    pub(super) fn place(&self, now: Instant, frames: usize) -> Instant {
        self.pace
            .place(now, u32::try_from(frames).unwrap_or(u32::MAX))
    }
}

impl Deref for Outlet {
    type Target = Announcer;

    fn deref(&self) -> &Announcer {
        &self.announcer
    }
}

/// The time of a link, given away frame by frame.
#[derive(Debug, Default)]
struct Pace {
    /// Until when it is given away.
    taken_until: Cell<Option<Instant>>,
}

impl Pace {
    fn place(&self, now: Instant, frames: u32) -> Instant {
        let taken = self.taken_until.get().map_or(now, |taken| taken.max(now));
        self.taken_until
            .set(Some(taken + FRAME_TIME.saturating_mul(frames)));
        taken
            .checked_sub(FRAME_TIME * BURST)
            .map_or(now, |at| at.max(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_leaves_at_once_and_the_rest_takes_its_time() {
        let (pace, start) = (Pace::default(), Instant::now());
        let at = |ms| start + Duration::from_millis(ms);
        // 250 virtual routers with two frames each: 100 ms of the link, of which 20 may be borrowed.
        let places: Vec<Instant> = (0..250).map(|_| pace.place(start, 2)).collect();
        assert!(places.is_sorted());
        assert_eq!((places[0], places[49], places[50]), (start, start, start));
        assert_eq!(places[100], at(20));
        assert_eq!(places[249], start + Duration::from_micros(99_600 - 20_000));
        // Nobody has said anything for a while.
        assert_eq!(pace.place(at(5_000), 2), at(5_000));
        assert_eq!(pace.place(at(5_000), 98), at(5_000));
    }
}
