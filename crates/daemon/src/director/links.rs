//! Keeps virtual routers in step with their links: which link it is, whether it can be used, where advertisements come from.
//!
//! Links come, go, are renamed, made anew and put under masters while we run. Each change leads here, and nothing is remembered of it but
//! what is true now. An obstacle is told to the election before anything moves, so that the addresses are released where they are.

use std::net::IpAddr;
use std::time::Instant;

use linux::address::Link;
use vrrp::Family;

use super::Director;
use super::facts::Facts;
use super::instance::Instance;
use super::wires::WireKey;

/// What one virtual router finds on its link.
struct Survey {
    link: Option<Link>,
    sources: Vec<(Family, Option<IpAddr>)>,
    obstacle: Option<String>,
    /// A link of another index has the name now.
    replaced: bool,
}

impl Director {
    /// Brings faults, sockets, announcers and source addresses in step with links and addresses as they are.
    pub(super) fn reconcile(&mut self, now: Instant) {
        for index in 0..self.instances.len() {
            self.reconcile_one(now, index);
        }
    }

    /// The same for one virtual router.
    pub(super) fn reconcile_one(&mut self, now: Instant, index: usize) {
        self.instances[index].follow_accept_mode(now);
        self.watchers.note_change();
        let survey = self.survey(index);
        if self.instances[index].obstacle != survey.obstacle {
            self.instances[index].obstacle = survey.obstacle;
        }
        let plane = self.plane_facts(now);
        self.judge_one(now, index, &plane);
        self.instances[index].set_link(now, survey.link.as_ref());
        for (family, source) in survey.sources {
            let notices = self.instances[index].set_source(now, family, source, &self.wires);
            self.on_notices(notices);
        }
        if survey.replaced {
            // The fault has released the addresses of the old link; the next survey finds the one that is there.
            self.reconcile_one(now, index);
        }
    }

    fn survey(&mut self, index: usize) -> Survey {
        let instance = &self.instances[index];
        let families = instance.families();
        let link = self.facts.link(&instance.config.interface).cloned();
        let known = instance.ifindex();
        let nothing = |link: Option<Link>, obstacle: Option<String>, replaced| Survey {
            link,
            sources: families.iter().map(|family| (*family, None)).collect(),
            obstacle,
            replaced,
        };
        let Some(link) = link else {
            return nothing(None, None, false);
        };
        let name = link.name.clone();
        if known.is_some_and(|known| known != link.index) {
            let words = format!("interface {name} was replaced by another of that name");
            return nothing(Some(link), Some(words), true);
        }
        if let Some(obstacle) = port_obstacle(&self.facts, &link) {
            return nothing(Some(link), Some(obstacle), false);
        }
        let instance = &self.instances[index];
        let obstacle = instance
            .virtual_obstacle()
            .or_else(|| instance.refusal_obstacle());
        if let Some(obstacle) = obstacle {
            return nothing(Some(link), Some(obstacle), false);
        }
        let found: Vec<(Family, Result<IpAddr, String>)> = families
            .iter()
            .map(|family| (*family, self.source_with_wire(index, &link, *family)))
            .collect();
        let obstacle = found
            .iter()
            .all(|(_, source)| source.is_err())
            .then(|| found.iter().find_map(|(_, source)| source.clone().err()))
            .flatten();
        Survey {
            link: Some(link),
            sources: found
                .into_iter()
                .map(|(family, source)| (family, source.ok()))
                .collect(),
            obstacle,
            replaced: false,
        }
    }

    /// The source address of a virtual router in `family`, once the sockets to use it are open; else why there is none.
    fn source_with_wire(
        &mut self,
        index: usize,
        link: &Link,
        family: Family,
    ) -> Result<IpAddr, String> {
        let instance = &self.instances[index];
        let source = instance
            .choose_source(&self.facts, link.index, family)
            .ok_or_else(|| source_obstacle(instance, &self.facts, link, family))?;
        let key = instance.wire_key(family);
        let generation = self.facts.generation(link.index);
        self.ensure_wire(&key, link.index, generation)?;
        let instance = &self.instances[index];
        let (outlet, place) = (instance.sender_key(family), instance.place(family));
        if outlet != key
            && let Some(place) = place
        {
            self.ensure_wire(&outlet, place, 0)?;
        }
        Ok(source)
    }

    fn ensure_wire(&mut self, key: &WireKey, ifindex: u32, generation: u64) -> Result<(), String> {
        let opened = self.wires.ensure(key, ifindex, generation);
        match opened {
            Ok(true) => self.note_opened(key),
            Ok(false) => {}
            Err(error) => {
                let link = &key.link;
                return Err(format!("no sockets for advertisements on {link}: {error}"));
            }
        }
        Ok(())
    }

    /// The keeper has the sockets that were closed: the virtual routers of this wire have a will to write again.
    fn note_opened(&mut self, key: &WireKey) {
        for index in 0..self.instances.len() {
            let instance: &Instance = &self.instances[index];
            if instance.sender_keys().contains(key) {
                self.instances[index].will_changed = true;
            }
        }
    }
}

/// A link under a bridge or a bond gets no frames of its own.
fn port_obstacle(facts: &Facts, link: &Link) -> Option<String> {
    let master = link
        .master
        .as_ref()
        .filter(|master| master.takes_frames())?;
    let (port, name) = (&link.name, facts.name_of(master.index));
    Some(match master.kind.as_str() {
        "" => format!("interface {port} is a port of {name}, which takes its frames"),
        kind => format!("interface {port} is a port of the {kind} {name}, which takes its frames"),
    })
}

fn source_obstacle(instance: &Instance, facts: &Facts, link: &Link, family: Family) -> String {
    let name = &link.name;
    let unicast = instance
        .config
        .unicast
        .as_ref()
        .map(|unicast| unicast.source);
    match (unicast, family) {
        (Some(source), _) => format!("unicast source {source} is not usable on {name}"),
        (None, Family::V4) => format!("{name} has no IPv4 address to advertise from"),
        (None, Family::V6) if facts.is_tentative(link.index, family) => {
            format!("the IPv6 addresses of {name} are still being checked for duplicates")
        }
        (None, Family::V6) => format!("{name} has no link-local IPv6 address to advertise from"),
    }
}
