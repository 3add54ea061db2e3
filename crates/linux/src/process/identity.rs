//! Users and groups.

use std::io;

use nix::sys::prctl;
use nix::unistd::{Gid, Group, Uid, User, setgroups, setresgid, setresuid};

use super::{Capability, keep_capabilities};

/// Becomes the user `uid` with the group `gid` alone, for good, and keeps of the capabilities just `keep`.
///
/// Returns those of `keep` that the process did not have. Call it before any other thread runs: the identity is that
/// of the whole process, the capabilities are those of the calling thread.
///
/// # Errors
/// `EPERM` without CAP_SETUID and CAP_SETGID; the process may then be half changed and should end.
pub fn become_user(uid: u32, gid: u32, keep: &[Capability]) -> io::Result<Vec<Capability>> {
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    prctl::set_keepcaps(true)?;
    setgroups(&[gid])?;
    setresgid(gid, gid, gid)?;
    setresuid(uid, uid, uid)?;
    prctl::set_keepcaps(false)?;
    keep_capabilities(keep)
}

/// User id and primary group id of the user `name`; `None` if there is no such user.
///
/// # Errors
/// When the user database cannot be read.
pub fn user_ids(name: &str) -> io::Result<Option<(u32, u32)>> {
    let user = User::from_name(name)?;
    Ok(user.map(|user| (user.uid.as_raw(), user.gid.as_raw())))
}

/// Name of the user `uid`; `None` if there is no such user.
///
/// # Errors
/// When the user database cannot be read.
pub fn user_name(uid: u32) -> io::Result<Option<String>> {
    Ok(User::from_uid(Uid::from_raw(uid))?.map(|user| user.name))
}

/// Id of the group `name`; `None` if there is no such group.
///
/// # Errors
/// When the group database cannot be read.
pub fn group_id(name: &str) -> io::Result<Option<u32>> {
    let group = Group::from_name(name)?;
    Ok(group.map(|group| group.gid.as_raw()))
}
