//! All virtual routers of the node, with what makes one event cost the same for one router as for a thousand.
//!
//! - Who was touched: whoever takes a router by `&mut` marks it, and only marked and due routers are looked at in a turn of the loop.
//! - The agenda: what each router has to do next, in order of time.
//! - The directory: who listens to which VRID on which wire.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Deref, Index, IndexMut};
use std::time::{Duration, Instant};

use vrrp::Vrid;

use super::grid::Grid;
use super::instance::{Instance, Notice};
use super::wires::{WireKey, Wires};

/// How long one that has left waits for others that are about to: with each removal positions and sockets are looked at anew.
const DEPARTURE: Duration = Duration::from_millis(50);

/// The virtual routers by position; a position holds until one is removed.
pub(super) struct Instances {
    grid: Grid,
    list: Vec<Instance>,
    positions: BTreeMap<u64, usize>,
    agenda: Agenda,
    leases: Leases,
    touched: BTreeSet<usize>,
    /// Since when one that has left waits to be removed.
    departed_at: Option<Instant>,
    /// What the keeper knows of these is out of date.
    unwilled: BTreeSet<usize>,
    /// Numbers of removed ones of which the keeper may still hold a part.
    bequeathed: BTreeSet<u64>,
    directory: BTreeMap<WireKey, BTreeMap<Vrid, Vec<usize>>>,
    directory_is_stale: bool,
}

impl Instances {
    /// None yet. Advertisements wait for each other on `grid`.
    pub(super) fn new(grid: Grid) -> Self {
        Self {
            grid,
            list: Vec::new(),
            positions: BTreeMap::new(),
            agenda: Agenda::default(),
            leases: Leases::default(),
            touched: BTreeSet::new(),
            departed_at: None,
            unwilled: BTreeSet::new(),
            bequeathed: BTreeSet::new(),
            directory: BTreeMap::new(),
            directory_is_stale: false,
        }
    }

    /// Adds one, at the last position.
    pub(super) fn push(&mut self, instance: Instance) {
        self.positions.insert(instance.number, self.list.len());
        self.touched.insert(self.list.len());
        self.list.push(instance);
        self.directory_is_stale = true;
    }

    /// The position of the one with this number.
    pub(super) fn position(&self, number: u64) -> Option<usize> {
        self.positions.get(&number).copied()
    }

    /// One of them, to note something on which neither its deadline nor its part of the last will depends: it does not count as touched.
    pub(super) fn quietly(&mut self, index: usize) -> &mut Instance {
        &mut self.list[index]
    }

    /// Removes those that have left for good, those that leave at about the same time together; whether it did.
    pub(super) fn remove_departed(&mut self, now: Instant) -> bool {
        let departed = |index: &usize| self.list[*index].has_departed();
        if self.departed_at.is_none() && self.touched.iter().any(departed) {
            self.departed_at = Some(now);
        }
        let Some(since) = self.departed_at else {
            return false;
        };
        let about_to = |instance: &Instance| instance.departing && !instance.has_departed();
        if now < since + DEPARTURE && self.list.iter().any(about_to) {
            return false;
        }
        self.departed_at = None;
        let departed = self.list.iter().filter(|instance| instance.has_departed());
        self.bequeathed
            .extend(departed.map(|instance| instance.number));
        self.list.retain(|instance| !instance.has_departed());
        self.positions = (self.list.iter().enumerate())
            .map(|(index, instance)| (instance.number, index))
            .collect();
        self.agenda = Agenda::default();
        self.leases = Leases::default();
        self.unwilled.clear();
        self.touched = (0..self.list.len()).collect();
        self.directory_is_stale = true;
        true
    }

    /// Lets the one at `index` take its place in a group, beside `mate` if there is one already.
    pub(super) fn join(
        &mut self,
        now: Instant,
        index: usize,
        group: &str,
        mate: Option<usize>,
        wires: &Wires,
    ) -> Vec<Notice> {
        self.touched.insert(index);
        let directives = match mate {
            None => self.list[index].router.join(now, group, None),
            Some(mate) => match self.list.get_disjoint_mut([index, mate]) {
                Ok([joining, mate]) => joining.router.join(now, group, Some(&mate.router)),
                Err(_) => Vec::new(),
            },
        };
        self.list[index].follow(now, directives, wires)
    }

