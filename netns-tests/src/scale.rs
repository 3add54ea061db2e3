//! Many virtual routers on one node: their configuration for either product, how long they need to become Active, which of their
//! advertisements are missing on the wire, and what the node needs for them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde::Serialize;

use crate::config::PairConfig;
use crate::device::{Device, Keepalived, Part, Tandem};
use crate::lab::{Host, Lab};
use crate::observer::Observer;
use crate::process::{cpu_time, memory_kib};
use crate::wait::wait_until;
use crate::wire::Frame;

/// How long all of them may take to become Active before it is given up.
const LIMIT: Duration = Duration::from_secs(60);
/// From one advertisement to the next.
const INTERVAL: Duration = Duration::from_secs(1);

/// Virtual routers with one IPv4 address each, the same number on each of some links of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crowd {
    /// Links, at most 100.
    pub links: u8,
    /// Virtual routers on each, at most 250.
    pub per_link: u8,
}

impl Crowd {
    /// This many, on as few links as hold 250 each.
    pub fn of(routers: usize) -> Crowd {
        let links = routers.div_ceil(250).max(1);
        Crowd {
            links: u8::try_from(links).unwrap_or(100),
            per_link: u8::try_from(routers.div_ceil(links)).unwrap_or(250),
        }
    }

    /// How many there are.
    pub fn len(self) -> usize {
        usize::from(self.links) * usize::from(self.per_link)
    }

    /// Whether there are none.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// Adds the links: from `node` to `other`, named alike on both ends.
    ///
    /// # Errors
    /// When a link cannot be made.
    pub fn plug(self, lab: &Lab, node: Host, other: Host) -> anyhow::Result<()> {
        for link in 0..self.links {
            let other_net = lab.net(other);
            other_net.sysctl("ipv6/conf/default/disable_ipv6", "1")?;
            lab.net(node).ip_batch(&format!(
                "link add s{link} type veth peer name s{link} netns {}\naddr add {}/16 dev s{link}\nlink set s{link} up\n",
                other_net.name(),
                source(link, node)
            ))?;
            let address = match other {
                Host::Lb1 | Host::Lb2 => {
                    format!("addr add {}/16 dev s{link}\n", source(link, other))
                }
                Host::Client | Host::Backend1 | Host::Backend2 | Host::Watch => String::new(),
            };
            other_net.ip_batch(&format!("{address}link set s{link} up\n"))?;
        }
        Ok(())
    }

    /// Link and VRID of each.
    fn members(self) -> impl Iterator<Item = (u8, u8)> {
        (0..self.links).flat_map(move |link| (1..=self.per_link).map(move |vrid| (link, vrid)))
    }

    /// The file for `tandemd`; with `pair` the node knows of the other.
    pub fn tandem(self, pair: bool) -> String {
        let mut text = String::from("[global]\nlog = { level = \"warn\", format = \"text\" }\n");
        if pair {
            let nodes = [Host::Lb1.v4(), Host::Lb2.v4()];
            let _ = writeln!(
                text,
                "[pair]\nnodes = {{ lb1 = \"{}\", lb2 = \"{}\" }}",
                nodes[0], nodes[1]
            );
        }
        for (link, vrid) in self.members() {
            let priority = if pair {
                "{ lb1 = 200, lb2 = 100 }"
            } else {
                "200"
            };
            let _ = writeln!(
                text,
                "[vrrp.r{link}-{vrid}]\ninterface = \"s{link}\"\nvrid = {vrid}\nvips = [\"{}/16\"]\nadvert_interval = \"1s\"\npriority = {priority}\npreempt = true",
                address(link, vrid)
            );
        }
        text
    }

    /// The file for Keepalived.
    pub fn keepalived(self) -> String {
        let mut text = String::from("global_defs {\n    router_id crowd\n    vrrp_version 3\n}\n");
        for (link, vrid) in self.members() {
            let _ = writeln!(
                text,
                "vrrp_instance r{link}-{vrid} {{\n    state BACKUP\n    interface s{link}\n    virtual_router_id {vrid}\n    priority 200\n    advert_int 1\n    virtual_ipaddress {{\n        {}/16\n    }}\n}}",
                address(link, vrid)
            );
        }
        text
    }

