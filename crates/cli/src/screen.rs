//! Screens: pure functions from messages to text. They read no clock (`now` comes in) and write nowhere.
//!
//! Rules of all screens: 80 columns; readable without colour; `-` for what does not apply; times relative to now; numbers to
//! the right; nothing changes its width from second to second but counters.

mod certificates;
mod event;
mod explain;
mod order;
mod overrides;
mod pair;
mod protocols;
mod rules;
mod sessions;
mod status;
mod table;
mod targets;
#[cfg(test)]
mod tests;
mod top;
mod vrrp;
mod why;
mod why_target;
mod words;

pub(crate) use certificates::certificates;
pub(crate) use event::event;
pub(crate) use explain::explanation;
pub(crate) use order::{handover, in_force, reload};
pub(crate) use overrides::{ordered, overrides};
pub(crate) use pair::pair;
pub(crate) use rules::rules;
pub(crate) use sessions::{killed, sessions};
pub(crate) use status::status;
pub(crate) use targets::targets;
pub(crate) use top::top;
pub(crate) use vrrp::vrrp;
pub(crate) use why::{recordings, why};
pub(crate) use why_target::why_target;

/// Columns a screen may take.
const WIDTH: usize = 80;
