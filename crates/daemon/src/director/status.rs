//! What `tandem status` and `tandem vrrp` show, made of what the director knows at this moment.

use std::time::{Duration, Instant};

use control::{
    AccessLogStatus, AlarmStatus, ConfigStatus, ContributionStatus, ForwarderState,
    ForwarderStatus, Overall, PairNode, PairStatus, PeerStatus, ReloadOutcome, Role, Status,
    TargetCondition, TimerStatus, TransitionStatus, VrrpDetail, VrrpState, VrrpStatus,
};
use vrrp::{Family, State};

use super::instance::{Dated, Instance};
use super::signing;
use super::tracking::DataPlane;
use super::{Director, virtual_links};

impl Director {
    /// The whole node.
    pub(super) fn status(&self, now: Instant) -> Status {
        let vrrp: Vec<VrrpStatus> = self
            .staying()
            .flat_map(|instance| router_status(instance, now))
            .collect();
        let problems = self.problems(now);
        Status {
            node: self.node_name(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_s: now.saturating_duration_since(self.started_at).as_secs(),
            state: self.overall(now, &problems),
            config: self.config_status(),
            pair: self.pair_status(now, &vrrp),
            vrrp,
            listeners: self.figures.listeners.clone(),
            groups: self.ordered_groups(),
            certificates: self.certificate_status(),
            forwarder: self.forwarder_status(now),
            overrides: self.overrides_status(),
            recorder: Some(self.recorder.status(self.journal.lost())),
            problems,
        }
    }

    /// The virtual routers that are not about to go.
    fn staying(&self) -> impl Iterator<Item = &Instance> {
        self.instances.iter().filter(|instance| !instance.departing)
    }

    fn config_status(&self) -> ConfigStatus {
        ConfigStatus {
            path: self.running.path.display().to_string(),
            hash: self.running.config.hash.clone(),
            generation: self.running.generation,
            loaded_at: self.running.loaded_at,
            last_reload: self.reload.last.clone(),
        }
    }

    fn forwarder_status(&self, now: Instant) -> ForwarderStatus {
        ForwarderStatus {
            state: match self.plane.view(now) {
                DataPlane::Off => ForwarderState::Off,
                DataPlane::Starting => ForwarderState::Starting,
                DataPlane::Down(_) | DataPlane::Stuck(_) | DataPlane::Refused(_) => {
                    ForwarderState::Down
                }
                DataPlane::Serving { .. } => ForwarderState::Running,
            },
            pid: self.plane.pid(),
            restarts: self.plane.restarts(),
            uptime_s: self.plane.uptime(now).map(|uptime| uptime.as_secs()),
            report_age_ms: self.plane.pulse_age(now).map(millis),
            generation: self.plane.generation(),
            access_log: self.access_log_status(),
        }
    }

    fn access_log_status(&self) -> Option<AccessLogStatus> {
        let to = &self.running.config.global.access_log.to;
        let counts = &self.figures.access_log;
        (*to != balancer::AccessLogTarget::Off).then(|| AccessLogStatus {
            to: to.to_string(),
            written: counts.written,
            lost: counts.lost,
            why: Some(counts.why.clone()).filter(|why| !why.is_empty()),
        })
    }

    /// Access log lines that are lost at this moment.
    fn access_log_problem(&self) -> Option<String> {
        let status = self.access_log_status()?;
        let why = status.why?;
        Some(format!(
            "access log lines are lost ({} so far): {why}",
            status.lost
        ))
    }

    /// Good without problems; no service when this node could not serve even if it were asked to.
    fn overall(&self, now: Instant, problems: &[String]) -> Overall {
        let plane_dead = matches!(
            self.plane.view(now),
            DataPlane::Down(_) | DataPlane::Stuck(_) | DataPlane::Refused(_)
        );
        let routers = self.staying().count();
        let dead_routers = self
            .staying()
            .filter(|instance| matches!(instance.state(), State::Fault | State::Initialize))
            .count();
        let groups = &self.figures.groups;
        let dead_groups = groups
            .iter()
            .filter(|group| group.usable == 0 && group.total > 0)
            .count();
        let no_service = plane_dead
            || (routers > 0 && dead_routers == routers)
            || (!groups.is_empty() && dead_groups == groups.len());
        match (no_service, problems.is_empty()) {
            (true, _) => Overall::NoService,
            (false, true) => Overall::Good,
            (false, false) => Overall::Degraded,
        }
    }

    /// What is wrong, worst first.
    fn problems(&self, now: Instant) -> Vec<String> {
        let mut problems = Vec::new();
        match self.plane.view(now) {
            DataPlane::Down(how) => {
                problems.push(format!("forwarder ended with {how}, being started again"))
            }
            DataPlane::Stuck(how) => problems.push(how),
            DataPlane::Refused(why) => problems.push(format!(
                "the forwarder serves nothing, and tries again: {why}"
            )),
            DataPlane::Off | DataPlane::Starting | DataPlane::Serving { .. } => {}
        }
        for instance in self
            .staying()
            .filter(|instance| instance.state() == State::Fault)
        {
            problems.push(format!(
                "{}: {}",
                instance.config.name,
                instance.router.status().why
            ));
        }
        for group in &self.figures.groups {
            if group.fails_open {
                problems.push(format!(
                    "group {} has no usable target; all of them are tried all the same (fail-open)",
                    group.name
                ));
            }
            for target in group
                .targets
                .iter()
                .filter(|target| target.order == control::Order::Ready)
            {
                let why = target.why.as_deref().unwrap_or("no reason known");
                match target.state {
                    TargetCondition::Down => {
                        problems.push(format!("{}/{} down: {why}", group.name, target.name));
                    }
                    // The reason says that it was ejected.
                    TargetCondition::Ejected | TargetCondition::Probing => {
                        problems.push(format!("{}/{} {why}", group.name, target.name));
                    }
                    TargetCondition::Up
                    | TargetCondition::Starting
                    | TargetCondition::Drain
                    | TargetCondition::Maint
                    | TargetCondition::Unknown => {}
                }
            }
        }
        if let Some(result) = &self.reload.last
            && matches!(
                result.outcome,
                ReloadOutcome::Refused | ReloadOutcome::Failed
            )
        {
            problems.push(format!(
                "the last reload ({}) was not taken: `tandem reload` shows why",
                result.at
            ));
        }
        problems.extend(self.access_log_problem());
        problems.extend(self.override_problems());
        problems.extend(self.certificate_problems());
        problems.extend(self.exposition.problem());
        problems.extend(self.tracking_problems(now));
        problems.extend(self.hook_problems());
        problems.extend(self.second_path.problem(now));
        problems.extend(self.recorder_problems());
        problems.extend(self.recent_alarms());
        problems.extend(self.notes.iter().cloned());
        problems
    }

    /// What the recorder and the journal could not write.
    fn recorder_problems(&self) -> Vec<String> {
        let status = self.recorder.status(self.journal.lost());
        let folder = self.args.state_dir.display();
        let said = |count: u64, what: &str| {
            (count > 0).then(|| format!("{count} {what} could not be written to {folder}"))
        };
        [
            said(status.lost, "flight recordings"),
            said(status.journal_lines_lost, "journal lines"),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    /// Alarms of the last five minutes.
    fn recent_alarms(&self) -> Vec<String> {
        let recent =
            |alarm: &&Dated<vrrp::Alarm>| alarm.noted_at.elapsed() < Duration::from_secs(300);
        let words = |instance: &Instance| -> Vec<String> {
            instance
                .alarms
                .iter()
                .filter(recent)
                .map(|alarm| format!("{}: {}", instance.config.name, alarm.what.words))
                .collect()
        };
        self.staying().flat_map(words).collect()
    }

    fn pair_status(&self, now: Instant, routers: &[VrrpStatus]) -> Option<PairStatus> {
        let pair = self.running.config.pair.as_ref()?;
        let peer = self
            .staying()
            .filter_map(|instance| heard_peer(instance, now))
            .min_by_key(|(age, _)| *age);
        let node = |(index, node): (usize, &config::Node)| {
            let this = index == pair.this;
            PairNode {
                name: node.name.clone(),
                address: node.address,
                this,
                role: if this {
                    role_of(routers)
                } else {
                    peer.map_or(Role::Unknown, |(_, role)| role)
                },
                since: if this {
                    routers.iter().map(|router| router.since).max()
                } else {
                    None
                },
                heard_ms: if this {
                    None
                } else {
                    peer.map(|(age, _)| millis(age))
                },
                config_hash: if this {
                    Some(self.running.config.hash.clone())
                } else {
                    self.second_path.peer_hash(now)
                },
            }
        };
        Some(PairStatus {
            nodes: pair.nodes.iter().enumerate().map(node).collect(),
        })
    }

    /// Everything about each virtual router.
    pub(super) fn vrrp_details(&self, now: Instant) -> Vec<VrrpDetail> {
        self.staying()
            .flat_map(|instance| {
                router_status(instance, now)
                    .into_iter()
                    .map(|status| self.detail(instance, status, now))
            })
            .collect()
    }

    fn detail(&self, instance: &Instance, status: VrrpStatus, now: Instant) -> VrrpDetail {
        let core = instance.router.status();
        let family = if status.family == control::Family::Ipv6 {
            Family::V6
        } else {
            Family::V4
        };
        let timer = |timer: &vrrp::Timer| TimerStatus {
            name: timer.name.to_owned(),
            in_ms: millis(timer.at.saturating_duration_since(now)),
        };
        let strangers = self
            .wires
            .get(&instance.wire_key(family))
            .map(|wire| &wire.strangers);
        let mut rejects: std::collections::BTreeMap<String, u64> = instance
            .counters
            .rejects()
            .map(|(name, count)| (name.to_owned(), count))
            .collect();
        for (name, count) in strangers.into_iter().flat_map(vrrp::Counters::rejects) {
            *rejects.entry(name.to_owned()).or_default() += count;
        }
        if let Some(wire) = self.wires.get(&instance.wire_key(family)) {
            rejects.insert("overflow".to_owned(), wire.overflowed());
        }
        rejects.retain(|_, count| *count > 0);
        let counters = instance
            .counters
            .iter()
            .take(4)
            .map(|(name, count)| (name.to_owned(), count))
            .chain([(
                "address_conflicts".to_owned(),
                instance.evidence.conflicts(),
            )])
            .collect();
        VrrpDetail {
            phase: core.phase.as_str().to_owned(),
            why: core.why.clone(),
            timers: core.timers.iter().map(timer).collect(),
            contributions: contributions(instance, &core),
            checksum_sent: (family == Family::V4
                && instance.config.settings.version == vrrp::Version::V3)
                .then(|| checksum(core.checksum_sent)),
            advert_interval_ms: millis(core.advert_interval.as_duration()),
            learned_interval_ms: core
                .learned_interval
                .map(|interval| millis(interval.as_duration())),
            skew_ms: millis(core.skew),
            down_interval_ms: millis(core.down_interval),
            counters,
            rejects,
            transitions: instance.transitions.iter().map(dated_transition).collect(),
            alarms: instance.alarms.iter().map(alarm).collect(),
            held_back: core.held_back.map(|peer| {
                format!(
                    "handed over to {}; it stays there until it leaves or fails",
                    self.name_of_peer(peer)
                )
            }),
            authentication: instance.config.settings.authentication.as_ref().map(
                |authentication| {
                    let mut peers = core.peers.iter();
                    signing::status(authentication, peers.find(|peer| peer.family == family))
                },
            ),
            evidence: instance.evidence_words(now),
            tracked: self.tracked_status(instance, now),
            hooks: self.hooks_status(instance, now),
            status,
        }
    }
}

/// One entry for each family of a virtual router.
fn router_status(instance: &Instance, now: Instant) -> Vec<VrrpStatus> {
    let core = instance.router.status();
    let one = |family: Family| VrrpStatus {
        name: instance.config.name.clone(),
        group: instance.config.group.clone(),
        vrid: instance.config.settings.vrid.value(),
        family: if family == Family::V6 {
            control::Family::Ipv6
        } else {
            control::Family::Ipv4
        },
        interface: instance.config.interface.clone(),
        link: if instance.config.virtual_mac {
            instance.virtual_link(family).map(|link| link.name.clone())
        } else {
            Some(instance.config.interface.clone())
        },
        virtual_mac: instance.config.virtual_mac.then(|| {
            virtual_links::words_of(virtual_links::mac(family, instance.config.settings.vrid))
        }),
        accepts: instance.accepts(),
        state: state(instance.state()),
        priority: instance.config.settings.priority.value(),
        effective_priority: core.effective_priority.value(),
        vips: instance
            .config
            .vips
            .iter()
            .filter(|vip| Family::of(vip.address) == family)
            .map(|vip| format!("{}/{}", vip.address, vip.prefix_len))
            .collect(),
        peer: core
            .peers
            .iter()
            .find(|peer| Family::of(peer.address) == family)
            .map(|peer| peer_status(peer, now)),
        last_transition: instance.transitions.front().map(dated_transition),
        since: instance.since,
    };
    instance.families().into_iter().map(one).collect()
}

fn peer_status(peer: &vrrp::PeerStatus, now: Instant) -> PeerStatus {
    PeerStatus {
        address: peer.address,
        priority: peer.priority.value(),
        interval_ms: millis(peer.interval.as_duration()),
        last_heard_ms: millis(now.saturating_duration_since(peer.last_heard)),
        checksum: peer.checksum.map(checksum),
    }
}

/// How long ago the peer was heard, and what it is: Active, if it advertises still.
fn heard_peer(instance: &Instance, now: Instant) -> Option<(Duration, Role)> {
    let core = instance.router.status();
    let peer = core.peers.iter().max_by_key(|peer| peer.last_heard)?;
    let age = now.saturating_duration_since(peer.last_heard);
    let advertises = age <= core.down_interval && !peer.priority.is_release();
    let role = match (advertises, instance.state()) {
        (true, _) => Role::Active,
        (false, State::Active) => Role::Backup,
        (false, State::Backup | State::Fault | State::Initialize) => Role::Unknown,
    };
    Some((age, role))
}

fn role_of(routers: &[VrrpStatus]) -> Role {
    let all = |wanted: fn(VrrpState) -> bool| {
        !routers.is_empty() && routers.iter().all(|router| wanted(router.state))
    };
    if all(|state| state == VrrpState::Active) {
        Role::Active
    } else if all(|state| state == VrrpState::Backup) {
        Role::Backup
    } else if all(|state| matches!(state, VrrpState::Fault | VrrpState::Initialize)) {
        Role::Fault
    } else if routers.is_empty() {
        Role::Unknown
    } else {
        Role::Mixed
    }
}

pub(super) fn state(state: State) -> VrrpState {
    match state {
        State::Initialize => VrrpState::Initialize,
        State::Backup => VrrpState::Backup,
        State::Active => VrrpState::Active,
        State::Fault => VrrpState::Fault,
    }
}

fn checksum(form: vrrp::ChecksumForm) -> control::ChecksumForm {
    match form {
        vrrp::ChecksumForm::Rfc5798 => control::ChecksumForm::Rfc5798,
        vrrp::ChecksumForm::Rfc9568 => control::ChecksumForm::Rfc9568,
    }
}

/// What makes the priority what it is: what is tracked here, and a weaker virtual router of the same group.
fn contributions(instance: &Instance, core: &vrrp::Status) -> Vec<ContributionStatus> {
    let tracked = instance.verdict.contributions.iter().map(contribution);
    let own = i16::from(instance.effective_priority().value());
    let delta = i16::from(core.effective_priority.value()) - own;
    let group = instance.config.group.as_ref().filter(|_| delta != 0);
    let weaker = group.map(|group| ContributionStatus {
        what: format!("weakest of group {group}"),
        delta,
        cap: None,
    });
    tracked.chain(weaker).collect()
}

fn contribution(contribution: &vrrp::Contribution) -> ContributionStatus {
    ContributionStatus {
        what: contribution.what.clone(),
        delta: contribution.delta,
        cap: contribution.cap,
    }
}

/// A change of state as it is told outside.
pub(super) fn transition(
    at: control::Timestamp,
    transition: &vrrp::Transition,
) -> TransitionStatus {
    TransitionStatus {
        from: state(transition.from),
        to: state(transition.to),
        reason: transition.reason.to_string(),
        at,
    }
}

fn dated_transition(dated: &Dated<vrrp::Transition>) -> TransitionStatus {
    transition(dated.at, &dated.what)
}

fn alarm(dated: &Dated<vrrp::Alarm>) -> AlarmStatus {
    AlarmStatus {
        kind: dated.what.kind.as_str().to_owned(),
        words: dated.what.words.clone(),
        at: dated.at,
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
