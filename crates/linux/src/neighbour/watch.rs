//! Hears who else says that it has an address: ARP of any kind whose sender is that address, and neighbour advertisements for it.
//!
//! The kernel drops everything else before it gets here (classic BPF), so that a busy link costs nothing.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::OwnedFd;

use nix::libc;
use socket2::{Domain, SockFilter, Socket, Type};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::link_address;
use crate::readiness::watch;

/// Addresses a filter can tell apart; with more of them it lets all of their kind through.
const FILTERED: usize = 200;
/// Octets of a frame that are looked at: Ethernet, IPv6, a neighbour advertisement with its option, and room.
const SNAP_LEN: u32 = 128;
/// Frames without sense that are skipped in one go.
const SKIPPED: usize = 32;
/// Octets of receive buffer asked for: a burst of some hundred frames.
const RECEIVE_BUFFER: usize = 64 * 1024;

const SENDER_MAC: usize = 22;
const SENDER_IP: usize = 28;
const SOURCE_MAC: usize = 6;
const NEXT_HEADER: usize = 20;
const ICMP_TYPE: usize = 54;
const TARGET: usize = 62;
const OPTION: usize = 78;
const ICMPV6: u32 = 58;
const NEIGHBOUR_ADVERTISEMENT: u32 = 136;
/// Target link-layer address, eight octets.
const TARGET_MAC_OPTION: [u8; 2] = [2, 1];

/// Somebody says that an address is at a hardware address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    /// The address.
    pub address: IpAddr,
    /// Where it is said to be.
    pub mac: [u8; 6],
}

/// Sockets of one link that hear claims of some addresses. What the link itself sends is not among them.
#[derive(Debug)]
pub struct Watcher {
    arp: Option<AsyncFd<OwnedFd>>,
    nd: Option<AsyncFd<OwnedFd>>,
}

impl Watcher {
    /// Opens a socket for each family among `addresses`, in the network namespace of the calling thread. Must be called inside a tokio
    /// runtime. With more than 200 addresses of a family, claims of others may be heard as well.
    ///
    /// # Errors
    /// `ENODEV` without the link, `EPERM` without CAP_NET_RAW.
    pub fn open(ifindex: u32, addresses: &[IpAddr]) -> io::Result<Self> {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for address in addresses {
            match address {
                IpAddr::V4(address) => v4.push(address.to_bits()),
                IpAddr::V6(address) => v6.push((address.to_bits() & u128::from(u32::MAX)) as u32),
            }
        }
        let open = |protocol: i32, filter: Option<Vec<SockFilter>>| {
            filter
                .map(|filter| open(ifindex, protocol, &filter))
                .transpose()
        };
        Ok(Self {
            arp: open(libc::ETH_P_ARP, (!v4.is_empty()).then(|| arp_filter(&v4)))?,
            nd: open(libc::ETH_P_IPV6, (!v6.is_empty()).then(|| nd_filter(&v6)))?,
        })
    }

    /// Waits until [`Watcher::try_next`] may find something; for ever if there is nothing to watch.
    ///
    /// # Errors
    /// Only when the runtime is shutting down.
    pub async fn readable(&self) -> io::Result<()> {
        let ready = async |socket: &Option<AsyncFd<OwnedFd>>| match socket {
            Some(socket) => socket.readable().await.map(drop),
            None => std::future::pending().await,
        };
        tokio::select! {
            done = ready(&self.arp) => done,
            done = ready(&self.nd) => done,
        }
    }

