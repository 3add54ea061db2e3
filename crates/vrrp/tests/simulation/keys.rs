//! Keys: which ones a node has, a second opinion on whom that makes it believe, and what signing needs of a machine.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use vrrp::{
    Advertisement, AuthMode, Authentication, Family, Freshness, Guard, Key, Local, Marks, Reject,
    Sequencer, Settings, Stamp, WallTime, accept_authentic,
};

use super::world::{Packet, World, datagram, id, source};

/// When every run begins, by a right clock.
const EPOCH: Duration = Duration::from_secs(1_700_000_000);
/// What a process that begins, or leaves a will, is ahead of its clock, as in the daemon.
const LEAD: Duration = Duration::from_secs(1);
/// Wider than the clocks differ where they count.
const WINDOW_S: u32 = 30;

/// The keys of one node. A secret is a number here: it stands for 32 octets of it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Ring {
    pub(crate) mode: AuthMode,
    /// Numbers, with their secrets.
    pub(crate) known: Vec<(u8, u8)>,
    /// The number that signs.
    pub(crate) active: u8,
}

/// What a packet carries: number and secret of the key that signed it, if any.
pub(crate) type Seal = Option<(u8, u8)>;

impl Ring {
    pub(crate) fn new(mode: AuthMode, known: &[(u8, u8)], active: u8) -> Self {
        let known = known.to_vec();
        Self {
            mode,
            known,
            active,
        }
    }

    pub(crate) fn authentication(&self, freshness: Freshness) -> Arc<Authentication> {
        let key = |&(number, secret): &(u8, u8)| Key::new(number, &[secret; 32]).unwrap();
        let keys = self.known.iter().map(key).collect();
        let mut authentication = Authentication::new(keys, self.active).unwrap();
        authentication.mode = self.mode;
        authentication.freshness = freshness;
        Arc::new(authentication.with_window(WINDOW_S))
    }

    fn secret(&self, number: u8) -> Option<u8> {
        let mut known = self.known.iter();
        known
            .find(|(known, _)| *known == number)
            .map(|(_, secret)| *secret)
    }
}

/// What a node with these keys sends.
pub(crate) fn seal_of(ring: Option<&Ring>) -> Seal {
    let ring = ring.filter(|ring| ring.mode != AuthMode::ReceiveOnly)?;
    Some((ring.active, ring.secret(ring.active)?))
}

/// Whether a node with these keys believes what carries this seal, by the rules as they are written for the operator.
pub(crate) fn verdict(ring: Option<&Ring>, seal: Seal) -> Result<(), Reject> {
    match (ring, seal) {
        (None, None) => Ok(()),
        (None, Some(_)) => Err(Reject::Length),
        (Some(ring), None) if ring.mode == AuthMode::Enforce => Err(Reject::TrailerMissing),
        (Some(_), None) => Ok(()),
        (Some(ring), Some((number, secret))) => match ring.secret(number) {
            None => Err(Reject::KeyUnknown),
            Some(known) if known != secret => Err(Reject::Hmac),
            Some(_) => Ok(()),
        },
    }
}

/// Somebody who wants to be believed and should not be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Forgery {
    Unsigned,
    /// Signed under the number of the key in use.
    OtherSecret,
    OtherNumber,
    /// What was heard and believed before, once more.
    Recorded,
}

/// What one member of a node needs to sign and to believe.
pub(crate) struct Signing {
    /// The keys that the process works with; what is configured may wait for it to run.
    pub(crate) in_force: Option<Ring>,
    sequencer: Sequencer,
    marks: Marks,
    /// By sender and family, the number of the latest packet that was signed and believed.
    newest: BTreeMap<(usize, Family), u64>,
    /// The latest of them.
    recorded: Option<Packet>,
}

impl Signing {
    pub(crate) fn new() -> Self {
        Self {
            in_force: None,
            sequencer: Sequencer::default(),
            marks: Marks::default(),
            newest: BTreeMap::new(),
            recorded: None,
        }
    }
}

impl World {
    fn wall(&self, node: usize) -> WallTime {
        let right = EPOCH + Duration::from_micros(self.now);
        let ahead_s = self.nodes[node].clock_s;
        let off = Duration::from_secs(ahead_s.unsigned_abs());
        WallTime(if ahead_s < 0 {
            right - off
        } else {
            right + off
        })
    }

    /// A process begins to sign, after everything that was signed on this machine before: the keeper has kept the stamp, and a machine
    /// takes longer to boot than stamps are ahead.
    pub(crate) fn begin_signing(&mut self, node: usize) {
        let wall = self.wall(node).after(LEAD);
        let machine = &mut self.nodes[node];
        let told = machine.highest;
        for link in &mut machine.links {
            link.signing = Signing {
                in_force: machine.ring.clone(),
                sequencer: Sequencer::beginning_at(wall, told),
                ..Signing::new()
            };
        }
    }

