//! The connections of a thread that may have to be woken to notice that their listener is closing, or their address goes.

use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::rc::Rc;
use std::task::Waker;

use crate::parting::Partings;
use crate::sessions::Census;

/// Wakers by place; a place is free when there is none.
#[derive(Debug, Default)]
pub(crate) struct Idlers {
    wakers: RefCell<Vec<Option<Waker>>>,
    free: RefCell<Vec<u32>>,
    ending: Cell<bool>,
    partings: Partings,
    census: Census,
}

impl Idlers {
    /// This process is about to end: tunnels must end before.
    pub(crate) fn end(&self) {
        self.ending.set(true);
        self.wake_all();
    }

    /// These addresses are about to go to the other node.
    pub(crate) fn part(&self, addresses: &[IpAddr]) {
        self.partings.part(addresses);
        self.wake_all();
    }

    /// These addresses go: whoever is still connected to them is cut.
    pub(crate) fn cut(&self, addresses: &[IpAddr]) {
        self.partings.cut(addresses);
        self.wake_all();
    }

    /// What is asked of the sessions of this thread.
    pub(crate) fn census(&self) -> &Census {
        &self.census
    }

    /// Wakes every connection.
    pub(crate) fn wake_all(&self) {
        for waker in self.wakers.borrow().iter().flatten() {
            waker.wake_by_ref();
        }
    }
}

/// The place of one connection.
#[derive(Debug)]
pub(crate) struct IdleSlot {
    idlers: Rc<Idlers>,
    place: Option<u32>,
    /// The number of the last cut before it came.
    born: u32,
}

impl IdleSlot {
    /// A connection that has not waited yet.
    pub(crate) fn new(idlers: &Rc<Idlers>) -> Self {
        Self {
            idlers: Rc::clone(idlers),
            place: None,
            born: idlers.partings.cuts(),
        }
    }

    /// True if clients of this address of ours are asked to come anew.
    pub(crate) fn is_parting(&self, local: IpAddr) -> bool {
        self.idlers.partings.is_parting(local)
    }

    /// True if this address of ours has gone to the other node since the connection came.
    pub(crate) fn is_cut(&self, local: IpAddr) -> bool {
        self.idlers.partings.is_cut(local, self.born)
    }

    /// What is asked of the sessions of this thread.
    pub(crate) fn census(&self) -> &Census {
        &self.idlers.census
    }

    /// True if a tunnel must end because this process is about to.
    pub(crate) fn must_end(&self) -> bool {
        self.idlers.ending.get()
    }

    /// Leaves the waker. A task keeps its waker, so that this is work once in the life of a connection.
    pub(crate) fn register(&mut self, waker: &Waker) {
        let mut wakers = self.idlers.wakers.borrow_mut();
        if let Some(place) = self.place {
            match &mut wakers[place as usize] {
                Some(known) if known.will_wake(waker) => {}
                known => *known = Some(waker.clone()),
            }
            return;
        }
        let place = self.idlers.free.borrow_mut().pop().unwrap_or_else(|| {
            wakers.push(None);
            u32::try_from(wakers.len() - 1).expect("no more than there are descriptors")
        });
        wakers[place as usize] = Some(waker.clone());
        self.place = Some(place);
    }
}

impl Drop for IdleSlot {
    fn drop(&mut self) {
        if let Some(place) = self.place {
            self.idlers.wakers.borrow_mut()[place as usize] = None;
            self.idlers.free.borrow_mut().push(place);
        }
    }
}
