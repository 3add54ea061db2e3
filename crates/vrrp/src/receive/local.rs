//! What the receive checks know of the interface a packet came from.

use std::net::IpAddr;

/// A network of an interface: an address in it, and how many bits of it the others share.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Network {
    address: IpAddr,
    prefix_len: u8,
}

impl Network {
    /// The network of this address. A prefix longer than the address is the address alone.
    #[must_use]
    pub fn new(address: IpAddr, prefix_len: u8) -> Self {
        Self {
            address,
            prefix_len,
        }
    }

    /// Whether an address of the same family lies in it.
    #[must_use]
    pub fn contains(self, other: IpAddr) -> bool {
        let (differing, bits) = match (self.address, other) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                (u128::from(own.to_bits() ^ other.to_bits()), 32)
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => (own.to_bits() ^ other.to_bits(), 128),
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => return false,
        };
        let rest = bits - u32::from(self.prefix_len).min(bits);
        differing.checked_shr(rest).unwrap_or(0) == 0
    }
}

/// What this node has on the interface a packet came from.
#[derive(Clone, Copy, Debug, Default)]
pub struct Local<'a> {
    /// Its addresses: where unicast may be sent to, and where nothing may come from.
    pub addresses: &'a [IpAddr],
    /// The networks of those that are not virtual: where neighbours are.
    pub networks: &'a [Network],
}

impl<'a> Local<'a> {
    /// Addresses alone, for whoever believes neighbours and others alike.
    #[must_use]
    pub fn addresses(addresses: &'a [IpAddr]) -> Self {
        Self {
            addresses,
            networks: &[],
        }
    }

    /// Whether an address is in one of the networks.
    pub(super) fn is_neighbour(&self, address: IpAddr) -> bool {
        let mut networks = self.networks.iter();
        networks.any(|network| network.contains(address))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_network_ends_where_its_prefix_says() {
        let holds = |network: &str, prefix_len, other: &str| {
            Network::new(network.parse().unwrap(), prefix_len).contains(other.parse().unwrap())
        };
        assert!(holds("10.0.0.2", 24, "10.0.0.255"));
        assert!(!holds("10.0.0.2", 24, "10.0.1.0"));
        assert!(holds("10.0.0.2", 25, "10.0.0.127"));
        assert!(!holds("10.0.0.2", 25, "10.0.0.128"));
        assert!(holds("10.0.0.2", 0, "192.0.2.7"));
        assert!(holds("10.0.0.2", 32, "10.0.0.2"));
        assert!(!holds("10.0.0.2", 32, "10.0.0.3"));
        assert!(!holds("10.0.0.2", 200, "10.0.0.3"));
        assert!(holds("fe80::2", 64, "fe80::ffff:0:0:1"));
        assert!(!holds("fe80::2", 64, "fe80:0:0:1::1"));
        assert!(holds("fe80::2", 0, "2001:db8::1"));
        assert!(!holds("10.0.0.2", 0, "fe80::1"));
        assert!(!holds("::", 0, "10.0.0.2"));
    }
}
