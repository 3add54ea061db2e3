//! How many connections or flows each client address has at a listener, over all threads.
//!
//! Looked at when one begins and when it ends, never in between. There are as many entries as addresses that have
//! one, so that the limit of the listener bounds them.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};

/// Parts with a lock each: threads seldom want the same one at the same time.
const SHARDS: usize = 64;

/// What is counted as one client: an IPv4 address, or the network of 64 bits of an IPv6 address, which one client has to
/// itself.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Client(IpAddr);

impl Client {
    /// The client at this address.
    pub(crate) fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V4(address) => IpAddr::V4(address),
            IpAddr::V6(address) => {
                let network = address.to_bits() & (u128::MAX << 64);
                IpAddr::V6(Ipv6Addr::from_bits(network))
            }
        })
    }
}

/// The counts.
#[derive(Debug)]
pub(crate) struct Clients {
    shards: Vec<Mutex<HashMap<Client, u32>>>,
    hasher: RandomState,
}

impl Default for Clients {
    fn default() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
        }
    }
}

impl Clients {
    /// Counts one more, unless the client has as many as it may; true if it was counted.
    pub(crate) fn enter(&self, client: Client, limit: u32) -> bool {
        self.with_shard(client, |counts| {
            let count = counts.entry(client).or_default();
            let enters = *count < limit;
            *count += u32::from(enters);
            enters
        })
    }

    /// Counts one less.
    pub(crate) fn leave(&self, client: Client) {
        self.with_shard(client, |counts| match counts.get_mut(&client) {
            Some(count) if *count > 1 => *count -= 1,
            Some(_) | None => drop(counts.remove(&client)),
        });
    }

    fn with_shard<T>(
        &self,
        client: Client,
        work: impl FnOnce(&mut HashMap<Client, u32>) -> T,
    ) -> T {
        let place = self.hasher.hash_one(client) % SHARDS as u64;
        let shard = &self.shards[place as usize];
        // A count is whole at each step, also if somebody panicked.
        work(&mut shard.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn client(address: &str) -> Client {
        Client::of(address.parse().unwrap())
    }

    #[test]
    fn a_client_has_its_limit_and_others_have_theirs() {
        let clients = Clients::default();
        let (one, other) = (client("192.0.2.1"), client("192.0.2.2"));
        assert!(clients.enter(one, 2) && clients.enter(one, 2));
        assert!(!clients.enter(one, 2));
        assert!(clients.enter(other, 2));
        clients.leave(one);
        assert!(clients.enter(one, 2) && !clients.enter(one, 2));
        assert!(clients.enter(one, 3), "a reload has raised it");
        for client in [one, one, one, other] {
            clients.leave(client);
        }
        let left = clients.shards.iter();
        assert!(
            left.into_iter()
                .all(|shard| shard.lock().unwrap().is_empty())
        );
        assert!(!clients.enter(one, 0));
    }

    #[test]
    fn a_network_of_64_bits_is_one_client() {
        assert_eq!(client("2001:db8:0:1::1"), client("2001:db8:0:1:ffff::2"));
        assert_ne!(client("2001:db8:0:1::1"), client("2001:db8:0:2::1"));
        assert_eq!(client("::ffff:192.0.2.1"), client("192.0.2.1"));
        assert_ne!(client("192.0.2.1"), client("192.0.2.2"));
    }
}
