//! What happens to a node in the failover bench, for every product alike, and what the client saw of it.

use std::time::{Duration, Instant, SystemTime};

use anyhow::Context as _;
use serde::Serialize;

use crate::config::PairConfig;
use crate::device::{Device, Keepalived, Part, Tandem};
use crate::lab::{Address, Host, Lab};
use crate::prober::{ProbeSettings, Prober};
use crate::vipwatch::VipWatch;
use crate::wait::wait_until;

/// For what takes milliseconds or will not happen.
const LIMIT: Duration = Duration::from_secs(20);
/// How long the client is watched after an event.
const AFTERWARDS: Duration = Duration::from_secs(4);
/// How long a frozen node stays frozen.
const FREEZE: Duration = Duration::from_secs(5);

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Product {
    /// Tandem with 100 ms between advertisements, its default.
    Tandem,
    /// Debian's Keepalived with 100 ms, and HAProxy.
    Keepalived,
    /// Debian's Keepalived with one second, its default, and HAProxy.
    KeepalivedDefault,
}

impl Product {
    /// All of them.
    pub const ALL: [Product; 3] = [
        Product::Tandem,
        Product::Keepalived,
        Product::KeepalivedDefault,
    ];

    /// For the head of a column.
    pub fn title(self) -> &'static str {
        match self {
            Product::Tandem => "Tandem, 100 ms",
            Product::Keepalived => "Keepalived, 100 ms",
            Product::KeepalivedDefault => "Keepalived, 1 s",
        }
    }

    fn config(self) -> PairConfig {
        let interval = match self {
            Product::Tandem | Product::Keepalived => Duration::from_millis(100),
            Product::KeepalivedDefault => Duration::from_secs(1),
        };
        PairConfig {
            interval,
            ..PairConfig::default()
        }
    }

    fn pair<'lab>(self, lab: &'lab Lab) -> anyhow::Result<[Box<dyn Device + 'lab>; 2]> {
        let config = self.config();
        Ok(match self {
            Product::Tandem => {
                let (one, two) = Tandem::pair(lab, &config)?;
                [Box::new(one), Box::new(two)]
            }
            Product::Keepalived | Product::KeepalivedDefault => {
                let (one, two) = Keepalived::pair(lab, &config)?;
                [Box::new(one), Box::new(two)]
            }
        })
    }
}

/// What happens to the preferred node while it is Active.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Scenario {
    /// `kill -9` of the data plane.
    ForwarderKilled,
    /// `kill -9` of the process that speaks VRRP.
    DirectorKilled,
    /// `kill -9` of the process the operator started.
    KeeperKilled,
    /// `kill -9` of all of them at once.
    AllKilled,
    /// All of them stopped in their tracks for five seconds.
    AllFrozen,
    /// SIGTERM to the process the operator started.
    Stopped,
    /// The operator orders a handover.
    Handover,
    /// The preferred node is started again after a stop.
    Returning,
    /// The cable is pulled.
    CableCut,
    /// The switch drops the node's frames, its carrier stays.
    Partitioned,
    /// Somebody deletes the address.
    AddressDeleted,
}

impl Scenario {
    /// All of them, in the order of the report.
    pub const ALL: [Scenario; 11] = [
        Scenario::ForwarderKilled,
        Scenario::DirectorKilled,
        Scenario::KeeperKilled,
        Scenario::AllKilled,
        Scenario::AllFrozen,
        Scenario::Stopped,
        Scenario::Handover,
        Scenario::Returning,
        Scenario::CableCut,
        Scenario::Partitioned,
        Scenario::AddressDeleted,
    ];

