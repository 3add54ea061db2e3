//! Keeps connections in flight alive while the address moves on purpose.
//!
//! When neighbours learn that the VIP is here, segments of connections that live on the other node arrive here too, and the kernel would
//! reset them. Three rules of a table of our own prevent it: a connection that began here stays here, and any other segment for the VIP
//! goes on to the node that held it, which keeps serving for the linger of a planned move. The table is put in place while this node is
//! Backup, when no such traffic arrives, so that a takeover waits for nothing; it is taken away soon after.
//!
//! ```text
//!   Backup, the other Active ──► table installed ──► taking over ──► table kept for WINDOW ──► removed
//!                                        ▲                                                        │
//!                                        └──────── Backup again for SETTLE, nothing held ◄────────┘
//! ```
//!
//! Only TCP over a pair is steered. Without the program `nft` nothing is, which is said once.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::{nft, virtual_links};

/// How long segments are passed on after a takeover: longer than the other node's linger.
const WINDOW: Duration = Duration::from_millis(500);
/// How long this node must have held nothing: what the node after it passes on to it must not come back there.
const SETTLE: Duration = Duration::from_secs(1);
/// Runs that may wait for each other.
const QUEUED_RUNS: usize = 4;
/// Connections told apart while the table is in place.
const FLOWS: u32 = 65_536;
/// How long a connection is remembered after its last segment, should the table ever be left behind.
const REMEMBERED: &str = "1h";
/// One family's part: who held the addresses, which they are, and where frames for them go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Share {
    pub(super) peer: IpAddr,
    pub(super) vips: Vec<IpAddr>,
    /// The virtual MAC; none where neighbours use the link's own.
    pub(super) mac: Option<[u8; 6]>,
}

impl Share {
    /// The condition that a frame is for this host and not only heard by it: a Backup may hear what a switch floods, and must not send
    /// it on a second time.
    fn for_us(&self) -> String {
        match self.mac {
            Some(mac) => format!("ether daddr {}", virtual_links::words_of(mac)),
            None => "meta pkttype host".to_owned(),
        }
    }
}

/// What steering needs to know of its virtual router at this moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// Backup, and another router is Active.
    Following,
    /// Claiming or holding the addresses after an Active router that was alive to the end.
    Succeeding,
    /// Claiming or holding them after silence, or since long.
    Holding,
    /// Neither: a fault, no Active router in sight.
    Idle,
}

/// The table of one virtual router.
#[derive(Debug)]
pub(super) struct Steering {
    table: String,
    runs: mpsc::Sender<String>,
    state: State,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    /// No table; none before this instant.
    Off { not_before: Instant },
    /// In place.
    Ready(Vec<Share>),
    /// In place after a takeover, until this instant.
    Passing { until: Instant },
}

impl Steering {
    /// Nothing is steered yet.
    pub(super) fn start(now: Instant, table: String) -> Self {
        let (runs, queue) = mpsc::channel(QUEUED_RUNS);
        tokio::task::spawn_local(run_all(queue));
        Self {
            table,
            runs,
            state: State::Off { not_before: now },
        }
    }

    /// Runs no rules: the program starts and ends. See [`super::practice`].
    pub(super) fn practise() {
        let (runs, queue) = mpsc::channel(1);
        // There is room.
        let _ = runs.try_send(String::new());
        tokio::task::spawn_local(run_all(queue));
    }

