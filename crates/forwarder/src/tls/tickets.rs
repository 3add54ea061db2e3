//! Session tickets (RFC 5077, RFC 8446 §4.6.1) whose keys follow from a secret and the time: whoever knows the secret, such
//! as the other node of a pair or this one after a restart, takes them, and nothing has to be copied.
//!
//! ```text
//! ticket | key id (4) | nonce (12) | sealed state | tag (16) |    AES-256-GCM, the key id as additional data
//! key    = HKDF-SHA256(secret, "ticket key" | listener | scope | number of the period)
//! ```
//! A key makes tickets for one period. Those of the period before are taken too, and those of the next, for a peer whose
//! clock is ahead. A ticket of one listener is none for another, nor for the same one once it asks its clients for
//! something else: that is the scope.

use std::fmt;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::{hkdf, rand};
use rustls::server::ProducesTickets;

/// How long one key makes tickets.
const PERIOD_S: u64 = 6 * 3600;
const ID_BYTES: usize = 4;
const KEY_BYTES: usize = 32;

/// A secret that ticket keys are made from. It is not shown.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TicketSecret(pub [u8; 32]);

impl fmt::Debug for TicketSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TicketSecret(hidden)")
    }
}

impl TicketSecret {
    /// One that nobody else knows. `None` if the system has no randomness.
    pub(crate) fn random() -> Option<Self> {
        let mut secret = [0; 32];
        rand::fill(&mut secret).ok()?;
        Some(Self(secret))
    }
}

/// The tickets of one listener.
pub(crate) struct Tickets {
    /// The first makes tickets; those of the others are taken.
    secrets: Vec<TicketSecret>,
    listener: String,
    /// Tells what is asked of clients; of one length, or empty.
    scope: Vec<u8>,
    keys: ArcSwap<Keys>,
}

/// Secrets and keys are not shown.
impl fmt::Debug for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tickets")
            .field("listener", &self.listener)
            .finish_non_exhaustive()
    }
}

/// The keys of one period and its neighbours.
struct Keys {
    period: u64,
    /// The one that makes tickets first.
    keys: Vec<Key>,
}

struct Key {
    id: [u8; ID_BYTES],
    cipher: LessSafeKey,
}

impl Key {
    fn new(secret: &TicketSecret, (listener, scope): (&str, &[u8]), period: u64) -> Option<Self> {
        let derived = hkdf::Salt::new(hkdf::HKDF_SHA256, &[]).extract(&secret.0);
        let period = period.to_be_bytes();
        let info = [b"ticket key", listener.as_bytes(), scope, &period[..]];
        let mut bytes = [0; ID_BYTES + KEY_BYTES];
        derived.expand(&info, Length).ok()?.fill(&mut bytes).ok()?;
        let (id, key) = bytes.split_first_chunk()?;
        Some(Self {
            id: *id,
            cipher: LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).ok()?),
        })
    }
}

/// How much is derived.
struct Length;

impl hkdf::KeyType for Length {
    fn len(&self) -> usize {
        ID_BYTES + KEY_BYTES
    }
}

impl Tickets {
    /// Tickets of this listener; without a secret there are none.
    pub(crate) fn new(secrets: &[TicketSecret], listener: &str, scope: &[u8]) -> Self {
        Self {
            secrets: secrets.to_vec(),
            listener: listener.to_owned(),
            scope: scope.to_owned(),
            keys: ArcSwap::from_pointee(Keys {
                period: u64::MAX,
                keys: Vec::new(),
            }),
        }
    }

    /// The keys of this time, made anew in each period.
    fn keys(&self, now: SystemTime) -> Arc<Keys> {
        let seconds = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let period = seconds / PERIOD_S;
        let known = self.keys.load_full();
        if known.period == period {
            return known;
        }
        let periods = [period, period.saturating_sub(1), period + 1];
        let place = (self.listener.as_str(), self.scope.as_slice());
        let make = |period| {
            let secrets = self.secrets.iter();
            secrets.filter_map(move |secret| Key::new(secret, place, period))
        };
        let keys = Arc::new(Keys {
            period,
            keys: periods.into_iter().flat_map(make).collect(),
        });
        self.keys.store(Arc::clone(&keys));
        keys
    }

