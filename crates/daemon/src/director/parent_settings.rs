//! Settings of interfaces that virtual links need, and their old values.
//!
//! The host must not speak of the virtual addresses with its own hardware address: neither answer for them on the interface below
//! (`arp_ignore`), nor name them as sender of its own questions (`arp_announce`; RFC 9568 §8.1.2). What was there before is written down
//! before it is changed, and put back when the last virtual link of the interface goes, or by the next start.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use linux::address::Link;
use linux::sysctl::{self, Protocol};
use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, oneshot};

/// Each setting with the least value that serves.
const NEEDED: [(&str, u8); 2] = [("arp_ignore", 1), ("arp_announce", 2)];
/// The file in the state directory.
const FILE: &str = "interface-settings.json";
/// How long a disk is waited for: addresses matter more than the record.
const WRITE_LIMIT: Duration = Duration::from_secs(2);

/// Old values by interface, on disk and here.
#[derive(Debug)]
pub(super) struct ParentSettings {
    path: PathBuf,
    held: Mutex<BTreeMap<u32, Held>>,
}

#[derive(Debug)]
struct Held {
    users: usize,
    link: Record,
}

/// What was changed on one interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    ifindex: u32,
    name: String,
    changes: Vec<SettingChange>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct SettingChange {
    key: String,
    old: String,
    ours: String,
}

/// The file: worth nothing after a reboot, when the kernel has its own values again.
#[derive(Debug, Serialize, Deserialize)]
struct File {
    boot: String,
    links: Vec<Record>,
}

impl ParentSettings {
    /// Nothing is held yet.
    pub(super) fn new(state_dir: &Path) -> Self {
        Self {
            path: state_dir.join(FILE),
            held: Mutex::new(BTreeMap::new()),
        }
    }

    /// Sets an interface as virtual links need it, unless it is set already.
    pub(super) async fn hold(&self, link: &Link) -> Result<(), String> {
        let mut held = self.held.lock().await;
        if let Some(known) = held.get_mut(&link.index) {
            known.users += 1;
            return Ok(());
        }
        let changes = wanted_changes(&link.name)
            .map_err(|error| format!("settings of {} cannot be read: {error}", link.name))?;
        let record = Record {
            ifindex: link.index,
            name: link.name.clone(),
            changes,
        };
        let others = held.values().map(|held| &held.link);
        let links = others.chain([&record]).cloned().collect();
        if let Err(error) = self.write_down(links).await {
            tracing::warn!(link = link.name, %error, "old settings are kept in memory only");
        }
        for change in &record.changes {
            sysctl::write(Protocol::Ipv4, &link.name, &change.key, &change.ours).map_err(
                |error| format!("{} of {} cannot be set: {error}", change.key, link.name),
            )?;
        }
        let users = 1;
        held.insert(
            link.index,
            Held {
                users,
                link: record,
            },
        );
        Ok(())
    }

    /// Sets again what somebody has unset meanwhile, before addresses come.
    pub(super) async fn refresh(&self, ifindex: u32) {
        let held = self.held.lock().await;
        let name = nix::net::if_::if_indextoname(ifindex);
        let (Some(_), Ok(name)) = (held.get(&ifindex), name) else {
            return;
        };
        let name = name.to_string_lossy();
        for change in wanted_changes(&name).unwrap_or_default() {
            let (key, ours) = (&change.key, &change.ours);
            match sysctl::write(Protocol::Ipv4, &name, key, ours) {
                Ok(()) => tracing::warn!(link = %name, key, "somebody unset it; it is set again"),
                Err(error) => tracing::warn!(link = %name, key, %error, "setting not set again"),
            }
        }
    }

    /// The counterpart of each successful [`ParentSettings::hold`]; the last one puts the old values back.
    pub(super) async fn give_back(&self, ifindex: u32) {
        let mut held = self.held.lock().await;
        let Some(known) = held.get_mut(&ifindex) else {
            return;
        };
        known.users -= 1;
        if known.users > 0 {
            return;
        }
        put_back(&known.link);
        held.remove(&ifindex);
        let links = held.values().map(|held| held.link.clone()).collect();
        if let Err(error) = self.write_down(links).await {
            tracing::warn!(%error, "the record of old settings is out of date");
        }
    }