    /// When something changes by time alone.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Passing { until } => Some(until),
            State::Off { .. } | State::Ready(_) => None,
        }
    }

    /// Follows the virtual router. `shares` is asked for only when a table is about to be put in place.
    pub(super) fn update(
        &mut self,
        now: Instant,
        link: &str,
        standing: Standing,
        shares: impl FnOnce() -> Vec<Share>,
    ) {
        let settled_at = now + SETTLE;
        match (&self.state, standing) {
            (State::Off { not_before }, Standing::Following) if *not_before <= now => {
                let shares = shares();
                if !shares.is_empty() && self.run(installation(&self.table, link, &shares)) {
                    self.state = State::Ready(shares);
                }
            }
            (State::Off { .. }, Standing::Succeeding | Standing::Holding) => {
                self.state = State::Off {
                    not_before: settled_at,
                };
            }
            (State::Ready(_), Standing::Succeeding) => {
                self.state = State::Passing {
                    until: now + WINDOW,
                };
            }
            (State::Ready(_), Standing::Holding) => self.remove(settled_at),
            (State::Ready(_), Standing::Idle) => self.remove(now),
            (State::Passing { until }, _) if *until <= now => self.remove(settled_at),
            (State::Passing { .. }, Standing::Following | Standing::Holding | Standing::Idle) => {
                self.remove(settled_at)
            }
            (State::Off { .. } | State::Ready(_), Standing::Following)
            | (State::Off { .. }, Standing::Idle)
            | (State::Passing { .. }, Standing::Succeeding) => {}
        }
    }

    /// Takes the table away, if it is in place; the next one may be made from `not_before` on.
    pub(super) fn remove(&mut self, not_before: Instant) {
        if !matches!(self.state, State::Off { .. }) {
            self.run(removal(&self.table));
        }
        self.state = State::Off { not_before };
    }

    fn run(&self, rules: String) -> bool {
        self.runs.try_send(rules).is_ok()
    }
}

/// The name of the table: of this product, this router, this address space.
pub(super) fn table_name(vrid: u8, number: u64) -> String {
    format!("{}{vrid}_{number}", nft::PREFIX)
}

fn removal(table: &str) -> String {
    format!("add table netdev {table}\ndelete table netdev {table}\n")
}

/// The whole table; replaces one of the same name in the same transaction.
fn installation(table: &str, link: &str, shares: &[Share]) -> String {
    let mut rules = removal(table);
    rules.push_str(&format!("table netdev {table} {{\n"));
    for share in shares {
        let (kind, set) = if share.peer.is_ipv4() {
            ("ipv4_addr", "here4")
        } else {
            ("ipv6_addr", "here6")
        };
        rules.push_str(&format!(
            "  set {set} {{ type {kind} . inet_service . {kind} . inet_service; flags dynamic,timeout; timeout {REMEMBERED}; size {FLOWS}; }}\n"
        ));
    }
    rules.push_str(&format!("  chain arriving {{ type filter hook ingress device \"{link}\" priority 0; policy accept;\n"));
    for share in shares {
        let (ip, set) = if share.peer.is_ipv4() {
            ("ip", "here4")
        } else {
            ("ip6", "here6")
        };
        let vips = share
            .vips
            .iter()
            .map(IpAddr::to_string)
            .collect::<Vec<_>>()
            .join(", ");
        let to = format!("{} {ip} daddr {{ {vips} }}", share.for_us());
        let flow = format!("{ip} saddr . tcp sport . {ip} daddr . tcp dport");
        rules.push_str(&format!(
            "    {to} tcp flags & (syn | ack) == syn add @{set} {{ {flow} }} accept\n"
        ));
        rules.push_str(&format!(
            "    {to} {flow} @{set} update @{set} {{ {flow} }} accept\n"
        ));
        rules.push_str(&format!(
            "    {to} meta l4proto tcp fwd {ip} to {} device \"{link}\"\n",
            share.peer
        ));
    }
    rules.push_str("  }\n}\n");
    rules
}

