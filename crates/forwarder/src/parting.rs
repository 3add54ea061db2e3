//! Addresses that go to the other node, as the connections of one thread see it.
//!
//! ```text
//!   Part ──► clients there are told to come anew: GOAWAY, Connection: close; what is under way goes on
//!   Cut  ──► what is left is ended while the address is still here, so that its clients hear of it
//! ```
//!
//! New connections may come all the while, and after the cut they are none of those that are meant.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// How long clients are asked to come anew, should the address stay after all.
const ASKED: Duration = Duration::from_secs(3);
/// Addresses whose cuts are remembered; a node has fewer.
const MAX_REMEMBERED: usize = 4096;

/// What is known of addresses that go.
#[derive(Debug, Default)]
pub(crate) struct Partings {
    /// Those about to go, each until a time.
    parting: RefCell<Vec<(IpAddr, Instant)>>,
    any: Cell<bool>,
    /// Number of the last cut.
    cuts: Cell<u32>,
    /// The number of each address's last cut.
    cut: RefCell<BTreeMap<IpAddr, u32>>,
}

impl Partings {
    /// These are about to go.
    pub(crate) fn part(&self, addresses: &[IpAddr]) {
        let until = Instant::now() + ASKED;
        let mut parting = self.parting.borrow_mut();
        parting.retain(|(address, _)| !addresses.contains(address));
        parting.extend(addresses.iter().map(|address| (*address, until)));
        self.any.set(!parting.is_empty());
    }

    /// These are as good as gone.
    pub(crate) fn cut(&self, addresses: &[IpAddr]) {
        let mut parting = self.parting.borrow_mut();
        parting.retain(|(address, _)| !addresses.contains(address));
        self.any.set(!parting.is_empty());
        let number = self.cuts.get().wrapping_add(1);
        self.cuts.set(number);
        let mut cut = self.cut.borrow_mut();
        if cut.len() + addresses.len() > MAX_REMEMBERED {
            cut.clear();
        }
        cut.extend(addresses.iter().map(|address| (*address, number)));
    }

    /// The number of the last cut: those before it do not concern who comes now.
    pub(crate) fn cuts(&self) -> u32 {
        self.cuts.get()
    }

    /// True if clients of this address are asked to come anew.
    pub(crate) fn is_parting(&self, address: IpAddr) -> bool {
        if !self.any.get() {
            return false;
        }
        let now = Instant::now();
        let mut parting = self.parting.borrow_mut();
        parting.retain(|(_, until)| *until > now);
        self.any.set(!parting.is_empty());
        parting.iter().any(|(other, _)| *other == address)
    }

    /// True if this address was cut after cut number `since`.
    pub(crate) fn is_cut(&self, address: IpAddr, since: u32) -> bool {
        let news = self.cuts.get().wrapping_sub(since);
        news != 0 && {
            let cut = self.cut.borrow();
            let last = cut.get(&address);
            last.is_some_and(|last| (1..=news).contains(&last.wrapping_sub(since)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_comes_after_a_cut_is_not_meant() {
        let [one, two] = [[10, 0, 0, 10], [10, 0, 0, 11]].map(IpAddr::from);
        let partings = Partings::default();
        let before = partings.cuts();
        partings.part(&[one]);
        assert!(partings.is_parting(one) && !partings.is_parting(two));
        assert!(!partings.is_cut(one, before));
        partings.cut(&[one]);
        let after = partings.cuts();
        assert!(!partings.is_parting(one), "what comes now comes to stay");
        assert!(partings.is_cut(one, before) && !partings.is_cut(two, before));
        assert!(!partings.is_cut(one, after));
        partings.cut(&[two]);
        assert!(partings.is_cut(one, before) && partings.is_cut(two, after));
        assert!(!partings.is_cut(one, after));
    }
}
