//! From a plan that fails to a small one that fails: what can be left out is left out, until nothing can.

use vrrp::Family;

use super::plan::{Blow, Plan, What};

/// The smallest plan found. `fails` must hold for the plan that is given, and is asked often.
pub(crate) fn shrink(plan: &Plan, fails: impl Fn(&Plan) -> bool) -> Plan {
    let mut best = plan.clone();
    loop {
        let before = best.troubles.len();
        best = fewer_troubles(best, &fails);
        let mut less = best.troubles.len() < before;
        while let Some(simpler) = best.simpler().into_iter().find(&fails) {
            best = simpler;
            less = true;
        }
        if !less {
            return best;
        }
    }
}

/// Leaves out all troubles, then halves of them, quarters, and so on down to single ones.
fn fewer_troubles(mut best: Plan, fails: impl Fn(&Plan) -> bool) -> Plan {
    let mut count = best.troubles.len();
    while count > 0 {
        let mut from = 0;
        while from < best.troubles.len() {
            let to = (from + count).min(best.troubles.len());
            let mut fewer = best.clone();
            fewer.troubles.drain(from..to);
            if fails(&fewer) {
                best = fewer;
            } else {
                from = to;
            }
        }
        count /= 2;
    }
    best
}

impl Plan {
    /// Every plan that has one thing less than this one, troubles aside.
    fn simpler(&self) -> Vec<Self> {
        let mut all = Vec::new();
        let nodes = (0..self.nodes.len()).filter(|&node| self.nodes[node].starts_at.is_some());
        all.extend(nodes.map(|node| self.without_node(node)));
        if self.wires() > 1 {
            all.extend((0..self.wires()).map(|wire| self.without_wire(wire)));
        }
        all.extend(
            Family::ALL
                .into_iter()
                .filter_map(|family| self.without_family(family)),
        );
        if self.has_keys() {
            all.push(self.without_keys());
        }
        if self.apart.contains(&true) {
            let mut plan = self.clone();
            plan.apart.fill(false);
            all.push(plan);
        }
        if !self.smooth {
            all.push(Self {
                smooth: true,
                ..self.clone()
            });
        }
        all
    }

    fn without_node(&self, gone: usize) -> Self {
        let mut plan = self.clone();
        plan.nodes[gone].starts_at = None;
        plan.troubles.retain(|trouble| match trouble.what {
            What::Loss(_) | What::Mend => true,
            What::Cut { from, to, .. } => from != gone && to != gone,
            What::Node { node, .. } => node != gone,
        });
        plan
    }

    fn without_keys(&self) -> Self {
        let mut plan = self.clone();
        plan.ring_at_last = None;
        plan.nodes.iter_mut().for_each(|node| node.ring = None);
        plan.troubles.retain(|trouble| {
            let What::Node { blow, .. } = &trouble.what else {
                return true;
            };
            !matches!(blow, Blow::Keys(_) | Blow::Forge(_) | Blow::Clock { .. })
        });
        plan
    }

    fn without_wire(&self, gone: usize) -> Self {
        let mut plan = self.clone();
        plan.apart.remove(gone);
        for node in &mut plan.nodes {
            node.members.remove(gone);
        }
        plan.troubles.retain_mut(|trouble| {
            let member = match &mut trouble.what {
                What::Cut { wire, .. } => wire.as_mut(),
                What::Node { blow, .. } => blow.member(),
                What::Loss(_) | What::Mend => None,
            };
            let Some(member) = member else { return true };
            let stays = *member != gone;
            *member -= usize::from(*member > gone);
            stays
        });
        plan
    }

    /// None if some member has no other family.
    fn without_family(&self, gone: Family) -> Option<Self> {
        let mut plan = self.clone();
        let members = plan.nodes.iter_mut().flat_map(|node| &mut node.members);
        let mut less = false;
        for member in members {
            less |= member.has_family(gone);
            member.vips.retain(|&vip| Family::of(vip) != gone);
            if member.vips.is_empty() {
                return None;
            }
        }
        plan.troubles.retain(|trouble| {
            !matches!(&trouble.what, What::Node { blow: Blow::Source { family, .. }, .. } if *family == gone)
        });
        less.then_some(plan)
    }
}