    /// When each was seen to advertise with a priority above 0 by `host` from `since` on, by link and VRID.
    pub fn adverts(
        self,
        observer: &Observer,
        host: Host,
        since: Instant,
    ) -> BTreeMap<(u8, u8), Vec<Instant>> {
        let mut found: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for seen in observer.seen(since) {
            if let Frame::Advert(advert) = seen.frame
                && advert.priority > 0
                && let Some(link) =
                    (0..self.links).find(|link| advert.source == IpAddr::V4(source(*link, host)))
            {
                found.entry((link, advert.vrid)).or_default().push(seen.at);
            }
        }
        found
    }
}

fn source(link: u8, host: Host) -> Ipv4Addr {
    Ipv4Addr::new(10, 100 + link, 0, host.v4().octets()[3])
}

/// The floating address of a member.
fn address(link: u8, vrid: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 100 + link, 1, vrid)
}

/// What advertisements were missing in a stretch of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Missed {
    /// Whole intervals without one, over all virtual routers.
    pub missed: usize,
    /// The longest time from one to the next, in milliseconds.
    pub longest_gap_ms: f64,
}

/// Counts what is missing between `from` and `to`, of `routers` of which each should send every `interval`.
pub fn missed(
    adverts: &BTreeMap<(u8, u8), Vec<Instant>>,
    routers: usize,
    (from, to): (Instant, Instant),
    interval: Duration,
) -> Missed {
    let silent = routers.saturating_sub(adverts.len());
    let whole = (to.duration_since(from).as_millis() / interval.as_millis().max(1)) as usize;
    let mut result = Missed {
        missed: silent * whole,
        longest_gap_ms: 0.0,
    };
    for times in adverts.values() {
        let mut points: Vec<Instant> = times.iter().copied().filter(|at| *at <= to).collect();
        points.push(to);
        let mut last = from;
        for at in points {
            let gap = at.saturating_duration_since(last);
            // Half an interval late is late; a whole one is missed.
            result.missed += ((gap + interval / 2).as_millis() / interval.as_millis().max(1))
                as usize
                - usize::from(gap >= interval / 2);
            result.longest_gap_ms = result.longest_gap_ms.max(gap.as_secs_f64() * 1000.0);
            last = at;
        }
    }
    result
}

/// Which product, in the scale bench.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ScaleProduct {
    /// Tandem: keeper and director.
    Tandem,
    /// Debian's Keepalived: parent and VRRP child.
    Keepalived,
}

/// One measurement of the scale bench.
#[derive(Clone, Debug, Serialize)]
pub struct ScaleMeasure {
    /// Of what.
    pub product: ScaleProduct,
    /// How many virtual routers.
    pub routers: usize,
    /// From the start of the program to the first advertisement of the last of them; `None` if they never all did.
    pub all_active_ms: Option<f64>,
    /// How long they were watched then, in seconds.
    pub watched_s: f64,
    /// What was missing meanwhile.
    pub adverts: Missed,
    /// Processor time of all its processes while watched, as percent of one core.
    pub cpu_percent: f64,
    /// Proportional memory of all its processes at the end, in KiB.
    pub memory_kib: u64,
    /// The longest answer of the control socket while watched, in milliseconds (Tandem).
    pub status_ms: Option<f64>,
}

impl Crowd {
    /// When each was first seen to say farewell (priority 0) by `host` from `since` on, by link and VRID.
    pub fn farewells(
        self,
        observer: &Observer,
        host: Host,
        since: Instant,
    ) -> BTreeMap<(u8, u8), Instant> {
        let mut found = BTreeMap::new();
        for seen in observer.seen(since) {
            if let Frame::Advert(advert) = seen.frame
                && advert.priority == 0
                && let Some(link) =
                    (0..self.links).find(|link| advert.source == IpAddr::V4(source(*link, host)))
            {
                found.entry((link, advert.vrid)).or_insert(seen.at);
            }
        }
        found
    }
}

