//! What consistent hashing goes by: a number made of the client's address or of something in a request.
//!
//! The hash is FNV-1a with 64 bits (offset basis `cbf29ce484222325`, prime `100000001b3`), followed by the 64-bit
//! finaliser of MurmurHash3 (multipliers `ff51afd7ed558ccd` and `c4ceb9fe1a85ec53`, shifts by 33). It is part of what
//! nodes agree on: both nodes of a pair, and every version of the software, must give a client the same target. It
//! never changes, and it has no secret: whoever chooses keys can choose their target.

use std::net::IpAddr;

/// A hashed key; any number is possible.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PickKey(pub(crate) u64);

impl PickKey {
    /// The key of a client address: 4 or 16 octets; an IPv4-mapped IPv6 address is the IPv4 address.
    pub fn of_address(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::of_bytes(&address.octets()),
            IpAddr::V6(address) => Self::of_bytes(&address.octets()),
        }
    }

    /// The key of some text, byte for byte.
    pub fn of_bytes(bytes: &[u8]) -> Self {
        Self(hash([bytes]))
    }
}

/// The hash of the parts, as if they were one text.
pub(crate) fn hash<const N: usize>(parts: [&[u8]; N]) -> u64 {
    let bytes = parts.into_iter().flatten();
    bytes
        .fold(Hash::default(), |hash, byte| hash.with(*byte))
        .value()
}

/// A hash under way: what came so far can be had at every byte.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hash(u64);

impl Default for Hash {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Hash {
    /// With one more byte.
    pub(crate) fn with(self, byte: u8) -> Self {
        Self((self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
    }

    /// The hash of the bytes so far.
    pub(crate) fn value(self) -> u64 {
        let state = (self.0 ^ (self.0 >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
        let state = (state ^ (state >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
        state ^ (state >> 33)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_what_it_always_was() {
        // Worked out apart from this code, from the definition above.
        assert_eq!(hash([b"".as_slice()]), 0xefd0_1f60_ba99_2926);
        assert_eq!(hash([b"a".as_slice()]), 0x82a2_a958_a9be_ce5b);
        assert_eq!(
            PickKey::of_bytes(b"10.0.0.21:8080"),
            PickKey(0xdccc_29f3_89bc_18b8)
        );
        assert_eq!(
            hash([b"10.0.0".as_slice(), b".21:8080"]),
            0xdccc_29f3_89bc_18b8
        );
    }

    #[test]
    fn a_mapped_address_is_the_address() {
        let key = |text: &str| PickKey::of_address(text.parse().unwrap());
        assert_eq!(key("::ffff:192.0.2.1"), key("192.0.2.1"));
        assert_eq!(key("192.0.2.1"), PickKey::of_bytes(&[192, 0, 2, 1]));
        assert_ne!(key("2001:db8::1"), key("2001:db8::2"));
    }
}
