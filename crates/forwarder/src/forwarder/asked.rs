//! What the forwarder knows, for whoever asks why a request goes where it goes.

use std::sync::Arc;

use balancer::{Group, Plan, StickySettings};

use super::Forwarder;
use crate::http::wall_seconds;
use crate::seal::Bond;

impl Forwarder {
    /// The plan in force. Whatever it is asked counts nothing, as long as nothing is picked.
    pub fn plan(&self) -> Arc<Plan> {
        self.plan.load_full()
    }

    /// The mark in a cookie that binds to a target of this group, or (no group) to a group; `None` if it is not believed.
    pub fn cookie_mark(
        &self,
        of: Option<&Group>,
        sticky: &StickySettings,
        value: &[u8],
    ) -> Option<u64> {
        let bond = of.map_or(Bond::Group, |group| Bond::Target(group.mark()));
        let token = self.sealer.open(bond, value, wall_seconds(), sticky.ttl)?;
        Some(token.mark)
    }
}
