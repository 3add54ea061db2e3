//! `[vrrp.NAME.hooks]`.

use std::time::Duration;

use super::programs;
use crate::model::{Hook, HookOn, Hooks};
use crate::read::Files;
use crate::tree::Item;

/// The programs that are there and can be read.
pub(crate) fn hooks(item: &Item<'_>, files: Files<'_>) -> Hooks {
    let mut hooks = Hooks::default();
    let form = "a table like { transition = [\"/usr/local/bin/on-transition\"] }";
    let Some(section) = item.section_or(form) else {
        return hooks;
    };
    for on in HookOn::ALL {
        let run = section
            .get(on.as_str())
            .and_then(|item| programs::command(&item, files));
        hooks.programs.extend(run.map(|run| Hook { on, run }));
    }
    let limits = Duration::from_millis(100)..=Duration::from_secs(600);
    let timeout = section.get("timeout");
    if let Some(timeout) = timeout.and_then(|item| item.duration_in(limits)) {
        hooks.timeout = timeout;
    }
    section.finish();
    hooks
}
