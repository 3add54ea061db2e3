//! Whether a host on the link answers an ARP request (RFC 826): also one that answers no ping.

use std::net::{IpAddr, Ipv4Addr};

use linux::neighbour::{Announcer, Watcher};
use nix::ifaddrs::getifaddrs;
use nix::net::if_::if_nametoindex;

use super::{Outcome, good};

/// Asks in nobody's name, so that no neighbour learns anything by it (RFC 5227 §2.1.1), and waits for the answer, without end.
pub(in crate::runner) async fn ask(address: Ipv4Addr, interface: &str) -> Outcome {
    let no_link = || format!("there is no interface {interface} with a hardware address");
    let ifindex = if_nametoindex(interface).map_err(|_| no_link())?;
    let mac = hardware_address(interface).ok_or_else(no_link)?;
    let failed = |error: std::io::Error| error.to_string();
    let watcher = Watcher::open(ifindex, &[IpAddr::V4(address)]).map_err(failed)?;
    let announcer = Announcer::open(ifindex, mac).map_err(failed)?;
    announcer.probe(IpAddr::V4(address), None).map_err(failed)?;
    loop {
        watcher.readable().await.map_err(failed)?;
        while let Some(claim) = watcher.try_next().map_err(failed)? {
            if claim.address == address {
                let mac = claim.mac.map(|octet| format!("{octet:02x}")).join(":");
                return good(format!("answered by {mac}"));
            }
        }
    }
}

fn hardware_address(interface: &str) -> Option<[u8; 6]> {
    getifaddrs()
        .ok()?
        .filter(|found| found.interface_name == interface)
        .find_map(|found| found.address?.as_link_addr()?.addr())
}
