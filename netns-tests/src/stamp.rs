//! Sockets that hear every frame, and the kernel's word for when it came, whatever kept its reader.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context as _;
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, LinkAddr, RecvMsg, SockFlag, SockProtocol, SockType,
    setsockopt, socket, sockopt,
};
use nix::sys::time::TimeVal;

/// Two clocks read within this have been read at once.
const AT_ONCE: Duration = Duration::from_millis(1);
/// How often that is tried before the last reading has to do.
const TRIES: usize = 20;

/// A packet socket in the namespace of the calling thread, with `room` octets for frames nobody has read yet. A read gives up after 50 ms.
///
/// # Errors
/// Without the right to open one.
pub(crate) fn open(room: usize) -> anyhow::Result<OwnedFd> {
    let socket = socket(
        AddressFamily::Packet,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::EthAll,
    )
    .context("open a packet socket")?;
    setsockopt(&socket, sockopt::ReceiveTimestampns, &true)?;
    setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::new(0, 50_000))?;
    setsockopt(&socket, sockopt::RcvBufForce, &room)?;
    Ok(socket)
}

/// When the kernel got this frame; the present moment if it does not say.
///
/// # Errors
/// When its stamp did not fit where it was to be put.
pub(crate) fn arrival(message: &RecvMsg<'_, '_, LinkAddr>) -> anyhow::Result<Instant> {
    let stamp = message.cmsgs()?.find_map(|found| match found {
        ControlMessageOwned::ScmTimestampns(stamp) => Some(Duration::from(stamp)),
        _ => None,
    });
    Ok(stamp.map_or_else(Instant::now, instant_of))
}

/// The instant of a wall clock stamp of a moment ago. Who is kept from the processor between the two clocks reads them again.
fn instant_of(stamp: Duration) -> Instant {
    let mut at = Instant::now();
    for _ in 0..TRIES {
        let before = Instant::now();
        let wall = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let both = before.elapsed();
        at = before
            .checked_sub(wall.saturating_sub(stamp))
            .unwrap_or(before);
        if both < AT_ONCE {
            break;
        }
    }
    at
}
