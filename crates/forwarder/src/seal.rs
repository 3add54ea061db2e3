//! Tokens that bind a client to a target or a group: only we can read them, and only we can have written them.
//!
//! ```text
//!  0            12          20          28           44
//!  +------------+-----------+-----------+------------+
//!  |   nonce    |   mark    |  issued   |    tag     |     as 59 characters of base64url
//!  +------------+-----------+-----------+------------+
//!                \____ encrypted ______/
//! ```
//! The mark is the hash of a name ([`TargetMark`], [`GroupMark`]), `issued` is in seconds of the wall clock since 1970,
//! both big endian. The cipher is AES-256-GCM-SIV (RFC 8452): should two tokens ever get the same nonce, that shows
//! whether they say the same, and nothing else. What a token is about goes into the tag: one of another group does not hold.
//!
//! Nothing here allocates. What cookies are is not known here.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use balancer::{GroupMark, TargetMark};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

const TAG_LEN: usize = 16;
const MARK_END: usize = NONCE_LEN + 8;
const PLAIN_END: usize = MARK_END + 8;
const TOKEN_LEN: usize = PLAIN_END + TAG_LEN;
/// Characters of a token.
pub(crate) const TEXT_LEN: usize = 59;

/// A key that tokens are made with; nodes that share it understand each other's. `Debug` hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct CookieKey(pub [u8; 32]);

impl fmt::Debug for CookieKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CookieKey(hidden)")
    }
}

/// What a token binds to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Bond {
    /// A target of this group.
    Target(GroupMark),
    /// A group.
    Group,
}

impl Bond {
    fn associated(self) -> Aad<[u8; 9]> {
        let (kind, mark) = match self {
            Self::Target(group) => (b't', group.0),
            Self::Group => (b'g', 0),
        };
        let mut bytes = [kind; 9];
        bytes[1..].copy_from_slice(&mark.to_be_bytes());
        Aad::from(bytes)
    }
}

/// What a token says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Token {
    /// Whom the client is bound to.
    pub(crate) mark: u64,
    /// When it was made, in seconds since 1970.
    pub(crate) issued: u64,
}

impl Token {
    /// The target it names, if it was made for one.
    pub(crate) fn target(self) -> TargetMark {
        TargetMark(self.mark)
    }

    /// The group it names, if it was made for one.
    pub(crate) fn group(self) -> GroupMark {
        GroupMark(self.mark)
    }
}

/// The keys in force, shared by all threads.
#[derive(Clone, Debug)]
pub(crate) struct Sealer(Arc<ArcSwap<Keys>>);

/// Not empty: the first makes tokens, each reads them.
#[derive(Debug)]
struct Keys(Vec<LessSafeKey>);

impl Keys {
    fn new(keys: &[CookieKey]) -> Self {
        let cipher = |key: &CookieKey| {
            let key = UnboundKey::new(&AES_256_GCM_SIV, &key.0);
            LessSafeKey::new(key.expect("a key of this cipher has 32 octets"))
        };
        Self(keys.iter().map(cipher).collect())
    }
}

impl Default for Sealer {
    /// With a key nobody else has: what it makes is understood until the process ends.
    fn default() -> Self {
        let own = CookieKey(rand::random());
        Self(Arc::new(ArcSwap::from_pointee(Keys::new(&[own]))))
    }
}

impl Sealer {
    /// Takes other keys into use; none at all changes nothing.
    pub(crate) fn set_keys(&self, keys: &[CookieKey]) {
        if !keys.is_empty() {
            self.0.store(Arc::new(Keys::new(keys)));
        }
    }

    /// Makes a token, with a nonce from `random`: two of them should differ, but nobody need be unable to guess them.
    pub(crate) fn seal(&self, bond: Bond, token: Token, random: [u64; 2]) -> [u8; TEXT_LEN] {
        let mut bytes = [0; TOKEN_LEN];
        bytes[..8].copy_from_slice(&random[0].to_be_bytes());
        bytes[8..NONCE_LEN].copy_from_slice(&random[1].to_be_bytes()[..NONCE_LEN - 8]);
        bytes[NONCE_LEN..MARK_END].copy_from_slice(&token.mark.to_be_bytes());
        bytes[MARK_END..PLAIN_END].copy_from_slice(&token.issued.to_be_bytes());
        let (nonce, rest) = bytes.split_at_mut(NONCE_LEN);
        let (plain, tag) = rest.split_at_mut(PLAIN_END - NONCE_LEN);
        let nonce = Nonce::try_assume_unique_for_key(nonce).expect("it has the length of a nonce");
        let keys = self.0.load();
        let sealed = keys.0[0].seal_in_place_separate_tag(nonce, bond.associated(), plain);
        tag.copy_from_slice(sealed.expect("16 octets are not too many to seal").as_ref());
        let mut text = [0; TEXT_LEN];
        let written = URL_SAFE_NO_PAD.encode_slice(bytes, &mut text);
        debug_assert_eq!(written, Ok(TEXT_LEN), "44 octets are 59 characters");
        text
    }

