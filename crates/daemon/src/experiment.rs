//! Something to send that nobody hears: what the director and the keeper practise with.

use std::net::IpAddr;

use linux::raw::RawSender;

/// Index of no link: links are counted up from 1.
pub(crate) const NOWHERE: u32 = i32::MAX as u32;
/// Index of the loopback link, in every network namespace.
pub(crate) const LOOPBACK: u32 = 1;
/// A protocol for experiments (RFC 3692): nobody listens to it.
const EXPERIMENT: u8 = 253;

/// A socket for packets of the protocol for experiments, to this host itself; none where the family is not there.
pub(crate) fn sender(v6: bool) -> Option<RawSender> {
    RawSender::open("lo", LOOPBACK, EXPERIMENT, v6).ok()
}

/// A packet from an address of this host to itself, as the sending socket takes it: with its header over IPv4.
pub(crate) fn packet(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => {
            let mut header = vec![0; 20];
            header[0] = 0x45;
            header[8] = 1;
            header[9] = EXPERIMENT;
            header[12..16].copy_from_slice(&address.octets());
            header[16..].copy_from_slice(&address.octets());
            header
        }
        IpAddr::V6(_) => vec![0; 8],
    }
}