    /// Has the others of its group looked at: what it leaves behind may have something due.
    pub(super) fn touch_mates(&mut self, index: usize) {
        let mates = self.list[index].router.mates().into_iter();
        let mates = mates.filter_map(|number| self.positions.get(&number));
        self.touched.extend(mates);
    }

    /// Those that something has happened to or that are due at `now`, by position.
    pub(super) fn in_turn(&self, now: Instant) -> Vec<usize> {
        let mut turn = self.touched.clone();
        turn.extend(self.agenda.due(now));
        turn.into_iter().collect()
    }

    /// Those that have a lease to renew at `now`, by lease; those of one lease all at the same instants, each quarter of it.
    pub(super) fn renewals_due(&mut self, now: Instant) -> Vec<(Duration, Vec<usize>)> {
        self.leases.due(now, self.grid)
    }

    /// Ends a turn: the agenda follows what has happened.
    pub(super) fn settle(&mut self) {
        for index in std::mem::take(&mut self.touched) {
            let instance = &self.list[index];
            self.agenda.set(index, instance.deadline(self.grid));
            self.leases.set(index, instance.lease_held());
            if instance.will_changed {
                self.unwilled.insert(index);
            }
        }
    }

    /// The earliest instant at which one of them is due, as of the last [`Instances::settle`].
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.agenda
            .earliest()
            .into_iter()
            .chain(self.leases.earliest())
            .chain(self.departed_at.map(|at| at + DEPARTURE))
            .min()
    }

    /// Those whose part of the last will is to be written again.
    pub(super) fn unwilled(&self) -> impl Iterator<Item = &Instance> {
        self.unwilled.iter().map(|index| &self.list[*index])
    }

    /// Numbers whose part of the last will is to be taken back.
    pub(super) fn bequeathed(&self) -> &BTreeSet<u64> {
        &self.bequeathed
    }

    /// Whether the keeper knows everything it should.
    pub(super) fn is_willed(&self) -> bool {
        self.unwilled.is_empty() && self.bequeathed.is_empty()
    }

    /// Their part of the will is with the keeper.
    pub(super) fn note_willed(&mut self) {
        self.bequeathed.clear();
        for index in std::mem::take(&mut self.unwilled) {
            self.list[index].will_changed = false;
        }
    }

    /// Makes the directory anew, after a configuration has changed in place.
    pub(super) fn note_layout_change(&mut self) {
        self.directory_is_stale = true;
    }

    /// Brings the directory up to date, if something has changed since.
    pub(super) fn refresh_directory(&mut self) {
        if !std::mem::take(&mut self.directory_is_stale) {
            return;
        }
        self.directory.clear();
        for (index, instance) in self.list.iter().enumerate() {
            // Nothing is received on those that only send; they are here to be used.
            for key in instance
                .wire_keys()
                .into_iter()
                .chain(instance.sender_keys())
            {
                let listeners = self.directory.entry(key).or_default();
                let vrid = instance.config.settings.vrid;
                let here = listeners.entry(vrid).or_default();
                // Most receive and send on one wire: what comes in there concerns them once.
                if here.last() != Some(&index) {
                    here.push(index);
                }
            }
        }
    }

    /// The virtual routers of this id on this wire, as of the last [`Instances::refresh_directory`]: one, or two while a reload replaces
    /// one by the other.
    pub(super) fn listening(&self, key: &WireKey, vrid: Vrid) -> &[usize] {
        let found = self.directory.get(key).and_then(|wire| wire.get(&vrid));
        found.map_or(&[], Vec::as_slice)
    }

    /// Every wire that one of them uses, as of the last [`Instances::refresh_directory`].
    pub(super) fn uses(&self, key: &WireKey) -> bool {
        self.directory.contains_key(key)
    }
}

impl Deref for Instances {
    type Target = [Instance];

    fn deref(&self) -> &[Instance] {
        &self.list
    }
}

impl<'i> IntoIterator for &'i Instances {
    type Item = &'i Instance;
    type IntoIter = std::slice::Iter<'i, Instance>;

    fn into_iter(self) -> Self::IntoIter {
        self.list.iter()
    }
}

impl Index<usize> for Instances {
    type Output = Instance;

    fn index(&self, index: usize) -> &Instance {
        &self.list[index]
    }
}

impl IndexMut<usize> for Instances {
    fn index_mut(&mut self, index: usize) -> &mut Instance {
        self.touched.insert(index);
        &mut self.list[index]
    }
}

