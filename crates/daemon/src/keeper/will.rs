//! The director's last will: kept ready, executed once.

use std::fs::File;
use std::io::Seek;
use std::os::fd::OwnedFd;

use control::internal::{HeldAddress, Will};
use linux::address::{BlockingNetlink, Vip};
use linux::raw::RawSender;

/// A will with everything needed to execute it already open.
pub(super) struct Testament {
    netlink: BlockingNetlink,
    will: Will,
    senders: Vec<RawSender>,
}

impl Testament {
    /// Opens what an execution needs, while there is no hurry.
    pub(super) fn open() -> std::io::Result<Self> {
        Ok(Self {
            netlink: BlockingNetlink::open()?,
            will: Will::default(),
            senders: Vec::new(),
        })
    }

    /// Replaces the will; `fds` are its sockets in order.
    pub(super) fn deposit(&mut self, will: Will, fds: Vec<OwnedFd>) {
        self.senders = will
            .senders
            .iter()
            .zip(fds)
            .map(|(kind, fd)| RawSender::from_fd(fd, kind.ifindex, kind.v6))
            .collect();
        self.will = will;
    }

    pub(super) fn revoke(&mut self) {
        self.deposit(Will::default(), Vec::new());
    }

    pub(super) fn is_empty(&self) -> bool {
        self.will.is_empty()
    }

    /// Says priority 0 for each virtual router, then takes the addresses away. Errors are counted: there is nobody left to act on them.
    pub(super) fn execute(&mut self) -> Executed {
        let will = std::mem::take(&mut self.will);
        let senders = std::mem::take(&mut self.senders);
        let mut done = Executed::default();
        for packet in &will.packets {
            let sent = senders.get(packet.sender).is_some_and(|sender| {
                sender
                    .send(packet.source, packet.destination, &packet.bytes)
                    .is_ok()
            });
            *(if sent {
                &mut done.packets
            } else {
                &mut done.failures
            }) += 1;
        }
        for held in &will.addresses {
            let removed = linux::address::remove_blocking(&self.netlink, &vip(held)).is_ok();
            *(if removed {
                &mut done.addresses
            } else {
                &mut done.failures
            }) += 1;
        }
        done
    }
}

/// The will that travelled along, and its sockets. A will may be larger than a message, so it comes as a file.
///
/// # Errors
/// When there is no file, or it holds no will.
pub(super) fn read(fds: Vec<OwnedFd>) -> std::io::Result<(Will, Vec<OwnedFd>)> {
    let mut fds = fds.into_iter();
    let file = fds
        .next()
        .ok_or_else(|| std::io::Error::other("no file came with it"))?;
    let mut file = File::from(file);
    file.rewind()?;
    let will = serde_json::from_reader(file).map_err(std::io::Error::other)?;
    Ok((will, fds.collect()))
}

fn vip(held: &HeldAddress) -> Vip {
    Vip {
        ifindex: held.ifindex,
        address: held.address,
        prefix_len: held.prefix_len,
        lease: None,
    }
}

/// What the execution came to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Executed {
    pub(super) packets: usize,
    pub(super) addresses: usize,
    pub(super) failures: usize,
}
