//! Writes down which hardware addresses a host sends from, and what it says by ARP, at its port of the switch: every frame, unicast too.

use std::io::IoSliceMut;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Instant;

use anyhow::Context as _;
use nix::libc;
use nix::sys::socket::{LinkAddr, MsgFlags, recvmsg};

use crate::lab::{Host, Lab};
use crate::stamp;

/// Octets of frames that may wait to be read.
const ROOM: usize = 32 * 1024 * 1024;

/// One frame of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// When it came to the port.
    pub at: Instant,
    /// Its source hardware address.
    pub mac: [u8; 6],
    /// Its EtherType.
    pub kind: u16,
    /// ARP: who it says it is, by address and hardware address.
    pub arp_sender: Option<(Ipv4Addr, [u8; 6])>,
}

/// Records until dropped.
#[derive(Debug)]
pub struct MacWatch {
    stop: Arc<AtomicBool>,
    sent: Arc<Mutex<Vec<Sent>>>,
    thread: Option<JoinHandle<()>>,
}

impl MacWatch {
    /// Begins to record what `host` sends.
    ///
    /// # Errors
    /// When no packet socket can be opened at the switch.
    pub fn start(lab: &Lab, host: Host) -> anyhow::Result<MacWatch> {
        let (socket, port) = lab.switch().enter(|| open(host.name()))??;
        let (stop, sent): (Arc<AtomicBool>, Arc<Mutex<Vec<Sent>>>) =
            (Arc::default(), Arc::default());
        let (thread_stop, thread_sent) = (Arc::clone(&stop), Arc::clone(&sent));
        let thread = std::thread::Builder::new()
            .name("lab-macwatch".into())
            .spawn(move || record(&socket, port, &thread_stop, &thread_sent))?;
        Ok(MacWatch {
            stop,
            sent,
            thread: Some(thread),
        })
    }

    /// Everything the host sent from `since` on.
    pub fn sent(&self, since: Instant) -> Vec<Sent> {
        let sent = self.sent.lock();
        let mut sent = sent.map(|sent| sent.clone()).unwrap_or_default();
        sent.retain(|sent| sent.at >= since);
        sent
    }

    /// What it sent from a virtual MAC (RFC 9568 §7.3) from `since` on.
    pub fn virtual_frames(&self, since: Instant) -> Vec<Sent> {
        let mut sent = self.sent(since);
        sent.retain(|sent| sent.mac.starts_with(&[0, 0, 0x5e, 0]));
        sent
    }
}

impl Drop for MacWatch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A socket that gets every frame of the switch, and the index of the port.
fn open(port: &str) -> anyhow::Result<(OwnedFd, usize)> {
    let index = nix::net::if_::if_nametoindex(port).context("find the port")?;
    Ok((stamp::open(ROOM)?, index as usize))
}

fn record(socket: &OwnedFd, port: usize, stop: &AtomicBool, sent: &Mutex<Vec<Sent>>) {
    let mut buffer = [0_u8; 2048];
    let mut control = nix::cmsg_space!(nix::sys::time::TimeSpec);
    while !stop.load(Ordering::Relaxed) {
        let mut slices = [IoSliceMut::new(&mut buffer)];
        let flags = MsgFlags::empty();
        let received =
            recvmsg::<LinkAddr>(socket.as_raw_fd(), &mut slices, Some(&mut control), flags);
        let Ok(message) = received else { continue };
        let (length, Some(from), Ok(at)) =
            (message.bytes, message.address, stamp::arrival(&message))
        else {
            continue;
        };
        let outgoing = from.pkttype() == libc::PACKET_OUTGOING;
        if from.ifindex() == port
            && !outgoing
            && let Some(frame) = read(at, &buffer[..length])
            && let Ok(mut sent) = sent.lock()
        {
            sent.push(frame);
        }
    }
}

fn read(at: Instant, frame: &[u8]) -> Option<Sent> {
    const ARP: u16 = 0x0806;
    let kind = u16::from_be_bytes(frame.get(12..14)?.try_into().ok()?);
    let arp_sender = || {
        let address: [u8; 4] = frame.get(28..32)?.try_into().ok()?;
        Some((Ipv4Addr::from(address), frame.get(22..28)?.try_into().ok()?))
    };
    Some(Sent {
        at,
        mac: frame.get(6..12)?.try_into().ok()?,
        kind,
        arp_sender: (kind == ARP).then(arp_sender).flatten(),
    })
}
