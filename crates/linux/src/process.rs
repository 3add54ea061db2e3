//! What a process may do and how it is treated: memory, scheduling, capabilities, users, clocks, children.
//!
//! Every call acts on the calling process or thread at once and remembers nothing. Which of them a process makes, and
//! whether a failure matters, is the caller's. Capabilities and scheduling belong to a thread and are inherited by
//! threads it starts later: call these before any other thread runs.

mod capability;
mod child;
mod group;
mod identity;
mod memory;
mod resources;

pub use capability::{Capability, grant_children, keep_capabilities};
pub use child::{ChildFd, Signal, die_with_parent};
pub use group::{lead_group, signal_group};
pub use identity::{become_user, group_id, user_ids, user_name};
pub use memory::{SinglePages, map_large_memory, release_program, trim_memory};
pub use resources::{boottime, monotonic, nofile_limit, oom_score, raise_nofile, realtime};
