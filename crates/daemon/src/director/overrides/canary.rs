//! A canary, or a switch, in weights: one group of a rule gets so many percent, the others share the rest as they did.

use std::collections::BTreeMap;

/// Weights of all groups of a rule, 100 in all, so that `group` has `percent` of them. The others keep their proportions: those of `now`,
/// or where they all have nothing by now those of the file, or else the same each.
pub(super) fn weights(
    file: &[(String, u32)],
    now: &[(String, u32)],
    group: &str,
    percent: u32,
) -> BTreeMap<String, u32> {
    let others = |shares: &[(String, u32)]| -> Vec<(String, u32)> {
        let others = shares.iter().filter(|(name, _)| name != group);
        others.cloned().collect()
    };
    let any = |shares: &[(String, u32)]| shares.iter().any(|(_, weight)| *weight > 0);
    let mut rest = others(now);
    if !any(&rest) {
        rest = others(file);
    }
    if !any(&rest) {
        rest.iter_mut().for_each(|(_, weight)| *weight = 1);
    }
    let percent = percent.min(100);
    let mut weights = divided(&rest, 100 - percent);
    weights.insert(group.to_owned(), percent);
    weights
}

/// So many parts, divided in these proportions; what does not divide evenly goes to those who are furthest from their due.
fn divided(shares: &[(String, u32)], parts: u32) -> BTreeMap<String, u32> {
    let total: u64 = shares.iter().map(|(_, weight)| u64::from(*weight)).sum();
    let due = |weight: u32| u64::from(weight) * u64::from(parts);
    let mut left = parts;
    let mut open: Vec<(u64, &String)> = Vec::new();
    let mut divided = BTreeMap::new();
    for (name, weight) in shares {
        // No more than `parts`, which is no more than 100.
        let whole = due(*weight).checked_div(total).unwrap_or(0) as u32;
        left -= whole;
        open.push((due(*weight).checked_rem(total).unwrap_or(0), name));
        divided.insert(name.clone(), whole);
    }
    open.sort_by(|(a, _), (b, _)| b.cmp(a));
    for (_, name) in open.into_iter().take(left as usize) {
        *divided.entry(name.clone()).or_default() += 1;
    }
    divided
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shares(weights: &[(&str, u32)]) -> Vec<(String, u32)> {
        let own = |(name, weight): &(&str, u32)| ((*name).to_owned(), *weight);
        weights.iter().map(own).collect()
    }

    fn weighed(file: &[(&str, u32)], now: &[(&str, u32)], percent: u32) -> Vec<(String, u32)> {
        let all = weights(&shares(file), &shares(now), "new", percent);
        all.into_iter().collect()
    }

    #[test]
    fn the_others_share_the_rest_as_they_did() {
        let file = [("a", 95), ("new", 5)];
        assert_eq!(weighed(&file, &file, 25), shares(&[("a", 75), ("new", 25)]));
        let file = [("a", 2), ("b", 1), ("new", 0)];
        let expected = shares(&[("a", 60), ("b", 30), ("new", 10)]);
        assert_eq!(weighed(&file, &file, 10), expected);
        // 66 2/3 and 33 1/3.
        let expected = shares(&[("a", 67), ("b", 33), ("new", 0)]);
        assert_eq!(weighed(&file, &file, 0), expected);
        let now = [("a", 1), ("b", 1), ("new", 1)];
        let expected = shares(&[("a", 38), ("b", 37), ("new", 25)]);
        assert_eq!(weighed(&file, &now, 25), expected);
    }

    #[test]
    fn after_a_switch_the_way_back_is_that_of_the_file() {
        let file = [("a", 3), ("b", 1), ("new", 0)];
        let switched = weights(&shares(&file), &shares(&file), "new", 100);
        let switched: Vec<_> = switched.into_iter().collect();
        assert_eq!(switched, shares(&[("a", 0), ("b", 0), ("new", 100)]));
        let back = weights(&shares(&file), &switched, "new", 20);
        let back: Vec<_> = back.into_iter().collect();
        assert_eq!(back, shares(&[("a", 60), ("b", 20), ("new", 20)]));
        let nobody = [("a", 0), ("b", 0), ("new", 1)];
        let expected = shares(&[("a", 25), ("b", 25), ("new", 50)]);
        assert_eq!(weighed(&nobody, &nobody, 50), expected);
    }
}