/// Deadlines by position, earliest first.
#[derive(Debug, Default)]
struct Agenda {
    by_time: BTreeSet<(Instant, usize)>,
    by_position: BTreeMap<usize, Instant>,
}

impl Agenda {
    fn set(&mut self, index: usize, at: Option<Instant>) {
        let old = match at {
            Some(at) => self.by_position.insert(index, at),
            None => self.by_position.remove(&index),
        };
        if old == at {
            return;
        }
        if let Some(old) = old {
            self.by_time.remove(&(old, index));
        }
        self.by_time.extend(at.map(|at| (at, index)));
    }

    fn due(&self, now: Instant) -> impl Iterator<Item = usize> + '_ {
        self.by_time
            .range(..=(now, usize::MAX))
            .map(|(_, index)| *index)
    }

    fn earliest(&self) -> Option<Instant> {
        self.by_time.first().map(|(at, _)| *at)
    }
}

/// Who holds addresses by which lease.
#[derive(Debug, Default)]
struct Leases {
    by_position: BTreeMap<usize, Duration>,
    by_length: BTreeMap<Duration, Holders>,
}

#[derive(Debug, Default)]
struct Holders {
    /// None until the next turn.
    renew_at: Option<Instant>,
    positions: BTreeSet<usize>,
}

impl Leases {
    fn set(&mut self, index: usize, lease: Option<Duration>) {
        let old = match lease {
            Some(lease) => self.by_position.insert(index, lease),
            None => self.by_position.remove(&index),
        };
        if old == lease {
            return;
        }
        if let Some(old) = old
            && let Some(holders) = self.by_length.get_mut(&old)
        {
            holders.positions.remove(&index);
            if holders.positions.is_empty() {
                self.by_length.remove(&old);
            }
        }
        if let Some(lease) = lease {
            self.by_length
                .entry(lease)
                .or_default()
                .positions
                .insert(index);
        }
    }

    fn due(&mut self, now: Instant, grid: Grid) -> Vec<(Duration, Vec<usize>)> {
        let mut due = Vec::new();
        for (lease, holders) in &mut self.by_length {
            if holders.renew_at.is_some_and(|at| now < at) {
                continue;
            }
            if holders.renew_at.is_some() {
                due.push((*lease, holders.positions.iter().copied().collect()));
            }
            holders.renew_at = Some(grid.after(now, *lease / 4));
        }
        due
    }

    fn earliest(&self) -> Option<Instant> {
        let holders = self.by_length.values();
        holders.filter_map(|holders| holders.renew_at).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_leases_are_renewed_at_the_same_instants() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let grid = Grid::beginning_at(start);
        let (two, four) = (Duration::from_secs(2), Duration::from_secs(4));
        let mut leases = Leases::default();
        leases.set(0, Some(two));
        assert_eq!(leases.due(at(120), grid), []);
        assert_eq!(leases.earliest(), Some(at(500)));
        leases.set(1, Some(two));
        leases.set(2, Some(four));
        assert_eq!(leases.due(at(499), grid), []);
        assert_eq!(leases.due(at(501), grid), [(two, vec![0, 1])]);
        assert_eq!(
            leases.due(at(1000), grid),
            [(two, vec![0, 1]), (four, vec![2])]
        );
        leases.set(0, None);
        leases.set(1, Some(four));
        assert_eq!(leases.due(at(2000), grid), [(four, vec![1, 2])]);
        leases.set(1, None);
        leases.set(2, None);
        assert_eq!(
            (leases.due(at(9000), grid), leases.earliest()),
            (vec![], None)
        );
    }

    #[test]
    fn the_agenda_knows_each_position_once_and_gives_what_is_due() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut agenda = Agenda::default();
        agenda.set(0, Some(at(30)));
        agenda.set(1, Some(at(10)));
        agenda.set(2, Some(at(20)));
        agenda.set(2, Some(at(20)));
        assert_eq!(agenda.earliest(), Some(at(10)));
        assert_eq!(agenda.due(at(20)).collect::<Vec<_>>(), [1, 2]);
        agenda.set(1, None);
        agenda.set(2, Some(at(40)));
        assert_eq!(agenda.due(at(29)).count(), 0);
        assert_eq!(agenda.due(at(99)).collect::<Vec<_>>(), [0, 2]);
        agenda.set(0, None);
        agenda.set(2, None);
        assert_eq!((agenda.earliest(), agenda.by_time.len()), (None, 0));
    }
}
