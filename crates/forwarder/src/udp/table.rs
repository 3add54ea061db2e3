//! The flows of one listening socket, and who makes room when there are too many.

use std::collections::{BTreeMap, HashMap};
use std::rc::{Rc, Weak};
use std::time::Instant;

use super::flow::{Flow, FlowKey};

/// Flows looked at before one that is in use has to go.
const MAX_LOOKS: usize = 64;

/// Flows by client. Whoever ends a flow takes it out.
#[derive(Debug, Default)]
pub(super) struct Table {
    flows: HashMap<FlowKey, Rc<Flow>>,
    /// Each flow once, some that are gone, by when something had moved in it when it was looked at last, and a number.
    line: BTreeMap<(Instant, u64), Weak<Flow>>,
    numbers: u64,
}

impl Table {
    /// The flow of a client.
    pub(super) fn get(&self, key: &FlowKey) -> Option<&Rc<Flow>> {
        self.flows.get(key)
    }

    /// Every flow.
    pub(super) fn all(&self) -> impl Iterator<Item = &Rc<Flow>> {
        self.flows.values()
    }

    /// Takes in a flow.
    pub(super) fn insert(&mut self, flow: Rc<Flow>) {
        if self.line.len() > 2 * self.flows.len() + MAX_LOOKS {
            self.line.retain(|_, flow| flow.strong_count() > 0);
        }
        self.queue(&flow);
        self.flows.insert(*flow.key(), flow);
    }

    /// Takes out this flow, if it is there.
    pub(super) fn remove(&mut self, flow: &Rc<Flow>) {
        let same = |known: &Rc<Flow>| Rc::ptr_eq(known, flow);
        if self.flows.get(flow.key()).is_some_and(same) {
            self.flows.remove(flow.key());
        }
    }

    fn queue(&mut self, flow: &Rc<Flow>) {
        self.numbers += 1;
        let place = (flow.moved_at(), self.numbers);
        self.line.insert(place, Rc::downgrade(flow));
    }

    /// Takes out the flow in which nothing has moved for the longest time; where many have moved since they were looked
    /// at last, for about the longest.
    pub(super) fn evict(&mut self) -> Option<Rc<Flow>> {
        let mut looks = 0;
        while let Some(((moved_at, _), weak)) = self.line.pop_first() {
            let Some(flow) = weak.upgrade().filter(|flow| !flow.is_over()) else {
                continue;
            };
            looks += 1;
            if flow.moved_at() > moved_at && looks <= MAX_LOOKS {
                self.queue(&flow);
                continue;
            }
            self.remove(&flow);
            return Some(flow);
        }
        None
    }
}
