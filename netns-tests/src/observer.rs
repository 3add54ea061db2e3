//! Writes down what crosses the wire, with the kernel's time stamps.
//!
//! It sits on the `watch` host, whose switch port sees only what is flooded: advertisements, gratuitous ARP,
//! neighbour advertisements and strangers' junk, not the probes.

use std::io::IoSliceMut;
use std::net::IpAddr;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::socket::{LinkAddr, MsgFlags, recvmsg};

use crate::lab::{Host, Lab};
use crate::stamp;
use crate::wire::{Advert, Frame, decode};

/// Octets of frames that may wait to be read.
const ROOM: usize = 8 * 1024 * 1024;

/// A frame and the moment the kernel got it.
#[derive(Clone, Debug)]
pub struct Seen {
    /// When it arrived at the watching host.
    pub at: Instant,
    /// What it was.
    pub frame: Frame,
}

/// Records until dropped. Junk of the injector is recorded as well, by its source address.
#[derive(Debug)]
pub struct Observer {
    stop: Arc<AtomicBool>,
    seen: Arc<Mutex<Vec<Seen>>>,
    thread: Option<JoinHandle<anyhow::Result<()>>>,
}

impl Observer {
    /// Begins to record on the `watch` host.
    ///
    /// # Errors
    /// When no packet socket can be opened there.
    pub fn start(lab: &Lab) -> anyhow::Result<Observer> {
        let socket = lab.net(Host::Watch).enter(|| stamp::open(ROOM))??;
        let (stop, seen): (Arc<AtomicBool>, Arc<Mutex<Vec<Seen>>>) =
            (Arc::default(), Arc::default());
        let (thread_stop, thread_seen) = (Arc::clone(&stop), Arc::clone(&seen));
        let thread = std::thread::Builder::new()
            .name("lab-observer".into())
            .spawn(move || record(&socket, &thread_stop, &thread_seen))?;
        Ok(Observer {
            stop,
            seen,
            thread: Some(thread),
        })
    }

    /// Everything seen from `since` on, in order of time.
    pub fn seen(&self, since: Instant) -> Vec<Seen> {
        let mut seen = self
            .seen
            .lock()
            .map(|seen| seen.clone())
            .unwrap_or_default();
        seen.retain(|seen| seen.at >= since);
        seen.sort_by_key(|seen| seen.at);
        seen
    }

    /// The advertisements of one source from `since` on.
    pub fn adverts(&self, source: impl Into<IpAddr>, since: Instant) -> Vec<(Instant, Advert)> {
        let source = source.into();
        self.seen(since)
            .into_iter()
            .filter_map(|seen| match seen.frame {
                Frame::Advert(advert) if advert.source == source => Some((seen.at, advert)),
                Frame::Advert(_)
                | Frame::GratuitousArp { .. }
                | Frame::NeighbourAdvertisement { .. } => None,
            })
            .collect()
    }

    /// The longest silence of `source` between `from` and `to`, both ends counted as if it had spoken there.
    pub fn longest_silence(
        &self,
        source: impl Into<IpAddr>,
        from: Instant,
        to: Instant,
    ) -> Duration {
        let mut last = from;
        let mut longest = Duration::ZERO;
        for at in self
            .adverts(source, from)
            .into_iter()
            .map(|(at, _)| at)
            .filter(|at| *at <= to)
        {
            longest = longest.max(at.duration_since(last));
            last = at;
        }
        longest.max(to.duration_since(last))
    }

    /// When `address` was announced from `since` on, and from which hardware address (ARP or neighbour discovery).
    pub fn announcements(
        &self,
        address: impl Into<IpAddr>,
        since: Instant,
    ) -> Vec<(Instant, [u8; 6])> {
        let wanted = address.into();
        self.seen(since)
            .into_iter()
            .filter_map(|seen| match seen.frame {
                Frame::GratuitousArp { address, mac, .. } if wanted == address => {
                    Some((seen.at, mac))
                }
                Frame::NeighbourAdvertisement {
                    address,
                    mac: Some(mac),
                } if wanted == address => Some((seen.at, mac)),
                Frame::Advert(_)
                | Frame::GratuitousArp { .. }
                | Frame::NeighbourAdvertisement { .. } => None,
            })
            .collect()
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn record(socket: &OwnedFd, stop: &AtomicBool, seen: &Mutex<Vec<Seen>>) -> anyhow::Result<()> {
    let mut buffer = [0_u8; 2048];
    let mut control = nix::cmsg_space!(nix::sys::time::TimeSpec);
    while !stop.load(Ordering::Relaxed) {
        let mut slices = [IoSliceMut::new(&mut buffer)];
        let Ok(message) = recvmsg::<LinkAddr>(
            socket.as_raw_fd(),
            &mut slices,
            Some(&mut control),
            MsgFlags::empty(),
        ) else {
            continue;
        };
        let length = message.bytes;
        let at = stamp::arrival(&message)?;
        if let Some(frame) = decode(&buffer[..length])
            && let Ok(mut seen) = seen.lock()
        {
            seen.push(Seen { at, frame });
        }
    }
    Ok(())
}
