//! Sends packets that no VRRP router may believe, at a given rate for a bounded time.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use socket2::{Domain, Protocol, Socket, Type};

use crate::lab::{Address, Host, Lab};
use crate::wire::{AdvertForm, vrrp_message};

const GROUP: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 18);
/// Packets sent between two looks at the clock.
const BURST: u32 = 5;

/// What is wrong with the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Junk {
    /// The checksum does not fit.
    Checksum,
    /// Time to live 254.
    Ttl,
    /// Version 4.
    Version,
    /// Type 2.
    Type,
    /// More octets than the count says.
    TooLong,
    /// Fewer octets than the count says.
    TooShort,
    /// No address at all.
    CountZero,
    /// An advertisement interval of 0.
    IntervalZero,
    /// Version 2 with a text password the device does not have.
    Password,
    /// Four octets of VRRP.
    Stump,
    /// Another virtual router.
    OtherVrid,
    /// Nothing is wrong: an advertisement with priority 1, which an Active router answers.
    Losing,
}

impl Junk {
    /// Everything a router must drop.
    pub const ALL: [Junk; 11] = [
        Junk::Checksum,
        Junk::Ttl,
        Junk::Version,
        Junk::Type,
        Junk::TooLong,
        Junk::TooShort,
        Junk::CountZero,
        Junk::IntervalZero,
        Junk::Password,
        Junk::Stump,
        Junk::OtherVrid,
    ];

    /// The whole IPv4 datagram, at priority 254 (where a believer would step down), the kernel filling in the
    /// header checksum.
    fn datagram(self, source: Ipv4Addr, vrid: u8) -> Vec<u8> {
        let form = AdvertForm::V3 {
            source,
            destination: GROUP,
        };
        let vips = [Address::VIP4];
        let mut message = match self {
            Junk::CountZero => vrrp_message(form, vrid, 254, 10, &[]),
            Junk::IntervalZero => vrrp_message(form, vrid, 254, 0, &vips),
            Junk::Password => vrrp_message(
                AdvertForm::V2 {
                    auth_type: 1,
                    data: *b"intruder",
                },
                vrid,
                254,
                1,
                &vips,
            ),
            Junk::OtherVrid => vrrp_message(form, vrid.wrapping_add(1).max(1), 254, 10, &vips),
            Junk::Losing => vrrp_message(form, vrid, 1, 10, &vips),
            _ => vrrp_message(form, vrid, 254, 10, &vips),
        };
        // Changes of the first octet are made good in the checksum, so that only the meant check can drop it.
        let mut first = |value: u8| {
            let sum = u16::from_be_bytes([message[6], message[7]]);
            let change = (u16::from(value).wrapping_sub(u16::from(message[0]))) << 8;
            message[0] = value;
            let (fixed, borrow) = sum.overflowing_sub(change);
            message[6..8].copy_from_slice(&fixed.wrapping_sub(u16::from(borrow)).to_be_bytes());
        };
        match self {
            Junk::Version => first(0x41),
            Junk::Type => first(0x32),
            Junk::Checksum => message[7] ^= 0x55,
            Junk::TooLong => message.extend([0; 4]),
            Junk::TooShort => message.truncate(8),
            Junk::Stump => message.truncate(4),
            _ => {}
        }
        let ttl = if self == Junk::Ttl { 254 } else { 255 };
        let length = u16::try_from(20 + message.len()).unwrap_or(u16::MAX);
        let mut datagram = vec![0x45, 0xc0];
        datagram.extend(length.to_be_bytes());
        datagram.extend([0, 0, 0, 0, ttl, 112, 0, 0]);
        datagram.extend(source.octets());
        datagram.extend(GROUP.octets());
        datagram.extend(message);
        datagram
    }
}

/// A running stream of junk from the client host. Dropping it ends the stream.
#[derive(Debug)]
pub struct Injector {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    thread: Option<JoinHandle<anyhow::Result<()>>>,
}

impl Injector {
    /// Sends the `kinds` in turn, `rate` packets a second in all, for `length`.
    ///
    /// # Errors
    /// When no raw socket can be opened on the client host.
    pub fn start(
        lab: &Lab,
        kinds: &[Junk],
        vrid: u8,
        rate: u32,
        length: Duration,
    ) -> anyhow::Result<Injector> {
        let socket = lab.net(Host::Client).enter(open)??;
        let packets: Vec<_> = kinds
            .iter()
            .map(|kind| kind.datagram(Host::Client.v4(), vrid))
            .collect();
        let (stop, sent): (Arc<AtomicBool>, Arc<AtomicU64>) = (Arc::default(), Arc::default());
        let (thread_stop, thread_sent) = (Arc::clone(&stop), Arc::clone(&sent));
        let thread = std::thread::Builder::new()
            .name("lab-injector".into())
            .spawn(move || send(&socket, &packets, rate, length, &thread_stop, &thread_sent))?;
        Ok(Injector {
            stop,
            sent,
            thread: Some(thread),
        })
    }

    /// Packets sent so far.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Waits for the end of the stream and returns how many packets were sent.
    ///
    /// # Errors
    /// When the socket refused a packet.
    pub fn finish(mut self) -> anyhow::Result<u64> {
        if let Some(thread) = self.thread.take() {
            thread
                .join()
                .map_err(|_| anyhow::anyhow!("the injector panicked"))??;
        }
        Ok(self.sent())
    }
}

impl Drop for Injector {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn open() -> anyhow::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(112)))
        .context("open a raw socket")?;
    socket.set_header_included_v4(true)?;
    socket.set_multicast_if_v4(&Host::Client.v4())?;
    Ok(socket)
}

fn send(
    socket: &Socket,
    packets: &[Vec<u8>],
    rate: u32,
    length: Duration,
    stop: &AtomicBool,
    sent: &AtomicU64,
) -> anyhow::Result<()> {
    let to = SocketAddr::from((GROUP, 0)).into();
    let begun = Instant::now();
    let mut turn = packets.iter().cycle();
    let every = Duration::from_secs(1) * BURST / rate.max(1);
    let mut next_at = begun;
    while !stop.load(Ordering::Relaxed) && begun.elapsed() < length {
        for packet in turn.by_ref().take(BURST as usize) {
            socket.send_to(packet, &to).context("send junk")?;
            sent.fetch_add(1, Ordering::Relaxed);
        }
        next_at += every;
        std::thread::sleep(next_at.saturating_duration_since(Instant::now()));
    }
    Ok(())
}
