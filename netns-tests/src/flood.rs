//! Floods: frames from the client host, as many a second as it takes, for a bounded time.

use std::io::IoSlice;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, MultiHeaders, SockFlag, SockType, bind, sendmmsg, socket,
};

use crate::lab::{Host, Lab};
use crate::stranger::Shot;

/// Frames handed to the kernel in one call.
const BURST: usize = 64;
/// No flood lasts longer, whatever is asked for.
const LONGEST: Duration = Duration::from_secs(10);
/// Frames a second at most.
const FASTEST: u32 = 250_000;

/// What a flood came to.
#[derive(Clone, Copy, Debug)]
pub struct Flooded {
    /// Frames sent.
    pub sent: u64,
    /// In how long.
    pub took: Duration,
}

impl Flooded {
    /// Frames a second, on average.
    pub fn rate(&self) -> f64 {
        self.sent as f64 / self.took.as_secs_f64()
    }
}

/// A running flood. Dropping it ends it.
#[derive(Debug)]
pub struct Flood {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    thread: Option<JoinHandle<anyhow::Result<Flooded>>>,
}

impl Flood {
    /// Keeps the flood away from all but the two nodes: the ports of the other hosts do not talk to each other. The watching host
    /// still sees what the nodes send, and nothing else.
    ///
    /// # Errors
    /// When the switch refuses.
    pub fn confine(lab: &Lab) -> anyhow::Result<()> {
        for host in [Host::Client, Host::Backend1, Host::Backend2, Host::Watch] {
            let order = format!("link set dev {} isolated on", host.name());
            lab.switch().bridge(&order)?;
        }
        Ok(())
    }

    /// Sends the `shots` in turn, `rate` frames a second in all, for `length`.
    ///
    /// # Errors
    /// When that would be more than a laboratory is for, or no packet socket can be opened.
    pub fn start(lab: &Lab, shots: &[Shot], rate: u32, length: Duration) -> anyhow::Result<Flood> {
        ensure!(
            length <= LONGEST && rate <= FASTEST && !shots.is_empty(),
            "a flood is bounded"
        );
        let socket = lab.net(Host::Client).enter(open)??;
        let frames: Vec<Vec<u8>> = shots.iter().map(Shot::frame).collect();
        let (stop, sent): (Arc<AtomicBool>, Arc<AtomicU64>) = (Arc::default(), Arc::default());
        let (thread_stop, thread_sent) = (Arc::clone(&stop), Arc::clone(&sent));
        let thread = std::thread::Builder::new()
            .name("lab-flood".into())
            .spawn(move || send(&socket, &frames, rate, length, &thread_stop, &thread_sent))?;
        Ok(Flood {
            stop,
            sent,
            thread: Some(thread),
        })
    }

    /// Frames sent so far.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When the socket refused a frame.
    pub fn finish(mut self) -> anyhow::Result<Flooded> {
        let thread = self.thread.take().context("finished already")?;
        thread
            .join()
            .map_err(|_| anyhow::anyhow!("the flood panicked"))?
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn open() -> anyhow::Result<OwnedFd> {
    let link = nix::ifaddrs::getifaddrs()?
        .filter(|found| found.interface_name == "eth0")
        .find_map(|found| found.address?.as_link_addr().copied())
        .context("the client has no eth0")?;
    let socket = socket(
        AddressFamily::Packet,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        None,
    )
    .context("open a packet socket")?;
    bind(socket.as_raw_fd(), &link).context("bind the packet socket")?;
    Ok(socket)
}

fn send(
    socket: &OwnedFd,
    frames: &[Vec<u8>],
    rate: u32,
    length: Duration,
    stop: &AtomicBool,
    sent: &AtomicU64,
) -> anyhow::Result<Flooded> {
    let begun = Instant::now();
    let mut turn = frames.iter().cycle();
    let every = Duration::from_secs(1) * BURST as u32 / rate.max(1);
    let mut next_at = begun;
    while !stop.load(Ordering::Relaxed) && begun.elapsed() < length {
        let slices: Vec<[IoSlice<'_>; 1]> = turn
            .by_ref()
            .take(BURST)
            .map(|frame| [IoSlice::new(frame)])
            .collect();
        let mut headers = MultiHeaders::<LinkAddr>::preallocate(slices.len(), None);
        let none = vec![None; slices.len()];
        let done = sendmmsg(
            socket.as_raw_fd(),
            &mut headers,
            &slices,
            none,
            [],
            MsgFlags::empty(),
        )
        .context("send a burst")?;
        sent.fetch_add(done.count() as u64, Ordering::Relaxed);
        next_at += every;
        std::thread::sleep(next_at.saturating_duration_since(Instant::now()));
    }
    Ok(Flooded {
        sent: sent.load(Ordering::Relaxed),
        took: begun.elapsed(),
    })
}
