//! What the world outside means for an election: a fault, or a change of priority.
//!
//! Pure: facts in, verdict out. The effective priority is always computed from the whole of them, so that nothing is counted twice.

use std::time::Duration;

use config::Vrrp;
use vrrp::Contribution;

/// How long a node that has just started stays low at most while its first health round runs.
pub(super) const FIRST_ROUND_LIMIT: Duration = Duration::from_secs(10);

/// What the director knows of the data plane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum DataPlane {
    /// No listener is configured.
    Off,
    /// Started or starting, not listening yet.
    Starting,
    /// Ended, with the way it ended.
    Down(String),
    /// Runs but says nothing, or a thread of it does not turn.
    Stuck(String),
    /// Listening on everything configured.
    Serving {
        /// Whether each target has been probed once.
        first_health_round_done: bool,
    },
}

/// A link as tracking sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LinkFact {
    /// There is no interface of that name.
    Missing,
    /// Administratively down.
    Down,
    /// Up, but without carrier.
    NoCarrier,
    /// Up and with carrier.
    Running,
}

impl LinkFact {
    fn words(self) -> &'static str {
        match self {
            Self::Missing => "does not exist",
            Self::Down => "is down",
            Self::NoCarrier => "has no carrier",
            Self::Running => "is running",
        }
    }
}

/// What all the facts come to for one virtual router.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Verdict {
    /// Why it cannot take part; none when it can.
    pub(super) fault: Option<String>,
    /// What moves the priority.
    pub(super) contributions: Vec<Contribution>,
}

/// Judges the facts for one virtual router. `settled` is whether the node has been up for [`FIRST_ROUND_LIMIT`].
pub(super) fn judge(
    instance: &Vrrp,
    plane: &DataPlane,
    settled: bool,
    link: impl Fn(&str) -> LinkFact,
) -> Verdict {
    let mut verdict = Verdict::default();
    let own = link(&instance.interface);
    if own != LinkFact::Running {
        verdict.fault = Some(format!("interface {} {}", instance.interface, own.words()));
    }
    for tracked in &instance.track.interfaces {
        let fact = link(&tracked.name);
        let running = fact == LinkFact::Running;
        let what = || format!("{} {}", tracked.name, fact.words());
        match tracked.weight {
            None if !running => {
                verdict
                    .fault
                    .get_or_insert_with(|| format!("tracked interface {}", what()));
            }
            Some(weight) if (weight < 0) != running => {
                verdict.contributions.push(Contribution {
                    what: what(),
                    delta: weight,
                    cap: None,
                });
            }
            None | Some(_) => {}
        }
    }
    if instance.track.forwarder {
        judge_plane(plane, settled, &mut verdict);
    }
    verdict
}

fn judge_plane(plane: &DataPlane, settled: bool, verdict: &mut Verdict) {
    let fault = match plane {
        DataPlane::Off
        | DataPlane::Serving {
            first_health_round_done: true,
        } => None,
        DataPlane::Serving {
            first_health_round_done: false,
        } => {
            if !settled {
                verdict.contributions.push(Contribution {
                    what: "first health round pending".to_owned(),
                    delta: 0,
                    cap: Some(1),
                });
            }
            None
        }
        DataPlane::Starting => Some("the forwarder is starting".to_owned()),
        DataPlane::Down(how) => Some(format!("the forwarder ended with {how}")),
        DataPlane::Stuck(how) => Some(how.clone()),
    };
    if let Some(fault) = fault {
        verdict.fault.get_or_insert(fault);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use config::{Announce, Track, TrackedInterface, VipAddress};

    fn instance(track: Track) -> Vrrp {
        let vip = "10.0.0.10".parse().unwrap();
        Vrrp {
            name: "main".to_owned(),
            group: None,
            interface: "eth0".to_owned(),
            vips: vec![VipAddress {
                address: vip,
                prefix_len: 24,
            }],
            settings: vrrp::Settings::new("main", vrrp::Vrid::new(51).unwrap(), vec![vip]),
            lease: None,
            announce: Announce::default(),
            track,
            evidence: config::Evidence::default(),
            unicast: None,
            virtual_mac: false,
            accept_mode: true,
        }
    }

    fn tracked(name: &str, weight: Option<i16>) -> TrackedInterface {
        TrackedInterface {
            name: name.to_owned(),
            weight,
        }
    }

    const SERVING: DataPlane = DataPlane::Serving {
        first_health_round_done: true,
    };

    #[test]
    fn its_own_interface_is_always_tracked() {
        let words = [
            (LinkFact::Missing, Some("interface eth0 does not exist")),
            (LinkFact::Down, Some("interface eth0 is down")),
            (LinkFact::NoCarrier, Some("interface eth0 has no carrier")),
            (LinkFact::Running, None),
        ];
        for (fact, fault) in words {
            let verdict = judge(&instance(Track::default()), &DataPlane::Off, true, |_| fact);
            assert_eq!(verdict.fault.as_deref(), fault);
        }
    }

    #[test]
    fn a_weight_counts_in_one_state_only_and_none_means_fault() {
        let interfaces = vec![
            tracked("eth1", Some(-30)),
            tracked("eth2", Some(20)),
            tracked("eth3", None),
        ];
        let instance = instance(Track {
            forwarder: false,
            interfaces,
        });
        let all_up = judge(&instance, &DataPlane::Off, true, |_| LinkFact::Running);
        let deltas = |verdict: &Verdict| -> Vec<i16> {
            verdict.contributions.iter().map(|one| one.delta).collect()
        };
        assert_eq!((all_up.fault.clone(), deltas(&all_up)), (None, vec![20]));
        let down = |name: &str| {
            if name == "eth0" {
                LinkFact::Running
            } else {
                LinkFact::NoCarrier
            }
        };
        let some_down = judge(&instance, &DataPlane::Off, true, down);
        assert_eq!(
            some_down.fault.as_deref(),
            Some("tracked interface eth3 has no carrier")
        );
        assert_eq!(deltas(&some_down), [-30]);
    }

    #[test]
    fn no_data_plane_no_address_unless_it_is_not_tracked() {
        let judge_plane = |forwarder: bool, plane: &DataPlane, settled: bool| {
            judge(
                &instance(Track {
                    forwarder,
                    interfaces: Vec::new(),
                }),
                plane,
                settled,
                |_| LinkFact::Running,
            )
        };
        for plane in [
            DataPlane::Starting,
            DataPlane::Down("signal 9".to_owned()),
            DataPlane::Stuck("silent".to_owned()),
        ] {
            assert!(judge_plane(true, &plane, true).fault.is_some(), "{plane:?}");
            assert_eq!(
                judge_plane(false, &plane, true),
                Verdict::default(),
                "{plane:?}"
            );
        }
        assert_eq!(judge_plane(true, &DataPlane::Off, true), Verdict::default());
        assert_eq!(judge_plane(true, &SERVING, false), Verdict::default());
        let waiting = DataPlane::Serving {
            first_health_round_done: false,
        };
        let low = judge_plane(true, &waiting, false);
        assert_eq!((low.fault, low.contributions[0].cap), (None, Some(1)));
        assert_eq!(judge_plane(true, &waiting, true), Verdict::default());
    }
}