    /// For the begin of a row.
    pub fn title(self) -> &'static str {
        match self {
            Scenario::ForwarderKilled => "data plane kill -9",
            Scenario::DirectorKilled => "VRRP process kill -9",
            Scenario::KeeperKilled => "parent process kill -9",
            Scenario::AllKilled => "all processes kill -9",
            Scenario::AllFrozen => "all frozen for 5 s",
            Scenario::Stopped => "stopped (SIGTERM)",
            Scenario::Handover => "handover ordered",
            Scenario::Returning => "preferred node returns",
            Scenario::CableCut => "cable pulled",
            Scenario::Partitioned => "switch drops its frames",
            Scenario::AddressDeleted => "address deleted",
        }
    }

    /// Does the thing; the moment it was done, or `None` if the product has no such thing.
    fn act(self, lab: &Lab, node: &mut dyn Device) -> anyhow::Result<Option<Instant>> {
        let moment = Instant::now();
        match self {
            Scenario::ForwarderKilled => node.kill(Part::Forwarder).map(Some),
            Scenario::DirectorKilled => node.kill(Part::Director).map(Some),
            Scenario::KeeperKilled => node.kill(Part::Keeper).map(Some),
            Scenario::AllKilled => node.kill(Part::All).map(Some),
            Scenario::AllFrozen => {
                node.freeze(Part::All)?;
                std::thread::sleep(FREEZE);
                node.thaw(Part::All)?;
                Ok(Some(moment))
            }
            Scenario::Stopped => node.stop(LIMIT).map(Some),
            Scenario::Handover => node.handover(),
            Scenario::Returning => {
                node.start()?;
                lab.wait_holder(Address::VIP4, Host::Lb1, LIMIT)?;
                Ok(Some(moment))
            }
            Scenario::CableCut => lab.cut_cable(Host::Lb1).map(|()| Some(moment)),
            Scenario::Partitioned => lab.partition(Host::Lb1).map(|()| Some(moment)),
            Scenario::AddressDeleted => {
                lab.net(Host::Lb1)
                    .ip(&format!("addr del {}/24 dev eth0", Address::VIP4))?;
                Ok(Some(moment))
            }
        }
    }
}

/// One measurement.
#[derive(Clone, Debug, Serialize)]
pub struct Measure {
    /// Of what.
    pub product: Product,
    /// In which scenario.
    pub scenario: Scenario,
    /// The longest time without an answer.
    pub blackout_ms: f64,
    /// Probes lost, of one each millisecond.
    pub lost: usize,
    /// The longest time in which both nodes held the address.
    pub both_ms: u64,
    /// How many nodes hold the address at the end.
    pub holders: usize,
    /// How late the prober was at worst: the noise in `blackout_ms`.
    pub prober_lag_ms: f64,
}

/// Builds a laboratory with the product, lets the scenario happen, and says what the client saw; `None` if the product
/// has no such thing.
///
/// # Errors
/// When the pair does not come up, or the service does not come back.
pub fn measure(product: Product, scenario: Scenario) -> anyhow::Result<Option<Measure>> {
    let lab = Lab::new()?;
    let [mut one, _two] = product.pair(&lab)?;
    if scenario == Scenario::Returning {
        one.stop(LIMIT)?;
        lab.wait_holder(Address::VIP4, Host::Lb2, LIMIT)?;
    }
    let watch = VipWatch::start(&lab, Address::VIP4)?;
    let settings = ProbeSettings::new((Address::VIP4, Address::HTTP));
    let prober = Prober::start(lab.net(Host::Client), settings)?;
    prober.wait_steady(300, LIMIT).context("before the event")?;
    std::thread::sleep(random_phase(product.config().interval));

    let Some(event) = scenario.act(&lab, one.as_mut())? else {
        return Ok(None);
    };
    // Watching for a while is what is asked for; an outage that goes on is watched to its end.
    std::thread::sleep(AFTERWARDS);
    prober.wait_steady(300, LIMIT).context("after the event")?;
    wait_until("the last probes have ended", LIMIT, || {
        event.elapsed() > AFTERWARDS
    })?;
    let holders = lab.holders(Address::VIP4).len();
    let both = watch.log().longest_overlap(event);
    let summary = prober.finish()?.summary(Some(event));
    Ok(Some(Measure {
        product,
        scenario,
        blackout_ms: summary.blackout_ms,
        lost: summary.lost,
        both_ms: u64::try_from(both.as_millis()).unwrap_or(u64::MAX),
        holders,
        prober_lag_ms: summary.prober_lag_ms,
    }))
}

/// Events fall anywhere between two advertisements.
fn random_phase(interval: Duration) -> Duration {
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    interval * (now.subsec_micros() % 1000) / 1000
}
