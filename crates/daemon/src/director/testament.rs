//! Writing the last will: what the keeper does should this process be gone.

use std::fs::File;
use std::io::Write;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::time::Duration;

use control::internal::{Farewell, HeldAddress, Part, SenderKind, ToKeeper, Will};
use linux::channel::AsyncChannel;
use nix::sys::memfd::{MFdFlags, memfd_create};

use super::instance::Instance;
use super::instances::Instances;
use super::wires::{WireKey, Wires};

/// Shortest time the keeper waits for a beat: below it, a busy machine would look like a hung director.
const SHORTEST_BEAT_LIMIT: Duration = Duration::from_millis(250);
/// Longest time the keeper waits for a beat.
const LONGEST_BEAT_LIMIT: Duration = Duration::from_secs(5);

/// The part of one virtual router: empty when it holds nothing.
fn part(instance: &Instance, wires: &Wires) -> Part {
    let mut part = Part::default();
    let authentication = instance.config.settings.authentication.as_deref();
    let stamp = instance.signing.will_stamp(authentication);
    if !instance.is_holding() {
        return part;
    }
    for advertisement in instance.router.release_adverts() {
        let Some(wire) = wires.get(&instance.sender_key(advertisement.family)) else {
            continue;
        };
        let farewell = |destination: &IpAddr| Farewell {
            sender: wire.id,
            source: advertisement.source,
            destination: *destination,
            bytes: advertisement.encode_at(*destination, stamp.unwrap_or_default()),
        };
        part.packets
            .extend(advertisement.destinations.iter().map(farewell));
    }
    let held = |vip: linux::address::Vip| HeldAddress {
        ifindex: vip.ifindex,
        address: vip.address,
        prefix_len: vip.prefix_len,
    };
    part.addresses.extend(instance.vips().into_iter().map(held));
    part.links = instance.virtual_indexes();
    part.stamp = stamp.map(vrrp::Stamp::value);
    part
}

/// Deposits the parts of the will that have changed. True when there were some and the keeper has them; what it could not take is tried
/// again in the next turn.
pub(super) fn deposit(instances: &mut Instances, wires: &mut Wires, keeper: &AsyncChannel) -> bool {
    if instances.is_willed() {
        return false;
    }
    let sent = send_parts(instances, wires, keeper).inspect_err(|error| match error.kind() {
        std::io::ErrorKind::WouldBlock => {
            tracing::debug!("the keeper is behind with the last will");
        }
        _ => tracing::warn!(%error, "the last will is not deposited"),
    });
    let limit = ToKeeper::BeatLimit(beat_limit(instances).as_millis() as u64);
    let done = sent.is_ok() && send(keeper, &limit);
    if done {
        instances.note_willed();
    }
    done
}

fn send_parts(
    instances: &Instances,
    wires: &mut Wires,
    keeper: &AsyncChannel,
) -> std::io::Result<()> {
    let mut changes = Will::default();
    let gone = instances.bequeathed().iter();
    changes
        .parts
        .extend(gone.map(|number| (*number, Part::default())));
    for instance in instances.unwilled() {
        for key in instance.sender_keys() {
            hand_over_sender(wires, &key, keeper)?;
        }
        changes.parts.insert(instance.number, part(instance, wires));
    }
    let file = write_down(&changes)?;
    keeper.try_send(&encode(&ToKeeper::Will), &[file.as_fd()])?;
    // Only after the parts that named them have been replaced.
    while let Some(id) = wires.take_closed() {
        if keeper
            .try_send(&encode(&ToKeeper::SenderGone(id)), &[])
            .is_err()
        {
            wires.put_closed(id);
            break;
        }
    }
    Ok(())
}

/// A file in memory that holds this will.
fn write_down(will: &Will) -> std::io::Result<File> {
    let mut file = File::from(memfd_create("tandem-will", MFdFlags::MFD_CLOEXEC)?);
    file.write_all(&encode(will))?;
    Ok(file)
}

/// Writes a made-up will down, and that of an understudy, and drops it: see [`super::practice`].
pub(super) fn practise(understudy: &Instance) {
    let own = part(understudy, &Wires::default());
    let here = std::net::Ipv4Addr::LOCALHOST.into();
    let part = Part {
        packets: vec![Farewell {
            sender: 0,
            source: here,
            destination: here,
            bytes: vec![0; 32],
        }],
        addresses: vec![HeldAddress {
            ifindex: 0,
            address: here,
            prefix_len: 32,
        }],
        links: vec![0],
        stamp: Some(0),
    };
    let parts = [part, own];
    let parts = (0..).zip(parts).collect();
    let Ok(file) = write_down(&Will { parts }) else {
        return;
    };
    // Nobody has the other end.
    if let Ok((near, _far)) = linux::channel::pair()
        && let Ok(near) = AsyncChannel::new(near)
    {
        let _ = near.try_send(&encode(&ToKeeper::Will), &[file.as_fd()]);
    }
}

/// Gives the keeper the sending socket of a wire, once.
fn hand_over_sender(
    wires: &mut Wires,
    key: &WireKey,
    keeper: &AsyncChannel,
) -> std::io::Result<()> {
    let Some(wire) = wires.get_mut(key).filter(|wire| !wire.handed_over) else {
        return Ok(());
    };
    let kind = SenderKind {
        ifindex: wire.ifindex,
        v6: key.v6,
    };
    let message = ToKeeper::Sender { id: wire.id, kind };
    keeper.try_send(&encode(&message), &[wire.sender_fd()?.as_fd()])?;
    wire.handed_over = true;
    Ok(())
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
