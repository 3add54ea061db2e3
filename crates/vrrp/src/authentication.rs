//! Authentication of advertisements: a trailer with an HMAC-SHA256, as Keepalived 2.4 has it (`auth_hmac`).
//!
//! Here is what is configured; `trailer` has the octets, `stamp` what keeps a recorded advertisement from being
//! believed twice. Everything fails closed: a virtual router with keys never sends without a trailer unless its mode
//! says so, and never believes one that does not hold.

use std::fmt;

use thiserror::Error;

mod stamp;
#[cfg(test)]
mod tests;
mod trailer;

pub use stamp::{Marks, Sequencer, Stamp, WallTime, skew_words};
pub use trailer::{Proof, TRAILER_LEN, seal};
pub(crate) use trailer::{Signed, claimed_stamp, sign, verify};

/// Shortest key, in octets.
const KEY_MIN: usize = 32;
/// Longest key, in octets.
const KEY_MAX: usize = 64;
/// Bounds of the window, in seconds.
const WINDOW_MAX: u32 = 300;

/// A key with its number on the wire. `Debug` hides the octets.
#[derive(Clone, PartialEq, Eq)]
pub struct Key {
    id: u8,
    secret: Vec<u8>,
}

impl Key {
    /// A key: number 1 to 255, 32 to 64 octets.
    ///
    /// # Errors
    /// What is wrong with number or length.
    pub fn new(id: u8, secret: &[u8]) -> Result<Self, KeyError> {
        if id == 0 {
            return Err(KeyError::Id);
        }
        if !(KEY_MIN..=KEY_MAX).contains(&secret.len()) {
            return Err(KeyError::Len {
                id,
                len: secret.len(),
            });
        }
        Ok(Self {
            id,
            secret: secret.to_vec(),
        })
    }

    /// Its number on the wire.
    #[must_use]
    pub fn id(&self) -> u8 {
        self.id
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({}, hidden)", self.id)
    }
}

/// Why keys cannot be used. The words name no octet of a key.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum KeyError {
    /// Number 0 is none.
    #[error("a key has a number from 1 to 255")]
    Id,
    /// Too short to be safe, or longer than the peer can hold.
    #[error("key {id} has {len} octets; a key has {KEY_MIN} to {KEY_MAX}")]
    Len {
        /// Its number.
        id: u8,
        /// Its length in octets.
        len: usize,
    },
    /// One number for two keys.
    #[error("key {0} is there twice")]
    Twice(u8),
    /// The key to sign with is not among the keys.
    #[error("there is no key {0} to sign with")]
    NoActive(u8),
}

/// What is sent and what is believed; a pair gets from nothing to `Enforce` in three steps without an outage.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub enum AuthMode {
    /// Sign, and believe only what is signed.
    #[default]
    Enforce,
    /// Sign, and believe what is not signed as well; a trailer that is there has to hold.
    Permissive,
    /// Do not sign; otherwise as `Permissive`.
    ReceiveOnly,
}

impl AuthMode {
    /// The word of the file: `enforce`, `permissive`, `receive-only`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Permissive => "permissive",
            Self::ReceiveOnly => "receive-only",
        }
    }
}

/// How a recorded advertisement is told from a live one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub enum Freshness {
    /// Its stamp lies within the window around our wall clock and grows: needs clocks in step.
    #[default]
    Window,
    /// Its stamp grows: a wrong clock silences nobody, but what was recorded before we started may be replayed until
    /// the sender is heard.
    Growth,
}

impl Freshness {
    /// The word of the file: `time` or `monotonic`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Window => "time",
            Self::Growth => "monotonic",
        }
    }
}

/// The authentication of one virtual router.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Authentication {
    keys: Vec<Key>,
    active: u8,
    /// What is sent and believed.
    pub mode: AuthMode,
    /// What keeps recordings out.
    pub freshness: Freshness,
    window_s: u32,
}

impl Authentication {
    /// Keys, and the number of the one to sign with; mode `Enforce`.
    ///
    /// # Errors
    /// A number twice, or the active one not there.
    pub fn new(keys: Vec<Key>, active: u8) -> Result<Self, KeyError> {
        for (index, key) in keys.iter().enumerate() {
            if keys[..index].iter().any(|other| other.id == key.id) {
                return Err(KeyError::Twice(key.id));
            }
        }
        if !keys.iter().any(|key| key.id == active) {
            return Err(KeyError::NoActive(active));
        }
        Ok(Self {
            keys,
            active,
            mode: AuthMode::Enforce,
            freshness: Freshness::Window,
            window_s: 5,
        })
    }

    /// Sets how far a stamp may be from our clock, in seconds, 1 to 300; what is outside is moved to the bound.
    #[must_use]
    pub fn with_window(mut self, seconds: u32) -> Self {
        self.window_s = seconds.clamp(1, WINDOW_MAX);
        self
    }

    /// How far a stamp may be from our clock, in seconds.
    #[must_use]
    pub fn window_s(&self) -> u32 {
        self.window_s
    }

    /// Number of the key that signs.
    #[must_use]
    pub fn active(&self) -> u8 {
        self.active
    }

    /// Numbers of all keys, in the order given.
    pub fn ids(&self) -> impl Iterator<Item = u8> + '_ {
        self.keys.iter().map(Key::id)
    }

    /// Whether what is sent carries a trailer.
    #[must_use]
    pub fn signs(&self) -> bool {
        self.mode != AuthMode::ReceiveOnly
    }

    fn key(&self, id: u8) -> Option<&Key> {
        self.keys.iter().find(|key| key.id == id)
    }
}
