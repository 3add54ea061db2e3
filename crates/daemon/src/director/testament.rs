//! Writing the last will: what the keeper does should this process be gone.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use control::internal::{Farewell, HeldAddress, SenderKind, ToKeeper, Will};
use linux::channel::AsyncChannel;
use nix::sys::memfd::{MFdFlags, memfd_create};

use super::instance::Instance;
use super::wires::{WireKey, Wires};

/// Shortest time the keeper waits for a beat: below it, a busy machine would look like a hung director.
const SHORTEST_BEAT_LIMIT: Duration = Duration::from_millis(250);
/// Longest time the keeper waits for a beat.
const LONGEST_BEAT_LIMIT: Duration = Duration::from_secs(5);

/// The will of all instances together, and the sockets it needs.
fn write(instances: &[Instance], wires: &Wires) -> (Will, Vec<OwnedFd>) {
    let mut will = Will::default();
    let mut used: Vec<WireKey> = Vec::new();
    let mut fds = Vec::new();
    for instance in instances.iter().filter(|instance| instance.is_holding()) {
        for advertisement in instance.router.release_adverts() {
            let key = instance.wire_key(advertisement.family);
            let Some(sender) = sender_index(&key, wires, &mut used, &mut will, &mut fds) else {
                continue;
            };
            will.packets.extend(
                advertisement
                    .destinations
                    .iter()
                    .map(|destination| Farewell {
                        sender,
                        source: advertisement.source,
                        destination: *destination,
                        bytes: advertisement.encode(*destination),
                    }),
            );
        }
        let held = |vip: linux::address::Vip| HeldAddress {
            ifindex: vip.ifindex,
            address: vip.address,
            prefix_len: vip.prefix_len,
        };
        will.addresses.extend(instance.vips().into_iter().map(held));
    }
    (will, fds)
}

/// Index of the wire's socket in the will, added when it is not in yet.
fn sender_index(
    key: &WireKey,
    wires: &Wires,
    used: &mut Vec<WireKey>,
    will: &mut Will,
    fds: &mut Vec<OwnedFd>,
) -> Option<usize> {
    if let Some(index) = used.iter().position(|other| other == key) {
        return Some(index);
    }
    let wire = wires.get(key)?;
    fds.push(wire.sender_fd().ok()?);
    used.push(key.clone());
    will.senders.push(SenderKind {
        ifindex: wire.ifindex,
        v6: key.v6,
    });
    Some(used.len() - 1)
}

/// Deposits the will again if something in it has changed. False when the keeper could not take it; it is then tried again.
pub(super) fn deposit(instances: &mut [Instance], wires: &Wires, keeper: &AsyncChannel) -> bool {
    if !instances.iter().any(|instance| instance.will_changed) {
        return true;
    }
    let sent = send_will(instances, wires, keeper).inspect_err(|error| {
        tracing::warn!(%error, "the last will is not deposited");
    });
    let limit = ToKeeper::BeatLimit(beat_limit(instances).as_millis() as u64);
    let done = sent.is_ok() && send(keeper, &limit);
    if done {
        instances
            .iter_mut()
            .for_each(|instance| instance.will_changed = false);
    }
    done
}

fn send_will(instances: &[Instance], wires: &Wires, keeper: &AsyncChannel) -> std::io::Result<()> {
    let (will, sockets) = write(instances, wires);
    let mut file = File::from(memfd_create("tandem-will", MFdFlags::MFD_CLOEXEC)?);
    file.write_all(&encode(&will))?;
    let fds: Vec<BorrowedFd<'_>> = std::iter::once(file.as_fd())
        .chain(sockets.iter().map(AsFd::as_fd))
        .collect();
    keeper.try_send(&encode(&ToKeeper::Will), &fds)
}

/// How long the keeper waits for a beat: three intervals of the quickest router that holds addresses.
pub(super) fn beat_limit(instances: &[Instance]) -> Duration {
    let holding = instances.iter().filter(|instance| instance.is_holding());
    let quickest = holding
        .map(|instance| instance.config.settings.advert_interval.as_duration() * 3)
        .min();
    quickest.map_or(LONGEST_BEAT_LIMIT, |limit| {
        limit.clamp(SHORTEST_BEAT_LIMIT, LONGEST_BEAT_LIMIT)
    })
}

/// Says something to the keeper; false when it takes nothing at this moment.
pub(super) fn send(keeper: &AsyncChannel, message: &ToKeeper) -> bool {
    keeper
        .try_send(&encode(message), &[])
        .inspect_err(|error| tracing::warn!(%error, "the keeper takes no message"))
        .is_ok()
}

fn encode<T: serde::Serialize>(message: &T) -> Vec<u8> {
    serde_json::to_vec(message).expect("messages between the processes are plain data")
}
