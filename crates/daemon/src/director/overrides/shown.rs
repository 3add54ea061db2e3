//! How orders are shown: in lists, beside the targets they are about, in the journal.

use control::{GroupStatus, OverrideStatus};

use super::book::{Entry, Key, What};
use super::names;
use crate::director::Director;

impl Director {
    /// Who ordered maintenance of the node, and why; none when it is not in maintenance.
    pub(in crate::director) fn maintenance_words(&self) -> Option<String> {
        self.overrides.book.get(&Key::Node).map(author)
    }

    /// Every order that stands.
    pub(in crate::director) fn overrides_status(&self) -> Vec<OverrideStatus> {
        let entries = self.overrides.book.iter();
        entries.map(|entry| self.shown(entry)).collect()
    }

    pub(super) fn shown(&self, entry: &Entry) -> OverrideStatus {
        OverrideStatus {
            subject: entry.what.subject(),
            kind: entry.what.kind(),
            words: entry.what.words(),
            by: entry.by.clone(),
            at: entry.at,
            until: entry.until,
            why: entry.why.clone(),
            matches: names::exists(&self.running.config, &entry.what),
        }
    }

    /// Groups as the forwarder tells of them, with what only the director knows: who ordered what, and what the file says.
    pub(in crate::director) fn ordered_groups(&self) -> Vec<GroupStatus> {
        let mut groups = self.figures.groups.clone();
        for entry in self.overrides.book.iter() {
            let (group, target) = match &entry.what {
                What::Away { group, target, .. } | What::Weight { group, target, .. } => {
                    (group, target)
                }
                What::Node | What::Split { .. } => continue,
            };
            let shown = groups.iter_mut().filter(|shown| shown.name == *group);
            let shown = shown.flat_map(|shown| &mut shown.targets);
            for shown in shown.filter(|shown| shown.name == *target) {
                if let What::Weight { weight, .. } = entry.what {
                    let of_file = self.weight_in_file(group, target);
                    shown.weight_in_file = of_file.filter(|of_file| *of_file != weight);
                    continue;
                }
                let checked = shown.why.take();
                let words = [Some(author(entry)), checked];
                let words: Vec<String> = words.into_iter().flatten().collect();
                shown.why = Some(words.join("; "));
            }
        }
        groups
    }

    fn weight_in_file(&self, group: &str, target: &str) -> Option<u32> {
        let group = names::group_of(&self.running.config, group)?;
        let found = group.targets.iter().find(|known| known.name == target);
        found.map(|target| target.weight)
    }

    /// What of the orders is in danger.
    pub(in crate::director) fn override_problems(&self) -> Vec<String> {
        let overrides = &self.overrides;
        let folder = self.args.state_dir.display();
        let disk = overrides.disk_error.as_ref().map(|error| {
            format!("orders could not be written to {folder}, a restart would lose them: {error}")
        });
        let plane = overrides
            .plane_error
            .as_ref()
            .map(|(_, error)| format!("the forwarder does not follow the latest order: {error}"));
        disk.into_iter().chain(plane).collect()
    }
}

/// For the journal: `target app/10.0.0.1:80`.
pub(super) fn subject(what: &What) -> String {
    let sort = match what {
        What::Node => return what.subject(),
        What::Away { .. } | What::Weight { .. } => "target",
        What::Split { rule: Some(_), .. } => "rule",
        What::Split { rule: None, .. } => "listener",
    };
    format!("{sort} {}", what.subject())
}

/// For the journal: `drain ordered by alice until 2026-03-04T05:06:07.000Z: disk swap`.
pub(super) fn ordered(entry: &Entry) -> String {
    let until = entry
        .until
        .map_or(String::new(), |at| format!(" until {at}"));
    let why = entry.why.as_ref();
    let why = why.map_or(String::new(), |why| format!(": {why}"));
    format!("{} ordered by {}{until}{why}", entry.what.words(), entry.by)
}

/// Beside the target: `by alice: disk swap`.
fn author(entry: &Entry) -> String {
    match &entry.why {
        Some(why) => format!("by {}: {why}", entry.by),
        None => format!("by {}", entry.by),
    }
}