    /// The stamp of what a member sends now, or of its last will.
    pub(crate) fn stamp(
        &mut self,
        node: usize,
        member: usize,
        advert: &Advertisement,
        will: bool,
    ) -> Stamp {
        let Some(authentication) = advert.authentication() else {
            return Stamp::default();
        };
        let wall = self.wall(node);
        let machine = &mut self.nodes[node];
        let sequencer = &mut machine.links[member].signing.sequencer;
        let stamp = if will {
            sequencer.ahead(wall, LEAD, authentication)
        } else {
            sequencer.next(wall, authentication)
        };
        let highest = machine.highest.filter(|highest| !stamp.follows(*highest));
        machine.highest = highest.or(Some(stamp));
        stamp
    }

    /// The receive checks, which have to come to the same as [`verdict`] does.
    pub(crate) fn believe(&mut self, packet: &Packet) -> Option<vrrp::Accepted> {
        let wall = self.wall(packet.to);
        let own = Family::ALL.map(|family| source(packet.to, packet.member, family));
        let datagram = datagram(packet);
        let machine = &mut self.nodes[packet.to];
        let router = machine.router_of(packet.member)?;
        let expectation = router.expectation_of(id(packet.member)).unwrap();
        let signing = &mut machine.links[packet.member].signing;
        let sender = (packet.from, packet.family);
        let expected = verdict(signing.in_force.as_ref(), packet.seal).and_then(|()| {
            let newest = signing.newest.get(&sender);
            let again = packet.seal.is_some() && newest.is_some_and(|&it| packet.number <= it);
            if again { Err(Reject::Replay) } else { Ok(()) }
        });
        let marks = &mut signing.marks;
        let result = accept_authentic(&datagram, Local::addresses(&own), |_| {
            Some((&expectation, Guard { wall, marks }))
        });
        let seen = result.as_ref().map(|_| ()).map_err(|reject| *reject);
        assert_eq!(seen, expected, "node {} judges {packet:?}", packet.to);
        let refused = seen.is_err_and(|reject| reject != Reject::Replay);
        self.disbelieved += u64::from(refused);
        if result.is_ok() && packet.seal.is_some() {
            signing.newest.insert(sender, packet.number);
            signing.recorded = Some(packet.clone());
        }
        result.ok().map(|(_, accepted)| accepted)
    }

    /// Other keys for a node, by a reload.
    pub(crate) fn give_keys(&mut self, node: usize, ring: Option<Ring>) {
        let freshness = self.freshness;
        let authentication = ring.as_ref().map(|ring| ring.authentication(freshness));
        let machine = &mut self.nodes[node];
        machine.ring = ring;
        for link in &mut machine.links {
            link.settings.authentication.clone_from(&authentication);
        }
        self.reconfigure(node);
    }

    /// The keys a member works with from now on.
    pub(crate) fn note_keys(&mut self, node: usize, member: usize, settings: &Settings) {
        let freshness = self.freshness;
        let same = |ring: &&Ring| {
            settings.authentication.as_deref() == Some(&*ring.authentication(freshness))
        };
        let ring = self.rings.iter().find(same).cloned();
        assert_eq!(ring.is_some(), settings.authentication.is_some());
        self.nodes[node].links[member].signing.in_force = ring;
    }

    /// Sends a node what it must not believe, in the name of another: that it leaves, or that it is the owner.
    pub(crate) fn forge(&mut self, node: usize, forgery: Forgery) {
        let from = (node + 1) % self.nodes.len();
        for member in 0..self.nodes[node].links.len() {
            let signing = &self.nodes[node].links[member].signing;
            let ring = signing.in_force.clone();
            if forgery == Forgery::Recorded {
                let again = signing.recorded.clone();
                again.into_iter().for_each(|packet| self.deliver(&packet));
                continue;
            }
            let in_use = ring.as_ref().map_or(1, |ring| ring.active);
            let seal = match forgery {
                Forgery::Unsigned | Forgery::Recorded => None,
                Forgery::OtherSecret => Some((in_use, 250)),
                Forgery::OtherNumber => Some((250, 250)),
            };
            if verdict(ring.as_ref(), seal).is_err() {
                let forged = self.forged(from, node, member, seal);
                forged.iter().for_each(|packet| self.deliver(packet));
            }
        }
    }

    /// Packets of a member, of each family, with priorities 0 and 255, under a seal of somebody's choice.
    pub(crate) fn forged(&self, from: usize, to: usize, member: usize, seal: Seal) -> Vec<Packet> {
        let mut settings = self.nodes[to].links[member].settings.clone();
        settings.authentication = seal.map(|(number, secret)| {
            let ring = Ring::new(AuthMode::Enforce, &[(number, secret)], number);
            ring.authentication(self.freshness)
        });
        let stamp = Stamp::at(self.wall(to).after(LEAD * 3));
        let priorities = [vrrp::Priority::RELEASE, vrrp::Priority::new(255)];
        let adverts = self.adverts_of(from, member, settings);
        let packets = adverts.into_iter().flat_map(|advert| {
            priorities.map(|priority| {
                let mut advert = advert.clone();
                advert.priority = priority;
                Packet {
                    from,
                    to,
                    member,
                    family: advert.family,
                    octets: advert.encode_at(advert.destinations[0], stamp),
                    seal,
                    number: u64::MAX,
                }
            })
        });
        packets.collect()
    }
}
