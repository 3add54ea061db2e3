//! What the kernel knows of the surroundings of the links, read from `/proc/net` of the calling thread's network namespace. No disk is
//! involved, so a look does not wait.

use std::collections::BTreeMap;
use std::io;
use std::net::Ipv4Addr;

/// Flag of a route that is up and goes through a gateway (`RTF_UP | RTF_GATEWAY`).
const VIA_GATEWAY: u32 = 0x3;

/// Everything at one moment, by name of the link.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Surroundings {
    /// The gateway of the IPv4 default route, where there is one.
    pub gateways: BTreeMap<String, Ipv4Addr>,
    /// Frames received since the link was made.
    pub received: BTreeMap<String, u64>,
}

impl Surroundings {
    /// Looks around.
    ///
    /// # Errors
    /// When `/proc/net/route` or `/proc/net/dev` cannot be read.
    pub fn look() -> io::Result<Self> {
        Ok(Self {
            gateways: gateways(&std::fs::read_to_string("/proc/thread-self/net/route")?),
            received: received(&std::fs::read_to_string("/proc/thread-self/net/dev")?),
        })
    }
}

/// Columns: link, destination, gateway, flags, ..., mask at 7; addresses as hexadecimal numbers in the byte order of the machine. The
/// first default route of a link counts: it has the best metric.
fn gateways(table: &str) -> BTreeMap<String, Ipv4Addr> {
    let mut gateways = BTreeMap::new();
    for line in table.lines().skip(1) {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let number = |at: usize| u32::from_str_radix(columns.get(at)?, 16).ok();
        let (Some(0), Some(0), Some(gateway), Some(flags)) =
            (number(1), number(7), number(2), number(3))
        else {
            continue;
        };
        if flags & VIA_GATEWAY == VIA_GATEWAY {
            let address = Ipv4Addr::from(gateway.to_ne_bytes());
            gateways.entry(columns[0].to_owned()).or_insert(address);
        }
    }
    gateways
}

/// A line is `name: octets packets ...`, with or without a space after the colon.
fn received(table: &str) -> BTreeMap<String, u64> {
    let line = |line: &str| {
        let (name, counters) = line.split_once(':')?;
        let packets = counters.split_whitespace().nth(1)?.parse().ok()?;
        Some((name.trim().to_owned(), packets))
    };
    table.lines().filter_map(line).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const DEV: &str = "Inter-|   Receive                                                |  Transmit\n \
         face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets\n    \
         lo:     100       2    0    0    0     0          0         0      100       2\n  \
         eth0:123456789 1234    0    0    0     0          0         0     5000      40\n";

    #[test]
    fn the_received_frames_of_each_link() {
        let expected = [("eth0".to_owned(), 1234), ("lo".to_owned(), 2)];
        assert_eq!(received(DEV), expected.into());
    }

    #[cfg(target_endian = "little")]
    #[test]
    fn the_gateway_of_a_default_route() {
        let table = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\n\
             eth0\t0000000A\t00000000\t0001\t0\t0\t0\t00FFFFFF\n\
             eth1\t00000000\t0100000A\t0002\t0\t0\t0\t00000000\n\
             eth0\t00000000\t0101000A\t0003\t0\t0\t0\t00000000\n\
             eth0\t00000000\t0201000A\t0003\t0\t0\t9\t00000000\n";
        let expected = [("eth0".to_owned(), Ipv4Addr::new(10, 0, 1, 1))];
        assert_eq!(gateways(table), expected.into());
        assert!(gateways("").is_empty());
    }

    #[test]
    fn this_machine_has_a_loopback_link() {
        let found = Surroundings::look().unwrap();
        assert!(found.received.contains_key("lo"), "{found:?}");
    }
}
