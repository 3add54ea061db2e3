//! The crate against the kernel, in network namespaces of its own. Needs root.

#![allow(clippy::unwrap_used)]

mod address;
mod announce;
mod lab;
mod lease;
mod monitor;
mod privilege;
mod process;
mod raw;
mod renewal;
mod role;
mod virtual_link;
