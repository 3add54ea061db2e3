//! From a plan that fails to a small one that fails: what can be left out is left out, until nothing can.

use super::plan::Plan;

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
