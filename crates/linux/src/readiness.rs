//! Owned descriptors in a tokio runtime: the one place where a descriptor is registered.

use std::io;
use std::os::fd::OwnedFd;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Has the runtime watch `fd` for `interest`. The descriptor is closed with the value.
///
/// # Panics
/// Outside a tokio runtime.
#[allow(unsafe_code)]
pub(crate) fn watch(fd: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an OwnedFd is an open descriptor that nobody else closes, and its number never changes. It stays inside
    // the AsyncFd, whose mutable access this crate never uses, until that is dropped and has deregistered it.
    unsafe { AsyncFd::register_with_interest(fd, interest) }.map_err(io::Error::from)
}