    /// Reads a token; `None` if we have not made it for this purpose, or not within `ttl` of `now`. One from the near
    /// future is from a node whose clock is ahead.
    pub(crate) fn open(&self, bond: Bond, text: &[u8], now: u64, ttl: Duration) -> Option<Token> {
        if text.len() != TEXT_LEN {
            return None;
        }
        let mut sealed = [0; TOKEN_LEN];
        let length = URL_SAFE_NO_PAD.decode_slice(text, &mut sealed).ok()?;
        if length != TOKEN_LEN {
            return None;
        }
        let keys = self.0.load();
        let token = keys.0.iter().find_map(|key| open(key, bond, sealed))?;
        (now.abs_diff(token.issued) <= ttl.as_secs()).then_some(token)
    }
}

fn open(key: &LessSafeKey, bond: Bond, mut bytes: [u8; TOKEN_LEN]) -> Option<Token> {
    let (nonce, sealed) = bytes.split_at_mut(NONCE_LEN);
    let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
    let plain = key.open_in_place(nonce, bond.associated(), sealed).ok()?;
    let (mark, issued) = plain.split_first_chunk()?;
    Some(Token {
        mark: u64::from_be_bytes(*mark),
        issued: u64::from_be_bytes(*issued.first_chunk()?),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const TTL: Duration = Duration::from_secs(3600);
    const WEB: Bond = Bond::Target(GroupMark(7));

    fn sealer(keys: &[u8]) -> Sealer {
        let sealer = Sealer::default();
        let keys: Vec<CookieKey> = keys.iter().map(|key| CookieKey([*key; 32])).collect();
        sealer.set_keys(&keys);
        sealer
    }

    fn token(issued: u64) -> Token {
        Token { mark: 42, issued }
    }

    #[test]
    fn what_one_node_seals_another_with_the_same_key_reads() {
        let text = sealer(&[1]).seal(WEB, token(1000), [3, 4]);
        assert!(
            text.iter()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(byte)),
            "it can be the value of a cookie"
        );
        assert_eq!(sealer(&[1]).open(WEB, &text, 1000, TTL), Some(token(1000)));
        assert_eq!(sealer(&[2]).open(WEB, &text, 1000, TTL), None);
        assert_eq!(Sealer::default().open(WEB, &text, 1000, TTL), None);
    }

    #[test]
    fn a_token_is_what_rfc_8452_makes_of_it() {
        // Worked out with another implementation of the cipher (see the module's drawing): key 01 x 32, nonce
        // 0000000000000003 00000000, associated data `t` and 0000000000000007.
        let text = sealer(&[1]).seal(WEB, token(1000), [3, 4]);
        assert_eq!(
            std::str::from_utf8(&text).unwrap(),
            "AAAAAAAAAAMAAAAA_sRT7X6coWF7BAfgsN7mjeErk3qKU5v4bYAYzyrQIxM"
        );
    }

    #[test]
    fn while_keys_are_changed_both_are_read() {
        let old = sealer(&[1]).seal(WEB, token(5), [3, 4]);
        let new = sealer(&[2, 1]).seal(WEB, token(5), [3, 4]);
        assert_ne!(old, new);
        for text in [old, new] {
            assert_eq!(sealer(&[2, 1]).open(WEB, &text, 5, TTL), Some(token(5)));
            assert_eq!(sealer(&[1, 2]).open(WEB, &text, 5, TTL), Some(token(5)));
        }
    }

    #[test]
    fn a_token_of_another_group_or_purpose_does_not_hold() {
        let sealer = sealer(&[1]);
        let text = sealer.seal(WEB, token(5), [3, 4]);
        assert_eq!(sealer.open(Bond::Target(GroupMark(8)), &text, 5, TTL), None);
        assert_eq!(sealer.open(Bond::Group, &text, 5, TTL), None);
    }

    #[test]
    fn a_token_holds_for_its_time() {
        let sealer = sealer(&[1]);
        let text = sealer.seal(WEB, token(10_000), [3, 4]);
        let at = |now| sealer.open(WEB, &text, now, TTL).is_some();
        assert!(at(10_000) && at(13_600) && !at(13_601));
        assert!(at(9_990), "the other node's clock may be ahead");
        assert!(!at(6_399), "but not by more than a token lives");
    }

    #[test]
    fn any_change_makes_it_void() {
        let sealer = sealer(&[1]);
        let text = sealer.seal(WEB, token(5), [3, 4]);
        for at in 0..TEXT_LEN {
            let mut forged = text;
            forged[at] = if forged[at] == b'A' { b'B' } else { b'A' };
            assert_eq!(sealer.open(WEB, &forged, 5, TTL), None, "character {at}");
        }
        for wrong in [
            &b""[..],
            b"A",
            &text[..58],
            &[b'A'; TEXT_LEN],
            &[b'='; TEXT_LEN],
            &[0xff; TEXT_LEN],
        ] {
            assert_eq!(sealer.open(WEB, wrong, 5, TTL), None);
        }
    }

    #[test]
    fn a_key_is_not_shown() {
        assert_eq!(format!("{:?}", CookieKey([9; 32])), "CookieKey(hidden)");
        assert!(!format!("{:?}", sealer(&[9])).contains("9, 9"));
    }
}
