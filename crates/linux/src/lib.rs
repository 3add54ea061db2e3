//! What only the kernel can do: addresses, links, raw and packet sockets, processes, descriptor passing.
//!
//! The crate knows no protocol and decides nothing: numbers, groups, frames and lengths of time come from the caller.
//! It reads no configuration and writes no log; what went wrong is an error that says what was attempted.
//!
//! | module | for |
//! |---|---|
//! | [`address`] | leased addresses and virtual links by netlink, lists of both, removal without a runtime |
//! | [`sysctl`] | settings of single links |
//! | [`monitor`] | changes of links and addresses, as they happen |
//! | [`raw`] | raw IP sockets of one link: one to receive, one to send |
//! | [`neighbour`] | gratuitous ARP and unsolicited neighbour advertisements; probes, and who claims an address |
//! | [`surroundings`] | gateway and frame counter of a link |
//! | [`ping`] | ICMP echo |
//! | [`process`] | memory, scheduling, capabilities, users, clocks, children |
//! | [`channel`] | messages with descriptors between processes of one machine |
//!
//! Sockets belong to the network namespace of the thread that opened them.

pub mod address;
pub mod channel;
pub mod monitor;
pub mod neighbour;
mod netlink;
pub mod ping;
pub mod process;
pub mod raw;
mod readiness;
pub mod surroundings;
pub mod sysctl;
