//! Capabilities of the calling thread.

use std::io;

use caps::{CapSet, CapsHashSet};

pub use caps::Capability;

/// Drops every capability that is not in `keep`, for good: from the effective, permitted, inheritable and ambient
/// sets, and from the bounding set where CAP_SETPCAP allows that. What is kept is effective.
///
/// Returns those of `keep` that the thread did not have and so still has not.
///
/// # Errors
/// What the system says; the sets may then be half changed.
pub fn keep_capabilities(keep: &[Capability]) -> io::Result<Vec<Capability>> {
    let wanted: CapsHashSet = keep.iter().copied().collect();
    let held = caps::read(None, CapSet::Permitted).map_err(other)?;
    shrink_bounding_set(&wanted, &held)?;
    let kept: CapsHashSet = wanted.intersection(&held).copied().collect();
    caps::clear(None, CapSet::Ambient).map_err(other)?;
    caps::set(None, CapSet::Effective, &kept).map_err(other)?;
    caps::set(None, CapSet::Inheritable, &CapsHashSet::new()).map_err(other)?;
    caps::set(None, CapSet::Permitted, &kept).map_err(other)?;
    Ok(keep
        .iter()
        .copied()
        .filter(|wanted| !held.contains(wanted))
        .collect())
}

/// Gives `granted` to the programs this thread executes, through the inheritable and ambient sets.
///
/// # Errors
/// `EPERM` for one that the thread does not have itself.
pub fn grant_children(granted: &[Capability]) -> io::Result<()> {
    for capability in granted {
        caps::raise(None, CapSet::Inheritable, *capability).map_err(other)?;
        caps::raise(None, CapSet::Ambient, *capability).map_err(other)?;
    }
    Ok(())
}

fn shrink_bounding_set(wanted: &CapsHashSet, held: &CapsHashSet) -> io::Result<()> {
    if !held.contains(&Capability::CAP_SETPCAP) {
        return Ok(());
    }
    caps::raise(None, CapSet::Effective, Capability::CAP_SETPCAP).map_err(other)?;
    let bounding = caps::read(None, CapSet::Bounding).map_err(other)?;
    for capability in bounding.difference(wanted) {
        caps::drop(None, CapSet::Bounding, *capability).map_err(other)?;
    }
    Ok(())
}

fn other(error: caps::errors::CapsError) -> io::Error {
    io::Error::other(error)
}