    /// Writes the record from a thread of its own: a disk may be slow or hang.
    async fn write_down(&self, links: Vec<Record>) -> io::Result<()> {
        let (path, (done, written)) = (self.path.clone(), oneshot::channel());
        let thread = std::thread::Builder::new()
            .name("tandem-settings".to_owned())
            .stack_size(256 * 1024);
        thread.spawn(move || {
            // Whoever waits may have given up.
            drop(done.send(write(&path, links)));
        })?;
        match tokio::time::timeout(WRITE_LIMIT, written).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) | Err(_) => Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "the disk does not answer",
            )),
        }
    }
}

/// Puts back what an earlier run changed and did not live to put back; returns the names of those interfaces.
pub(super) fn restore(state_dir: &Path) -> Vec<String> {
    let path = state_dir.join(FILE);
    let Ok(text) = std::fs::read(&path) else {
        return Vec::new();
    };
    let mut restored = Vec::new();
    match serde_json::from_slice::<File>(&text) {
        Ok(file) if file.boot == boot() => {
            restored.extend(file.links.iter().filter_map(put_back));
        }
        Ok(_) => {}
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "the record of old settings cannot be read");
        }
    }
    if let Err(error) = std::fs::remove_file(&path) {
        tracing::warn!(path = %path.display(), %error, "the record of old settings stays");
    }
    restored
}

fn wanted_changes(link_name: &str) -> io::Result<Vec<SettingChange>> {
    let mut changes = Vec::new();
    for (key, least) in NEEDED {
        let old = sysctl::read(Protocol::Ipv4, link_name, key)?;
        if old.parse::<u8>().is_ok_and(|old| old < least) {
            changes.push(SettingChange {
                key: key.to_owned(),
                old,
                ours: least.to_string(),
            });
        }
    }
    Ok(changes)
}

/// Puts the old values back where ours still stand: what somebody else has set since is theirs. The name of the interface if any was.
fn put_back(record: &Record) -> Option<String> {
    let name = nix::net::if_::if_indextoname(record.ifindex).ok()?;
    let name = name.to_string_lossy().into_owned();
    let mut any = false;
    for change in &record.changes {
        let current = sysctl::read(Protocol::Ipv4, &name, &change.key);
        if !current.is_ok_and(|current| current == change.ours) {
            continue;
        }
        match sysctl::write(Protocol::Ipv4, &name, &change.key, &change.old) {
            Ok(()) => any = true,
            Err(error) => {
                tracing::warn!(link = name, key = change.key, %error, "setting not put back");
            }
        }
    }
    any.then_some(name)
}

fn write(path: &Path, links: Vec<Record>) -> io::Result<()> {
    if links.is_empty() {
        return match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        };
    }
    let boot = boot();
    let text = serde_json::to_vec(&File { boot, links })?;
    let new = path.with_extension("new");
    let mut file = std::fs::File::create(&new)?;
    io::Write::write_all(&mut file, &text)?;
    file.sync_all()?;
    std::fs::rename(&new, path)
}

/// Tells one boot of the host from another.
fn boot() -> String {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id");
    id.unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_record_of_another_boot_or_of_no_sense_is_dropped() {
        let folder = std::env::temp_dir().join(format!("tandem-settings-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join(FILE);
        let record = Record {
            ifindex: 1,
            name: "lo".to_owned(),
            changes: vec![SettingChange {
                key: "arp_ignore".to_owned(),
                old: "7".to_owned(),
                ours: sysctl::read(Protocol::Ipv4, "lo", "arp_ignore").unwrap(),
            }],
        };
        let file = File {
            boot: "another".to_owned(),
            links: vec![record],
        };
        for text in [serde_json::to_vec(&file).unwrap(), b"{".to_vec()] {
            std::fs::write(&path, text).unwrap();
            assert!(restore(&folder).is_empty());
            assert!(!path.exists());
        }
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
