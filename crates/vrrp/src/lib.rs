//! VRRP without a socket: elects the Active router of each virtual router (RFC 9568, and RFC 3768 with the password
//! of RFC 2338), and speaks its wire formats.
//!
//! The crate is pure. It reads no clock, no random source and no environment, opens no socket and writes no log:
//! `now` is an argument, what to do comes back as ordered [`Action`]s, and how that went comes in as an [`Event`].
//!
//! | module | purpose |
//! |---|---|
//! | `types`, `settings` | the words: ids, units, roles, configuration of one virtual router |
//! | `timing`, `priority` | Skew_Time and down interval; how tracking adds up |
//! | `wire` | messages as octets, both ways |
//! | `receive`, `counters` | the receive checks in order; every refusal has a counter |
//! | `authentication` | keys, and the trailer that signs a message |
//! | `event`, `action` | what can happen, what to do about it |
//! | `machine` | the election |
//!
//! The path of a packet: [`parse_ipv4`] (or a [`Datagram`] from an IPv6 socket), [`accept`],
//! [`Event::Advertisement`], [`VirtualRouter::handle`]. Where messages are signed, [`accept_authentic`] with a [`Guard`].

mod action;
mod authentication;
mod counters;
mod event;
mod machine;
mod priority;
mod receive;
mod settings;
mod timing;
mod types;
mod wire;

pub use action::{
    Action, Alarm, AlarmKind, AnnounceReason, FaultReason, Reason, State, Transition,
};
pub use authentication::{
    AuthMode, Authentication, Freshness, Key, KeyError, Marks, Proof, Sequencer, Stamp,
    TRAILER_LEN, WallTime, seal, skew_words,
};
pub use counters::{Counters, Reject};
pub use event::Event;
pub use machine::{
    Directive, MemberId, Outlook, PeerStatus, PhaseName, Rehearsal, Status, Step, Timer,
    VirtualRouter,
};
pub use priority::{Contribution, effective_priority};
pub use receive::{
    Accepted, Datagram, Expectation, Guard, Local, Network, Notes, accept, accept_authentic,
    claimed_skew_s, open_sealed, parse_ipv4,
};
pub use settings::Settings;
pub use timing::{down_interval, skew_time};
pub use types::{
    ChecksumForm, ChecksumPolicy, Family, Interval, Password, PeerKnowledge, Preempt, Priority,
    Version, Vrid,
};
pub use wire::{Advertisement, GROUP_V4, GROUP_V6, HOP_LIMIT, PROTOCOL, TRAFFIC_CLASS, group};
