//! The director's last will: kept ready, executed once.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::OwnedFd;

use control::internal::{Farewell, HeldAddress, Part, SenderKind, Will};
use linux::address::{BlockingNetlink, Vip};
use linux::raw::RawSender;

use crate::experiment::{self, NOWHERE};

/// A will with everything needed to execute it already open.
pub(super) struct Testament {
    netlink: BlockingNetlink,
    will: Will,
    senders: BTreeMap<u64, RawSender>,
    /// The will of a director that another one is to go on for.
    inherited: Option<(Will, BTreeMap<u64, RawSender>)>,
    /// The highest stamp that any director has told.
    stamp: Option<u64>,
}

impl Testament {
    /// Opens what an execution needs, while there is no hurry.
    pub(super) fn open() -> std::io::Result<Self> {
        Ok(Self {
            netlink: BlockingNetlink::open()?,
            will: Will::default(),
            senders: BTreeMap::new(),
            inherited: None,
            stamp: None,
        })
    }

    /// Takes over a socket that farewells name.
    pub(super) fn add_sender(&mut self, id: u64, kind: SenderKind, fds: Vec<OwnedFd>) {
        let sender = |fd| RawSender::from_fd(fd, kind.ifindex, kind.v6);
        self.senders
            .extend(fds.into_iter().next().map(|fd| (id, sender(fd))));
    }

    /// Closes a socket that farewells name no longer.
    pub(super) fn remove_sender(&mut self, id: u64) {
        self.senders.remove(&id);
    }

    /// Replaces parts of the will.
    pub(super) fn amend(&mut self, changes: Will) {
        let told = changes.parts.values().filter_map(|part| part.stamp);
        self.stamp = self.stamp.max(told.max());
        self.will.amend(changes);
    }

    /// The stamp after which the next director has to begin.
    pub(super) fn stamp(&self) -> Option<u64> {
        self.stamp
    }

    pub(super) fn revoke(&mut self) {
        self.will = Will::default();
        self.senders.clear();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.will.parts.is_empty() && self.inherited.is_none()
    }

    /// Lays the will aside: the next director begins its own.
    pub(super) fn inherit(&mut self) {
        let senders = std::mem::take(&mut self.senders);
        self.inherited = Some((std::mem::take(&mut self.will), senders));
    }

    /// The next director holds everything that was laid aside.
    pub(super) fn forget_inherited(&mut self) {
        self.inherited = None;
    }

    /// Says priority 0 for each virtual router, then sets virtual links down and takes the addresses away. Errors are counted: there is nobody left to act on them.
    pub(super) fn execute(&mut self) -> Executed {
        let own = (
            std::mem::take(&mut self.will),
            std::mem::take(&mut self.senders),
        );
        let mut done = Executed::default();
        for (will, senders) in self.inherited.take().into_iter().chain([own]) {
            self.execute_one(&will, &senders, &mut done);
        }
        done
    }

    /// Executes a will about nothing: a packet of no protocol to this host itself, a link and addresses that are not there. What that
    /// comes to does not matter; that it has run before it matters does.
    pub(super) fn practise(&self) {
        let (here, link) = (Ipv4Addr::LOCALHOST, NOWHERE);
        let address = |address, prefix_len| HeldAddress {
            ifindex: link,
            address,
            prefix_len,
        };
        let part = Part {
            packets: vec![Farewell {
                sender: 0,
                source: here.into(),
                destination: here.into(),
                bytes: experiment::packet(here.into()),
            }],
            addresses: vec![
                address(here.into(), 32),
                address(Ipv6Addr::LOCALHOST.into(), 128),
            ],
            links: vec![link],
            ..Part::default()
        };
        let mut will = Will::default();
        will.parts.insert(0, part);
        let text = serde_json::to_vec(&will).unwrap_or_default();
        let will = serde_json::from_slice(&text).unwrap_or(will);
        let sender = experiment::sender(false);
        let senders = sender.map(|sender| (0, sender)).into_iter().collect();
        self.execute_one(&will, &senders, &mut Executed::default());
    }

    fn execute_one(&self, will: &Will, senders: &BTreeMap<u64, RawSender>, done: &mut Executed) {
        for packet in will.parts.values().flat_map(|part| &part.packets) {
            let sent = senders.get(&packet.sender).is_some_and(|sender| {
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
        // First, because the removal of an IPv6 address is told on the wire, and the virtual MAC may be elsewhere by then.
        let links: Vec<u32> = (will.parts.values())
            .flat_map(|part| part.links.iter().copied())
            .collect();
        let downs = linux::address::set_down_blocking(&self.netlink, &links);
        done.failures += downs.iter().filter(|down| down.is_err()).count();
        let held = will.parts.values().flat_map(|part| &part.addresses);
        let held: Vec<Vip> = held.map(vip).collect();
        for removed in linux::address::remove_all_blocking(&self.netlink, &held) {
            *(if removed.is_ok() {
                &mut done.addresses
            } else {
                &mut done.failures
            }) += 1;
        }
    }
}

/// The parts that travelled along. They may be larger than a message, so they come as a file.
///
/// # Errors
/// When there is no file, or it holds no will.
pub(super) fn read(fds: Vec<OwnedFd>) -> std::io::Result<Will> {
    let file = fds
        .into_iter()
        .next()
        .ok_or_else(|| std::io::Error::other("no file came with it"))?;
    let mut file = File::from(file);
    file.rewind()?;
    let mut text = Vec::new();
    file.read_to_end(&mut text)?;
    serde_json::from_slice(&text).map_err(std::io::Error::other)
}

fn vip(held: &HeldAddress) -> Vip {
    Vip {
        ifindex: held.ifindex,
        address: held.address,
        prefix_len: held.prefix_len,
        lease: None,
        parent: None,
    }
}

/// What the execution came to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Executed {
    pub(super) packets: usize,
    pub(super) addresses: usize,
    pub(super) failures: usize,
}
