//! The laboratory: two nodes, a client and two backends, each in a network namespace of its own, joined by a
//! software switch; a prober that asks through the virtual address every millisecond; an observer that
//! writes down what crosses the wire; and the devices under test, ours and Debian's Keepalived, behind
//! one trait.
//!
//! Nothing here knows how Tandem works inside: devices are started as programs, told things by signals, by
//! their control socket and by their command line, and judged by what a third host sees.
//!
//! Everything needs root. Without it the laboratory says so and fails; it never passes by skipping.
//!
//! - [`Lab`] makes the topology, cuts cables and takes everything down again, even after `kill -9`
//! - [`Prober`] is the client: 1,000 new connections a second, on schedule, whatever happened to earlier ones
//! - [`Observer`] timestamps advertisements, gratuitous ARP and neighbour advertisements
//! - [`MacWatch`] writes down which hardware address a host sends from
//! - [`VipWatch`] writes down which node held an address when
//! - [`Injector`] sends packets that no VRRP router may believe
//! - [`Stranger`] sends single packets of any shape
//! - [`Device`] is a node under test: [`Tandem`], [`Keepalived`] or [`Frr`]
//! - [`compare`] measures what a request costs a proxy, ours beside others
//! - [`Pulse`] knows how long the machine itself stood still
//! - [`wait_until`] waits for a fact, with a limit and a sentence

mod config;
mod control;
mod crowds;
mod device;
mod flood;
mod injector;
mod lab;
mod macwatch;
mod namespace;
mod observer;
mod origin;
mod prober;
mod process;
mod pulse;
mod run;
mod scale;
mod scenario;
mod stamp;
mod stranger;
mod traffic;
mod vipwatch;
mod wait;
mod wire;

pub use config::{Auth, PairConfig};
pub use control::{ControlError, get, post};
pub use crowds::{RuleCost, measure_checks, measure_rules};
pub use device::{Device, Frr, Keepalived, Part, Tandem, frr_config, keepalived_config};
pub use flood::{Flood, Flooded};
pub use injector::{Injector, Junk};
pub use lab::{Address, Host, Lab};
pub use macwatch::{MacWatch, Sent};
pub use namespace::NetNs;
pub use observer::{Observer, Seen};
pub use origin::{Origin, TcpEcho};
pub use prober::{ProbeSettings, Prober};
pub use process::{Process, code_kib, cpu_time, locked_kib, memory_kib, process_tree};
pub use pulse::Pulse;
pub use run::{Outcome, Probe, Run, Summary};
pub use scale::{Crowd, Missed, ScaleMeasure, ScaleProduct, measure_scale, missed};
pub use scenario::{Measure, Product, Scenario, measure};
pub use stranger::{Shot, Stranger, Sum};
pub use traffic::{
    Answer, Comparison, Flows, Rival, Row, Setup, Speech, Tally, Work, compare, compare_datagrams,
    idle_memory, instructions,
};
pub use vipwatch::{VipLog, VipWatch};
pub use wait::{wait_until, within};
pub use wire::{Advert, AdvertForm, Frame, decode, vrrp_message};
