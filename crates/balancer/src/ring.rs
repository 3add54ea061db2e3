//! The ring of consistent hashing: each target owns points on a circle of 64-bit numbers, and a key belongs to the
//! target whose point is nearest, on either side.
//!
//! ```text
//!   ──A──────B────A──────k─C─────────B──    k belongs to C; without C, to the nearest of the rest: A
//! ```
//!
//! Point `i` of a target is the [hash](crate::key) of its name, a byte `ff` (which no name contains) and `i` as four
//! bytes, lowest first. A target has points in proportion to its own weight, whatever the others have. So neither the
//! order of the targets nor the node matters, and a target that comes or goes moves the keys it gains or had, and no
//! others. A ring is made with the plan and never on a change of health: who cannot be used is walked past.

use crate::key::{self, PickKey};

/// Points and who owns them. At most [`Ring::MAX_POINTS`]; the settings are checked before one is made.
#[derive(Debug, PartialEq, Eq)]
pub struct Ring {
    /// Ascending.
    points: Vec<u64>,
    /// As many as points; each an index into the members the ring was made of.
    owners: Vec<u32>,
}

impl Ring {
    /// The most points one ring may have; 12 bytes of memory each.
    pub const MAX_POINTS: u64 = 1 << 20;

    /// The points of these members, each a name and a weight: `vnodes` for every unit of weight.
    pub fn new<'n>(members: impl IntoIterator<Item = (&'n str, u32)>, vnodes: u16) -> Self {
        let mut marks = Vec::new();
        for ((name, weight), member) in members.into_iter().zip(0u32..) {
            for index in 0..weight.saturating_mul(u32::from(vnodes)) {
                let point = key::hash([name.as_bytes(), b"\xff", &index.to_le_bytes()]);
                marks.push((point, name, member));
            }
        }
        // The name decides between equal points, so that the order of the members does not.
        marks.sort_unstable();
        Self {
            points: marks.iter().map(|(point, _, _)| *point).collect(),
            owners: marks.iter().map(|(_, _, member)| *member).collect(),
        }
    }

    /// The owner of the point nearest to the key among those `allowed`; of two as near, the one above the key.
    /// `None` if nobody who has a point is allowed.
    pub fn owner(&self, key: PickKey, allowed: impl Fn(u32) -> bool) -> Option<u32> {
        let len = self.points.len();
        let PickKey(key) = key;
        if len == 0 {
            return None;
        }
        let above = self.points.partition_point(|point| *point < key);
        let (mut up, mut down) = (above % len, (above + len - 1) % len);
        for _ in 0..len {
            let to_up = self.points[up].wrapping_sub(key);
            let to_down = key.wrapping_sub(self.points[down]);
            let owner = if to_up <= to_down {
                let owner = self.owners[up];
                up = (up + 1) % len;
                owner
            } else {
                let owner = self.owners[down];
                down = (down + len - 1) % len;
                owner
            };
            if allowed(owner) {
                return Some(owner);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests;