/// Runs what is queued, one after the other. The first failure is said, and ends steering for this virtual router.
async fn run_all(mut queue: mpsc::Receiver<String>) {
    while let Some(rules) = queue.recv().await {
        if let Err(error) = nft::run(&rules).await {
            tracing::info!(
                error,
                "connections in flight are not kept when the address moves: nftables does not take our rules"
            );
            return;
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn steering(runs: mpsc::Sender<String>, now: Instant) -> Steering {
        Steering {
            table: "tandem_51_1".to_owned(),
            runs,
            state: State::Off { not_before: now },
        }
    }

    fn shares() -> Vec<Share> {
        vec![Share {
            peer: "10.0.0.2".parse().unwrap(),
            vips: vec!["10.0.0.10".parse().unwrap(), "10.0.0.11".parse().unwrap()],
            mac: None,
        }]
    }

    #[test]
    fn the_table_stands_before_a_takeover_and_goes_after_it() {
        let (runs, mut queue) = mpsc::channel(8);
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut steering = steering(runs, start);
        steering.update(at(0), "eth0", Standing::Following, shares);
        assert!(
            queue
                .try_recv()
                .unwrap()
                .contains("fwd ip to 10.0.0.2 device \"eth0\"")
        );
        steering.update(at(5000), "eth0", Standing::Following, || {
            panic!("it is in place")
        });
        steering.update(at(6000), "eth0", Standing::Succeeding, Vec::new);
        assert_eq!(steering.deadline(), Some(at(6500)));
        steering.update(at(6499), "eth0", Standing::Succeeding, Vec::new);
        assert!(queue.try_recv().is_err());
        steering.update(at(6500), "eth0", Standing::Succeeding, Vec::new);
        assert_eq!(
            queue.try_recv().unwrap(),
            "add table netdev tandem_51_1\ndelete table netdev tandem_51_1\n"
        );
    }

    #[test]
    fn a_node_that_has_just_held_the_address_does_not_steer() {
        let (runs, mut queue) = mpsc::channel(8);
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut steering = steering(runs, start);
        steering.update(at(0), "eth0", Standing::Holding, Vec::new);
        steering.update(at(999), "eth0", Standing::Following, || panic!("too early"));
        assert!(queue.try_recv().is_err());
        steering.update(at(1000), "eth0", Standing::Following, shares);
        assert!(queue.try_recv().is_ok());
    }

    #[test]
    fn an_active_router_that_fell_silent_gets_nothing_passed_on() {
        let (runs, mut queue) = mpsc::channel(8);
        let start = Instant::now();
        let mut steering = steering(runs, start);
        steering.update(start, "eth0", Standing::Following, shares);
        assert!(queue.try_recv().is_ok());
        steering.update(start, "eth0", Standing::Holding, Vec::new);
        assert!(queue.try_recv().unwrap().contains("delete table"));
    }

    #[test]
    fn a_fault_takes_the_table_away_and_a_recovery_brings_it_back_at_once() {
        let (runs, mut queue) = mpsc::channel(8);
        let start = Instant::now();
        let mut steering = steering(runs, start);
        steering.update(start, "eth0", Standing::Following, shares);
        assert!(queue.try_recv().unwrap().contains("fwd"));
        steering.update(start, "eth0", Standing::Idle, Vec::new);
        assert!(!queue.try_recv().unwrap().contains("fwd"));
        steering.update(start, "eth0", Standing::Following, shares);
        assert!(queue.try_recv().unwrap().contains("fwd"));
    }

    #[test]
    fn both_families_have_rules_of_their_own() {
        let mut both = shares();
        both.push(Share {
            peer: "fe80::2".parse().unwrap(),
            vips: vec!["2001:db8::10".parse().unwrap()],
            mac: Some([0, 0, 0x5e, 0, 2, 51]),
        });
        let rules = installation("tandem_51_1", "eth0", &both);
        assert!(rules.contains(
            "meta pkttype host ip daddr { 10.0.0.10, 10.0.0.11 } meta l4proto tcp fwd ip to 10.0.0.2 device \"eth0\""
        ));
        assert!(rules.contains(
            "ether daddr 00:00:5e:00:02:33 ip6 daddr { 2001:db8::10 } meta l4proto tcp fwd ip6 to fe80::2 device \"eth0\""
        ));
        assert!(
            rules.contains("set here6 { type ipv6_addr . inet_service . ipv6_addr . inet_service;")
        );
    }
}