    /// Takes one claim; `None` when there is none. Frames that make no sense are skipped.
    ///
    /// # Errors
    /// What the system says, `ENETDOWN` for example.
    pub fn try_next(&self) -> io::Result<Option<Claim>> {
        for socket in [&self.arp, &self.nd].into_iter().flatten() {
            for _ in 0..SKIPPED {
                let mut frame = [0; SNAP_LEN as usize];
                let taken = socket.try_io(Interest::READABLE, |socket| {
                    nix::unistd::read(socket, &mut frame).map_err(io::Error::from)
                });
                match taken.map(|len| claim(&frame[..len])) {
                    Ok(Some(claim)) => return Ok(Some(claim)),
                    Ok(None) => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(None)
    }
}

fn open(ifindex: u32, protocol: i32, filter: &[SockFilter]) -> io::Result<AsyncFd<OwnedFd>> {
    // Protocol 0 until the filter is in place: nothing else may be queued.
    let socket = Socket::new(Domain::PACKET, Type::RAW.nonblocking(), None)?;
    socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
    socket.attach_filter(filter)?;
    socket.bind(&link_address(ifindex, protocol)?)?;
    watch(socket.into(), Interest::READABLE)
}

/// What a frame claims, if it is one of those that the filters let through.
pub fn claim(frame: &[u8]) -> Option<Claim> {
    match frame.get(12..14)? {
        [0x08, 0x06] => Some(Claim {
            address: IpAddr::V4(Ipv4Addr::from(octets::<4>(frame, SENDER_IP)?)),
            mac: octets(frame, SENDER_MAC)?,
        }),
        [0x86, 0xdd] if frame.get(ICMP_TYPE) == Some(&136) => {
            let with_option = frame.get(OPTION..OPTION + 2) == Some(&TARGET_MAC_OPTION);
            let mac = if with_option { OPTION + 2 } else { SOURCE_MAC };
            Some(Claim {
                address: IpAddr::V6(Ipv6Addr::from(octets::<16>(frame, TARGET)?)),
                mac: octets(frame, mac)?,
            })
        }
        _ => None,
    }
}

fn octets<const N: usize>(frame: &[u8], at: usize) -> Option<[u8; N]> {
    frame.get(at..at + N)?.try_into().ok()
}

// ---- filters ----

const LOAD_WORD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
const LOAD_OCTET: u16 = (libc::BPF_LD | libc::BPF_B | libc::BPF_ABS) as u16;
const JUMP_IF_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;

/// ARP whose sender is one of these addresses.
fn arp_filter(senders: &[u32]) -> Vec<SockFilter> {
    one_of(SENDER_IP, senders)
}

/// Neighbour advertisements whose target ends with one of these words.
fn nd_filter(targets: &[u32]) -> Vec<SockFilter> {
    let mut filter = Vec::new();
    for (at, value) in [(NEXT_HEADER, ICMPV6), (ICMP_TYPE, NEIGHBOUR_ADVERTISEMENT)] {
        filter.push(SockFilter::new(LOAD_OCTET, 0, 0, at as u32));
        filter.push(SockFilter::new(JUMP_IF_EQUAL, 1, 0, value));
        filter.push(SockFilter::new(RETURN, 0, 0, 0));
    }
    filter.extend(one_of(TARGET + 12, targets));
    filter
}

/// Accepts frames whose word at `at` is one of `values`; any frame with more values than a filter can hold.
fn one_of(at: usize, values: &[u32]) -> Vec<SockFilter> {
    let accept = SockFilter::new(RETURN, 0, 0, SNAP_LEN);
    if values.len() > FILTERED {
        return vec![accept];
    }
    let mut filter = vec![SockFilter::new(LOAD_WORD, 0, 0, at as u32)];
    for (index, value) in values.iter().enumerate() {
        // Over the comparisons that are left and the refusal behind them.
        let over = u8::try_from(values.len() - index).expect("at most FILTERED");
        filter.push(SockFilter::new(JUMP_IF_EQUAL, over, 0, *value));
    }
    filter.push(SockFilter::new(RETURN, 0, 0, 0));
    filter.push(accept);
    filter
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::neighbour::{ArpForm, gratuitous_arp, unsolicited_na};

    const MAC: [u8; 6] = [2, 0, 0, 0, 0, 7];

    #[test]
    fn announcements_are_claims() {
        let (v4, v6) = (
            Ipv4Addr::new(10, 0, 0, 10),
            Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 0x10),
        );
        for form in [ArpForm::Request, ArpForm::Reply] {
            let expected = Claim {
                address: v4.into(),
                mac: MAC,
            };
            assert_eq!(claim(&gratuitous_arp(MAC, v4, form)), Some(expected));
        }
        let expected = Claim {
            address: v6.into(),
            mac: MAC,
        };
        let frame = unsolicited_na(MAC, v6, false);
        assert_eq!(claim(&frame), Some(expected));
        // Without the option the sender's own address counts.
        assert_eq!(claim(&frame[..OPTION]), Some(expected));
    }

    #[test]
    fn no_cut_frame_does_harm() {
        let arp = gratuitous_arp(MAC, Ipv4Addr::new(10, 0, 0, 10), ArpForm::Reply);
        let na = unsolicited_na(MAC, Ipv6Addr::LOCALHOST, true);
        for frame in [arp, na] {
            for len in 0..frame.len() {
                let _ = claim(&frame[..len]);
            }
        }
        assert_eq!(claim(&[0xff; 14]), None);
    }

    #[test]
    fn a_filter_holds_two_hundred_addresses_and_no_more() {
        let many: Vec<u32> = (0..200).collect();
        assert_eq!(arp_filter(&many).len(), 203);
        assert_eq!(arp_filter(&(0..201).collect::<Vec<u32>>()).len(), 1);
        assert_eq!(nd_filter(&many).len(), 209);
    }
}
