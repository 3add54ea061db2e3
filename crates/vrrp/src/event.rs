//! What can happen to a virtual router.

use std::net::IpAddr;

use crate::action::FaultReason;
use crate::receive::Accepted;
use crate::settings::Settings;
use crate::types::{Family, Interval, Priority};

/// One thing that happened.
#[derive(Clone, PartialEq, Debug)]
pub enum Event {
    /// Begin to take part.
    Startup,
    /// Begin where a process before this one has left off: its addresses are there, and nobody has taken over, because it had announced a
    /// pause. Claims at once.
    Resume,
    /// Advertise another interval than the one kept, so that this process can be away for three of it; `None` ends that. Nothing
    /// unless Active.
    Pause(Option<Interval>),
    /// Leave on purpose and stop: make before break, then `Action::Stopped`.
    Shutdown,
    /// Give the addresses to the peer. Resumed as Active, with `Action::HandoverFailed`, if nobody takes them.
    Handover,
    /// An advertisement that passed every receive check.
    Advertisement {
        /// Family of the packet.
        family: Family,
        /// Its source address.
        source: IpAddr,
        /// What it says.
        accepted: Accepted,
    },
    /// `deadline()` has come. Calling without need does no harm.
    Timer,
    /// The effective priority after tracking: 1..=254, or 255 for the owner.
    PriorityChanged(Priority),
    /// The address that advertisements of a family come from. Without one the family is silent; without any, Fault.
    SourceChanged {
        /// The family.
        family: Family,
        /// Primary IPv4 or link-local IPv6 address of the interface, if it has one that may be used.
        source: Option<IpAddr>,
    },
    /// A tracked thing that means fault is at fault; replaces an earlier reason.
    Fault(FaultReason),
    /// No tracked thing is at fault any more.
    FaultCleared,
    /// Every address of the latest `Action::Claim` is confirmed by the kernel.
    Claimed,
    /// The kernel refused an address of the latest `Action::Claim`.
    ClaimFailed(String),
    /// An address could not be put back or renewed.
    AddressLost(String),
    /// An advertisement could not be sent.
    SendFailed(String),
    /// A reload. Stops no timer and touches only what changed. Another base priority is in force at once where the
    /// effective priority is the base; where tracking has changed it, it stays until `PriorityChanged`.
    Reconfigure(Settings),
}