    fn seal(&self, now: SystemTime, plain: &[u8]) -> Option<Vec<u8>> {
        let keys = self.keys(now);
        let key = keys.keys.first()?;
        let mut nonce = [0; NONCE_LEN];
        rand::fill(&mut nonce).ok()?;
        let mut sealed = plain.to_vec();
        let (aad, number) = (Aad::from(key.id), Nonce::assume_unique_for_key(nonce));
        key.cipher
            .seal_in_place_append_tag(number, aad, &mut sealed)
            .ok()?;
        Some([&key.id[..], &nonce, &sealed].concat())
    }

    fn open(&self, now: SystemTime, ticket: &[u8]) -> Option<Vec<u8>> {
        let (id, rest) = ticket.split_first_chunk::<ID_BYTES>()?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>()?;
        let keys = self.keys(now);
        let key = keys.keys.iter().find(|key| key.id == *id)?;
        let mut sealed = sealed.to_vec();
        let number = Nonce::assume_unique_for_key(*nonce);
        let plain = key
            .cipher
            .open_in_place(number, Aad::from(*id), &mut sealed);
        plain.ok().map(|plain| plain.to_vec())
    }
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        !self.secrets.is_empty()
    }

    fn lifetime(&self) -> u32 {
        PERIOD_S as u32
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.seal(SystemTime::now(), plain)
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        self.open(SystemTime::now(), cipher)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use super::*;

    const PERIOD: Duration = Duration::from_secs(PERIOD_S);

    fn secrets(first_bytes: &[u8]) -> Vec<TicketSecret> {
        let secret = |byte: &u8| TicketSecret([*byte; 32]);
        first_bytes.iter().map(secret).collect()
    }

    #[test]
    fn who_knows_the_secret_takes_tickets_of_this_period_and_its_neighbours() {
        let now = UNIX_EPOCH + 100_000 * PERIOD;
        let ours = Tickets::new(&secrets(&[1]), "web", &[]);
        let ticket = ours.seal(now, b"state").unwrap();
        let peer = Tickets::new(&secrets(&[1]), "web", &[]);
        let state = Some(b"state".to_vec());
        assert_eq!(peer.open(now, &ticket), state);
        assert_eq!(peer.open(now + PERIOD, &ticket), state);
        assert_eq!(
            peer.open(now - PERIOD, &ticket),
            state,
            "its clock is behind"
        );
        assert_eq!(peer.open(now + 2 * PERIOD, &ticket), None, "too old");
        assert_eq!(peer.open(now - 2 * PERIOD, &ticket), None);
        assert_eq!(
            Tickets::new(&secrets(&[2]), "web", &[]).open(now, &ticket),
            None
        );
        assert_eq!(
            Tickets::new(&secrets(&[1]), "other", &[]).open(now, &ticket),
            None
        );
        assert_eq!(
            Tickets::new(&secrets(&[1]), "web", &[1; 32]).open(now, &ticket),
            None,
            "other things are asked there"
        );
        assert_ne!(
            ours.seal(now, b"state").unwrap(),
            ticket,
            "no nonce comes twice"
        );
    }

    #[test]
    fn while_secrets_are_exchanged_both_are_taken() {
        let now = UNIX_EPOCH + 100_000 * PERIOD;
        let old = Tickets::new(&secrets(&[1]), "web", &[])
            .seal(now, b"state")
            .unwrap();
        let both = Tickets::new(&secrets(&[2, 1]), "web", &[]);
        assert_eq!(both.open(now, &old), Some(b"state".to_vec()));
        let new = both.seal(now, b"state").unwrap();
        assert_eq!(
            Tickets::new(&secrets(&[1]), "web", &[]).open(now, &new),
            None
        );
    }

    #[test]
    fn what_was_changed_is_no_ticket() {
        let now = UNIX_EPOCH + 100_000 * PERIOD;
        let tickets = Tickets::new(&secrets(&[1]), "web", &[]);
        let ticket = tickets.seal(now, b"state").unwrap();
        for at in 0..ticket.len() {
            let mut changed = ticket.clone();
            changed[at] ^= 1;
            assert_eq!(tickets.open(now, &changed), None, "octet {at}");
            assert_eq!(tickets.open(now, &ticket[..at]), None);
        }
        assert!(!Tickets::new(&[], "web", &[]).enabled());
        let shown = format!("{tickets:?} {:?}", secrets(&[1]));
        assert!(!shown.contains("1, 1"), "{shown}");
    }
}
