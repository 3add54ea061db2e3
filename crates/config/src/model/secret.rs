//! What the two nodes of a pair know and nobody else does.

use std::fmt;

use hkdf::Hkdf;
use sha2::Sha256;

/// The keys of `pair.key_file`, the one in use first. They are never shown or handed out: only what is derived from them is.
#[derive(Clone, PartialEq, Eq)]
pub struct PairSecret {
    keys: Vec<Vec<u8>>,
}

impl PairSecret {
    /// From the octets of the keys; at least one.
    pub(crate) fn new(keys: Vec<Vec<u8>>) -> Self {
        debug_assert!(!keys.is_empty(), "a key file without a key is refused");
        Self { keys }
    }

    /// A key for one purpose of each key of the pair (HKDF with SHA-256, RFC 5869, `purpose` as info): both nodes derive
    /// the same, and none of them tells anything about another.
    pub fn derive(&self, purpose: &str) -> Vec<[u8; 32]> {
        let derive = |key: &Vec<u8>| {
            let mut derived = [0; 32];
            Hkdf::<Sha256>::new(None, key)
                .expand(purpose.as_bytes(), &mut derived)
                .expect("32 octets are no more than HKDF can make");
            derived
        };
        self.keys.iter().map(derive).collect()
    }
}

impl fmt::Debug for PairSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PairSecret({} keys, hidden)", self.keys.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_derived_as_rfc_5869_has_it() {
        // Appendix A.3: no salt, no info; its first 32 octets.
        let secret = PairSecret::new(vec![vec![0x0b; 22]]);
        let digits: String = secret.derive("")[0]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert_eq!(
            digits,
            "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d"
        );
        assert_ne!(secret.derive("cookies"), secret.derive("tickets"));
    }

    #[test]
    fn it_is_not_shown() {
        let secret = PairSecret::new(vec![b"0123456789abcdef0123456789abcdef".to_vec()]);
        assert_eq!(format!("{secret:?}"), "PairSecret(1 keys, hidden)");
    }
}
