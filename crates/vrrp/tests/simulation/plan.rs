//! What one seed means: the nodes with their settings, and what goes wrong when. A plan can be made smaller piece by piece.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use vrrp::{Family, Freshness, Interval, PeerKnowledge, Preempt, Priority, Settings, Vrid};

use super::keys::{Forgery, Ring};

/// Microseconds in a millisecond.
pub(crate) const MS: u64 = 1_000;
/// How long the storm lasts, and the calm that follows.
pub(crate) const STORM: u64 = 5_000 * MS;
pub(crate) const CALM: u64 = 4_000 * MS;

#[derive(Clone)]
pub(crate) struct Plan {
    /// Of the network's chance, too.
    pub(crate) seed: u64,
    pub(crate) nodes: Vec<NodePlan>,
    /// What keeps a recorded packet out where there are keys.
    pub(crate) freshness: Freshness,
    /// The keys of every node once it is calm.
    pub(crate) ring_at_last: Option<Ring>,
    /// By member: whether it decides alone, at first and once it is calm.
    pub(crate) apart: Vec<bool>,
    /// In order of time.
    pub(crate) troubles: Vec<Trouble>,
    /// Nothing is left to chance but losses: every packet takes the same time, every timer is served at once.
    pub(crate) smooth: bool,
}

#[derive(Clone)]
pub(crate) struct NodePlan {
    /// By member, each on a wire of its own; the same members on every node.
    pub(crate) members: Vec<Settings>,
    /// The keys it begins with.
    pub(crate) ring: Option<Ring>,
    /// `None`: takes no part.
    pub(crate) starts_at: Option<u64>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Trouble {
    pub(crate) at: u64,
    pub(crate) what: What,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum What {
    /// Percent of all packets.
    Loss(u32),
    /// On one wire, or on all of them.
    Cut {
        wire: Option<usize>,
        from: usize,
        to: usize,
        both_ways: bool,
    },
    /// No cut, no loss.
    Mend,
    Node {
        node: usize,
        blow: Blow,
    },
}

/// What happens to one node; times in microseconds.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Blow {
    Freeze {
        time: u64,
    },
    /// The machine loses power.
    Crash {
        away: u64,
    },
    /// The process dies, and its keeper executes the last will.
    Kill {
        away: u64,
    },
    Stop {
        away: u64,
    },
    Handover,
    /// A planned restart: a pause is announced, the next process goes on.
    Restart {
        away: u64,
    },
    /// Interval and perhaps one more address of a member, preemption of all.
    Reload {
        member: usize,
        centis: u16,
        preempt: Preempt,
        host: Option<u16>,
    },
    Priority {
        member: usize,
        priority: u8,
    },
    Fault {
        member: usize,
        time: u64,
    },
    /// The source address of a family goes and comes back.
    Source {
        member: usize,
        family: Family,
        time: u64,
    },
    /// A stranger with the lowest priority pesters an Active router.
    Flood,
    /// The kernel refuses the next claim.
    ClaimFails {
        member: usize,
    },
    /// A reload that takes a member out of the group, or back in.
    Regroup {
        member: usize,
        apart: bool,
    },
    /// A reload with other keys.
    Keys(Option<Ring>),
    /// A stranger who knows no key of this node.
    Forge(Forgery),
    /// The wall clock is set.
    Clock {
        ahead_s: i64,
    },
}

impl Plan {
    pub(crate) fn of_seed(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let count = if rng.random_range(0..5) == 0 { 3 } else { 2 };
        let members = [1, 1, 1, 2, 2, 3][rng.random_range(0..6)];
        let nodes = random_nodes(&mut rng, count, members);
        let longest = nodes.iter().flat_map(|node| &node.members);
        let longest = longest.map(|one| one.advert_interval.centis()).max();
        let draw = Draw {
            count,
            members,
            longest: longest.unwrap(),
        };
        let mut troubles = Vec::new();
        let mut at = 600 * MS;
        while at < STORM {
            let what = draw.trouble(&mut rng);
            troubles.push(Trouble { at, what });
            at += rng.random_range(20..500) * MS;
        }
        let mut plan = Self {
            seed,
            nodes,
            freshness: Freshness::Growth,
            ring_at_last: None,
            apart: vec![false; members],
            troubles,
            smooth: false,
        };
        plan.draw_sweeps();
        plan
    }