/// Starts `routers` of a product on one node, all of them alone on their links, and watches them for `watch`.
///
/// # Errors
/// When the laboratory or the program does not come up.
pub fn measure_scale(
    product: ScaleProduct,
    routers: usize,
    watch: Duration,
) -> anyhow::Result<ScaleMeasure> {
    let crowd = Crowd::of(routers);
    let lab = Lab::new()?;
    crowd.plug(&lab, Host::Lb1, Host::Watch)?;
    let observer = Observer::start(&lab)?;
    let quiet = PairConfig {
        listener: false,
        pair: false,
        ..PairConfig::default()
    };
    let tandem = Tandem::new(&lab, Host::Lb1, &quiet)?;
    tandem.write_config(&crowd.tandem(false))?;
    let keepalived = Keepalived::new(&lab, Host::Lb1, &quiet)?;
    keepalived.write_config(&crowd.keepalived())?;
    let (mut device, socket): (Box<dyn Device + '_>, _) = match product {
        ScaleProduct::Tandem => {
            let socket = tandem.socket();
            (Box::new(tandem), Some(socket))
        }
        ScaleProduct::Keepalived => (Box::new(keepalived), None),
    };
    let begun = Instant::now();
    device.start()?;
    let mut first = BTreeMap::new();
    let all = wait_until("all advertise", LIMIT, || {
        std::thread::sleep(Duration::from_millis(200));
        first = crowd.adverts(&observer, Host::Lb1, begun);
        first.len() == crowd.len()
    });
    let last = first.values().filter_map(|times| times.first()).max();
    let all_active_ms = all
        .is_ok()
        .then_some(())
        .and(last)
        .map(|at| at.duration_since(begun).as_secs_f64() * 1000.0);

    // The burst of announcements that follows the takeover is over after its last delay.
    std::thread::sleep(Duration::from_secs(6));
    let pids = device.pids(Part::All);
    let spent = || -> anyhow::Result<Duration> { pids.iter().map(|pid| cpu_time(*pid)).sum() };
    let (from, before) = (Instant::now(), spent()?);
    std::thread::sleep(watch);
    let (to, after) = (Instant::now(), spent()?);
    let memory = pids
        .iter()
        .map(|pid| memory_kib(*pid))
        .sum::<anyhow::Result<u64>>()?;
    // An advertisement on its way belongs to the stretch before.
    let adverts = missed(
        &crowd.adverts(&observer, Host::Lb1, from),
        crowd.len(),
        (from, to),
        INTERVAL,
    );
    let mut slowest = None;
    if let Some(socket) = &socket {
        for path in ["/status", "/vrrp"] {
            let asked = Instant::now();
            crate::control::get(socket, path).with_context(|| format!("GET {path}"))?;
            let took = asked.elapsed().as_secs_f64() * 1000.0;
            slowest = Some(slowest.map_or(took, |slowest: f64| slowest.max(took)));
        }
    }
    let watched = to.duration_since(from);
    Ok(ScaleMeasure {
        product,
        routers: crowd.len(),
        all_active_ms,
        watched_s: watched.as_secs_f64(),
        adverts,
        cpu_percent: 100.0 * (after - before).as_secs_f64() / watched.as_secs_f64(),
        memory_kib: memory,
        status_ms: slowest,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_of_two_and_a_half_intervals_is_two_missed() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let on_time = (0..10).map(|n| at(400 + n * 1000)).collect();
        let gap = vec![
            at(500),
            at(1500),
            at(4100),
            at(5100),
            at(6100),
            at(7100),
            at(8100),
            at(9100),
        ];
        let adverts = BTreeMap::from([((0, 1), on_time), ((0, 2), gap)]);
        let result = missed(&adverts, 2, (start, at(10_000)), INTERVAL);
        assert_eq!(
            result,
            Missed {
                missed: 2,
                longest_gap_ms: 2600.0
            }
        );
        let one_silent = missed(&adverts, 3, (start, at(10_000)), INTERVAL);
        assert_eq!(one_silent.missed, 12);
    }

    #[test]
    fn a_crowd_is_spread_over_links() {
        assert_eq!(
            Crowd::of(250),
            Crowd {
                links: 1,
                per_link: 250
            }
        );
        assert_eq!(Crowd::of(1000).len(), 1000);
        assert_eq!(Crowd::of(20).tandem(false).matches("[vrrp.").count(), 20);
    }
}
