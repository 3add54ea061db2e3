//! What the kernel knows of the surroundings of a link, read from `/proc/net` of the calling thread's network namespace. No disk is
//! involved, so these calls do not wait.

use std::io;
use std::net::Ipv4Addr;

/// Flag of a route that is up and goes through a gateway (`RTF_UP | RTF_GATEWAY`).
const VIA_GATEWAY: u32 = 0x3;

/// The gateway of the default route over a link; `None` without one.
///
/// # Errors
/// When `/proc/net/route` cannot be read.
pub fn gateway_v4(link_name: &str) -> io::Result<Option<Ipv4Addr>> {
    let table = std::fs::read_to_string("/proc/thread-self/net/route")?;
    Ok(gateway_in(&table, link_name))
}

/// How many frames a link has received since it was made; `None` without the link.
///
/// # Errors
/// When `/proc/net/dev` cannot be read.
pub fn frames_received(link_name: &str) -> io::Result<Option<u64>> {
    let table = std::fs::read_to_string("/proc/thread-self/net/dev")?;
    Ok(received_in(&table, link_name))
}

/// Columns: link, destination, gateway, flags, ..., mask at 7; addresses as hexadecimal numbers in the byte order of the machine.
fn gateway_in(table: &str, link_name: &str) -> Option<Ipv4Addr> {
    table.lines().skip(1).find_map(|line| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let number = |at: usize| u32::from_str_radix(columns.get(at)?, 16).ok();
        let default = number(1)? == 0 && number(7)? == 0;
        let usable = number(3)? & VIA_GATEWAY == VIA_GATEWAY;
        (columns[0] == link_name && default && usable)
            .then(|| Some(Ipv4Addr::from(number(2)?.to_ne_bytes())))?
    })
}

/// A line is `name: octets packets ...`, with or without a space after the colon.
fn received_in(table: &str, link_name: &str) -> Option<u64> {
    table.lines().find_map(|line| {
        let (name, counters) = line.split_once(':')?;
        let packets = counters.split_whitespace().nth(1)?;
        (name.trim() == link_name).then(|| packets.parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEV: &str = "Inter-|   Receive                                                |  Transmit\n \
         face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets\n    \
         lo:     100       2    0    0    0     0          0         0      100       2\n  \
         eth0:123456789 1234    0    0    0     0          0         0     5000      40\n";

    #[test]
    fn the_received_frames_of_a_link() {
        assert_eq!(received_in(DEV, "eth0"), Some(1234));
        assert_eq!(received_in(DEV, "lo"), Some(2));
        assert_eq!(received_in(DEV, "eth1"), None);
    }

    #[cfg(target_endian = "little")]
    #[test]
    fn the_gateway_of_a_default_route() {
        let table = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\n\
             eth0\t0000000A\t00000000\t0001\t0\t0\t0\t00FFFFFF\n\
             eth1\t00000000\t0100000A\t0002\t0\t0\t0\t00000000\n\
             eth0\t00000000\t0101000A\t0003\t0\t0\t0\t00000000\n";
        assert_eq!(gateway_in(table, "eth0"), Some(Ipv4Addr::new(10, 0, 1, 1)));
        assert_eq!(gateway_in(table, "eth1"), None, "that route is down");
        assert_eq!(gateway_in("", "eth0"), None);
    }
}