    /// Every set of keys that some node has at some time.
    pub(crate) fn rings(&self) -> Vec<Ring> {
        let first = self.nodes.iter().map(|node| &node.ring);
        let later = self
            .troubles
            .iter()
            .filter_map(|trouble| match &trouble.what {
                What::Node {
                    blow: Blow::Keys(ring),
                    ..
                } => Some(ring),
                _other => None,
            });
        let all = first.chain(later).chain([&self.ring_at_last]);
        all.flatten().cloned().collect()
    }

    /// The longest interval that is configured anywhere.
    pub(crate) fn longest(&self) -> Duration {
        let members = self.nodes.iter().flat_map(|node| &node.members);
        members
            .map(|one| one.advert_interval.as_duration())
            .max()
            .unwrap()
    }

    pub(crate) fn wires(&self) -> usize {
        self.nodes[0].members.len()
    }

    pub(crate) fn has_keys(&self) -> bool {
        let mut nodes = self.nodes.iter();
        self.ring_at_last.is_some() || nodes.any(|node| node.ring.is_some())
    }
}

impl Blow {
    /// The member it is about, if it is about one.
    pub(crate) fn member(&mut self) -> Option<&mut usize> {
        match self {
            Self::Reload { member, .. }
            | Self::Priority { member, .. }
            | Self::Fault { member, .. }
            | Self::Source { member, .. }
            | Self::ClaimFails { member }
            | Self::Regroup { member, .. } => Some(member),
            Self::Freeze { .. }
            | Self::Crash { .. }
            | Self::Kill { .. }
            | Self::Stop { .. }
            | Self::Handover
            | Self::Restart { .. }
            | Self::Flood
            | Self::Keys(_)
            | Self::Forge(_)
            | Self::Clock { .. } => None,
        }
    }
}

/// What troubles are drawn from.
struct Draw {
    count: usize,
    members: usize,
    /// In centiseconds; a reload stays below it, since the limits are computed for it.
    longest: u16,
}

impl Draw {
    fn trouble(&self, rng: &mut StdRng) -> What {
        let node = rng.random_range(0..self.count);
        match rng.random_range(0..18) {
            0 => What::Loss([0, 5, 30, 60][rng.random_range(0..4)]),
            1 | 2 => What::Cut {
                wire: rng
                    .random_bool(0.5)
                    .then(|| rng.random_range(0..self.members)),
                from: node,
                to: (node + rng.random_range(1..self.count)) % self.count,
                both_ways: rng.random_bool(0.5),
            },
            3 | 4 => What::Mend,
            _ => What::Node {
                node,
                blow: self.blow(rng),
            },
        }
    }

    fn blow(&self, rng: &mut StdRng) -> Blow {
        let member = rng.random_range(0..self.members);
        match rng.random_range(0..14) {
            0 => {
                let longest = if rng.random_bool(0.5) { 150 } else { 3_000 };
                Blow::Freeze {
                    time: rng.random_range(10..longest) * MS,
                }
            }
            1 => Blow::Crash {
                away: rng.random_range(30..1_500) * MS,
            },
            2 => Blow::Kill {
                away: rng.random_range(5..300) * MS,
            },
            3 | 4 => Blow::Stop {
                away: rng.random_range(20..800) * MS,
            },
            5 => Blow::Handover,
            6 | 7 => {
                let longest = if rng.random_bool(0.8) { 600 } else { 6_000 };
                Blow::Restart {
                    away: rng.random_range(5..longest) * MS,
                }
            }
            8 => Blow::Reload {
                member,
                centis: [5, 10, 20][rng.random_range(0..3)].min(self.longest),
                preempt: random_preempt(rng),
                host: rng.random_bool(0.3).then(|| rng.random_range(0x101..0x200)),
            },
            9 => Blow::Priority {
                member,
                priority: rng.random_range(1..255),
            },
            10 => Blow::Fault {
                member,
                time: rng.random_range(5..800) * MS,
            },
            11 => Blow::Source {
                member,
                family: Family::ALL[rng.random_range(0..2)],
                time: rng.random_range(5..800) * MS,
            },
            12 => Blow::Flood,
            _ => Blow::ClaimFails { member },
        }
    }
}

fn random_preempt(rng: &mut StdRng) -> Preempt {
    match rng.random_range(0..4) {
        0 | 1 => Preempt::Immediately,
        2 => Preempt::After(Duration::from_millis(rng.random_range(100..1_500))),
        _ => Preempt::Never,
    }
}

fn random_vips(rng: &mut StdRng) -> Vec<IpAddr> {
    let v4: IpAddr = [10, 0, 0, 100].into();
    let v6: IpAddr = [0xfe80, 0, 0, 0, 0, 0, 0, 0x100].into();
    let global: IpAddr = [0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x100].into();
    let vips = [
        vec![v4],
        vec![v4, v6],
        vec![v6],
        vec![global],
        vec![global, v4],
    ];
    vips[rng.random_range(0..vips.len())].clone()
}

fn random_nodes(rng: &mut StdRng, count: usize, members: usize) -> Vec<NodePlan> {
    let vips: Vec<Vec<IpAddr>> = (0..members).map(|_| random_vips(rng)).collect();
    let equal = rng.random_range(0..6) == 0;
    let interval = [5, 10, 10, 20][rng.random_range(0..4)];
    let uneven = rng.random_range(0..6) == 0;
    let mut node = || {
        let owner = rng.random_range(0..20) == 0;
        let priority = if equal { 100 } else { rng.random_range(1..255) };
        let priority = if owner { 255 } else { priority };
        let preempt = random_preempt(rng);
        let mut member = |(index, vips): (usize, &Vec<IpAddr>)| {
            let name = format!("m{index}");
            let vrid = Vrid::new(51 + index as u8).unwrap();
            let mut settings = Settings::new(&name, vrid, vips.clone());
            let own = if uneven {
                [5, 10, 20][rng.random_range(0..3)]
            } else {
                interval
            };
            settings.advert_interval = Interval::from_centis(own).unwrap();
            settings.priority = Priority::new(priority);
            settings.preempt = preempt;
            settings.peer = if count == 2 {
                PeerKnowledge::Pair
            } else {
                PeerKnowledge::Unknown
            };
            settings
        };
        NodePlan {
            members: vips.iter().enumerate().map(&mut member).collect(),
            ring: None,
            starts_at: Some(rng.random_range(0..500 * MS)),
        }
    };
    (0..count).map(|_| node()).collect()
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, node) in self.nodes.iter().enumerate() {
            let Some(at) = node.starts_at else { continue };
            let (lead, at) = (&node.members[0], at / MS);
            writeln!(
                f,
                "node {index}: priority {}, preempt {:?}, {:?}, from {at} ms on",
                lead.priority, lead.preempt, lead.peer
            )?;
            for member in &node.members {
                let (name, each) = (&member.name, member.advert_interval);
                writeln!(f, "    {name}: each {each}, {:?}", member.vips)?;
            }
        }
        if self.has_keys() {
            let first = self.nodes.iter().map(|node| &node.ring);
            writeln!(f, "{:?} of keys, at first", self.freshness)?;
            first
                .enumerate()
                .try_for_each(|(node, ring)| writeln!(f, "    node {node}: {ring:?}"))?;
            writeln!(f, "    in the end: {:?}", self.ring_at_last)?;
        }
        if self.apart.contains(&true) {
            writeln!(f, "members that decide alone: {:?}", self.apart)?;
        }
        if self.smooth {
            writeln!(f, "a network without chance")?;
        }
        for trouble in &self.troubles {
            writeln!(f, "{trouble}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>9} ms  {}", self.at / MS, self.what)
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Loss(percent) => write!(f, "loss is {percent} %"),
            Self::Cut {
                wire,
                from,
                to,
                both_ways,
            } => {
                let wires =
                    wire.map_or_else(|| "every wire".to_owned(), |wire| format!("wire {wire}"));
                let back = if *both_ways { " and back" } else { "" };
                write!(f, "cut from {from} to {to}{back} on {wires}")
            }
            Self::Mend => f.write_str("no cut, no loss"),
            Self::Node { node, blow } => write!(f, "node {node}: {blow:?}"),
        }
    }
}
